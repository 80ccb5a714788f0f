"""``domstat history``, as somebody meets it who has a history: lists, values, charts, copies, exit codes."""

from __future__ import annotations

import csv
import json
import math
import os
import pty
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat
from domstat.model import Batch, Stamp
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import TIME_MS, guest_record, host_record

SECOND_NS = 10**9
START_MS = TIME_MS // 3_600_000 * 3_600_000  # 2026-11-22T22:00:00Z
START = "2026-11-22T22:00:00Z"

Ask = Callable[..., "subprocess.CompletedProcess[str]"]


def write(folder: Path, *batches: Batch) -> None:
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", folder, Log(), lambda _record, _reason: None))
    sink.write(batches)
    sink.close()


def tick(time_ms: int, busy_s: float, name: str = "web-1") -> Batch:
    """Make a tick of a host and a guest that has used so many CPU seconds."""
    extra = {"cpu.time": int(busy_s * SECOND_NS), "balloon.usable": 1024}
    records = (host_record(time_ms=time_ms), guest_record(name, time_ms=time_ms, extra=extra))
    return Batch(host="kvm1", collect="default", stamp=Stamp(time_ms, time_ms * 1_000_000, "boot", 0), records=records)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[[sinks]]\ntype = "sqlite"\n')
    return str(path)


@pytest.fixture
def ask(config: str) -> Ask:
    return lambda *arguments: domstat("history", *arguments, "--config", config)


@pytest.fixture
def ask_in_berlin(config: str) -> Ask:
    """Ask by an interpreter of its own: where it is and how wide its terminal it finds out when it starts."""

    def ask(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "history", *arguments, "--config", config]
        around = {**os.environ, "TZ": "Europe/Berlin", "COLUMNS": "150", **env}
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=around)

    return ask


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rates_of_steps_come_as_json_lines_with_all_that_they_are(ask: Ask, tmp_path: Path) -> None:
    # Fewer ticks than are sealed at once, or a quick machine may have done so by now.
    write(tmp_path, *(tick(START_MS + i * 20_000, i * 10) for i in range(31)))
    done = ask("read", "--guest", "web-1", "--field", "cpu.time", "--rate", "--since", START, "--step", "5m")
    lines = lines_of(done)
    assert [line["time_ms"] for line in lines] == [START_MS, START_MS + 300_000, START_MS + 600_000]
    assert {line["value"] for line in lines} == {0.5}
    assert {**lines[0], "time_ms": 0, "uuid": ""} == {
        "time_ms": 0,
        "host": "kvm1",
        "collect": "default",
        "kind": "guest",
        "uuid": "",
        "domain": "web-1",
        "pool": None,
        "field": "cpu.time",
        "device": None,
        "value": 0.5,
        "unit": "seconds",
        "scale": 1.0,
        "per_second": True,
        "tier": "raw",
    }


def test_csv_has_the_values_as_they_are_stored_and_a_table_has_them_in_base_units(
    ask_in_berlin: Ask, tmp_path: Path
) -> None:
    write(tmp_path, tick(START_MS, 0))
    wanted = ("read", "-g", "web-1", "-f", "balloon.usable")
    (row,) = csv.DictReader(ask_in_berlin(*wanted, "--format", "csv").stdout.splitlines())
    assert (row["value"], row["unit"], row["scale"]) == ("1024", "bytes", "1024.0")
    table = ask_in_berlin(*wanted, "--format", "table").stdout
    assert "1048576" in table
    assert "2026-11-22 23:00:00 CET" in table


def test_devices_hosts_kinds_and_aggregates_can_be_chosen(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0), tick(START_MS + 10_000, 1))
    found = lines_of(ask("read", "-f", "block.*.bytes", "--device", "vda", "--step", "1h", "--aggregate", "count"))
    assert [(line["field"], line["device"], line["value"]) for line in found] == [
        ("block.rd.bytes", "vda", 2),
        ("block.wr.bytes", "vda", 2),
    ]
    found = lines_of(
        ask("read", "--kind", "host", "--host", "kvm*", "-f", "host.cpus", "--until", "2027-01-01T00:00:00Z")
    )
    assert [line["value"] for line in found] == [16, 16]


