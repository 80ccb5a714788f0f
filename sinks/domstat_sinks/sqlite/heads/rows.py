"""Head rows, read and unpacked as far as they are asked for, and what is before them.

Asks nothing but small indexed queries, and keeps a bounded number of rows, layouts and shapes.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from msgspec import Struct

from domstat.catalog import ValueType
from domstat.model import Kind, Stamp, key_of
from domstat.rates import Shape, shape_of
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.layout import Column, Entry, shared_column

ROWS_KEPT = 16_384
"""Records in the unpacked rows kept, about 600 B each. A large host's tick comes in many small rows, each with a base
of its own; of what comes in one row a few ticks are kept in any case (:data:`LEAST_KEPT`)."""

LAYOUTS_KEPT = 32_768
"""Records in the layouts kept, about 500 B each: two ticks of the largest host."""

LEAST_KEPT = 8
"""Rows, and layouts, kept however large: of each stream the one at hand, the one before, their bases."""

LINKS_KEPT = 20_000
"""Rows whose row before is remembered: a few hundred bytes each."""

ROWS_SEARCHED_MAX = 128
"""Rows gone through one by one in search of a subject's record before: more than a tick has chunks."""

RECORDS_SEARCHED_MAX = 16_384
"""Records in the layouts met on the way: one tick of the largest host. Beyond it the search is left to SQLite."""

Subject: TypeAlias = tuple[str, str | None, str | None]
"""Whose values a record has, over ticks: kind, uuid, and the name of what has no uuid."""


class ShapeRead:
    """A shape, read back: what a record's words are, and what rates are taken by."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.keys = tuple(key_of(column.field, column.device) for column in columns)

    @cached_property
    def counters(self) -> Shape:
        """The shape as the rates know it."""
        return shape_of(self.keys)


class LayoutRead:
    """A layout, read back: who is where in a row. Its shapes are read when a row of it is unpacked."""

    def __init__(self, entries: list[Entry], read_shapes: Callable[[], list[ShapeRead]]) -> None:
        self.entries = entries
        self._read_shapes = read_shapes
        self.guests = sum(entry.kind == Kind.GUEST for entry in entries)
        self.guests_before = list(accumulate((entry.kind == Kind.GUEST for entry in entries), initial=0))
        """Per position, how many guests come before it: its place in the answer."""
        self.subjects = [_subject(entry) for entry in entries]
        self.positions = {subject: position for position, subject in enumerate(self.subjects)}

    @cached_property
    def shapes(self) -> list[ShapeRead]:
        """The shape of each record."""
        return self._read_shapes()

    @cached_property
    def lengths(self) -> list[int]:
        """How many words each record has."""
        return [len(shape.columns) for shape in self.shapes]

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """Where each part's words begin and end."""
        return row.part_bounds(self.lengths)

    @cached_property
    def starts(self) -> list[int]:
        """Where each record's words begin, within its part."""
        starts: list[int] = []
        for position in range(len(self.entries)):
            first_in_part = position % row.PART_RECORDS == 0
            starts.append(0 if first_in_part else starts[-1] + self.lengths[position - 1])
        return starts


class HeadRow:
    """One head row, its parts unpacked as they are needed."""

    def __init__(self, head_id: int, stream: int, stamp: Stamp, layout: LayoutRead, body: row.Body) -> None:
        self.id = head_id
        self.stream = stream
        self.stamp = stamp
        self.layout = layout
        self.body = body
        self.parts: dict[int, Any] = {}
        self.earlier = _Earlier()


class _Before(Struct, frozen=True):
    """A head row that comes before another in its stream."""

    id: int
    time_ms: int
    layout: int


class _Earlier:
    """What is before a row, as far as it has been searched: of each layout the last row, newest first."""

    def __init__(self) -> None:
        self.last_of: dict[int, tuple[int, LayoutRead]] = {}
        self.farthest: _Before | None = None
        self.rows = 0
        self.records = 0
        self.ended = False


Item = TypeVar("Item")


class _Kept(Generic[Item]):
    """Rows or layouts by their ids, the oldest dropped while all together have more than so many records."""

    def __init__(self, records_max: int) -> None:
        self.items: dict[int, Item] = {}
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._records_max = records_max
        self._records = 0

    def put(self, id_: int, item: Item, records: int) -> Item:
        """Keep an item that was not there."""
        self.items[id_] = item
        self._sizes[id_] = records
        self._records += records
        while self._records > self._records_max and len(self._sizes) > LEAST_KEPT:
            oldest, size = self._sizes.popitem(last=False)
            self._records -= size
            del self.items[oldest]
        return item


