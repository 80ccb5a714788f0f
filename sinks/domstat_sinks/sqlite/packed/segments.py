"""Sealed segments, read: series as they were, with their times and their rates.

Works on any connection to a history, and keeps a bounded number of directories and chunks.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType, look_up
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.packed.chunk import Chunk
from domstat_sinks.sqlite.packed.directory import EVERYTHING, GROUP, Directory, decode
from domstat_sinks.sqlite.packed.prediction import PREDICTED, predict
from domstat_sinks.sqlite.packed.ragged import Integers
from domstat_sinks.sqlite.schema import chunk_id

DIRECTORIES_KEPT = 64
"""Directories kept open, some hundred KB each: a month of days, and the segments of the day that is not merged yet."""

DIRECTORIES_KEPT_BYTES = 32 * 1024 * 1024
"""Of small ones more are kept, up to as many bytes: a year of the hours of ten hosts are 130 directories of 100 KB."""

_TICK_BYTES, _MEMBER_BYTES = 56, 1_500
"""What a directory takes for each of its ticks and members, about."""

CHUNKS_KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of packed chunks kept: one field of all guests over a week or two."""

TEXTS_KEPT = 65_536
"""Text values kept; there are only a few, unless a hypervisor makes new ones all the time."""

Reals: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


class Series(Struct, frozen=True):
    """One series of a segment: a member's column, under one of the names the member had."""

    member: int
    column: int
    name: int


Item = TypeVar("Item")


class Kept(Generic[Item]):
    """What is known by directories, by the numbers of their segments; the oldest goes where it becomes too much."""

    def __init__(self) -> None:
        self._items: OrderedDict[int, tuple[Item, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, segment: int) -> Item | None:
        """Return what is known, None for nothing."""
        known = self._items.get(segment)
        return None if known is None else known[0]

    def put(self, segment: int, item: Item, directory: Directory) -> Item:
        """Keep what was not known."""
        size = _TICK_BYTES * len(directory) + _MEMBER_BYTES * len(directory.members)
        self._items[segment] = item, size
        self._bytes += size
        while len(self._items) > DIRECTORIES_KEPT and self._bytes > DIRECTORIES_KEPT_BYTES:
            self._bytes -= self._items.popitem(last=False)[1][1]
        return item


class Segments:
    """Reads segments."""

    def __init__(self, connection: sqlite3.Connection, chunk_bytes: int = CHUNKS_KEPT_BYTES) -> None:
        self._connection = connection
        self._directories: Kept[Directory] = Kept()
        self._chunks: OrderedDict[int, tuple[Chunk, int]] = OrderedDict()
        self._chunk_bytes = 0
        self._chunk_bytes_max = chunk_bytes
        self._fields: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str | None] = {}

    def directory(self, segment: int) -> Directory:
        """Return a segment's directory. Raises DamagedError."""
        known = self._directories.get(segment)
        if known is not None:
            return known
        found = self._connection.execute("SELECT directory FROM segment WHERE id = ?", (segment,)).fetchone()
        if found is None:
            raise DamagedError(f"segment {segment} is missing")
        try:
            known = decode(found[0])
        except DamagedError as error:
            raise DamagedError(f"the directory of segment {segment} is damaged: {error}") from error
        return self._directories.put(segment, known, known)

    def chunk(self, segment: int, field: int, group: int) -> Chunk:
        """Return a chunk. Raises DamagedError."""
        number = chunk_id(segment, field, group)
        known = self._chunks.get(number)
        if known is not None:
            return known[0]
        found = self._connection.execute("SELECT blob FROM chunk WHERE id = ?", (number,)).fetchone()
        if found is None:
            raise DamagedError(f"chunk {number} (segment {segment}, {self.field(field)}) is missing")
        try:
            opened = Chunk(found[0])
        except DamagedError as error:
            raise DamagedError(
                f"chunk {number} (segment {segment}, {self.field(field)}) is damaged: {error}"
            ) from error
        self._chunks[number] = (opened, len(found[0]))
        self._chunk_bytes += len(found[0])
        while self._chunk_bytes > self._chunk_bytes_max and len(self._chunks) > 1:
            self._chunk_bytes -= self._chunks.popitem(last=False)[1][1]
        return opened

    def forget_chunks(self) -> None:
        """Let go of all chunks that are open; an open one has its series unpacked, as far as they were asked for."""
        self._chunks.clear()
        self._chunk_bytes = 0

    def field(self, field: int) -> str:
        """Return a field's name."""
        if field not in self._fields:
            self._fields.update(self._connection.execute("SELECT id, name FROM field").fetchall())
        return self._fields.get(field, f"field {field}")

    def number(self, field: str) -> int | None:
        """Return a field's number in the file, None for one that is not there."""
        if field not in self._numbers:
            found = self._connection.execute("SELECT id FROM field WHERE name = ?", (field,)).fetchone()
            if found is None:
                return None
            self._numbers[field] = found[0]
        return self._numbers[field]

    def series(self, segment: int, whose: int, field: int) -> list[Series]:
        """Return the series of a field that a member has under one name: *whose* is its place in Directory.whose."""
        directory = self.directory(segment)
        member, name = directory.whose[whose]
        return [Series(member, column, name) for column in directory.columns_of(member, field)]

    def words(self, segment: int, member: int, column: int, *, row: int | None = None) -> Words:
        """Return all values of a member's column, those in leads too. Raises DamagedError.

        *row* is where that is in its chunk, where the caller knows.
        """
        directory = self.directory(segment)
        field, group = directory.columns[column].field, member // GROUP
        opened = self.chunk(segment, field, group)
        place = directory.place(member, column) if row is None else row
        return opened.words(place, lambda: self._reference(segment, member, column))

    def _reference(self, segment: int, member: int, column: int) -> Words:
        """Return what a column was predicted from."""
        directory = self.directory(segment)
        wanted = directory.columns[column]
        parts = []
        for name in PREDICTED[self.field(wanted.field)]:
            places = {
                (self.field(directory.columns[other].field), directory.columns[other].device): other
                for field in directory.fields
                if self.field(field) == name
                for other in directory.columns_of(member, field)
            }
            parts.append(self.words(segment, member, places[name, wanted.device]))
        return predict(parts)

    def samples(self, segment: int, series: Series) -> tuple[Integers, Words]:
        """Return a series' times and values. Raises DamagedError."""
        directory = self.directory(segment)
        ticks, shown = self._shown(directory, series)
        return directory.time_ms[ticks[shown]], self.words(segment, series.member, series.column)[shown]

    def rates(self, segment: int, series: Series) -> tuple[Integers, Reals]:
        """Return a counter's times and rates per second; where there is none, not a number. Raises DamagedError.

        The very numbers that :func:`domstat.rates.advance` gives for these ticks one by one.
        """
        directory = self.directory(segment)
        ticks, shown = self._shown(directory, series)
        return directory.time_ms[ticks[shown]], self.rates_of(segment, series.member, series.column)[shown]

    def rates_of(self, segment: int, member: int, column_: int) -> Reals:
        """Return the rates of a member's counter in all its ticks, leads too. Raises DamagedError."""
        directory = self.directory(segment)
        ticks, column = directory.ticks_of(member, column_), directory.columns[column_]
        words = self.words(segment, member, column_)
        spans = spans_ns(directory, member, ticks)
        factor = look_up(self.field(column.field)).rate_factor
        rates = np.full(len(ticks), np.nan)
        steps = steps_of(column.type, words)
        with np.errstate(divide="ignore", invalid="ignore"):
            taken = steps * factor / spans
        taken[(spans <= 0) | fell(column.type, words)] = np.nan
        rates[1:] = np.nan if column.type is ValueType.TEXT else taken
        anew = [*directory.breaks.get((member, column_), []), *directory.breaks.get((member, EVERYTHING), [])]
        if anew:
            rates[np.isin(ticks, anew)] = np.nan
        return rates

    def text(self, number: int) -> str | None:
        """Return a text by its number."""
        if number not in self._texts:
            if len(self._texts) >= TEXTS_KEPT:
                self._texts.clear()
            found = self._connection.execute("SELECT value FROM text WHERE id = ?", (number,)).fetchone()
            self._texts[number] = found[0] if found else None
        return self._texts[number]

    @staticmethod
    def _shown(directory: Directory, series: Series) -> tuple[Integers, Any]:
        """Return a series' ticks, and which of them are shown: the segment's own, under the series' name."""
        ticks = directory.ticks_of(series.member, series.column)
        shown = directory.lead[ticks] == 0
        if len(directory.names_of(series.member)) > 1:
            shown &= directory.name_at(series.member)[directory.layout_of[ticks]] == series.name
        return ticks, shown


