"""A stream on its way through the agent: what becomes of ticks that fail, are skipped or never were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from domstat.collect.errors import (
    ClosedError,
    CollectError,
    OverdueError,
    RefusedError,
    UnreachableError,
    WorkerDiedError,
)
from domstat.collect.tally import Tally, Tick
from domstat.line import FITTING_S, SLOW_TICKS, Line
from domstat.model import Batch, Gap, Kind
from domstat.shifts import Clocks, Shift
from heard import Log
from records import TIME_MS, batch, guest_record

INTERVAL_S = 10.0
INTERVAL_MS = 10_000
DUE_MS = TIME_MS - TIME_MS % INTERVAL_MS
GOOD = batch(guest_record())


class Stub:
    """A stream that does what it is told, tick by tick, and then goes on doing the last of it."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.tick: Tick | None = Tick(None, ())
        self.plan: list[Any] = [GOOD]
        self.asked: list[tuple[float, int | None]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def collect(self, deadline_s: float, due_ms: int | None = None) -> Iterator[Batch]:
        self.asked.append((deadline_s, due_ms))
        what = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        self.meanwhile()
        for item in what if isinstance(what, list) else [what]:
            if isinstance(item, Exception):
                raise item
            yield item


class Held:
    """A line over a stub, what it offered, and what it said."""

    def __init__(self, log: Log, **more: Any) -> None:
        self.log = log
        self.stub = Stub()
        self.offered: list[Batch] = []
        self.line = Line(("kvm1", "default"), self.stub, INTERVAL_S, 4.0, self.offered.append, log, **more)
        self._due_ms = DUE_MS

    def run(self, *plan: Any) -> None:
        """Run a tick for each thing that the stream is to do."""
        self.stub.plan = list(plan)
        for _ in plan:
            self.line.run(self._due_ms)
            self._due_ms += INTERVAL_MS

    @property
    def gaps(self) -> list[Gap]:
        return [record.gap for batch in self.offered for record in batch.records if record.gap is not None]

    def said(self, *events: str) -> list[tuple[str, str]]:
        """Return level and name of what was said for people: all but ticks and debugging, or just these events."""
        heard = [(level, event) for level, event, _ in self.log.said]
        return [pair for pair in heard if (pair[1] in events if events else pair[0] not in {"debug", "info"})]


@pytest.fixture
def held(log: Log) -> Held:
    return Held(log)


def slow(held: Held, monkeypatch: pytest.MonkeyPatch, *, skipped: int, took_s: float) -> None:
    """Have every tick from now on take so long, while so many that come after it are skipped."""
    now = iter(range(10**6))
    monkeypatch.setattr("domstat.line.time.monotonic", lambda: next(now) * took_s)

    def skip() -> None:
        for _ in range(skipped):
            held.line.skip()

    held.stub.meanwhile = skip


# --- ticks that succeed


def test_every_batch_of_a_tick_is_offered_and_the_tick_is_said(held: Held) -> None:
    first, second = GOOD, batch(guest_record("db-1"))
    held.run([first, second])
    assert held.offered == [first, second]
    assert held.stub.asked == [(4.0, DUE_MS)]
    assert (held.line.name, held.line.ticks, held.line.last_ms) == ("kvm1/default", 1, DUE_MS)
    facts = held.log.facts("tick")
    assert facts["stream"] == "kvm1/default"
    assert facts.keys() >= {"guests", "partial", "calls", "call_ms", "took_ms", "late_ms", "quarantined", "skipped"}


def test_it_is_known_when_the_newest_good_tick_was_and_why_it_was_not_the_newest(held: Held) -> None:
    before_s = held.line.silent_s
    assert (held.line.ticked_ms, held.line.trouble) == (None, None)
    held.run(GOOD)
    assert (held.line.ticked_ms, held.line.trouble) == (DUE_MS, None)
    assert held.line.silent_s >= 0
    held.line._ticked_at -= 100
    held.run(UnreachableError("no"), RefusedError("no"))
    assert (held.line.ticked_ms, held.line.trouble) == (DUE_MS, RefusedError("no").reason)
    assert held.line.silent_s >= 100 > before_s
    held.run(GOOD)
    assert (held.line.ticked_ms, held.line.trouble) == (DUE_MS + 3 * INTERVAL_MS, None)
    assert held.line.silent_s < 100


def test_a_stream_that_speaks_for_itself_is_not_spoken_for(held: Held) -> None:
    held.stub.tick = None
    held.run(GOOD)
    assert held.log.events() == []


# --- ticks that fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OverdueError("late"), "deadline"),
        (UnreachableError("gone"), "host-down"),
        (RefusedError("no"), "refused"),
        (WorkerDiedError("died"), "worker-died"),
        (CollectError("else"), "failed"),
        (ZeroDivisionError("a fault of ours"), "failed"),
    ],
)
def test_a_tick_that_fails_leaves_a_gap_with_its_reason(held: Held, error: Exception, reason: str) -> None:
    held.run(error)
    (batch,) = held.offered
    (record,) = batch.records
    assert (record.kind, record.host, record.collect, record.time_ms) == (Kind.GAP, "kvm1", "default", DUE_MS)
    assert record.gap == Gap(DUE_MS, DUE_MS + INTERVAL_MS, reason)
    assert (batch.stream, batch.stamp.time_ms) == (("kvm1", "default"), DUE_MS)
    assert (held.line.tally.failed, held.line.ticks) == (1, 0)


