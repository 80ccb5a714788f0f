"""Merging: small segments of one stream become a longer one, chunk by chunk between ticks.

A segment of some minutes is soon made and packs badly; a day packs best. Nothing is worked out anew: values are
strung together, and what the ticks of the later segment follow on, its leads, are in the earlier one already.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.keeping.sealing import DAY_MS, begin, insert_chunk, positions, publish, retire
from domstat_sinks.sqlite.packed import chunk
from domstat_sinks.sqlite.packed.directory import Directory, Index
from domstat_sinks.sqlite.packed.prediction import PREDICTED, predict
from domstat_sinks.sqlite.packed.ragged import Distinct, Integers, Ragged
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.packed.seriesindex import FieldSeries, SeriesIndex

HOUR_MS = 3_600_000


class Level(Struct, frozen=True):
    """How far segments are merged: those of one *period* of wall time (ms), or of at least *enough* ticks."""

    period_ms: int
    enough: int


LEVELS = {1: Level(HOUR_MS, 1_024), 2: Level(DAY_MS, 8_640)}
"""At 10 s an hour has 360 ticks and a day 8,640; whoever ticks faster has segments of as many ticks, not of a day."""

TIER_LEVELS = {
    1: {1: Level(DAY_MS, 512), 2: Level(10 * DAY_MS, 4_096)},
    2: {1: Level(10 * DAY_MS, 512), 2: Level(30 * DAY_MS, 4_096), 3: Level(120 * DAY_MS, 4_096)},
}
"""By tier, the same for buckets: a day has 288 of five minutes, 120 days have 2,880 hours. Hours are asked for by the
year, and a segment costs a question as much as hundreds of its buckets do; five minutes are asked for by the month, and
go while there are others: a segment at a time."""

LAST = max(LEVELS)
"""The level from which nothing is merged any further: its chunks are packed as small as can be."""

SEGMENTS_MAX = 512
"""Segments looked at and merged at once: a day of minutes has no more than 144, and of hours 24."""


def due(connection: sqlite3.Connection, stream: int, tier: int = 0) -> tuple[int, list[int]] | None:
    """Find segments of a stream that are to be merged: the new level, and their numbers. Raises sqlite3.Error."""
    for level, bounds in TIER_LEVELS.get(tier, LEVELS).items():
        found = connection.execute(
            "SELECT id, start_ms / ?, ticks, level < ? FROM segment WHERE stream = ? AND first_id > ("
            " SELECT ifnull(max(last_id), 0) FROM segment WHERE stream = ? AND level >= ?)"
            " ORDER BY first_id LIMIT ?",
            (bounds.period_ms, level, stream, stream, level, SEGMENTS_MAX),
        ).fetchall()
        run = _complete_run(found, bounds.enough)
        if run:
            return level, run
    return None


def _complete_run(found: Sequence[tuple[int, int, int, int]], enough: int) -> list[int]:
    """Return the first run of two or more segments of one period that no more belong to."""
    run: list[int] = []
    period, ticks = None, 0
    for segment, its_period, its_ticks, _ in found:
        if run and (its_period != period or ticks >= enough):
            if len(run) > 1:
                return run
            run, ticks = [], 0
        run.append(segment)
        period, ticks = its_period, ticks + its_ticks
    return run if len(run) > 1 and ticks >= enough else []


CHUNK_BYTES = 512 * 1024
"""Bytes of packed chunks kept while a field is merged: those of one group, of all hours of a day. Unpacked, as they are
kept, they take five times as much, and thirty times where a guest's hours are alike."""


class _Input:
    """A segment to be merged, and where its members, columns and ticks are in the merged one."""

    def __init__(self, segment: int, directory: Directory) -> None:
        self.segment = segment
        self.directory = directory
        self.index = SeriesIndex(directory)
        self.members: Integers = np.zeros(0, dtype=np.int64)
        """By member here, the merged one."""
        self.columns: Integers = np.zeros(0, dtype=np.int64)
        """By column here, the merged one."""
        self.ticks: Integers = np.zeros(0, dtype=np.int64)
        """By tick here, the merged tick; -1 for one that an earlier segment has."""

    @cached_property
    def fresh(self) -> tuple[Any, Any]:
        """Which ticks are merged, and where to; slices where they are neighbours, which are copied faster."""
        own = np.flatnonzero(self.ticks >= 0)
        return _as_slice(own), _as_slice(self.ticks[own])


class _Field(Struct, frozen=True):
    """The series of one field: the merged ones; and of each input its own, and by each of these the merged one."""

    number: int
    merged: FieldSeries
    own: list[tuple[_Input, FieldSeries, Integers]]


