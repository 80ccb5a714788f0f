"""Head rows on their way into a segment: a slice of one stream's ticks, unpacked group by group.

What stands here is read only; :mod:`..keeping.sealing` writes what comes of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.model import Moment, Stamp, moment_within
from domstat.rates import Baseline, Breaks, advance
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.layout import unpack
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.heads.rows import LayoutRead, Rows, ShapeRead, Subject
from domstat_sinks.sqlite.packed.directory import (
    EVERYTHING,
    GROUP,
    Column,
    Directory,
    Index,
    Integers,
    Member,
    members_of,
)

LEADS_MAX = 64
"""Ticks kept as leads of the next segment: as many parts as a large host's tick comes in."""

SHAPES_SPARE = 16
"""Shapes whose columns have numbers although a slice does not have them, some 2 KB each, and as many as it has."""

CHANGES_MAX = 8
"""Changes in a slice up to which what was made for its layouts is kept for the next: see :attr:`Slice.is_restless`."""

MATRICES_BYTES = 8 * 1024 * 1024
"""Bytes of unpacked parts kept, besides the one at hand: values of a group are sealed and then rolled up."""

ROWS_AT_ONCE = 256
"""Series that are laid out, or looked through, at once, which takes a copy of them: 1 MiB at 512 ticks."""


class Tick(Struct, frozen=True):
    """One head row, its values still packed."""

    id: int
    stamp: Stamp
    layout_id: int
    layout: LayoutRead
    body: row.Body


class Columns:
    """Every column that a stream's shapes had lately, by numbers of its own, so that what is common is soon found."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._clear()

    def _clear(self) -> None:
        self._index = Index()
        self._are_counters: list[bool] = []
        self._of_shapes: dict[int, tuple[ShapeRead, Integers]] = {}
        """By the number of the very object, which is kept with it."""

    def together(self, shapes: Sequence[ShapeRead]) -> tuple[list[Column], list[bool], list[Integers]]:
        """Return all columns of *shapes*, each once, whether they count, and by shape the places of its own."""
        if len(self._of_shapes) > 2 * len(shapes) + SHAPES_SPARE:
            self._clear()
        of_shapes = [self._of(shape) for shape in shapes]
        found, places = np.unique(np.concatenate([*of_shapes, _NONE]), return_inverse=True)
        chosen = found.tolist()
        ends = np.cumsum([len(own) for own in of_shapes])[:-1]
        return (
            [self._index.items[number] for number in chosen],
            [self._are_counters[number] for number in chosen],
            np.split(places, ends) if len(shapes) else [],
        )

    def _of(self, shape: ShapeRead) -> Integers:
        known = self._of_shapes.get(id(shape))
        if known is None:
            own = [self._place(Column(self._numbers.field(c.field), c.device, c.type), c.field) for c in shape.columns]
            known = self._of_shapes[id(shape)] = (shape, np.array(own, dtype=np.int64))
        return known[1]

    def _place(self, column: Column, name: str) -> int:
        place = self._index.place(column)
        if place == len(self._are_counters):
            self._are_counters.append(look_up(name).kind is FieldKind.COUNTER)
        return place


class Skeleton:
    """What the directories of slices with the same layouts share: nearly always those of the slice before."""

    def __init__(self, layouts: Sequence[LayoutRead], columns: Columns) -> None:
        members, names, shapes = Index(), Index(), Index()
        pattern = Directory()
        for layout in layouts:
            places = []
            whose = members_of([(entry.kind, entry.uuid, entry.name, entry.incarnation) for entry in layout.entries])
            for entry, member, shape in zip(layout.entries, whose, layout.shapes, strict=True):
                places.append((members.place(member), shapes.place(id(shape), shape), names.place((entry.name,))))
            pattern.layouts.append(np.array(places, dtype=np.int64).reshape(-1, 3))
        self.shapes: list[ShapeRead] = shapes.items
        """The shapes as they were read, in the directory's order."""
        pattern.members, pattern.names = members.items, [name for (name,) in names.items]
        pattern.columns, self.is_counter, pattern.shapes = columns.together(self.shapes)
        self.pattern = pattern
        """A directory without ticks."""
        self.others = _incarnations(pattern.members)
        """By member, the other incarnations of the same guest."""
        self.places: dict[tuple[int, int], tuple[Integers, list[int]]] = {}
        """By layout and group, where each series' word is, and in which parts (see :meth:`Slice.group`)."""
        self._members_of: dict[int, Members] = {}

    def directory(self, ticks: Sequence[Tick], layout_of: Sequence[int], leads: int) -> Directory:
        """Make the directory of *ticks*, the first *leads* of which are leads."""
        made = self.pattern.anew()
        boots = Index()
        stamps = [tick.stamp for tick in ticks]
        made.ids = np.array([tick.id for tick in ticks], dtype=np.int64)
        made.time_ms = np.array([stamp.time_ms for stamp in stamps], dtype=np.int64)
        made.boot_ns = np.array([stamp.boot_ns for stamp in stamps], dtype=np.int64)
        made.boot = np.array([boots.place(stamp.boot_id) for stamp in stamps], dtype=np.int64)
        made.call_ns = np.array([stamp.call_ns for stamp in stamps], dtype=np.int64)
        made.layout_of = np.array(layout_of, dtype=np.int64)
        made.lead = (np.arange(len(ticks)) < leads).astype(np.int64)
        made.boots = boots.items
        made.extras = {place: tick.body.extras for place, tick in enumerate(ticks) if tick.body.extras}
        return made

    def members_of(self, group: int) -> Members:
        """Return a group's series, and whose they are."""
        known = self._members_of.get(group)
        if known is None:
            directory = self.pattern
            series = [pair for field in directory.fields for pair in directory.series(field, group)]
            places: dict[int, list[int]] = {}
            for place, (member, _) in enumerate(series):
                places.setdefault(member, []).append(place)
            counters = [place for place, (_, column) in enumerate(series) if self.is_counter[column]]
            known = self._members_of[group] = Members(series, places, np.array(counters, dtype=np.int64))
        return known