def test_what_came_before_a_tick_failed_is_kept(held: Held) -> None:
    held.run([GOOD, OverdueError("late")])
    assert [batch.records[0].kind for batch in held.offered] == [Kind.GUEST, Kind.GAP]


def test_an_agent_that_stops_leaves_no_gap_since_the_next_one_says_it(held: Held) -> None:
    held.run(GOOD, ClosedError("stopping"))
    assert held.gaps == []
    assert held.line.last_ms == DUE_MS


def test_what_has_been_said_to_be_lacking_is_not_said_again_by_the_next_agent(held: Held) -> None:
    held.run(GOOD, UnreachableError("gone"))
    assert held.line.last_ms == DUE_MS + INTERVAL_MS


# --- what is said of outages


def test_an_outage_is_one_line_and_its_end_another(held: Held) -> None:
    held.run(GOOD, *[OverdueError("late")] * 3, GOOD, GOOD)
    assert held.said() == [("error", "tick_failed"), ("warning", "collecting_again")]
    assert held.log.facts("tick_failed")["reason"] == "deadline"
    again = held.log.facts("collecting_again")
    assert (again["after"], again["failed"]) == ("deadline", 3)


def test_the_repeats_are_there_for_those_who_look(held: Held) -> None:
    held.run(*[OverdueError("late")] * 3)
    assert held.said("tick_failed") == [("error", "tick_failed"), ("debug", "tick_failed"), ("debug", "tick_failed")]


def test_another_reason_is_another_line(held: Held) -> None:
    held.run(OverdueError("late"), RefusedError("no"), RefusedError("no"))
    assert held.said() == [("error", "tick_failed")] * 2


def test_the_next_outage_is_said_again(held: Held) -> None:
    held.run(OverdueError("late"), GOOD, OverdueError("late"), GOOD)
    assert held.said() == [("error", "tick_failed"), ("warning", "collecting_again")] * 2
    assert [facts["failed"] for _, event, facts in held.log.said if event == "collecting_again"] == [1, 1]


@pytest.mark.parametrize("error", [UnreachableError("gone"), WorkerDiedError("died")])
def test_that_the_host_is_lost_is_left_to_who_watches_it(held: Held, error: CollectError) -> None:
    held.run(error, error, GOOD)
    assert held.said() == []
    assert held.line.tally.failed == 2


@pytest.mark.parametrize("error", [UnreachableError("gone"), WorkerDiedError("died")])
def test_where_nobody_watches_the_host_its_loss_is_said_as_well(log: Log, error: CollectError) -> None:
    held = Held(log, is_watched=False)
    held.run(error, error, GOOD)
    assert held.said() == [("warning", "tick_failed"), ("warning", "collecting_again")]


def test_a_fault_in_the_agent_costs_a_tick_and_is_said_once_with_where_it_is(held: Held) -> None:
    fault = ZeroDivisionError("a fault of ours")
    held.run(fault, fault, GOOD)
    assert held.said() == [("error", "tick_crashed"), ("warning", "collecting_again")]
    assert held.log.facts("tick_crashed")["exc_info"] is fault
    assert (held.line.tally.failed, held.line.ticks) == (2, 1)


# --- ticks that are skipped