def test_what_is_not_there_is_said_with_what_to_do(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    done = ask("read", "--guest", "nobody")
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert "no such series has a value in this span" in done.stderr
    assert "domstat history list" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("read", "--since", "yesterday"), '--since: found "yesterday", expected a time such as'),
        (("read", "--since", "1h", "--until", "2h"), '--until: found "2h", expected a time after --since'),
        (("plot", "--step", "5 parsecs"), '--step: found "5 parsecs", expected a duration'),
        (("read", "--step", "0.1ms"), "expected a millisecond or more"),
        (("read", "--kind", "event"), '--kind: found "event", expected guest, host, pool or agent'),
        (("info", "--format", "csv"), "--format: found csv, expected table or json"),
    ],
)
def test_what_cannot_be_meant_is_refused(ask: Ask, arguments: tuple[str, ...], message: str) -> None:
    done = ask(*arguments)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert message in done.stderr


def test_an_increase_of_a_rate_is_refused_by_the_history(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    done = ask("read", "--rate", "--aggregate", "increase")
    assert done.returncode == EXIT_TROUBLE
    assert "an increase is of a counter, not of its rate" in done.stderr


def test_damage_is_told_once_and_is_an_exit_code(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, *(tick(START_MS + i * 10_000, i) for i in range(3)))
    vandal = sqlite3.connect(tmp_path / "history.db")
    vandal.execute("UPDATE head SET blob = CAST(x'00' || substr(blob, 2) AS BLOB) WHERE id = 2")
    vandal.commit()
    vandal.close()
    done = ask("read", "-g", "web-1", "-f", "vcpu.*")
    assert done.returncode == EXIT_TROUBLE
    assert done.stderr.splitlines() == ["domstat: head row 2 is damaged: its checksum is wrong"]
    assert {json.loads(line)["time_ms"] for line in done.stdout.splitlines()} == {START_MS, START_MS + 20_000}


def test_guests_are_listed_with_where_and_when_they_were_seen(ask: Ask, ask_in_berlin: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0), tick(START_MS + 10_000, 1))
    (guest,) = lines_of(ask("list"))
    assert {**guest, "uuid": ""} == {
        "domain": "web-1",
        "uuid": "",
        "hosts": ["kvm1"],
        "first_ms": START_MS,
        "last_ms": START_MS + 10_000,
        "ticks": 2,
    }
    table = ask_in_berlin("list", "--format", "table").stdout
    assert "2026-11-22 23:00" in table
    assert str(guest["uuid"]) in table
    assert lines_of(ask("list", "--until", START)) == []


def test_fields_are_listed_with_their_kinds_and_units(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    found = {line["field"]: line for line in lines_of(ask("list", "--fields"))}
    assert found["cpu.time"] == {"field": "cpu.time", "kind": "counter", "unit": "seconds", "scale": 1e-9}
    assert found["host.version.libvirt"]["kind"] == "text"


def test_names_cannot_write_on_the_terminal(ask_in_berlin: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0, "web\x1b[2J"), tick(START_MS + 10_000, 1, "web\x1b[2J"))
    for arguments in (("list",), ("read", "-f", "cpu.time", "--rate")):
        done = ask_in_berlin(*arguments, "--format", "table")
        assert "\x1b" not in done.stdout
        assert r"web\x1b[2J" in done.stdout
    assert r"web\x1b[2J" in ask_in_berlin("plot", "-f", "cpu.time", "--since", START).stdout


