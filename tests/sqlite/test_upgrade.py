"""Files of versions 1 and 2: read as they are, brought up to date by whoever writes.

``version-1.sql`` is such a file, dumped: four ticks of two guests, with two events, a gap and a partial record.
``version-2.sql`` has 640 ticks of one stream, 40 of another, an event and a gap. One guest hangs for six ticks, becomes
another incarnation and is renamed; another comes at tick 100 and is away for ten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.sink import Retry
from domstat_sinks.sqlite import SqliteSink, schema
from domstat_sinks.sqlite.heads import occurrences
from domstat_sinks.sqlite.sink import SqliteSettings
from domstat_sinks.sqlite.upgrade import upgrade
from records import HOST, TIME_MS, UUID, batch, event_record, guest_record, host_record

from .conftest import History
from .sealings import again, count, exported, levels, make_small, query, rest, said, times, write_alone

DUMP = (Path(__file__).parent / "version-1.sql").read_text()
OTHER = UUID[:-1] + "2"
COUNT = "SELECT count(*), count(DISTINCT time_ms), count(DISTINCT uuid) FROM samples"
RATES = [(tick, UUID) for tick in (1, 2, 3)] + [(tick, OTHER) for tick in (1, 3)]
"""Who has a rate at which tick: the other guest was not there at one."""


def restored(folder: Path, dump: str) -> History:
    """Make a history of what was dumped, not opened for writing."""
    history = History(folder)
    connection = sqlite3.connect(history.path)
    connection.executescript(dump)
    connection.close()
    return history


@pytest.fixture
def old(tmp_path: Path) -> History:
    """A history whose file is of version 1, not opened for writing."""
    return restored(tmp_path, DUMP)


def version(history: History) -> object:
    return history.ask("PRAGMA user_version")[0][0]


def everything(history: History) -> list[tuple[object, ...]]:
    columns = "time_ms, host, uuid, domain, field, device, value"
    return [
        row for view in ("samples", "rates") for row in history.ask(f"SELECT {columns} FROM {view} ORDER BY 1, 3, 5")
    ]


def test_a_file_of_version_1_can_be_read_and_stays_what_it_is(old: History) -> None:
    assert old.ask(COUNT) == [(7 * 6, 4, 2)]
    rates = old.ask("SELECT (time_ms - ?) / 10000, uuid, value FROM rates WHERE field = 'cpu.time'", TIME_MS)
    assert {(tick, uuid) for tick, uuid, _ in rates} == set(RATES)
    assert [value for _, _, value in rates] == pytest.approx([0.25] * len(RATES), rel=0.001)
    assert old.ask("SELECT DISTINCT kind, pool FROM samples") == [("guest", None)]
    assert old.ask("SELECT * FROM events") == old.ask("SELECT * FROM gaps") == []
    assert version(old) == 1
    old.close()


def test_the_command_lines_way_of_reading_takes_it_too(old: History) -> None:
    with SqliteSink.history(SqliteSettings(), old.folder) as opened:
        assert list(opened.sql("SELECT count(*) FROM samples WHERE kind = 'guest'").rows) == [(42,)]
    old.close()


def test_opening_it_for_writing_brings_it_up_to_date_and_changes_no_value(old: History) -> None:
    before = everything(old)
    old.open()
    assert version(old) == schema.SCHEMA_VERSION
    assert everything(old) == before
    old.close()


def test_its_events_and_gaps_come_out_of_the_blobs(old: History) -> None:
    old.open()
    assert old.ask("SELECT * FROM events ORDER BY type") == [
        (TIME_MS + 10_000, HOST, "default", UUID, "web-1", 3, "device-added", None, "vdb"),
        (TIME_MS + 10_000, HOST, "default", UUID, "web-1", 3, "started", "booted", None),
    ]
    assert old.ask("SELECT * FROM gaps") == [(TIME_MS, TIME_MS + 30_000, HOST, "default", "libvirtd did not answer")]
    old.close()


def test_it_has_the_tables_indexes_and_views_of_a_new_file(old: History, tmp_path: Path) -> None:
    old.open()
    new = History(tmp_path / "new")
    new.open()
    query = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
    assert old.ask(query) == new.ask(query)
    statistics = "SELECT * FROM sqlite_stat1 ORDER BY idx"
    assert old.ask(statistics) == new.ask(statistics) != []
    old.close()
    new.close()


def test_it_is_written_on_as_if_it_had_always_been_so(old: History) -> None:
    old.open()
    later = TIME_MS + 40_000
    old.write(batch(host_record(time_ms=later), guest_record(time_ms=later), time_ms=later))
    old.write(batch(event_record("stopped", time_ms=later), collect="events", time_ms=later))
    assert old.ask("SELECT DISTINCT kind FROM samples ORDER BY 1") == [("guest",), ("host",)]
    assert old.ask("SELECT count(*) FROM events") == [(3,)]
    again = batch(guest_record(params={"cpu.time": 1}, first=True, time_ms=TIME_MS), time_ms=TIME_MS)
    old.write(again)  # the base of all four
    assert old.ask("SELECT value FROM samples WHERE uuid = ? AND field = 'cpu.time' ORDER BY time_ms", OTHER) == [
        (5_000_000_000,),
        (7_500_000_000,),
        (12_500_000_000,),
    ]
    old.close()


def test_bringing_it_up_to_date_twice_changes_nothing(old: History) -> None:
    old.open()
    before = (everything(old), old.ask("SELECT * FROM events"))
    old.sink.close()
    old.open(old.another())
    assert (everything(old), old.ask("SELECT * FROM events")) == before
    old.close()


def test_a_failure_on_the_way_leaves_it_as_it_was_and_it_is_tried_again(
    old: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(occurrences, "store_gap", fail)
    connection = sqlite3.connect(old.path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        upgrade(connection, 1)
    assert not connection.in_transaction
    connection.close()
    with pytest.raises(Retry, match="full"):
        old.open()
    assert version(old) == 1
    assert old.ask(COUNT) == [(42, 4, 2)]
    monkeypatch.undo()
    old.open()
    assert old.ask("SELECT count(*) FROM gaps") == [(1,)]
    old.close()


def test_a_damaged_row_does_not_hold_it_up(old: History) -> None:
    vandal = sqlite3.connect(old.path)
    vandal.execute("UPDATE head SET blob = CAST(substr(blob, 1, 20) || x'00' || substr(blob, 22) AS BLOB) WHERE id = 2")
    vandal.commit()
    vandal.close()
    old.open()
    assert old.ask("SELECT count(*) FROM events") == [(0,)]
    assert old.ask("SELECT count(*) FROM gaps") == [(1,)]
    assert old.ask("SELECT count(*) FROM samples WHERE time_ms <> ?", TIME_MS + 10_000) == [(30,)]
    old.close()


# Version 2.

DUMP_2 = (Path(__file__).parent / "version-2.sql").read_text()
TICKS_2 = 640
TABLES = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    """A history whose file is of version 2, not opened for writing."""
    make_small(monkeypatch, slice_ticks=60, levels=(1000, 2000))
    history = restored(tmp_path, DUMP_2)
    yield history
    history.close()


def at(number: int) -> int:
    """Return when a tick of that file was."""
    return TIME_MS + 10_000 * number + number % 3


def test_a_file_of_version_2_can_be_read_and_stays_what_it_is(later: History) -> None:
    assert later.ask("SELECT count(*), count(DISTINCT time_ms), count(DISTINCT uuid) FROM samples") == [
        (3 * TICKS_2 - 6 + 3 * 530 + 4 * 40, TICKS_2, 2)
    ]
    found = later.ask("SELECT time_ms FROM rates WHERE field = 'block.wr.bytes' AND time_ms BETWEEN ? AND ?", *SPAN)
    assert found == [(at(198),), (at(199),), (at(206),), (at(207),)], "libvirt said nothing while it hung"
    assert later.ask("SELECT DISTINCT domain FROM samples ORDER BY 1") == [(None,), ("db-1",), ("web-1",), ("web-one",)]
    assert [len(later.ask(f"SELECT * FROM {view}")) for view in ("events", "gaps")] == [1, 1]
    assert later.ask("PRAGMA user_version") == [(2,)]


SPAN = (at(198), at(207))


def test_sealed_a_file_of_version_2_says_what_it_said_before(later: History) -> None:
    before = said(later)
    later.open()
    assert said(later) == before
    write_alone(later, batch(guest_record(params={"cpu.time": 1}, time_ms=at(640)), time_ms=at(640)))
    rest(later)
    assert levels(later) == [1, 0], "of two days"
    assert sum(ticks for (ticks,) in query(later, "SELECT ticks FROM segment")) == TICKS_2
    assert count(later, "SELECT count(*) FROM damaged") == count(later, "SELECT count(*) FROM doomed") == 0
    samples, rates, batches = said(later)
    assert [row for row in samples if row[0] != at(640)] == before[0]
    assert rates == before[1]
    assert batches[:-1] == before[2]


def test_all_of_it_is_sealed_by_and_by_and_merged(later: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    later.open()
    for number in range(TICKS_2, TICKS_2 + 30):
        write_alone(later, batch(guest_record(params={"cpu.time": number}, time_ms=at(number)), time_ms=at(number)))
        rest(later)
    assert max(levels(later)) > 0
    found = times(exported(later.reader()))
    assert len(found) == TICKS_2 + 30 + 40 + 2
    assert {*found} == {*map(at, range(TICKS_2 + 30)), TIME_MS - 30_000}


def test_a_file_of_version_2_has_the_tables_indexes_and_views_of_a_new_one_then(later: History, tmp_path: Path) -> None:
    later.open()
    new = History(tmp_path / "new")
    new.open()
    assert later.ask(TABLES) == new.ask(TABLES)
    new.close()


class Stumbling(sqlite3.Connection):
    """A connection on which the statement of a number fails."""

    left = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self.left -= 1
        if not self.left:
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(*arguments)


def test_whichever_statement_of_it_fails_the_file_stays_of_version_2(later: History) -> None:
    before = query(later, TABLES)
    for number in range(1, 200):
        connection = sqlite3.connect(later.path, isolation_level=None, factory=Stumbling)
        connection.left = number
        try:
            upgrade(connection, 2)
        except sqlite3.OperationalError:
            assert not connection.in_transaction
            assert query(later, TABLES) == before
            assert query(later, "PRAGMA user_version") == [(2,)]
        else:
            break
        finally:
            connection.close()
    assert number > 15
    assert query(later, "PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]
    again(later)
    assert times(exported(later.reader())).count(at(0)) == 2
