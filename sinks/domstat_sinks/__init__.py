"""The sinks that ship with domstat: each is found by the same entry point as anyone's own."""
