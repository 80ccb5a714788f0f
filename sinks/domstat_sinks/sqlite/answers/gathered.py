"""What the slabs of a tier say of some series, gathered into the parts of each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from domstat_sinks.sqlite.answers.bucketed import Parts, Said
from domstat_sinks.sqlite.answers.slabs import Stat, filled
from domstat_sinks.sqlite.answers.source import Values, chained
from domstat_sinks.sqlite.answers.ticks import Flags, Integers


class Gathered:
    """What is said of so many series, slab after slab."""

    def __init__(self, count: int, width_ms: int) -> None:
        self._width_ms = width_ms
        self._starts: list[list[Integers]] = [[] for _ in range(count)]
        self._columns: list[list[tuple[Values, ...]]] = [[] for _ in range(count)]
        self._covered_ns = np.zeros(count, dtype=np.int64)
        self._ticks: dict[int, list[Values]] = {}
        """Of series in buckets without counters, the ticks of each bucket."""
        self._strung: dict[tuple[int, ...], Integers] = {}
        """Starts put together, by the numbers of the objects, which the lists keep."""

    def add(
        self, places: Integers, starts_ms: Integers, found: Said, covered: Stat | None, ticks: Callable[[], Stat | None]
    ) -> None:
        """Add what one slab says of the series at *places*: a row each."""
        shape = (len(places), len(starts_ms))
        there = np.broadcast_to(np.True_ if found.there is None else found.there, shape)
        columns = [np.broadcast_to(np.asarray(column), shape) for column in found.columns]
        self._add_covered(places, there, covered, ticks)
        is_whole = np.logical_and.reduce(there, axis=1)
        for row, place in enumerate(places.tolist()):
            if is_whole[row]:
                self._starts[place].append(starts_ms)
                self._columns[place].append(tuple(column[row] for column in columns))
            elif there[row].any():
                own = there[row]
                self._starts[place].append(starts_ms[own])
                self._columns[place].append(tuple(column[row, own] for column in columns))

    def _add_covered(
        self, places: Integers, there: Flags, covered: Stat | None, ticks: Callable[[], Stat | None]
    ) -> None:
        """Add for how much time buckets stand: what has no counters does for as much as its share of the most ticks."""
        known = np.broadcast_to(covered is not None, there.shape)
        if covered is not None:
            known = known if covered.there is None else covered.there
            self._covered_ns[places] += np.where(there & known, covered.values, 0).sum(axis=1, dtype=np.int64)
        lacks = there & ~known
        if lacks.any():
            counts = np.broadcast_to(np.asarray(filled(ticks(), 0)), there.shape)
            for row in np.flatnonzero(lacks.any(axis=1)).tolist():
                self._ticks.setdefault(int(places[row]), []).append(counts[row, lacks[row]])

    def parts(self, place: int) -> Parts | None:
        """Return the parts of one series, None for none."""
        starts, columns = self._starts[place], self._columns[place]
        if not starts:
            return None
        # Copies, so that nobody holds the values of all for the sake of one.
        own = columns[0] if len(columns) == 1 else tuple(chained(of) for of in zip(*columns, strict=True))
        return Parts(self._strings(starts), tuple(map(np.array, own)) if len(columns) == 1 else own, self._ms(place))

    def _strings(self, starts: Sequence[Integers]) -> Integers:
        if len(starts) == 1:
            return starts[0]
        key = tuple(map(id, starts))
        known = self._strung.get(key)
        if known is None:
            known = self._strung[key] = np.concatenate(starts)
        return known

    def _ms(self, place: int) -> float:
        covered_ns = int(self._covered_ns[place])
        if place in self._ticks:
            ticks = np.concatenate(self._ticks[place])
            covered_ns += int((ticks / max(int(ticks.max()), 1) * self._width_ms * 1e6).astype(np.int64).sum())
        return covered_ns / 1e6
