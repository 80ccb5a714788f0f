"""``domstat sinks forget``: whom it forgets, and whom it does not."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat, log_of, state
from domstat.deliver.codec import pack
from domstat.deliver.journal import FILE, Entry, Journal
from domstat.deliver.outside import kept_for_sinks
from domstat.deliver.position import Position
from records import batch


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n')
    return str(path)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Make a journal of two ticks, for a sink that is configured and for one that is not."""
    made = Journal(tmp_path / FILE)
    rows = [Entry(number, ("kvm1", "default"), number, 1, pack(batch())) for number in (1, 2)]
    made.append(rows, {"sqlite": Position(1), "old\x1b": Position(0)})
    made.close()
    return made.path


def test_a_sink_that_is_gone_is_forgotten_with_what_was_kept_for_it(config: str, journal: Path) -> None:
    done = domstat("sinks", "forget", "old\x1b", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'forgot the sink "old\\x1b"; 2 records were kept for it\n'
    assert kept_for_sinks(journal) == {"sqlite": 1}


def test_one_that_is_not_known_is_told_who_is(config: str, journal: Path) -> None:
    done = domstat("sinks", "forget", "odl", "--config", config)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert done.stderr == 'domstat: the journal knows no sink "odl" (there are: old\\x1b, sqlite)\n'


def test_one_that_is_configured_is_forgotten_only_if_that_is_meant(config: str, journal: Path) -> None:
    done = domstat("sinks", "forget", "sqlite", "--config", config)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "is configured, and it would never get the 1 records that are kept for it; say --yes" in done.stderr
    assert kept_for_sinks(journal).keys() == {"sqlite", "old\x1b"}
    assert domstat("sinks", "forget", "sqlite", "--yes", "--config", config).returncode == 0
    assert kept_for_sinks(journal).keys() == {"old\x1b"}


def test_while_an_agent_runs_nobody_is_forgotten(config: str, journal: Path) -> None:
    with subprocess.Popen([*COMMAND, "run", "--config", config], stderr=subprocess.PIPE, text=True) as agent:
        next(event for event in log_of(agent) if event == "agent_started")
        done = domstat("sinks", "forget", "old\x1b", "--config", config)
        agent.send_signal(signal.SIGTERM)
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert done.stderr == f"domstat: an agent is running (process {agent.pid}); stop it first\n"
    assert "old\x1b" in kept_for_sinks(journal)


@pytest.mark.parametrize("there", [True, False])
def test_where_there_is_no_journal_none_is_made(config: str, tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "state"
    if there:
        folder.mkdir(mode=0o700)
    path = Path(config)
    path.write_text(path.read_text().replace(str(tmp_path), str(folder)))
    done = domstat("sinks", "forget", "old", "--config", config)
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert "there is no journal yet" in done.stderr
    assert folder.exists() == there
    assert not (folder / FILE).exists()
