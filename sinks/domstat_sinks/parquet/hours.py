"""An hour's file, made of the one that is there and of what came since: every record once, the newest as it came last.

A few tables are in memory at a time, however long the file. The file is there whole, or the one before it still is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from domstat_sinks.parquet import tables
from domstat_sinks.parquet.stores import Store

ROWS_AT_ONCE = 1 << 18
"""Rows that are put in order together: some 20 MB, and several times that while it is done. Four times as many make
files 2 % smaller and take 150 MB more."""

Tick: TypeAlias = tuple[str, int]


class Source(Struct, frozen=True):
    """Rows for an hour's file: of which ticks, and how they are read, a table at a time, as often as wanted."""

    ticks: frozenset[Tick]
    read: Callable[[], Iterator[Any]]


class Made(Struct, frozen=True):
    """What an hour's file has come to: its rows, and whether something came twice."""

    rows: int
    had_again: bool


def make(store: Store, name: str, sources: Sequence[Source]) -> Made:
    """Make an hour's file of what is there and of *sources*, the oldest first. Raises OSError or pyarrow's errors."""
    if store.has(name):
        with store.reading(name) as opened:
            file = pq.ParquetFile(opened)
            return _write(store, name, [_of_file(file), *sources])
    return _write(store, name, sources)


def _of_file(file: Any) -> Source:
    def read() -> Iterator[Any]:
        for batch in file.iter_batches(tables.ROW_GROUP):
            yield tables.as_ours(pa.Table.from_batches([batch]))

    ticks: set[Tick] = set()
    for batch in file.iter_batches(tables.ROW_GROUP, columns=["time", "collect"]):
        ticks |= tables.ticks_of(pa.Table.from_batches([batch]))
    return Source(frozenset(ticks), read)


def _write(store: Store, name: str, sources: Sequence[Source]) -> Made:
    seen = Counter(tick for source in sources for tick in source.ticks)
    again = frozenset(tick for tick, count in seen.items() if count > 1)
    rows = 0
    portions = _in_portions(_newest(sources, again) if again else _all(sources))
    first = next(portions)
    with store.making(name) as to, tables.writer_to(to, first) as writer:
        for table in chain([first], portions):
            writer.write_table(table, row_group_size=tables.ROW_GROUP)
            rows += len(table)
    return Made(rows, bool(again))


def _all(sources: Iterable[Source]) -> Iterator[Any]:
    for source in sources:
        yield from source.read()


def _newest(sources: Sequence[Source], again: frozenset[Tick]) -> Iterator[Any]:
    """Give the rows of each source, but of records that a later one has too."""
    keys = [_keys(source, source.ticks & again) for source in sources]
    for number, source in enumerate(sources):
        later = [found for found in keys[number + 1 :] if found is not None]
        replaced = pa.concat_arrays(later) if source.ticks & again and later else None
        for table in source.read():
            yield table if replaced is None else tables.without(table, replaced)


def _keys(source: Source, ticks: frozenset[Tick]) -> Any:
    """Return the keys of a source's records of these ticks; None if there are none."""
    if not ticks:
        return None
    found = [tables.keys_of(table.filter(tables.of_ticks(table, ticks))).unique() for table in source.read()]
    return pa.concat_arrays(found)


def _in_portions(found: Iterable[Any]) -> Iterator[Any]:
    """Put tables together until they are many rows, and those in order."""
    held: list[Any] = []
    rows = 0
    for table in found:
        held.append(table)
        rows += len(table)
        if rows >= ROWS_AT_ONCE:
            yield tables.together(held)
            held, rows = [], 0
    if rows:
        yield tables.together(held)
