"""The few series that people ask quantiles of, one value a record and tick. Pure.

What a guest has of several devices is added up, but for latencies, of which the greatest counts; the layers below a
disk are in its figures already. Counters are rates per second, and everything is in base units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from msgspec import Struct

from domstat.catalog import FIELDS
from domstat.model import whole_device
from domstat_sinks.sqlite.rollups.derived import level_values
from domstat_sinks.sqlite.rollups.increments import Run
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, Sort
from domstat_sinks.sqlite.rollups.rollplan import Plan, Real, ShapePlan, Whole

RATES = (
    "block.rd.bytes", "block.wr.bytes", "block.rd.reqs", "block.wr.reqs", "net.rx.bytes", "net.tx.bytes", "net.rx.drop",
    "net.tx.drop",
)  # fmt: skip
LEVELS = ("balloon.current", "balloon.rss")
DERIVED = (
    "cpu.utilization", "cpu.cores", "memory.used", "vcpu.steal", "block.rd.latency", "block.wr.latency",
    "host.cpu.utilization", "host.memory.used",
)  # fmt: skip
KEY_FIELDS = RATES + LEVELS + DERIVED

_GREATEST = frozenset({"block.rd.latency", "block.wr.latency"})


class More(Struct, frozen=True):
    """Columns of records that have several of a field: to be added to its value, or compared with it."""

    columns: Whole
    places: Whole
    adds: bool


class Picks(Struct, frozen=True):
    """Key fields with values of one origin: the place of record *r* in the *i*-th of *fields* is i * R + r.

    *columns* are where the values come from, by place, -1 where the record has none; *more* are the other devices'.
    """

    fields: tuple[str, ...]
    columns: Whole
    more: tuple[More, ...]


class Keyed(Struct, frozen=True):
    """What a part has of the key fields: of the rates' columns, of its words, of the derived series' columns."""

    rates: Picks
    levels: Picks
    derived: Picks

    @property
    def fields(self) -> tuple[str, ...]:
        """The key fields that at least one record has, in the order of their values."""
        return self.rates.fields + self.levels.fields + self.derived.fields


def find_keyed(plan: Plan) -> Keyed:
    """Find the key fields in a part."""
    of_rates: list[_Found] = []
    of_levels: list[_Found] = []
    for record, (shape, start) in enumerate(zip(plan.shapes, plan.starts.tolist(), strict=True)):
        for position, field in _key_words(shape):
            counter = int(plan.counter_of[start + position])
            if counter >= 0:
                of_rates.append((counter, record, field))
            else:
                of_levels.append((start + position, record, field))
    columns = [of.columns for of in plan.derived]
    owners, names = chain(*(of.records.tolist() for of in columns)), chain(*(of.names for of in columns))
    named = enumerate(zip(owners, names, strict=True))
    of_derived = [(column, record, name[0]) for column, (record, name) in named if name[0] in DERIVED]
    records = len(plan.places)
    return Keyed(
        _picks(RATES, of_rates, records), _picks(LEVELS, of_levels, records), _picks(DERIVED, of_derived, records)
    )


_Found: TypeAlias = tuple[int, int, str]
"""Where a key field is: column, record, field."""


_words: WeakKeyDictionary[ShapePlan, list[tuple[int, str]]] = WeakKeyDictionary()


def _key_words(shape: ShapePlan) -> list[tuple[int, str]]:
    """Return the key fields among a record's columns: positions and fields."""
    known = _words.get(shape)
    if known is None:
        known = _words[shape] = _find_key_words(shape)
    return known


def _find_key_words(shape: ShapePlan) -> list[tuple[int, str]]:
    sorts = ((RATES, COUNTERS), (LEVELS, (Sort.UNSIGNED, Sort.SIGNED, Sort.REAL)))
    return [
        (position, field)
        for fields, of in sorts
        for sort in of
        for position, (field, device) in zip(shape.positions[sort].tolist(), shape.names[sort], strict=True)
        if field in fields and device == whole_device(device)
    ]


def _picks(fields: Sequence[str], found: Sequence[_Found], records: int) -> Picks:
    present = {field for _, _, field in found}
    fields = tuple(field for field in fields if field in present)
    start_of = {field: i * records for i, field in enumerate(fields)}
    columns = np.full(len(fields) * records, -1, dtype=np.int64)
    devices: dict[int, int] = {}
    more: dict[tuple[int, bool], list[tuple[int, int]]] = {}
    for column, record, field in found:
        place = start_of[field] + record
        device = devices[place] = devices.get(place, -1) + 1
        if device:
            more.setdefault((device, field not in _GREATEST), []).append((column, place))
        else:
            columns[place] = column
    others = [(np.array(of, dtype=np.int64).T, adds) for (_, adds), of in sorted(more.items())]
    return Picks(fields, columns, tuple(More(of[0], of[1], adds) for of, adds in others))


def key_values(keyed: Keyed, run: Run, rates: Real, derived: Real) -> Real:
    """Return the values of the key fields, a row a tick; of each of ``keyed.fields`` as many columns as records.

    What is no number is not there.
    """
    scales = np.repeat([FIELDS[field].unit.scale for field in keyed.levels.fields], len(run.plan.places))
    levels = _values(keyed.levels, lambda columns: level_values(run, columns)) * scales
    return np.hstack([_values(keyed.rates, _from(rates)), levels, _values(keyed.derived, _from(derived))])


def _from(matrix: Real) -> Callable[[Whole], Real]:
    return lambda columns: np.take(matrix, columns, axis=1, mode="clip")


def _values(picks: Picks, take: Callable[[Whole], Real]) -> Real:
    values = take(np.maximum(picks.columns, 0))
    absent = picks.columns < 0
    if absent.any():
        values[:, absent] = np.nan
    for more in picks.more:
        there, other = values[:, more.places], take(more.columns)
        greater = np.fmax(there, other)
        values[:, more.places] = np.where(np.isnan(there + other), greater, there + other) if more.adds else greater
    return values
