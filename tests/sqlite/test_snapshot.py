"""Copies of a history that is being written: whole, of one moment, their owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from domstat.history import HasSnapshots, HistoryError
from domstat_sinks.sqlite import SqliteSink, connect, snapshot
from domstat_sinks.sqlite.sink import SqliteSettings
from records import batch, guest_record

from .conftest import History


def take(history: History, target: Path) -> int:
    with SqliteSink.history(SqliteSettings(), history.folder) as opened:
        assert isinstance(opened, HasSnapshots)
        return opened.snapshot(target)


def write_ticks(history: History, first: int, count: int) -> None:
    for i in range(first, first + count):
        history.write(batch(guest_record(time_ms=i, extra={"cpu.time": i}), time_ms=i))


def ticks_in(path: Path) -> int:
    reader = connect(path)
    try:
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(reader.execute("SELECT count(*) FROM samples WHERE field = 'cpu.time'").fetchone()[0])
    finally:
        reader.close()


def test_a_snapshot_is_a_history_that_has_all_there_was(history: History, tmp_path: Path) -> None:
    write_ticks(history, 0, 5)
    target = tmp_path / "copy.db"
    assert take(history, target) == target.stat().st_size
    write_ticks(history, 5, 1)
    assert ticks_in(target) == 5


def test_a_snapshot_is_one_file_and_its_owners_alone(history: History, tmp_path: Path) -> None:
    write_ticks(history, 0, 1)
    folder = tmp_path / "copies"
    folder.mkdir()
    take(history, folder / "copy.db")
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
    folder.chmod(0o500)  # nor does reading it make another
    assert ticks_in(folder / "copy.db") == 1
    folder.chmod(0o700)
    assert [path.name for path in folder.iterdir()] == ["copy.db"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_there_already_is_left_alone(history: History, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "copy.db"
    if kind == "file":
        target.write_text("precious")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HistoryError, match=r"copy\.db is there already"):
        take(history, target)
    assert target.is_symlink() or target.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


def test_where_no_file_can_be_the_error_names_it(history: History, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"copy\.db: No such file or directory"):
        take(history, tmp_path / "nowhere" / "copy.db")


def test_a_copy_that_fails_leaves_no_file(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> None:
        raise KeyboardInterrupt

    write_ticks(history, 0, 1)
    monkeypatch.setattr(snapshot, "_hear_signals", fail)
    with pytest.raises(KeyboardInterrupt):
        take(history, tmp_path / "copy.db")
    assert list(tmp_path.glob("copy*")) == []


def test_ticks_that_are_committed_meanwhile_neither_wait_nor_spoil_the_copy(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer commits between any two steps, which would have a backup without a read begin anew for ever."""
    write_ticks(history, 0, 20)
    steps: list[int] = []
    steps_max = 1_000

    def commit(_status: int, remaining: int, _total: int) -> None:
        steps.append(remaining)
        assert len(steps) < steps_max, "it begins anew for ever"
        write_ticks(history, 100 + len(steps), 1)

    monkeypatch.setattr(snapshot, "PAGES_AT_ONCE", 5)
    monkeypatch.setattr(snapshot, "_hear_signals", commit)
    take(history, tmp_path / "copy.db")
    assert steps == sorted(steps, reverse=True)
    assert len(steps) > 3
    assert ticks_in(tmp_path / "copy.db") == 20
