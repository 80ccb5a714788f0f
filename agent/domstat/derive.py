"""Derived values: what people ask of a guest that no single parameter says.

Pure: a guest's parameters and rates at one tick in, values out; the stream and the history use this same function.
Units and meanings stand in :data:`domstat.catalog.DERIVED`.
"""

from __future__ import annotations

from collections.abc import Mapping

from domstat.model import Value, key_of, split_key

_KIB = 1024

_LATENCIES = {f"block.{op}.times": (f"block.{op}.reqs", f"block.{op}.latency") for op in ("rd", "wr", "fl")}


class Derivation:
    """What can be derived from one set of keys, prepared once: pairs of (derived key, the keys it is made of)."""

    __slots__ = ("__weakref__", "latencies", "steals")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.latencies: list[tuple[str, str, str]] = []
        self.steals: list[tuple[str, str]] = []
        for key in keys:
            name, device = split_key(key)
            if name == "vcpu.delay":
                self.steals.append((key_of("vcpu.steal", device), key))
            elif name in _LATENCIES:
                requests, latency = _LATENCIES[name]
                self.latencies.append((key_of(latency, device), key, key_of(requests, device)))


def derive(
    derivation: Derivation, params: Mapping[str, Value], rates: Mapping[str, float], time_ms: int
) -> dict[str, float]:
    """Derive what *params* and *rates*, read at *time_ms*, allow; what they do not allow is absent.

    ``cpu.cores`` is the rate of cpu.time (host CPUs kept busy), ``cpu.utilization`` that over vcpu.current.
    ``vcpu.steal`` is the rate of vcpu.delay. A latency is time over requests, both of the same interval, and absent
    where no request completed. ``memory.used`` is balloon.available minus usable (without it: minus unused), and
    ``memory.age`` how old these are by the agent's clock; both only once the guest's balloon driver has spoken.
    """
    derived: dict[str, float] = {}
    cores = rates.get("cpu.time")
    if cores is not None:
        derived["cpu.cores"] = cores
        vcpus = params.get("vcpu.current")
        if vcpus:
            derived["cpu.utilization"] = cores / vcpus  # type: ignore[operator]  # a number by the catalogue
    for steal, delay in derivation.steals:
        if delay in rates:
            derived[steal] = rates[delay]
    for latency, times, requests in derivation.latencies:
        per_second = rates.get(requests)
        if per_second and times in rates:
            derived[latency] = rates[times] / per_second
    _derive_memory(derived, params, time_ms)
    return derived


def derive_host(params: Mapping[str, Value], rates: Mapping[str, float]) -> dict[str, float]:
    """Derive what a host's *params* and *rates* allow.

    ``host.cpu.utilization`` is busy time over all time of all CPUs, waiting for I/O being idle, as top(1) has it.
    ``host.memory.used`` is what is not available; where the host does not say what is, free memory, buffers and cache
    stand for it.
    """
    derived: dict[str, float] = {}
    spent = {mode: rate for mode, rate in rates.items() if mode.startswith("host.cpu.")}
    total = sum(spent.values())
    if total > 0:
        idle = spent.get("host.cpu.idle", 0.0) + spent.get("host.cpu.iowait", 0.0)
        derived["host.cpu.utilization"] = (total - idle) / total
    memory = {key: kib for key, kib in params.items() if key.startswith("host.memory.") and isinstance(kib, int)}
    if "host.memory.total" in memory:
        parts = ("host.memory.free", "host.memory.buffers", "host.memory.cached")
        available = memory.get("host.memory.available")
        if available is None and parts[0] in memory:
            available = sum(memory.get(part, 0) for part in parts)
        if available is not None:
            derived["host.memory.used"] = float((memory["host.memory.total"] - available) * _KIB)
    return derived


def _derive_memory(derived: dict[str, float], params: Mapping[str, Value], time_ms: int) -> None:
    spoke_s = params.get("balloon.last-update")
    if not spoke_s:  # absent, or 0: the driver has never spoken and its figures are not figures
        return
    # The driver's stamp has whole seconds, so a fresh one can seem to lie up to a second ahead.
    derived["memory.age"] = max(0.0, time_ms / 1000 - spoke_s)  # type: ignore[operator]
    total = params.get("balloon.available")
    free = params.get("balloon.usable", params.get("balloon.unused"))
    if isinstance(total, int) and isinstance(free, int):
        derived["memory.used"] = float((total - free) * _KIB)
