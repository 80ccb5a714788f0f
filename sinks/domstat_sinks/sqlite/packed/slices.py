"""Head rows on their way into a segment: a slice of one stream's ticks, unpacked group by group.

What stands here is read only; :mod:`..keeping.sealing` writes what comes of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeAlias

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
    LAYOUT_WIDTH,
    Column,
    Directory,
    Flags,
    Index,
    Member,
    members_of,
)
from domstat_sinks.sqlite.packed.ragged import Integers, Ragged

Places: TypeAlias = "np.ndarray[Any, np.dtype[np.int32]]"

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

    def together(self, shapes: Sequence[ShapeRead]) -> tuple[list[Column], list[bool], Ragged]:
        """Return all columns of *shapes*, each once, whether they count, and by shape the places of its own."""
        if len(self._of_shapes) > 2 * len(shapes) + SHAPES_SPARE:
            self._clear()
        of_shapes = [self._of(shape) for shape in shapes]
        found, places = np.unique(np.concatenate([*of_shapes, _NONE]), return_inverse=True)
        chosen = found.tolist()
        return (
            [self._index.items[number] for number in chosen],
            [self._are_counters[number] for number in chosen],
            Ragged(places, [len(own) for own in of_shapes]),
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

    def __init__(self, layouts: Sequence[LayoutRead], columns: Columns, *, is_kept: bool = True) -> None:
        """*is_kept* says that other slices will have it too, so that what one asks once is remembered."""
        members, names, shapes = Index(), Index(), Index()
        pattern = Directory()
        places: list[tuple[int, int, int]] = []
        for layout in layouts:
            whose = members_of([(entry.kind, entry.uuid, entry.name, entry.incarnation) for entry in layout.entries])
            for entry, member, shape in zip(layout.entries, whose, layout.shapes, strict=True):
                places.append((members.place(member), shapes.place(id(shape), shape), names.place((entry.name,))))
        records = np.array(places, dtype=np.int64).reshape(-1, LAYOUT_WIDTH)
        pattern.layouts = Ragged(records, [len(layout.entries) for layout in layouts])
        self.shapes: list[ShapeRead] = shapes.items
        """The shapes as they were read, in the directory's order."""
        pattern.members, pattern.names = members.items, [name for (name,) in names.items]
        pattern.columns, are_counters, pattern.shapes = columns.together(self.shapes)
        self.is_counter: Flags = np.array(are_counters, dtype=np.bool_)
        self.pattern = pattern
        """A directory without ticks."""
        self.others = _incarnations(pattern.members)
        """By member, the other incarnations of the same guest."""
        self._is_kept = is_kept
        self._words_of: dict[tuple[int, int], WordsOf] = {}
        """By layout and group; of a layout a slice asks once."""
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
            series = self.pattern.series_of(group)
            whose, columns = series[:, 0], series[:, 1]
            by_member = np.argsort(whose, kind="stable")
            members, starts = np.unique(whose[by_member], return_index=True)
            places = dict(zip(members.tolist(), np.split(by_member, starts)[1:], strict=True))
            known = self._members_of[group] = Members(series, places, np.flatnonzero(self.is_counter[columns]))
        return known

    def words_of(self, number: int, layout: LayoutRead, group: int) -> WordsOf:
        """Return where in a layout, the *number*-th, the words of a group's series are."""
        known = self._words_of.get((number, group))
        if known is None:
            known = self._find_words(number, layout, group)
            if self._is_kept:
                self._words_of[number, group] = known
        return known

    def _find_words(self, number: int, layout: LayoutRead, group: int) -> WordsOf:
        rows_ = self.pattern.layouts[number]
        positions = np.flatnonzero(rows_[:, 0] // GROUP == group).tolist()
        parts = sorted({position // row.PART_RECORDS for position in positions})
        lengths = [layout.bounds[part][1] - layout.bounds[part][0] for part in parts]
        starts = dict(zip(parts, accumulate(lengths, initial=0), strict=False))
        places, words = [_NONE], [_NONE]
        of_members = self.members_of(group)
        for position in positions:
            member, shape, _ = rows_[position].tolist()
            columns = self.pattern.shapes[shape]
            if not len(columns):
                continue
            own = of_members.places[member]
            by_column = np.argsort(of_members.series[own, 1])
            found = np.searchsorted(of_members.series[own, 1], columns, sorter=by_column)
            places.append(own[by_column[found]])
            words.append(starts[position // row.PART_RECORDS] + layout.starts[position] + np.arange(len(columns)))
        return WordsOf(parts, np.concatenate(places).astype(np.int32), np.concatenate(words).astype(np.int32))


class WordsOf(Struct, frozen=True):
    """Where the words of a group's series are in one layout: in those of *parts*, side by side.

    The series at *places* have theirs at *words*, one for one; the others have none.
    """

    parts: list[int]
    places: Places
    words: Places


class Members(Struct, frozen=True):
    """The series of up to ``GROUP`` members, in the order of their fields.

    All in matrices: a slice with guests that come and go has tens of thousands, and as many small objects would keep
    all the memory that was between them.
    """

    series: Integers
    """A row (member, column) each."""
    places: dict[int, Integers]
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
            of = self._skeleton.words_of(number, layout, group)
            if len(of.places):
                ticks = np.flatnonzero(directory.layout_of == number)
                found = [self.matrix(number, part) for part in of.parts]
                words = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
                for some in _portions(np.arange(len(of.places))):
                    values[np.ix_(of.places[some], ticks)] = words.T[of.words[some]]
        return Group(members, values)

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
            fallen.update(group.members.series[some[falls], 0].tolist())
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

    def _take_breaks(self, member: int, ticks: Integers, group: Group, places: Integers) -> None:
        place_of = dict(zip(group.members.series[places, 1].tolist(), places.tolist(), strict=True))
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
