"""XML is asked for beside the ticks, and none waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from collect.asking import ASK, GiveUp, Make, ask, in_seconds
from domstat.collect import hypervisor as hypervisor_module
from domstat.collect import wire
from domstat.collect.errors import (
    CollectError,
    OverdueError,
    RefusedError,
    UnreachableError,
    WorkerDiedError,
)
from faked import STARTED_S, eventually
from heard import Log


def test_xml_is_asked_for_by_uuid(make: Make) -> None:
    descriptions = make("answer").describe(("a", "b"), in_seconds(STARTED_S))
    assert [(found.uuid, found.xml) for found in descriptions] == [("a", "<domain/>"), ("b", "<domain/>")]


def test_xml_is_read_though_a_call_hangs(make: Make) -> None:
    hypervisor = make("part:a+hang")
    collected = hypervisor.ask(ASK, STARTED_S)
    next(collected)
    assert len(hypervisor.describe(("a",), in_seconds(STARTED_S))) == 1


def test_a_deadline_that_is_over_leaves_a_moment_for_xml(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor_module, "LAST_SECOND_S", STARTED_S)
    assert len(make("answer").describe(("a",), in_seconds(-5))) == 1


def test_xml_that_is_late_kills_nobody_and_is_not_asked_for_twice(make: Make, go_on: Callable[[], None]) -> None:
    hypervisor = make("answer;xml=wait+answer,answer")
    ask(hypervisor)
    with pytest.raises(OverdueError, match="the XML of 2 guests"):
        hypervisor.describe(("a", "b"), in_seconds(0.1))
    with pytest.raises(OverdueError, match="still reading"):
        hypervisor.describe(("c",), in_seconds(0.1))
    assert len(ask(hypervisor)) == 1
    go_on()
    described: list[wire.Description] = []

    def describe() -> bool:
        with suppress(OverdueError):
            described.extend(hypervisor.describe(("c",), in_seconds(STARTED_S)))
        return bool(described)

    assert eventually(describe)
    assert [found.uuid for found in described] == ["c"]
    assert hypervisor._process is not None
    assert hypervisor._process._mail == {}, "nothing is kept that nobody will look at"
    assert hypervisor.workers_killed == 0


def test_xml_that_does_not_come_at_all_costs_the_worker(make: Make, give_up: GiveUp) -> None:
    give_up("LATE_S")
    hypervisor = make("answer;xml=hang/answer")
    ask(hypervisor)
    with pytest.raises(OverdueError):
        hypervisor.describe(("a",), in_seconds(0.05))
    time.sleep(0.5)
    with pytest.raises(OverdueError, match="still reading"):
        hypervisor.describe(("b",), in_seconds(0.05))
    assert hypervisor.workers_killed == 1
    assert len(hypervisor.describe(("b",), in_seconds(STARTED_S))) == 1


def test_late_xml_of_a_worker_that_is_gone_is_waited_for_no_more(make: Make) -> None:
    hypervisor = make("answer,die;xml=hang/answer")
    ask(hypervisor)
    with pytest.raises(OverdueError):
        hypervisor.describe(("a",), in_seconds(0.05))
    with pytest.raises(WorkerDiedError):
        ask(hypervisor)
    assert len(hypervisor.describe(("b",), in_seconds(STARTED_S))) == 1


@pytest.mark.parametrize(
    ("what", "error"),
    [("refuse", RefusedError), ("unreachable", UnreachableError), ("wrong", WorkerDiedError), ("die", WorkerDiedError)],
)
def test_xml_that_cannot_be_had_is_an_error_and_no_outage(
    make: Make, log: Log, what: str, error: type[CollectError]
) -> None:
    hypervisor = make(f"answer;xml={what},answer")
    with pytest.raises(error):
        hypervisor.describe(("a",), in_seconds(STARTED_S))
    assert log.said == []
    assert len(ask(hypervisor)) == 1
