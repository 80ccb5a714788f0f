"""The sink's doors: locks, foreign files, files taken away, and what the agent is told."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pytest

from domstat.history import HasHistory, HistoryError
from domstat.sink import ClaimsFiles, Fatal, Reject, Retry, Sink
from domstat_sinks.sqlite import SqliteSink, schema, sink, writer
from domstat_sinks.sqlite.sink import SqliteSettings
from records import batch, guest_record

from .conftest import History


def test_it_meets_the_contracts() -> None:
    assert isinstance(SqliteSink(SqliteSettings()), Sink)
    assert isinstance(SqliteSink, HasHistory)
    assert isinstance(SqliteSink, ClaimsFiles)


def test_its_files_are_its_owners_alone(history: History) -> None:
    history.write(batch())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in history.folder.iterdir()}
    assert set(modes) == {"history.db", "history.db-wal", "history.db-shm", "history.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(history.folder.stat().st_mode) == 0o700


def test_every_commit_is_durable(history: History) -> None:
    opened = history.sink._writer
    assert opened
    assert opened._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opened._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_writer_is_refused_and_told_why(history: History) -> None:
    with pytest.raises(Fatal, match="another sink or agent"):
        history.open(history.another())


def test_a_writer_that_closed_leaves_the_file_to_the_next(history: History) -> None:
    history.write(batch())
    history.sink.close()
    history.sink = history.another()
    history.open()
    history.write(batch(guest_record(time_ms=5), time_ms=5))
    assert history.ask("SELECT count(*) FROM head") == [(2,)]


def test_a_writer_that_cannot_be_closed_leaves_the_file_to_the_next_all_the_same(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_writer: writer.Writer) -> None:
        raise OSError(5, "input/output error")

    history.write(batch())
    with monkeypatch.context() as patched:
        patched.setattr(writer.Writer, "close", fail)
        with pytest.raises(OSError, match="input/output"):
            history.sink.close()
    history.sink = history.another()
    history.open()
    history.write(batch(guest_record(time_ms=5), time_ms=5))
    assert history.ask("SELECT count(*) FROM head") == [(2,)]


@pytest.mark.parametrize("content", [b"not a database at all, but text" * 99, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    history = History(tmp_path)
    history.path.write_bytes(content)
    with pytest.raises(Fatal, match="set the file aside"):
        history.open()
    history.close()
    assert history.path.read_bytes() == content


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    history = History(tmp_path)
    theirs = sqlite3.connect(history.path)
    theirs.execute("CREATE TABLE mine (x)")
    theirs.close()
    with pytest.raises(Fatal, match="not a history"):
        history.open()
    with pytest.raises(HistoryError, match="not a history"), SqliteSink.history(SqliteSettings(), tmp_path):
        pass
    history.close()


def test_a_newer_file_is_refused_for_writing_and_reading(history: History) -> None:
    history.sink.close()
    newer = sqlite3.connect(history.path)
    newer.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(Fatal, match="newer domstat"):
        history.open(history.another())
    with pytest.raises(HistoryError, match="newer domstat"), SqliteSink.history(SqliteSettings(), history.folder):
        pass


def test_a_file_that_is_removed_is_begun_anew_with_the_next_tick(history: History) -> None:
    history.write(batch())
    for path in history.folder.glob("history.db*"):
        if path.suffix != ".lock":
            path.unlink()
    history.write(batch(guest_record(time_ms=7), time_ms=7))
    assert history.ask("SELECT time_ms FROM head") == [(7,)]


def test_a_file_that_cannot_be_begun_anew_is_tried_again(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.write(batch())
    history.path.unlink()
    whole = writer.Writer
    monkeypatch.setattr(writer, "Writer", refuse)
    with pytest.raises(Retry, match="full"):
        history.write(batch())
    monkeypatch.setattr(writer, "Writer", whole)
    history.write(batch())
    assert history.ask("SELECT count(*) FROM head") == [(1,)]


def refuse(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_value_that_no_file_can_hold_costs_its_batch_and_no_other(history: History) -> None:
    good = batch(guest_record(time_ms=7), time_ms=7)
    bad = batch(guest_record(time_ms=8, extra={"cpu.time": 2**64}), time_ms=8)
    with pytest.raises(Reject) as rejected:
        history.write(good, bad, batch(guest_record(time_ms=9), time_ms=9))
    assert [(item.batch, item.reason) for item in rejected.value.items] == [(bad, ANY)]
    assert history.ask("SELECT time_ms FROM head ORDER BY time_ms") == [(7,), (9,)]


def test_a_link_to_a_file_is_that_file(history: History, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "history.db").symlink_to(history.path)
    other = History(tmp_path / "elsewhere")
    with pytest.raises(Fatal, match="another sink or agent"):
        other.open()
    other.close()


def test_a_full_disk_is_a_reason_to_try_again(history: History) -> None:
    history.write(batch())
    opened = history.sink._writer
    assert opened
    opened._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(Retry, match="full"):
        history.write(*(batch(guest_record(f"g{i}", time_ms=i), time_ms=i) for i in range(200)))
    opened._connection.execute("PRAGMA max_page_count = 1000000")
    history.write(batch(guest_record(time_ms=9), time_ms=9))
    assert history.ask("SELECT count(*) FROM head") == [(2,)]


def test_a_folder_that_cannot_be_made_is_a_reason_to_try_again(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    history = History(tmp_path / "state")
    with pytest.raises(Retry, match="cannot be opened"):
        history.open()
    history.close()


def test_settling_before_opening_is_refused() -> None:
    with pytest.raises(Retry, match="not open"):
        SqliteSink(SqliteSettings()).settle()


def test_writing_before_opening_stores_nothing_and_says_so() -> None:
    with pytest.raises(Retry):
        SqliteSink(SqliteSettings()).write([batch()])


def test_closing_twice_is_closing_once(make_history: Callable[[], History]) -> None:
    history = make_history()
    history.sink.close()
    history.sink.close()


def test_a_network_file_system_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "network_file_system", lambda _path: "nfs4")
    history = History(tmp_path / "state")
    with pytest.raises(Fatal, match=r"history\.db is on a network file system \(nfs4\); choose a path on a disk"):
        history.open()
    assert not (tmp_path / "state" / "history.db").exists()


def test_who_only_reads_loads_nothing_that_writes() -> None:
    code = (
        "import sys, domstat_sinks.sqlite; print([name for name in sys.modules if name.endswith(('writer', 'upkeep'))])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]
