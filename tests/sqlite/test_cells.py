"""Whatever SQLite stores is read from its pages as it is; whatever a page is made of, reading it comes to an end."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domstat_sinks.sqlite.rescue.cells import Cell, Sql, payload_of, record_of, rows_on, tree_of, varint

PAGE = 4_096

values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, -1, 127, 128, -129, 2**15, 2**23, 2**31, 2**47]),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.binary(max_size=30),
    st.integers(0, 30_000).map(bytes),
)


def read(content: bytes, *, has_rowid: bool) -> dict[int, tuple[Sql, ...]]:
    """Read all rows of a file's only table, whatever pages they are on."""

    def page(number: int) -> bytes | None:
        found = content[(number - 1) * PAGE : number * PAGE]
        return found if len(found) == PAGE else None

    found: dict[int, tuple[Sql, ...]] = {}
    todo = [2]
    while todo:
        number = todo.pop()
        body = page(number)
        assert body is not None
        tree = tree_of(body, number)
        assert tree is not None
        todo += tree.children
        for cell in rows_on(body, tree):
            payload = payload_of(cell, page)
            assert payload is not None
            row = record_of(payload)
            assert row is not None
            assert (cell.rowid is not None) == has_rowid
            key = cell.rowid if cell.rowid is not None else row[0]
            assert isinstance(key, int)
            found[key] = row
    return found


@pytest.mark.parametrize("more", ["", "WITHOUT ROWID"])
@settings(max_examples=40)
@given(st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.tuples(values, values), min_size=1, max_size=60))
def test_rows_are_read_as_they_were_written(more: str, rows: dict[int, tuple[Sql, Sql]]) -> None:
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, a, b) {more}")
        made.executemany("INSERT INTO t VALUES (?, ?, ?)", [(key, *row) for key, row in rows.items()])
        content = made.serialize()
    found = read(content, has_rowid=not more)
    assert {key: row[1:] for key, row in found.items()} == rows


@given(st.binary(min_size=512, max_size=512), st.sampled_from([2, 5, 10, 13]), st.integers(1, 2))
def test_no_page_is_too_damaged_to_be_read(content: bytes, kind: int, number: int) -> None:
    at = 100 if number == 1 else 0
    page = content[:at] + bytes([kind]) + content[at + 1 :]
    tree = tree_of(page, number)
    assert tree is not None
    for cell in rows_on(page, tree):
        payload = payload_of(cell, lambda _: None)
        if payload is not None:
            record_of(payload)


@pytest.mark.parametrize("kind", [0, 1, 7, 255])
def test_what_is_no_tree_is_none(kind: int) -> None:
    assert tree_of(bytes([kind]) + bytes(PAGE - 1), 2) is None


def test_overflow_that_leads_in_a_circle_is_no_row() -> None:
    pages = {3: (4).to_bytes(4, "big").ljust(PAGE, b"\2"), 4: (3).to_bytes(4, "big").ljust(PAGE, b"\2")}
    assert payload_of(Cell(1, 1 << 30, b"", 3), pages.get) is None
    assert payload_of(Cell(1, PAGE, b"", 3), pages.get) == b"\2" * PAGE


@pytest.mark.parametrize("payload", [b"", b"\x02\x0a", b"\x03\x17\x01a", b"\x02\x17", b"\x02\x0f\xff", b"\x05\x01"])
def test_what_is_no_record_is_none(payload: bytes) -> None:
    assert record_of(payload) is None


def test_a_number_of_nine_bytes_has_all_64_bits() -> None:
    assert varint(b"\xff" * 9, 0) == (-1, 9)
    assert varint(b"\x81\x00", 0) == (128, 2)
    with pytest.raises(IndexError):
        varint(b"\xff", 0)