def spans_ns(directory: Directory, member: int, ticks: Integers) -> Integers:
    """Return the time from each tick to the next: by the boot-time clock within one boot, by wall time otherwise."""
    offsets = directory.offsets_ns(member, ticks)
    boots = directory.boot[ticks]
    spans = np.diff(directory.boot_ns[ticks] + offsets)
    known = np.array([bool(boot) for boot in directory.boots])
    elsewhere = (boots[1:] != boots[:-1]) | ~known[boots[1:]]
    if elsewhere.any():
        by_wall = np.diff(directory.time_ms[ticks] + offsets // 1_000_000) * 1_000_000
        spans = np.where(elsewhere, by_wall, spans)
    return spans


def steps_of(type_: ValueType, words: Words) -> Reals:
    """Return how far a counter went from each tick to the next, exactly as whole numbers are made doubles."""
    if type_ is ValueType.F64:
        return np.diff(words.view(np.float64))
    return np.diff(words).astype(np.float64)  # modulo 2^64, so that what rises is right whatever the type


def fell(type_: ValueType, words: Words) -> Any:
    """Return where a counter fell: it began anew there."""
    values = values_of(type_, words)
    return values[1:] < values[:-1]


def values_of(type_: ValueType, words: Words) -> Any:
    """Return words as numbers of their type; texts as their numbers."""
    if type_ is ValueType.F64:
        return words.view(np.float64)
    return words.view(np.int64) if type_ is ValueType.I64 else words
