"""Rows as Arrow tables, and tables as bytes and in order. Without a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domstat.forms import Row

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
"""The columns of ``domstat history export --parquet``. Host and day are the folders' names."""

_WHOSE = b"domstat.host"
"""Where a file's metadata says whose it is: in full, and whatever becomes of the folder."""

ROW_GROUP = 1 << 17
"""Rows of a row group; in an hour's file each has a few fields only, so that a reader of one passes most over."""

_SERIES = ("field", "collect", "kind", "uuid", "pool", "device")
"""What is one column of values over time, in the order of a file."""

_TICK = ("collect", "time")
_PLACES = {name: Row._fields.index("time_ms" if name == "time" else name) for name in SCHEMA.names}
_MILLISECONDS = pa.timestamp("ms", tz="UTC")

_FILE_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": [
        *(field.name for field in SCHEMA if pa.types.is_dictionary(field.type)),
        "time",
        "text",
        "scale",
    ],
}
"""Plain numbers, since of most series no two values are alike: a quarter smaller than with dictionaries, and made in
half the time. No encoding is used that Spark or Trino may lack."""


def table_of(rows: Sequence[Row]) -> Any:
    """Make a table of a host's rows. Raises what pyarrow raises of values that no column holds."""
    columns = list(zip(*rows, strict=True))
    schema = SCHEMA.with_metadata({_WHOSE: rows[0].host.encode()})
    return pa.table([_column(columns[_PLACES[field.name]], field.type) for field in SCHEMA], schema=schema)


def host_of(table: Any) -> str:
    """Say whose rows a table has, as far as it says so."""
    found: bytes = (table.schema.metadata or {}).get(_WHOSE, b"")
    return found.decode()


def _column(values: Sequence[Any], type_: Any) -> Any:
    if pa.types.is_dictionary(type_):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, type_)


def packed(table: Any) -> Any:
    """Make a table the bytes of a file of rows that wait: Arrow's own format, the quickest to write."""
    to = pa.BufferOutputStream()
    with pa.ipc.new_file(to, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table.combine_chunks())
    return to.getvalue()


def unpacked(data: Any) -> Any:
    """Return what was packed. Raises pyarrow's errors for what is damaged."""
    with pa.ipc.open_file(pa.BufferReader(data)) as file:
        table = file.read_all()
    return as_ours(table)


def as_ours(table: Any) -> Any:
    """Return a table that was read, checked and in our columns. Raises pyarrow's errors, or KeyError."""
    schema = SCHEMA.with_metadata({_WHOSE: host_of(table).encode()})
    table = table.select(SCHEMA.names).cast(schema)
    table.validate(full=True)
    return table


def writer_to(file: Any, first: Any) -> Any:
    """Begin an hour's file of tables such as *first*; its ``write_table`` wants them in order."""
    return pq.ParquetWriter(file, first.schema, **_FILE_OPTIONS)


def together(tables: Sequence[Any]) -> Any:
    """Make one table of several, the rows of each series beside each other and otherwise in their order."""
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    return table.take(_order(table))


def _order(table: Any) -> Any:
    """Say in which order the rows go: by series. pyarrow sorts no dictionaries, so by each word's rank in its own."""
    ranks = {name: _ranks(table[name]) for name in _SERIES}
    number, most = None, 1
    for name in _SERIES:
        ranked, words = ranks[name]
        most *= words + 1
        number = ranked if number is None else pc.add(pc.multiply(number, words + 1), ranked)
    if most < 1 << 63:  # one number says it all
        return pc.array_sort_indices(number)
    apart = pa.table({name: ranked for name, (ranked, _) in ranks.items()})
    return pc.sort_indices(apart, sort_keys=[(name, "ascending") for name in _SERIES])


def _ranks(column: Any) -> tuple[Any, int]:
    """Return each row's place among the column's words, from 1 on, 0 for none; and how many words there are."""
    (chunk,) = column.chunks
    words = chunk.dictionary
    if not len(words):
        return pa.repeat(pa.scalar(0, pa.int64()), len(chunk)), 0
    ranked = pc.rank(words, tiebreaker="first").cast(pa.int64()).take(chunk.indices)
    return pc.fill_null(ranked, 0), len(words)


def ticks_of(table: Any) -> frozenset[tuple[str, int]]:
    """Return the ticks of which a table has rows: stream and time in milliseconds."""
    plain = pa.table({"collect": table["collect"].cast(pa.string()), "time": table["time"].cast(pa.int64())})
    found = plain.group_by(list(_TICK)).aggregate([])
    return frozenset(zip(found["collect"].to_pylist(), found["time"].to_pylist(), strict=True))


def of_ticks(table: Any, ticks: Iterable[tuple[str, int]]) -> Any:
    """Say of each row whether it may be of one of these ticks."""
    return pc.is_in(table["time"].cast(pa.int64()), value_set=pa.array({time for _, time in ticks}, pa.int64()))


def keys_of(table: Any) -> Any:
    """Return each row's record as one text: whatever is written under the same again replaces it.

    Stream, time, kind and subject; an event's subject has its type and device too, which its rows have in *field* and
    *device*. Lengths come first, so that no two keys are one however hostile a name.
    """
    is_event = pc.equal(table["kind"].cast(pa.string()), "event")
    parts = [table[name].cast(pa.string()) for name in ("collect", "kind", "uuid", "pool")]
    parts += [pc.if_else(is_event, table[name].cast(pa.string()), "") for name in ("field", "device")]
    parts = [pc.fill_null(part, "") for part in parts]
    lengths = [pc.binary_length(part).cast(pa.string()) for part in parts]
    return pc.binary_join_element_wise(table["time"].cast(pa.int64()).cast(pa.string()), *lengths, *parts, " ")


def without(table: Any, keys: Any) -> Any:
    """Return the rows of no record in *keys*."""
    return table.filter(pc.invert(pc.is_in(keys_of(table), value_set=keys)))
