"""Looking at disks: what is free below histories and the journal, and how histories have grown."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat.config import parse
from domstat.doctor.look import disks
from domstat.doctor.scene import DiskSeen
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import INTERVAL_MS, TIME_MS, batch

GIB = 1 << 30


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "_free", lambda _folder: 50 * GIB)


def see(folder: Path, text: str = "") -> tuple[DiskSeen, ...]:
    return disks.see_disks(parse(f'[agent]\nstate_dir = "{folder}"\n{text}'))


def test_before_the_first_run_there_is_room_and_no_history(tmp_path: Path) -> None:
    (seen,) = see(tmp_path / "not" / "yet")
    assert seen == DiskSeen("history", str(tmp_path), 50 * GIB, GIB, 0, 0.0, 30 * 86400.0)


def test_a_history_has_its_size_and_age_and_the_journal_takes_what_is_left_of_its_bound(tmp_path: Path) -> None:
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", tmp_path, Log(), lambda _record, _reason: None))
    sink.write([batch(), batch(time_ms=TIME_MS + INTERVAL_MS)])
    sink.close()
    (tmp_path / "journal.db").write_bytes(bytes(1000))
    (seen,) = see(tmp_path)
    assert seen.history_bytes == (tmp_path / "history.db").stat().st_size
    assert seen.age_s == INTERVAL_MS / 1000
    assert seen.reserved_bytes == GIB - 1000


def test_the_shortest_time_and_the_bound_are_the_sinks_settings(tmp_path: Path) -> None:
    text = '[[sinks]]\ntype = "sqlite"\nraw = "7d"\nmax_bytes = "20GiB"\n'
    (seen,) = see(tmp_path, text)
    assert (seen.keep_s, seen.max_bytes) == (7 * 86400.0, 20 * GIB)
    forever = "".join(f'{name} = "forever"\n' for name in ("raw", "five_minutes", "hours", "days"))
    (seen,) = see(tmp_path, f'[[sinks]]\ntype = "sqlite"\n{forever}')
    assert (seen.keep_s, seen.max_bytes) == (None, None)


def test_without_a_history_the_journals_disk_is_looked_at(tmp_path: Path) -> None:
    (seen,) = see(tmp_path, '[[sinks]]\ntype = "stdout"\n')
    assert (seen.about, seen.reserved_bytes, seen.history_bytes) == ("journal", GIB, 0)


def test_a_history_that_cannot_be_read_has_no_age(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"no history" * 100)
    (seen,) = see(tmp_path)
    assert (seen.history_bytes, seen.age_s) == (1000, 0.0)


def test_what_is_free_is_what_the_agent_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (seen,) = see(tmp_path)
    assert seen.free_bytes > 0
