"""Pages of a file, and of the WAL over it; which tree each is in, told from both ends."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from domstat_sinks.sqlite.rescue.pages import Forest, Pages

PAGE = 4_096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two tables, the first of many pages; its free pages can be given back."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.execute("PRAGMA auto_vacuum = INCREMENTAL")
        made.execute("CREATE TABLE large (id INTEGER PRIMARY KEY, blob)")
        made.execute("CREATE TABLE small (id INTEGER PRIMARY KEY, blob)")
        made.executemany("INSERT INTO large VALUES (?, ?)", [(i, bytes(1_000)) for i in range(2_000)])
        made.execute("INSERT INTO small VALUES (1, ?)", (bytes(20_000),))
        made.execute("DELETE FROM large WHERE id > 1900")
    return path


@pytest.fixture
def pages(file: Path) -> Iterator[Pages]:
    opened = Pages(file)
    yield opened
    opened.close()


def told(file: Path, name: str) -> set[int]:
    """Return the pages of a tree as SQLite has them, but for overflow."""
    with closing(sqlite3.connect(file)) as plain:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype <> 'overflow'"
        return {number for (number,) in plain.execute(query, (name,))}


def test_a_tree_is_its_pages_from_the_root(file: Path, pages: Pages) -> None:
    forest = Forest(pages)
    assert set(forest.pages_of(3)) == told(file, "large")
    assert set(forest.pages_of(4)) == told(file, "small")
    assert set(forest.pages_of(1)) == {1}
    assert [*forest.strays_of(3), *forest.strays_of(4)] == []


def test_each_page_says_which_tree_it_is_in_and_free_ones_that_they_are_in_none(file: Path, pages: Pages) -> None:
    for name, root in (("large", 3), ("small", 4)):
        assert {pages.root_of(number) for number in told(file, name)} == {root}
    own = told(file, "large") | told(file, "small") | {1}
    assert {pages.root_of(number) for number in range(1, pages.count + 1) if number not in own} == {None}


def test_pages_below_a_damaged_one_are_found_by_what_they_say(file: Path) -> None:
    whole = told(file, "large")
    with file.open("r+b") as damaged:
        damaged.seek(2 * PAGE)
        damaged.write(bytes(PAGE))
    with closing(Pages(file)) as pages:
        forest = Forest(pages)
        assert set(forest.pages_of(3)) == {3}
        assert set(forest.pages_of(4)) == {4}
        assert {3, *forest.strays_of(3)} == whole


def test_a_page_is_not_taken_for_anothers_child(file: Path) -> None:
    """The root of the one names a page of the other as its last child."""
    other = max(told(file, "large"))
    with file.open("r+b") as damaged:
        damaged.seek(3 * PAGE)
        body = bytearray(bytes([5]).ljust(PAGE, b"\0"))
        body[8:12] = other.to_bytes(4, "big")
        damaged.write(body)
    with closing(Pages(file)) as pages:
        assert list(Forest(pages).pages_of(4)) == [4]


def test_the_wal_lies_over_the_file_as_far_as_it_was_committed(tmp_path: Path) -> None:
    path, copy = tmp_path / "live.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as live:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("CREATE TABLE t (a)")
        live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        live.execute("INSERT INTO t VALUES ('first')")
        shutil.copy(path, copy)
        committed = path.with_name("live.db-wal").read_bytes()
        live.execute("INSERT INTO t VALUES ('second')")
        longer = path.with_name("live.db-wal").read_bytes()
    beside = copy.with_name("copy.db-wal")

    def page(wal: bytes) -> bytes:
        beside.write_bytes(wal)
        with closing(Pages(copy)) as pages:
            return pages.read(2) or b""

    assert (b"first" in page(committed), b"second" in page(committed)) == (True, False)
    assert b"second" in page(longer)
    assert b"second" not in page(longer[:-1])  # torn
    flipped = bytearray(longer)
    flipped[-5] ^= 1
    assert b"second" not in page(bytes(flipped))
    assert b"first" not in page(b"")
    assert b"first" not in page(bytes(len(committed)))


def test_there_are_no_pages_beyond_the_end(pages: Pages) -> None:
    assert pages.read(0) is None
    assert pages.read(pages.count + 1) is None
    assert pages.tree(pages.count + 1) is None


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(ValueError, match="empty"):
        Pages(tmp_path / "empty.db")
