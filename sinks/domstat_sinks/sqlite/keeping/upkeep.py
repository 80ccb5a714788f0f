"""Upkeep: what a history does between ticks, in steps of a few milliseconds, one piece of work at a time.

Slices are sealed, segments merged, what is doomed is swept away. Nothing is remembered that the file does not say: a
writer that dies in the middle leaves chunks that are doomed, and the next one begins the piece anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from msgspec import Struct

from domstat_sinks.sqlite.heads.headids import HeadIds
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.keeping import merging
from domstat_sinks.sqlite.keeping.pruning import prune
from domstat_sinks.sqlite.keeping.retention import Bounds, Retention, Shrinking
from domstat_sinks.sqlite.keeping.sealing import DAY_MS, TICKS_MAX, Known, Sealing, Sweeper
from domstat_sinks.sqlite.keeping.turns import TURNS
from domstat_sinks.sqlite.rollups.careful import carefully
from domstat_sinks.sqlite.rollups.days import Days
from domstat_sinks.sqlite.rollups.roller import Roller

SLICE_TICKS = 60
"""Ticks in a slice at least: as many as follow a base, ten minutes at 10 s."""

BULK_TICKS = 384
"""The same while much is imported. What a series costs in each slice, however short, is half of all upkeep; more than
``TICKS_MAX`` is never sealed at once, and up to 30 may follow until a multiple of ``SLICE_MS`` at 10 s."""

SLICE_MS = 300_000
"""A slice of fewer than ``TICKS_MAX`` ticks ends at a multiple of this, so that a roll-up's span is rarely cut."""

STEP_S = 0.010
"""Seconds of work after a tick: half of what a commit may take, and more than 200 guests cost a tick."""

TIER_SLICES_MS = {1: 3 * merging.HOUR_MS, 2: DAY_MS}
"""By tier, how much time a slice of buckets spans: 36 of five minutes, or 24 hours. Whoever asks for what has just been
reads those that are not sealed yet one by one."""

BEHIND = 4
"""Slices of ``TICKS_MAX`` that wait when work is no longer spread: a backlog came at once, or a file was upgraded."""


_DAYS = "days"

_ADVICE = "every sample is kept, and roll-ups and days lack some; please report the error, with the agent's version"


class _Work(Protocol):
    """A piece of work on one segment, done in steps."""

    stream: int
    segment: int

    def step(self) -> bool:
        """Do some; return whether there is more.

        Raises DamagedError for what cannot be read and ValueError for what no chunk can hold; then it is given up.
        """

    def give_up(self) -> None:
        """Leave what it was about as it is, for good."""


class _Stream(Struct):
    """What is known of a stream's head rows that are not sealed."""

    tier: int
    ticks: int = 0
    last_id: int = 0
    last_ms: int = 0
    due: int = 0
    """Up to which row they are to be sealed; 0 for none."""


