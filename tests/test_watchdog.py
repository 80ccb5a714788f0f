"""What hangs is told from what waits, fails or takes its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.collect.tally import Tally, Tick
from domstat.deliver.bounds import Limits
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.journal import FILE
from domstat.deliver.spool import Spool
from domstat.line import Line
from domstat.model import Batch
from domstat.sink import Retry
from domstat.watchdog import OPENING_S_MAX, wedged
from hanging import PATIENCE_S, NoSettings, Sink, Step, held_before, using_sink
from heard import Log
from records import batch
from test_service import until


@pytest.fixture(autouse=True)
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with using_sink(monkeypatch):
        yield


class Stream:
    """A stream whose tick a test holds in its hands."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.tick: Tick | None = None
        self.collecting = Step()

    def collect(self, deadline_s: float, due_ms: int | None = None) -> Iterator[Batch]:
        self.collecting()
        yield batch()


class Parts:
    """A line, a journal and a courier that run, and a clock that a test may set on."""

    def __init__(self, folder: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stream = Stream()
        self.spool = Spool(folder / FILE, Limits(1 << 30, 1e9, 1e9), log)
        self.spool.open()
        self.spool.start()
        self.line = Line(("h", "default"), self.stream, 10.0, 4.0, self.spool.offer, log)
        self.courier = Courier(Outlet("s", lambda: Sink(NoSettings())), self.spool, folder, log)
        self.courier.start()
        self._monkeypatch = monkeypatch

    def wedged(self, after_s: float, limit_s: float = 60.0) -> list[str]:
        """Say what hangs so many seconds from now."""
        real = time.monotonic
        with self._monkeypatch.context() as later:
            later.setattr("domstat.watchdog.time", Later(real() + after_s))
            later.setattr("domstat.line.time", Later(real() + after_s))
            return wedged([self.line], self.spool, [self.courier], limit_s)


class Later:
    """The module ``time`` at a moment to come."""

    def __init__(self, now_s: float) -> None:
        self.monotonic = lambda: now_s


@pytest.fixture
def parts(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    made = Parts(tmp_path, log, monkeypatch)
    yield made
    made.stream.collecting.let_go.set()
    Sink.opening.let_go.set()
    Sink.writing.let_go.set()
    assert made.courier.stop(PATIENCE_S)
    assert made.spool.stop(PATIENCE_S)


# --- what hangs


def test_an_agent_between_two_ticks_goes_on(parts: Parts) -> None:
    parts.line.run(1000)
    until(lambda: parts.courier.counts.written)
    assert parts.wedged(after_s=10.0) == []


def test_a_tick_that_does_not_come_back_hangs_once_the_limit_has_passed(parts: Parts) -> None:
    parts.stream.collecting.hangs = True
    tick = threading.Thread(target=parts.line.run, args=(1000,))
    tick.start()
    assert parts.stream.collecting.is_at_it.wait(PATIENCE_S)
    assert parts.wedged(after_s=50.0) == []
    (reason,) = parts.wedged(after_s=65.0)
    assert reason.startswith("the stream h/default: a tick has not come back for 1m 0")
    parts.stream.collecting.let_go.set()
    tick.join(PATIENCE_S)
    assert parts.wedged(after_s=50.0) == []


def test_a_tick_that_is_due_and_does_not_begin_hangs_too(parts: Parts) -> None:
    parts.line.run(1000)
    assert parts.wedged(after_s=69.0) == []
    assert parts.wedged(after_s=72.0)[0].startswith("the stream h/default: no tick has begun for 1m 0")


def test_a_commit_that_does_not_come_back_hangs(parts: Parts) -> None:
    committing = Step()
    committing.hangs = True
    journal: Any = parts.spool.journal
    journal.append = held_before(committing, journal.append)
    parts.spool.offer(batch())
    assert committing.is_at_it.wait(PATIENCE_S)
    assert parts.wedged(after_s=50.0) == []
    assert any(reason.startswith("the journal: a commit has not come back") for reason in parts.wedged(after_s=65.0))
    committing.let_go.set()
    until(lambda: parts.spool.commits)


def test_a_journal_that_cannot_be_written_does_not_hang(parts: Parts) -> None:
    def fail(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    journal: Any = parts.spool.journal
    journal.append = fail
    parts.spool.offer(batch())
    until(lambda: parts.spool.figures().failed)
    until(lambda: parts.spool.busy_since is None)
    assert parts.wedged(after_s=9.0, limit_s=5.0) == []
    del journal.append


def test_a_sink_that_does_not_come_back_from_a_write_hangs(parts: Parts) -> None:
    Sink.writing.hangs = True
    parts.line.run(1000)
    assert Sink.writing.is_at_it.wait(PATIENCE_S)
    assert parts.wedged(after_s=50.0) == []
    assert [reason for reason in parts.wedged(after_s=65.0) if reason.startswith("the sink s: it has been in one call")]


def test_a_sink_that_fails_and_is_tried_again_does_not_hang(parts: Parts) -> None:
    Sink.error = Retry("busy", after=600.0)
    parts.line.run(1000)
    until(lambda: parts.courier.counts.retries)
    until(lambda: parts.courier.busy_since is None)
    assert parts.wedged(after_s=9.0, limit_s=5.0) == []
    Sink.error = None


def test_a_sink_may_take_its_time_to_open(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    Sink.opening.hangs = True
    parts = Parts(tmp_path, log, monkeypatch)
    assert Sink.opening.is_at_it.wait(PATIENCE_S)
    try:
        assert [reason for reason in parts.wedged(after_s=600.0) if "sink" in reason] == []
        assert [reason for reason in parts.wedged(after_s=OPENING_S_MAX + 10) if "sink" in reason]
    finally:
        Sink.opening.let_go.set()
        assert parts.courier.stop(PATIENCE_S)
        assert parts.spool.stop(PATIENCE_S)
