"""The agent's process and version, by prometheus-client's own collectors."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Info, ProcessCollector, generate_latest


class Process:
    """``process_cpu_seconds_total``, ``process_resident_memory_bytes`` and others, and ``domstat_build_info``."""

    def __init__(self) -> None:
        # A registry of its own: the library's global one has whatever else was imported.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("domstat_build", "Version of the agent", registry=self._registry).info({"version": version("domstat")})

    def write(self) -> bytes:
        """Write them as of now."""
        return generate_latest(self._registry)
