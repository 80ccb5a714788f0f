"""Merging: small segments of one stream become a longer one, chunk by chunk between ticks.

A segment of some minutes is soon made and packs badly; a day packs best. Nothing is worked out anew: values are
strung together, and what the ticks of the later segment follow on, its leads, are in the earlier one already.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.keeping.sealing import DAY_MS, begin, positions, publish, retire, write_chunks
from domstat_sinks.sqlite.packed import chunk
from domstat_sinks.sqlite.packed.directory import GROUP, Directory, Index, Integers
from domstat_sinks.sqlite.packed.prediction import PREDICTED, predict
from domstat_sinks.sqlite.packed.segments import Segments

HOUR_MS = 3_600_000


class Level(Struct, frozen=True):
    """How far segments are merged: those of one *period* of wall time (ms), or of at least *enough* ticks."""

    period_ms: int
    enough: int


LEVELS = {1: Level(HOUR_MS, 1_024), 2: Level(DAY_MS, 8_640)}
"""At 10 s an hour has 360 ticks and a day 8,640; whoever ticks faster has segments of as many ticks, not of a day."""

TIER_LEVELS = {
    1: {1: Level(DAY_MS, 512), 2: Level(10 * DAY_MS, 4_096)},
    2: {1: Level(10 * DAY_MS, 512), 2: Level(30 * DAY_MS, 4_096)},
}
"""By tier, the same for buckets: a day has 288 of five minutes, thirty days have 720 hours."""

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


CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes of packed chunks kept while merging: those of one field and group, of all hours of a day."""


class _Input:
    """A segment to be merged, and where its members, columns and ticks are in the merged one."""

    def __init__(self, segment: int, directory: Directory) -> None:
        self.segment = segment
        self.directory = directory
        self.members: dict[int, int] = {}
        """By merged member, the member here."""
        self.columns: dict[int, int] = {}
        self.ticks: Integers = np.zeros(0, dtype=np.int64)
        """By tick here, the merged tick; -1 for one that an earlier segment has."""


