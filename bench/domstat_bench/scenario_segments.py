"""Buckets as the segments that the sink would have made of them, without a row for each on the way.

Which columns a bucket has, and what they are called, is what the sink's own :class:`~.rollrecord.Form` says of the
first one of a stretch; their values are then taken for all its buckets at once. So all buckets of a stretch have to be
alike but for their values: fields of gauges that move within an hour are those in ``MOVING``, and no others may.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from isal.isal_zlib import crc32
from msgspec import Struct

from domstat.catalog import DERIVED
from domstat_bench.scenario_courses import Ints
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.layout import Column, Entry
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.keeping.sealing import begin, publish
from domstat_sinks.sqlite.packed import chunk, directory
from domstat_sinks.sqlite.packed.directory import EVERYTHING, Directory, Index, members_of
from domstat_sinks.sqlite.packed.ragged import Ragged
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, LEVELS
from domstat_sinks.sqlite.rollups.rollrecord import COVERED, TICKS, Form, moving_fields, rounded
from domstat_sinks.sqlite.rollups.rollstats import Rollup
from domstat_sinks.sqlite.rollups.tierrows import BOOT

MOVING = frozenset(
    {
        "balloon.unused", "balloon.usable", "balloon.last-update", "balloon.rss", "block.allocation", "block.physical",
        "host.memory.free", "host.memory.available", "pool.allocation", "pool.available",
    }
)  # fmt: skip
"""Gauges that move within an hour; all others stand still for that long."""

LEVEL = 2
"""What the sink merges no further."""


class Rows(Struct, frozen=True):
    """A stretch's buckets as records: whose, with which columns, and a row of words for each column of each record."""

    entries: tuple[Entry, ...]
    columns: tuple[tuple[Column, ...], ...]
    starts_ms: Ints
    words: Words


def rows_of(rollup: Rollup) -> Rows:
    """Return what is stored of all buckets of a stretch. Raises ValueError for a gauge that moves and must not."""
    others = moving_fields(rollup) - MOVING
    if others:
        raise ValueError(f"{', '.join(sorted(others))} moves within an hour; name it in MOVING")
    first = Form().row(rollup, 0, MOVING)
    picks = _Picks(rollup)
    columns = [(record, column) for record, of in enumerate(first.columns) for column in of]
    words = np.empty((len(columns), len(rollup.starts_ms)), dtype=np.uint64)
    places: dict[tuple[str, int], tuple[list[int], list[int]]] = {}
    for place, (record, column) in enumerate(columns):
        name, number = picks.find(record, column)
        of = places.setdefault(name, ([], []))
        of[0].append(place)
        of[1].append(number)
    for name, (to, numbers) in places.items():
        words[to] = picks.matrix(name)[:, numbers].T.view(np.uint64)
    return Rows(first.entries, first.columns, rollup.starts_ms, words)


class _Picks:
    """Finds the statistics of a roll-up by the names that they are stored under."""

    def __init__(self, rollup: Rollup) -> None:
        self._rollup = rollup
        self._at = {
            (record, field, device): (int(sort), i)
            for sort in (*LEVELS, *COUNTERS)
            for i, (record, (field, device)) in enumerate(
                zip(
                    rollup.scope.series[sort].records.tolist(), rollup.scope.series[sort].names, strict=True
                )
            )
        }  # fmt: skip

    def find(self, record: int, column: Column) -> tuple[tuple[str, int], int]:
        """Return which matrix a column is of, (statistic, sort), and its place there."""
        if column.field in {TICKS, COVERED}:
            return (column.field, 0), record
        base, _, statistic = column.field.rpartition(":")
        sort, i = self._at[record, base, column.device]
        is_rounded = statistic == "mean" or (base in DERIVED and statistic != "count")
        return (f"{statistic}, rounded" if is_rounded else statistic, sort), i

    def matrix(self, name: tuple[str, int]) -> Any:
        """Return a matrix, a row a bucket, of eight bytes each."""
        rollup, (statistic, sort) = self._rollup, name
        counters = rollup.counters
        if statistic == TICKS:
            return np.ascontiguousarray(rollup.ticks)
        if statistic == COVERED:
            return self._covered_ns()
        if sort in COUNTERS:
            return {
                "increment": counters.increments,
                "max_rate": rounded(counters.max_rates),
                "covered": counters.covered_ns,
            }[statistic]
        levels = rollup.levels[sort]
        which, _, is_rounded = statistic.partition(", ")
        if which == "count":
            return np.ascontiguousarray(levels.counts)
        values = levels.sums / np.maximum(levels.counts, 1) if which == "mean" else getattr(levels, f"{which}s")
        return np.where(levels.counts > 0, rounded(values), 0.0) if is_rounded else np.ascontiguousarray(values)

    def _covered_ns(self) -> Ints:
        records = np.concatenate([self._rollup.scope.series[sort].records for sort in COUNTERS])
        covered = np.zeros(self._rollup.ticks.shape, dtype=np.int64)
        for i, record in enumerate(records.tolist()):
            np.maximum(covered[:, record], self._rollup.counters.covered_ns[:, i], out=covered[:, record])
        return covered


