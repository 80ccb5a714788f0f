"""Derived series out of the columns of what they are derived of; equal to :mod:`domstat.derive`'s. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat.model import Kind
from domstat_sinks.sqlite.answers.choosing import Key
from domstat_sinks.sqlite.answers.source import Column, Values
from domstat_sinks.sqlite.answers.steps import increased_ids, increases_of, samples_of, shown_ids
from domstat_sinks.sqlite.answers.ticks import Integers

_KIB = 1024.0
_HOST_CPU = tuple(f"host.cpu.{mode}" for mode in ("user", "kernel", "idle", "iowait", "intr"))
_HOST_MEMORY = tuple(f"host.memory.{name}" for name in ("total", "available", "free", "buffers", "cached"))


class Spotted(Struct, frozen=True):
    """Values in some ticks, by the ticks' numbers, and when these were.

    *weights* are what each stands for in a mean, None where all stand for the same: the time that a rate was over, the
    requests that a latency was of.
    """

    ids: Integers
    time_ms: Integers
    values: Values
    weights: Values | None = None


Sources: TypeAlias = Mapping[str, Column]
"""The columns of one subject and device, by field."""


def _rate(sources: Sources, field: str) -> Spotted | None:
    column = sources.get(field)
    if column is None or column.values.dtype == object:
        return None
    increases = increases_of(column)
    rates = increases.rates(field)
    return Spotted(increased_ids(column), rates.time_ms, rates.values, increases.elapsed_ns)


def _level(sources: Sources, field: str) -> Spotted | None:
    column = sources.get(field)
    if column is None or column.values.dtype == object:
        return None
    samples = samples_of(column)
    return Spotted(shown_ids(column), samples.time_ms, samples.values)


def _quotient(over: Spotted | None, under: Spotted | None) -> Spotted | None:
    """Divide, wherever there are both, and not by nothing."""
    if over is None or under is None:
        return None
    ids, ones, others = np.intersect1d(over.ids, under.ids, assume_unique=True, return_indices=True)
    divisors = under.values[others]
    has = divisors != 0
    weights = None if over.weights is None else over.weights[ones][has]
    return Spotted(ids[has], over.time_ms[ones][has], over.values[ones][has] / divisors[has], weights)


def _cores(sources: Sources) -> Spotted | None:
    return _rate(sources, "cpu.time")


def _utilization(sources: Sources) -> Spotted | None:
    return _quotient(_rate(sources, "cpu.time"), _level(sources, "vcpu.current"))


def _steal(sources: Sources) -> Spotted | None:
    return _rate(sources, "vcpu.delay")


def _latency(op: str) -> Callable[[Sources], Spotted | None]:
    def make(sources: Sources) -> Spotted | None:
        requests = _rate(sources, f"block.{op}.reqs")
        made = _quotient(_rate(sources, f"block.{op}.times"), requests)
        if made is None or requests is None or requests.weights is None:
            return made
        # A rate times its time is how many there were.
        places = np.searchsorted(requests.ids, made.ids)
        return replace(made, weights=requests.values[places] * requests.weights[places])

    return make


def _memory(sources: Sources) -> Spotted | None:
    """Only once the guest's balloon driver has spoken; usable goes before unused wherever it is there."""
    spoke, total = _level(sources, "balloon.last-update"), _level(sources, "balloon.available")
    if spoke is None or total is None or total.values.dtype.kind not in "iu":
        return None
    free = _first(_level(sources, "balloon.usable"), _level(sources, "balloon.unused"))
    if free is None or free.values.dtype.kind not in "iu":
        return None
    spoken = spoke.ids[spoke.values != 0]
    ids, ones, others = np.intersect1d(total.ids, free.ids, assume_unique=True, return_indices=True)
    kib = total.values[ones].astype(np.int64) - free.values[others].astype(np.int64)
    has = np.isin(ids, spoken)
    return Spotted(ids[has], total.time_ms[ones][has], kib[has] * _KIB)


def _first(one: Spotted | None, other: Spotted | None) -> Spotted | None:
    """Take of two the first wherever it is there."""
    if one is None or other is None:
        return one if other is None else other
    more = ~np.isin(other.ids, one.ids)
    if not more.any() or one.values.dtype != other.values.dtype:
        return one
    ids = np.concatenate([one.ids, other.ids[more]])
    order = np.argsort(ids, kind="stable")
    times, values = (
        np.concatenate([mine, theirs[more]])[order]
        for mine, theirs in ((one.time_ms, other.time_ms), (one.values, other.values))
    )
    return Spotted(ids[order], times, values)


