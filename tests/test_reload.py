"""A running agent that reads its configuration again: what is right is applied, what is wrong is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from domstat import telemetry
from heard import Log
from reloading import Running, Store, assert_nothing_is_missing, host, running_agent, sink, use_store
from test_service import running


@pytest.fixture
def agent(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running_agent(tmp_path, log, monkeypatch) as made:
        yield made


def test_what_did_not_change_is_not_touched(agent: Running) -> None:
    worker, courier, line = agent.worker(), agent.courier(), agent.service.lines["h/default"]
    assert agent.reload(host() + sink()) == ()
    agent.wait_ticks()
    assert (agent.worker(), agent.courier(), agent.service.lines["h/default"]) == (worker, courier, line)
    assert worker is not None
    assert Store.opened == ["a"]


def test_bounds_of_the_journal_and_the_log_level_are_applied(agent: Running) -> None:
    level = logging.getLogger("apscheduler").level
    try:
        changed = agent.reload(host() + sink() + '[journal]\nmax_bytes = "8MiB"\n', 'log_level = "error"')
        assert changed == ("agent.log_level changed", "journal changed")
        assert agent.service._spool._trimmer.limits.bytes == 8 << 20
    finally:
        structlog.reset_defaults()
        logging.getLogger("apscheduler").setLevel(level)


def test_a_report_is_scheduled_and_no_more(agent: Running) -> None:
    agent.reload(host() + sink() + '[report]\nschedule = "0 6 * * *"\n')
    assert "agent/capacity" in agent.service._schedule._jobs
    agent.reload(host() + sink())
    assert "agent/capacity" not in agent.service._schedule._jobs


def test_a_level_that_is_set_counts_for_loggers_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("apscheduler").level
    try:
        telemetry.configure("error")
        log = telemetry.get_logger().bind(host="h")
        log.info("before")
        telemetry.set_level("debug")
        log.debug("after")
        telemetry.set_level("error")
        log.warning("again")
    finally:
        structlog.reset_defaults()
        logging.getLogger("apscheduler").setLevel(level)
    assert [word in capsys.readouterr().err for word in ("after",)] == [True]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tables": "[[hosts"}, "domstat.toml: is not TOML"),
    ({"tables": host() + sink(), "agent": 'interval = "often"'}, "agent.interval"),
    ({"tables": host() + host() + sink()}, "which another host has"),
    ({"tables": host(), "head": "sinks = []\n"}, "sinks: found an empty list"),
    ({"tables": host() + sink(), "state_dir": Path("/var/lib/other")}, "agent.state_dir: found"),
    ({"tables": host() + sink(), "agent": 'status_socket = "other.sock"'}, "agent.status_socket: found"),
]


@pytest.mark.parametrize(("what", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_what_cannot_be_is_refused_with_its_line_and_the_old_goes_on(
    agent: Running, what: dict[str, Any], line: str
) -> None:
    told = agent.reload(**what)
    assert line in told[0]
    assert agent.log.facts("configuration_refused")["problem"] == told[0]
    assert not agent.service._reporter.report().healthy
    agent.wait_ticks()
    assert_nothing_is_missing(agent)


def test_a_file_that_is_mended_is_all_well_again(agent: Running) -> None:
    agent.reload("[[hosts")
    assert agent.reload(host() + sink()) == ()
    assert agent.service._reporter.report().reloads.refused == ()


def test_a_reload_while_it_stops_does_not_keep_it(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(monkeypatch)
    made = Running(tmp_path, log)
    with running(made.service):
        made.wait_ticks()
        made.write(host() + host("other") + sink(more='target = "b"'))
        made.service.reload()
        made.service.stop()
    assert "agent_stopped" in log.events()
