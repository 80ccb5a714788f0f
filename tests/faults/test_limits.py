"""Limits that the system sets, and a disk that goes: what the agent does then, and that it goes on afterwards.

A file system that turns read-only under an agent cannot be made (Linux refuses while files are open for writing); what
writing fails with then is in test_kills.py, as errors of each call.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from domstat.deliver.journal import FILE as JOURNAL
from domstat.jsonlines import read_time
from domstat_bench.measure import children
from domstat_sinks.sqlite import connect
from real.conftest import Agent

from .journals import integrity

CONFIG = """
[agent]
state_dir = "{folder}"
interval = "200ms"
[[hosts]]
uri = "test:///default"
name = "lab"
survey = {{ enabled = false }}
[[sinks]]
type = "sqlite"
[[sinks]]
type = "stdout"
format = "json"
"""
"""libvirt's own test driver: what is looked at here has nothing to do with guests. A survey, which would come at any
five minutes, has a worker of its own."""

DISK = "size=64m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root: run ./dev test as root or with sudo")
    mounted = tmp_path / "disk"
    mounted.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{DISK},mode=0700", "none", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Path], Agent]]:
    agents: list[Agent] = []

    def run(folder: Path) -> Agent:
        config = tmp_path / "domstat.toml"
        config.write_text(CONFIG.format(folder=folder))
        agents.append(Agent(config, tmp_path / f"stdout-{len(agents)}.jsonl"))
        return agents[-1]

    yield run
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def times_in(folder: Path) -> set[int]:
    """Give the ticks that the history has, which may be about to be made."""
    try:
        connection = connect(folder / "history.db")
    except FileNotFoundError:
        return set()
    except ValueError as error:
        if "nothing is stored in it yet" in str(error):
            return set()
        raise
    with closing(connection):
        return {time_ms for (time_ms,) in connection.execute("SELECT DISTINCT time_ms FROM samples")}


def written_to(tmp_path: Path) -> set[int]:
    """Give the ticks that the first agent has written to its stdout, without a line that it is just writing."""
    *lines, _ = (tmp_path / "stdout-0.jsonl").read_bytes().split(b"\n")
    return {read_time(json.loads(line)["time"]) for line in lines if b'"kind":"agent"' in line}


def worker_of(agent: Agent) -> int:
    (worker,) = children(agent.process.pid)
    return worker


def test_without_descriptors_a_host_is_lost_and_back_when_there_are_some(
    run: Callable[[Path], Agent], tmp_path: Path
) -> None:
    agent = run(tmp_path / "state")
    agent.wait_ticks(3)
    pid = agent.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    os.kill(worker_of(agent), signal.SIGKILL)
    agent.wait_for(lambda: bool(agent.events("host_lost")), "word of the host that is lost")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    agent.wait_for(lambda: bool(agent.events("host_back")), "word of the host that is back")
    agent.wait_more_ticks(3)
    agent.stop()
    assert agent.process.returncode == 0


def test_a_read_only_file_system_is_said_in_a_line(run: Callable[[Path], Agent], disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    agent = run(disk)
    assert agent.process.wait(60) == 1
    (line,) = (tmp_path / "stdout-0.log").read_text().splitlines()
    assert "Read-only file system" in line
    assert "state_dir" in line


def test_where_the_state_directory_vanishes_the_history_begins_anew_and_no_tick_stops(
    run: Callable[[Path], Agent], tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    agent = run(folder)
    # In the history: a tick that is said in the log may still be on its way there, and then comes to the next one.
    agent.wait_for(lambda: len(times_in(folder)) >= 3, "three ticks stored")
    folder.rename(elsewhere)
    seen = written_to(tmp_path)
    agent.wait_for(lambda: len(written_to(tmp_path) - seen) > 3, "records for who needs no disk")
    collected = written_to(tmp_path)
    agent.wait_for(lambda: max(times_in(folder), default=0) > max(collected), "a history begun anew")
    agent.stop()
    assert agent.process.returncode == 0
    assert integrity(elsewhere / JOURNAL) == "ok"
    assert len(times_in(elsewhere)) >= 3
    assert collected <= times_in(elsewhere) | times_in(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_without_memory_it_may_end_but_nothing_that_was_committed_is_lost(
    run: Callable[[Path], Agent], tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    agent = run(folder)
    agent.wait_ticks(5)
    pid = agent.process.pid
    used_kib = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmSize")
    )
    resource.prlimit(pid, resource.RLIMIT_AS, (used_kib * 1024, resource.RLIM_INFINITY))
    time.sleep(3)
    if agent.process.poll() is None:
        agent.process.kill()
        agent.process.wait()
    assert integrity(folder / JOURNAL) == "ok"
    before = times_in(folder)
    again = run(folder)
    again.wait_ticks(3)
    again.stop()
    assert again.process.returncode == 0
    assert times_in(folder) > before
