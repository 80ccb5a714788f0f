"""Keeping the journal within its bounds, a step at a time, whatever the wall clock says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat import clock
from domstat.deliver import trimmer as trimmer_module
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.journal import TRIM_ROWS, Entry, Journal
from domstat.deliver.position import Position
from domstat.deliver.trimmer import Trimmer

HOUR_MS = 3_600_000
LIMITS = Limits(1 << 30, 7200.0, 60.0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


def entries(count: int, age_ms: int = 0, size: int = 100, first: int = 1) -> list[Entry]:
    time_ms = clock.now().time_ms - age_ms
    return [Entry(number, ("h", "default"), time_ms, 1, bytes(size)) for number in range(first, first + count)]


def begun(journal: Journal, limits: Limits = LIMITS, number: int = 10_000) -> Trimmer:
    trimmer = Trimmer(limits)
    trimmer.begin(journal, number)
    return trimmer


def numbers(journal: Journal) -> list[int]:
    return [row[0] for row in journal.read(0, None, 10_000)]


def test_what_every_sink_has_goes_a_bounded_step_at_a_time(journal: Journal) -> None:
    count = TRIM_ROWS + 10
    journal.append(entries(count, age_ms=HOUR_MS), {})
    trimmer = begun(journal)
    trimmer.trim(journal, count, count)
    assert len(numbers(journal)) == count - TRIM_ROWS
    trimmer.trim(journal, count, count)
    assert numbers(journal) == [count], "the newest stays, for the rates after a restart"


def test_what_waits_stays_until_it_is_too_old(journal: Journal) -> None:
    journal.append([*entries(3, age_ms=3 * HOUR_MS), *entries(3, age_ms=HOUR_MS, first=4)], {})
    verdict = begun(journal).trim(journal, 6, 0)
    assert numbers(journal) == [4, 5, 6]
    assert [(why, len(rows)) for why, rows in verdict.dropped] == [(Why.AGE, 3)]


def test_a_clock_that_was_wrong_makes_no_row_of_this_run_too_old(journal: Journal) -> None:
    trimmer = begun(journal, number=1)
    journal.append(entries(5, age_ms=40 * 24 * HOUR_MS), {})
    trimmer.note(5)
    assert trimmer.trim(journal, 5, 0).numbers == ()


def test_beyond_its_size_the_oldest_go_until_it_fits(journal: Journal) -> None:
    journal.append(entries(100, size=20_000), {})
    limits = Limits(1_000_000, 1e9, 1e9)
    trimmer = begun(journal, limits)
    verdict = trimmer.trim(journal, 100, 0)
    assert trimmer.bytes > 1_000_000
    assert verdict.dropped[0][0] is Why.SIZE
    assert journal.bytes_used() == pytest.approx(1_000_000, rel=0.1)
    for _ in range(3):
        trimmer.trim(journal, 100, 0)
    assert 900_000 < journal.bytes_used() <= 1_000_000
    assert trimmer.trim(journal, 100, 0).numbers == ()


def test_a_sink_that_was_dismissed_has_its_position_removed(journal: Journal) -> None:
    journal.append([], {"a": Position(1), "b": Position(2)})
    trimmer = begun(journal)
    trimmer.forget("a")
    trimmer.trim(journal, 0, 0)
    assert journal.positions() == {"b": Position(2)}


def test_free_pages_are_given_back(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimmer_module, "SHRINK_BYTES_MIN", 1000)
    journal.append(entries(100, age_ms=HOUR_MS, size=50_000), {})
    trimmer = begun(journal)
    for _ in range(5):
        trimmer.trim(journal, 100, 100)
    journal.checkpoint()
    assert (tmp_path / "journal.db").stat().st_size < 200_000


def test_devices_of_guests_long_gone_are_forgotten_once_an_hour(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Entry(1, ("h", "default"), 1000, 1, b"x", (("u1", b"d"),))
    journal.append([old], {})
    monkeypatch.setattr(trimmer_module, "FORGET_DEVICES_EVERY_S", 0.0)
    begun(journal).trim(journal, 1, 0)
    assert journal.devices(("h", "default")) == {}


def test_room_is_made_on_a_full_disk_of_what_every_sink_has_and_nothing_else(journal: Journal) -> None:
    journal.append(entries(10, size=5000), {})
    Trimmer.make_room(journal, 6)
    assert numbers(journal) == [7, 8, 9, 10]
    assert journal.bytes_free() > 20_000
    assert not journal.path.with_name("journal.db.reserve").exists()


def test_the_age_of_the_oldest_that_waits_is_known(journal: Journal) -> None:
    journal.append(entries(3, age_ms=HOUR_MS), {})
    assert begun(journal).age_of(journal, 1) == pytest.approx(3600, abs=5)
    assert begun(journal).age_of(journal, 3) == 0.0
