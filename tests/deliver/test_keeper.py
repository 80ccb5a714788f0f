"""The journal however it fares: what is wrong with it is said once, and met."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from domstat.deliver.bounds import Limits
from domstat.deliver.journal import Entry, Journal
from domstat.deliver.keeper import Keeper
from domstat.deliver.trimmer import Trimmer
from heard import Log

TRIMMER = Trimmer(Limits(1 << 30, 1e6, 3600.0))


def entry(number: int) -> Entry:
    return Entry(number, ("h", "default"), 1000, 1, b"x" * 3000)


@pytest.fixture
def keeper(tmp_path: Path, log: Log) -> Keeper:
    return Keeper(tmp_path / "journal.db", log)


def test_a_journal_that_is_damaged_is_begun_anew_and_that_is_said(keeper: Keeper, tmp_path: Path, log: Log) -> None:
    (tmp_path / "journal.db").write_bytes(b"no database" * 1000)
    journal = keeper.open()
    assert journal is not None
    journal.close()
    assert log.events("error") == ["journal_damaged"]


def test_one_that_cannot_be_opened_is_said_once_and_that_it_can_again_too(
    keeper: Keeper, tmp_path: Path, log: Log
) -> None:
    (tmp_path / "journal.db").mkdir()
    assert keeper.open() is keeper.open() is None
    assert (log.events("error"), keeper.failed) == (["journal_not_written"], 2)
    with pytest.raises(sqlite3.OperationalError):
        keeper.open_again()
    keeper.note_written(5)
    assert log.facts("journal_written_again")["lost"] == 5
    assert keeper.failing is None


def test_a_full_disk_is_met_by_making_room_once(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = keeper.open_again()
    journal.append([entry(number) for number in range(1, 9)], {})
    append = Journal.append
    refused: list[sqlite3.Error] = []

    def full_at_first(*arguments: object) -> None:
        if not refused:
            refused.append(sqlite3.OperationalError("database or disk is full"))
            refused[0].sqlite_errorcode = sqlite3.SQLITE_FULL
            raise refused[0]
        append(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "append", full_at_first)
    Keeper.append(journal, [entry(9)], {}, TRIMMER, low=5)
    assert [row[0] for row in journal.read(0, None, 99)] == [6, 7, 8, 9], "what every sink has made room"
    assert journal.is_tight
    journal.close()


def test_a_damaged_one_is_set_aside_with_a_fresh_one_in_its_place(keeper: Keeper, tmp_path: Path, log: Log) -> None:
    journal = keeper.journal = keeper.open_again()
    error = sqlite3.DatabaseError("malformed")
    assert keeper.is_of_damage(error)
    assert not keeper.is_of_damage(OSError("no"))
    fresh = keeper.set_aside(journal, error)
    assert fresh is not None
    assert fresh.id != journal.id
    fresh.close()
    assert "set aside as journal.db.damaged-" in log.facts("journal_damaged")["hint"]


def test_one_that_was_removed_counts_as_damaged(keeper: Keeper, tmp_path: Path) -> None:
    journal = keeper.journal = keeper.open_again()
    (tmp_path / "journal.db").unlink()
    with pytest.raises(sqlite3.DatabaseError, match="removed while it was in use") as caught:
        Keeper.append(journal, [entry(1)], {}, TRIMMER, 0)
    assert keeper.is_of_damage(caught.value)
    journal.close()
