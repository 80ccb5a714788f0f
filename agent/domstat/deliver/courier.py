"""One courier per sink: a bounded queue, a thread, retries; a tick never waits for a sink.

What the sink's answer means is decided here and nowhere else: see :class:`domstat.sink.SinkError`.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domstat.model import Batch, Record
from domstat.sink import Fatal, Finished, Reject, Retry, Sink, SinkContext

QUEUE_RECORDS_MAX = 20_000
"""Records that wait for one sink, about 12 KiB each; at 200 guests every 10 s, a quarter of an hour of outage."""

QUEUE_BATCHES_MAX = 10_000
"""Batches that wait for one sink: a host without guests has batches without records."""

WRITE_BATCHES_MAX = 16
"""Batches handed over in one write, so that a backlog drains fast but one write stays short."""

BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 60.0
"""Retries wait a random time up to base x 2^n, at most this: a returning server is not met by everybody at once."""


@dataclass
class Counts:
    """What became of a sink's records: received = written + rejected + dropped + pending."""

    received: int = 0
    written: int = 0
    rejected: int = 0
    dropped: int = 0
    retries: int = 0
    parts_rejected: int = 0


class Courier:
    """Carries batches to one sink, in order, in a thread of its own."""

    def __init__(
        self, name: str, sink: Sink, state_dir: Path, log: Any, on_ended: Callable[[], None] = lambda: None
    ) -> None:
        """Carry to *sink*; call *on_ended* should it take no more."""
        self.name = name
        self._on_ended = on_ended
        self.counts = Counts()
        self.ended: BaseException | None = None
        """Why the sink takes no more; None while it does."""
        self._sink = sink
        self._log = log.bind(sink=name)
        self._context = SinkContext(name, state_dir, self._log, self._reject_part)
        self._queue: deque[Batch] = deque()
        self._queued = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._dropping = False
        # A sink that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"courier-{name}", daemon=True)

    @property
    def pending(self) -> int:
        """Records received and not yet written, rejected or dropped."""
        counts = self.counts
        return counts.received - counts.written - counts.rejected - counts.dropped

    def start(self) -> None:
        """Open the sink and begin to carry."""
        self._thread.start()

    def offer(self, batch: Batch) -> None:
        """Queue a batch; never waits. When the queue is full, its oldest batches are dropped and counted."""
        with self._changed:
            if self.ended is not None or self._stopping:
                return
            self.counts.received += len(batch.records)
            self._queue.append(batch)
            self._queued += len(batch.records)
            dropped = 0
            while self._is_full():
                oldest = len(self._queue.popleft().records)
                self._queued -= oldest
                dropped += oldest
            self.counts.dropped += dropped
            begins, self._dropping = dropped and not self._dropping, bool(dropped)
            self._changed.notify()
        if begins:
            self._log.error("sink_overrun", dropped=dropped, queued=self._queued, hint="the sink does not keep up")

    def begin_stop(self) -> None:
        """Have what is queued written and the sink closed; does not wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """Write what is queued and close the sink; return whether that was done within *timeout_s* seconds."""
        self.begin_stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _is_full(self) -> bool:
        """Whether the oldest batch must go; the newest never does."""
        too_many = self._queued > QUEUE_RECORDS_MAX or len(self._queue) > QUEUE_BATCHES_MAX
        return too_many and len(self._queue) > 1

    def _run(self) -> None:
        try:
            if not self._until_done(self._open):
                self._drop([])
            else:
                while batches := self._take():
                    if not self._until_done(lambda taken=batches: self._write(taken)):
                        self._drop(batches)
                        break
        except Finished as error:
            self._end(error)
        except Fatal as error:
            self._end(error)
            self._log.error("sink_stopped", error=str(error), hint="mend it and start the agent again")
        except BaseException as error:  # noqa: BLE001 - a sink that calls sys.exit ends itself, not the counting
            self._end(error)
            self._log.error("sink_stopped", error=repr(error), exc_info=error)
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001 - it promised not to
            self._log.error("sink_close_failed", error=repr(error), exc_info=error)

    def _open(self) -> None:
        self._sink.open(self._context)

    def _take(self) -> list[Batch]:
        """Wait for batches and take some; an empty list means: stopping, and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), WRITE_BATCHES_MAX))]
            self._queued -= sum(len(batch.records) for batch in taken)
            return taken

    def _write(self, batches: Sequence[Batch]) -> None:
        count = sum(len(batch.records) for batch in batches)
        try:
            self._sink.write(batches)
        except Reject as error:
            rejected = min(len(error.items), count)
            self.counts.rejected += rejected
            count -= rejected
            self._log.warning("records_rejected", count=rejected, error=str(error))
        self.counts.written += count

    def _until_done(self, action: Any) -> bool:
        """Try *action* until it succeeds, for ever; return False if the agent stops first. Raises Fatal, Finished."""
        attempt = 0
        while True:
            try:
                action()
            except Fatal:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a sink raises, it is tried again
                wait_s = random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2**attempt))  # noqa: S311 - jitter
                if isinstance(error, Retry) and error.after is not None:
                    wait_s = max(wait_s, error.after)
                self._say_retry(error, attempt)
                self.counts.retries += 1
                attempt = min(attempt + 1, 16)
                if self._wait(wait_s):
                    return False
            else:
                if attempt:
                    self._log.info("sink_recovered", attempts=attempt + 1)
                return True

    def _say_retry(self, error: Exception, attempt: int) -> None:
        """Log the first failure of a row with what is known, the others for those who look."""
        known = isinstance(error, Retry)
        say = self._log.debug if attempt else self._log.warning if known else self._log.error
        say("sink_retries", error=str(error) if known else repr(error), exc_info=None if known or attempt else error)

    def _wait(self, seconds: float) -> bool:
        """Wait, but no longer than until the agent stops; return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping, seconds)

    def _drop(self, batches: Sequence[Batch]) -> None:
        """Count what a stopping agent could not hand over any more."""
        with self._changed:
            lost = sum(len(batch.records) for batch in [*batches, *self._queue])
            self._queue.clear()
            self._queued = 0
            self.counts.dropped += lost
        if lost:
            self._log.error("records_lost_at_stop", dropped=lost)

    def _end(self, why: BaseException) -> None:
        with self._changed:
            self.ended = why
            self.counts.dropped += self.pending
            self._queue.clear()
            self._queued = 0
        self._on_ended()

    def _reject_part(self, record: Record, reason: str) -> None:
        self.counts.parts_rejected += 1
        self._log.debug("part_rejected", subject=record.subject, reason=reason)