class Merging:
    """Some segments of a stream on their way into one."""

    def __init__(self, connection: sqlite3.Connection, stream: int, level: int, segments: Sequence[int]) -> None:
        self.stream = stream
        self._connection = connection
        self._level = level
        self._segments = segments
        self._read = Segments(connection, CHUNK_BYTES)
        self._inputs: list[_Input] = []
        self._todo: list[tuple[int, int]] = []
        self._unpacked: dict[tuple[int, int, int], list[Words]] = {}
        """The inputs' chunks that the chunk at hand is made of."""
        self.segment = begin(connection)

    def step(self) -> bool:
        """Write one chunk, or at last publish; return whether there is more. Raises sqlite3.Error, DamagedError."""
        if not self._inputs:
            self._inputs = [_Input(segment, self._read.directory(segment)) for segment in self._segments]
            self._directory = _merged(self._inputs)
            self._todo = [(field, group) for group in range(self._directory.groups) for field in self._directory.fields]
            return True
        if self._todo:
            field, group = self._todo.pop()
            write_chunks(
                self._connection,
                self.segment,
                group,
                iter([(field, self._series(field, group))]),
                joint=self._level < LAST,
            )
            return True
        retire(self._connection, self._segments)
        publish(self._connection, self.segment, self.stream, self._level, self._directory)
        return False

    def give_up(self) -> None:
        """Leave segments of which one is damaged as they are: what can be read of them stays so."""
        level = [(self._level, segment) for segment in self._segments]
        self._connection.executemany("UPDATE segment SET level = ? WHERE id = ?", level)

    def _series(self, field: int, group: int) -> list[chunk.Series]:
        directory = self._directory
        self._unpacked.clear()
        name = self._read.field(field)
        pairs = directory.series(field, group)
        together = self._together(field, group, pairs)
        return [
            chunk.Series(
                directory.columns[column].type,
                self._words(member, column) if together is None else together[place],
                self._reference(name, member, column),
                positions(directory, member, column),
            )
            for place, (member, column) in enumerate(pairs)
        ]

    def _together(self, field: int, group: int, pairs: Sequence[tuple[int, int]]) -> Words | None:
        """Join all series of a chunk at once, where all inputs have just these, in all their ticks."""
        found = []
        for item in self._inputs:
            own = [(item.members.get(member), item.columns.get(column)) for member, column in pairs]
            if item.directory.series(field, group) != own:
                return None
            matrix = self._read.chunk(item.segment, field, group).matrix()
            if matrix is None or matrix.shape[1] != len(item.directory):
                return None
            found.append(matrix if (item.ticks >= 0).all() else matrix[:, item.ticks >= 0])
        places = np.concatenate([item.ticks[item.ticks >= 0] for item in self._inputs])
        return np.concatenate(found, axis=1) if bool((places[1:] > places[:-1]).all()) else None

    def _words(self, member: int, column: int) -> Words:
        """Join the values of a series."""
        found, ticks = [], []
        for item in self._inputs:
            own_member, own_column = item.members.get(member), item.columns.get(column)
            if own_member is None or own_column is None:
                continue
            own = item.directory.ticks_of(own_member, own_column)
            if len(own):
                places = item.ticks[own]
                fresh = places >= 0
                words = self._input(item, own_member, own_column)
                found.append(words if fresh.all() else words[fresh])
                ticks.append(places if fresh.all() else places[fresh])
        words, places = np.concatenate(found), np.concatenate(ticks)
        in_order = bool((places[1:] > places[:-1]).all())
        return words if in_order else words[np.argsort(places)]

    def _input(self, item: _Input, member: int, column: int) -> Words:
        """Return a series of an input, whose chunk is unpacked whole: its neighbours are asked for next."""
        key = (item.segment, item.directory.columns[column].field, member // GROUP)
        place = item.directory.place(member, column)
        if self._read.chunk(*key).predicted(place):
            return self._read.words(item.segment, member, column)
        if key not in self._unpacked:
            self._unpacked[key] = self._read.chunk(*key).all_words()
        return self._unpacked[key][place]

    def _reference(self, name: str, member: int, column: int) -> Words | None:
        """Return what a column is predicted from, where its member has all of that in the same ticks."""
        if name not in PREDICTED:
            return None
        directory = self._directory
        spec = directory.columns[column]
        others = [
            other
            for wanted in PREDICTED[name]
            for field in directory.fields
            if self._read.field(field) == wanted
            for other in directory.columns_of(member, field)
            if directory.columns[other].device == spec.device
        ]
        ticks = directory.ticks_of(member, column)
        if len(others) != len(PREDICTED[name]) or any(
            not np.array_equal(directory.ticks_of(member, other), ticks) for other in others
        ):
            return None
        return predict([self._words(member, other) for other in others])


def _merged(inputs: Sequence[_Input]) -> Directory:
    """Make the directory of all inputs' ticks, each once, in order."""
    made = Directory()
    _merge_ticks(made, inputs)
    boots, members, names, columns, shapes, layouts = (Index() for _ in range(6))
    boot, layout_of = np.zeros(len(made.ids), dtype=np.int64), np.zeros(len(made.ids), dtype=np.int64)
    for item in inputs:
        old = item.directory
        to_member = [members.place(member) for member in old.members]
        to_column = np.array([columns.place(column) for column in old.columns], dtype=np.int64)
        to_name = [names.place((name,)) for name in old.names]
        to_boot = np.array([boots.place(boot_id) for boot_id in old.boots], dtype=np.int64)
        to_shape = [_place_array(shapes, to_column[shape]) for shape in old.shapes]
        translate = [np.array(to, dtype=np.int64) for to in (to_member, to_shape, to_name)]
        to_layout = np.array([_place_array(layouts, _translated(layout, translate)) for layout in old.layouts])
        item.members = {merged: own for own, merged in enumerate(to_member)}
        item.columns = {int(merged): own for own, merged in enumerate(to_column)}
        fresh = item.ticks >= 0
        boot[item.ticks[fresh]] = to_boot[old.boot[fresh]]
        layout_of[item.ticks[fresh]] = to_layout[old.layout_of[fresh]]
        made.extras.update(
            (int(item.ticks[tick]), extras) for tick, extras in old.extras.items() if item.ticks[tick] >= 0
        )
        for (member, column), ticks in old.breaks.items():
            key = (to_member[member], int(to_column[column]) if column >= 0 else column)
            kept = [int(item.ticks[tick]) for tick in ticks if item.ticks[tick] >= 0]
            if kept:
                made.breaks[key] = sorted({*made.breaks.get(key, []), *kept})
    made.boot, made.layout_of = boot, layout_of
    made.boots, made.members, made.columns = boots.items, members.items, columns.items
    made.names = [name for (name,) in names.items]
    made.shapes, made.layouts = shapes.items, layouts.items
    return made


def _merge_ticks(made: Directory, inputs: Sequence[_Input]) -> None:
    """Put the inputs' ticks in order; what several have is taken from the first that has it as its own."""
    ids: dict[int, tuple[int, int]] = {}
    for number, item in enumerate(inputs):
        for tick, (head_id, lead) in enumerate(
            zip(item.directory.ids.tolist(), item.directory.lead.tolist(), strict=True)
        ):
            if head_id not in ids or not lead:
                ids[head_id] = (number, tick)
    order = sorted(ids)
    for item in inputs:
        item.ticks = np.full(len(item.directory), -1, dtype=np.int64)
    for place, head_id in enumerate(order):
        number, tick = ids[head_id]
        inputs[number].ticks[tick] = place
    chosen = [ids[head_id] for head_id in order]

    def gather(pick: Callable[[Directory], Any]) -> Integers:
        return np.array([int(pick(inputs[number].directory)[tick]) for number, tick in chosen], dtype=np.int64)

    made.ids = np.array(order, dtype=np.int64)
    made.time_ms, made.boot_ns = gather(lambda old: old.time_ms), gather(lambda old: old.boot_ns)
    made.call_ns, made.lead = gather(lambda old: old.call_ns), gather(lambda old: old.lead)


def _translated(layout: Integers, translate: Sequence[Integers]) -> Integers:
    return np.stack([to[layout[:, i]] for i, to in enumerate(translate)], axis=1)


def _place_array(index: Index, numbers: Integers) -> int:
    return index.place(numbers.tobytes(), numbers)
