"""A scenario's days: sketches of what happened in each, and the rows that any SQLite reads, as the sink makes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, Ints
from domstat_bench.scenario_stretches import Stretch
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.rollups import sketchblob
from domstat_sinks.sqlite.rollups.days import HOURS_KEPT_MS, SHARES, store_hour
from domstat_sinks.sqlite.rollups.guests import Guests
from domstat_sinks.sqlite.rollups.keyfields import RATES
from domstat_sinks.sqlite.rollups.keyfigures import BLOCK, Figures, encode, figures_of_hour, sketches_of
from domstat_sinks.sqlite.rollups.prefixes import CUMULATIVE_EVERY_DAYS
from domstat_sinks.sqlite.rollups.rollrecord import FROM_COUNTERS
from domstat_sinks.sqlite.rollups.rollstats import Rollup, rows_of
from domstat_sinks.sqlite.rollups.rollup import merge
from domstat_sinks.sqlite.rollups.sketch import Sketches, quantile, sketch
from domstat_sinks.sqlite.rollups.unfinished import Sketched

INCREASING = frozenset({*RATES, *FROM_COUNTERS})
"""Key fields that are rates of counters, whose days have an increase."""


class DayRows:
    """Stores the days of one stream, in their order, and the hours of the last ones."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        numbers: Numbers,
        guests: Guests,
        whose: tuple[str, str],
        weight: int,
        sketched_ms: int = HOURS_KEPT_MS,
    ) -> None:
        """*weight* is how many ticks there are in a step; hours of the last *sketched_ms* are stored too."""
        self._connection, self._numbers, self._guests = connection, numbers, guests
        self._host, self._stream, self._weight = whose[0], numbers.stream(whose), weight
        self._sketched_ms = sketched_ms
        self._names: dict[int, str] = {}
        self._sums: dict[tuple[int, int], bytes] = {}
        self._since: dict[tuple[int, int], list[bytes]] = {}
        """By field and block, the sketches of all days up to the last sum, and of those since."""

    def add(self, stretches: Sequence[tuple[Stretch, Rollup]], from_ms: int, until_ms: int, end_ms: int) -> None:
        """Store what there is from one time on and before another; each stretch comes with its hours.

        *from_ms* begins a day, unless nothing is before it, and *end_ms* is where the scenario's own ticks begin.
        """
        for day_ms in range(from_ms // DAY_MS * DAY_MS, until_ms, DAY_MS):
            if day_ms + DAY_MS <= end_ms:
                self._sum_up(day_ms // DAY_MS)
                for field, block, figures in self._figures(stretches, day_ms, DAY_MS):
                    self._store(field, block, day_ms // DAY_MS, figures)
            for hour_ms in range(max(day_ms, from_ms), min(day_ms + DAY_MS, until_ms), HOUR_MS):
                if hour_ms >= end_ms - self._sketched_ms:
                    self._add_hour(stretches, hour_ms, is_added=day_ms + DAY_MS <= end_ms)

    def _store(self, field: int, block: int, day: int, figures: Figures) -> None:
        """Store a day, as :class:`.rollups.days.Days` does with hours; but look at none but those who are there."""
        blob = encode(figures)
        self._connection.execute(
            "INSERT INTO sketch_day (stream, field, block, day, blob) VALUES (?, ?, ?, ?, ?)",
            (self._stream, field, block, day, blob),
        )
        self._since.setdefault((field, block), []).append(sketches_of(blob))
        there = np.flatnonzero(figures.sketches.counts)
        sketches = _rows_of(figures.sketches, there)
        gains = figures.gains[there].tolist() if self._names[field] in INCREASING else [None] * len(there)
        days = zip(
            (there + block * BLOCK).tolist(), sketches.counts.tolist(), gains, sketches.mins.tolist(),
            sketches.maxs.tolist(), (sketches.sums / sketches.counts).tolist(),
            *(quantile(sketches, share).tolist() for share in SHARES),
            np.minimum(figures.covered_s[there] / (DAY_MS / 1000), 1.0).tolist(),
            strict=True,
        )  # fmt: skip
        self._connection.executemany(
            "INSERT INTO day VALUES (?, date(? * 86400, 'unixepoch'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(field, day, self._stream, *values) for values in days],
        )

    def _add_hour(self, stretches: Sequence[tuple[Stretch, Rollup]], hour_ms: int, *, is_added: bool) -> None:
        for field, block, figures in self._figures(stretches, hour_ms, HOUR_MS):
            store_hour(self._connection, (self._stream, field, block), hour_ms, encode(figures))
        if is_added:
            self._connection.execute(
                "UPDATE sketch_hour SET is_added = 1 WHERE stream = ? AND start_ms = ?", (self._stream, hour_ms)
            )

    def _figures(
        self, stretches: Sequence[tuple[Stretch, Rollup]], start_ms: int, width_ms: int
    ) -> list[tuple[int, int, Figures]]:
        """Return the key figures of an hour or a day, by field and block."""
        rollups, sketched = [], []
        for stretch, hours in stretches:
            first, last = np.searchsorted(stretch.rollup.starts_ms, [start_ms, start_ms + width_ms]).tolist()
            if first == last:
                continue
            inside = np.flatnonzero((hours.starts_ms >= start_ms) & (hours.starts_ms < start_ms + width_ms))
            rollups.append(merge([rows_of(hours, inside)], width_ms))
            sketched.append(Sketched(stretch.rollup.scope.entries, self._sketches(stretch, first, last)))
        if not rollups:
            return []
        entries = {entry for rollup in rollups for entry in rollup.scope.entries}
        numbers = self._guests.numbers(self._host, entries)
        found = figures_of_hour(start_ms, rollups, sketched, numbers)
        return [(self._number(field), block, figures) for field, block, figures in found]

    def _number(self, field: str) -> int:
        number = self._numbers.field(field)
        self._names[number] = field
        return number

    def _sketches(self, stretch: Stretch, first: int, last: int) -> dict[str, Any]:
        """Sketch the key fields of some buckets, each of which counts for all of its ticks."""
        made = sketch(stretch.values[first:last], len(stretch.keyed))
        weight = self._weight
        return {
            field: replace(of, bins=of.bins * weight, zeros=of.zeros * weight, sums=of.sums * weight)
            for field, of in zip(stretch.keyed, made, strict=True)
        }

    def _sum_up(self, day: int) -> None:
        """Store the sum of all days before *day*, if that is one that has sums."""
        if day % CUMULATIVE_EVERY_DAYS:
            return
        for (field, block), blobs in self._since.items():
            before = self._sums.get((field, block))
            parts = [*([] if before is None else [before]), *blobs]
            summed = sketchblob.encode(sketchblob.total([(1, sketchblob.open_blob(part)) for part in parts]))
            self._connection.execute(
                "INSERT INTO sketch_sum (stream, field, block, day, blob) VALUES (?, ?, ?, ?, ?)",
                (self._stream, field, block, day, summed),
            )
            self._sums[field, block] = summed
        self._since.clear()


def _rows_of(sketches: Sketches, rows: Ints) -> Sketches:
    return Sketches(
        sketches.first, sketches.bins[rows], sketches.zeros[rows], sketches.sums[rows], sketches.mins[rows],
        sketches.maxs[rows],
    )  # fmt: skip
