"""Quantiles of any range, out of a few sketches: of hours at its edges, of days, and of all days before a day."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.rollups.keyfigures import BLOCK, sketches_of
from domstat_sinks.sqlite.rollups.prefixes import Term, terms
from domstat_sinks.sqlite.rollups.rollplan import Real, Whole
from domstat_sinks.sqlite.rollups.rollup import DAY_MS, HOUR_MS
from domstat_sinks.sqlite.rollups.sketch import Sketches, quantile
from domstat_sinks.sqlite.rollups.sketchblob import Blob, open_blob, total


class Ranged(Struct, frozen=True):
    """What is known of one key field of some guests in a range, a row a guest: *guests* are their numbers.

    *span* is the range that it is of, in whole hours or days, which is within what was asked for. *values* have a
    column for each share that was asked for, to 1 %; *counts* say of how many values, *means* and *maxs* what these
    come to.
    """

    span: Span
    guests: Whole
    values: Real
    counts: Whole
    means: Real
    maxs: Real


def quantiles(
    connection: sqlite3.Connection,
    stream: int,
    field: str,
    span: Span,
    shares: Sequence[float],
    on_damaged: OnDamaged | None = None,
    slack_ms: float = 0.0,
) -> Ranged | None:
    """Return the quantiles of a key field in a range, of all guests of a stream that have values in it; None for none.

    At its ends so much as *slack_ms* may be left out, so that whole days are enough. Raises sqlite3.Error; and
    DamagedError, unless *on_damaged* is to be told of sketches that are left out.
    """
    found = connection.execute("SELECT id FROM field WHERE name = ?", (field,)).fetchone()
    if found is None:
        return None
    key = (stream, found[0])
    within = _within(connection, key, span)
    if within is None:
        return None
    within = _of_days(connection, key, within, slack_ms) or within
    blocks = connection.execute(
        "SELECT block FROM sketch_day WHERE stream = ?1 AND field = ?2 UNION"
        " SELECT block FROM sketch_hour WHERE stream = ?1 AND field = ?2 ORDER BY 1",
        key,
    ).fetchall()
    summing = _Summing(connection, field, on_damaged)
    parts = [(block, summed) for (block,) in blocks if (summed := summing.sum((*key, block), within)) is not None]
    return _ranged(within, parts, shares) if parts else None


def _within(connection: sqlite3.Connection, key: tuple[int, int], span: Span) -> Span | None:
    """Return what of a range there are sketches of: whole hours where its edges have some, or else whole days."""
    first, hours_from, open_ms = connection.execute(
        "SELECT (SELECT min(day) FROM sketch_day WHERE stream = ?1 AND field = ?2) * ?3,"
        " (SELECT min(start_ms) FROM sketch_hour WHERE stream = ?1 AND field = ?2),"
        " (SELECT open_ms FROM rolled WHERE stream = ?1)",
        (*key, DAY_MS),
    ).fetchone()
    if open_ms is None or (first is None and hours_from is None):
        return None
    known_ms = open_ms // HOUR_MS * HOUR_MS
    in_hours_from = known_ms if hours_from is None else hours_from // HOUR_MS * HOUR_MS
    since_ms = -(-max(span.since_ms, in_hours_from if first is None else first) // HOUR_MS) * HOUR_MS
    until_ms = min(span.until_ms, known_ms) // HOUR_MS * HOUR_MS
    if since_ms < in_hours_from:
        since_ms = -(-since_ms // DAY_MS) * DAY_MS
    if until_ms < in_hours_from:
        until_ms = until_ms // DAY_MS * DAY_MS
    return Span(since_ms, until_ms) if since_ms < until_ms else None


def _of_days(connection: sqlite3.Connection, key: tuple[int, int], span: Span, slack_ms: float) -> Span | None:
    """Return the whole days in a range that are summed up, None where that leaves too much out."""
    (added,) = connection.execute(
        "SELECT ifnull(max(day) + 1, 0) FROM sketch_day WHERE stream = ? AND field = ?", key
    ).fetchone()
    days = Span(-(-span.since_ms // DAY_MS) * DAY_MS, min(span.until_ms // DAY_MS, added) * DAY_MS)
    left_ms = (span.until_ms - span.since_ms) - (days.until_ms - days.since_ms)
    return days if days.since_ms < days.until_ms and left_ms <= slack_ms else None


class _Summing:
    """Adds up the sketches of one key field, by blocks."""

    def __init__(self, connection: sqlite3.Connection, field: str, on_damaged: OnDamaged | None) -> None:
        self._connection = connection
        self._field = field
        self._on_damaged = on_damaged

    def sum(self, key: tuple[int, int, int], span: Span) -> Sketches | None:
        """Add up the sketches of one block, (stream, field, block)."""
        first_day, last_day = -(-span.since_ms // DAY_MS), span.until_ms // DAY_MS
        (added,) = self._connection.execute(
            "SELECT ifnull(max(day) + 1, 0) FROM sketch_day WHERE stream = ? AND field = ? AND block = ?", key
        ).fetchone()
        last_day = max(min(last_day, added), first_day)
        if first_day >= last_day:
            edges, found = [(span.since_ms, span.until_ms)], []
        else:
            edges = [(span.since_ms, first_day * DAY_MS), (last_day * DAY_MS, span.until_ms)]
            found = self._days(key, first_day, last_day)
        for since_ms, until_ms in edges:
            hours = self._connection.execute(
                "SELECT id, blob FROM sketch_hour WHERE stream = ? AND field = ? AND block = ?"
                " AND start_ms >= ? AND start_ms < ?",
                (*key, since_ms, until_ms),
            )
            opened = (self._open("sketch_hour", number, blob) for number, blob in hours)
            found += [(1, blob) for blob in opened if blob is not None]
        return total(found) if found else None

    def _days(self, key: tuple[int, int, int], first_day: int, last_day: int) -> list[tuple[int, Blob]]:
        """Return what makes up whole days: days, and sums of all before, to be added or subtracted.

        Where one of these is damaged, the days alone, without those that are.
        """
        sums = self._connection.execute(
            "SELECT day FROM sketch_sum WHERE stream = ? AND field = ? AND block = ? ORDER BY day", key
        ).fetchall()
        found = self._opened(key, terms(first_day, last_day, [day for (day,) in sums]))
        if any(blob is None for _, blob in found):
            found = self._opened(key, terms(first_day, last_day, []))
        return [(sign, blob) for sign, blob in found if blob is not None]

    def _opened(self, key: tuple[int, int, int], wanted: Sequence[Term]) -> list[tuple[int, Blob | None]]:
        found = []
        for term in wanted:
            table = "sketch_sum" if term.is_cumulative else "sketch_day"
            for number, blob in self._connection.execute(
                f"SELECT id, blob FROM {table} WHERE stream = ? AND field = ? AND block = ? AND day = ?",  # noqa: S608
                (*key, term.day),
            ):
                found.append((term.sign, self._open(table, number, blob)))
        return found

    def _open(self, table: str, number: int, blob: bytes) -> Blob | None:
        try:
            return open_blob(blob if table == "sketch_sum" else sketches_of(blob))
        except DamagedError as error:
            damage = f"row {number} of {table} ({self._field}) is damaged: {error}"
            if self._on_damaged is None:
                raise DamagedError(damage) from error
            self._on_damaged(damage)
            return None


def _ranged(span: Span, parts: Sequence[tuple[int, Sketches]], shares: Sequence[float]) -> Ranged:
    chosen = [(block, sketches, np.flatnonzero(sketches.counts > 0)) for block, sketches in parts]
    return Ranged(
        span=span,
        guests=np.concatenate([rows + block * BLOCK for block, _, rows in chosen]),
        values=np.concatenate(
            [np.stack([quantile(sketches, share)[rows] for share in shares], axis=1) for _, sketches, rows in chosen]
        ),
        counts=np.concatenate([sketches.counts[rows] for _, sketches, rows in chosen]),
        means=np.concatenate([sketches.sums[rows] / sketches.counts[rows] for _, sketches, rows in chosen]),
        maxs=np.concatenate([sketches.maxs[rows] for _, sketches, rows in chosen]),
    )
