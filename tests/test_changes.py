"""Two configurations beside each other: what is said to differ, and what a running agent cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat import config
from domstat.changes import between, lacks, obstacles
from domstat.config import Config

HOST = '[[hosts]]\nuri = "test:///default"\nname = "h"\n'
SINK = '[[sinks]]\ntype = "sqlite"\nname = "s"\n'


def parsed(tables: str = HOST + SINK, agent: str = "", state_dir: Path = Path("/var/lib/domstat")) -> Config:
    return config.parse(f'[agent]\nstate_dir = "{state_dir}"\n{agent}\n{tables}')


def test_nothing_is_said_of_what_is_the_same() -> None:
    assert between(parsed(), parsed()).lines == ()
    assert list(obstacles(parsed(), parsed())) == []


@pytest.mark.parametrize(
    ("tables", "lines"),
    [
        (HOST + HOST.replace('"h"', '"b"') + SINK, ('host "b" added',)),
        (HOST.replace('"h"', '"b"') + SINK, ('host "b" added', 'host "h" removed')),
        (HOST + 'plan = "full"\n' + SINK, ('host "h" changed',)),
        (HOST + SINK + SINK.replace('"s"', '"t"') + 'path = "t.db"\n', ('sink "t" added',)),
        (HOST + SINK + "batch = 4\n", ('sink "s" changed',)),
        (HOST + SINK.replace('"sqlite"', '"stdout"'), ('sink "s" changed',)),
        (HOST + SINK + '[journal]\nkeep = "2h"\n', ("journal changed",)),
        (HOST + SINK + "[report]\nkeep = 3\n", ("report changed",)),
    ],
)
def test_what_differs_is_named(tables: str, lines: tuple[str, ...]) -> None:
    assert between(parsed(), parsed(tables)).lines == lines


def test_the_agents_interval_is_that_of_every_host_that_has_none() -> None:
    own = '[[hosts.collect]]\ngroups = ["state"]\ninterval = "5s"\n'
    tables = HOST + HOST.replace('"h"', '"own"') + own + SINK
    assert between(parsed(tables), parsed(tables, 'interval = "20s"')).lines == ('host "h" changed',)


def test_the_log_level_is_changed_as_it_runs() -> None:
    assert between(parsed(), parsed(agent='log_level = "debug"')).lines == ("agent.log_level changed",)


@pytest.mark.parametrize(
    ("new", "key"),
    [
        ({"state_dir": Path("/srv/domstat")}, "agent.state_dir"),
        ({"agent": 'status_socket = "/run/other.sock"'}, "agent.status_socket"),
    ],
)
def test_what_only_a_start_can_change_is_an_obstacle(new: dict[str, object], key: str) -> None:
    (problem,) = obstacles(parsed(), parsed(**new))  # type: ignore[arg-type]
    assert str(problem).startswith(f"{key}: found ")
    assert "while the agent runs: start it anew" in str(problem)


def test_the_group_that_may_ask_is_fixed_too() -> None:
    keys = [str(problem).partition(":")[0] for problem in obstacles(parsed(), parsed(agent='status_group = "adm"'))]
    assert keys == ["agent.status_socket", "agent.status_group"]


def test_an_agent_without_sinks_would_keep_nothing() -> None:
    none = config.parse("sinks = []\n")
    assert [str(problem) for problem in lacks(none)] == [
        "sinks: found an empty list; nothing that is collected would be kept"
    ]
    assert list(lacks(parsed())) == []
