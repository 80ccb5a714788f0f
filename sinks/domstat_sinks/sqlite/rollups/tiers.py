"""Tiers, read: the buckets of series as columns, and the quantiles of any range.

What was left out when a bucket was stored, since the rest tells it, is put in again (see :mod:`.rollrecord`). A bucket
that ticks came for later is there several times, once for each; whoever adds up may add up them all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import DERIVED, ValueType
from domstat.history import Span
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.layout import Column
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.heads.rows import Rows
from domstat_sinks.sqlite.packed.segments import Segments, values_of
from domstat_sinks.sqlite.rollups.rollplan import Whole
from domstat_sinks.sqlite.rollups.rollrecord import (
    COVERED,
    DENOMINATOR,
    FROM_COUNTERS,
    FROM_PAIRS,
    NUMERATOR,
    QUOTIENT,
    TICKS,
)
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS

WIDTHS_MS = {1: FIVE_MINUTES_MS, 2: HOUR_MS}
"""By tier, how long its buckets are."""

Values: TypeAlias = "np.ndarray[Any, Any]"


class Owner(Struct, frozen=True):
    """Whose buckets: a record's kind, uuid, and name at that time."""

    kind: str
    uuid: str | None
    name: str | None


class Buckets(Struct, frozen=True):
    """Some buckets of one series, in the order in which they were stored.

    *counts* are the ticks that had a value, and *covered_ns* is the time these stand for. Of a counter there are
    *increases*, in its own unit, and *max_rates*, per second in base units; of anything else *mins*, *maxs*, *means*
    and *lasts*, which mean nothing where the count is 0, and of texts *lasts* alone, as references.
    """

    owner: Owner
    field: str
    device: str | None
    starts_ms: Whole
    counts: Whole
    covered_ns: Whole
    increases: Values | None = None
    max_rates: Values | None = None
    mins: Values | None = None
    maxs: Values | None = None
    means: Values | None = None
    lasts: Values | None = None
    is_text: bool = False


class Wanted(Struct, frozen=True):
    """Which series are wanted: whose, and of what, None asking for all."""

    is_owner: Callable[[Owner], bool] = lambda _: True
    fields: frozenset[str] | None = None
    devices: frozenset[str | None] | None = None


class _Relevant:
    """Which columns it takes to read what is wanted."""

    def __init__(self, wanted: Wanted) -> None:
        self._bases: set[str] | None = None
        if wanted.fields is not None:
            sources = {QUOTIENT: (NUMERATOR, DENOMINATOR, FROM_COUNTERS[NUMERATOR]), **FROM_PAIRS}
            sources |= {field: (counter,) for field, counter in FROM_COUNTERS.items()}
            more = [of for field in wanted.fields for of in sources.get(field, ())]
            self._bases = {TICKS, COVERED, *wanted.fields, *more}

    def has(self, field: str) -> bool:
        """Tell whether a column of this name is one of them."""
        return self._bases is None or field.partition(":")[0] in self._bases


class _Record:
    """A record in some buckets of one layout: its columns are all there in all of them."""

    def __init__(
        self,
        owner: Owner,
        times_ms: Whole,
        types: dict[tuple[str, str | None], tuple[int, ValueType]],
        words: Callable[[int], Words],
    ) -> None:
        """*types* has the number and the type of every column, *words* gives those of a number."""
        self.owner = owner
        self.times_ms = times_ms
        self.types = types
        self._words = words

    def get(self, field: str, device: str | None = None) -> Values | None:
        """Return a column's values, None where it has none."""
        found = self.types.get((field, device))
        if found is None:
            return None
        values: Values = values_of(found[1], self._words(found[0]))
        return values

    def series(self) -> Iterator[tuple[str, str | None]]:
        """Name the series that there are."""
        for field, device in self.types:
            base, _, statistic = field.rpartition(":")
            if statistic in {"last", "increment"}:
                yield base, device
                if base == NUMERATOR and (f"{QUOTIENT}:last", device) not in self.types:
                    yield QUOTIENT, device