class Merging:
    """Some segments of a stream on their way into one."""

    def __init__(self, connection: sqlite3.Connection, stream: int, level: int, segments: Sequence[int]) -> None:
        self.stream = stream
        self._connection = connection
        self._level = level
        self._segments = segments
        self._read = Segments(connection, CHUNK_BYTES)
        self._inputs: list[_Input] = []
        self.segment = begin(connection)
        self._steps = self._all_steps()

    def step(self) -> bool:
        """Do part of a chunk, or at last publish; return whether there is more. Raises sqlite3.Error, DamagedError."""
        return next(self._steps, None) is not None

    def give_up(self) -> None:
        """Leave segments of which one is damaged as they are: what can be read of them stays so."""
        level = [(self._level, segment) for segment in self._segments]
        self._connection.executemany("UPDATE segment SET level = ? WHERE id = ?", level)

    def _all_steps(self) -> Iterator[bool]:
        pace = chunk.Pace()
        known: dict[Any, Any] = {}
        for segment in self._segments:
            self._inputs.append(_Input(segment, _sharing(self._read.directory(segment), known)))
            if pace.is_enough(len(self._inputs[-1].directory.columns)):
                yield True
        directory = self._directory = yield from _merged(self._inputs)
        self._index = SeriesIndex(directory)
        self._broken = {member for (member, _), ticks in directory.breaks.items() if max(ticks)}
        """The members of which something begins anew."""
        yield True
        for number in directory.fields:
            field = self._field(number)
            for group in sorted(set(field.merged.groups.tolist())):
                series = yield from self._series(field, group)
                blob = yield from chunk.encoding(series, joint=self._level < LAST)
                insert_chunk(self._connection, self.segment, group, number, blob)
                yield True
            self._forget()
        retire(self._connection, self._segments)
        publish(self._connection, self.segment, self.stream, self._level, directory)

    def _forget(self) -> None:
        """Forget what was worked out for a field: the next has other chunks, and ticks are soon found anew."""
        self._read.forget_chunks()
        for directory in (self._directory, *(item.directory for item in self._inputs)):
            directory.forget_ticks()

    def _field(self, number: int) -> _Field:
        merged, count = self._index.of(number), len(self._directory.columns)
        keys = merged.members * count + merged.columns
        own = []
        for item in self._inputs:
            its = item.index.of(number)
            own.append(
                (item, its, np.searchsorted(keys, item.members[its.members] * count + item.columns[its.columns]))
            )
        return _Field(number, merged, own)

    def _series(self, field: _Field, group: int) -> Generator[bool, None, list[chunk.Series]]:
        """Put the series of a chunk together, a segment at a time."""
        directory, name = self._directory, self._read.field(field.number)
        words = yield from self._together(field, group)
        references = (yield from self._references(name, field, group)) if name in PREDICTED else {}
        always = field.merged.always[field.merged.groups == group].tolist()
        series = []
        for (member, column), own, is_whole in zip(_pairs(field, group), words, always, strict=True):
            series.append(
                chunk.Series(
                    directory.columns[column].type,
                    own if is_whole else own[directory.ticks_of(member, column)],
                    references.get((member, column)),
                    positions(directory, member, column) if member in self._broken else (),
                )
            )
        return series

    def _together(self, field: _Field, group: int) -> Generator[bool, None, Words]:
        """Return a row of words for each series of a chunk, all ticks long; 0 where it has no value."""
        words = np.zeros((int((field.merged.groups == group).sum()), len(self._directory)), dtype=np.uint64)
        pace = chunk.Pace()
        for item, own, merged in field.own:
            chosen = np.flatnonzero(field.merged.groups[merged] == group)
            for own_group in sorted(set(own.groups[chosen].tolist())):
                of = chosen[own.groups[chosen] == own_group]
                self._take(item, field.number, own_group, own, of, field.merged.rows[merged[of]], words)
                if pace.is_enough(len(of) * len(item.directory)):
                    yield True
        return words

    def _take(
        self, item: _Input, field: int, group: int, own: FieldSeries, of: Integers, rows: Integers, words: Words
    ) -> None:
        """Lay over *words* some series *of* an input, which are in one chunk there, each into its row."""
        opened = self._read.chunk(item.segment, field, group)
        is_whole = opened.are_rows(own.rows[of], len(item.directory))
        if is_whole.any():
            ticks, merged = item.fresh
            into = rows[is_whole] if isinstance(merged, slice) else rows[is_whole][:, None]
            words[into, merged] = opened.rows(own.rows[of[is_whole]])[:, ticks]
        for place in np.flatnonzero(~is_whole).tolist():
            member, column = int(own.members[of[place]]), int(own.columns[of[place]])
            at = item.ticks[item.directory.ticks_of(member, column)]
            row = int(own.rows[of[place]])
            words[rows[place], at[at >= 0]] = self._read.words(item.segment, member, column, row=row)[at >= 0]

    def _references(self, name: str, field: _Field, group: int) -> Generator[bool, None, dict[tuple[int, int], Words]]:
        """Return, by series, what it is predicted from, where its member has all of that in the same ticks."""
        directory = self._directory
        numbers = {self._read.field(other): other for other in directory.fields}
        parts: list[dict[tuple[int, str | None], tuple[int, Words]]] = []
        for wanted in PREDICTED[name]:
            part: dict[tuple[int, str | None], tuple[int, Words]] = {}
            if wanted in numbers:
                other = self._field(numbers[wanted])
                words = yield from self._together(other, group)
                for (member, column), own in zip(_pairs(other, group), words, strict=True):
                    ticks = directory.ticks_of(member, column)
                    part[member, directory.columns[column].device] = column, own[ticks]  # not the row, all ticks long
            parts.append(part)
        found = {}
        for member, column in _pairs(field, group):
            ticks = directory.ticks_of(member, column)
            others = [part[key] for part in parts if (key := (member, directory.columns[column].device)) in part]
            is_same = all(np.array_equal(directory.ticks_of(member, other), ticks) for other, _ in others)
            if len(others) == len(parts) and is_same:
                found[member, column] = predict([words for _, words in others])
        return found