class Members(Struct, frozen=True):
    """The series of up to ``GROUP`` members, in the order of their fields."""

    series: list[tuple[int, int]]
    """(member, column) of each."""
    places: dict[int, list[int]]
    """By member, where its own are."""
    counters: Integers
    """Where those are that count."""


class Group(Struct, frozen=True):
    """The values of some members' series."""

    members: Members
    values: Words
    """A row a series, a column a tick; what a series has no value in is 0."""


class Slice:
    """Some ticks of one stream, with the leads before them."""

    def __init__(self, rows: Rows, ticks: list[Tick], leads: int) -> None:
        self._rows = rows
        self.ticks = ticks
        self.leads = leads
        self.layouts: dict[int, LayoutRead] = {tick.layout_id: tick.layout for tick in ticks}
        self.layout_reads = list(self.layouts.values())
        """The same in the directory's order."""
        self._bases: dict[tuple[int, int], Words] = {}
        self._matrices: dict[tuple[int, int], Words] = {}

    def open(self, skeleton: Skeleton) -> Directory:
        """Take the slice's skeleton, and return its directory, which breaks are still to be added to."""
        numbers = {layout_id: number for number, layout_id in enumerate(self.layouts)}
        self._skeleton = skeleton
        self.directory = skeleton.directory(self.ticks, [numbers[tick.layout_id] for tick in self.ticks], self.leads)
        return self.directory

    @property
    def is_restless(self) -> bool:
        """Whether so much came and went that the next slice has little use for what was made for this one's layouts.

        A change is a row of a layout that was not there before; those of one tick's chunks, which have no subject in
        common, are one change.
        """
        known = {tick.layout_id for tick in self.ticks[: self.leads]}
        changes, together = 0, set[Subject]()
        for tick in self.ticks[self.leads :]:
            if tick.layout_id in known:
                together.clear()
                continue
            known.add(tick.layout_id)
            if not together or not together.isdisjoint(tick.layout.subjects):
                changes += 1
                together.clear()
            together.update(tick.layout.subjects)
        return changes > CHANGES_MAX

    def group(self, group: int) -> Group:
        """Unpack the values of one group. Raises DamagedError."""
        directory, members = self.directory, self._skeleton.members_of(group)
        values = np.zeros((len(members.series), len(self.ticks)), dtype=np.uint64)
        for number, layout in enumerate(self.layouts.values()):
            ticks = np.flatnonzero(directory.layout_of == number)
            places, parts = self._places(number, layout, group, members.series)
            present = places >= 0
            if parts and present.any():
                found = [self.matrix(number, part) for part in parts]
                words = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
                for some in _portions(np.flatnonzero(present)):
                    values[np.ix_(some, ticks)] = words.T[places[some]]
        return Group(members, values)

    def _places(
        self, number: int, layout: LayoutRead, group: int, series: Sequence[tuple[int, int]]
    ) -> tuple[Integers, list[int]]:
        """Find where each series' word is among those of the parts that are needed; -1 where it is in none."""
        known = self._skeleton.places.get((number, group))
        if known is not None:
            return known
        rows_ = self.directory.layouts[number]
        positions = np.flatnonzero(rows_[:, 0] // GROUP == group).tolist()
        parts = sorted({position // row.PART_RECORDS for position in positions})
        lengths = [layout.bounds[part][1] - layout.bounds[part][0] for part in parts]
        starts = dict(zip(parts, accumulate(lengths, initial=0), strict=False))
        words: dict[tuple[int, int], int] = {}
        for position in positions:
            member, shape, _ = rows_[position].tolist()
            start = starts[position // row.PART_RECORDS] + layout.starts[position]
            columns = self.directory.shapes[shape].tolist()
            words.update(((member, column), start + i) for i, column in enumerate(columns))
        found = np.array([words.get(pair, -1) for pair in series], dtype=np.int64), parts
        self._skeleton.places[number, group] = found
        return found

    def matrix(self, number: int, part: int) -> Words:
        """Return the words of one part in all ticks of a layout, a row a tick. Raises DamagedError."""
        key = (number, part)
        if key not in self._matrices:
            ticks = np.flatnonzero(self.directory.layout_of == number).tolist()
            start, end = self.layout_reads[number].bounds[part]
            self._make_room(len(ticks) * (end - start) * np.dtype(np.uint64).itemsize)
            fresh = np.empty((len(ticks), end - start), dtype=np.uint64)
            for place, tick in enumerate(ticks):
                fresh[place] = self._part(self.ticks[tick], part)
            self._matrices[key] = fresh
        return self._matrices[key]

    def _make_room(self, size: int) -> None:
        """Drop the oldest unpacked parts until one of so many bytes may be kept beside the others."""
        while self._matrices and size + sum(matrix.nbytes for matrix in self._matrices.values()) > MATRICES_BYTES:
            del self._matrices[next(iter(self._matrices))]

    def is_at_hand(self, number: int, part: int) -> bool:
        """Tell whether a part is unpacked already."""
        return (number, part) in self._matrices

    def _part(self, tick: Tick, part: int) -> Words:
        start, end = tick.layout.bounds[part]
        base = self._base(tick.body.base, part) if tick.body.base else None
        return row.unpack_part(tick.body, part, end - start, base)

    def _base(self, head_id: int, part: int) -> Words:
        known = self._bases.get((head_id, part))
        if known is None:
            if len(self._bases) >= LEADS_MAX:
                self._bases.clear()
            known = self._bases[head_id, part] = self._rows.words(self._rows.row(head_id), part)
        return known

    # Where counters begin anew.

    def find_breaks(self, group: Group) -> None:
        """Add to the directory where the counters of a group's members begin anew.

        A member that has one shape all along, lacks nothing and whose counters never fall has no breaks. What the
        stream's own function makes of any other, tick by tick, says where they are.
        """
        fallen = self._fallen(group)
        for member, own in group.members.places.items():
            ticks = self.directory.ticks_of(member)
            anew = self._begins(member, ticks)
            if anew:
                self.directory.breaks[member, EVERYTHING] = anew
            if member in fallen or self._is_irregular(member):
                self._take_breaks(member, ticks, group, own)

    def _begins(self, member: int, ticks: Integers) -> list[int]:
        """Return the ticks at which all of a member begins anew: the first, and where it was another one meanwhile.

        An incarnation comes back where older ticks come after newer ones.
        """
        begins = set() if self.directory.lead[ticks[0]] else {int(ticks[0])}
        for other in self._skeleton.others.get(member, ()):
            theirs = self.directory.ticks_of(other)
            before = np.searchsorted(theirs, ticks)
            begins.update(ticks[1:][before[1:] > before[:-1]].tolist())
        return sorted(begins)

    def _fallen(self, group: Group) -> set[int]:
        """Return the members a counter of which falls, or has no value in some tick of the slice."""
        fallen: set[int] = set()
        for some in _portions(group.members.counters):
            values = group.values[some]
            falls = (values[:, 1:] < values[:, :-1]).any(axis=1)
            fallen.update(group.members.series[place][0] for place in some[falls].tolist())
        return fallen

    def _is_irregular(self, member: int) -> bool:
        placements = self.directory.placements[member].tolist()
        if len({shape for _, _, shape in placements}) > 1:
            return True
        positions = {layout: position for layout, position, _ in placements}
        return any(
            positions.get(int(self.directory.layout_of[tick])) in extras
            for tick, extras in self.directory.extras.items()
        )

    def _take_breaks(self, member: int, ticks: Integers, group: Group, places: list[int]) -> None:
        place_of = {group.members.series[place][1]: place for place in places}
        placements = self.directory.placements[member].tolist()
        positions = {layout: (position, shape) for layout, position, shape in placements}
        baseline: Baseline | None = None
        last: dict[str, int] = {}
        """By key its last column, another one when its type changes."""
        whole = self.directory.breaks.get((member, EVERYTHING), [])
        for tick in ticks.tolist():
            position, shape = positions[int(self.directory.layout_of[tick])]
            columns = self.directory.shapes[shape].tolist()
            bits = [int(group.values[place_of[column], tick]) for column in columns]
            rates, baseline = self._advance(None if tick in whole else baseline, tick, position, shape, bits)
            own = dict(zip(self._skeleton.shapes[shape].keys, columns, strict=True))
            if not (self.directory.lead[tick] or tick in whole):
                for key, column in own.items():
                    if self._skeleton.is_counter[column] and (key not in rates or last.get(key) != column):
                        self.directory.breaks.setdefault((member, column), []).append(tick)
            last.update(own)

    def _advance(
        self, baseline: Baseline | None, tick: int, position: int, shape: int, bits: list[int]
    ) -> tuple[dict[str, float], Baseline]:
        read = self._skeleton.shapes[shape]
        values = dict(zip(read.keys, unpack(read.columns, bits, _ANY_TEXT), strict=True))
        extra = self.ticks[tick].body.extras.get(position, _NOTHING)
        breaks = Breaks(frozenset(extra.partial.missing) if extra.partial else frozenset(), frozenset(extra.anew or ()))
        incarnation = self.ticks[tick].layout.entries[position].incarnation
        return advance(baseline, read.counters, values, self._moment(tick, position), incarnation, breaks)

    def _moment(self, tick: int, position: int) -> Moment:
        layout = self.ticks[tick].layout
        return moment_within(self.ticks[tick].stamp, layout.guests_before[position], layout.guests or 1)


def _portions(rows: Integers) -> list[Integers]:
    return np.split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))


def _incarnations(members: Sequence[Member]) -> dict[int, list[int]]:
    """Return, for each member that its guest has others beside, these others."""
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, member in enumerate(members):
        alike[member.kind, member.uuid, member.name, member.occurrence].append(place)
    return {one: [other for other in same if other != one] for same in alike.values() if len(same) > 1 for one in same}


_ANY_TEXT: dict[int, Any] = defaultdict(int)
"""Stands for what texts say: a counter that is one, against all the catalogue says, counts nothing."""
_NOTHING = row.Extra()
_NONE: Integers = np.zeros(0, dtype=np.int64)
