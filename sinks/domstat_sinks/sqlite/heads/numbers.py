"""The numbers by which head rows refer to streams, boots, texts, shapes and layouts.

Each is looked up in the file once and remembered; what is not there is stored, in the transaction that needs it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from domstat.catalog import look_up
from domstat_sinks.sqlite.heads.layout import Entry, Shape, digest

REMEMBERED_MAX = 65_536
"""Numbers of one sort remembered, more than one answer has guests; beyond that all are looked up again."""

Key = TypeVar("Key", bound=Hashable)


class Numbers:
    """Finds numbers, on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered: a transaction that was rolled back took its numbers with it."""
        self._streams: dict[tuple[str, str, int], int] = {}
        self._boots: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._fields: dict[str, int] = {}
        self._shapes: WeakKeyDictionary[Shape, int] = WeakKeyDictionary()

    def forget_shapes(self, gone: frozenset[int]) -> None:
        """Drop the numbers of shapes that are *gone*."""
        for shape in [shape for shape, number in self._shapes.items() if number in gone]:
            del self._shapes[shape]

    def stream(self, stream: tuple[str, str], tier: int = 0) -> int:
        """Return the number of a stream, (host, collect block), or of one of its tiers."""
        find, add = (
            "SELECT id FROM stream WHERE host = ? AND collect = ? AND tier = ?",
            "INSERT INTO stream (host, collect, tier) VALUES (?, ?, ?)",
        )
        key = (*stream, tier)
        return self._remembered(self._streams, key, lambda: self._find_or_add(find, add, key))

    def boot(self, boot_id: str) -> int:
        """Return the number of a boot."""
        find, add = "SELECT id FROM boot WHERE boot_id = ?", "INSERT INTO boot VALUES (NULL, ?)"
        return self._remembered(self._boots, boot_id, lambda: self._find_or_add(find, add, (boot_id,)))

    def text(self, text: str) -> int:
        """Return the number of a text value."""
        find, add = "SELECT id FROM text WHERE value = ?", "INSERT INTO text VALUES (NULL, ?)"
        return self._remembered(self._texts, text, lambda: self._find_or_add(find, add, (text,)))

    def shape(self, shape: Shape) -> int:
        """Return the number of a shape, its columns stored with it."""
        return self._remembered(self._shapes, shape, lambda: self._add_shape(shape))

    def layout(self, entries: Sequence[tuple[Entry, Shape]]) -> int:
        """Return the number of a layout, its records stored with it."""
        rows = [(*msgspec.structs.astuple(entry), self.shape(shape)) for entry, shape in entries]
        add = "INSERT INTO layout_record VALUES (?, ?, ?, ?, ?, ?, ?)"
        return self._with_rows(
            "SELECT id FROM layout WHERE digest = ?", "INSERT INTO layout VALUES (NULL, ?)", add, rows
        )

    def _add_shape(self, shape: Shape) -> int:
        rows = [(self.field(column.field), column.device, column.type) for column in shape.columns]
        # The table's key begins with the field, so that a condition on a field finds it; position follows.
        add = "INSERT INTO shape_column (shape, position, field, device, type) VALUES (?, ?, ?, ?, ?)"
        return self._with_rows("SELECT id FROM shape WHERE digest = ?", "INSERT INTO shape VALUES (NULL, ?)", add, rows)

    def field(self, name: str) -> int:
        """Return the number of a field."""
        return self._remembered(self._fields, name, lambda: self._add_field(name))

    def _add_field(self, name: str) -> int:
        field = look_up(name)
        row = (name, str(field.kind), field.unit.base, field.unit.scale)
        found = self._connection.execute("SELECT id FROM field WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else self._add("INSERT INTO field VALUES (NULL, ?, ?, ?, ?)", row)

    def _with_rows(self, find: str, add: str, add_row: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Return the number of what has exactly *rows*, by their digest, storing it with them if it is new."""
        key = (digest(rows),)
        found = self._connection.execute(find, key).fetchone()
        if found:
            return int(found[0])
        number = self._add(add, key)
        self._connection.executemany(add_row, [(number, position, *row) for position, row in enumerate(rows)])
        return number

    def _find_or_add(self, find: str, add: str, values: tuple[Any, ...]) -> int:
        found = self._connection.execute(find, values).fetchone()
        return int(found[0]) if found else self._add(add, values)

    def _add(self, sql: str, values: tuple[Any, ...]) -> int:
        number = self._connection.execute(sql, values).lastrowid
        assert number is not None  # noqa: S101 - a row was inserted
        return number

    @staticmethod
    def _remembered(remembered: MutableMapping[Key, int], key: Key, find: Callable[[], int]) -> int:
        number = remembered.get(key)
        if number is None:
            if len(remembered) >= REMEMBERED_MAX:
                remembered.clear()
            number = remembered[key] = find()
        return number
