"""domstat: statistics of libvirt domains, one bulk call per host and tick."""

__version__ = "0.1.0"
