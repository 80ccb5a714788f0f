"""``domstat history recover``, as somebody meets it whose file is damaged."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.test_cli import EXIT_TROUBLE, domstat
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import TIME_MS, batch, guest_record

PAGE = 4_096

Recover = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    sink = SqliteSink(SqliteSettings(path="old.db"))
    sink.open(SinkContext("history", tmp_path, Log(), lambda _record, _reason: None))
    for i in range(5):
        sink.write([batch(guest_record(time_ms=TIME_MS + i, extra={"cpu.time": i}), time_ms=TIME_MS + i)])
    sink.close()
    return tmp_path / "old.db"


@pytest.fixture
def recover(tmp_path: Path) -> Recover:
    config = tmp_path / "domstat.toml"
    config.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[[sinks]]\ntype = "sqlite"\npath = "new.db"\n')
    return lambda *arguments: domstat("history", *map(str, arguments), "--config", str(config))


def damage(file: Path, name: str) -> None:
    plain = sqlite3.connect(file)
    (page,) = plain.execute("SELECT max(pageno) FROM dbstat WHERE name = ?", (name,)).fetchone()
    plain.close()
    with file.open("r+b") as pages:
        pages.seek((page - 1) * PAGE)
        pages.write(bytes(PAGE))


def test_of_a_whole_file_all_is_saved_and_the_new_one_is_a_history(
    recover: Recover, file: Path, tmp_path: Path
) -> None:
    done = recover("recover", file, tmp_path / "new.db")
    assert done.returncode == 0
    assert "head: 5 rows" in done.stdout.splitlines()
    assert "5 ticks, " in done.stdout
    assert "new.db is what could be saved; to go on with it" in done.stderr
    verified = recover("verify")
    assert (verified.returncode, verified.stderr) == (0, "")


def test_what_is_lost_is_said_and_the_rest_is_saved(recover: Recover, file: Path, tmp_path: Path) -> None:
    damage(file, "head")
    done = recover("recover", file, tmp_path / "new.db")
    assert done.returncode == EXIT_TROUBLE
    assert "domstat: lost: head: 1 pages cannot be read" in done.stderr.splitlines()
    assert "domstat: lost: head: " in done.stderr
    assert " rows, from 2026-11-22T22:15:04." in done.stderr
    assert "stream: 1 rows" in done.stdout.splitlines()


def test_a_file_of_something_else_gives_nothing_and_that_is_said(recover: Recover, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear diary, " * 1000)
    done = recover("recover", tmp_path / "letter.txt", tmp_path / "new.db")
    assert done.returncode == EXIT_TROUBLE
    assert done.stderr.splitlines()[-1].endswith("letter.txt: nothing of a history is left in it")
    assert not (tmp_path / "new.db").exists()


def test_a_target_that_is_there_is_left_alone(recover: Recover, file: Path) -> None:
    done = recover("recover", file, file)
    assert done.returncode == EXIT_TROUBLE
    assert "is there already; name a file that is not" in done.stderr
