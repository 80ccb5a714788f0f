"""When ticks are due, and what becomes of that when the clock is set."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any

import apscheduler.schedulers.base
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ticking
from domstat.crontab import crontab
from domstat.schedule import (
    EARLY_SHARE,
    Aligned,
    Schedule,
    from_us,
    in_line_again,
    latest_aligned,
    to_us,
)
from domstat.shifts import Clocks
from faketime import STEPS_S, WallClock, boot_s, missed, rss_kib

S = 1_000_000
"""A second, in microseconds."""

NOW_S = 1_795_385_704
HOUR_S = 3600.0


PATIENCE_S = 60.0
"""How long anything is waited for: no test fails because its machine is busy."""


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()


# --- which times -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_s", "interval_s", "due_s"),
    [(0, 10, 10), (1, 10, 10), (10, 10, 20), (10.001, 10, 20), (1_795_385_704.1, 60, 1_795_385_760), (0.05, 0.1, 0.1)],
)
def test_ticks_fall_on_multiples_of_the_interval(now_s: float, interval_s: float, due_s: float) -> None:
    due = Aligned(round(interval_s * S)).get_next_fire_time(None, from_us(round(now_s * S)))
    assert to_us(due) == round(due_s * S)


@given(st.integers(-(10**15), 4 * 10**15), st.sampled_from([0.02, 0.1, 0.25, 1, 2.5, 7, 60, 3600, 86400]))
def test_the_next_tick_is_never_past_nor_further_than_one_interval(now_us: int, interval_s: float) -> None:
    interval_us = round(interval_s * S)
    due_us = to_us(Aligned(interval_us).get_next_fire_time(from_us(now_us), from_us(now_us)))
    assert now_us < due_us <= now_us + interval_us
    assert due_us % interval_us == 0


def overdue(next_us: int, now_us: int, interval_us: int) -> list[int]:
    """Ask for fire times as APScheduler does: from the next on, until one is not yet due."""
    times: list[int] = []
    while next_us <= now_us:
        times.append(next_us)
        next_us = to_us(Aligned(interval_us).get_next_fire_time(from_us(next_us), from_us(now_us)))
    return times


def test_of_all_the_ticks_a_jump_made_overdue_only_the_latest_is_given() -> None:
    assert overdue(60 * S, NOW_S * S, S) == [60 * S, NOW_S * S]


def test_a_tick_in_time_is_the_only_one_due() -> None:
    assert overdue(70 * S, 70 * S + 3000, 10 * S) == [70 * S]


# --- being put in line again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("next_s", "now_s", "shifted_s", "due_s"),
    [
        (1000, 995, 0, None),  # nothing happened
        (1000, 990.5, -0.5, None),  # set back by less than to the tick before
        (1000, 1000.1, 0, None),  # due: APScheduler is about to run it
        (1000, 4600, 0, None),  # long due, as the machine slept: likewise
        (1000, 1003, 7, 1010),  # set forward, and not due before 1007
        (1000, 1003, 1, None),  # but this was at 1001
        (1000, 4601, 3605.0002, 4610),
        (1000, 4600.3, 3600.5, 4600),  # at once: this is not given up for a moment
        (7200, 3595.0, -3600, 3600),  # the very moment, an hour earlier
        (7200, 3595.0, -3600.0002, 3600),  # the same, known less exactly
        (7200, 3595.0, -3599.9998, 3600),
        (7200, 3603.0, -3600, 3600),  # the moment has passed: at once
        (1000, 990.0, -14, 990),  # likewise, though the next is near: the one before has long been missed
        (7200, 3594.0, -3603, 3600),  # 7197 was 7200: the next aligned time after that moment
        (7200, 3595.0, 0, 3610),  # a shift that nobody saw: not at the old time, at any rate
        (1000, 988.5, -1.5, 1000),  # to just before the tick that has been: that is not repeated
    ],
)
def test_a_job_keeps_its_pace_on_the_new_clock(
    next_s: float, now_s: float, shifted_s: float, due_s: float | None
) -> None:
    due_us = in_line_again(round(next_s * S), round(now_s * S), round(shifted_s * S), 10 * S)
    assert due_us == (None if due_s is None else due_s * S)


@given(
    interval_us=st.sampled_from([S // 5, S, 10 * S, 60 * S]),
    at_us=st.integers(0, 59 * S),
    unseen=st.floats(0, 0.5),
    step_us=st.one_of(st.integers(-(10**15), 10**15), st.integers(-100 * S, 100 * S)),
)
def test_a_step_costs_at_most_one_tick(interval_us: int, at_us: int, unseen: float, step_us: int) -> None:
    at_us %= interval_us  # since the last tick
    old_us = NOW_S * S // interval_us * interval_us
    look_us = at_us + int(unseen * interval_us)  # since the last tick too: when the guard looks
    next_us = old_us + interval_us
    assume(look_us < interval_us or step_us < 0)  # or else the tick has been before the look
    now_us = old_us + look_us + step_us
    due_us = in_line_again(next_us, now_us, step_us, interval_us)
    runs_us = max(next_us if due_us is None else due_us, now_us)
    gap_us = look_us + runs_us - now_us
    assert gap_us <= 2 * interval_us, "so that at most one is missing in between"
    soonest_us = int((1 - EARLY_SHARE) * interval_us)
    assert gap_us >= soonest_us or (due_us is None and 0 < step_us < interval_us), "and none is too many"
    if due_us is not None:
        assert due_us % interval_us == 0
        assert due_us >= latest_aligned(now_us, interval_us)


# --- the schedule at work --------------------------------------------------------------------------------------------


class Told:
    """What a schedule says."""

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.steps: list[float] = []
        self.suspends: list[float] = []


class Machine:
    """The machine's clocks, and what they are off by: by the seconds it was made to sleep, and by where it was set."""

    def __init__(self) -> None:
        self.set_s = 0.0
        self.slept_s = 0.0
        self.readable = True

    def wall_ns(self) -> int:
        return time.time_ns() + round((self.set_s + self.slept_s) * 1e9)

    def boot_ns(self) -> int:
        return time.monotonic_ns() * (1 if self.readable else 10**6) + round(self.slept_s * 1e9)

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.wall_ns, self.boot_ns, time.monotonic_ns)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Clocks that can be set, for APScheduler as well."""
    made = Machine()

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(made.wall_ns() / 1e9, tz)

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Datetime)
    return made


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def schedule(told: Told, machine: Machine) -> Iterator[Schedule]:
    made = Schedule(told.skipped.append, told.steps.append, told.suspends.append, machine.clocks)
    yield made
    made.stop()


def test_a_job_runs_at_aligned_times_to_a_part_of_a_second(schedule: Schedule) -> None:
    ran: list[float] = []
    schedule.add("one", 0.2, lambda _due: ran.append(time.time()))
    schedule.start()
    assert eventually(lambda: len(ran) >= 4)
    assert min(later - earlier for earlier, later in pairwise(ran)) < 0.9
    assert sorted(at % 0.2 for at in ran)[1] < 0.1, "on a busy machine some may be late; out of line are all"


@pytest.mark.parametrize("interval_ms", [20, 150])
def test_a_job_is_told_when_it_was_due(schedule: Schedule, interval_ms: int) -> None:
    ran: list[tuple[int, float]] = []
    schedule.add("one", interval_ms / 1000, lambda due_ms: ran.append((due_ms, time.time() * 1000)))
    schedule.start()
    assert eventually(lambda: len(ran) >= 5)
    assert all(due_ms % interval_ms == 0 and due_ms <= at_ms for due_ms, at_ms in ran)
    assert sorted({due_ms for due_ms, _ in ran}) == [due_ms for due_ms, _ in ran], "each once, and in order"
    assert min(at_ms - due_ms for due_ms, at_ms in ran) < interval_ms


def test_a_tick_that_is_still_running_lets_the_next_pass_and_that_is_counted(schedule: Schedule, told: Told) -> None:
    release = threading.Event()
    running: list[int] = []

    def hang(due_ms: int) -> None:
        running.append(due_ms)
        release.wait(PATIENCE_S)

    schedule.add("slow", 0.1, hang)
    schedule.start()
    assert eventually(lambda: len(told.skipped) >= 2)
    assert len(running) == 1
    assert schedule._scheduler.get_job("slow").max_instances == 1, "none is queued up behind it either"
    release.set()
    assert set(told.skipped) == {"slow"}
    assert eventually(lambda: len(running) > 1), "it goes on afterwards"
    assert running[1] >= running[0] + 300, "with the tick that is due then, none of those that were skipped"


def test_one_hanging_job_does_not_hold_up_the_others(schedule: Schedule) -> None:
    release = threading.Event()
    ran: list[int] = []
    schedule.add("slow", 0.1, lambda _due: (release.wait(PATIENCE_S), None)[1])
    schedule.add("quick", 0.1, ran.append)
    schedule.start()
    assert eventually(lambda: len(ran) >= 3)
    release.set()


def test_a_job_that_raises_has_its_next_tick_all_the_same(schedule: Schedule) -> None:
    tried: list[int] = []

    def fail(due_ms: int) -> None:
        tried.append(due_ms)
        raise RuntimeError("on purpose")

    schedule.add("failing", 0.05, fail)
    schedule.start()
    assert eventually(lambda: len(tried) >= 3)


def test_stop_waits_for_nobody_and_begins_nothing_more() -> None:
    schedule = Schedule(lambda _name: None)
    release, began = threading.Event(), threading.Event()
    count: list[int] = []

    def hang(due_ms: int) -> None:
        count.append(due_ms)
        began.set()
        release.wait(PATIENCE_S)

    schedule.add("slow", 0.1, hang)
    schedule.start()
    assert began.wait(PATIENCE_S)
    started = time.monotonic()
    schedule.stop()
    assert time.monotonic() - started < PATIENCE_S / 2
    release.set()
    time.sleep(0.25)
    assert len(count) == 1


def test_no_thread_outlives_a_stop_but_those_that_hang_and_all_are_daemons() -> None:
    before = set(threading.enumerate())
    schedule = Schedule(lambda _name: None)
    release = threading.Event()
    began: list[int] = []

    def hang(due_ms: int) -> None:
        began.append(due_ms)
        release.wait(PATIENCE_S)

    schedule.add("slow", 0.05, hang)
    schedule.add("quick", 0.05, began.append)
    schedule.start()
    assert eventually(lambda: len(began) >= 3)
    threads = set(threading.enumerate()) - before
    assert len(threads) >= 3
    assert all(thread.daemon for thread in threads)
    schedule.stop()
    assert eventually(lambda: [thread.name for thread in threads if thread.is_alive()] == ["tick slow"])
    release.set()
    assert eventually(lambda: not any(thread.is_alive() for thread in threads))


def test_a_schedule_that_never_began_can_be_stopped() -> None:
    Schedule(lambda _name: None).stop()


# --- the clock is set, the machine sleeps ----------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [-HOUR_S, -1.0, -0.3, 1.0, 30 * 86400.0, -NOW_S + HOUR_S])
def test_ticks_go_on_whatever_the_clock_is_set_to(
    schedule: Schedule, machine: Machine, told: Told, step_s: float
) -> None:
    ran: list[tuple[int, int]] = []
    schedule.add("one", 0.2, lambda due_ms: ran.append((due_ms, machine.wall_ns() // 1_000_000)))
    schedule.start()
    assert eventually(lambda: len(ran) >= 2)
    machine.set_s = step_s
    so_far = len(ran)
    assert eventually(lambda: len(ran) >= so_far + 3)
    assert eventually(lambda: schedule.steps == 1)
    assert told.steps == pytest.approx([step_s], abs=0.05)
    assert told.suspends == []
    after = ran[so_far + 1 :]
    assert all(due_ms % 200 == 0 and due_ms <= at_ms for due_ms, at_ms in after)
    assert min(at_ms - due_ms for due_ms, at_ms in after) < min(1000, abs(step_s) * 900), "on the new clock"


def test_a_step_too_small_to_be_told_stops_no_job_either(schedule: Schedule, machine: Machine, told: Told) -> None:
    ran: list[int] = []
    schedule.add("one", 0.02, ran.append)
    schedule.start()
    assert eventually(lambda: len(ran) >= 2)
    for _ in range(5):
        machine.set_s -= 0.09
        so_far = len(ran)
        assert eventually(lambda so_far=so_far: len(ran) >= so_far + 3)  # type: ignore[misc]
    assert told.steps == []


def test_after_a_step_back_the_next_tick_comes_when_it_would_have(schedule: Schedule, machine: Machine) -> None:
    schedule.add("hourly", HOUR_S, lambda _due: None)
    schedule.start()
    planned = next(iter(schedule._jobs.values())).next_run_time.timestamp()
    machine.set_s = -3 * HOUR_S
    schedule._look()
    assert next(iter(schedule._jobs.values())).next_run_time.timestamp() == planned - 3 * HOUR_S


def test_what_a_sleeping_machine_missed_is_one_tick_and_runs_at_once(
    schedule: Schedule, machine: Machine, told: Told
) -> None:
    ran: list[int] = []
    schedule.add("hourly", HOUR_S, ran.append)
    schedule.start()
    schedule._look()
    machine.slept_s = 3 * HOUR_S
    schedule._look()
    assert eventually(lambda: len(ran) == 1)
    assert machine.wall_ns() // 1_000_000 - ran[0] < HOUR_S * 1000, "the latest it could have been due at"
    assert told.suspends == pytest.approx([3 * HOUR_S], abs=0.05)
    assert (told.steps, schedule.steps) == ([], 0)
    schedule._look()
    assert len(told.suspends) == 1


def test_a_step_is_told_once_and_by_whom_it_is_seen(schedule: Schedule, machine: Machine, told: Told) -> None:
    schedule.add("hourly", HOUR_S, lambda _due: None)
    schedule.start()
    machine.set_s = -5.0
    machine.readable = False
    schedule._look()
    assert told.steps == [], "clocks that do not belong together say nothing"
    machine.readable = True
    schedule._look()
    schedule._look()
    assert told.steps == pytest.approx([-5.0], abs=0.05)


def test_who_does_not_want_to_hear_of_steps_need_not(machine: Machine) -> None:
    schedule = Schedule(lambda _name: None, clocks=machine.clocks)
    schedule.add("hourly", HOUR_S, lambda _due: None)
    schedule.start()
    machine.set_s, machine.slept_s = 10.0, 10.0
    schedule._look()
    schedule.stop()
    assert schedule.steps == 1
    machine.set_s = -HOUR_S
    schedule._look()  # a look that was under way when the schedule was stopped


# --- the same with a process whose clock is really set ---------------------------------------------------------------

INTERVAL_S = 0.2
STEP_EVERY_S = 0.8
"""Long enough for several ticks; the whole list takes seven seconds."""

ROUNDS_MAX = 3
"""A busy machine takes ticks too, so a step is judged by its best; what the step itself costs it costs every time."""


class Ticking:
    """A schedule in a process of its own."""

    def __init__(self, clock: WallClock) -> None:
        command = [sys.executable, ticking.__file__, str(INTERVAL_S)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clock.env)
        self.said: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def ticks(self) -> list[dict[str, Any]]:
        return [said for said in self.said if "due_ms" in said]

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self._reader.join()
            self.process.stdout.close()


@pytest.fixture
def ticking_process(tmp_path: Path) -> Iterator[tuple[Ticking, WallClock]]:
    clock = WallClock(tmp_path)
    clock.step_to_1970()
    made = Ticking(clock)
    yield made, clock
    assert made.end() == 0


def is_by(clock: WallClock, tick: dict[str, Any], stepped_s: float) -> bool:
    """Say whether a tick came and was due by the clock as it is since *stepped_s*.

    One that was due just before may come after, where the machine is busy.
    """
    new_clock_s = tick["boot_s"] + (time.time() - boot_s()) + clock.off_s
    due_ms, wall_ms = int(tick["due_ms"]), int(tick["wall_ms"])
    is_new = tick["boot_s"] > stepped_s and abs(wall_ms / 1000 - new_clock_s) < 0.5
    return bool(is_new) and due_ms % round(INTERVAL_S * 1000) == 0 and due_ms <= wall_ms


def lost_to(process: Ticking, clock: WallClock, step_s: float) -> int:
    """Set the clock; return how many ticks are missing afterwards."""
    since_s = process.ticks()[-1]["boot_s"]
    clock.step(step_s)
    stepped_s = boot_s()
    time.sleep(STEP_EVERY_S)
    assert eventually(lambda: is_by(clock, process.ticks()[-1], stepped_s)), "it ticks by the new clock"
    return missed([tick["boot_s"] for tick in process.ticks() if tick["boot_s"] >= since_s] + [boot_s()], INTERVAL_S)


def test_a_step_of_the_clock_costs_at_most_one_tick_and_no_memory(
    ticking_process: tuple[Ticking, WallClock],
) -> None:
    process, clock = ticking_process
    assert eventually(lambda: len(process.ticks()) >= 5), "it begins in 1970"
    before_kib = rss_kib(process.process.pid)
    lost = dict.fromkeys(("1970 to now", *STEPS_S, "now to 1970"), 2)
    taken: list[float] = []
    for _ in range(ROUNDS_MAX):
        for name in lost:
            taken.append(STEPS_S.get(name, 60 - time.time() if name == "now to 1970" else -clock.off_s))
            lost[name] = min(lost[name], lost_to(process, clock, taken[-1]))
        if max(lost.values()) <= 1:
            break
    assert max(lost.values()) <= 1, lost
    assert [said["step_s"] for said in process.said if "step_s" in said] == pytest.approx(taken, abs=0.1)
    assert rss_kib(process.process.pid) - before_kib < 512


# --- changed while it runs -------------------------------------------------------------------------------------------


def test_a_job_that_is_added_later_runs_beside_those_that_are_there(schedule: Schedule) -> None:
    first: list[int] = []
    second: list[int] = []
    schedule.add("first", 0.05, first.append)
    schedule.start()
    assert eventually(lambda: len(first) >= 2)
    schedule.add("second", 0.05, second.append)
    assert eventually(lambda: len(second) >= 2)
    assert sorted(set(first)) == first


def test_a_job_that_is_removed_comes_to_its_end_and_its_thread_too(schedule: Schedule, told: Told) -> None:
    begun, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def hang(_due_ms: int) -> None:
        begun.set()
        let_go.wait()
        ended.set()

    schedule.add("h/default", 0.05, hang)
    schedule.start()
    assert begun.wait(60)
    schedule.remove("h/default")
    let_go.set()
    assert ended.wait(60)
    assert eventually(lambda: "tick h/default" not in {thread.name for thread in threading.enumerate()})


def test_what_is_not_there_is_removed_without_a_word(schedule: Schedule) -> None:
    schedule.remove("nobody")
    schedule.add("wanted", 1.0, lambda _due_ms: None)
    schedule.remove("wanted")
    schedule.start()
    schedule.remove("nobody")
    assert schedule._jobs == {}


def test_one_job_gives_its_place_to_another_and_every_tick_is_run_once(schedule: Schedule) -> None:
    every_ms, ticks = 20, []

    def tick(who: int) -> Callable[[int], None]:
        return lambda due_ms: ticks.append((due_ms, who))

    schedule.add("h/default", every_ms / 1000, tick(0))
    schedule.start()
    for who in range(1, 30):
        seen = len(ticks)
        assert eventually(lambda: len(ticks) > seen)  # noqa: B023 - it is called before the next round
        schedule.add("h/default", every_ms / 1000, tick(who))
    assert eventually(lambda: ticks[-1][1] == 29)
    schedule.stop()
    dues = [due_ms for due_ms, _ in ticks]
    assert dues == sorted(set(dues)), "none twice"
    assert [who for _, who in ticks] == sorted(who for _, who in ticks)


def test_what_is_due_just_as_a_job_gives_its_place_is_run_by_the_one_or_the_other(schedule: Schedule) -> None:
    """As it is in the moment in which the schedule's thread has not seen yet that it is due."""
    old: list[int] = []
    new: list[int] = []
    schedule.add("h/default", 3600.0, old.append)
    schedule.start()
    job = schedule._jobs["h/default"]
    due = from_us(to_us(datetime.now(UTC)) // 1_000_000 * 1_000_000)
    with schedule._scheduler._jobstores_lock:
        job.modify(next_run_time=due)
        schedule.add("h/default", 7200.0, new.append)
        assert job.next_run_time == due
    assert eventually(lambda: bool(new or old))
    assert old + new == [to_us(due) // 1000]


def test_ticks_of_the_new_job_are_skipped_while_the_old_one_still_runs(schedule: Schedule, told: Told) -> None:
    begun, let_go = threading.Event(), threading.Event()
    new: list[int] = []

    def hang(_due_ms: int) -> None:
        begun.set()
        let_go.wait()

    schedule.add("h/default", 0.05, hang)
    schedule.start()
    assert begun.wait(60)
    schedule.add("h/default", 0.05, new.append)
    assert eventually(lambda: told.skipped.count("h/default") >= 3)
    assert new == []
    let_go.set()
    assert eventually(lambda: len(new) >= 2)


# --- at cron's times -------------------------------------------------------------------------------------------------


def test_a_cron_job_waits_for_its_time_and_after_a_step_back_for_the_next_on_the_new_clock() -> None:
    schedule = Schedule(lambda _name: None)
    schedule.add_crontab("report", "0 6 1 * *", lambda _due_ms: None)
    schedule.start()
    try:
        (job,) = schedule._jobs.values()
        due = job.next_run_time
        assert (due.day, due.hour, due.minute) == (1, 6, 0)
        schedule._put_in_line(to_us(due) - 3600 * S, 0)
        assert job.next_run_time == due
        schedule._put_in_line(to_us(due) - 90 * 86_400 * S, -S)
        assert job.next_run_time == crontab("0 6 1 * *").get_next_fire_time(None, from_us(to_us(due) - 90 * 86_400 * S))
        assert job.next_run_time < due
    finally:
        schedule.stop()
