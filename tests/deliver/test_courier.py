"""One sink's courier: what its answers mean, that order is kept, that counts add up, that stopping loses nothing."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat.deliver import courier as courier_module
from domstat.deliver.bounds import Limits
from domstat.deliver.courier import BATCHES_MAX, FAULTS_MAX, Courier, Outlet, State
from domstat.deliver.letters import FOLDER
from domstat.deliver.spool import Spool
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
        self.is_open = False
        self.stored: list[Batch] = []
        self.sizes: list[int] = []
        self.context: SinkContext | None = None
        self.busy = threading.Lock()

    def open(self, context: SinkContext) -> None:
        self.context = context
        self.opened += 1
        self.is_open = True
        self._step(self.opens, ())

    def write(self, batches: Sequence[Batch]) -> None:
        assert self.busy.acquire(blocking=False), "never two at once"
        try:
            assert self.is_open
            self.sizes.append(len(batches))
            self._step(self.writes, batches)
            self.stored += batches
        finally:
            self.busy.release()

    def close(self) -> None:
        self.closed += 1
        self.is_open = False

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
def spool(log: Log, tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "journal.db", Limits(1 << 30, 86_400, 3600), log)
    spool.open()
    spool.start()
    yield spool
    assert spool.stop(60)


Carry = Callable[..., Courier]


@pytest.fixture
def carry(log: Log, tmp_path: Path, spool: Spool) -> Carry:
    """Have a sink carried to; started, so that it gets what is offered from now on."""

    def carry(sink: Any, name: str = "mine", **options: Any) -> Courier:
        made = [sink]
        courier = Courier(Outlet(name, lambda: made.pop() if made else sink, **options), spool, tmp_path, log)
        courier.start()
        return courier

    return carry


def ticks(count: int, records: int = 2) -> list[Batch]:
    return [
        batch(*[guest_record(str(j), uuid=f"u{j}") for j in range(records)], time_ms=1000 * i) for i in range(count)
    ]


def deliver(spool: Spool, courier: Courier, batches: Sequence[Batch]) -> None:
    for one in batches:
        spool.offer(one)
    assert courier.stop(60)
    adds_up(courier)


def adds_up(courier: Courier) -> None:
    counts = courier.counts
    assert counts.received == counts.written + counts.rejected + counts.dropped + courier.pending
    assert min(counts.written, counts.rejected, counts.dropped, courier.pending) >= 0


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)
    return holds()


def until(event: threading.Event) -> Callable[[Sequence[Batch]], None]:
    """Make a step that lasts until *event*."""

    def wait(_batches: Sequence[Batch]) -> None:
        event.wait(60)

    return wait


def caught_up(courier: Courier, received: int) -> bool:
    return eventually(lambda: courier.counts.received == received and courier.pending == 0)


def letters(folder: Path, name: str = "mine") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FOLDER / f"{name}.jsonl").read_text().splitlines()]


def test_everything_offered_is_stored_in_order_and_then_the_sink_is_closed(carry: Carry, spool: Spool) -> None:
    sink = Scripted()
    courier = carry(sink)
    batches = ticks(50)
    deliver(spool, courier, batches)
    assert sink.stored == batches
    assert (sink.opened, sink.closed) == (1, 1)
    assert (courier.counts.received, courier.counts.written, courier.pending) == (100, 100, 0)


def test_a_sink_is_told_its_name_and_where_it_may_keep_things(carry: Carry, spool: Spool, tmp_path: Path) -> None:
    sink = Scripted()
    deliver(spool, carry(sink), [])
    assert sink.context is not None
    assert (sink.context.name, sink.context.state_dir) == ("mine", tmp_path)


@pytest.mark.parametrize("portion", [BATCHES_MAX, 3])
def test_a_backlog_drains_in_portions(carry: Carry, spool: Spool, portion: int) -> None:
    held = threading.Event()
    sink = Scripted(until(held))
    courier = carry(sink, batches=portion)
    batches = ticks(2 * portion + 2)
    spool.offer(batches[0])
    assert eventually(lambda: bool(sink.sizes))
    for one in batches[1:]:
        spool.offer(one)
    assert eventually(lambda: spool._committed == spool._next - 1)
    held.set()
    assert caught_up(courier, 2 * len(batches))
    assert courier.stop(60)
    assert sink.stored == batches
    assert sink.sizes == [1, portion, portion, 1]


def test_a_write_may_be_put_off_until_there_is_more(carry: Carry, spool: Spool) -> None:
    sink = Scripted()
    courier = carry(sink, batches=3, linger_s=30.0)
    for one in ticks(3):
        spool.offer(one)
    assert caught_up(courier, 6)
    assert sink.sizes == [3]
    spool.offer(ticks(4)[3])
    assert courier.stop(60)
    assert sink.sizes == [3, 1], "stopping waits for nothing"


@pytest.mark.parametrize("trouble", [Retry("busy"), RuntimeError("a bug"), OSError("full"), AssertionError()])
def test_what_failed_comes_again_until_it_is_stored(carry: Carry, spool: Spool, log: Log, trouble: Exception) -> None:
    sink = Scripted(trouble, trouble, trouble)
    courier = carry(sink)
    batches = ticks(1)
    spool.offer(batches[0])
    assert caught_up(courier, 2)
    assert courier.stop(60)
    assert sink.stored == batches
    assert courier.counts.retries == 3
    adds_up(courier)
    known = isinstance(trouble, Retry)
    assert log.events("warning" if known else "error") == ["sink_retries"], "said once a row, not every time"
    assert log.events("info") == ["sink_recovered"]


def test_opening_is_retried_too(carry: Carry, spool: Spool) -> None:
    sink = Scripted(opens=[Retry("not yet"), RuntimeError("a bug")])
    courier = carry(sink)
    spool.offer(ticks(1)[0])
    assert caught_up(courier, 2)
    assert courier.stop(60)
    assert (sink.opened, sink.closed, len(sink.stored)) == (3, 1, 1)


def test_a_sink_that_knows_when_is_not_asked_before_but_not_left_alone_for_ever(
    carry: Carry, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    wait = spool.wait

    def waited(holds: Callable[[], bool], seconds: float | None = None) -> bool:
        if seconds is None or seconds == courier_module.LAST_COMMIT_S:
            return wait(holds, seconds)
        waits.append(seconds)
        return False

    monkeypatch.setattr(spool, "wait", waited)
    courier = carry(Scripted(Retry("busy", after=30.0), Retry("busy"), Retry("a day", after=86_400)))
    spool.offer(ticks(1)[0])
    assert caught_up(courier, 2)
    assert courier.stop(60)
    assert waits == [30.0, 0.0, 900.0]


def test_the_wait_grows_at_random_up_to_a_bound(carry: Carry, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    def uniform(low: float, high: float) -> float:
        assert low == 0
        bounds.append(high)
        return 0.0

    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.5)
    monkeypatch.setattr("random.uniform", uniform)
    courier = carry(Scripted(*[Retry("busy")] * 40), backoff_max_s=10.0)
    spool.offer(ticks(1)[0])
    assert caught_up(courier, 2)
    assert courier.stop(60)
    assert bounds[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(bounds) == bounds[-1] == 10.0


# --- rejections


def test_rejected_records_are_dead_letters_and_the_rest_is_stored(
    carry: Carry, spool: Spool, log: Log, tmp_path: Path
) -> None:
    def reject_one(batches: Sequence[Batch]) -> None:
        raise Reject([(batches[0], batches[0].records[1], "too hot")])

    courier = carry(Scripted(reject_one))
    deliver(spool, courier, ticks(1, records=3))
    assert (courier.counts.written, courier.counts.rejected, courier.counts.retries) == (2, 1, 0)
    assert log.facts("records_rejected")["first"] == "too hot"
    (letter,) = letters(tmp_path)
    assert (letter["reason"], letter["record"]["domain"]["uuid"]) == ("too hot", "u1")


def test_dead_letters_that_cannot_be_written_hold_nothing_up(
    carry: Carry, spool: Spool, log: Log, tmp_path: Path
) -> None:
    def reject_one(batches: Sequence[Batch]) -> None:
        raise Reject([(batches[0], batches[0].records[0], "too hot")])

    (tmp_path / FOLDER).write_text("in the way")
    courier = carry(Scripted(reject_one))
    deliver(spool, courier, ticks(2))
    assert (courier.counts.written, courier.counts.rejected) == (3, 1)
    assert log.events("error") == ["dead_letters_not_written"]


def test_a_rejection_of_nothing_or_of_too_much_confuses_nobody(carry: Carry, spool: Spool) -> None:
    def reject_too_much(batches: Sequence[Batch]) -> None:
        raise Reject([(batches[0], batches[0].records[0], "bad")] * 9)

    first = carry(Scripted(Reject([])), "first")
    second = carry(Scripted(reject_too_much), "second")
    deliver(spool, first, ticks(1))
    assert second.stop(60)
    adds_up(second)
    assert (first.counts.written, first.counts.rejected) == (2, 0)
    assert (second.counts.written, second.counts.rejected) == (0, 2)


def test_a_rejected_part_is_counted_and_its_record_is_written(carry: Carry, spool: Spool) -> None:
    sink = Scripted()

    def leave_a_part(batches: Sequence[Batch]) -> None:
        assert sink.context is not None
        sink.context.reject_part(batches[0].records[0], "a label too long")

    sink.writes = [leave_a_part]
    courier = carry(sink)
    deliver(spool, courier, ticks(1))
    assert (courier.counts.parts_rejected, courier.counts.written) == (1, 2)


# --- faults of a sink's own


class Choking(Scripted):
    """A sink with a fault: it raises, of whatever has the record *uuid* in it."""

    def __init__(self, uuid: str) -> None:
        super().__init__()
        self.uuid = uuid

    def write(self, batches: Sequence[Batch]) -> None:
        for one in batches:
            if any(record.domain is not None and record.domain.uuid == self.uuid for record in one.records):
                raise KeyError(self.uuid)
        self.stored += batches


def test_a_record_that_a_sink_chokes_on_is_found_and_the_others_are_stored(
    carry: Carry, spool: Spool, log: Log, tmp_path: Path
) -> None:
    sink = Choking("u2")
    courier = carry(sink)
    for one in ticks(3, records=5):
        spool.offer(one)
    assert caught_up(courier, 15)
    assert courier.stop(60)
    adds_up(courier)
    assert (courier.counts.written, courier.counts.rejected) == (12, 3)
    assert {letter["record"]["domain"]["uuid"] for letter in letters(tmp_path)} == {"u2"}
    assert "sink_broken" in log.events("error")


def test_a_sink_that_fails_of_everything_is_made_anew_and_loses_nothing(carry: Carry, spool: Spool, log: Log) -> None:
    sink = Scripted(*[RuntimeError("lost its connection")] * (3 * FAULTS_MAX))
    courier = carry(sink)
    batches = ticks(2)
    for one in batches:
        spool.offer(one)
    assert caught_up(courier, 4)
    assert courier.stop(60)
    adds_up(courier)
    assert (courier.counts.written, courier.counts.rejected) == (4, 0)
    assert sink.opened > 1
    assert courier.state is State.GOOD


def test_a_sink_that_fails_of_everything_is_said_once(carry: Carry, spool: Spool, log: Log) -> None:
    sink = Scripted(*[RuntimeError("lost its connection")] * (3 * FAULTS_MAX))
    courier = carry(sink)
    spool.offer(ticks(1)[0])
    assert caught_up(courier, 2)
    assert courier.stop(60)
    assert log.events("error") == ["sink_retries", "sink_broken"]


def test_what_a_sink_rejects_without_having_been_given_it_counts_for_nothing(
    carry: Carry, spool: Spool, log: Log, tmp_path: Path
) -> None:
    (given,) = ticks(1)
    stranger = guest_record("never", uuid="seen")
    sink = Scripted(Reject([(given, stranger, "no"), (given, given.records[0], "too hot")]))
    courier = carry(sink)
    deliver(spool, courier, [given])
    assert (courier.counts.written, courier.counts.rejected) == (1, 1)
    assert [letter["reason"] for letter in letters(tmp_path)] == ["too hot"]
    assert log.facts("rejected_what_it_was_not_given")["count"] == 1


# --- the end of a sink


@pytest.mark.parametrize("opening", [True, False])
@pytest.mark.parametrize("why", [Fatal("wrong token"), SystemExit(3), KeyboardInterrupt()])
def test_a_sink_that_stops_keeps_its_share_of_the_journal(
    carry: Carry, spool: Spool, log: Log, why: BaseException, opening: bool
) -> None:
    courier = carry(Scripted(opens=[why]) if opening else Scripted(why))
    for one in ticks(20):
        spool.offer(one)
    assert eventually(lambda: courier.ended is not None)
    assert courier.stop(60)
    assert courier.ended is why
    assert courier.state is State.STOPPED
    assert (courier.counts.received, courier.pending, courier.counts.retries) == (40, 40, 0)
    assert log.events("error") == ["sink_stopped"]
    again = Scripted()
    later = carry(again)
    assert caught_up(later, 40)
    assert later.stop(60)
    assert len(again.stored) == 20


def test_for_a_sink_that_is_finished_nothing_is_kept(carry: Carry, spool: Spool, log: Log) -> None:
    courier = carry(Scripted(Finished("the pipe is closed")))
    spool.offer(ticks(1)[0])
    assert eventually(lambda: courier.ended is not None and courier.pending == 0)
    assert courier.stop(60)
    assert (courier.state, courier.counts.dropped) == (State.FINISHED, 2)
    assert log.events("error") == []
    assert spool.strangers() == {}


@pytest.mark.parametrize(("why", "told"), [(Fatal("wrong token"), 1), (Finished("the pipe is closed"), 1), (None, 0)])
def test_whoever_wants_to_know_is_told_when_a_sink_takes_no_more(
    log: Log, tmp_path: Path, spool: Spool, why: BaseException | None, told: int
) -> None:
    ended: list[str] = []
    outlet = Outlet("mine", lambda: Scripted(why))
    courier = Courier(outlet, spool, tmp_path, log, lambda: ended.append("ended"))
    courier.start()
    spool.offer(ticks(1)[0])
    assert eventually(lambda: bool(ended) or courier.counts.written == 2)
    assert courier.stop(60)
    assert len(ended) == told


# --- stopping, and going on


def test_a_tick_never_waits_for_a_sink_and_stopping_keeps_its_bound(carry: Carry, spool: Spool) -> None:
    release, hanging = threading.Event(), threading.Event()

    def hang(_batches: Sequence[Batch]) -> None:
        hanging.set()
        release.wait(60)

    courier = carry(Scripted(hang))
    spool.offer(ticks(1)[0])
    assert hanging.wait(60)
    for one in ticks(100):
        spool.offer(one)
    assert not courier.stop(0.1)
    assert courier.pending == 202
    release.set()
    courier._thread.join(60)
    adds_up(courier)


@pytest.mark.parametrize("opening", [True, False])
def test_stopping_does_not_wait_for_a_backoff_and_what_is_left_is_for_the_next_agent(
    carry: Carry, spool: Spool, monkeypatch: pytest.MonkeyPatch, opening: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("random.uniform", lambda _low, _high: 3600.0)
        down = [Retry("down")] * 9
        sink = Scripted(opens=down) if opening else Scripted(*down)
        courier = carry(sink)
        for one in ticks(3):
            spool.offer(one)
        assert eventually(lambda: courier.counts.retries == 1)
        assert courier.stop(60)
    assert sink.closed == 1
    assert (courier.counts.dropped, courier.pending) == (0, 6)
    again = Scripted()
    later = carry(again)
    assert caught_up(later, 6)
    assert later.stop(60)
    assert again.stored == ticks(3)


def test_what_came_after_the_stop_is_there_for_the_next_courier(carry: Carry, spool: Spool) -> None:
    deliver(spool, carry(Scripted()), ticks(1))
    spool.offer(ticks(2)[1])
    again = Scripted()
    later = carry(again)
    assert caught_up(later, 2)
    assert later.stop(60)
    assert again.stored == ticks(2)[1:]


def test_a_sink_that_breaks_its_promise_about_close_breaks_nothing_else(carry: Carry, spool: Spool, log: Log) -> None:
    class Rude(Scripted):
        def close(self) -> None:
            raise RuntimeError("no")

    deliver(spool, carry(Rude()), ticks(1))
    assert log.events("error") == ["sink_close_failed"]


def test_a_sink_may_call_exit_without_ending_the_agent(carry: Carry, spool: Spool) -> None:
    courier = carry(Scripted(lambda _batches: sys.exit(1)))
    spool.offer(ticks(1)[0])
    assert eventually(lambda: courier.ended is not None)
    adds_up(courier)


def test_one_courier_does_not_feel_another(carry: Carry, spool: Spool) -> None:
    release = threading.Event()
    slow = carry(Scripted(lambda _batches: (release.wait(60), None)[1]), "slow")
    quick = carry(Scripted(), "quick")
    spool.offer(ticks(1)[0])
    assert caught_up(quick, 2)
    assert slow.pending == 2
    release.set()
    assert slow.stop(60)
    assert quick.stop(60)


# --- far behind


def away_for(spool: Spool, courier: Courier, sink: Scripted, batches: Sequence[Batch]) -> None:
    """Have a sink be away while *batches* come, more than memory holds."""
    for one in batches:
        spool.offer(one)
    assert eventually(lambda: spool._committed == spool._next - 1 and spool.is_behind(courier.name))


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domstat.deliver.memory.TAIL_RECORDS_MAX", 1)


def test_a_sink_that_was_away_for_long_gets_everything_in_order(carry: Carry, spool: Spool, short_memory: None) -> None:
    back = threading.Event()
    sink = Scripted(until(back))
    courier = carry(sink)
    batches = ticks(60)
    away_for(spool, courier, sink, batches)
    back.set()
    assert caught_up(courier, 120)
    assert courier.stop(60)
    assert sink.stored == batches


class AnyOrder(Scripted):
    any_order = True


def test_a_sink_that_takes_any_order_gets_the_newest_before_its_backlog(
    carry: Carry, spool: Spool, short_memory: None
) -> None:
    back = threading.Event()
    sink = AnyOrder(until(back))
    courier = carry(sink, batches=4)
    batches = ticks(60)
    away_for(spool, courier, sink, batches)
    back.set()
    assert caught_up(courier, 120)
    assert courier.stop(60)
    adds_up(courier)
    times = [one.stamp.time_ms // 1000 for one in sink.stored]
    assert sorted(times) == list(range(60))
    assert set(range(56, 60)) & set(times[1:9]), "after the write that it was away in, the newest come first"
    assert spool.position(courier.name).spans == ()


class Ailing(Scripted):
    """One that says how it is: each time the next of *says*, where an error is raised; then that it is well."""

    def __init__(self, *says: str | Exception) -> None:
        super().__init__()
        self.says = list(says)
        self.asked = 0

    def health(self) -> str:
        assert self.busy.acquire(blocking=False), "never beside a write"
        self.busy.release()
        self.asked += 1
        said = self.says.pop(0) if self.says else ""
        if isinstance(said, Exception):
            raise said
        return said


@pytest.mark.parametrize(
    ("said", "told"),
    [("half of it is away", "half of it is away"), (OSError("x"), "its health cannot be told: OSError('x')")],
)
def test_what_a_sink_says_of_its_health_is_known_until_it_is_well(
    carry: Carry, spool: Spool, monkeypatch: pytest.MonkeyPatch, said: str | Exception, told: str
) -> None:
    monkeypatch.setattr(courier_module, "HEALTH_EVERY_S", 0.0)
    sink = Ailing(said)
    courier = carry(sink)
    spool.offer(ticks(1)[0])
    assert caught_up(courier, 2)
    assert eventually(lambda: courier.unwell == told)
    deliver(spool, courier, ticks(3)[1:])
    assert courier.unwell == ""


def test_a_sink_is_not_asked_for_its_health_with_every_write(carry: Carry, spool: Spool) -> None:
    sink = Ailing("unwell")
    courier = carry(sink, batches=1)
    deliver(spool, courier, ticks(5))
    assert (sink.asked, courier.unwell) == (1, "unwell")


# --- leaving


def test_a_sink_that_leaves_writes_what_is_in_hand_and_its_place_stays(carry: Carry, spool: Spool) -> None:
    sink = Scripted()
    courier = carry(sink)
    for one in ticks(3):
        spool.offer(one)
    assert eventually(lambda: len(sink.stored) == 3)
    assert courier.leave(60)
    assert (sink.closed, spool.position("mine").low) == (1, spool._committed)
    spool.offer(ticks(1)[0])
    assert eventually(lambda: spool.strangers() == {"mine": 2})
    second = Scripted()
    successor = carry(second)
    assert eventually(lambda: len(second.stored) == 1)
    assert successor.stop(60)
    assert successor.counts.written == successor.counts.received == 2


def test_what_a_sink_stores_after_it_has_left_does_not_count(carry: Carry, spool: Spool) -> None:
    writing, let_go = threading.Event(), threading.Event()

    def hang(_batches: Sequence[Batch]) -> None:
        writing.set()
        let_go.wait()

    sink, other = Scripted(hang), Scripted()
    courier = carry(sink)
    spool.offer(ticks(1)[0])
    assert writing.wait(60)
    assert not courier.leave(0)
    before = spool.position("mine")
    let_go.set()
    assert eventually(lambda: sink.closed == 1)
    assert spool.position("mine") == before
    assert courier.stop(60)
    successor = carry(other)
    assert eventually(lambda: len(other.stored) == 1)
    assert successor.stop(60)
    adds_up(successor)


def test_whether_a_sink_is_opening_is_known(carry: Carry) -> None:
    opening, let_go = threading.Event(), threading.Event()

    def take_its_time(_batches: Sequence[Batch]) -> None:
        opening.set()
        let_go.wait()

    courier = carry(Scripted(opens=[take_its_time]))
    assert opening.wait(60)
    assert courier.is_opening
    assert courier.busy_since is not None
    let_go.set()
    assert eventually(lambda: courier.state is State.GOOD)
    assert not courier.is_opening
    assert courier.stop(60)
