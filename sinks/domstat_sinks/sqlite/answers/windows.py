"""Whose a segment's series are, and what a segment has in a span of time. Pure.

A *subject* (:class:`.choosing.Who`) may be several members of a segment: a guest is one for each incarnation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.history import Span
from domstat_sinks.sqlite.answers.choosing import Key, Who
from domstat_sinks.sqlite.answers.source import Seen
from domstat_sinks.sqlite.answers.ticks import Boots, Flags, Integers, Place, Ticks
from domstat_sinks.sqlite.packed.directory import EVERYTHING, GROUP, Directory
from domstat_sinks.sqlite.packed.seriesindex import SeriesIndex

WINDOWS_KEPT = 4
"""Spans of a segment that are remembered, some 10 KB each: a question asks for several fields in two or three."""


class Roster:
    """Whose the series of a segment are."""

    def __init__(self, stream: int, segment: int, directory: Directory, boots: Boots) -> None:
        self.segment = segment
        self.directory = directory
        numbers = np.array([boots.number(boot_id) for boot_id in directory.boots], dtype=np.int64)
        self.boot: Integers = numbers[directory.boot]
        """Per tick, the boot's number in all sources."""
        self.whose = [Who(stream, member.kind, member.uuid, member.name) for member in directory.members]
        """By member, the subject."""
        self.members: dict[Who, list[int]] = {}
        for member, who in enumerate(self.whose):
            self.members.setdefault(who, []).append(member)
        self._turns: dict[Who, list[int] | None] = {}
        self._fractions: dict[int, tuple[int, int] | None] = {}
        self._places: dict[tuple[int, ...], Integers] = {}
        self._windows: OrderedDict[Span | None, Window] = OrderedDict()

    def window(self, span: Span | None) -> Window:
        """Return what it has in a span, None for all of it; what is asked again is not worked out again."""
        known = self._windows.get(span)
        if known is None:
            known = self._windows[span] = Window(self, span)
            if len(self._windows) > WINDOWS_KEPT:
                self._windows.popitem(last=False)
        return known

    @cached_property
    def index(self) -> SeriesIndex:
        """Where its series are."""
        return SeriesIndex(self.directory)

    @cached_property
    def fields(self) -> frozenset[int]:
        """The numbers of the fields it has values of."""
        return frozenset(self.directory.fields)

    @cached_property
    def every(self) -> Integers:
        """The places of all ticks."""
        return self.same(np.arange(len(self.directory)))

    @cached_property
    def uuids_of(self) -> dict[str, set[str]]:
        """By name, and by uuid, the guests that have it anywhere in the segment."""
        directory = self.directory
        found: dict[str, set[str]] = {}
        for layout in directory.layouts:
            for member, _, name in layout.tolist():
                uuid = directory.members[member].uuid
                if uuid:
                    found.setdefault(uuid, set()).add(uuid)
                    found.setdefault(directory.names[name] or "", set()).add(uuid)
        return found

    def are_of(self, uuids: Collection[str | None]) -> Flags:
        """Tell, by member, whether it is one of these, None being what is no guest."""
        return np.array([member.uuid in uuids for member in self.directory.members], dtype=np.bool_)

    def same(self, at: Integers) -> Integers:
        """Return the array of places of ticks that is known and equals this one, known from now on if there is none.

        So what follows from the ticks is worked out once, whoever has values in them.
        """
        found = self._places.setdefault((len(at), int(at[0]), int(at[-1])), at)
        return found if found is at or np.array_equal(found, at) else at

    def in_turn(self, who: Who, spots: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]] | None:
        """Put the series of a subject, (member, column) each, into the order of their ticks.

        None where they do not simply follow each other: where a member came back after another one, or a subject is
        in a tick twice, or a member has several of them.
        """
        if len(self.members[who]) == 1:
            return spots if len(spots) == 1 else None
        if who not in self._turns:
            ticks = [(self.directory.ticks_of(member), member) for member in self.members[who]]
            bounds = sorted((int(at[0]), int(at[-1]), member) for at, member in ticks if len(at))
            is_orderly = all(one[1] < other[0] for one, other in pairwise(bounds))
            self._turns[who] = [member for *_, member in bounds] if is_orderly else None
        turns = self._turns[who]
        if turns is None or len({member for member, _ in spots}) < len(spots):
            return None
        return sorted(spots, key=lambda spot: turns.index(spot[0]))

    def place(self, member: int, ticks: Integers) -> Place:
        """Return when in the calls of some ticks a member was read."""
        return self.fraction(member) or self.directory.offsets_ns(member, ticks)

    def fraction(self, member: int) -> tuple[int, int] | None:
        """Return when in each call a member was read, None where that is not the same in all."""
        if member not in self._fractions:
            directory = self.directory
            at = directory.placements[member].tolist()
            guests = [(directory.guests[layout], position) for layout, position, _ in at]
            fractions = {(2 * before[position] + 1, 2 * count) for (before, count), position in guests}
            self._fractions[member] = fractions.pop() if len(fractions) == 1 else None
        return self._fractions[member]


class Plain(Struct, frozen=True):
    """Where a series is that is a single column, with values in *at*; *is_broken* if it begins anew somewhere."""

    group: int
    row: int
    at: Integers
    place: Place
    type: ValueType
    is_broken: bool


class Places(Struct, frozen=True):
    """Where the series of one field are in a segment: (member, column) each; mostly one, and that plain.

    *rows* are where they are in their chunks, *ticks* those in which what is not plain, or broken, has values.
    *of_uuid* are the keys by whose they are.
    """

    spots: dict[Key, list[tuple[int, int]]]
    plain: dict[Key, Plain]
    rows: dict[tuple[int, int], int]
    ticks: dict[tuple[int, int], Integers]
    of_uuid: dict[str | None, list[Key]]