class Upkeep:
    """Keeps one history in shape, on its writing connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        numbers: Numbers,
        ids: HeadIds,
        bounds: Bounds,
        on_pruned: Callable[[frozenset[int]], None],
        *,
        in_bulk: bool = False,
        log: Any = None,
    ) -> None:
        """*on_pruned* is told which layouts have gone, whose numbers nobody may remember then.

        *in_bulk* makes slices long: for imports, since ticks stay unsealed for longer.
        """
        self._connection = connection
        self._numbers = numbers
        self._ids = ids
        self._on_pruned = on_pruned
        self._in_bulk = in_bulk
        self._log = log
        self._said: set[object] = set()
        """The streams whose slices could not be rolled up, and whether days could not be made."""
        self._bounds = bounds
        self._shrinking = Shrinking(connection)
        self.forget()

    def forget(self) -> None:
        """Begin anew with what the file says: after a start, and after a failure."""
        self._numbers.forget()
        self._put_down()
        self._known = Known(self._connection, self._numbers)
        self._roller = Roller(
            self._connection, self._numbers, self._ids, self.ends_slice, self.added, self._say_not_rolled
        )
        self._sweeper = Sweeper(self._connection)
        self._days = Days(self._connection)
        self._retention = Retention(self._connection, self._bounds)
        self._sweeping = True
        self._streams = {
            stream: _Stream(tier, ticks, last_id, last_ms, last_id if ticks >= TICKS_MAX else 0)
            for stream, tier, ticks, last_id, last_ms in self._connection.execute(
                "SELECT s.id, s.tier, count(*), max(h.id), h.time_ms FROM stream s"
                " CROSS JOIN head h ON h.stream + 0 = s.id AND h.id > s.sealed GROUP BY s.id"
            )
        }
        found = self._connection.execute("SELECT DISTINCT stream FROM segment").fetchall()
        self._to_merge = {stream for (stream,) in found}

    def stop(self) -> None:
        """Let go of the piece of work at hand, which keeps SQLite from closing the file; store what is open."""
        self._put_down()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._roller.keep()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next writer makes it again of its ticks
            if self._log is not None:
                self._log.warning("history_open_hour_not_stored", error=repr(error))
            with contextlib.suppress(sqlite3.Error):  # the file is closed next, which takes back what is not committed
                self._connection.execute("ROLLBACK")

    def ends_slice(self, stream: int, time_ms: int) -> bool:
        """Tell whether the ticks before one that comes now are a slice; the next row must not build on theirs then."""
        known = self._streams.get(stream)
        if known is None or not known.ticks:
            return False
        if known.ticks >= TICKS_MAX:
            is_full = True
        elif known.tier:
            is_full = time_ms // TIER_SLICES_MS[known.tier] != known.last_ms // TIER_SLICES_MS[known.tier]
        elif time_ms // DAY_MS != known.last_ms // DAY_MS:
            is_full = True
        else:
            enough = BULK_TICKS if self._in_bulk else SLICE_TICKS
            is_full = known.ticks >= enough and time_ms // SLICE_MS != known.last_ms // SLICE_MS
        if is_full:
            known.due, known.ticks = known.last_id, 0
        return is_full

    def added(self, stream: int, head_id: int, time_ms: int) -> None:
        """Take note of a new head row."""
        known = self._streams.get(stream)
        if known is None:
            known = self._streams[stream] = _Stream(self._tier(stream))
        known.ticks, known.last_id, known.last_ms = known.ticks + 1, head_id, time_ms

    def _tier(self, stream: int) -> int:
        return int(self._connection.execute("SELECT tier FROM stream WHERE id = ?", (stream,)).fetchone()[0])

    def changed(self, stream: int) -> None:
        """Take note that a head row of a stream was written anew: what was made of the old one is void."""
        if self._work is not None and self._work.stream == stream and isinstance(self._work, Sealing):
            self._put_down()
            self._sweeping = True

    def run(self, step_s: float | None = None) -> bool:
        """Do what is due, for as long as a step may take, ``STEP_S`` by default; return whether there is more.

        Raises sqlite3.Error; then what the step did is undone.
        """
        until = time.monotonic() + (STEP_S if step_s is None else step_s)
        while self._may_go_on():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for _ in self._steps(until):
                    pass
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self.forget()
                raise
            if time.monotonic() >= until and not self._is_behind():
                break
        return self._has_work()

    def make_room(self) -> None:
        """Let go what is beyond the bounds, and nothing else, for as long as a step may take; after a failure.

        Raises sqlite3.Error.
        """
        until = time.monotonic() + STEP_S
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            while self._sweeper.step() or self._retain() or self._shrinking.step():
                if time.monotonic() >= until:
                    break
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self.forget()
            raise

    def _steps(self, until: float) -> Iterator[None]:
        """Do steps until the time is over or nothing is left, at least one."""
        while self._may_go_on():
            self._step()
            yield
            if time.monotonic() >= until:
                return

    def _has_work(self) -> bool:
        return self._sweeping or self._is_due()

    def _is_due(self) -> bool:
        """Whether a piece of work is at hand or to be begun."""
        return self._work is not None or bool(self._to_merge) or any(known.due for known in self._streams.values())

    def _may_go_on(self) -> bool:
        """Whether there is work that may be done now."""
        return self._sweeping or (self._is_due() and self._is_ones_turn())

    def _is_ones_turn(self) -> bool:
        """Whether a piece of work may be begun; one that is at hand is gone on with, and so is what piles up."""
        return TURNS.take() or self._work is not None or self._is_behind()

    def _put_down(self) -> None:
        """Have no piece of work at hand."""
        self._work: _Work | None = None
        TURNS.give()

    def _is_behind(self) -> bool:
        """Whether so much waits to be sealed that head rows would pile up."""
        return any(known.due and self._waits(stream, known.due) for stream, known in self._streams.items())

    def _waits(self, stream: int, due: int) -> bool:
        most = BEHIND * TICKS_MAX
        (waiting,) = self._connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM head WHERE stream = ?1 AND id <= ?2"
            " AND id > (SELECT sealed FROM stream WHERE id = ?1) LIMIT ?3)",
            (stream, due, most),
        ).fetchone()
        return bool(waiting == most)

    def _step(self) -> None:
        if self._is_due() and self._is_ones_turn():
            self._work = self._work or self._next()
            if self._work is None:
                TURNS.give()
        work = self._work
        if work is None:
            self._sweeping = self._tidy_up()
        elif not self._goes_on(work):
            self._put_down()
            self._finished(work)

    def _tidy_up(self) -> bool:
        """Do a step of what may as well be done later; return whether there is more."""
        return self._sweeper.step() or self._retain() or self._make_days() or self._prune() or self._shrinking.step()

    def _retain(self) -> bool:
        """Let go what is beyond the bounds, guests too, whose numbers may be given again."""
        if not self._retention.step():
            return False
        self._roller.guests.forget()
        return True

    def _make_days(self) -> bool:
        """Do a step of making days; after a mistake none until the next start, so that all else goes on."""
        with carefully(self._connection, self._say_no_days):
            return _DAYS not in self._said and self._days.step()
        return False

    def _say_no_days(self, error: Exception) -> None:
        self._said.add(_DAYS)
        if self._log is not None:
            self._log.warning("history_days_not_made", error=repr(error), advice=_ADVICE)

    def _say_not_rolled(self, stream: int, error: Exception) -> None:
        """Say that a slice cannot be rolled up: it will happen with every slice, and once for each stream is enough."""
        if self._log is None or stream in self._said:
            return
        self._said.add(stream)
        host, collect = self._roller.whose(stream)
        self._log.warning("history_not_rolled_up", host=host, collect=collect, error=repr(error), advice=_ADVICE)

    def _prune(self) -> bool:
        """Remove layouts nobody needs any more, and forget their numbers."""
        pruned = prune(self._connection)
        if pruned is None:
            return False
        self._numbers.forget_shapes(pruned.shapes)
        self._roller.rows.forget_layouts(pruned.layouts)
        self._on_pruned(pruned.layouts)
        return True

    @staticmethod
    def _goes_on(work: _Work) -> bool:
        try:
            return work.step()
        except (DamagedError, ValueError):
            work.give_up()
            return False

    def _finished(self, work: _Work) -> None:
        self._to_merge.add(work.stream)
        self._sweeping = True
        known = self._streams.get(work.stream)
        if isinstance(work, Sealing) and known is not None and work.last_id >= known.due:
            known.due = 0

    def _next(self) -> _Work | None:
        """Begin the next piece of work."""
        for stream, known in self._streams.items():
            if known.due:
                roller = None if known.tier else self._roller
                return Sealing(self._connection, self._known, stream, known.due, roller)
        while self._to_merge:
            stream = next(iter(self._to_merge))
            found = merging.due(self._connection, stream, self._tier(stream))
            if found is not None:
                return merging.Merging(self._connection, stream, *found)
            self._to_merge.discard(stream)
        return None
