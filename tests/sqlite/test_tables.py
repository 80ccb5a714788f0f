"""Which rows can be a table's, in which order they are stored, and what indexes know of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.rescue.tables import Table, known_by, tables_of


@pytest.fixture
def made() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.NEW)
        yield connection


@pytest.fixture
def tables(made: sqlite3.Connection) -> dict[str, Table]:
    return {table.name: table for table in tables_of(made)}


def test_a_row_of_its_table_is_taken_with_its_number(tables: dict[str, Table]) -> None:
    assert tables["boot"].row(7, (None, "some boot")) == (7, "some boot")


@pytest.mark.parametrize(
    ("rowid", "values"),
    [
        (7, (None, b"some boot")),  # another type
        (7, (None, None)),  # nothing where there must be something
        (7, (None, "some boot", 1)),  # more than there are columns
        (7, (1, "some boot")),  # a number that should not be there
        (None, (None, "some boot")),  # of a table without numbers
    ],
)
def test_what_cannot_be_one_is_not(tables: dict[str, Table], rowid: int | None, values: tuple[object, ...]) -> None:
    assert tables["boot"].row(rowid, values) is None  # type: ignore[arg-type]


def test_columns_that_came_later_have_their_defaults(tables: dict[str, Table]) -> None:
    assert tables["stream"].row(1, (None, "kvm1", "default")) == (1, "kvm1", "default", 0, 0)


def test_without_a_rowid_the_key_comes_first(tables: dict[str, Table]) -> None:
    table = tables["shape_column"]
    assert [column.name for column in table.columns] == ["shape", "field", "position", "device", "type"]
    assert table.insertion().startswith("INSERT OR IGNORE INTO shape_column (shape, field, position, device, type)")


def test_an_index_knows_its_columns_and_whose_row_it_is(tables: dict[str, Table]) -> None:
    by_name = {index.name: index for table in tables.values() for index in table.indexes}
    assert known_by(by_name["guest_key"], ("kvm1", "", 5)) == {"host": "kvm1", "uuid": None, "id": 5}
    assert known_by(by_name["gap_end"], (9, 1, 4)) == {"end_ms": 9, "stream": 1, "start_ms": 4}
    assert known_by(by_name["sqlite_autoindex_boot_1"], ("", 1)) == {"boot_id": "", "id": 1}
    assert known_by(by_name["head_order"], (1, 77)) == {"id": 77}
    assert known_by(by_name["head_order"], (1, 2, 3)) is None


def test_every_table_of_the_schema_is_described(made: sqlite3.Connection, tables: dict[str, Table]) -> None:
    for table in tables.values():
        names = {row[1] for row in made.execute(f"PRAGMA table_info({table.name})")}
        assert {column.name for column in table.columns} == names
        for index in table.indexes:
            assert set(index.columns) - {None} <= names
            assert set(table.key) <= set(index.columns)
