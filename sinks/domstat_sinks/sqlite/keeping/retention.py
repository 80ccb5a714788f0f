"""Retention: what is older than it may be, or more than fits, goes; and the file shrinks again.

A segment goes as a whole, the oldest first. Age is counted from the newest tick of its stream, and not more than one
segment of a stream goes at a time: so a clock that jumps ahead takes little with it before somebody notices.
"""

from __future__ import annotations

import math
import sqlite3
import time

from msgspec import Struct

from domstat_sinks.sqlite.keeping.sealing import retire
from domstat_sinks.sqlite.rollups.rollup import DAY_MS

EVERY_S = 300.0
"""Seconds between two looks for what is too old: the day that goes at once had its day."""

SPARE_SHARE = 20
"""Of so many pages of the file one may be free: ticks to come fill it. More is given back."""

SPARE_PAGES = 1_024
"""Free pages (4 KiB each) that are never given back: about an hour of 200 guests, sealed."""

SHRINK_PAGES = 128
"""Pages given back in one step: half a MiB is moved for it at most."""


class Bounds(Struct, frozen=True):
    """How much history is kept: so many seconds of each tier, and no more than *max_bytes* in all, if that is not None.

    Of the budget it is ticks that go first, then five minutes, then hours; days are small, and stay.
    """

    raw_s: float = math.inf
    max_bytes: int | None = None
    five_minutes_s: float = math.inf
    hours_s: float = math.inf
    days_s: float = math.inf

    @property
    def tiers_s(self) -> tuple[float, float, float]:
        """Seconds of each tier of streams."""
        return self.raw_s, self.five_minutes_s, self.hours_s


# A segment of ticks stays until nothing is made of it any more: after a restart the open hour is.
_TOO_OLD = """
SELECT (SELECT g.id FROM segment g WHERE g.stream = s.id AND g.end_ms < ?1 + (
  SELECT max(n.end_ms) FROM segment n WHERE n.stream = s.id) ORDER BY g.end_ms LIMIT 1) AS gone
FROM stream s WHERE s.tier = ?2 AND gone IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM rolled r WHERE r.stream = s.id
  AND r.hour_from <= (SELECT last_id FROM segment WHERE id = gone))
"""

# The fields are named since rows are in their order, and then in that of days.
_DROP_DAY = (
    "DELETE FROM day WHERE field IN (SELECT id FROM field) AND day <= date(?2 * 86400, 'unixepoch') AND stream = ?1"
)

_OLDEST = "SELECT g.id FROM segment g JOIN stream s ON s.id = g.stream ORDER BY s.tier, g.end_ms LIMIT 1"


class Retention:
    """Removes what is beyond the bounds, on the writing connection."""

    def __init__(self, connection: sqlite3.Connection, bounds: Bounds) -> None:
        self._connection = connection
        self._bounds = bounds
        self._next = 0.0

    def step(self) -> bool:
        """Let one segment of a stream, or one day, go if it must; return whether one went. Raises sqlite3.Error."""
        if self._bounds.max_bytes is not None and self._used_bytes() > self._bounds.max_bytes and self._drop(_OLDEST):
            return True
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY_S
        gone = [
            self._drop(_TOO_OLD, -round(bound_s * 1000), tier)
            for tier, bound_s in enumerate(self._bounds.tiers_s)
            if not math.isinf(bound_s)
        ]
        if not math.isinf(self._bounds.days_s):
            gone += [self._drop_day(*oldest) for oldest in self._old_days(round(self._bounds.days_s * 1000))]
        return any(gone)

    def _old_days(self, kept_ms: int) -> list[tuple[int, str, int]]:
        """Return of each stream whose oldest day is too old: the stream, its host, the day."""
        return self._connection.execute(
            "SELECT s.id, s.host, min(d.day) AS oldest FROM rolled r JOIN stream s ON s.id = r.stream"
            " JOIN sketch_day d ON d.stream = r.stream GROUP BY s.id HAVING oldest < (r.open_ms - ?) / ?",
            (kept_ms, DAY_MS),
        ).fetchall()

    def _drop_day(self, stream: int, host: str, day: int) -> bool:
        """Let a stream's oldest day go, and the guests of its host that were last seen in it."""
        for statement in (
            _DROP_DAY,
            "DELETE FROM sketch_day WHERE stream = ?1 AND day <= ?2",
            "DELETE FROM sketch_sum WHERE stream = ?1 AND day <= ?2",
        ):
            self._connection.execute(statement, (stream, day))
        ends_ms = (day + 1) * DAY_MS
        self._connection.execute(
            "DELETE FROM sketch_hour WHERE stream = ? AND is_added = 1 AND start_ms < ?", (stream, ends_ms)
        )
        # The newest stays, so that its number is not given again: sketches know guests by their numbers.
        self._connection.execute(
            "DELETE FROM guest WHERE host = ? AND last_ms < ? AND id < (SELECT max(id) FROM guest)", (host, ends_ms)
        )
        return True

    def _drop(self, query: str, *parameters: object) -> bool:
        gone = [segment for (segment,) in self._connection.execute(query, parameters).fetchall()]
        retire(self._connection, gone)
        return bool(gone)

    def _used_bytes(self) -> int:
        """Return what the file would have without its free pages, and without what is doomed."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {pragma}").fetchone()[0]
            for pragma in ("page_count", "freelist_count", "page_size")
        )
        return int(pages - free) * int(size)


class Shrinking:
    """Gives free pages back to the file system, a few at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
        self._is_able = mode == 2  # incremental; a file of an earlier version is not, and uses its free pages again

    def step(self) -> bool:
        """Give some back; return whether there is more to give. Raises sqlite3.Error."""
        if not self._is_able or self._excess() <= 0:
            return False
        self._connection.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
        return self._excess() > 0

    def _excess(self) -> int:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int(free) - max(int(pages) // SPARE_SHARE, SPARE_PAGES)
