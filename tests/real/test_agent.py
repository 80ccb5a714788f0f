"""``domstat run`` and its neighbours as a user meets them, on a real libvirtd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.jsonlines import read_time
from domstat.model import key_of
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import GuestSpec
from domstat_sinks.sqlite import connect

from .conftest import BURNER, NAUGHTY, WRITER, Agent


def domstat(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "domstat.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_once_shows_the_second_tick_with_rates_and_details(lab: PrivateLibvirtd) -> None:
    done = domstat("once", "--uri", lab.uri_ro, "--interval", "3s", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    records = {record["domain"]["name"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert set(records) >= {WRITER.name, BURNER.name, NAUGHTY.name}
    writer = records[WRITER.name]
    assert list(writer)[:6] == ["v", "kind", "time", "host", "collect", "domain"]
    assert writer["labels"] == {"title": WRITER.title}
    assert 2.9 < writer["interval_s"] < 6
    assert writer["rates"]["block.wr.bytes[vda]"] > 10_000
    assert 0.02 < records[BURNER.name]["derived"]["cpu.utilization"] < 1


@pytest.mark.parametrize("shape", ["table", "influx"])
def test_once_shows_every_format(lab: PrivateLibvirtd, shape: str) -> None:
    done = domstat("once", "--uri", lab.uri_ro, "--interval", "500ms", "--format", shape)
    assert (done.returncode, done.stderr) == (0, "")
    assert WRITER.name in done.stdout
    assert "\x9b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_the_history_says_what_the_stream_said(run_agent: Callable[..., Agent], tmp_path: Path) -> None:
    agent = run_agent()
    agent.wait_ticks(6)
    agent.stop()
    records = lines_of(tmp_path / "stdout.jsonl")
    assert len({record["time"] for record in records}) >= 6
    connection = connect(tmp_path / "history.db")
    for record in records:
        at = (read_time(record["time"]), record["domain"]["uuid"])
        for view, said in (("samples", record["params"]), ("rates", record.get("rates", {}))):
            rows = connection.execute(f"SELECT field, device, value FROM {view} WHERE time_ms = ? AND uuid = ?", at)
            assert {key_of(field, device): value for field, device, value in rows} == said
    connection.close()


def test_ticks_fall_on_multiples_of_the_interval(run_agent: Callable[..., Agent], tmp_path: Path) -> None:
    agent = run_agent(interval="1s")
    agent.wait_ticks(4)
    agent.stop()
    late_ms = [read_time(record["time"]) % 1000 for record in lines_of(tmp_path / "stdout.jsonl")]
    # The first may wait for its worker to start; the median tells whether the others are in line.
    assert sorted(late_ms)[len(late_ms) // 2] < 250


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_within_two_seconds(
    run_agent: Callable[..., Agent], tmp_path: Path, number: int
) -> None:
    agent = run_agent()
    agent.wait_ticks(2)
    assert agent.stop(number) < 2
    assert agent.process.returncode == 0
    ticks = len(agent.events("tick"))
    with_history = connect(tmp_path / "history.db")
    (rows,) = with_history.execute("SELECT count(*) FROM head").fetchone()
    assert with_history.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with_history.close()
    assert rows >= ticks


def test_a_signal_ends_the_agent_even_while_a_call_hangs(
    lab: PrivateLibvirtd, victim: GuestSpec, run_agent: Callable[..., Agent]
) -> None:
    agent = run_agent(extra='deadline = "30s"')
    agent.wait_ticks(2)
    hung = lab.qemu_pid(victim.name)
    os.kill(hung, signal.SIGSTOP)
    try:
        ticks = len(agent.events("tick"))
        agent.wait_for(lambda: len(agent.events("tick_skipped")) > 0, "skipped tick")
        assert len(agent.events("tick")) <= ticks + 1
        assert agent.stop() < 2
    finally:
        os.kill(hung, signal.SIGCONT)


def test_a_hung_guest_is_outlived(lab: PrivateLibvirtd, victim: GuestSpec, run_agent: Callable[..., Agent]) -> None:
    agent = run_agent(extra='deadline = "2s"')
    agent.wait_ticks(2)
    hung = lab.qemu_pid(victim.name)
    os.kill(hung, signal.SIGSTOP)
    try:
        agent.wait_for(lambda: len(agent.events("tick_failed")) == 1, "failed tick")
        (failed,) = agent.events("tick_failed")
        assert (failed["reason"], failed["workers_killed"]) == ("deadline", 1)
        agent.wait_for(lambda: any(tick["partial"] == 1 for tick in agent.events("tick")), "partial record")
    finally:
        os.kill(hung, signal.SIGCONT)
    agent.wait_for(lambda: agent.events("tick")[-1]["partial"] == 0, "whole record")
    agent.stop()
    assert [event for event in agent.events() if event["level"] == "error"] == [failed]


def test_a_dead_libvirtd_is_one_line_and_its_return_another(
    lab: PrivateLibvirtd, run_agent: Callable[..., Agent]
) -> None:
    agent = run_agent()
    agent.wait_ticks(2)
    lab.kill()
    agent.wait_for(lambda: len(agent.events("tick_failed")) > 0, "failed tick")
    ticks = len(agent.events("tick"))
    lab.restart()
    agent.wait_for(lambda: len(agent.events("tick")) > ticks + 2, "tick after the outage")
    agent.stop()
    assert [event["reason"] for event in agent.events("tick_failed")] == ["unreachable"]
    assert len(agent.events("collecting_again")) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


def test_a_full_disk_stops_the_history_and_nothing_else(run_agent: Callable[..., Agent], small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    agent = run_agent(sinks=f'[[sinks]]\ntype = "sqlite"\npath = "{small_disk}/history.db"\n')
    agent.wait_ticks(2)
    free = os.statvfs(small_disk)
    ballast.write_bytes(b"\0" * max(0, free.f_bavail * free.f_bsize - 4096))
    agent.wait_for(lambda: len(agent.events("sink_retries")) == 1, "full disk", 60)
    (said,) = agent.events("sink_retries")
    assert "full" in said["error"]
    during = len(agent.events("tick"))
    agent.wait_ticks(during + 3)
    ballast.unlink()
    agent.wait_for(lambda: len(agent.events("sink_recovered")) == 1, "recovery", 60)
    agent.wait_ticks(len(agent.events("tick")) + 2)
    agent.stop()
    connection = connect(small_disk / "history.db")
    (rows,) = connection.execute("SELECT count(*) FROM head").fetchone()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert rows >= len(agent.events("tick"))


def test_history_sql_answers_while_the_agent_writes(run_agent: Callable[..., Agent], tmp_path: Path) -> None:
    agent = run_agent()
    agent.wait_ticks(3)
    query = (
        "SELECT domain, max(value) AS peak FROM rates WHERE field = 'cpu.time' AND domain = 'burner' GROUP BY domain"
    )
    done = domstat("history", "sql", "--config", str(tmp_path / "domstat.toml"), query)
    agent.stop()
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["domain"] == BURNER.name
    assert row["peak"] > 0
