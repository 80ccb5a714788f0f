"""Days: what the hours of a day come to, in rows that any SQLite reads, and in sketches that any range is made of.

An hour's key figures are stored when it is over, and added to its day when that is: *is_added* says so. Hours that come
later are added then. Every step is one transaction's, and begins from what the file says.
"""

from __future__ import annotations

import sqlite3

import numpy as np

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.rollups import sketchblob
from domstat_sinks.sqlite.rollups.keyfields import RATES
from domstat_sinks.sqlite.rollups.keyfigures import BLOCK, Figures, encode, sketches_of, total
from domstat_sinks.sqlite.rollups.prefixes import CUMULATIVE_EVERY_DAYS
from domstat_sinks.sqlite.rollups.rollrecord import FROM_COUNTERS
from domstat_sinks.sqlite.rollups.rollup import DAY_MS
from domstat_sinks.sqlite.rollups.sketch import nothing, quantile

HOURS_KEPT_MS = 8 * DAY_MS
"""How long hours' sketches are kept: the last week begins and ends within days."""

SWEPT = 64
"""Hours' sketches deleted at once, a few KB each."""

SHARES = (0.5, 0.95, 0.99)
DAY_S = DAY_MS / 1000

_DATES = range(-719_528, 2_932_897)
"""The days that SQLite has dates for, 0000 to 9999; ticks may be of any time, if a clock or an import is wrong."""

_FIRST_DAY = -(1 << 40)
"""Before any day."""

_INCREASING = frozenset({*RATES, *FROM_COUNTERS})
"""Key fields that are rates of counters."""


CROWD_MAX = 1_000
"""Rows of one hour: one as a rule, and one each time that ticks come for it later."""


def store_hour(connection: sqlite3.Connection, whose: tuple[int, int, int], start_ms: int, blob: bytes) -> None:
    """Store an hour's figures of (stream, field, block), beside what there is of it. Raises sqlite3.Error."""
    for time_ms in range(start_ms, start_ms + CROWD_MAX):
        stored = connection.execute(
            "INSERT OR IGNORE INTO sketch_hour (stream, field, block, start_ms, blob) VALUES (?, ?, ?, ?, ?)",
            (*whose, time_ms, blob),
        )
        if stored.rowcount:
            return
    raise sqlite3.DataError(f"{CROWD_MAX} rows of one hour")


