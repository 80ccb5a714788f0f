"""``domstat replay``, as somebody meets it who has records and a sink: sources, refusals, counts, exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat, log_of
from domstat import jsonlines
from domstat.deliver.codec import pack
from domstat.deliver.journal import FILE, Entry, Journal
from domstat.model import Batch, Stamp
from records import TIME_MS, batch, event_record, gap_record, guest_record, host_record

SQLITE_A = '[[sinks]]\ntype = "sqlite"\nname = "a"\npath = "a.db"\n'
SQLITE_B = '[[sinks]]\ntype = "sqlite"\nname = "b"\npath = "b.db"\n'
STDOUT = '[[sinks]]\ntype = "stdout"\nname = "out"\nformat = "json"\n'


def ticks(count: int, host: str = "kvm1") -> list[Batch]:
    """Return ticks 10 s apart, of a host and one of its guests."""
    found = []
    for i in range(count):
        time_ms = TIME_MS + 10_000 * i
        records = (
            host_record(time_ms=time_ms, host=host),
            guest_record(time_ms=time_ms, host=host, extra={"cpu.time": i * 5 * 10**9}),
        )
        stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
        found.append(Batch(host=host, collect="default", stamp=stamp, records=records))
    return found


def lines(*batches: Batch) -> bytes:
    return b"".join(jsonlines.encode(one.records) for one in batches)


Replay = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "200ms"\n{SQLITE_A}{SQLITE_B}{STDOUT}')
    return str(path)


@pytest.fixture
def replay(config: str) -> Replay:
    return lambda *arguments: domstat("replay", *arguments, "--config", config)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(content: bytes, name: str = "records.jsonl") -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def heads(tmp_path: Path, name: str = "a.db") -> list[tuple[int, str]]:
    """Return the ticks a history has: the times in seconds since the first, and boots."""
    plain = sqlite3.connect(tmp_path / name)
    found = plain.execute("SELECT time_ms, b.boot_id FROM head h JOIN boot b ON b.id = h.boot_id ORDER BY 1").fetchall()
    plain.close()
    return [((time_ms - TIME_MS) // 1000, boot) for time_ms, boot in found]


# --- from everywhere


def test_json_lines_come_into_a_history_once_however_often(
    replay: Replay, file: Callable[..., str], tmp_path: Path
) -> None:
    source = file(lines(*ticks(20)))
    for _ in range(2):
        done = replay(source, "--to", "a")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == 'domstat: replayed 40 records of 20 batches into "a"\n'
    assert heads(tmp_path) == [(10 * i, "") for i in range(20)]


def test_standard_input_and_files_may_follow_each_other(config: str, file: Callable[..., str], tmp_path: Path) -> None:
    command = [*COMMAND, "replay", file(lines(ticks(1)[0])), "-", "--to", "a", "--config", config]
    done = subprocess.run(command, input=lines(*ticks(3)[1:]), capture_output=True, check=False, timeout=180)
    assert (done.returncode, done.stderr) == (0, b'domstat: replayed 6 records of 3 batches into "a"\n')
    assert [at for at, _ in heads(tmp_path)] == [0, 10, 20]


def test_the_journal_comes_with_its_stamps_also_while_somebody_has_it(replay: Replay, tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE)
    rows = [Entry(i, one.stream, one.stamp.time_ms, 2, pack(one)) for i, one in enumerate(ticks(3), 1)]
    journal.append(rows, {})
    done = replay("journal", "--to", "a")
    journal.close()
    assert (done.returncode, done.stderr) == (0, 'domstat: replayed 6 records of 3 batches into "a"\n')
    assert heads(tmp_path) == [(0, "boot"), (10, "boot"), (20, "boot")]


def test_a_history_goes_into_another_and_out_as_json_lines_with_rates(
    replay: Replay, file: Callable[..., str], tmp_path: Path
) -> None:
    event = batch(event_record(collect="events", time_ms=TIME_MS + 1), collect="events", time_ms=TIME_MS + 1)
    gap = batch(gap_record(time_ms=TIME_MS + 2, lasted_ms=0), time_ms=TIME_MS + 2)
    replay(file(lines(ticks(2)[0], event, gap, ticks(2)[1])), "--to", "a")
    assert replay("history", "--to", "b").returncode == 0
    assert heads(tmp_path, "b.db") == heads(tmp_path, "a.db")
    done = replay("history:b", "--to", "out")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["kind"] for record in records] == ["host", "guest", "event", "gap", "host", "guest"]
    assert records[5]["rates"]["cpu.time"] == 0.5
    assert records[5]["interval_s"] == 10.0
    assert records[5]["derived"]["cpu.utilization"] == 0.25


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("file", ["--since", "2026-11-22T22:15:14.123Z"], [10, 20, 30]),
        ("file", ["--until", "2026-11-22T22:15:14.123Z"], [0]),
        ("file", ["--since", "10000d", "--until", "2026-11-22T22:15:30Z"], [0, 10, 20]),
        ("file", ["--host", "kvm2", "--host", "kvm1"], [0, 10, 20, 30]),
        ("file", ["--host", "kvm2"], []),
        ("history", ["--since", "2026-11-22T22:15:14Z", "--until", "2026-11-22T22:15:30Z"], [10, 20]),
        ("history", ["--host", "kvm2"], []),
    ],
)
def test_only_a_span_and_only_some_hosts_may_be_wanted(
    replay: Replay,
    file: Callable[..., str],
    tmp_path: Path,
    source: str,
    options: list[str],
    expected: list[int],
) -> None:
    path = file(lines(*ticks(4)))
    if source == "history":
        replay(path, "--to", "b")
        path = "history:b"
    done = replay(path, "--to", "a", *options)
    assert done.returncode == 0
    assert [at for at, _ in heads(tmp_path)] == expected


# --- what cannot be had


def test_lines_that_are_no_records_are_named_and_the_others_go_on(
    replay: Replay, file: Callable[..., str], tmp_path: Path
) -> None:
    path = file(b"nonsense \x1b[31m\n" + lines(*ticks(2)) + b'{"v":2}\n')
    done = replay(path, "--to", "a")
    assert done.returncode == EXIT_TROUBLE
    said = done.stderr.splitlines()
    assert said[0].startswith(f"domstat: {path}:1: not a domstat record")
    assert said[1].startswith(f"domstat: {path}:6: ")
    assert said[2] == 'domstat: replayed 4 records of 2 batches into "a"; 2 could not be read'
    assert done.stderr.replace("\n", "").isprintable()
    assert len(heads(tmp_path)) == 2


def test_not_every_one_of_many_is_named(replay: Replay, file: Callable[..., str]) -> None:
    done = replay(file(b"nonsense\n" * 1000), "--to", "a")
    said = done.stderr.splitlines()
    assert len(said) == 22
    assert said[20:] == [
        "domstat: and others like it",
        'domstat: replayed 0 records of 0 batches into "a"; 1000 could not be read',
    ]


def test_what_the_sink_never_takes_is_said_and_can_be_kept_and_replayed(
    replay: Replay, file: Callable[..., str], tmp_path: Path
) -> None:
    bad = guest_record("bad", time_ms=TIME_MS + 10_000, extra={"cpu.time": 2**70})
    letters = str(tmp_path / "letters.jsonl")
    path = file(lines(ticks(1)[0]) + jsonlines.encode([bad]))
    done = replay(path, "--to", "a", "--rejected", letters)
    assert done.returncode == EXIT_TROUBLE
    said = done.stderr.splitlines()
    assert said[0].startswith(f"domstat: rejected: kvm1/default 2026-11-22T22:15:14.123Z guest {bad.subject}: ")
    assert said[1] == 'domstat: replayed 2 records of 2 batches into "a"; 1 rejected'
    done = replay(letters, "--to", "out")
    assert (done.returncode, json.loads(done.stdout)["domain"]["name"]) == (0, "bad")


def test_rows_that_are_damaged_are_said_and_the_others_come(
    replay: Replay, file: Callable[..., str], tmp_path: Path
) -> None:
    replay(file(lines(*ticks(3))), "--to", "b")
    plain = sqlite3.connect(tmp_path / "b.db")
    plain.execute("UPDATE head SET blob = zeroblob(length(blob)) WHERE id = 2")
    plain.commit()
    plain.close()
    done = replay("history:b", "--to", "a")
    assert done.returncode == EXIT_TROUBLE
    assert "domstat: b: head row 2 is damaged: its checksum is wrong\n" in done.stderr
    assert [at for at, _ in heads(tmp_path)] == [0, 20]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{file}", "--to", "c"], '--to: no sink "c" is configured (there are: a, b, out)'),
        (["nowhere.jsonl", "--to", "a"], "nowhere.jsonl: there is no such file"),
        (["/tmp", "--to", "a"], "/tmp: is a directory"),
        (["history", "--to", "out"], "2 other sinks with a history (there are: history:a, history:b)"),
        (["history:a", "--to", "a"], 'no other sink "a" with a history (there are: history:b)'),
        (["history:x", "--to", "a"], 'no other sink "x" with a history (there are: history:b)'),
        (["-", "-", "--to", "a"], "standard input can be read only once"),
        (["{file}", "--to", "a", "--since", "yesterday"], '--since: found "yesterday", expected a time such as'),
        (["{file}", "--to", "a", "--since", "1h", "--until", "2h"], '--until: found "2h", expected a time after'),
    ],
)
def test_what_makes_no_sense_is_one_line(
    replay: Replay, file: Callable[..., str], arguments: list[str], says: str
) -> None:
    path = file(b"")
    done = replay(*(argument.format(file=path) for argument in arguments))
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"domstat: {says}")


@pytest.mark.parametrize(
    ("source", "says"),
    [("journal", "journal.db: there is no journal yet"), ("history:b", "b.db: there is no history yet")],
)
def test_a_store_that_is_not_there_is_said_to_be_so(replay: Replay, source: str, says: str) -> None:
    done = replay(source, "--to", "a")
    assert done.returncode == EXIT_TROUBLE
    assert says in done.stderr.splitlines()[0]


def test_a_database_is_not_taken_for_json_lines(replay: Replay, file: Callable[..., str], tmp_path: Path) -> None:
    replay(file(lines(*ticks(1))), "--to", "b")
    done = replay(str(tmp_path / "b.db"), "--to", "a")
    assert done.returncode == EXIT_TROUBLE
    assert "is an SQLite file; of a history say history:NAME" in done.stderr


# --- beside an agent, and when somebody has seen enough


def test_what_an_agent_writes_is_not_written_beside_it(config: str, replay: Replay, file: Callable[..., str]) -> None:
    path = Path(config)
    path.write_text(path.read_text() + '[[hosts]]\nuri = "test:///default"\nsurvey = { enabled = false }\n')
    source = file(lines(*ticks(1)))
    command = [*COMMAND, "run", "--config", config]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as agent:
        next(event for event in log_of(agent) if event == "tick")
        done = replay(source, "--to", "a")
        agent.send_signal(signal.SIGTERM)
    assert done.returncode == EXIT_TROUBLE
    (said,) = done.stderr.splitlines()
    assert said.startswith('domstat: the sink "a": ')
    assert "a.db is being written by another sink or agent; stop that one" in said


def test_a_closed_pipe_ends_it_quietly(config: str, file: Callable[..., str]) -> None:
    command = " ".join([*COMMAND, "replay", file(lines(*ticks(2000))), "--to", "out", "--config", config])
    done = subprocess.run(["bash", "-c", f"{command} | head -1"], capture_output=True, check=False, timeout=180)
    assert done.stdout == lines(*ticks(1)).splitlines(keepends=True)[0]
    assert done.stderr == b""


def test_whoever_interrupts_it_is_told_how_far_it_came(config: str, tmp_path: Path) -> None:
    command = [*COMMAND, "replay", "-", "--to", "a", "--config", config]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as replaying:
        assert replaying.stdin
        assert replaying.stderr
        replaying.stdin.write(lines(*ticks(40)))
        replaying.stdin.flush()
        while not (tmp_path / "a.db").exists() or len(heads_if_any(tmp_path)) < 32:
            assert replaying.poll() is None
        replaying.send_signal(signal.SIGINT)
        said = replaying.stderr.read()
    assert replaying.returncode == 130
    assert said == b'domstat: replayed 64 records of 32 batches into "a"\n'


def heads_if_any(tmp_path: Path) -> list[tuple[int, str]]:
    try:
        return heads(tmp_path)
    except sqlite3.OperationalError:  # its tables are not made yet
        return []


def test_on_a_terminal_a_bar_says_how_far_it_is(config: str, file: Callable[..., str]) -> None:
    main, sub = pty.openpty()
    command = [*COMMAND, "replay", file(lines(*ticks(50))), "--to", "a", "--config", config]
    replaying = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sub)
    os.close(sub)
    shown = b""
    try:
        while piece := os.read(main, 65536):
            shown += piece
    except OSError:  # the other end was closed
        pass
    os.close(main)
    assert replaying.wait(60) == 0
    assert b"records.jsonl" in shown
    assert b"100%" in shown
    assert b"100 records" in shown
    assert b'replayed 100 records of 50 batches into "a"' in shown


def test_a_replay_over_a_live_history_keeps_its_stamps(
    replay: Replay, file: Callable[..., str], tmp_path: Path
) -> None:
    journal = Journal(tmp_path / FILE)
    exact = [replace(one, records=one.records[:1]) for one in ticks(2)]
    journal.append([Entry(i, one.stream, one.stamp.time_ms, 1, pack(one)) for i, one in enumerate(exact, 1)], {})
    journal.close()
    replay("journal", "--to", "a")
    replay(file(lines(*ticks(3))), "--to", "a")
    assert heads(tmp_path) == [(0, "boot"), (10, "boot"), (20, "")]
    plain = sqlite3.connect(tmp_path / "a.db")
    records = "SELECT count(*) FROM head h JOIN layout_record r ON r.layout = h.layout"
    assert plain.execute(records).fetchone() == (6,)
    plain.close()