def test_ticks_that_are_skipped_are_a_gap_of_overload(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(held, monkeypatch, skipped=2, took_s=25)
    held.run(GOOD)
    assert held.gaps == [Gap(DUE_MS + INTERVAL_MS, DUE_MS + 3 * INTERVAL_MS, "overload")]
    assert held.line.tally.skipped == 2


def test_ticks_that_are_skipped_while_one_fails_are_lacking_for_the_same_reason(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(held, monkeypatch, skipped=1, took_s=15)
    held.run(GOOD, UnreachableError("gone"), OverdueError("late"))
    assert [gap.reason for gap in held.gaps] == ["overload", "host-down", "host-down", "deadline", "deadline"]
    assert held.said("interval_too_short") == [], "it is not the interval"


def test_each_gap_counts_what_was_skipped_since_the_last(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(held, monkeypatch, skipped=1, took_s=15)
    held.run(GOOD, GOOD)
    assert [gap.end - gap.start for gap in held.gaps] == [INTERVAL_MS, INTERVAL_MS]


def test_a_tick_that_was_skipped_just_when_the_one_before_ended_was_due_before_the_next(held: Held) -> None:
    held.run(GOOD)
    held.line.skip()
    held.line.run(DUE_MS + 2 * INTERVAL_MS)
    assert held.gaps == [Gap(DUE_MS + INTERVAL_MS, DUE_MS + 2 * INTERVAL_MS, "overload")]
    assert held.line.last_ms == DUE_MS + 2 * INTERVAL_MS


def test_what_passed_while_the_schedule_itself_did_not_run_is_counted_and_lacking(held: Held) -> None:
    held.run(GOOD)
    held.line.run(DUE_MS + 4 * INTERVAL_MS)
    assert held.gaps == [Gap(DUE_MS + INTERVAL_MS, DUE_MS + 4 * INTERVAL_MS, "overload")]
    assert held.line.tally.skipped == 3
    held.line.run(DUE_MS + 5 * INTERVAL_MS)
    assert (len(held.gaps), held.line.tally.skipped) == (1, 3)


def test_of_what_passed_only_that_is_counted_which_the_schedule_has_not(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.stub.meanwhile = held.line.skip
    held.run(GOOD)
    held.stub.meanwhile = lambda: None
    held.line.run(DUE_MS + 2 * INTERVAL_MS)
    assert held.line.tally.skipped == 1
    held.line.skip()
    held.line.run(DUE_MS + 6 * INTERVAL_MS)
    assert held.line.tally.skipped == 4
    assert held.gaps == [
        Gap(DUE_MS + INTERVAL_MS, DUE_MS + 2 * INTERVAL_MS, "overload"),
        Gap(DUE_MS + 3 * INTERVAL_MS, DUE_MS + 6 * INTERVAL_MS, "overload"),
    ]


@pytest.mark.parametrize("interval_s", [0.6667, 1 / 3, 0.1, 7.0])
def test_intervals_that_are_no_whole_milliseconds_are_counted_as_well(held: Held, interval_s: float) -> None:
    held.line.retime(interval_s, 1.0)
    interval_us = round(interval_s * 1e6)
    for tick in (1000, 1001, 1003, 1004, 1006, 1007):
        held.line.run(tick * interval_us // 1000)
    assert held.line.tally.skipped == 2


@pytest.mark.parametrize("shift", [Shift(3_600_000_000_000, 0, 1), Shift(0, 3_600_000_000_000, 1)])
def test_what_a_step_of_the_clock_or_sleep_has_passed_over_is_not_counted(
    held: Held, monkeypatch: pytest.MonkeyPatch, shift: Shift
) -> None:
    held.run(GOOD)
    monkeypatch.setattr("domstat.line.shift_between", lambda _before, _now: shift)
    held.line.run(DUE_MS + 361 * INTERVAL_MS)
    assert (held.gaps, held.line.tally.skipped) == ([], 0)


def test_where_the_clocks_cannot_be_read_nothing_is_guessed(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.run(GOOD)
    monkeypatch.setattr("domstat.line.MACHINE", Clocks(boot_ns=iter(range(0, 10**15, 10**9)).__next__))
    held.line.run(DUE_MS + 4 * INTERVAL_MS)
    assert (held.gaps, held.line.tally.skipped) == ([], 0)


def test_a_longer_interval_does_not_make_ticks_of_the_shorter_one_lacking(held: Held) -> None:
    held.run(GOOD)
    held.line.retime(INTERVAL_S / 10, 1.0)
    held.line.run(DUE_MS + INTERVAL_MS)
    assert (held.gaps, held.line.tally.skipped) == ([], 0)


def test_what_was_skipped_is_not_lacking_once_more_for_the_agent_that_comes_next(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(held, monkeypatch, skipped=2, took_s=25)
    held.run(GOOD)
    assert held.line.last_ms == DUE_MS + 2 * INTERVAL_MS


@pytest.mark.parametrize(("took_s", "fits"), [(11, "15s"), (12, "15s"), (13, "20s"), (50, "2m"), (9000, "1h")])
def test_which_interval_fits_is_said_once(
    held: Held, monkeypatch: pytest.MonkeyPatch, took_s: float, fits: str
) -> None:
    slow(held, monkeypatch, skipped=1, took_s=took_s / 2)
    held.run(*[GOOD] * 3 * SLOW_TICKS)
    assert held.said() == [("warning", "interval_too_short")]
    facts = held.log.facts("interval_too_short")
    assert facts["interval"] == "10s"
    assert facts["hint"].endswith(f"an interval of {fits} fits")


def test_the_first_tick_which_starts_everything_is_no_measure(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(held, monkeypatch, skipped=1, took_s=15)
    held.run(*[GOOD] * SLOW_TICKS)
    assert held.said() == []
    held.run(GOOD)
    assert held.said() == [("warning", "interval_too_short")]


def test_a_slow_tick_now_and_then_is_not_the_intervals_fault(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(SLOW_TICKS):
        slow(held, monkeypatch, skipped=1, took_s=15)
        held.run(*[GOOD] * (SLOW_TICKS - 1))
        held.stub.meanwhile = lambda: None
        held.run(GOOD)
    assert held.said() == []
    assert held.line.tally.skipped == SLOW_TICKS * (SLOW_TICKS - 1)


def test_ticks_that_a_stuck_guest_held_up_say_nothing_of_the_interval(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.line.tally.quarantined = 1
    slow(held, monkeypatch, skipped=1, took_s=15)
    held.run(*[GOOD] * 2 * SLOW_TICKS)
    assert held.said() == []
    assert {gap.reason for gap in held.gaps} == {"overload"}


def test_the_intervals_that_fit_are_in_order() -> None:
    assert list(FITTING_S) == sorted(set(FITTING_S))


# --- while there was no agent, or no machine


def test_what_was_missed_since_the_agent_before_is_a_gap(held: Held) -> None:
    held.line.resume(DUE_MS, DUE_MS + 5 * INTERVAL_MS + 17)
    assert held.gaps == [Gap(DUE_MS + INTERVAL_MS, DUE_MS + 5 * INTERVAL_MS + 17, "agent-stopped")]


@pytest.mark.parametrize("later_ms", [-86_400_000, 0, INTERVAL_MS])
def test_an_agent_that_is_back_before_its_next_tick_missed_nothing(held: Held, later_ms: int) -> None:
    held.line.resume(DUE_MS, DUE_MS + later_ms)
    assert held.gaps == []


@pytest.mark.parametrize(("slept_s", "gaps"), [(9.9, 0), (10.0, 1), (3600.0, 1)])
def test_a_sleep_that_is_longer_than_the_interval_is_a_gap(held: Held, slept_s: float, gaps: int) -> None:
    held.line.note_suspend(slept_s, DUE_MS)
    assert held.gaps == [Gap(DUE_MS - round(slept_s * 1000), DUE_MS, "suspended")] * gaps


# --- what watches it, and what takes its place


def test_a_line_is_late_since_its_tick_began_or_since_the_next_should_have(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(log)
    now_s = 1000.0
    monkeypatch.setattr("domstat.line.time.monotonic", lambda: now_s)
    held.run(GOOD)
    assert (held.line.busy_since, held.line.late_s) == (None, -INTERVAL_S)
    now_s += 25.0
    assert held.line.late_s == 25.0 - INTERVAL_S
    seen: list[float] = []

    def look() -> None:
        nonlocal now_s
        now_s += 7.0
        seen.append(held.line.late_s)

    held.stub.meanwhile = look
    held.run(GOOD)
    assert seen == [7.0]


def test_a_tick_that_is_ended_as_its_line_goes_is_said_to_be_lacking(log: Log) -> None:
    held = Held(log)
    held.run(ClosedError("the agent is stopping"))
    assert held.gaps == [], "the agent that comes next says so"
    held.line.is_retired = True
    held.run(ClosedError("the agent is stopping"))
    assert held.gaps == [Gap(DUE_MS + INTERVAL_MS, DUE_MS + 2 * INTERVAL_MS, "agent-stopped")]


def test_another_interval_counts_from_the_next_tick_on(log: Log) -> None:
    held = Held(log)
    held.line.retime(20.0, 8.0)
    held.run(GOOD)
    assert held.stub.asked[-1][0] == 8.0
    assert held.line.interval_s == 20.0
