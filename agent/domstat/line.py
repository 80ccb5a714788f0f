"""One stream on its way through the agent: ticks come in, batches and gaps go out, and what happens is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from domstat import clock
from domstat.collect.errors import ClosedError, CollectError, UnreachableError, WorkerDiedError
from domstat.collect.tally import Tally, Tick
from domstat.model import Batch, Gap, Kind, Record, Stamp
from domstat.settings import Duration
from domstat.shifts import MACHINE, Reading, shift_between

AGENT_STOPPED = "agent-stopped"
OVERLOAD = "overload"
SUSPENDED = "suspended"
FAILED = "failed"
"""Reasons of gaps that are not a CollectError's; see :mod:`domstat.collect.errors` for those."""

FITTING_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Intervals people set, in seconds."""

ROOM = 1.25
"""An interval that fits is longer than the tick took by this factor: some ticks take longer than others."""

SLOW_TICKS = 3
"""So many ticks in a row must have taken too long before it is the interval's fault: a daemon, or the machine, that
stands still for some seconds costs one."""


class Collecting(Protocol):
    """What a line has ticks from."""

    tally: Tally
    tick: Tick | None

    def collect(self, deadline_s: float, due_ms: int | None = None) -> Iterator[Batch]:
        """Collect one tick. Raises CollectError."""


class Line:
    """One stream, and what is counted of it. Its ticks come from one thread at a time, skipped ones from another."""

    def __init__(
        self,
        names: tuple[str, str],
        stream: Collecting,
        interval_s: float,
        deadline_s: float,
        offer: Callable[[Batch], None],
        log: Any,
        *,
        is_watched: bool = True,
    ) -> None:
        """*names* are the host's and the collect block's; *offer* takes every batch.

        *is_watched*: somebody else says when the host is lost.
        """
        self.host, self.collect = names
        self.name = "/".join(names)
        self.interval_s = interval_s
        self.ticks = 0
        self.tally = stream.tally
        self._stream = stream
        self._deadline_s = deadline_s
        self._offer = offer
        self._is_watched = is_watched
        self._log = log.bind(stream=self.name)
        self._failing: str | None = None
        """The reason of the outage that is going on, None while ticks succeed."""
        self._failed_before = 0
        self._seen_skipped = 0
        self._counting = threading.Lock()
        """Skipped ticks are counted by the schedule's thread, and by the line's own where that one came late."""
        self._begun: Reading | None = None
        """The clocks when the newest tick began; None before the first one at this interval."""
        self._slow_ticks = 0
        """Ticks in a row that have taken longer than the interval, for no other reason."""
        self._said_which_fits = False
        self.trouble: str | None = None
        """Why the newest tick failed; None if it did not."""
        self.ticked_ms: int | None = None
        """When the newest tick was due that did not fail, in milliseconds since 1970."""
        self._ticked_at = self._idle_since = time.monotonic()
        self.busy_since: float | None = None
        """Since when a tick runs, by the monotonic clock; None between ticks."""
        self.is_retired = False
        """Whether another line has taken its place, or nobody wants it any more: then it says itself what it lacks."""
        self.last_ms: int | None = None
        """When the newest tick was due that has been given or said to be lacking; for the agent that comes next."""

    @property
    def silent_s(self) -> float:
        """Seconds since a tick came that did not fail; before the first, since the line was made."""
        return time.monotonic() - self._ticked_at

    @property
    def late_s(self) -> float:
        """Seconds since the tick began that runs, or since the next should have begun; below 0 before that."""
        busy_since = self.busy_since
        return time.monotonic() - (self._idle_since + self.interval_s if busy_since is None else busy_since)

    def retime(self, interval_s: float, deadline_s: float) -> None:
        """Have ticks from now on at this interval, in seconds, and with this deadline."""
        if interval_s != self.interval_s:
            self._slow_ticks, self._said_which_fits = 0, False
            self._begun = None
        self.interval_s, self._deadline_s = interval_s, deadline_s

    def run(self, due_ms: int) -> None:
        """Run the tick that was due at *due_ms*; whatever happens, it does not raise."""
        self.busy_since = time.monotonic()
        try:
            self._run(due_ms, self.busy_since)
        finally:
            self.busy_since, self._idle_since = None, time.monotonic()

    def _run(self, due_ms: int, began: float) -> None:
        reason = None
        self._count_unseen(due_ms)
        if late := self._newly_skipped():  # counted when the tick before had said its own, and due before this one
            self._gap(due_ms - self._span_ms(late), due_ms, OVERLOAD)
        try:
            for batch in self._stream.collect(self._deadline_s, due_ms):
                self._offer(batch)
            self.ticked_ms, self._ticked_at = due_ms, time.monotonic()
            self._note_tick(self._ticked_at - began)
        except ClosedError as error:
            if not self.is_retired:
                return  # the agent stops, and the next one says what was missed
            reason = error.reason
        except CollectError as error:
            reason = error.reason
            self._note_failure(error)
        except Exception as error:  # noqa: BLE001 - the last resort: one tick is lost, said, and not the agent
            reason = FAILED
            self._note_crash(error)
        self.last_ms, self.trouble = due_ms, reason
        if reason is not None:
            self._gap(due_ms, self._after(due_ms), reason)
        self._note_skipped(due_ms, time.monotonic() - began, reason)

    def skip(self) -> None:
        """Count a tick that was due while the one before it still ran."""
        with self._counting:
            self.tally.skipped += 1
        self._log.debug("tick_skipped", skipped=self.tally.skipped)

    def resume(self, last_ms: int, now_ms: int) -> None:
        """Say what was missed since the agent that ran before, whose last tick was due at *last_ms*."""
        if now_ms - last_ms > 1000 * self.interval_s:
            self._gap(self._after(last_ms), now_ms, AGENT_STOPPED)

    def note_suspend(self, seconds: float, now_ms: int) -> None:
        """Say that the machine slept until now."""
        if seconds >= self.interval_s:
            self._gap(now_ms - round(seconds * 1000), now_ms, SUSPENDED)

    def _note_tick(self, took_s: float) -> None:
        self.ticks += 1
        if self._failing is not None:
            failed = self.tally.failed - self._failed_before
            self._log.warning("collecting_again", after=self._failing, failed=failed)
            self._failing = None
        tick, tally = self._stream.tick, self.tally
        if tick is None:
            return
        self._log.info(
            "tick",
            guests=tick.guests,
            partial=tick.partial,
            params=tick.params,
            calls=tick.calls,
            call_ms=round(tick.call_ns / 1e6, 1),
            took_ms=round(took_s * 1e3, 1),
            late_ms=tick.lateness_ms,
            quarantined=tally.quarantined,
            skipped=tally.skipped,
            workers_killed=tally.workers_killed,
            reconnects=tally.reconnects,
            clock_steps=tally.clock_steps,
        )

    def _note_failure(self, error: CollectError) -> None:
        """Say once per outage what is wrong; that the host is lost only where nobody else says it."""
        is_the_hosts = isinstance(error, (UnreachableError, WorkerDiedError))
        if is_the_hosts and self._is_watched:
            self._failing, begins = None, False
            self.tally.failed += 1
        else:
            begins = self._begin_outage(error.reason)
        say = self._log.debug if not begins else self._log.warning if is_the_hosts else self._log.error
        say("tick_failed", reason=error.reason, error=str(error))

    def _note_crash(self, error: Exception) -> None:
        """Say once per outage that there is a fault in the agent itself, and where."""
        say = self._log.error if self._begin_outage(FAILED) else self._log.debug
        say("tick_crashed", exc_info=error)

    def _begin_outage(self, reason: str) -> bool:
        """Count a tick that failed; return whether that is news."""
        if self._failing is None:
            self._failed_before = self.tally.failed
        self.tally.failed += 1
        begins, self._failing = self._failing != reason, reason
        return begins

    def _note_skipped(self, due_ms: int, took_s: float, reason: str | None) -> None:
        """Say what was skipped while this tick ran, and once which interval fits if it was not the tick's fault."""
        skipped = self._newly_skipped()
        if not skipped:
            self._slow_ticks = 0
            return
        first = self._after(due_ms)
        self._gap(first, first + self._span_ms(skipped), reason or OVERLOAD)
        self.last_ms = due_ms + self._span_ms(skipped)
        # The first tick starts a worker and reads the guests' XML, which is not what every tick does.
        is_ordinary = reason is None and self.ticks > 1 and not self.tally.quarantined
        self._slow_ticks = self._slow_ticks + 1 if is_ordinary else 0
        if self._slow_ticks >= SLOW_TICKS and not self._said_which_fits:
            self._said_which_fits = True
            fits = next((fit for fit in FITTING_S if fit >= took_s * ROOM), FITTING_S[-1])
            self._log.warning(
                "interval_too_short",
                took_s=round(took_s, 1),
                interval=str(Duration(self.interval_s)),
                hint=f"ticks are left out and counted; an interval of {Duration(fits)} fits",
            )

    def _count_unseen(self, due_ms: int) -> None:
        """Count as skipped what was due since the last tick while the schedule itself did not get to run.

        Where the clock was set meanwhile or the machine slept, no tick is missing, or others say so.
        """
        now, before = MACHINE.read(), self._begun
        if now is None:
            return
        self._begun = now
        if before is None or self.last_ms is None:
            return
        shift = shift_between(before, now)
        if shift.step_s or shift.suspend_s:
            return
        passed = round((due_ms - self.last_ms) / (1000 * self.interval_s)) - 1
        with self._counting:
            self.tally.skipped = max(self.tally.skipped, self._seen_skipped + passed)

    def _newly_skipped(self) -> int:
        """Return how many ticks were skipped since this was asked before."""
        skipped = self.tally.skipped - self._seen_skipped
        self._seen_skipped += skipped
        return skipped

    def _after(self, due_ms: int) -> int:
        return due_ms + self._span_ms(1)

    def _span_ms(self, ticks: int) -> int:
        return round(1000 * self.interval_s * ticks)

    def _gap(self, start_ms: int, end_ms: int, reason: str) -> None:
        """Have it known, with the data, that there is none for this span."""
        now = clock.now()
        record = Record(
            kind=Kind.GAP,
            host=self.host,
            collect=self.collect,
            time_ms=start_ms,
            gap=Gap(start_ms, end_ms, reason),
        )
        stamp = Stamp(start_ms, now.boot_ns, now.boot_id, 0)
        self._offer(Batch(host=self.host, collect=self.collect, stamp=stamp, records=(record,)))
