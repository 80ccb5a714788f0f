"""The journal's file: what was appended is there, damage is set aside, a full disk and strangers' files are met."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.deliver import journal as journal_module
from domstat.deliver.files import DAMAGED_KEPT, is_damage, is_full, look
from domstat.deliver.journal import DamagedError, Entry, Journal
from domstat.deliver.position import Position

STREAM = ("kvm1", "default")
Make = Callable[[], Journal]


def entry(number: int, stream: tuple[str, str] = STREAM, size: int = 100, **more: object) -> Entry:
    return Entry(number, stream, number * 1000, 2, bytes([number % 256]) * size, **more)  # type: ignore[arg-type]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Journal] = []

    def open_one() -> Journal:
        made.append(Journal(tmp_path / "journal.db"))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def test_what_was_appended_is_there_when_it_is_opened_again(make: Make) -> None:
    first = make()
    first.append([entry(1), entry(2, ("kvm2", "default"))], {"influx": Position(1)})
    first.close()
    again = make()
    assert again.id == first.id
    assert again.read(0, None, 10) == [(1, 2, entry(1).blob), (2, 2, entry(2).blob)]
    assert again.positions() == {"influx": Position(1)}
    assert (again.oldest(), again.newest()) == (1, 2)


def test_it_keeps_few_of_its_pages_in_memory(make: Make) -> None:
    assert make()._connection.execute("PRAGMA cache_size").fetchone() == (-journal_module.CACHE_KIB,)


def test_it_is_its_owners_alone(make: Make, tmp_path: Path) -> None:
    make().append([entry(1)], {})
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert modes.keys() >= {"journal.db", "journal.db-wal", "journal.db.reserve"}


def test_numbers_go_on_beyond_what_a_sink_has_come_to_though_its_rows_are_gone(make: Make) -> None:
    journal = make()
    journal.append([entry(7)], {"influx": Position(3).done(7, 9)})
    journal.remove([7])
    assert journal.newest() == 9


def test_rows_are_read_between_two_numbers_and_so_many(make: Make) -> None:
    journal = make()
    journal.append([entry(number) for number in range(1, 11)], {})
    assert [row[0] for row in journal.read(3, 8, 10)] == [4, 5, 6, 7]
    assert [row[0] for row in journal.read(3, 8, 2)] == [4, 5]


def test_a_streams_rows_are_found_backwards(make: Make) -> None:
    journal = make()
    journal.append([entry(number, ("kvm1", "ab"[number % 2])) for number in range(1, 9)], {})
    assert [blob[0] for blob in journal.before(("kvm1", "a"), 7, 2)] == [6, 4]
    assert journal.before(("kvm9", "a"), 7, 2) == []
    assert journal.last_times() == {("kvm1", "a"): 8000, ("kvm1", "b"): 7000}


def test_what_devices_were_is_kept_until_nobody_hears_of_the_guest(make: Make) -> None:
    journal = make()
    journal.append([entry(1, devices=(("u1", b"old"), ("u2", b"x"))), entry(5, devices=(("u1", b"new"),))], {})
    assert journal.devices(STREAM) == {"u1": b"new", "u2": b"x"}
    journal.forget_devices(2000)
    assert journal.devices(STREAM) == {"u1": b"new"}


def test_what_waits_for_a_sink_is_counted_in_records(make: Make) -> None:
    journal = make()
    journal.append([entry(number) for number in range(1, 11)], {})
    assert journal.waiting(Position(4), 10) == 12
    assert journal.waiting(Position(4).done(8, 20), 10) == 6
    assert journal.waiting(Position(4).done(8, 9), 8) == 6


def test_a_transaction_that_fails_leaves_nothing(make: Make) -> None:
    journal = make()
    journal.append([entry(1)], {"influx": Position(0)})
    with pytest.raises(sqlite3.IntegrityError):
        journal.append([entry(2, ("new", "one")), entry(1)], {"influx": Position(2)})
    assert [row[0] for row in journal.read(0, None, 9)] == [1]
    assert journal.positions() == {"influx": Position(0)}
    journal.append([entry(2, ("new", "one"))], {})
    assert journal.before(("new", "one"), 9, 1)


def test_a_sink_is_forgotten_once(make: Make) -> None:
    journal = make()
    journal.append([], {"influx": Position(1)})
    assert [journal.forget("influx"), journal.forget("influx")] == [True, False]


def test_a_position_that_cannot_be_read_is_as_good_as_none(make: Make, tmp_path: Path) -> None:
    journal = make()
    journal.append([entry(4)], {"a": Position(1)})
    journal._connection.execute("INSERT INTO cursor VALUES ('b', 'far away')")
    assert journal.positions() == {"a": Position(1)}


# --- damage


def test_a_row_whose_types_are_not_what_they_were_is_read_all_the_same(make: Make) -> None:
    journal = make()
    journal.append([entry(1), entry(2, devices=(("a", b"\xc0"),))], {})  # no UTF-8
    journal._connection.execute(
        "UPDATE batch SET blob = CAST(x'c0' AS TEXT), time_ms = '', records = '' WHERE number = 2"
    )
    journal._connection.execute("UPDATE device SET devices = CAST(devices AS TEXT)")
    assert journal.read(0, None, 9) == [(1, 2, entry(1).blob), (2, 0, b"\xc0")]
    assert journal.before(STREAM, 9, 9) == [b"\xc0", entry(1).blob]
    assert journal.devices(STREAM) == {"a": b"\xc0"}
    assert journal.waiting(Position(0), 2) == 2
    assert journal.last_times() == {STREAM: 0}
    assert journal.rows(0, 2, 9) == [(1, 1000, 2, False), (2, 0, 0, True)]


@pytest.mark.parametrize("damage", ["zeros", "text", "page", "empty wal"])
def test_a_damaged_journal_is_set_aside_with_a_fresh_one_in_its_place(make: Make, tmp_path: Path, damage: str) -> None:
    first = make()
    first.append([entry(number, size=3000) for number in range(1, 200)], {})
    first.close()
    path = tmp_path / "journal.db"
    content = bytearray(path.read_bytes())
    if damage == "zeros":
        content[:4096] = bytes(4096)
    elif damage == "text":
        content[:] = b"this is no database, but it is long enough to be looked at" * 100
    else:
        content[20 * 4096 : 60 * 4096] = b"\xa5" * (40 * 4096)
    path.write_bytes(content)
    with pytest.raises((DamagedError, sqlite3.NotSupportedError)):
        make()
    if damage != "zeros":
        aside = [one.name for one in tmp_path.iterdir() if ".damaged-" in one.name]
        assert len(aside) == 1
        fresh = make()
        assert (fresh.id != first.id, fresh.newest()) == (True, 0)


def test_only_so_many_damaged_journals_are_kept(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    for i in range(DAMAGED_KEPT + 3):
        path.write_bytes(b"no database %d" % i * 1000)
        with pytest.raises(DamagedError, match=r"set aside as journal\.db\.damaged-"):
            make()
    assert len([one for one in tmp_path.iterdir() if ".damaged-" in one.name]) == DAMAGED_KEPT


def test_somebody_elses_database_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(sqlite3.NotSupportedError, match="move it away"):
        make()
    with sqlite3.connect(tmp_path / "journal.db") as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    other.close()


def test_a_journal_that_was_removed_while_it_is_open_is_noticed(make: Make, tmp_path: Path) -> None:
    journal = make()
    assert journal.is_in_place()
    (tmp_path / "journal.db").unlink()
    assert not journal.is_in_place()


def test_errors_are_told_apart() -> None:
    with pytest.raises(sqlite3.DatabaseError) as caught:
        sqlite3.connect(":memory:").execute("SELECT nothing")
    assert not is_damage(caught.value)
    assert not is_full(caught.value)
    assert is_damage(sqlite3.DatabaseError("malformed"))


# --- room


def test_room_is_kept_for_a_full_disk_and_given_up_once(make: Make, tmp_path: Path) -> None:
    journal = make()
    reserve = tmp_path / "journal.db.reserve"
    assert reserve.stat().st_size == reserve.stat().st_blocks * 512 == journal_module.RESERVE_BYTES
    journal.give_up_reserve()
    assert not reserve.exists()
    assert journal.keep_reserve()
    assert reserve.exists()


def test_a_file_shrinks_when_its_rows_are_gone(make: Make, tmp_path: Path) -> None:
    journal = make()
    journal.append([entry(number, size=50_000) for number in range(1, 200)], {})
    journal.checkpoint()
    before = (tmp_path / "journal.db").stat().st_size
    used = journal.bytes_used()
    journal.remove(range(1, 190))
    assert journal.bytes_used() < used / 5
    assert journal.bytes_free() > used / 2
    for _ in range(10):
        journal.shrink()
    journal.checkpoint()
    assert (tmp_path / "journal.db").stat().st_size < before / 5


def test_sizes_are_about_right(make: Make) -> None:
    journal = make()
    journal.append([entry(number, size=50_000) for number in range(1, 101)], {})
    total = sum(journal.sizes(list(range(1, 101))).values())
    assert total == pytest.approx(journal.bytes_used(), rel=0.2)
    assert journal.bytes_after(50) == pytest.approx(journal.bytes_used() / 2, rel=0.1)
    assert journal.bytes_after(100) == 0


def test_whoever_only_looks_cannot_write_and_is_told_if_there_is_nothing(make: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        look(tmp_path / "journal.db")
    make().append([entry(1)], {})
    looking = look(tmp_path / "journal.db")
    assert looking.execute("SELECT count(*) FROM batch").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        looking.execute("DELETE FROM batch")
    looking.close()
