"""Sinks that are configured anew while batches come: every batch goes to somebody, once and in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.deliver.courier import State
from domstat.sink import Fatal, SinkContext
from heard import Log
from reloading import (
    PATIENCE_S,
    Running,
    Store,
    assert_nothing_is_missing,
    batches,
    guests,
    host,
    running_agent,
    sink,
)
from test_service import until


@pytest.fixture
def agent(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running_agent(tmp_path, log, monkeypatch) as made:
        yield made


def test_a_sink_that_is_removed_keeps_its_place(agent: Running) -> None:
    agent.reload(host() + sink() + sink("second", 'target = "b"'))
    until(lambda: batches("b"))
    assert agent.reload(host() + sink()) == ('sink "second" removed',)
    assert Store.closed == ["b"]
    assert "second" in agent.service._spool.strangers()
    assert agent.log.facts("sink_not_configured")["sink"] == "second"
    agent.wait_ticks()
    agent.reload(host() + sink() + sink("second", 'target = "b"'))
    first = min(batch.stamp.time_ms for batch in batches("b"))
    agent.wait_ticks()
    until(lambda: len(guests(target="b")) >= len([one for one in guests(target="a") if one.time_ms >= first]) - 1)
    stored = [record.time_ms for record in guests(target="b")]
    assert stored == sorted(set(stored)), "all that came meanwhile, in order, and nothing twice"


def test_a_sink_with_other_settings_goes_on_where_the_old_one_was(agent: Running) -> None:
    assert agent.reload(host() + sink(more='target = "b"')) == ('sink "s" changed',)
    until(lambda: len(guests(target="b")) >= 3)
    assert Store.opened == ["a", "b"]
    assert Store.closed == ["a"]
    stored = [record.time_ms for record in [*guests(target="a"), *guests(target="b")]]
    assert stored == sorted(set(stored)), "everything once, in order"
    assert_nothing_is_missing(agent)


def test_what_is_not_the_sinks_own_changes_under_it(agent: Running) -> None:
    courier = agent.courier()
    agent.reload(host() + sink(more="batch = 2"))
    assert agent.courier() is courier
    assert courier._outlet.batches == 2


def hanging(target: str) -> tuple[threading.Event, threading.Event, Callable[[str], None]]:
    """Make what hangs in a write to *target*: until the first event is set; the second says that it does."""
    let_go, hangs = threading.Event(), threading.Event()

    def hang(written: str) -> None:
        if written == target:
            hangs.set()
            let_go.wait()

    return let_go, hangs, hang


def test_a_sink_that_hangs_as_it_goes_has_what_it_held_come_again(
    agent: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domstat.carrying.LEAVE_S", 0.2)
    let_go, hangs, hang = hanging("a")

    Store.before_write = staticmethod(hang)
    assert hangs.wait(PATIENCE_S)
    agent.reload(host() + sink(more='target = "b"'))
    assert agent.log.facts("sink_hangs_at_leaving")["sink"] == "s"
    until(lambda: len(batches("b")) >= 3)
    have = {record.time_ms for record in guests(target="b")}
    let_go.set()
    until(lambda: Store.closed == ["a"])
    late = {record.time_ms for record in guests(target="a")}
    assert late & have, "it stored after all what the other one has got since"
    agent.wait_ticks()
    stored = [record.time_ms for record in guests(target="b")]
    assert stored == sorted(set(stored))
    assert_nothing_is_missing(agent)


def test_a_sink_that_no_retry_could_help_is_tried_again(agent: Running) -> None:
    well = threading.Event()

    def refuse(_target: str) -> None:
        if not well.is_set():
            raise Fatal("a wrong token")

    agent.reload(host() + sink() + sink("second", 'target = "b"'))
    Store.before_write = staticmethod(lambda target: refuse(target) if target == "b" else None)
    until(lambda: agent.courier("second").ended is not None)
    well.set()
    agent.reload(host() + sink() + sink("second", 'target = "b"'))
    assert agent.courier("second").ended is None
    agent.wait_ticks()
    until(lambda: agent.courier("second").pending < 10)


def test_what_a_sink_holds_that_hangs_as_it_goes_is_waited_for_and_no_reason_to_stop(
    agent: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domstat.carrying.LEAVE_S", 0.2)
    let_go, hangs, hang = hanging("a")

    def open_locked(store: Store, _context: SinkContext) -> None:
        if "a" not in Store.closed:
            raise Fatal("it is being written by another sink")
        Store.opened.append(store._target)

    Store.before_write = staticmethod(hang)
    assert hangs.wait(PATIENCE_S)
    monkeypatch.setattr(Store, "open", open_locked)
    agent.reload(host() + sink(more='target = "b"'))
    until(lambda: "being written" in agent.courier().last_error)
    assert agent.courier().ended is None
    let_go.set()
    until(lambda: len(batches("b")) >= 3)
    assert Store.opened == ["a", "b"]
    assert_nothing_is_missing(agent)


def test_what_somebody_else_holds_stops_a_sink(agent: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_store: Store, _context: SinkContext) -> None:
        raise Fatal("it is being written by another agent")

    monkeypatch.setattr(Store, "open", refuse)
    agent.reload(host() + sink() + sink("second", 'target = "b"'))
    until(lambda: agent.courier("second").ended is not None)
    assert agent.courier("second").state is State.STOPPED