def test_a_guests_day_is_drawn_in_eighty_columns(ask_in_berlin: Ask, tmp_path: Path) -> None:
    start_ms = START_MS + 3_600_000  # midnight in Berlin
    day = [0.5 + 0.4 * math.sin(i / 1440 * 2 * math.pi) for i in range(1440)]
    write(tmp_path, *(tick(start_ms + i * 60_000, 60 * sum(day[: i + 1])) for i in range(1440)))
    span = ("--since", "2026-11-22T23:00:00Z", "--until", "2026-11-23T23:00:00Z")
    done = ask_in_berlin("plot", "-g", "web-1", "-f", "cpu.time", *span, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    drawn = done.stdout.splitlines()
    assert drawn[0] == "web-1 on kvm1: cpu.time, seconds per second (mean of 10m)"
    assert drawn[1].split()[:2] == ["min", "0.1"]
    assert max(map(len, drawn)) == 80
    assert [text[:11].strip() for text in drawn if "┤" in text] == ["1", "0.75", "0.5", "0.25", "0"]
    assert drawn[-2].split() == ["23", "Nov", "06:00", "12:00", "18:00"]
    assert drawn[-1].strip() == "Mon 23 Nov 2026 00:00:00 to Tue 24 Nov 2026 00:00:00 CET"
    dotted = [[x for x, c in enumerate(text[12:]) if c > "\u2800"] for text in drawn[2:-3]]
    top, bottom = (max(rows, key=len) for rows in (dotted[:3], dotted[-3:]))
    assert max(top) < 34 < min(bottom), "the morning is busy, the evening is not"


def test_several_series_have_a_panel_each_and_too_many_are_said_to_be_so(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, *(tick(START_MS + i * 10_000, i) for i in range(3)))
    two = ask("plot", "-g", "web-1", "-f", "cpu.time", "-f", "vcpu.current", "--since", START)
    titles = [line for line in two.stdout.splitlines() if line.startswith("web-1")]
    assert titles == [
        "web-1 on kvm1: cpu.time, seconds per second (every sample)",
        "web-1 on kvm1: vcpu.current (every sample)",
    ]
    done = ask("plot", "-g", "web-1", "--since", START)
    assert done.returncode == 0
    assert "only the first 12 series; choose with" in done.stderr
    assert sum(line.startswith("web-1") for line in done.stdout.splitlines()) == 12


def test_a_chart_of_nothing_is_said_to_be_so(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    done = ask("plot", "--rate", "--since", START)
    assert done.returncode == EXIT_TROUBLE
    assert "no such counter has a value" in done.stderr


def test_a_terminal_that_shows_no_dots_is_told_so(ask_in_berlin: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    done = ask_in_berlin("plot", "--since", START, PYTHONIOENCODING="ascii")
    assert done.returncode == EXIT_TROUBLE
    assert "only UTF-8 has" in done.stderr


def test_info_says_what_there_is_and_how_large(ask: Ask, ask_in_berlin: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0), tick(START_MS + 10_000, 1))
    (found,) = lines_of(ask("info"))
    assert found["ticks"] == 2
    assert found["file_bytes"] == (tmp_path / "history.db").stat().st_size
    table = ask_in_berlin("info", "--format", "table").stdout
    assert f"values    {found['values']} in 2 ticks" in table
    assert "kvm1/default: 2 ticks from 2026-11-22 23:00:00 CET" in table


def test_on_a_terminal_there_is_a_table(config: str, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    main, sub = pty.openpty()
    asking = subprocess.Popen([*COMMAND, "history", "info", "--config", config], stdin=sub, stdout=sub, stderr=sub)
    os.close(sub)
    shown = b""
    until = time.monotonic() + 20
    while b"kvm1/default" not in shown and time.monotonic() < until:
        shown += os.read(main, 65536)
    assert asking.wait(10) == 0
    os.close(main)
    assert b"tiers" in shown


def test_a_snapshot_answers_as_the_history_does(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path, tick(START_MS, 0))
    copies = tmp_path / "copies"
    copies.mkdir()
    done = ask("snapshot", str(copies / "history.db"))
    assert done.returncode == 0
    assert "history.db: " in done.stderr
    (copies / "domstat.toml").write_text(f'[[sinks]]\ntype = "sqlite"\npath = "{copies / "history.db"}"\n')
    of_copy = domstat("history", "list", "--config", str(copies / "domstat.toml"))
    assert of_copy.stdout == ask("list").stdout
    again = ask("snapshot", str(copies / "history.db"))
    assert again.returncode == EXIT_TROUBLE
    assert "is there already" in again.stderr
