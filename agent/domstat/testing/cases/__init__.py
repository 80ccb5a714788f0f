"""What every sink is asked, by theme; :class:`domstat.testing.SinkContract` is all of it."""