def read(connection: sqlite3.Connection, stream: int, span: Span, wanted: Wanted) -> Iterator[Buckets]:
    """Give the buckets of a tier's stream that begin in a span, of a series as often as suits the storage.

    Raises sqlite3.Error, DamagedError.
    """
    (tier,) = connection.execute("SELECT tier FROM stream WHERE id = ?", (stream,)).fetchone()
    segments = Segments(connection)
    found = connection.execute(
        "SELECT id FROM segment WHERE stream = ? AND end_ms >= ? AND start_ms < ? ORDER BY first_id",
        (stream, span.since_ms, span.until_ms),
    ).fetchall()
    for (segment,) in found:
        yield from of_segment(segments, segment, tier, span, wanted)
    yield from of_head(connection, stream, tier, span, wanted)


def of_segment(segments: Segments, segment: int, tier: int, span: Span, wanted: Wanted) -> Iterator[Buckets]:
    """Give the buckets of one segment. Raises DamagedError."""
    directory = segments.directory(segment)
    relevant = _Relevant(wanted)
    is_relevant = [relevant.has(segments.field(column.field)) for column in directory.columns]
    inside = (directory.lead == 0) & (directory.time_ms >= span.since_ms) & (directory.time_ms < span.until_ms)
    names: dict[int, dict[tuple[str, str | None], tuple[int, ValueType]]] = {}
    unpacked: dict[tuple[int, int], Words] = {}
    for number, layout in enumerate(directory.layouts):
        ticks = np.flatnonzero((directory.layout_of == number) & inside)
        if not len(ticks):
            continue
        for member, shape, name in layout.tolist():
            of = directory.members[member]
            owner = Owner(of.kind, of.uuid, directory.names[name])
            if not wanted.is_owner(owner):
                continue
            if shape not in names:
                columns = [
                    (column, directory.columns[column])
                    for column in directory.shapes[shape].tolist()
                    if is_relevant[column]
                ]
                names[shape] = {(segments.field(of.field), of.device): (column, of.type) for column, of in columns}
            words = _words_in_segment(segments, segment, member, ticks, unpacked)
            yield from _buckets(_Record(owner, directory.time_ms[ticks], names[shape], words), tier, wanted)


def _words_in_segment(
    segments: Segments, segment: int, member: int, ticks: Whole, unpacked: dict[tuple[int, int], Words]
) -> Callable[[int], Words]:
    """Unpack a member's columns in some ticks; each is *unpacked* once, however many layouts it is in."""
    directory = segments.directory(segment)

    def words(column: int) -> Words:
        if (member, column) not in unpacked:
            unpacked[member, column] = segments.words(segment, member, column)
        found, there = unpacked[member, column], directory.ticks_of(member, column)
        return found if len(there) == len(ticks) else found[np.searchsorted(there, ticks)]

    return words


def of_head(connection: sqlite3.Connection, stream: int, tier: int, span: Span, wanted: Wanted) -> Iterator[Buckets]:
    """Give the buckets of a stream that are not sealed. Raises sqlite3.Error, DamagedError."""
    rows = Rows(connection)
    found = connection.execute(
        "SELECT h.id, h.time_ms, h.layout FROM stream s CROSS JOIN head h ON h.stream = s.id AND h.id > s.sealed"
        " WHERE s.id = ? AND h.time_ms >= ? AND h.time_ms < ? ORDER BY h.id",
        (stream, span.since_ms, span.until_ms),
    ).fetchall()
    relevant = _Relevant(wanted)
    places: dict[int, list[tuple[int, Column]]] = {}
    by_layout: dict[int, list[tuple[int, int]]] = {}
    for head_id, time_ms, layout in found:
        by_layout.setdefault(layout, []).append((head_id, time_ms))
    for number, heads in by_layout.items():
        layout_ = rows.layout(number)
        times_ms = np.array([time_ms for _, time_ms in heads], dtype=np.int64)
        matrices: dict[int, Words] = {}
        for position, entry in enumerate(layout_.entries):
            owner = Owner(entry.kind, entry.uuid, entry.name)
            if not wanted.is_owner(owner):
                continue
            part = position // row.PART_RECORDS
            if part not in matrices:
                matrices[part] = np.stack([rows.words(rows.row(head_id), part) for head_id, _ in heads])
            start = layout_.starts[position]
            shape = layout_.shapes[position]
            if id(shape) not in places:
                places[id(shape)] = [(i, of) for i, of in enumerate(shape.columns) if relevant.has(of.field)]
            types = {(of.field, of.device): (start + i, of.type) for i, of in places[id(shape)]}
            record = _Record(owner, times_ms, types, _words_in(matrices[part]))
            yield from _buckets(record, tier, wanted)


