"""Batches as tables, each of one hour of one host: what to store, what to leave out and what to refuse. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from domstat.forms import Row, rows
from domstat.model import Batch, Record
from domstat_sinks.parquet.layout import Slot, slot_of
from domstat_sinks.parquet.tables import table_of

ROWS_MAX = 1 << 17
"""Rows of a table, about; what is in memory of a write at a time: some 30 MB as Python's objects, 10 as a table."""

_OF_A_VALUE = (pa.ArrowException, ValueError, OverflowError, TypeError)
"""What comes of values that no column holds; the same every time."""

_Item: TypeAlias = tuple[Batch, Record]


class Portion(Struct, frozen=True):
    """Rows of an hour of a host, and the ticks that they are of."""

    slot: Slot
    table: Any
    ticks: frozenset[tuple[str, int]]


class Faults:
    """What of a write is not stored: parts that are left out, and records that are refused."""

    def __init__(self) -> None:
        self.left_out: list[tuple[Record, str]] = []
        self.rejected: list[tuple[Batch, Record, str]] = []


def portions(batches: Iterable[Batch], faults: Faults) -> Iterator[Portion]:
    """Give all that can be stored of *batches*, and tell *faults* of the rest. Of a record twice the last counts."""
    by_slot: dict[Slot, dict[Any, _Item]] = {}
    for batch in batches:
        for record in batch.records:
            try:
                slot = slot_of(record.host, record.time_ms)
            except ValueError as error:
                faults.rejected.append((batch, record, str(error)))
                continue
            key = (record.collect, record.time_ms, record.kind, record.subject)
            by_slot.setdefault(slot, {})[key] = (batch, record)
    for slot, items in by_slot.items():
        for some in _some(items.values()):
            table = _table(some, faults)
            if table is not None and len(table):
                yield Portion(slot, table, frozenset((record.collect, record.time_ms) for _, record in some))


def _some(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    held: list[_Item] = []
    count = 0
    for item in items:
        held.append(item)
        figures = item[1].figures
        count += len(figures.keys) + len(figures.derived) + 1
        if count >= ROWS_MAX:
            yield held
            held, count = [], 0
    if held:
        yield held


def _table(items: Sequence[_Item], faults: Faults) -> Any:
    """Make a table of records; if a value stands in the way, look at each by itself."""
    try:
        table = _table_if_any([row for _, record in items for row in rows(record)])
        if table is None or _is_finite(table):
            return table
    except _OF_A_VALUE:
        pass
    made = []
    for batch, record in items:
        try:
            table = _table_if_any(list(_finite(record, faults)))
        except _OF_A_VALUE as error:
            faults.rejected.append((batch, record, f"{type(error).__name__}: {error}"))
        else:
            made += [table] if table is not None else []
    return pa.concat_tables(made).unify_dictionaries() if made else None


def _table_if_any(found: Sequence[Row]) -> Any:
    return table_of(found) if found else None


def _is_finite(table: Any) -> bool:
    return all(pc.all(pc.is_finite(table[name])).as_py() is not False for name in ("value", "rate"))


def _finite(record: Record, faults: Faults) -> Iterator[Row]:
    """Give a record's rows, but values and rates that are no numbers: no engine adds up with those."""
    for row in rows(record):
        name = f"{row.field}[{row.device}]" if row.device is not None else row.field
        if row.value is not None and not math.isfinite(row.value):
            faults.left_out.append((record, f"{name} is {row.value}"))
        elif row.rate is not None and not math.isfinite(row.rate):
            faults.left_out.append((record, f"the rate of {name} is {row.rate}"))
            yield row._replace(rate=None)
        else:
            yield row
