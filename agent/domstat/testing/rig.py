"""The sink under test as the suite handles it: opened, written to, closed, and held beside what the store has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from msgspec.structs import replace

from domstat import settings
from domstat.model import Batch, Record
from domstat.sink import Reject, Retry, Sink, SinkContext, SinkError
from domstat.testing import judging
from domstat.testing.records import INTERVAL_MS
from domstat.testing.store import CanBeAway, CanBeHopeless, CanBeSlow, CanRead, CanRefuse, Keeps, Store, Stored

NAME = "tested"
"""What the sink is called."""

PATIENCE_S = 30.0
"""How long a store may take until it takes something again that was away or slow."""

PAUSE_S = 0.05
"""Between two tries: a store on this machine is back at once or not for a while."""


class Rig:
    """One store, the sinks that are opened to it, and what these reported."""

    def __init__(self, store: Store, state_dir: Path, keeps: Keeps, start_ms: int) -> None:
        """Handle sinks to *store* that have *state_dir* for their own; the first tick is at *start_ms*."""
        self.store = store
        self.keeps = keeps
        self.state_dir = state_dir
        self.log = Log()
        self.parts: list[tuple[Record, str]] = []
        """What was reported by reject_part."""
        self.rejected: list[Record] = []
        """What was rejected."""
        self._start_ms = start_ms
        self._opened: list[Sink] = []

    def at(self, tick: int) -> int:
        """Return the time of a tick, in milliseconds since 1970."""
        return self._start_ms + tick * INTERVAL_MS

    # What the store can be asked for; a test that asks for what it has not is skipped.

    def outage(self) -> AbstractContextManager[object]:
        """Return what has the store away within it."""
        return self.store.outage() if isinstance(self.store, CanBeAway) else _skip("outage()")

    def slow(self) -> AbstractContextManager[object]:
        """Return what has the store slow within it."""
        return self.store.slow() if isinstance(self.store, CanBeSlow) else _skip("slow()")

    def refusing(self, uuid: str) -> AbstractContextManager[object]:
        """Return what has the store refuse a guest within it."""
        return self.store.refusing(uuid) if isinstance(self.store, CanRefuse) else _skip("refusing(uuid)")

    def hopeless(self) -> Mapping[str, Any]:
        """Return settings with which no retry helps."""
        return self.store.hopeless() if isinstance(self.store, CanBeHopeless) else _skip("hopeless()")

    def read(self) -> list[Stored]:
        """Return all that the store holds."""
        return list(self.store.read() if isinstance(self.store, CanRead) else _skip("read()"))

    # The sink.

    def make(self, table: Mapping[str, Any] | None = None) -> Sink:
        """Make a sink as the configuration does."""
        kind: type[Sink] = self.store.sink
        chosen = settings.decode(dict(self.store.settings if table is None else table), kind.Settings)
        made = kind(chosen)
        self._opened.append(made)
        return made

    def context(self) -> SinkContext:
        """Make what a sink is given when it is opened."""
        return SinkContext(NAME, self.state_dir, self.log, lambda record, why: self.parts.append((record, why)))

    def open(self) -> Sink:
        """Make a sink and open it."""
        sink = self.make()
        sink.open(self.context())
        return sink

    def write(self, sink: Sink, *batches: Batch) -> Sequence[Record]:
        """Have *sink* write batches, and return the records that it rejected, which are some of these."""
        try:
            sink.write(list(batches))
        except Reject as error:
            given = [record for batch in batches for record in batch.records]
            for item in error.items:
                if not any(record is item.record or record == item.record for record in given):
                    fail(f"rejected was a record that was not written: {item.record.subject!r}")
                if not item.reason:
                    fail("a record was rejected without a reason")
            records = [next(r for r in given if r is item.record or r == item.record) for item in error.items]
            if not records:
                fail("Reject was raised without a record")
            self.rejected += records
            return records
        return []

    def write_when_it_can(self, sink: Sink, *batches: Batch) -> None:
        """Write, as the agent does, again and again while the sink says Retry; but for no longer than a while."""
        self.try_until(lambda: self.write(sink, *batches))

    def try_until(self, action: Callable[[], object]) -> None:
        """Do *action* until it raises no Retry. Fails after PATIENCE_S."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                action()
            except Retry as error:
                if time.monotonic() > end:
                    fail(f"still Retry, {PATIENCE_S:.0f} s after the store is back: {error}")
                time.sleep(PAUSE_S)
            else:
                return

    def close_all(self) -> None:
        """Close whatever was opened and is still there."""
        for sink in self._opened:
            with suppress(Exception):
                sink.close()
        self._opened.clear()

    # What the store has.

    def holds(self, *written: Batch, also_kinds: frozenset[str] = frozenset()) -> None:
        """Fail unless the store holds what was *written*, but what was reported, and nothing else.

        *also_kinds* are kinds to be held besides those that the sink says it keeps.
        """
        reported = [*self.rejected, *(record for record, _ in self.parts)]
        keeps = replace(self.keeps, kinds=self.keeps.kinds | also_kinds)
        if not keeps.reports:
            reported += judging.unwritable(written)
        found = judging.differences(written, self.read(), keeps, reported)
        if found:
            fail("; ".join(found))

    def reported(self, *records: Record) -> None:
        """Fail unless the sink reported each of *records*, or parts of it."""
        told = {id(record) for record in self.rejected} | {id(record) for record, _ in self.parts}
        silent = [record for record in records if id(record) not in told]
        if silent:
            fail(f"the store has refused {silent[0].subject}, and the sink did not report it")

    def keeps_order(self, *written: Batch) -> None:
        """Fail unless a store that has an order has that of the writing."""
        if not self.keeps.again:
            return
        records = [record for batch in written for record in batch.records]
        if judging.order_found(self.read()) != judging.order_of(records, self.keeps):
            fail("the store does not have the records in the order in which they were written")

    def reported_only(self, *records: Record) -> None:
        """Fail if the sink reported anything of other records than *records*: those can be stored, and must be."""
        mine = {id(record) for record in records}
        others = [
            record for record in (*self.rejected, *(record for record, _ in self.parts)) if id(record) not in mine
        ]
        if others:
            fail(f"the sink did not store {others[0].subject!r}, with which there is nothing wrong")

    def reported_nothing(self) -> None:
        """Fail if the sink reported that something was not stored."""
        if self.rejected:
            fail(f"{len(self.rejected)} records were rejected, {self.rejected[0].subject!r} the first")
        if self.parts:
            fail(f"{len(self.parts)} parts were rejected, the first because {self.parts[0][1]}")