def _words_in(matrix: Words) -> Callable[[int], Words]:
    return lambda column: np.ascontiguousarray(matrix[:, column])


def _buckets(record: _Record, tier: int, wanted: Wanted) -> Iterator[Buckets]:
    width_ms = WIDTHS_MS[tier]
    starts_ms = record.times_ms // width_ms * width_ms
    for field, device in record.series():
        if wanted.fields is not None and field not in wanted.fields:
            continue
        if wanted.devices is not None and device not in wanted.devices:
            continue
        found = _complete(record, field, device, starts_ms)
        if found is not None:
            yield found


def _complete(record: _Record, field: str, device: str | None, starts_ms: Whole) -> Buckets | None:
    """Put in what was left out of a series."""
    ticks = _whole(record.get(TICKS), len(starts_ms))
    covered_ns = _whole(record.get(COVERED), len(starts_ms))
    about: dict[str, Any] = {"owner": record.owner, "field": field, "device": device, "starts_ms": starts_ms}

    def own(statistic: str) -> Values | None:
        return record.get(f"{field}:{statistic}", device)

    increases = own("increment")
    if increases is not None:
        covered = own("covered")
        covered_ns = covered_ns if covered is None else _whole(covered, len(starts_ms))
        return Buckets(counts=ticks, covered_ns=covered_ns, increases=increases, max_rates=own("max_rate"), **about)
    lasts, counts = own("last"), own("count")
    if field in DERIVED:
        if lasts is None:
            return _quotient(record, covered_ns, about)
        told = _told_by_counters(record, field, device)
        return Buckets(
            counts=_whole(counts, len(starts_ms)),
            covered_ns=covered_ns,
            mins=own("min"),
            maxs=told.get("max", own("max")),
            means=told.get("mean", own("mean")),
            lasts=lasts,
            **about,
        )
    if lasts is None:
        return None
    counts = ticks if counts is None else _whole(counts, len(starts_ms))
    if record.types[f"{field}:last", device][1] is ValueType.TEXT:
        return Buckets(counts=counts, covered_ns=covered_ns, lasts=lasts, is_text=True, **about)
    mins, maxs, means = (own(statistic) for statistic in ("min", "max", "mean"))
    return Buckets(
        counts=counts,
        covered_ns=covered_ns,
        mins=lasts if mins is None else mins,
        maxs=lasts if maxs is None else maxs,
        means=lasts.astype(np.float64) if means is None else means,
        lasts=lasts,
        **about,
    )


def _told_by_counters(record: _Record, field: str, device: str | None) -> dict[str, Values]:
    """Return what the counters that a series is derived of say of it."""
    nothing = {"max": np.full(len(record.times_ms), np.nan), "mean": np.full(len(record.times_ms), np.nan)}
    with np.errstate(divide="ignore", invalid="ignore"):
        if field in FROM_COUNTERS:
            counter = FROM_COUNTERS[field]
            increases, max_rates = record.get(f"{counter}:increment", device), record.get(f"{counter}:max_rate", device)
            covered = record.get(f"{counter}:covered", device)
            covered = record.get(COVERED) if covered is None else covered
            if increases is None or max_rates is None or covered is None:
                return nothing
            return {"max": max_rates, "mean": increases / covered}  # both are of time, in nanoseconds
        if field in FROM_PAIRS:
            times, requests = (record.get(f"{of}:increment", device) for of in FROM_PAIRS[field])
            if times is None or requests is None:
                return {"mean": nothing["mean"]}
            return {"mean": times * 1e-9 / np.where(requests > 0, requests, np.nan)}
    return {}


def _quotient(record: _Record, covered_ns: Whole, about: dict[str, Any]) -> Buckets | None:
    cores = _complete(record, NUMERATOR, None, about["starts_ms"])
    vcpus = record.get(f"{DENOMINATOR}:last")
    if cores is None or vcpus is None or cores.mins is None or cores.maxs is None or cores.means is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return Buckets(
            counts=cores.counts,
            covered_ns=covered_ns,
            mins=cores.mins / vcpus,
            maxs=cores.maxs / vcpus,
            means=cores.means / vcpus,
            lasts=None if cores.lasts is None else cores.lasts / vcpus,
            **about,
        )


def _whole(values: Values | None, count: int) -> Whole:
    return np.zeros(count, dtype=np.int64) if values is None else values.astype(np.int64)
