"""Ticks as columns: when they were, and how long it was from one to the next. Pure.

All series that have samples in the same ticks share one :class:`Ticks`; so what follows from the ticks alone is worked
out once, however many guests there are. What differs between them is their *place* in a call, which says when in it
they were read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

Place: TypeAlias = "tuple[int, int] | Integers"
"""When in a call a record was read: after (numerator, denominator) of the call, or after so many ns of each call.

The fraction is that of :func:`domstat.model.moment_within`: at most 3/2, of what comes after all guests.
"""

PAUSE = 2
"""Intervals of the usual length after which a sample no longer stands for all the time since the one before."""

JOINED_KEPT = 8
"""Joined ticks kept: guests that were always there share one, and who came or went meanwhile has another."""

_NS_PER_MS = 1_000_000


class Boots:
    """Numbers for boots, the same in all sources: 0 for a boot that is not known."""

    def __init__(self) -> None:
        self._numbers = {"": 0}

    def number(self, boot_id: str) -> int:
        """Return the number of a boot."""
        return self._numbers.setdefault(boot_id, len(self._numbers))


class Ticks:
    """Some ticks of a stream, in their order, with their stamps (see :class:`domstat.model.Stamp`).

    *inside* are those in the span that was asked for. The others are there to take increases from, or because a clock
    was set back between ticks of the span.
    """

    def __init__(
        self, ids: Integers, time_ms: Integers, boot: Integers, boot_ns: Integers, call_ns: Integers, *, inside: Flags
    ) -> None:
        self.ids = ids
        self.time_ms = time_ms
        self.boot = boot
        self.boot_ns = boot_ns
        self.call_ns = call_ns
        self.inside = inside
        self._elapsed: tuple[tuple[int, int], Integers] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def stamps(self) -> tuple[Integers, ...]:
        """All that is known of them but whether they are inside."""
        return self.ids, self.time_ms, self.boot, self.boot_ns, self.call_ns

    def part(self, chosen: slice | Integers) -> Ticks:
        """Return some of them."""
        return Ticks(*(stamps[chosen] for stamps in self.stamps), inside=self.inside[chosen])

    @cached_property
    def ends(self) -> Ticks:
        """The first and the last of them."""
        return self.part(np.array([0, len(self) - 1][: len(self)]))

    @cached_property
    def all_inside(self) -> bool:
        """Whether all of them are in the span."""
        return bool(self.inside.all())

    @cached_property
    def shown_ms(self) -> Integers:
        """The times of those in the span."""
        return self.time_ms if self.all_inside else self.time_ms[self.inside]

    @cached_property
    def after_ms(self) -> Integers:
        """The times of all but the first."""
        return self.time_ms[1:]

    @cached_property
    def all_after_inside(self) -> bool:
        """Whether all but the first are in the span."""
        return bool(self.inside[1:].all())

    @cached_property
    def covered_ms(self) -> int:
        """For how much time those in the span stand."""
        return covered_ms(self.shown_ms)

    @cached_property
    def is_one_boot(self) -> bool:
        """Whether all are of one boot, and it is known."""
        return bool(self._same_boot.all()) and bool(self.boot[:1].all())

    @cached_property
    def is_steady(self) -> bool:
        """Whether time passes from each to the next for everybody, wherever in a call they are read."""
        if len(self) < 2:
            return True
        farthest_ns = 2 * int(self.call_ns.max())
        if self.is_one_boot:
            return int(self._gaps_ns.min()) > farthest_ns
        by_boot_ns = np.where(self._same_boot, self._gaps_ns, farthest_ns + 1)
        by_wall_ms = np.diff(self.time_ms)
        return int(by_boot_ns.min()) > farthest_ns and (int(by_wall_ms.min()) - 1) * _NS_PER_MS > farthest_ns

    @cached_property
    def _gaps_ns(self) -> Integers:
        return np.diff(self.boot_ns)

    @cached_property
    def _same_boot(self) -> Flags:
        same: Flags = (self.boot[1:] == self.boot[:-1]) & (self.boot[1:] != 0)
        return same

    def elapsed_ns(self, place: Place) -> Integers:
        """Return the time from each tick to the next for who is read there (see :func:`domstat.rates.elapsed_ns`)."""
        if not isinstance(place, tuple):
            return self._elapsed_ns(place)
        if self._elapsed is None or self._elapsed[0] != place:
            self._elapsed = (place, self._elapsed_ns(offsets_ns(place, self.call_ns)))
        return self._elapsed[1]

    def _elapsed_ns(self, offsets: Integers) -> Integers:
        by_boot = np.diff(offsets)
        by_boot += self._gaps_ns
        if self.is_one_boot:
            return by_boot
        by_wall = np.diff(self.time_ms + offsets // _NS_PER_MS) * _NS_PER_MS
        return np.where(self._same_boot, by_boot, by_wall)


def offsets_ns(place: Place, call_ns: Integers) -> Integers:
    """Return how long after the beginning of each call a record was read."""
    if not isinstance(place, tuple):
        return place
    numerator, denominator = place
    offsets: Integers = call_ns * numerator
    offsets //= denominator
    return offsets


def covered_ms(time_ms: Integers) -> int:
    """Return for how much time samples stand: each for that since the one before, the first for the usual time.

    After a pause of more than ``PAUSE`` times the usual one a sample stands for no more than the usual time. A single
    sample stands for nothing.
    """
    if len(time_ms) < 2:
        return 0
    passed = np.diff(time_ms)
    if passed.min() < 0:
        passed = np.diff(np.sort(time_ms))
    parted = np.partition(passed, len(passed) // 2)
    upper = int(parted[len(passed) // 2])
    usual = upper if len(passed) % 2 else (upper + int(parted[: len(passed) // 2].max())) // 2
    return int(np.where(passed > PAUSE * usual, usual, passed).sum()) + usual


class Joiner:
    """Strings ticks of one stream together that follow each other, each tick once; remembers what it made."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], tuple[Sequence[Ticks], Ticks, list[int]]] = OrderedDict()
        """By the numbers of the very objects, which are kept so that no others can take their numbers."""

    def join(self, parts: Sequence[Ticks]) -> tuple[Ticks, list[int]]:
        """Return all ticks of *parts*, and how many at the beginning of each part an earlier one had already."""
        key = tuple(map(id, parts))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (parts, *_join(parts))
            if len(self._known) > JOINED_KEPT:
                self._known.popitem(last=False)
        return known[1], known[2]


def _join(parts: Sequence[Ticks]) -> tuple[Ticks, list[int]]:
    if len(parts) == 1:
        return parts[0], [0]
    starts: list[int] = []
    last_id = -1
    for part in parts:
        starts.append(int(np.searchsorted(part.ids, last_id, side="right")))
        last_id = max(last_id, int(part.ids[-1]))
    kept = [part.part(slice(start, None)) for part, start in zip(parts, starts, strict=True)]
    stamps = zip(*(part.stamps for part in kept), strict=True)
    inside = np.concatenate([part.inside for part in kept])
    return Ticks(*(np.concatenate(columns) for columns in stamps), inside=inside), starts