class Rows:
    """Reads the head rows of a history, on any connection to it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: _Kept[HeadRow] = _Kept(ROWS_KEPT)
        self._layouts: _Kept[LayoutRead] = _Kept(LAYOUTS_KEPT)
        self._layouts_before: dict[int, LayoutRead] = {}
        self._shapes: WeakValueDictionary[int, ShapeRead] = WeakValueDictionary()
        """Those of the layouts, about 10 KB each: one a guest, since MACs differ."""
        self._before: OrderedDict[int, _Before | None] = OrderedDict()

    def turn(self) -> None:
        """Forget rows, and layouts that nobody has asked for since this was called before."""
        self._rows = _Kept(ROWS_KEPT)
        self._layouts_before, self._layouts = self._layouts.items, _Kept(LAYOUTS_KEPT)
        self._before.clear()

    def forget(self) -> None:
        """Forget rows and layouts."""
        self.turn()
        self._layouts_before = {}

    def row(self, head_id: int) -> HeadRow:
        """Return a row. Raises DamagedError."""
        return self._rows.items.get(head_id) or self._read_row(head_id)

    def words(self, at: HeadRow, part: int) -> Any:
        """Return the words of one part of a row. Raises DamagedError."""
        if part not in at.parts:
            base = self.words(self.row(at.body.base), part) if at.body.base else None
            start, end = at.layout.bounds[part]
            at.parts[part] = row.unpack_part(at.body, part, end - start, base)
        return at.parts[part]

    def record_before(self, at: HeadRow, position: int) -> tuple[int, int] | None:
        """Find the same subject's record before this one, in the same stream: its row's id and its position there.

        It is in the row before, or, where ticks come in chunks, as many rows before that as a tick has chunks.
        """
        subject = at.layout.subjects[position]
        for head_id, layout in at.earlier.last_of.values():
            if subject in layout.positions:
                return head_id, layout.positions[subject]
        for head_id, layout in self._search(at):
            if subject in layout.positions:
                return head_id, layout.positions[subject]
        return None if at.earlier.ended else self._record_long_before(at, subject)

    def _search(self, at: HeadRow) -> Iterator[tuple[int, LayoutRead]]:
        """Go on through the rows before this one, within the bounds; give the last of each layout."""
        earlier = at.earlier
        while not earlier.ended and earlier.rows < ROWS_SEARCHED_MAX and earlier.records < RECORDS_SEARCHED_MAX:
            before = self._row_before(at, earlier.farthest)
            if before is None:
                earlier.ended = True
                return
            earlier.farthest = before
            earlier.rows += 1
            if before.layout not in earlier.last_of:
                layout = self.layout(before.layout)
                earlier.records += len(layout.entries)
                earlier.last_of[before.layout] = (before.id, layout)
                yield before.id, layout

    def _row_before(self, at: HeadRow, farthest: _Before | None) -> _Before | None:
        """Return the row before *farthest*, or before *at* itself."""
        head_id = farthest.id if farthest else at.id
        if head_id not in self._before:
            found = self._connection.execute(
                "SELECT id, time_ms, layout FROM head WHERE stream + 0 = ? AND id < ? ORDER BY id DESC LIMIT 1",
                (at.stream, head_id),
            ).fetchone()
            keep(self._before, head_id, _Before(*found) if found else None, LINKS_KEPT)
        return self._before[head_id]

    def _record_long_before(self, at: HeadRow, subject: Subject) -> tuple[int, int] | None:
        """Find the record before among all layouts that the subject was ever in, by the last row of each."""
        kind, uuid, name = subject
        found = self._connection.execute(
            "SELECT h.id, f.position FROM ("
            " SELECT r.position AS position, (SELECT max(id) FROM head"
            "  WHERE layout = r.layout AND stream = ?1 AND id < ?2) AS id"
            " FROM layout_record r WHERE r.uuid IS ?3 AND +r.kind = ?4 AND (?3 IS NOT NULL OR r.name IS ?5)"
            ") f CROSS JOIN head h ON h.stream = ?1 AND h.id = f.id ORDER BY f.id DESC LIMIT 1",
            (at.stream, at.id, uuid, kind, name),
        ).fetchone()
        return (int(found[0]), int(found[1])) if found else None

    def _read_row(self, head_id: int) -> HeadRow:
        found = self._connection.execute(
            "SELECT h.stream, h.time_ms, h.boot_ns, b.boot_id, h.call_ns, h.layout, h.blob"
            " FROM head h JOIN boot b ON b.id = h.boot_id WHERE h.id = ?",
            (head_id,),
        ).fetchone()
        if found is None:
            raise row.DamagedError(f"head row {head_id} is missing, though another is a difference to it")
        stream, time_ms, boot_ns, boot_id, call_ns, layout_id, blob = found
        try:
            body = row.open_blob(blob)
        except row.DamagedError as error:
            raise row.DamagedError(f"head row {head_id} is damaged: {error}") from error
        layout = self.layout(layout_id)
        fresh = HeadRow(head_id, stream, Stamp(time_ms, boot_ns, boot_id, call_ns), layout, body)
        return self._rows.put(head_id, fresh, len(layout.entries))

    def layout(self, layout_id: int) -> LayoutRead:
        """Return a layout."""
        known = self._layouts.items.get(layout_id)
        if known is not None:
            return known
        known = self._layouts_before.get(layout_id)
        if known is not None:
            return self._layouts.put(layout_id, known, len(known.entries))
        found = self._connection.execute(
            "SELECT kind, uuid, name, incarnation, shape FROM layout_record WHERE layout = ? ORDER BY position",
            (layout_id,),
        ).fetchall()
        shapes = [item[4] for item in found]
        fresh = LayoutRead([Entry(*item[:4]) for item in found], lambda: [self._shape(shape) for shape in shapes])
        return self._layouts.put(layout_id, fresh, len(found))

    def _shape(self, shape: int) -> ShapeRead:
        known = self._shapes.get(shape)
        if known is None:
            found = self._connection.execute(
                "SELECT f.name, c.device, c.type FROM shape_column c JOIN field f ON f.id = c.field"
                " WHERE c.shape = ? ORDER BY c.position",
                (shape,),
            )
            known = ShapeRead(tuple(shared_column(name, device, ValueType(type_)) for name, device, type_ in found))
            self._shapes[shape] = known
        return known


def _subject(entry: Entry) -> Subject:
    # A guest may change its name, a pool is nothing but its name.
    return (entry.kind, entry.uuid, None if entry.uuid else entry.name)


def keep(remembered: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Remember *value* under *key*, and forget the oldest while there are more than so many."""
    remembered[key] = value
    while len(remembered) > most:
        remembered.popitem(last=False)
