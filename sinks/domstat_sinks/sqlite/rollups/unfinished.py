"""What of a stream has been rolled up and cannot be stored yet: the five minutes and the hour that go on. Pure.

A bucket is finished when a slice ends in another one. Should ticks come for a bucket that was finished already (a clock
was set back, older ticks were imported), they are a bucket of their own, stored beside the first; whoever reads merges
them. So everything is counted once, whatever the order it comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.rollups.rolling import Rolled
from domstat_sinks.sqlite.rollups.rollplan import Scope, Whole
from domstat_sinks.sqlite.rollups.rollstats import Rollup, Subject, rows_of, subject_of
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, merge
from domstat_sinks.sqlite.rollups.sketch import Sketches
from domstat_sinks.sqlite.rollups.sketch import merge as merge_sketches


class Sketched(Struct):
    """The sketches of some records, by key field; a row a record of *scope*."""

    scope: Scope
    by_field: dict[str, Sketches]


class Finished(Struct, frozen=True):
    """Buckets that nothing is added to any more. Roll-ups of one list share no subjects; *sketches* are by hour."""

    minutes: list[Rollup]
    hours: list[Rollup]
    sketches: dict[int, list[Sketched]]


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
        self._hour: list[Rollup] = []
        self._sketches: dict[int, dict[int, Sketched]] = {}

    @property
    def open_hour_ms(self) -> int:
        """When the open hour begins."""
        return self.open_ms // HOUR_MS * HOUR_MS

    def add(self, rolled: Rolled) -> None:
        """Add what a run of ticks came to. Runs that share subjects must come in their order."""
        if not rolled.rollup.scope.entries:
            return
        self._minutes.append(rolled.rollup)
        scope = rolled.rollup.scope
        for hour in rolled.hours:
            of_hour = self._sketches.setdefault(hour.start_ms, {})
            known = of_hour.setdefault(id(scope), Sketched(scope, {}))
            for field, sketches in hour.by_field.items():
                before = known.by_field.get(field)
                known.by_field[field] = sketches if before is None else merge_sketches([before, sketches])

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
        hours, self._hour = _split([*self._hour, *minutes], HOUR_MS, self.open_hour_ms)
        done = [start_ms for start_ms in self._sketches if start_ms != self.open_hour_ms]
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
    by_scope: dict[int, list[Rollup]] = {}
    order: list[Rollup] = []
    for rollup in rollups:
        by_scope.setdefault(id(rollup.scope), []).append(rollup)
        order.append(rollup)
    group_of = _groups([of[0].scope for of in by_scope.values()])
    groups: dict[int, list[Rollup]] = {}
    for rollup in order:
        groups.setdefault(group_of[id(rollup.scope)], []).append(rollup)
    return [merge(group, width_ms) for group in groups.values()]


def _groups(scopes: Sequence[Scope]) -> dict[int, int]:
    """Give numbers to scopes, by their identity, so that those with subjects in common have the same number."""
    numbers = {id(scope): number for number, scope in enumerate(scopes)}
    owner: dict[Subject, int] = {}
    for scope in scopes:
        for entry in scope.entries:
            other = numbers[owner.setdefault(subject_of(entry), id(scope))]
            own = numbers[id(scope)]
            if other != own:
                numbers = {key: other if number == own else number for key, number in numbers.items()}
    return numbers