class Log:
    """A logger that says nothing and remembers what it was told, as (level, event, facts)."""

    def __init__(self, said: list[tuple[str, str, dict[str, Any]]] | None = None) -> None:
        self.said = [] if said is None else said

    def bind(self, **_: Any) -> Log:
        """Return a logger that writes to the same list."""
        return Log(self.said)

    def debug(self, event: str, **facts: Any) -> None:
        """Remember."""
        self.said.append(("debug", event, facts))

    def info(self, event: str, **facts: Any) -> None:
        """Remember."""
        self.said.append(("info", event, facts))

    def warning(self, event: str, **facts: Any) -> None:
        """Remember."""
        self.said.append(("warning", event, facts))

    def error(self, event: str, **facts: Any) -> None:
        """Remember."""
        self.said.append(("error", event, facts))


def _skip(ability: str) -> NoReturn:
    pytest.skip(f"the store has no {ability}: give it one, see domstat.testing.store")


def fail(text: str) -> NoReturn:
    """End the test, with what is wrong as all there is to read."""
    pytest.fail(text, pytrace=False)


def raises(action: Callable[[], object], *kinds: type[SinkError], when: str) -> SinkError | None:
    """Do *action*; return which error of *kinds* it raised, or None. Fails for any other, saying *when* that was."""
    try:
        action()
    except kinds as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a stranger's sink raises
        names = " or ".join(kind.__name__ for kind in kinds)
        fail(f"{when} the sink raised {error!r}; it may raise {names}")
    return None


def copies(batches: Iterable[Batch]) -> list[list[dict[str, Any]]]:
    """Copy all figures of *batches*, to see whether anybody has changed them."""
    return [
        [{**record.params, "\0rates": dict(record.rates), "\0derived": dict(record.derived)} for record in one.records]
        for one in batches
    ]
