"""However a host is busy, closing it ends that and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from collect.asking import ASK, LONG_S, SHORT_S, Make, ask, in_a_thread, in_seconds
from domstat.collect import hypervisor as hypervisor_module
from domstat.collect.errors import (
    ClosedError,
    WorkerDiedError,
)
from domstat.collect.hypervisor import Hypervisor
from faked import STARTED_S, descriptors, eventually, is_reaped


@pytest.mark.parametrize(
    "work",
    [
        lambda hypervisor: ask(hypervisor, LONG_S),
        lambda hypervisor: ask(hypervisor, SHORT_S),
        lambda hypervisor: hypervisor.examine(in_seconds(LONG_S)),
        lambda hypervisor: hypervisor.describe(("a",), in_seconds(LONG_S)),
    ],
    ids=["ask", "ask, overdue", "examine", "describe"],
)
def test_close_ends_whatever_hangs(make: Make, work: Callable[[Hypervisor], Any]) -> None:
    hypervisor = make("hang;looks=busy:a=1;xml=hang")
    thread, caught = in_a_thread(lambda: work(hypervisor))
    assert eventually(lambda: hypervisor.worker_pid is not None)
    old = hypervisor.worker_pid
    time.sleep(0.3)
    started = time.monotonic()
    hypervisor.close()
    thread.join(STARTED_S)
    assert time.monotonic() - started < STARTED_S
    assert [type(error) for error in caught] == [ClosedError]
    assert hypervisor.worker_pid is None
    assert old is not None
    assert is_reaped(old)


def test_close_ends_the_search_for_stuck_guests(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=9000/hang")
    thread, caught = in_a_thread(lambda: ask(hypervisor, SHORT_S))
    assert eventually(lambda: hypervisor.workers_killed == 1)
    hypervisor.close()
    thread.join(STARTED_S)
    assert [type(error) for error in caught] == [ClosedError]


def test_whoever_waits_for_its_turn_while_the_agent_stops_is_told_so(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=1")
    waiting = [in_a_thread(lambda: ask(hypervisor, LONG_S)) for _ in range(2)]
    assert eventually(hypervisor._turn.locked)
    hypervisor.close()
    for thread, caught in waiting:
        thread.join(STARTED_S)
        assert [type(error) for error in caught] == [ClosedError]


def test_close_does_not_wait_for_whoever_sits_on_an_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor_module, "KILLED_WAIT_S", 0.05)
    hypervisor = make("part:a+hang")
    collected = hypervisor.ask(ASK, STARTED_S)
    next(collected)
    hypervisor.close()
    with pytest.raises(ClosedError):
        list(collected)


def test_close_kills_an_idle_worker_and_may_come_twice(make: Make) -> None:
    hypervisor = make("answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    hypervisor.close()
    hypervisor.close()
    assert is_reaped(old)
    assert hypervisor.workers_killed == 0, "it was not in the way of anything"


@pytest.mark.parametrize(
    "work",
    [
        ask,
        lambda hypervisor: hypervisor.examine(in_seconds(1)),
        lambda hypervisor: hypervisor.describe(("a",), in_seconds(1)),
    ],
    ids=["ask", "examine", "describe"],
)
def test_nothing_is_started_after_close(make: Make, work: Callable[[Hypervisor], Any]) -> None:
    hypervisor = make("answer")
    hypervisor.close()
    with pytest.raises(ClosedError):
        work(hypervisor)
    assert hypervisor.worker_pid is None


def test_replacing_workers_leaks_no_descriptors(make: Make) -> None:
    hypervisor = make("die")

    def let_die(times: int) -> None:
        for _ in range(times):
            with pytest.raises(WorkerDiedError):
                ask(hypervisor)

    let_die(2)
    before = descriptors()
    let_die(5)
    assert eventually(lambda: descriptors() <= before + 1)
