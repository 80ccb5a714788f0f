"""When ticks are due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.schedule import Schedule, next_aligned


@pytest.mark.parametrize(
    ("now", "interval", "due"),
    [(0, 10, 0), (1, 10, 10), (10, 10, 10), (10.001, 10, 20), (1_795_385_704.1, 60, 1_795_385_760), (0.05, 0.1, 0.1)],
)
def test_ticks_fall_on_multiples_of_the_interval(now: float, interval: float, due: float) -> None:
    assert next_aligned(now, interval) == pytest.approx(due)


@given(st.floats(0, 4e9), st.sampled_from([0.1, 0.25, 1, 2.5, 10, 60, 3600, 86400]))
def test_the_next_tick_is_never_past_nor_further_than_one_interval(now: float, interval: float) -> None:
    due = next_aligned(now, interval)
    assert now - 1e-6 <= due < now + interval + 1e-6


@pytest.fixture
def skipped() -> list[str]:
    return []


@pytest.fixture
def schedule(skipped: list[str]) -> Iterator[Schedule]:
    made = Schedule(skipped.append)
    yield made
    made.stop()


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()


def test_a_job_runs_at_aligned_times_to_a_part_of_a_second(schedule: Schedule) -> None:
    ran: list[float] = []
    schedule.add("one", 0.2, lambda: ran.append(time.time()))
    schedule.start()
    assert eventually(lambda: len(ran) >= 4)
    assert min(later - earlier for earlier, later in pairwise(ran)) < 0.9
    ticks = {round(at / 0.2) for at in ran}
    assert len(ticks) == len(ran), "no tick runs twice"
    assert all(at >= round(at / 0.2) * 0.2 - 0.1 for at in ran)


def test_a_tick_that_is_still_running_lets_the_next_pass_and_that_is_counted(
    schedule: Schedule, skipped: list[str]
) -> None:
    release = threading.Event()
    running: list[int] = []

    def hang() -> None:
        running.append(1)
        release.wait(10)

    schedule.add("slow", 0.1, hang)
    schedule.start()
    assert eventually(lambda: len(skipped) >= 2)
    assert len(running) == 1
    assert schedule._scheduler.get_job("slow").max_instances == 1, "none is queued up behind it either"
    release.set()
    assert set(skipped) == {"slow"}
    assert eventually(lambda: len(running) > 1), "it goes on afterwards"


def test_one_hanging_job_does_not_hold_up_the_others(schedule: Schedule) -> None:
    release, ran = threading.Event(), threading.Event()
    schedule.add("slow", 0.1, lambda: (release.wait(10), None)[1])
    schedule.add("quick", 0.1, ran.set)
    schedule.start()
    assert ran.wait(10)
    release.set()


def test_stop_waits_for_nobody_and_begins_nothing_more() -> None:
    schedule = Schedule(lambda _name: None)
    release, began = threading.Event(), threading.Event()
    count: list[int] = []

    def hang() -> None:
        count.append(1)
        began.set()
        release.wait(10)

    schedule.add("slow", 0.1, hang)
    schedule.start()
    assert began.wait(10)
    started = time.monotonic()
    schedule.stop()
    assert time.monotonic() - started < 1
    release.set()
    time.sleep(0.25)
    assert len(count) == 1


def test_a_schedule_that_never_began_can_be_stopped() -> None:
    Schedule(lambda _name: None).stop()
