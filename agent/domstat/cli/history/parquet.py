"""Series as Parquet files, a folder a host and a day, as DuckDB, Spark, Trino and ClickHouse read them.

A row is a sample. Of a day and a host a few series are in memory at a time. Files come under their names whole: while
one is written its name begins with a dot, which all of these pass over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domstat.history import Series
from domstat.model import Value

ROWS_AT_ONCE = 1 << 17
"""Rows of a row group, and in memory: some 10 MB, a few times over while they are packed. What DuckDB itself makes."""

FILE = "part-0.parquet"
INT64_MAX = (1 << 63) - 1

_WORD = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("ms", tz="UTC")),
        ("collect", _WORD),
        ("kind", _WORD),
        ("uuid", _WORD),
        ("domain", _WORD),
        ("pool", _WORD),
        ("field", _WORD),
        ("device", _WORD),
        ("value", pa.float64()),
        ("value_int", pa.int64()),
        ("text", pa.string()),
        ("rate", pa.float64()),
        ("unit", _WORD),
        ("scale", pa.float64()),
    ]
)
"""Host and day are the folders' names. What no signed 64 bits hold is in *text*, all digits there: few engines have
unsigned integers."""


def write(folder: Path, host: str, day: str, samples: Iterable[Series], rates: Iterable[Series]) -> int:
    """Write the series of a host's day into its file; return the rows, and make no file if there are none.

    *rates* are those of the counters among them, in the same order. Raises OSError.
    """
    matched = _with_rates(samples, rates)
    first = next(matched, None)
    if first is None:
        return 0
    partition = folder / f"host={quote(host, safe='')}" / f"day={day}"
    partition.mkdir(parents=True, exist_ok=True)
    return _write_file(partition / FILE, (_table(series, rate) for series, rate in chain([first], matched)))


def _with_rates(samples: Iterable[Series], rates: Iterable[Series]) -> Iterator[tuple[Series, Series | None]]:
    """Give each series with its rates, if it has some."""
    later = iter(rates)
    waiting = next(later, None)
    for series in samples:
        if waiting is not None and _key_of(waiting) == _key_of(series):
            yield series, waiting
            waiting = next(later, None)
        else:
            yield series, None


def _key_of(series: Series) -> tuple[Any, ...]:
    subject = series.subject
    return (subject.collect, subject.kind, subject.uuid, subject.pool, series.field, series.device)


def _write_file(path: Path, tables: Iterable[Any]) -> int:
    """Write a file and put it in its place; return its rows."""
    begun = path.with_name(f".{path.name}")
    rows = 0
    try:
        with pq.ParquetWriter(begun, SCHEMA, compression="zstd") as writer:
            for table in _row_groups(tables):
                writer.write_table(table, row_group_size=len(table))
                rows += len(table)
        _sync(begun)
        begun.replace(path)
        _sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            begun.unlink()
        raise
    return rows


def _row_groups(tables: Iterable[Any]) -> Iterator[Any]:
    """Put tables together until they are large enough."""
    held: list[Any] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += len(table)
        if rows >= ROWS_AT_ONCE:
            yield _together(held)
            held, rows = [], 0
    if held:
        yield _together(held)


def _together(tables: list[Any]) -> Any:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _table(series: Series, rate: Series | None) -> Any:
    """Make the rows of one series."""
    subject, count = series.subject, len(series.time_ms)
    times = pa.array(series.time_ms, pa.int64())
    value, value_int, text = _values(series)
    columns = {
        "time": times.cast(pa.timestamp("ms", tz="UTC")),
        "collect": _same(subject.collect, count),
        "kind": _same(str(subject.kind), count),
        "uuid": _same(subject.uuid, count),
        "domain": _same(subject.name, count),
        "pool": _same(subject.pool, count),
        "field": _same(series.field, count),
        "device": _same(series.device, count),
        "value": value,
        "value_int": value_int,
        "text": text,
        "rate": _rates_at(times, rate),
        "unit": _same(series.measure.base, count),
        "scale": pa.repeat(pa.scalar(series.measure.scale, pa.float64()), count),
    }
    return pa.table(columns, schema=SCHEMA)


def _same(word: str | None, count: int) -> Any:
    """Make a column of one word, or of none."""
    if word is None:
        return pa.nulls(count, _WORD)
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), [word])


def _values(series: Series) -> tuple[Any, Any, Any]:
    """Return a series' values as doubles, as integers if they are some, and as texts if nothing else holds them."""
    if getattr(series.values, "dtype", "") == "object":  # texts, and values of several types
        return _values_of_any(series.values.tolist())
    values, count = pa.array(series.values), len(series.time_ms)
    no_text = pa.nulls(count, pa.string())
    if pa.types.is_floating(values.type):
        return values, pa.nulls(count, pa.int64()), no_text
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int64())
    doubles = values.cast(pa.float64(), safe=False)
    if not pa.types.is_unsigned_integer(values.type):
        return doubles, values, no_text
    fits = pc.less_equal(values, pa.scalar(INT64_MAX, pa.uint64()))
    whole = pc.if_else(fits, values, pa.scalar(None, pa.uint64())).cast(pa.int64())
    return doubles, whole, pc.if_else(fits, pa.scalar(None, pa.string()), values.cast(pa.string()))


def _values_of_any(values: list[Value]) -> tuple[Any, Any, Any]:
    def fits(value: Value) -> bool:
        return isinstance(value, int) and value <= INT64_MAX

    return (
        pa.array([None if isinstance(value, str) else float(value) for value in values], pa.float64()),
        pa.array([int(value) if fits(value) else None for value in values], pa.int64()),
        pa.array([None if fits(value) or isinstance(value, float) else str(value) for value in values], pa.string()),
    )


def _rates_at(times: Any, rate: Series | None) -> Any:
    """Return the rates at these times, none where there is none."""
    if rate is None:
        return pa.nulls(len(times), pa.float64())
    return pa.array(rate.values, pa.float64()).take(pc.index_in(times, value_set=pa.array(rate.time_ms, pa.int64())))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
