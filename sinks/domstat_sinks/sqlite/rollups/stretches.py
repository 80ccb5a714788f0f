"""Stretches: neighbouring ticks of one part of a layout, as roll-ups are made of them.

Where their values come from, head rows or a segment, is a :class:`Values`'s to know.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.heads.layout import Column, Entry
from domstat_sinks.sqlite.heads.row import PART_RECORDS, Words
from domstat_sinks.sqlite.heads.rows import keep
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.rollups.increments import Run, Stamps
from domstat_sinks.sqlite.rollups.keyfields import Keyed, find_keyed
from domstat_sinks.sqlite.rollups.lastknown import cut_runs
from domstat_sinks.sqlite.rollups.rollplan import Plan, plan_part

TICKS = 128
"""Ticks rolled up in one step: twice a slice of the usual length, and of 64 guests some milliseconds."""


PARTS_KEPT = 128
"""Parts of a segment's layouts kept, some 50 KB each: those of one layout of the largest host, and some more. Where
guests come and go an hour has hundreds of layouts, each of which is met once."""


class Part(Struct, frozen=True):
    """A part of a layout, prepared to be rolled up."""

    plan: Plan
    keyed: Keyed


class Stretch(Struct, frozen=True):
    """Neighbouring *ticks* of a segment, all of one of its *layouts*, and one part of that."""

    layout: int
    part: int
    ticks: Sequence[int]


class Values(Protocol):
    """Where the values of a segment's ticks come from."""

    directory: Directory

    def part(self, layout: int, part: int) -> Part:
        """Return a part of one of the directory's layouts."""

    def words(self, stretch: Stretch) -> Generator[None, None, Words]:
        """Unpack a stretch's words in small steps, and return them, a row a tick. Raises DamagedError."""


def make_part(
    entries: Sequence[Entry],
    columns: Sequence[tuple[Column, ...]],
    guests_before: Sequence[int],
    guests: int,
    part: int,
) -> Part:
    """Prepare a part of a layout, of which all is given."""
    own = slice(part * PART_RECORDS, (part + 1) * PART_RECORDS)
    plan = plan_part(entries[own], columns[own], guests_before[: len(entries)][own], guests or 1)
    return Part(plan, find_keyed(plan))


def stretches(directory: Directory, ticks: Sequence[int], most: int = TICKS) -> Iterator[Stretch]:
    """Cut some ticks of a segment into stretches, in an order in which no subject's records change places."""
    of_layouts = directory.layout_of[ticks].tolist()
    subjects = {
        layout: frozenset(
            (directory.members[member].kind, directory.members[member].uuid, directory.members[member].name)
            for member in directory.layouts[layout][:, 0].tolist()
        )
        for layout in set(of_layouts)
    }
    for layout, rows in cut_runs(of_layouts, subjects):
        for start in range(0, len(rows), most):
            own = [ticks[row] for row in rows[start : start + most]]
            for part in range(-(-len(directory.layouts[layout]) // PART_RECORDS)):
                yield Stretch(layout, part, own)


def run_of(values: Values, stretch: Stretch, words: Words, boots: Mapping[str, int]) -> Run:
    """Make a run of a stretch and its *words*; *boots* has a number for every boot."""
    directory, ticks = values.directory, np.array(stretch.ticks)
    numbers = np.array([boots[boot_id] for boot_id in directory.boots], dtype=np.int64)
    first = stretch.part * PART_RECORDS
    extras = [
        (row, position - first, extra)
        for row, tick in enumerate(stretch.ticks)
        for position, extra in directory.extras.get(tick, {}).items()
        if first <= position < first + PART_RECORDS
    ]
    return Run(
        plan=values.part(stretch.layout, stretch.part).plan,
        stamps=Stamps(
            directory.time_ms[ticks], directory.boot_ns[ticks], numbers[directory.boot[ticks]], directory.call_ns[ticks]
        ),
        words=words,
        anew={(row, record): extra.anew for row, record, extra in extras if extra.anew},
        missing={(row, record): extra.partial.missing for row, record, extra in extras if extra.partial},
    )


class Sealed:
    """The values of a segment."""

    def __init__(self, segments: Segments, segment: int) -> None:
        self.directory = segments.directory(segment)
        self._segments = segments
        self._segment = segment
        self._parts: OrderedDict[tuple[int, int], Part] = OrderedDict()

    def part(self, layout: int, part: int) -> Part:
        """Return a part of one of the directory's layouts."""
        known = self._parts.get((layout, part))
        if known is None:
            directory = self.directory
            records = directory.layouts[layout].tolist()
            entries = []
            for member, _, name in records:
                of = directory.members[member]
                entries.append(Entry(of.kind, of.uuid, directory.names[name], of.incarnation))
            columns = [tuple(self._column(column) for column in directory.shapes[shape]) for _, shape, _ in records]
            known = make_part(entries, columns, *directory.guests[layout], part)
            keep(self._parts, (layout, part), known, PARTS_KEPT)
        return known

    def _column(self, column: int) -> Column:
        spec = self.directory.columns[column]
        return Column(self._segments.field(spec.field), spec.device, spec.type)

    def words(self, stretch: Stretch) -> Generator[None, None, Words]:
        """Unpack a stretch's words, a field at a time."""
        directory, ticks = self.directory, np.array(stretch.ticks)
        first = stretch.part * PART_RECORDS
        records = directory.layouts[stretch.layout][first : first + PART_RECORDS].tolist()
        series = [(member, column) for member, shape, _ in records for column in directory.shapes[shape].tolist()]
        words = np.zeros((len(ticks), len(series)), dtype=np.uint64)
        by_field: dict[int, list[int]] = {}
        for place, (_, column) in enumerate(series):
            by_field.setdefault(directory.columns[column].field, []).append(place)
        for places in by_field.values():
            for place in places:
                member, column = series[place]
                rows = np.searchsorted(directory.ticks_of(member, column), ticks)
                words[:, place] = self._segments.words(self._segment, member, column)[rows]
            yield
        return words
