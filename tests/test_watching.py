"""Hosts that are configured anew while they are watched: no tick is missed, and rates go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat.model import Kind
from heard import Log
from reloading import Running, assert_nothing_is_missing, batches, guests, host, running_agent, sink
from test_service import until


@pytest.fixture
def agent(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running_agent(tmp_path, log, monkeypatch) as made:
        yield made


def test_another_host_and_another_sink_are_added_beside_those_that_are_there(agent: Running) -> None:
    worker, courier = agent.worker(), agent.courier()
    told = agent.reload(host() + host("other") + sink() + sink("second", 'target = "b"'))
    assert told == ('host "other" added', 'sink "second" added')
    until(lambda: guests("other", "b"))
    assert (agent.worker(), agent.courier()) == (worker, courier)
    assert_nothing_is_missing(agent)


def test_a_host_that_is_removed_is_not_asked_any_more(agent: Running) -> None:
    agent.reload(host() + host("other") + sink())
    agent.wait_ticks(name="other")
    (gone,) = [agent.watched("other").link.hypervisor]
    assert agent.reload(host() + sink()) == ('host "other" removed',)
    until(lambda: gone.worker_pid is None)
    assert list(agent.service.lines) == ["h/default"]
    agent.wait_ticks()
    assert_nothing_is_missing(agent)


def test_a_changed_interval_leaves_the_worker_and_what_rates_are_taken_against(agent: Running) -> None:
    worker, stream = agent.worker(), agent.watched().streams["default"]
    assert agent.reload(host() + sink(), 'interval = "50ms"') == ('host "h" changed',)
    line = agent.service.lines["h/default"]
    assert line.interval_s == 0.05
    agent.wait_ticks(5)
    assert (agent.worker(), agent.watched().streams["default"]) == (worker, stream)
    assert all(record.interval_s is not None for record in guests()[1:])


def test_another_block_on_the_same_connection_goes_on_from_the_rates_of_the_old(agent: Running) -> None:
    worker, counted = agent.worker(), agent.watched().streams["default"].tally
    agent.reload(host(more='fields = { exclude = ["state.reason"] }') + sink())
    until(lambda: "state.reason" not in guests()[-1].params)
    assert (agent.worker(), agent.watched().streams["default"].tally) == (worker, counted)
    assert all(record.interval_s is not None for record in guests()[1:])
    assert_nothing_is_missing(agent)


def test_a_host_that_is_reached_otherwise_gets_another_worker_and_loses_neither_tick_nor_rate(agent: Running) -> None:
    before, worker = agent.watched().link.hypervisor, agent.worker()
    agent.reload(host(more='labels = { kind = "os/type" }') + sink())
    until(lambda: any(record.labels for record in guests()[-3:]) or before.worker_pid is None)
    agent.wait_ticks()
    until(lambda: before.worker_pid is None)
    assert agent.worker() not in {worker, None}
    assert all(record.interval_s is not None for record in guests()[1:])
    assert_nothing_is_missing(agent)


def test_a_block_more_is_a_stream_more(agent: Running) -> None:
    blocks = '[[hosts.collect]]\ngroups = ["state"]\n[[hosts.collect]]\nname = "b"\ngroups = ["vcpu"]\n'
    worker = agent.worker()
    agent.reload(host(more=blocks) + sink())
    until(lambda: {record.collect for record in guests()} == {"default", "b"})
    assert agent.worker() == worker
    agent.reload(host() + sink())
    assert list(agent.service.lines) == ["h/default"]


def test_a_survey_is_begun_retimed_and_ended(agent: Running) -> None:
    surveyed = '[[hosts]]\nuri = "test:///default"\nname = "h"\nsurvey = { interval = "INTERVAL" }\n'
    agent.reload(surveyed.replace("INTERVAL", "1s") + sink())
    survey = agent.watched().survey
    until(lambda: any(one.kind is Kind.POOL for batch in batches() for one in batch.records))
    agent.reload(surveyed.replace("INTERVAL", "2s") + sink())
    assert agent.watched().survey is survey
    assert agent.service.lines["h/survey"].interval_s == 2
    agent.reload(host() + sink())
    assert list(agent.service.lines) == ["h/default"]