def _pairs(field: _Field, group: int) -> list[tuple[int, int]]:
    """Return (member, column) of the merged series in one chunk, in their order there."""
    chosen = field.merged.groups == group
    return list(zip(field.merged.members[chosen].tolist(), field.merged.columns[chosen].tolist(), strict=True))


def _as_slice(places: Integers) -> Any:
    if len(places) and int(places[-1]) - int(places[0]) == len(places) - 1 and bool((np.diff(places) == 1).all()):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _sharing(directory: Directory, known: dict[Any, Any]) -> Directory:
    """Have a directory's columns and members be those of the directories before: a day's are nearly all the same."""
    directory.columns = [known.setdefault(column, column) for column in directory.columns]
    directory.members = [known.setdefault(member, member) for member in directory.members]
    return directory


def _merged(inputs: Sequence[_Input]) -> Generator[bool, None, Directory]:
    """Make the directory of all inputs' ticks, each once, in order."""
    made = Directory()
    _merge_ticks(made, inputs)
    pace = chunk.Pace()
    boots, members, names, columns = (Index() for _ in range(4))
    shapes, layouts = Distinct(), Distinct()
    breaks: dict[tuple[int, ...], list[int]] = {}
    """The ticks at which all counters of a guest begin anew are one list."""
    boot, layout_of = np.zeros(len(made.ids), dtype=np.int64), np.zeros(len(made.ids), dtype=np.int64)
    for item in inputs:
        old = item.directory
        to_member = np.array([members.place(member) for member in old.members], dtype=np.int64)
        to_column = np.array([columns.place(column) for column in old.columns], dtype=np.int64)
        to_name = np.array([names.place((name,)) for name in old.names], dtype=np.int64)
        to_boot = np.array([boots.place(boot_id) for boot_id in old.boots], dtype=np.int64)
        to_shape = shapes.places(Ragged(to_column[old.shapes.flat], old.shapes.lengths))
        translated = [to[own] for to, own in zip((to_member, to_shape, to_name), old.layouts.flat.T, strict=True)]
        to_layout = layouts.places(Ragged(np.stack(translated, axis=1), old.layouts.lengths))
        item.members, item.columns = to_member, to_column
        fresh = item.ticks >= 0
        boot[item.ticks[fresh]] = to_boot[old.boot[fresh]]
        layout_of[item.ticks[fresh]] = to_layout[old.layout_of[fresh]]
        made.extras.update(
            (int(item.ticks[tick]), extras) for tick, extras in old.extras.items() if item.ticks[tick] >= 0
        )
        for (member, column), ticks in old.breaks.items():
            key = (int(to_member[member]), int(to_column[column]) if column >= 0 else column)
            kept = [int(item.ticks[tick]) for tick in ticks if item.ticks[tick] >= 0]
            if kept:
                all_ = sorted({*made.breaks.get(key, []), *kept})
                made.breaks[key] = breaks.setdefault(tuple(all_), all_)
        old.extras, old.breaks, old.boot = {}, {}, _NONE
        if pace.is_enough(len(old.columns)):
            yield True
    made.boot, made.layout_of = boot, layout_of
    made.boots, made.members, made.columns = boots.items, members.items, columns.items
    made.names = [name for (name,) in names.items]
    made.shapes, made.layouts = shapes.together(), layouts.together()
    return made


def _merge_ticks(made: Directory, inputs: Sequence[_Input]) -> None:
    """Put the inputs' ticks in order; what several have is taken from the first that has it as its own."""

    def of_all(name: str) -> Integers:
        return np.concatenate([getattr(item.directory, name) for item in inputs])

    ids = of_all("ids")
    order = np.lexsort((of_all("lead"), ids))
    chosen = order[np.flatnonzero(np.diff(ids[order], prepend=-1))]
    places = np.full(len(ids), -1, dtype=np.int64)
    places[chosen] = np.arange(len(chosen))
    ends = np.cumsum([len(item.directory) for item in inputs])
    for item, own in zip(inputs, np.split(places, ends), strict=False):  # behind the last end there is one more: none
        item.ticks = own
    for name in ("ids", "time_ms", "boot_ns", "call_ns", "lead"):
        setattr(made, name, of_all(name)[chosen])
        if name != "ids":  # which say how many there are
            for item in inputs:
                setattr(item.directory, name, _NONE)


_NONE: Integers = np.zeros(0, dtype=np.int64)
