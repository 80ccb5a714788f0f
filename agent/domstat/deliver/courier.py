"""One courier per sink: a thread that takes batches from the spool, has the sink store them, and says how far it is.

What the sink's answer means is decided here and nowhere else: see :class:`domstat.sink.SinkError`.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from domstat.deliver.bounds import Why
from domstat.deliver.codec import Unpacker
from domstat.deliver.letters import DeadLetters
from domstat.deliver.parcels import Counts, Taken
from domstat.deliver.spool import Spool
from domstat.model import Batch, Record
from domstat.sink import Fatal, Finished, HasHealth, Reject, Retry, Sink, SinkContext, SinkError

BATCHES_MAX = 16
"""Batches handed over in one write, so that a backlog drains fast but one write stays short."""

BACKOFF_BASE_S, BACKOFF_MAX_S = 0.5, 60.0
"""Retries wait a random time up to base x 2^n, at most this: a returning server is not met by everybody at once."""

AFTER_MAX_S = 900.0
"""However long a server asks to be left alone, it is tried again after this."""

LAST_COMMIT_S = 1.0
"""How long a courier that is to stop waits for a batch that came just before; the journal has it in any case."""

FAULTS_MAX = 5
"""Errors in a row that are no Retry, after which the sink is made anew, and given one batch, then one record at a time.

