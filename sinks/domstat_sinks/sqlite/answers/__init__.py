"""The contract :mod:`domstat.history`, answered from ticks, sealed or not, and from roll-ups."""
