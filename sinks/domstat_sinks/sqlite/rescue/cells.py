"""What is on a page of an SQLite file, read without SQLite: cells of B-trees, and the records in them. Pure.

By https://sqlite.org/fileformat2.html. Everything may be damaged: what cannot be right is left out, cell by cell.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
"""Kinds of B-tree pages: the first byte of each."""

FILE_HEADER_BYTES = 100
"""What comes before the B-tree on page 1."""

Sql: TypeAlias = int | float | str | bytes | None

PAYLOAD_MAX = 1 << 30
"""No record is longer: SQLite's own bound, a billion bytes."""

_FLOAT = struct.Struct(">d")
_BODY_BYTES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of a value by its serial type, below 12."""


class Tree(Struct, frozen=True):
    """One page of a B-tree: its kind, where its cells begin, and its children, the last of all included."""

    kind: int
    cells: tuple[int, ...]
    children: tuple[int, ...]


class Cell(Struct, frozen=True):
    """A row as it is stored: *rowid* where the table has one; what does not fit goes on at page *overflow*."""

    rowid: int | None
    payload_bytes: int
    local: bytes
    overflow: int


def tree_of(page: bytes, number: int) -> Tree | None:
    """Read a page as one of a B-tree; None for one that is none, or cannot be."""
    at = FILE_HEADER_BYTES if number == 1 else 0
    kind = page[at]
    if kind not in {INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF}:
        return None
    is_interior = kind in {INDEX_INTERIOR, TABLE_INTERIOR}
    first = at + (12 if is_interior else 8)
    count = min(int.from_bytes(page[at + 3 : at + 5], "big"), (len(page) - first) // 2)
    found = struct.unpack_from(f">{count}H", page, first)
    cells = tuple(cell for cell in found if first + 2 * count <= cell <= len(page) - 4)
    children: tuple[int, ...] = ()
    if is_interior:
        pointers = [*cells, at + 8]
        children = tuple(int.from_bytes(page[cell : cell + 4], "big") for cell in pointers)
    return Tree(kind, cells, children)


def rows_on(page: bytes, tree: Tree) -> Iterator[Cell]:
    """Give the rows of a page that has some: those of a table's leaf, and of an index on all its pages."""
    if tree.kind == TABLE_INTERIOR:
        return
    for at in tree.cells:
        cell = _cell(page, at, tree.kind)
        if cell is not None:
            yield cell


def _cell(page: bytes, at: int, kind: int) -> Cell | None:
    usable = len(page)
    try:
        if kind == INDEX_INTERIOR:
            at += 4
        size, at = varint(page, at)
        rowid = None
        if kind == TABLE_LEAF:
            rowid, at = varint(page, at)
    except IndexError:
        return None
    if not 0 < size <= PAYLOAD_MAX:
        return None
    least = (usable - 12) * 32 // 255 - 23
    most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    local = size
    if size > most:
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    end = at + local
    if end + (4 if local < size else 0) > usable:
        return None
    overflow = int.from_bytes(page[end : end + 4], "big") if local < size else 0
    return Cell(rowid, size, page[at:end], overflow)


def payload_of(cell: Cell, read: Callable[[int], bytes | None]) -> bytes | None:
    """Put a cell's payload together, *read* giving overflow pages; None where one is missing, or comes twice."""
    parts, missing, number = [cell.local], cell.payload_bytes - len(cell.local), cell.overflow
    seen: set[int] = set()
    while missing > 0:
        page = read(number) if number and number not in seen else None
        if page is None:
            return None
        seen.add(number)
        parts.append(page[4 : 4 + missing])
        missing -= len(parts[-1])
        number = int.from_bytes(page[:4], "big")
    return b"".join(parts)


def record_of(payload: bytes) -> tuple[Sql, ...] | None:
    """Read a payload's values; None for one that is no record."""
    try:
        header_bytes, at = varint(payload, 0)
        types = []
        while at < header_bytes:
            type_, at = varint(payload, at)
            types.append(type_)
        if at != header_bytes:
            return None
        values: list[Sql] = []
        for type_ in types:
            size = _BODY_BYTES[type_] if 0 <= type_ < 10 else (type_ - 12) // 2
            if type_ in {10, 11} or size < 0 or at + size > len(payload):
                return None
            values.append(_value(type_, payload[at : at + size]))
            at += size
    except (IndexError, ValueError):
        return None
    return tuple(values) if at == len(payload) else None


def _value(type_: int, stored: bytes) -> Sql:
    """Read one value. Raises ValueError for text that is none."""
    if type_ == 0:
        return None
    if type_ < 7:
        return int.from_bytes(stored, "big", signed=True)
    if type_ == 7:
        number: float = _FLOAT.unpack(stored)[0]
        return number
    if type_ < 10:
        return type_ - 8
    return stored.decode() if type_ % 2 else stored


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; return it, and where it ends. Raises IndexError."""
    number = 0
    for place in range(at, at + 8):
        byte = data[place]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place + 1
    number = number << 8 | data[at + 8]
    return number - (1 << 64) if number >> 63 else number, at + 9
