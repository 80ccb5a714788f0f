"""``domstat history import``, as somebody meets it who has JSON lines and a history."""

from __future__ import annotations

import os
import pty
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat
from domstat import jsonlines
from domstat.model import Batch, stamp_of
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import TIME_MS, event_record, gap_record, guest_record, host_record

Import = Callable[..., "subprocess.CompletedProcess[str]"]


def tick(number: int) -> Batch:
    """Make a tick, 10 s after the one before, of a host and a guest."""
    time_ms = TIME_MS + 10_000 * number
    guest = guest_record(time_ms=time_ms, extra={"cpu.time": number * 5 * 10**9})
    records = (host_record(time_ms=time_ms), guest)
    return Batch(host="kvm1", collect="default", stamp=stamp_of(time_ms), records=records)


def lines(*batches: Batch) -> bytes:
    return b"".join(jsonlines.encode(batch.records) for batch in batches)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[[sinks]]\ntype = "sqlite"\n')
    return str(path)


@pytest.fixture
def importing(config: str) -> Import:
    return lambda *arguments: domstat("history", "import", *arguments, "--config", config)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(content: bytes, name: str = "records.jsonl") -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def ask(tmp_path: Path, query: str) -> list[tuple[object, ...]]:
    reader = connect(tmp_path / "history.db")
    try:
        return reader.execute(query).fetchall()
    finally:
        reader.close()


def cpu_times(tmp_path: Path) -> list[object]:
    return [value for (value,) in ask(tmp_path, "SELECT value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms")]


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> list[str]:
    assert done.returncode == code, done.stderr
    return done.stderr.splitlines()


def test_lines_are_in_the_history_once_however_often_they_come(
    importing: Import, file: Callable[..., str], tmp_path: Path
) -> None:
    source = file(lines(*(tick(i) for i in range(9))))
    for _ in range(2):
        assert said(importing(source)) == ['domstat: imported 18 records of 9 batches into "sqlite"']
    assert cpu_times(tmp_path) == [i * 5 * 10**9 for i in range(9)]
    ((rate, count),) = ask(tmp_path, "SELECT avg(value), count(*) FROM rates WHERE field = 'cpu.time'")
    assert (rate, count) == (0.5, 8)


def test_events_and_gaps_come_too(importing: Import, file: Callable[..., str], tmp_path: Path) -> None:
    importing(file(jsonlines.encode([event_record(), gap_record()])))
    assert ask(tmp_path, "SELECT count(*) FROM events") == [(1,)]
    assert ask(tmp_path, "SELECT count(*) FROM gaps") == [(1,)]


def test_what_is_long_enough_is_sealed_and_rolled_up_when_it_ends(
    importing: Import, file: Callable[..., str], tmp_path: Path
) -> None:
    importing(file(lines(*(tick(i) for i in range(1200)))))
    plain = sqlite3.connect(tmp_path / "history.db")
    ((sealed,),) = plain.execute("SELECT sum(ticks) FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = 0")
    plain.close()
    assert sealed >= 2 * 384
    ((increase,),) = ask(tmp_path, "SELECT sum(increase) FROM hourly WHERE field = 'cpu.time'")
    assert isinstance(increase, int)
    assert increase >= 3600 * 10**9 // 2
    assert len(cpu_times(tmp_path)) == 1200
    assert domstat("history", "verify", "--config", str(tmp_path / "domstat.toml")).returncode == 0


def test_a_bad_line_is_named_and_the_others_come(importing: Import, file: Callable[..., str], tmp_path: Path) -> None:
    source = file(lines(tick(0)) + b"nonsense\n" + lines(tick(1)))
    first, last = said(importing(source), EXIT_TROUBLE)
    assert first.startswith(f"domstat: {source}:3: not a domstat record")
    assert last == 'domstat: imported 4 records of 2 batches into "sqlite"; 1 could not be read'
    assert len(cpu_times(tmp_path)) == 2


def test_several_files_a_host_and_a_span_can_be_chosen(
    importing: Import, file: Callable[..., str], tmp_path: Path
) -> None:
    files = [file(lines(tick(i)), f"{i}.jsonl") for i in range(4)]
    since, until = jsonlines.write_time(TIME_MS + 10_000), jsonlines.write_time(TIME_MS + 30_000)
    importing(*files, "--since", since, "--until", until, "--host", "kvm1")
    assert cpu_times(tmp_path) == [5 * 10**9, 10 * 10**9]
    assert said(importing(*files, "--host", "kvm2")) == ['domstat: imported 0 records of 0 batches into "sqlite"']


def test_standard_input_is_read(config: str, tmp_path: Path) -> None:
    command = [*COMMAND, "history", "import", "-", "--config", config]
    subprocess.run(command, input=lines(tick(0), tick(1)), capture_output=True, check=True, timeout=180)
    assert len(cpu_times(tmp_path)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl: there is no such file"),
        (("/",), "/: is a directory"),
        (("-", "-"), "standard input can be read only once"),
        (("-", "--sink", "nobody"), 'no sink "nobody" with a history'),
        (("-", "--since", "1h", "--until", "2h"), '--until: found "2h", expected a time after --since'),
    ],
)
def test_what_is_wrong_with_the_command_is_said(importing: Import, arguments: tuple[str, ...], message: str) -> None:
    done = importing(*arguments)
    assert done.returncode == EXIT_USAGE
    assert message in done.stderr


def test_a_history_is_not_taken_for_json_lines(importing: Import, file: Callable[..., str], tmp_path: Path) -> None:
    importing(file(lines(tick(0))))
    (first, _) = said(importing(str(tmp_path / "history.db")), EXIT_TROUBLE)
    assert "is an SQLite file" in first


def test_a_history_that_somebody_writes_is_left_to_them_and_that_is_all_that_is_said(
    importing: Import, file: Callable[..., str], tmp_path: Path
) -> None:
    writer = SqliteSink(SqliteSettings())
    writer.open(SinkContext("history", tmp_path, Log(), lambda _record, _reason: None))
    (line,) = said(importing(file(lines(tick(0)))), EXIT_TROUBLE)
    writer.close()
    assert f"{tmp_path}/history.db is being written by another sink or agent; stop that one" in line


def test_an_import_that_is_interrupted_goes_on_when_it_is_begun_anew(
    config: str, importing: Import, file: Callable[..., str], tmp_path: Path
) -> None:
    command = [*COMMAND, "history", "import", "-", "--config", config]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as going:
        assert going.stdin
        assert going.stderr
        going.stdin.write(lines(*(tick(i) for i in range(1500))))
        going.stdin.flush()
        while not (tmp_path / "history.db-wal").exists():
            assert going.poll() is None
        going.send_signal(signal.SIGINT)
        last = going.stderr.read()
    assert going.returncode == 130
    assert b"domstat: imported" in last
    importing(file(lines(*(tick(i) for i in range(1500)))))
    assert len(cpu_times(tmp_path)) == 1500


def test_on_a_terminal_it_says_how_far_it_is(config: str, file: Callable[..., str]) -> None:
    main, sub = pty.openpty()
    command = [*COMMAND, "history", "import", file(lines(*(tick(i) for i in range(50)))), "--config", config]
    with subprocess.Popen(command, stderr=sub, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}) as going:
        os.close(sub)
        shown = b""
        while piece := read(main):
            shown += piece
    os.close(main)
    assert going.returncode == 0
    assert b"records.jsonl" in shown
    assert b"100%" in shown
    assert b"imported 100 records of 50 batches" in shown


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other side has gone
        return b""
