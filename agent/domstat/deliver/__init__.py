"""Delivering: what stands between collecting and the sinks."""