def _host_cpu(sources: Sources) -> Spotted | None:
    """Return what is neither idle nor waiting, of all; a mode that is not there at a tick has spent nothing."""
    modes = {field: found for field in _HOST_CPU if (found := _rate(sources, field)) is not None}
    if not modes:
        return None
    ids, time_ms = _all_ticks(list(modes.values()))
    spent, idle = np.zeros(len(ids)), np.zeros(len(ids))
    for field, mode in modes.items():
        rates = _spread(mode, ids)
        spent += rates
        if field in {"host.cpu.idle", "host.cpu.iowait"}:
            idle += rates
    has = spent > 0
    return Spotted(ids[has], time_ms[has], (spent[has] - idle[has]) / spent[has])


def _host_memory(sources: Sources) -> Spotted | None:
    total, available, *parts = (_level(sources, field) for field in _HOST_MEMORY)
    if parts[0] is not None:  # without any that is free nothing is known
        values = np.asarray(sum(_spread(part, parts[0].ids) for part in parts if part is not None))
        available = _first(available, Spotted(parts[0].ids, parts[0].time_ms, values))
    if total is None or available is None:
        return None
    ids, ones, others = np.intersect1d(total.ids, available.ids, assume_unique=True, return_indices=True)
    kib = total.values[ones].astype(np.int64) - available.values[others].astype(np.int64)
    return Spotted(ids, total.time_ms[ones], kib * _KIB)


def _all_ticks(found: Sequence[Spotted]) -> tuple[Integers, Integers]:
    ids, places = np.unique(np.concatenate([of.ids for of in found]), return_index=True)
    return ids, np.concatenate([of.time_ms for of in found])[places]


def _spread(found: Spotted, ids: Integers) -> Values:
    """Return values for these ticks, 0 where there is none."""
    values = np.zeros(len(ids), dtype=found.values.dtype)
    there = np.isin(ids, found.ids)
    values[there] = found.values[np.isin(found.ids, ids)]
    return values


class Recipe(Struct, frozen=True):
    """Of what a series is derived, of which kind of record, and how; it takes the first *needed* of its sources."""

    kind: Kind
    sources: tuple[str, ...]
    make: Callable[[Sources], Spotted | None]
    needed: int = 1

    def is_possible(self, fields: Collection[str]) -> bool:
        """Whether there may be such a series where there are these fields."""
        return all(source in fields for source in self.sources[: self.needed])


RECIPES = {
    "cpu.cores": Recipe(Kind.GUEST, ("cpu.time",), _cores),
    "cpu.utilization": Recipe(Kind.GUEST, ("cpu.time", "vcpu.current"), _utilization, 2),
    "vcpu.steal": Recipe(Kind.GUEST, ("vcpu.delay",), _steal),
    **{
        f"block.{op}.latency": Recipe(Kind.GUEST, (f"block.{op}.times", f"block.{op}.reqs"), _latency(op), 2)
        for op in ("rd", "wr", "fl")
    },
    "memory.used": Recipe(
        Kind.GUEST, ("balloon.available", "balloon.last-update", "balloon.usable", "balloon.unused"), _memory, 2
    ),
    "host.cpu.utilization": Recipe(Kind.HOST, _HOST_CPU, _host_cpu),
    "host.memory.used": Recipe(Kind.HOST, _HOST_MEMORY, _host_memory),
}
"""The series that can be derived of what is stored, by name."""


def derived_of(field: str) -> list[str]:
    """Name the series that a field is the first source of: where that is stored, so may they be."""
    return [name for name, recipe in RECIPES.items() if recipe.sources[0] == field]


def sources_of(key: Key) -> list[Key]:
    """Return the series that a derived one is made of: of the same subject and device."""
    return [Key(key.who, field, key.device) for field in RECIPES[key.field].sources]


def derived_series(key: Key, columns: Mapping[Key, Column]) -> Spotted | None:
    """Derive a series of the columns of its sources; None where they allow none."""
    sources = {source.field: columns[source] for source in sources_of(key) if source in columns}
    made = RECIPES[key.field].make(sources)
    return None if made is None or not len(made.ids) else made
