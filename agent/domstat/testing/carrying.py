"""The agent's own journal and courier, with the sink under test at their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from msgspec import Struct

from domstat.deliver.bounds import Limits
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.spool import Spool
from domstat.model import Batch
from domstat.sink import SinkContext
from domstat.testing.rig import NAME, PATIENCE_S, Rig, fail

LIMITS = Limits(bytes=1 << 30, age_s=86_400, keep_s=3_600)
"""More than any case writes."""

BACKOFF_MAX_S = PAUSE_S = 0.01
"""A test does not wait as an agent does."""


class Watched:
    """The sink under test, which says when it is being written to, and can be held up before that."""

    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self, rig: Rig) -> None:
        self._sink: Any = rig.make()
        self._told = rig
        self.writes = threading.Event()
        """Set when the first write begins."""
        self.may_write = threading.Event()
        """While it is not set, writes wait."""
        self.may_write.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)  # what else it has: any_order, health

    def open(self, context: SinkContext) -> None:
        """Open the sink; what it reports is seen by the agent and by the suite."""

        def reject_part(record: Any, reason: str) -> None:
            self._told.parts.append((record, reason))
            context.reject_part(record, reason)

        self._sink.open(SinkContext(context.name, context.state_dir, context.log, reject_part))

    def write(self, batches: Sequence[Batch]) -> None:
        """Write, having said so."""
        self.writes.set()
        self.may_write.wait(PATIENCE_S)
        self._sink.write(batches)

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()


class Carrier:
    """An agent with this one sink, from its start to its stop."""

    def __init__(self, rig: Rig) -> None:
        """Prepare; nothing runs yet."""
        self.sink = Watched(rig)
        self.spool = Spool(rig.state_dir / "journal.db", LIMITS, rig.log)
        outlet = Outlet(NAME, lambda: self.sink, oldest=True, backoff_max_s=BACKOFF_MAX_S)
        self.courier = Courier(outlet, self.spool, rig.state_dir, rig.log)

    def take(self, *batches: Batch) -> None:
        """Take batches, as from ticks."""
        for one in batches:
            self.spool.offer(one)

    def deliver_all(self) -> None:
        """Wait until nothing is pending. Fails after PATIENCE_S."""
        until(lambda: self.courier.pending == 0, lambda: f"records still wait: {self.courier.last_error or 'no error'}")

    def stop(self) -> None:
        """Stop as the agent does: what is at hand is written, the sink is closed."""
        if not self.courier.stop(PATIENCE_S):
            fail(f"the sink did not let the agent stop within {PATIENCE_S:.0f} s")


@contextmanager
def carrying(rig: Rig) -> Iterator[Carrier]:
    """Run an agent; it is stopped at the end in any case, and its counts add up then."""
    carrier = Carrier(rig)
    carrier.spool.open()
    carrier.spool.start()
    carrier.courier.start()
    try:
        yield carrier
        carrier.stop()
    finally:
        carrier.sink.may_write.set()
        carrier.courier.stop(PATIENCE_S)
        carrier.spool.stop(PATIENCE_S)
    counts, pending = carrier.courier.counts, carrier.courier.pending
    if counts.dropped or counts.received != counts.written + counts.rejected + pending:
        fail(f"{counts.received} received, but {counts.written} written, {counts.rejected} rejected, {pending} pending")


def until(holds: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until *holds*. Fails after PATIENCE_S with what *otherwise* says."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            fail(otherwise())
        time.sleep(PAUSE_S)