It may have lost its way, or have a fault that a single record brings about.
"""

HEALTH_EVERY_S = 30.0
"""How often a sink is asked for its health: once between two looks of somebody who watches."""

_ATTEMPTS_COUNTED = 16

_MEND = "mend it, and have the agent read its configuration again: domstat reload"


class State(StrEnum):
    """How a sink is."""

    OPENING = "opening"
    GOOD = "good"
    RETRYING = "retrying"
    BROKEN = "broken"  # it failed in ways it should not, and is tried piece by piece
    STOPPED = "stopped"  # no retry helps; what comes is kept for it, within bounds
    FINISHED = "finished"  # whoever read it has gone


class Outlet(Struct, frozen=True):
    """A sink as it is configured: its *name*, how one is made, and how it wants its batches.

    *oldest*: where it begins if it is new. A write has at most *batches* of them; with fewer it is put off for up to
    *linger_s* seconds.
    """

    name: str
    make: Callable[[], Sink]
    oldest: bool = False
    batches: int = BATCHES_MAX
    linger_s: float = 0.0
    backoff_max_s: float = BACKOFF_MAX_S


class _BrokenError(Exception):
    """The sink has failed too often in ways it should not."""


class Courier:
    """Carries batches to one sink in a thread of its own."""

    def __init__(
        self,
        outlet: Outlet,
        spool: Spool,
        state_dir: Path,
        log: Any,
        on_ended: Callable[[], None] = lambda: None,
        is_left: Callable[[], bool] = lambda: False,
    ) -> None:
        """Carry from *spool* to the outlet's sink; call *on_ended* should it take no more.

        *is_left* tells whether a sink that was to go is still at it, and may hold what this one is to open.
        """
        self.name = outlet.name
        self.counts = Counts()
        self.state = State.OPENING
        self.ended: BaseException | None = None
        """Why the sink takes no more; None while it does."""
        self.last_error = ""
        """What the sink said when it last failed, and when that was, in seconds since 1970."""
        self.last_error_at: float | None = None
        self.unwell = ""
        """What the sink said is wrong with it although it takes what it is given."""
        self.write_s = 0.0
        """How long the newest write took."""
        self.busy_since: float | None = None
        """Since when the sink has been at what it was told to do, by the monotonic clock; None while it is not."""
        self.is_opening = False
        """Whether that is its opening, which may take long."""
        self.in_flight = (0, 0)
        self._held = self._settled = 0
        """Records in hand, and those that were and are done."""
        self._damaged = 0
        """Records in hand that could not be read."""
        self._outlet = outlet
        self._spool = spool
        self._on_ended = on_ended
        self._is_left = is_left
        self._log = log.bind(sink=self.name)
        self._letters = DeadLetters(state_dir, self.name)
        self._context = SinkContext(self.name, state_dir, self._log, self._reject_part)
        self._sink = outlet.make()
        self._unpacker: Unpacker | None = None
        self._health_after = 0.0
        self._process = os.getpid()
        self._stopping = self._leaving = False
        self._dropping = False
        # A sink that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"courier-{self.name}", daemon=True)

    @property
    def pending(self) -> int:
        """Records that are neither written nor rejected nor dropped."""
        counts = self.counts
        return counts.received - counts.written - counts.rejected - counts.dropped

    def start(self) -> None:
        """Come in at the spool, open the sink and begin to carry."""
        self._spool.enlist(self, oldest=self._outlet.oldest)
        self._thread.start()

    def begin_stop(self) -> None:
        """Have what is at hand written and the sink closed; does not wait for it."""
        self._stopping = True
        self._spool.wake()

    def stop(self, timeout_s: float) -> bool:
        """Write what is at hand and close the sink; return whether that was done within *timeout_s* seconds."""
        self.begin_stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def adjust(self, outlet: Outlet) -> None:
        """Go on, from the next write on, with other bounds for batches and retries; it is the same sink."""
        self._outlet = outlet

    def begin_leaving(self) -> None:
        """Have what is in hand written, nothing more, and the sink closed; does not wait for it."""
        self._leaving = True
        self.begin_stop()

    def leave(self, timeout_s: float) -> bool:
        """Go from the spool, where the position stays; return whether the sink was closed within *timeout_s* seconds.

        What a sink that hangs may still store counts as not stored: it comes again, to whoever takes its place.
        """
        self.begin_leaving()
        self._thread.join(timeout_s)
        self._spool.leave(self)
        return not self._thread.is_alive()

    # What the spool tells.

    def note_received(self, records: int) -> None:
        """Count what has come for the sink."""
        self.counts.received += records

    def note_dropped(self, records: int, why: Why) -> None:
        """Count what has gone and never will reach the sink; said when it begins, not with every row."""
        self.counts.dropped_by[why] = self.counts.dropped_by.get(why, 0) + records
        if not self._dropping and why is not Why.ENDED:
            self._dropping = True
            hint = "the sink does not keep up" if why in {Why.SIZE, Why.AGE, Why.MEMORY} else "see the journal's log"
            self._log.error("records_dropped", reason=str(why), dropped=records, pending=self.pending, hint=hint)

    def note_left(self, records: int, why: Why) -> None:
        """All that still waits, beside what is in hand, is so many records; the rest has gone."""
        lost = self.counts.received - self._settled - self.counts.dropped - self._held - records
        if lost > 0:
            self.note_dropped(lost, why)

    def note_taken(self, first: int, last: int, records: int) -> None:
        """Have so many records in hand."""
        self.in_flight, self._held, self._damaged = (first, last), records, 0

    def note_done(self) -> None:
        """Have what was in hand done: with, and so in one step for whoever counts, what of it could not be read."""
        self._settled += self._held - self._damaged
        if self._damaged:
            self.note_dropped(self._damaged, Why.DAMAGED)
        self.in_flight, self._held, self._damaged = (0, 0), 0, 0

    # The thread.

    def _run(self) -> None:
        try:
            if self._until_done(self._open):
                while (taken := self._next()) is not None and self._deliver(taken):
                    pass
        except Finished as error:
            self._end(error, State.FINISHED)
        except Fatal as error:
            self._end(error, State.STOPPED)
            self._log.error("sink_stopped", error=str(error), hint=_MEND)
        except BaseException as error:  # noqa: BLE001 - a sink that calls sys.exit ends itself, not the counting
            self._end(error, State.STOPPED)
            self._log.error("sink_stopped", error=repr(error), hint=_MEND, exc_info=error)
        finally:
            self._close()

    def _open(self) -> None:
        self.is_opening, is_left = True, self._is_left()
        try:
            self._sink.open(self._context)
        except Fatal as error:
            if not is_left:
                raise
            self._sink.close()
            self._sink = self._outlet.make()
            raise Retry(f"{error} (a sink that was to go has not closed yet)") from error
        finally:
            self.is_opening = False
        self.state = State.GOOD

    def _close(self) -> None:
        try:
            self._do(self._sink.close)
        except Exception as error:  # noqa: BLE001 - it promised not to
            self._log.error("sink_close_failed", error=repr(error), exc_info=error)

    def _next(self) -> Taken | None:
        """Wait for batches and take some; None means: stopping, and nothing more is at hand."""
        outlet, spool = self._outlet, self._spool
        while True:
            spool.wait(lambda: self._stopping or spool.has_for(self.name))
            if self._leaving:
                return None
            if self._stopping:
                spool.wait(lambda: spool.has_for(self.name) or not spool.expects(self.name), LAST_COMMIT_S)
                if spool.is_behind(self.name) or not spool.has_for(self.name):
                    return None
            if outlet.linger_s > 0:
                spool.wait(lambda: self._stopping or spool.waits_for(self.name) >= outlet.batches, outlet.linger_s)
            taken = self._take()
            if taken is not None:
                return taken

    def _take(self) -> Taken | None:
        """Take the newest batches where that is wanted, or what is next."""
        spool = self._spool
        if not spool.is_behind(self.name):
            self._unpacker = None  # what it remembers is as much as a tick
        elif self._unpacker is None:
            self._unpacker = Unpacker(spool.look_back)
        if getattr(self._sink, "any_order", False):
            taken = spool.fresh(self.name, self._outlet.batches)
            if taken is not None:
                return taken
        found: list[Taken] = []

        def take() -> None:
            found.append(spool.take(self.name, self._outlet.batches, self._unpacker or Unpacker(spool.look_back)))

        return found[0] if self._until_done(take, "journal_unreadable") else None

    def _deliver(self, taken: Taken) -> bool:
        """Have the sink store what was taken; return False if the agent stops first. Raises Fatal, Finished."""
        batches = [parcel.batch for parcel in taken.parcels]
        self._damaged = sum(row.records for row in taken.damaged)
        try:
            if batches and not self._store(batches):
                return False
            self._spool.done(self.name, taken.first, taken.last, self)
            self._dropping = False
            self._ask_health()
        finally:
            self.in_flight, self._held = (0, 0), 0
        return True

    def _ask_health(self) -> None:
        """Ask a sink that knows how it is, now and then; one that cannot say is unwell too."""
        if not isinstance(self._sink, HasHealth) or time.monotonic() < self._health_after:
            return
        self._health_after = time.monotonic() + HEALTH_EVERY_S
        self.busy_since = time.monotonic()
        try:
            self.unwell = str(self._sink.health())
        except Exception as error:  # noqa: BLE001 - whatever a stranger's method raises
            self.unwell = f"its health cannot be told: {error!r}"
        finally:
            self.busy_since = None

    def _store(self, batches: Sequence[Batch]) -> bool:
        try:
            return self._until_done(lambda: self._write(batches), breaks=True)
        except _BrokenError:
            self.state = State.BROKEN
            self._log.error("sink_broken", error=self.last_error, hint="made anew, and given one record at a time")
        return all(self._piece_by_piece(batch) for batch in batches)

    def _piece_by_piece(self, batch: Batch) -> bool:
        """Have a sink that fails in ways it should not store one batch, and find the records it fails of."""
        for attempt in count(FAULTS_MAX):
            self._close()
            self._sink = self._outlet.make()
            if not self._until_done(self._open):
                return False
            self.state = State.BROKEN
            try:
                return self._until_done(lambda: self._sift(batch), breaks=True)
            except _BrokenError as error:
                if self._pause(min(attempt, _ATTEMPTS_COUNTED), error):
                    break
        return False

    def _sift(self, batch: Batch) -> None:
        """Write a batch, or else its records one by one; those it fails of are rejected if others can be stored."""
        try:
            self._write([batch])
        except (Retry, Fatal):
            raise
        except Exception:
            if len(batch.records) < 2:
                raise
        else:
            return
        failed: list[tuple[Record, Exception]] = []
        for record in batch.records:
            self.busy_since = time.monotonic()  # each is a call of its own
            try:
                self._sink.write([replace(batch, records=(record,))])
            except (Retry, Fatal):
                raise
            except Reject as error:
                failed.append((record, error))
            except Exception as error:  # noqa: BLE001 - likewise
                failed.append((record, error))
        if len(failed) == len(batch.records):
            raise failed[0][1]
        self._reject([(record, f"the sink failed of it: {error!r}") for record, error in failed])
        self.counts.written += len(batch.records) - len(failed)

    def _write(self, batches: Sequence[Batch]) -> None:
        written = sum(len(batch.records) for batch in batches)
        began = time.monotonic()
        try:
            self._sink.write(batches)
        except Reject as error:
            given = {record.key for batch in batches for record in batch.records}
            items = [item for item in error.items if item.record.key in given][:written]
            if len(items) < len(error.items):
                self._log.error("rejected_what_it_was_not_given", count=len(error.items) - len(items))
            self._reject([(item.record, item.reason) for item in items])
            written -= len(items)
        self.write_s = time.monotonic() - began
        self.state = State.GOOD
        self.counts.written += written

    def _reject(self, items: Sequence[tuple[Record, str]]) -> None:
        """Keep records that the sink will never take as dead letters."""
        self.counts.rejected += len(items)
        if not items:
            return
        self._log.warning("records_rejected", count=len(items), first=items[0][1], file=str(self._letters.path))
        try:
            self._letters.add(items)
        except OSError as error:
            self._log.error("dead_letters_not_written", path=str(self._letters.path), error=error.strerror)

    def _until_done(self, action: Callable[[], None], event: str = "sink_retries", *, breaks: bool = False) -> bool:
        """Try *action* until it succeeds, for ever; return False if the agent stops first.

        Raises Fatal and Finished, and with *breaks* _BrokenError after too many errors that should not be.
        """
        attempt = faults = 0
        while True:
            try:
                self._do(action)
            except Fatal:
                raise
            except Exception as error:
                is_known = isinstance(error, Retry)
                faults = 0 if is_known else faults + 1
                self._note_retry(error, attempt, event)
                if breaks and faults >= FAULTS_MAX:
                    raise _BrokenError from error
                if self._pause(attempt, error):
                    return False
                attempt = min(attempt + 1, _ATTEMPTS_COUNTED)
            else:
                if attempt:
                    self._log.info("sink_recovered", attempts=attempt + 1)
                return True

    def _do(self, action: Callable[[], None]) -> None:
        """Do something that may take for ever, so that it can be seen since when."""
        self.busy_since = time.monotonic()
        try:
            action()
        finally:
            if os.getpid() != self._process:  # which the sink forked, and which came back here: it is no agent
                os._exit(0)
            self.busy_since = None

    def _pause(self, attempt: int, error: Exception) -> bool:
        """Wait before the next attempt, but no longer than until the agent stops; return whether it does."""
        wait_s = random.uniform(0, min(self._outlet.backoff_max_s, BACKOFF_BASE_S * 2**attempt))  # noqa: S311 - jitter
        if isinstance(error, Retry) and error.after is not None:
            wait_s = max(wait_s, min(error.after, AFTER_MAX_S))
        return self._spool.wait(lambda: self._stopping, wait_s)

    def _note_retry(self, error: Exception, attempt: int, event: str) -> None:
        """Count a failure; log the first of a row with what is known, the others for those who look."""
        known, is_first = isinstance(error, Retry), not attempt and self.state is not State.BROKEN
        self.counts.retries += 1
        self.state = State.RETRYING if self.state is not State.BROKEN else State.BROKEN
        self.last_error, self.last_error_at = str(error) if known else repr(error), time.time()
        say = self._log.debug if not is_first else self._log.warning if known else self._log.error
        say(event, error=self.last_error, exc_info=None if known or not is_first else error)

    def _end(self, why: BaseException, state: State) -> None:
        self.ended, self.state = why, state
        self.last_error = str(why) if isinstance(why, SinkError) and str(why) else repr(why)
        self.last_error_at = time.time()
        if state is State.FINISHED:
            self._spool.dismiss(self.name)
        self._on_ended()

    def _reject_part(self, record: Record, reason: str) -> None:
        self.counts.parts_rejected += 1
        self._log.debug("part_rejected", subject=record.subject, reason=reason)