class Days:
    """Makes days of hours, on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._may_have_sums = True

    def step(self) -> bool:
        """Add the hours of one key field to its day, or what follows of it; return whether there may be more.

        Raises sqlite3.Error.
        """
        if self._add():
            self._may_have_sums = True
            return True
        if self._may_have_sums:
            self._may_have_sums = self._sum_up()
            return True
        return self._sweep()

    def _add(self) -> bool:
        found = self._connection.execute(
            "SELECT h.stream, h.field, h.block, h.start_ms FROM rolled r JOIN sketch_hour h"
            " ON h.is_added = 0 AND h.stream = r.stream AND h.start_ms < r.open_ms / ?1 * ?1 LIMIT 1",
            (DAY_MS,),
        ).fetchone()
        if found is None:
            return False
        stream, field, block, start_ms = found
        day = start_ms // DAY_MS
        hours = self._connection.execute(
            "SELECT blob FROM sketch_hour WHERE stream = ?1 AND field = ?2 AND block = ?3"
            " AND start_ms >= ?4 AND start_ms < ?5 AND is_added = 0 ORDER BY start_ms",
            (stream, field, block, day * DAY_MS, (day + 1) * DAY_MS),
        ).fetchall()
        before = self._connection.execute(
            "SELECT blob FROM sketch_day WHERE stream = ? AND field = ? AND block = ? AND day = ?",
            (stream, field, block, day),
        ).fetchall()
        readable = [blob for (blob,) in hours if _is_readable(blob)]
        # A damaged day stays as it is, and says so to whoever reads it: what it was of may be nowhere else any more.
        if readable and all(_is_readable(blob) for (blob,) in before):
            self._store((stream, field, block, day), total([*(blob for (blob,) in before), *readable]))
        self._connection.execute(
            "UPDATE sketch_hour SET is_added = 1 WHERE stream = ?1 AND field = ?2 AND block = ?3"
            " AND start_ms >= ?4 AND start_ms < ?5",
            (stream, field, block, day * DAY_MS, (day + 1) * DAY_MS),
        )
        return True

    def _store(self, whose: tuple[int, int, int, int], figures: Figures) -> None:
        stream, field, block, day = whose
        self._connection.execute(
            "DELETE FROM sketch_day WHERE stream = ? AND field = ? AND block = ? AND day = ?", whose
        )
        self._connection.execute(
            "INSERT INTO sketch_day (stream, field, block, day, blob) VALUES (?, ?, ?, ?, ?)", (*whose, encode(figures))
        )
        # Sums that this day should have been in are void.
        self._connection.execute(
            "DELETE FROM sketch_sum WHERE stream = ? AND field = ? AND block = ? AND day > ?", whose
        )
        if day not in _DATES:
            return
        (name,) = self._connection.execute("SELECT name FROM field WHERE id = ?", (field,)).fetchone()
        sketches, counts = figures.sketches, figures.sketches.counts
        quantiles = [quantile(sketches, share) for share in SHARES]
        self._connection.executemany(
            "INSERT OR REPLACE INTO day VALUES (?, date(? * 86400, 'unixepoch'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    field, day, stream, block * BLOCK + row, int(counts[row]),
                    float(figures.gains[row]) if name in _INCREASING else None,
                    float(sketches.mins[row]), float(sketches.maxs[row]), float(sketches.sums[row] / counts[row]),
                    *(float(of[row]) for of in quantiles),
                    min(1.0, float(figures.covered_s[row]) / DAY_S),
                )
                for row in np.flatnonzero(counts).tolist()
            ],
        )  # fmt: skip

    def _sum_up(self) -> bool:
        """Make the next cumulative sketch that is lacking; return whether there was one."""
        found = self._connection.execute(
            "SELECT d.stream, d.field, d.block, (d.day / ?1 + 1) * ?1 AS due FROM rolled r"
            " JOIN sketch_day d ON d.stream = r.stream WHERE due <= r.open_ms / ?2 AND NOT EXISTS (SELECT 1"
            "  FROM sketch_sum s WHERE s.stream = d.stream AND s.field = d.field AND s.block = d.block AND s.day = due)"
            " ORDER BY due LIMIT 1",
            (CUMULATIVE_EVERY_DAYS, DAY_MS),
        ).fetchone()
        if found is None:
            return False
        stream, field, block, due = found
        last = self._connection.execute(
            "SELECT day, blob FROM sketch_sum WHERE stream = ? AND field = ? AND block = ? AND day < ?"
            " ORDER BY day DESC LIMIT 1",
            found,
        ).fetchone()
        if last and not _is_sum(last[1]):  # it is made again of what is left, and so are those that it was part of
            self._connection.execute(
                "DELETE FROM sketch_sum WHERE stream = ? AND field = ? AND block = ? AND day >= ?",
                (stream, field, block, last[0]),
            )
            return True
        since = last[0] if last else _FIRST_DAY
        days = self._connection.execute(
            "SELECT blob FROM sketch_day WHERE stream = ? AND field = ? AND block = ? AND day >= ? AND day < ?",
            (stream, field, block, since, due),
        ).fetchall()
        parts = [last[1]] if last else []
        for (blob,) in days:
            try:
                parts.append(sketches_of(blob))
            except DamagedError:  # the day says so to whoever reads it
                continue
        summed = sketchblob.total([(1, sketchblob.open_blob(part)) for part in parts]) if parts else nothing(BLOCK)
        self._connection.execute(
            "INSERT INTO sketch_sum (stream, field, block, day, blob) VALUES (?, ?, ?, ?, ?)",
            (*found, sketchblob.encode(summed)),
        )
        return True

    def _sweep(self) -> bool:
        deleted = self._connection.execute(
            "DELETE FROM sketch_hour WHERE id IN (SELECT h.id FROM rolled r JOIN sketch_hour h"
            " ON h.is_added = 1 AND h.stream = r.stream AND h.start_ms < r.open_ms - ? LIMIT ?)",
            (HOURS_KEPT_MS, SWEPT),
        )
        return deleted.rowcount > 0


def _is_sum(blob: bytes) -> bool:
    try:
        sketchblob.decode(blob)
    except DamagedError:
        return False
    return True


def _is_readable(blob: bytes) -> bool:
    try:
        total([blob])
    except DamagedError:
        return False
    return True
