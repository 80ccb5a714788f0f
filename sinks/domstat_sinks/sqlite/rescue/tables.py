"""What the tables of today's schema look like, so that rows from elsewhere can be told to be theirs. Pure but for SQL.

A row is stored in an order of its own: where a table has no rowid its key comes first. An index has what it is made
of, and which row it is of; so it says something of rows that cannot be read.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from domstat_sinks.sqlite.rescue.cells import Sql

Known: TypeAlias = dict[str, Sql]
"""What is known of a row, by column."""

_IFNULL = re.compile(r"ifnull\((\w+), ''\)")
_TYPES: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "REAL": (float, int), "TEXT": (str,), "BLOB": (bytes,)}


class Column(Struct, frozen=True):
    """One column: *type* as declared; the *default* is for rows of before there was such a column."""

    name: str
    type: str
    is_needed: bool
    default: Sql


class Index(Struct, frozen=True):
    """One index: the columns of its rows, in their order; None for what says nothing. In *blank* ones '' is NULL."""

    name: str
    columns: tuple[str | None, ...]
    blank: frozenset[str]


class Table(Struct, frozen=True):
    """One table: its columns as rows have them, its *rowid* if one is, its key, its indexes."""

    name: str
    columns: tuple[Column, ...]
    rowid: str | None
    key: tuple[str, ...]
    indexes: tuple[Index, ...]

    def row(self, rowid: int | None, values: Sequence[Sql]) -> tuple[Sql, ...] | None:
        """Return a row's values if it can be one of this table, those it lacks filled in; None otherwise."""
        if (rowid is None) != (self.rowid is None) or len(values) > len(self.columns):
            return None
        row: list[Sql] = []
        for place, column in enumerate(self.columns):
            value = values[place] if place < len(values) else column.default
            if column.name == self.rowid:
                value = rowid if value is None else None
            if value is None:
                if column.is_needed:
                    return None
            elif not isinstance(value, _TYPES[column.type]):
                return None
            row.append(value)
        return tuple(row)

    def insertion(self) -> str:
        """Return the statement that takes such a row; one that is there already stays."""
        names = ", ".join(column.name for column in self.columns)
        return f"INSERT OR IGNORE INTO {self.name} ({names}) VALUES ({', '.join('?' * len(self.columns))})"  # noqa: S608


def tables_of(connection: sqlite3.Connection) -> list[Table]:
    """Describe all tables of a file."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    ).fetchall()
    return [_table(connection, name, has_rowid="WITHOUT ROWID" not in sql) for name, sql in found]


def _table(connection: sqlite3.Connection, name: str, *, has_rowid: bool) -> Table:
    found = connection.execute(f"PRAGMA table_info({name})").fetchall()
    keyed = sorted((place, column) for _, column, _, _, _, place in found if place)
    key = tuple(column for _, column in keyed)
    columns = {
        column: Column(column, type_, bool(not_null or place), int(default) if default else None)
        for _, column, type_, not_null, default, place in found
    }
    if not has_rowid:
        columns = {**{column: columns[column] for column in key}, **columns}
    indexes = tuple(
        _index(connection, index, key)
        for _, index, _, origin, *_ in connection.execute(f"PRAGMA index_list({name})").fetchall()
        if has_rowid or origin != "pk"
    )
    return Table(name, tuple(columns.values()), key[0] if has_rowid else None, key, indexes)


def _index(connection: sqlite3.Connection, name: str, key: tuple[str, ...]) -> Index:
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    blank = _IFNULL.findall(sql or "")
    expressions = iter(blank)
    columns: list[str | None] = []
    for _, number, column, *_ in connection.execute(f"PRAGMA index_xinfo({name})").fetchall():
        if number == -1:
            columns.append(key[0])
        else:
            columns.append(next(expressions, None) if number == -2 else column)
    return Index(name, tuple(columns), frozenset(blank))


def known_by(index: Index, values: Sequence[Sql]) -> Known | None:
    """Return what a row of an index says; None if it can be none."""
    if len(values) != len(index.columns):
        return None
    return {
        column: None if value == "" and column in index.blank else value
        for column, value in zip(index.columns, values, strict=True)
        if column is not None
    }
