"""One sink's courier: what its answers mean, that order is kept, that counts add up, that stopping ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat.deliver import courier as courier_module
from domstat.deliver.courier import WRITE_BATCHES_MAX, Courier
from domstat.model import Batch
from domstat.sink import Fatal, Finished, Reject, Retry, SinkContext
from heard import Log
from records import batch, guest_record

Step = BaseException | Callable[[Sequence[Batch]], None] | None


class Scripted:
    """A sink that does one step of its script a call, and then only what it should."""

    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self, *writes: Step, opens: Sequence[Step] = ()) -> None:
        self.opens = list(opens)
        self.writes = list(writes)
        self.opened = self.closed = 0
        self.stored: list[Batch] = []
        self.sizes: list[int] = []
        self.context: SinkContext | None = None
        self.busy = threading.Lock()

    def open(self, context: SinkContext) -> None:
        self.context = context
        self.opened += 1
        self._step(self.opens, ())

    def write(self, batches: Sequence[Batch]) -> None:
        assert self.busy.acquire(blocking=False), "never two at once"
        try:
            assert not self.closed
            self.sizes.append(len(batches))
            self._step(self.writes, batches)
            self.stored += batches
        finally:
            self.busy.release()

    def close(self) -> None:
        self.closed += 1

    @staticmethod
    def _step(script: list[Step], batches: Sequence[Batch]) -> None:
        step = script.pop(0) if script else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            step(batches)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.0)


@pytest.fixture
def carry(log: Log, tmp_path: Path) -> Callable[[Any], Courier]:
    def carry(sink: Any) -> Courier:
        return Courier("mine", sink, tmp_path, log)

    return carry


Carry = Callable[[Any], Courier]


def ticks(count: int, records: int = 2) -> list[Batch]:
    return [batch(*[guest_record(str(i))] * records, time_ms=1000 * i) for i in range(count)]


def deliver(courier: Courier, batches: Sequence[Batch]) -> None:
    courier.start()
    for one in batches:
        courier.offer(one)
    assert courier.stop(10)
    adds_up(courier)


def adds_up(courier: Courier) -> None:
    counts = courier.counts
    assert counts.received == counts.written + counts.rejected + counts.dropped + courier.pending
    assert min(counts.written, counts.rejected, counts.dropped, courier.pending) >= 0


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not holds() and time.monotonic() < until:
        time.sleep(0.002)
    return holds()


def test_everything_offered_is_stored_in_order_and_then_the_sink_is_closed(carry: Carry) -> None:
    sink = Scripted()
    courier = carry(sink)
    batches = ticks(50)
    deliver(courier, batches)
    assert sink.stored == batches
    assert (sink.opened, sink.closed) == (1, 1)
    assert (courier.counts.received, courier.counts.written, courier.pending) == (100, 100, 0)


def test_a_sink_is_told_its_name_and_where_it_may_keep_things(carry: Carry, tmp_path: Path) -> None:
    sink = Scripted()
    deliver(carry(sink), [])
    assert sink.context is not None
    assert (sink.context.name, sink.context.state_dir) == ("mine", tmp_path)


def test_a_backlog_drains_in_portions(carry: Carry) -> None:
    sink = Scripted()
    courier = carry(sink)
    batches = ticks(2 * WRITE_BATCHES_MAX + 1)
    for one in batches:
        courier.offer(one)
    courier.start()
    assert courier.stop(10)
    assert sink.stored == batches
    assert sink.sizes == [WRITE_BATCHES_MAX, WRITE_BATCHES_MAX, 1]


@pytest.mark.parametrize("trouble", [Retry("busy"), RuntimeError("a bug"), OSError("full"), AssertionError()])
def test_what_failed_comes_again_until_it_is_stored(carry: Carry, log: Log, trouble: Exception) -> None:
    sink = Scripted(trouble, trouble, trouble)
    courier = carry(sink)
    batches = ticks(1)
    courier.start()
    courier.offer(batches[0])
    assert eventually(lambda: courier.pending == 0)
    deliver_rest = courier.stop(10)
    assert deliver_rest
    assert sink.stored == batches
    assert courier.counts.retries == 3
    adds_up(courier)
    known = isinstance(trouble, Retry)
    assert log.events("warning" if known else "error") == ["sink_retries"], "said once a row, not every time"
    assert log.events("info") == ["sink_recovered"]


def test_opening_is_retried_too(carry: Carry) -> None:
    sink = Scripted(opens=[Retry("not yet"), RuntimeError("a bug")])
    courier = carry(sink)
    courier.start()
    courier.offer(ticks(1)[0])
    assert eventually(lambda: courier.pending == 0)
    assert courier.stop(10)
    assert (sink.opened, sink.closed, len(sink.stored)) == (3, 1, 1)


def test_a_sink_that_knows_when_is_not_asked_before(carry: Carry, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def waited(_self: Courier, seconds: float) -> bool:
        waits.append(seconds)
        return False

    monkeypatch.setattr(Courier, "_wait", waited)
    deliver(carry(Scripted(Retry("busy", after=30.0), Retry("busy"))), ticks(1))
    assert waits == [30.0, 0.0]


def test_the_wait_grows_at_random_up_to_a_bound(carry: Carry, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    def uniform(low: float, high: float) -> float:
        assert low == 0
        bounds.append(high)
        return 0.0

    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.5)
    monkeypatch.setattr("random.uniform", uniform)
    sink = Scripted(*[Retry("busy")] * 40)
    courier = carry(sink)
    courier.start()
    courier.offer(ticks(1)[0])
    assert eventually(lambda: courier.pending == 0)
    assert courier.stop(10)
    assert bounds[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(bounds) == bounds[-1] == 60.0


def test_rejected_records_are_counted_and_the_rest_is_stored(carry: Carry, log: Log) -> None:
    def reject_one(batches: Sequence[Batch]) -> None:
        raise Reject([(batches[0], batches[0].records[0], "too hot")])

    courier = carry(Scripted(reject_one))
    deliver(courier, ticks(1, records=3))
    assert (courier.counts.written, courier.counts.rejected, courier.counts.retries) == (2, 1, 0)
    assert "too hot" in log.facts("records_rejected")["error"]


def test_a_rejection_of_nothing_or_of_too_much_confuses_nobody(carry: Carry) -> None:
    def reject_too_much(batches: Sequence[Batch]) -> None:
        raise Reject([(batches[0], batches[0].records[0], "bad")] * 9)

    first = carry(Scripted(Reject([])))
    deliver(first, ticks(1))
    assert (first.counts.written, first.counts.rejected) == (2, 0)
    second = carry(Scripted(reject_too_much))
    deliver(second, ticks(1))
    assert (second.counts.written, second.counts.rejected) == (0, 2)


def test_a_rejected_part_is_counted_and_its_record_is_written(carry: Carry) -> None:
    sink = Scripted()

    def leave_a_part(batches: Sequence[Batch]) -> None:
        assert sink.context is not None
        sink.context.reject_part(batches[0].records[0], "a label too long")

    sink.writes = [leave_a_part]
    courier = carry(sink)
    deliver(courier, ticks(1))
    assert (courier.counts.parts_rejected, courier.counts.written) == (1, 2)


@pytest.mark.parametrize("opening", [True, False])
@pytest.mark.parametrize(
    ("why", "said"),
    [
        (Fatal("wrong token"), ["sink_stopped"]),
        (Finished("the pipe is closed"), []),
        (SystemExit(3), ["sink_stopped"]),
        (KeyboardInterrupt(), ["sink_stopped"]),
    ],
)
def test_a_sink_that_ends_takes_no_more_and_what_it_had_is_dropped(
    carry: Carry, log: Log, why: BaseException, said: list[str], opening: bool
) -> None:
    sink = Scripted(opens=[why]) if opening else Scripted(why)
    courier = carry(sink)
    for one in ticks(20):
        courier.offer(one)
    courier.start()
    assert eventually(lambda: courier.ended is not None)
    courier.offer(ticks(1)[0])
    assert courier.stop(10)
    assert courier.ended is why
    assert (courier.counts.received, courier.counts.dropped, courier.counts.retries) == (40, 40, 0)
    assert sink.closed == 1
    assert log.events("error") == said
    adds_up(courier)


@pytest.mark.parametrize(("why", "told"), [(Fatal("wrong token"), 1), (Finished("the pipe is closed"), 1), (None, 0)])
def test_whoever_wants_to_know_is_told_when_a_sink_takes_no_more(
    log: Log, tmp_path: Path, why: BaseException | None, told: int
) -> None:
    ended: list[str] = []
    courier = Courier("mine", Scripted(why), tmp_path, log, lambda: ended.append("ended"))
    courier.start()
    courier.offer(ticks(1)[0])
    assert eventually(lambda: courier.pending == 0)
    assert courier.stop(10)
    assert len(ended) == told


def test_a_sink_that_does_not_keep_up_loses_the_oldest_counted_and_said_once(
    carry: Carry, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "QUEUE_RECORDS_MAX", 10)
    sink = Scripted()
    courier = carry(sink)
    batches = ticks(8)
    for one in batches:
        courier.offer(one)
    assert courier.counts.dropped == 6
    assert log.events("error") == ["sink_overrun"]
    courier.start()
    assert courier.stop(10)
    assert sink.stored == batches[3:]
    adds_up(courier)


def test_one_batch_larger_than_the_queue_is_still_carried(carry: Carry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "QUEUE_RECORDS_MAX", 1)
    courier = carry(Scripted())
    deliver(courier, ticks(1, records=5))
    assert courier.counts.written == 5


def test_batches_without_records_are_bounded_too(carry: Carry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "QUEUE_BATCHES_MAX", 3)
    courier = carry(Scripted())
    for one in ticks(10, records=0):
        courier.offer(one)
    assert len(courier._queue) == 3


def test_a_tick_never_waits_for_a_sink_and_stopping_keeps_its_bound(carry: Carry) -> None:
    release, hanging = threading.Event(), threading.Event()

    def hang(_batches: Sequence[Batch]) -> None:
        hanging.set()
        release.wait(30)

    courier = carry(Scripted(hang))
    courier.start()
    courier.offer(ticks(1)[0])
    assert hanging.wait(10)
    started = time.monotonic()
    for one in ticks(100):
        courier.offer(one)
    assert not courier.stop(0.1)
    assert time.monotonic() - started < 1.0
    assert courier.pending == 202
    release.set()
    courier._thread.join(10)
    assert courier.pending == 0


def test_stopping_does_not_wait_for_a_backoff_and_what_is_left_is_lost_and_counted(
    carry: Carry, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 3600.0)
    sink = Scripted(*[Retry("down")] * 9)
    courier = carry(sink)
    courier.start()
    for one in ticks(3):
        courier.offer(one)
    assert eventually(lambda: courier.counts.retries == 1)
    assert courier.stop(5)
    assert sink.closed == 1
    assert (courier.counts.dropped, courier.pending) == (6, 0)
    assert log.facts("records_lost_at_stop")["dropped"] == 6
    adds_up(courier)


def test_a_sink_that_never_opened_loses_what_was_queued_counted(
    carry: Carry, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 3600.0)
    sink = Scripted(opens=[Retry("down")] * 9)
    courier = carry(sink)
    courier.start()
    for one in ticks(3):
        courier.offer(one)
    assert eventually(lambda: courier.counts.retries == 1)
    assert courier.stop(5)
    assert (courier.counts.dropped, courier.pending, sink.closed) == (6, 0, 1)
    assert log.events("error") == ["records_lost_at_stop"]


def test_after_a_stop_nothing_more_is_taken(carry: Carry) -> None:
    courier = carry(Scripted())
    deliver(courier, ticks(1))
    courier.offer(ticks(1)[0])
    assert courier.counts.received == 2


def test_a_sink_that_breaks_its_promise_about_close_breaks_nothing_else(carry: Carry, log: Log) -> None:
    class Rude(Scripted):
        def close(self) -> None:
            raise RuntimeError("no")

    deliver(carry(Rude()), ticks(1))
    assert log.events("error") == ["sink_close_failed"]


def test_a_sink_may_call_exit_without_ending_the_agent(carry: Carry) -> None:
    courier = carry(Scripted(lambda _batches: sys.exit(1)))
    courier.start()
    courier.offer(ticks(1)[0])
    assert eventually(lambda: courier.ended is not None)
    adds_up(courier)


def test_one_courier_does_not_feel_another(carry: Carry) -> None:
    release = threading.Event()
    slow, quick = carry(Scripted(lambda _batches: (release.wait(30), None)[1])), carry(Scripted())
    for courier in (slow, quick):
        courier.start()
        courier.offer(ticks(1)[0])
    assert eventually(lambda: quick.pending == 0)
    assert slow.pending == 2
    release.set()
    assert slow.stop(10)
    assert quick.stop(10)
