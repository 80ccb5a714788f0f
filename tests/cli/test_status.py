"""``domstat status``, as a person and a script meet it: tables, JSON, exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat, log_of, state
from domstat.deliver.account import JournalAccount, SinkAccount
from domstat.deliver.bounds import Why
from domstat.deliver.courier import State
from domstat.status import Report, Server, StreamAccount
from heard import Log

STREAM = StreamAccount("kvm1", "default", 10.0, 4711, 1_795_385_700_000, 3.2, None, 1, 2, 0, 5, 6, 7)
SINK = SinkAccount(
    name="influx",
    state=State.GOOD,
    received=900,
    written=880,
    rejected=3,
    parts_rejected=0,
    dropped={Why.SIZE: 17},
    pending=0,
    retries=4,
    lag_batches=12,
    lag_s=125.0,
    backlog_bytes=3 << 20,
    write_s=0.012,
    last_error="connection refused",
    last_error_at=0.0,
)
JOURNAL = JournalAccount(12 << 20, 0.0034, 0, 0, None, {})
REPORT = Report(True, (), "0.1.0", 42, 3_725.0, (STREAM,), (SINK,), JOURNAL)


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[Any], str]]:
    """Have a status server give a report; returns its socket."""
    servers: list[Server] = []

    def serve(report: Any) -> str:
        path = tmp_path / f"{len(servers)}.sock"
        servers.append(Server(path, None, lambda: report, Log()))
        servers[-1].start()
        return str(path)

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n')
    return str(path)


# --- what is shown


def test_a_table_says_how_streams_sinks_and_the_journal_are(answering: Callable[[Any], str]) -> None:
    done = domstat("status", "--socket", answering(REPORT), "--format", "table")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    stream = next(line for line in lines if "kvm1" in line)
    assert [cell.strip() for cell in stream.strip("│").split("│")] == [
        "kvm1", "default", "10s", "4711", "3s ago", "ok", "1", "2", "0", "5", "6",
    ]  # fmt: skip
    sink = [cell.strip() for cell in next(line for line in lines if "influx" in line).strip("│").split("│")]
    assert sink[:-1] == ["influx", "good", "12 ticks, 2m 05s", "3.0 MiB", "880", "3", "17", "12 ms"]
    assert sink[-1].endswith("ago: connection refused")
    assert "journal    12 MiB, last commit 3.4 ms" in lines
    assert "agent      domstat 0.1.0, process 42, running for 1h 02m" in lines
    assert lines[-1] == "all is well"


def test_what_is_wrong_is_said_and_is_an_exit_code(answering: Callable[[Any], str]) -> None:
    streams = (
        replace(STREAM, host="down", failing="host-down", ticked_ms=None),
        replace(STREAM, host="late", silent_s=100.0),
        replace(STREAM, host="fresh", ticked_ms=None),
    )
    journal = replace(JOURNAL, failing="No space left on device", strangers={"gone": 7})
    report = replace(REPORT, healthy=False, reasons=("this", "that"), streams=streams, journal=journal)
    done = domstat("status", "--socket", answering(report), "--format", "table")
    assert (done.returncode, done.stderr) == (EXIT_TROUBLE, "")
    states = {
        cells[0]: cells[4:6]
        for cells in ([cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines())
        if cells[0] in {"down", "late", "fresh"}
    }
    assert states == {"down": ["never", "host-down"], "late": ["1m 40s ago", "late"], "fresh": ["never", "waits"]}
    lines = done.stdout.splitlines()
    assert "journal    cannot be written: No space left on device" in lines
    assert "kept       7 records for gone, though it is not configured; see domstat sinks forget" in lines
    assert lines[-2:] == ["trouble    this", "trouble    that"]


def test_json_is_the_report_itself_and_has_the_same_exit_code(answering: Callable[[Any], str]) -> None:
    for report, code in ((REPORT, 0), (replace(REPORT, healthy=False, reasons=("this",)), EXIT_TROUBLE)):
        done = domstat("status", "--socket", answering(report))
        assert (done.returncode, done.stderr) == (code, "")
        assert json.loads(done.stdout) == json.loads(msgspec.json.encode(report))


def test_a_terminal_gets_a_table(answering: Callable[[Any], str]) -> None:
    main, sub = pty.openpty()
    asking = subprocess.Popen([*COMMAND, "status", "--socket", answering(REPORT)], stdin=sub, stdout=sub, stderr=sub)
    assert asking.wait(60) == 0
    os.close(sub)
    assert "all is well" in os.read(main, 65536).decode()
    os.close(main)


@pytest.mark.parametrize("form", ["table", "json"])
def test_nothing_in_a_report_moves_the_cursor(answering: Callable[[Any], str], form: str) -> None:
    evil = "a\x1b[31m\u202eb\x9b\x7f[red]"
    report = replace(
        REPORT,
        reasons=(evil,),
        version=evil,
        streams=(replace(STREAM, host=evil, failing=evil),),
        sinks=(replace(SINK, name=evil, last_error=evil),),
        journal=replace(JOURNAL, failing=evil, strangers={evil: 1}),
    )
    done = domstat("status", "--socket", answering(report), "--format", form, env={"COLUMNS": "400"})
    assert done.stdout.replace("\n", "").isprintable()
    assert "[red]" in done.stdout
    if form == "json":
        assert json.loads(done.stdout) == json.loads(msgspec.json.encode(report))


# --- who answers


def test_without_an_agent_there_is_one_clear_line(config: str, tmp_path: Path) -> None:
    done = domstat("status", "--config", config)
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert done.stderr == f"domstat: no agent runs: there is no socket at {tmp_path}/status.sock\n"


def test_what_is_no_agent_is_said_to_be_none(answering: Callable[[Any], str]) -> None:
    done = domstat("status", "--socket", answering(JOURNAL))
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    (line,) = done.stderr.splitlines()
    assert "of another version, or it is none" in line


def test_a_wrong_configuration_is_a_usage_error(tmp_path: Path) -> None:
    assert domstat("status", "--config", str(tmp_path / "none.toml")).returncode == EXIT_USAGE


def test_a_running_agent_says_that_all_is_well_until_it_ends(config: str) -> None:
    with subprocess.Popen([*COMMAND, "run", "--config", config], stderr=subprocess.PIPE, text=True) as agent:
        next(event for event in log_of(agent) if event == "tick")
        done = domstat("status", "--config", config)
        agent.send_signal(signal.SIGTERM)
    report = json.loads(done.stdout)
    assert (done.returncode, report["healthy"], report["pid"]) == (0, True, agent.pid)
    assert [stream["host"] for stream in report["streams"]] == ["t"]
    assert [sink["name"] for sink in report["sinks"]] == ["sqlite"]
    assert domstat("status", "--config", config).returncode == EXIT_TROUBLE
