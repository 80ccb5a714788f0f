"""What of a stream has been rolled up and cannot be stored yet: the five minutes and the hour that go on. Pure.

A bucket is finished when a slice ends in another one. Should ticks come for a bucket that was finished already (a clock
was set back, older ticks were imported), they are a bucket of their own, stored beside the first; whoever reads merges
them. So everything is counted once, whatever the order it comes in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat_sinks.sqlite.heads.layout import Entry
from domstat_sinks.sqlite.rollups.rolling import Rolled
from domstat_sinks.sqlite.rollups.rollplan import Whole
from domstat_sinks.sqlite.rollups.rollstats import Rollup, Subject, rows_of, subject_of
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, merge
from domstat_sinks.sqlite.rollups.sketch import Sketches, assembled
from domstat_sinks.sqlite.rollups.sketch import merge as merge_sketches

Subjects: TypeAlias = tuple[Subject, ...]
"""Whose rows stand below each other."""

APART_MAX = 16
"""Runs' roll-ups that are kept apart before they are merged, beyond as many as were left the last time; and sets of
guests whose sketches are. A run is as short as a tick where somebody else's commands are in the guests' monitors, and
each has rows for all its guests: an hour of such ticks, made again after a start, took 100 MB before it was merged."""


class Sketched(Struct):
    """The sketches of some subjects, by key field; a row an entry."""

    entries: tuple[Entry, ...]
    by_field: dict[str, Sketches]


class Finished(Struct, frozen=True):
    """Buckets that nothing is added to any more. Roll-ups of one list share no subjects; *sketches* are by hour."""

    minutes: list[Rollup]
    hours: list[Rollup]
    sketches: dict[int, list[Sketched]]


class Held(Struct, frozen=True):
    """What is open of a stream at one moment (see :class:`Unfinished`), which nothing that is added later changes."""

    open_ms: int
    minutes_from: int
    hour_from: int
    minutes: tuple[Rollup, ...]
    hour: tuple[Rollup, ...]
    sketches: Mapping[int, tuple[Sketched, ...]]


class Unfinished:
    """The open buckets of one stream.

    Where they began is known by ticks' numbers, so that they can be made again of what is stored: *hour_from* is the
    first tick of those of the open hour, *minutes_from* of those of the open five minutes, which begin at *open_ms*.
    """

    def __init__(self, open_ms: int = -1, minutes_from: int = 0, hour_from: int = 0) -> None:
        self.open_ms = open_ms
        self.minutes_from = minutes_from
        self.hour_from = hour_from
        self._minutes: list[Rollup] = []
        self._left = 0
        """How many of these were left when they were merged last: they have no subjects in common."""
        self._hour: list[Rollup] = []
        self._sketches: dict[int, dict[Subjects, Sketched]] = {}
        """By hour, and by whose rows they have."""
        self._folded: dict[int, int] = {}
        """By hour, how many of these were left when they were folded last."""

    @classmethod
    def of(cls, held: Held) -> Unfinished:
        """Go on from what was open at one moment."""
        made = cls(held.open_ms, held.minutes_from, held.hour_from)
        made._minutes, made._left, made._hour = list(held.minutes), len(held.minutes), list(held.hour)
        for start_ms, sketched in held.sketches.items():
            made._sketches[start_ms] = {_subjects(one.entries): _copied(one) for one in sketched}
        return made

    def held(self) -> Held:
        """Return what is open at this moment. The matrices are the same: nobody writes into these."""
        sketches = {start_ms: tuple(map(_copied, of.values())) for start_ms, of in self._sketches.items()}
        whose = (self.open_ms, self.minutes_from, self.hour_from)
        return Held(*whose, tuple(self._minutes), tuple(self._hour), sketches)

    @property
    def open_hour_ms(self) -> int:
        """When the open hour begins."""
        return self.open_ms // HOUR_MS * HOUR_MS

    def add(self, rolled: Rolled) -> None:
        """Add what a run of ticks came to. Runs that share subjects must come in their order."""
        if not rolled.rollup.scope.entries:
            return
        self._minutes.append(rolled.rollup)
        if len(self._minutes) > self._left + APART_MAX:
            self._gather()
        entries = rolled.rollup.scope.entries
        subjects = _subjects(entries)
        for hour in rolled.hours:
            of_hour = self._sketches.setdefault(hour.start_ms, {})
            known = of_hour.setdefault(subjects, Sketched(entries, {}))
            for field, sketches in hour.by_field.items():
                before = known.by_field.get(field)
                known.by_field[field] = _narrow(sketches if before is None else merge_sketches([before, sketches]))
            if len(of_hour) > self._folded.get(hour.start_ms, 0) + APART_MAX:
                deque(self._fold(hour.start_ms), maxlen=0)

    def _gather(self) -> None:
        """Merge what runs came to, the newest five minutes apart from those before, as :func:`_split` has it."""
        self._minutes = [rollup for rollup in self._minutes if len(rollup.starts_ms)]
        newest_ms = max((int(rollup.starts_ms[-1]) for rollup in self._minutes), default=0)
        before, newest = _split(self._minutes, FIVE_MINUTES_MS, newest_ms)
        self._minutes = before + newest
        self._left = len(self._minutes)

    def fold(self) -> Iterator[None]:
        """Put together, in steps, what is of the same subjects in other company.

        An hour holds its guests then, and not every set of them that there was.
        """
        for start_ms in self._sketches:
            yield from self._fold(start_ms)

    def _fold(self, start_ms: int) -> Iterator[None]:
        of_hour = self._sketches[start_ms]
        groups: dict[int, list[Subjects]] = {}
        for subjects, group in zip(of_hour, _groups(list(of_hour)), strict=True):
            groups.setdefault(group, []).append(subjects)
        for group_ in groups.values():
            if len(group_) > 1:
                folded = yield from _folded([of_hour[subjects] for subjects in group_])
                for subjects in group_:
                    del of_hour[subjects]
                of_hour[_subjects(folded.entries)] = folded
        self._folded[start_ms] = len(of_hour)

    def restore(self, rolled: Rolled, *, is_finished: bool) -> None:
        """Add what stored ticks of the open hour come to; *is_finished* says that their buckets are stored too."""
        rollup = rolled.rollup
        is_open = (rollup.starts_ms == self.open_ms) & (not is_finished)
        is_earlier = (rollup.starts_ms // HOUR_MS * HOUR_MS == self.open_hour_ms) & ~is_open
        hours = [hour for hour in rolled.hours if hour.start_ms == self.open_hour_ms]
        self.add(Rolled(rows_of(rollup, np.flatnonzero(is_open)), hours))
        self._minutes = [rollup for rollup in self._minutes if len(rollup.starts_ms)]
        if is_earlier.any():
            self._hour = together([*self._hour, rows_of(rollup, np.flatnonzero(is_earlier))], HOUR_MS)

    def finish(self, ids: Whole, times_ms: Whole) -> Finished:
        """Take out what is finished now that a slice with these ticks is complete."""
        open_ms = int(times_ms[-1]) // FIVE_MINUTES_MS * FIVE_MINUTES_MS
        self._take_note(open_ms, ids, times_ms)
        minutes, self._minutes = _split(self._minutes, FIVE_MINUTES_MS, open_ms)
        self._left = len(self._minutes)
        hours, self._hour = _split([*self._hour, *minutes], HOUR_MS, self.open_hour_ms)
        done = [start_ms for start_ms in self._sketches if start_ms != self.open_hour_ms]
        self._folded = {start_ms: left for start_ms, left in self._folded.items() if start_ms == self.open_hour_ms}
        return Finished(minutes, hours, {start: list(self._sketches.pop(start).values()) for start in sorted(done)})

    def _take_note(self, open_ms: int, ids: Whole, times_ms: Whole) -> None:
        """Note from which ticks on the buckets are open that are so now."""
        is_new_hour = self.open_hour_ms != open_ms // HOUR_MS * HOUR_MS or not self.hour_from
        is_new = self.open_ms != open_ms or not self.minutes_from
        self.open_ms = open_ms
        if is_new:
            self.minutes_from = int(ids[times_ms // FIVE_MINUTES_MS * FIVE_MINUTES_MS == open_ms][0])
        if is_new_hour:
            self.hour_from = int(ids[times_ms // HOUR_MS * HOUR_MS == self.open_hour_ms][0])


def _split(rollups: Sequence[Rollup], width_ms: int, open_ms: int) -> tuple[list[Rollup], list[Rollup]]:
    """Merge roll-ups into buckets of *width_ms*; tell finished ones from the one that begins at *open_ms*.

    They are told apart before they are merged: guests that have gone would stay in the open bucket for ever.
    """
    is_open = [rollup.starts_ms // width_ms * width_ms == open_ms for rollup in rollups]
    finished = [_rows(rollup, ~of) for rollup, of in zip(rollups, is_open, strict=True) if not of.all()]
    going_on = [_rows(rollup, of) for rollup, of in zip(rollups, is_open, strict=True) if of.any()]
    return together(finished, width_ms), together(going_on, width_ms)


def _rows(rollup: Rollup, chosen: Whole) -> Rollup:
    return rollup if chosen.all() else rows_of(rollup, np.flatnonzero(chosen))


def together(rollups: Iterable[Rollup], width_ms: int) -> list[Rollup]:
    """Merge roll-ups into buckets of *width_ms*, those with subjects in common into one; later ones count as later."""
    order = list(rollups)
    scopes = {id(rollup.scope): rollup.scope for rollup in order}
    group_of = dict(zip(scopes, _groups([_subjects(scope.entries) for scope in scopes.values()]), strict=True))
    groups: dict[int, list[Rollup]] = {}
    for rollup in order:
        groups.setdefault(group_of[id(rollup.scope)], []).append(rollup)
    return [merge(group, width_ms) for group in groups.values()]


def _subjects(entries: Iterable[Entry]) -> Subjects:
    return tuple(map(subject_of, entries))


def _groups(sets: Sequence[Subjects]) -> list[int]:
    """Give numbers to sets of subjects, so that those with subjects in common have the same number."""
    numbers = list(range(len(sets)))
    owner: dict[Subject, int] = {}
    for place, subjects in enumerate(sets):
        for subject in subjects:
            other, own = numbers[owner.setdefault(subject, place)], numbers[place]
            if other != own:
                numbers = [other if number == own else number for number in numbers]
    return numbers


def _folded(parts: Sequence[Sketched]) -> Generator[None, None, Sketched]:
    """Put sketches together that have subjects in common, a field a step."""
    entries = {subject_of(entry): entry for part in parts for entry in part.entries}
    place_of = {subject: place for place, subject in enumerate(entries)}
    places = [np.array([place_of[subject_of(entry)] for entry in part.entries]) for part in parts]
    folded = Sketched(tuple(entries.values()), {})
    for field in dict.fromkeys(field for part in parts for field in part.by_field):
        found = [(part.by_field[field], of) for part, of in zip(parts, places, strict=True) if field in part.by_field]
        merged = assembled([(of, np.arange(len(at)), at) for of, at in found], len(entries))
        folded.by_field[field] = _narrow(merged)
        yield
    return folded


def _copied(sketched: Sketched) -> Sketched:
    return Sketched(sketched.entries, {field: _narrow(of) for field, of in sketched.by_field.items()})


def _narrow(sketches: Sketches) -> Sketches:
    """Keep counts in half the room: no hour has 2^31 ticks."""
    return replace(sketches, bins=sketches.bins.astype(np.int32, copy=False))