def places_of(roster: Roster, number: int, field: str) -> Places:
    """Find the series of a field, of which *number* is the number in the file."""
    directory, series = roster.directory, roster.index.of(number)
    pairs = list(zip(series.members.tolist(), series.columns.tolist(), strict=True))
    rows = dict(zip(pairs, series.rows.tolist(), strict=True))
    always = dict(zip(pairs, series.always.tolist(), strict=True))
    spots: dict[Key, list[tuple[int, int]]] = {}
    of_uuid: dict[str | None, list[Key]] = {}
    for member, column in pairs:
        key = Key(roster.whose[member], field, directory.columns[column].device)
        own = spots.setdefault(key, [])
        if not own:
            of_uuid.setdefault(key.who.uuid, []).append(key)
        own.append((member, column))

    def ticks_of(spot: tuple[int, int]) -> Integers:
        return roster.every if always[spot] else roster.same(roster.index.ticks(*spot))

    plain: dict[Key, Plain] = {}
    ticks: dict[tuple[int, int], Integers] = {}
    for key, own in spots.items():
        (spot, *more) = own
        member, column = spot
        fraction = roster.fraction(member)
        is_broken = spot in directory.breaks or (member, EVERYTHING) in directory.breaks
        if fraction is not None and not more and len(roster.members[key.who]) == 1:
            type_ = directory.columns[column].type
            plain[key] = Plain(member // GROUP, rows[spot], ticks_of(spot), fraction, type_, is_broken)
        if key not in plain or is_broken:
            ticks.update((spot, ticks_of(spot)) for spot in own)
    return Places(spots, plain, rows, ticks, of_uuid)


class Window:
    """What a segment has in a span. Its ticks from the first in the span to the last; *last* is -1 for none."""

    def __init__(self, roster: Roster, span: Span | None) -> None:
        """Without a *span* all of the segment's own ticks are meant."""
        self.roster = roster
        self.directory = directory = roster.directory
        self.is_whole = span is None
        self.inside = directory.lead == 0
        if span is not None:
            self.inside &= (directory.time_ms >= span.since_ms) & (directory.time_ms < span.until_ms)
        places = np.flatnonzero(self.inside)
        self.first, self.last = (int(places[0]), int(places[-1])) if len(places) else (0, -1)
        self._ticks: dict[tuple[int, bool], tuple[Integers, Ticks | None, slice]] = {}
        self._all_seen: list[Seen] | None = None

    def strung(self, parts: Sequence[Integers]) -> Integers:
        """Put places of ticks one after the other; what comes is the same array wherever it equals one before."""
        return self.roster.same(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def ticks(self, at: Integers, *, increases: bool) -> tuple[Ticks | None, slice]:
        """Return those of the ticks *at* some places that are in the window, None for none; and which these are.

        With *increases* also the one before them. The ticks are the same object for the same array.
        """
        known = self._ticks.get((id(at), increases))
        if known is None:
            start, stop = np.searchsorted(at, (self.first, self.last + 1)).tolist()
            if increases and start < stop:
                start = max(start - 1, 0)
            part = slice(start, stop)
            known = self._ticks[id(at), increases] = (at, self._part(at[part]) if start < stop else None, part)
        return known[1], known[2]

    def _part(self, at: Integers) -> Ticks:
        is_run = int(at[-1] - at[0]) == len(at) - 1
        chosen = slice(int(at[0]), int(at[-1]) + 1) if is_run else at
        directory = self.directory
        columns = (directory.ids, directory.time_ms, self.roster.boot, directory.boot_ns, directory.call_ns)
        return Ticks(*(column[chosen] for column in columns), inside=self.inside[chosen])

    def seen(self, uuids: Collection[str | None] | None = None) -> Iterator[Seen]:
        """Give all members that are in ticks of the span, under each of their names, the newest last.

        Only those of these *uuids*, if there are some; None is what has none.
        """
        if uuids is not None:
            return iter(self._seen(uuids))
        if self._all_seen is None:
            self._all_seen = self._seen(None)
        return iter(self._all_seen)

    def _seen(self, uuids: Collection[str | None] | None) -> list[Seen]:
        directory, roster = self.directory, self.roster
        present = np.flatnonzero(self.inside)
        layout_of, times_ms = directory.layout_of[present], directory.time_ms[present]
        of_layouts = []
        for layout in np.flatnonzero(np.bincount(layout_of)).tolist():
            own = np.flatnonzero(layout_of == layout)
            times = int(times_ms[own].min()), int(times_ms[own].max()), len(own)
            of_layouts.append((int(own[-1]), layout, times))
        found: dict[tuple[int, int], tuple[int, int, int]] = {}
        is_wanted = None if uuids is None else roster.are_of(uuids)
        for _, layout, times in sorted(of_layouts):
            records = directory.layouts[layout]
            if is_wanted is not None:
                records = records[is_wanted[records[:, 0]]]
            for member, _, name in records.tolist():
                so_far = found.pop((member, name), None)  # and to the end with it
                found[member, name] = times if so_far is None else _both(so_far, times)
        return [
            Seen(roster.whose[member], directory.names[name], directory.members[member].incarnation, *times)
            for (member, name), times in found.items()
        ]


def _both(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    """Put two sightings together: the first time, the last time, and in how many ticks."""
    return min(one[0], other[0]), max(one[1], other[1]), one[2] + other[2]
