"""What becomes of a record's columns: their sorts, and the series derived of them. Pure."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from domstat.catalog import FieldKind, ValueType, look_up
from domstat.model import Kind, is_own
from domstat_sinks.sqlite.heads.layout import COLUMNS_MAX, Column

Name: TypeAlias = tuple[str, str | None]
"""What a column holds: field and device."""


def shared_name(field: str, device: str | None) -> Name:
    """Make a name, once if guests may have it in common, as :func:`~..heads.layout.shared_column` does."""
    return (field, device) if is_own(device) else _in_common(field, device)


_in_common = lru_cache(maxsize=COLUMNS_MAX)(lambda field, device: (field, device))


class Sort(IntEnum):
    """What becomes of a column."""

    UNSIGNED = 0  # gauges, states and booleans, by type
    SIGNED = 1
    REAL = 2
    TEXT = 3
    COUNT = 4  # a counter, in integers
    REAL_COUNT = 5  # a counter, in doubles


COUNTERS = (Sort.COUNT, Sort.REAL_COUNT)
LEVELS = (Sort.UNSIGNED, Sort.SIGNED, Sort.REAL)
_INTEGERS = (Sort.UNSIGNED, Sort.SIGNED)

_BY_TYPE = {
    ValueType.U64: Sort.UNSIGNED,
    ValueType.BOOL: Sort.UNSIGNED,
    ValueType.I64: Sort.SIGNED,
    ValueType.F64: Sort.REAL,
    ValueType.TEXT: Sort.TEXT,
}


def sort_of(column: Column) -> Sort:
    """Say what becomes of *column*."""
    if column.type is not ValueType.TEXT and look_up(column.field).kind is FieldKind.COUNTER:
        return Sort.REAL_COUNT if column.type is ValueType.F64 else Sort.COUNT
    return _BY_TYPE[column.type]


class Means(IntEnum):
    """By which means a series is derived, and so what its sources are."""

    CORES = 0  # cpu.time
    UTILIZATION = 1  # cpu.time, vcpu.current
    STEAL = 2  # vcpu.delay
    LATENCY = 3  # times, requests
    MEMORY = 4  # balloon.last-update, available, what is free
    HOST_CPU = 5  # idle, iowait, then every mode in its order; -1 for one that is not there
    HOST_MEMORY = 6  # total, available, free, buffers, cached; -1 for one that is not there


class Recipe(Struct, frozen=True):
    """How one series is derived: *sources* are positions among a record's columns, or among a part's."""

    means: Means
    name: Name
    sources: tuple[int, ...]


_LATENCIES = {f"block.{op}.times": (f"block.{op}.reqs", f"block.{op}.latency") for op in ("rd", "wr", "fl")}
_IDLE = ("host.cpu.idle", "host.cpu.iowait")
_HOST_MEMORY = tuple(f"host.memory.{name}" for name in ("total", "available", "free", "buffers", "cached"))


def recipes_of(kind: str, at: dict[Name, int], sorts: list[Sort]) -> list[Recipe]:
    """List what :mod:`domstat.derive` makes of a record whose columns stand *at* these positions."""
    if kind == Kind.GUEST:
        return [*_cpu_recipes(at), *_device_recipes(at), *_memory_recipes(at, sorts)]
    return _host_recipes(at, sorts) if kind == Kind.HOST else []


def _cpu_recipes(at: dict[Name, int]) -> list[Recipe]:
    time, vcpus = at.get(("cpu.time", None)), at.get(("vcpu.current", None))
    if time is None:
        return []
    cores = Recipe(Means.CORES, ("cpu.cores", None), (time,))
    return [cores] if vcpus is None else [cores, Recipe(Means.UTILIZATION, ("cpu.utilization", None), (time, vcpus))]


def _device_recipes(at: dict[Name, int]) -> list[Recipe]:
    found = []
    for (field, device), position in at.items():
        if field == "vcpu.delay":
            found.append(Recipe(Means.STEAL, ("vcpu.steal", device), (position,)))
        elif field in _LATENCIES:
            requests, latency = _LATENCIES[field]
            if (requests, device) in at:
                found.append(Recipe(Means.LATENCY, (latency, device), (position, at[requests, device])))
    return found


def _memory_recipes(at: dict[Name, int], sorts: list[Sort]) -> list[Recipe]:
    free = at.get(("balloon.usable", None), at.get(("balloon.unused", None), -1))
    spoke, total = at.get(("balloon.last-update", None), -1), at.get(("balloon.available", None), -1)
    if spoke < 0 or not all(position >= 0 and sorts[position] in _INTEGERS for position in (total, free)):
        return []
    return [Recipe(Means.MEMORY, ("memory.used", None), (spoke, total, free))]


def _host_recipes(at: dict[Name, int], sorts: list[Sort]) -> list[Recipe]:
    found = []
    modes = {name: i for (name, _), i in at.items() if name.startswith("host.cpu.") and sorts[i] in COUNTERS}
    if modes:
        idle = [modes.get(name, -1) for name in _IDLE]
        found.append(Recipe(Means.HOST_CPU, ("host.cpu.utilization", None), (*idle, *modes.values())))
    memory = {name: i for (name, _), i in at.items() if sorts[i] in _INTEGERS}
    sources = tuple(memory.get(name, -1) for name in _HOST_MEMORY)
    if sources[0] >= 0 and max(sources[1:3]) >= 0:
        found.append(Recipe(Means.HOST_MEMORY, ("host.memory.used", None), sources))
    return found