def store(
    connection: sqlite3.Connection, numbers: Numbers, stream: int, ids: Iterator[int], parts: Sequence[Rows]
) -> Directory:
    """Store stretches that follow each other as one segment of a tier's *stream*. Raises sqlite3.Error."""
    made, series = _directory(numbers, ids, parts)
    segment = begin(connection)
    blobs = _Blobs()
    for group in range(made.groups):
        rows = ((schema.chunk_id(segment, field, group), blobs.of(its)) for field, its in _series(made, series, group))
        connection.executemany("INSERT INTO chunk VALUES (?, ?)", rows)
    publish(connection, segment, stream, LEVEL, made)
    return made


class _Blobs:
    """Packs chunks. Several of a segment are alike: where a step is a tick its least value is its greatest too."""

    def __init__(self) -> None:
        self._packed: dict[tuple[object, ...], bytes] = {}

    def of(self, series: Sequence[chunk.Series]) -> bytes:
        """Return the chunk of some series."""
        key = tuple(
            (one.type, len(one.words), int(one.words[0]), int(one.words[-1]), crc32(one.words.data)) for one in series
        )
        if key not in self._packed:
            self._packed[key] = chunk.encode(series, joint=False)
        return self._packed[key]


def _directory(
    numbers: Numbers, ids: Iterator[int], parts: Sequence[Rows]
) -> tuple[Directory, dict[tuple[int, int], list[Words]]]:
    """Make a segment's directory, and the values of each (member, column)."""
    members, names, columns, shapes = Index(), Index(), Index(), Index()
    made = Directory()
    layouts = []
    series: dict[tuple[int, int], list[Words]] = {}
    for part in parts:
        whose = members_of([(entry.kind, entry.uuid, entry.name, entry.incarnation) for entry in part.entries])
        layout, at = [], 0
        for entry, member, its in zip(part.entries, whose, part.columns, strict=True):
            of = [columns.place(directory.Column(numbers.field(c.field), c.device, c.type)) for c in its]
            shape = np.array(of, dtype=np.int64)
            place = members.place(member)
            layout.append((place, shapes.place(shape.tobytes(), shape), names.place((entry.name,))))
            for column in of:
                series.setdefault((place, column), []).append(part.words[at])
                at += 1
        layouts.append(np.array(layout, dtype=np.int64).reshape(-1, directory.LAYOUT_WIDTH))
    made.members, made.columns = members.items, columns.items
    made.shapes, made.layouts = Ragged.of(shapes.items), Ragged.of(layouts, directory.LAYOUT_WIDTH)
    made.names = [name for (name,) in names.items]
    made.time_ms = np.concatenate([part.starts_ms for part in parts])
    count = len(made.time_ms)
    # A bucket's boot-time clock is the number of the last tick in it, which has a number of its own.
    made.ids, made.boot_ns = _numbered(ids, count)
    made.boots, made.boot, made.call_ns = [BOOT], np.zeros(count, np.int64), np.zeros(count, np.int64)
    made.layout_of = np.repeat(np.arange(len(parts)), [len(part.starts_ms) for part in parts])
    made.lead = np.zeros(count, dtype=np.int64)
    for place in range(len(made.members)):
        made.breaks[place, EVERYTHING] = [int(made.ticks_of(place)[0])]
    return made, series


def _numbered(ids: Iterator[int], count: int) -> tuple[Ints, Ints]:
    ticks, buckets = zip(*((next(ids), next(ids)) for _ in range(count)), strict=True)
    return np.array(buckets, dtype=np.int64), np.array(ticks, dtype=np.int64)


def _series(
    made: Directory, words: dict[tuple[int, int], list[Words]], group: int
) -> Iterator[tuple[int, list[chunk.Series]]]:
    """Give, by field, the series of a group as they go into a chunk; none begins anew but with its first value."""
    for field in made.fields:
        pairs = made.series(field, group)
        if pairs:
            yield field, [chunk.Series(made.columns[pair[1]].type, np.concatenate(words[pair])) for pair in pairs]
