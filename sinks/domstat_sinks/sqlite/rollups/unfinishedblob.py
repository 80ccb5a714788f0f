"""What is open of a stream as bytes, so that a writer that was closed goes on where it was. Pure.

Matrices are written as they are, and all is deflated together, behind a checksum; sketches are in blobs of their own.
What columns hold is written once for all of them: guests have most of it in common, and read back one by one it would
be a hundred small objects for each guest of the hour. Whatever is wrong with a blob costs no more than making the open
hour again of its ticks.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.heads.layout import Entry
from domstat_sinks.sqlite.heads.row import DamagedError, checked
from domstat_sinks.sqlite.rollups import sketchblob
from domstat_sinks.sqlite.rollups.recipes import Name, shared_name
from domstat_sinks.sqlite.rollups.rollplan import Columns, Scope, Whole
from domstat_sinks.sqlite.rollups.rollstats import Rollup, built, flat, forms
from domstat_sinks.sqlite.rollups.unfinished import Held, Sketched

LEVEL = 1
"""zlib's quickest: this is written when the agent ends, and names, which are most of it, repeat themselves."""

BYTES_MAX = 1 << 28
"""Bytes that a blob may come to: 5,000 guests have some 40 MB."""

_INTEGERS, _NUMBERS = np.dtype("<i8"), np.dtype("<u4")

_Columns: TypeAlias = tuple[bytes, bytes]
"""The records of some columns, and what they hold, by its number among the body's names."""


class _Table(Struct, frozen=True, array_like=True):
    """A roll-up: by sort its columns, then when its buckets begin, and its matrices as bytes."""

    entries: tuple[Entry, ...]
    series: tuple[_Columns, ...]
    starts: bytes
    matrices: tuple[bytes, ...]


class _Sketches(Struct, frozen=True, array_like=True):
    entries: tuple[Entry, ...]
    by_field: dict[str, bytes]


class _Names(Struct, frozen=True, array_like=True):
    """What columns hold: *pairs* are places among *fields* and *devices*."""

    fields: tuple[str, ...]
    devices: tuple[str | None, ...]
    pairs: bytes


class _Body(Struct, frozen=True, array_like=True):
    open_ms: int
    minutes_from: int
    hour_from: int
    minutes: tuple[_Table, ...]
    hour: tuple[_Table, ...]
    sketches: dict[int, tuple[_Sketches, ...]]
    names: _Names


_decoder = msgspec.msgpack.Decoder(_Body)


def encode(held: Held) -> bytes:
    """Make a blob of what is open."""
    numbers: dict[Name, int] = {}
    body = _Body(
        held.open_ms,
        held.minutes_from,
        held.hour_from,
        tuple(_table(rollup, numbers) for rollup in held.minutes),
        tuple(_table(rollup, numbers) for rollup in held.hour),
        {start_ms: tuple(map(_sketches, of)) for start_ms, of in held.sketches.items()},
        _names(numbers),
    )
    packed = zlib.compress(msgspec.msgpack.encode(body), LEVEL)
    return zlib.crc32(packed).to_bytes(4, "big") + packed


def decode(data: bytes) -> Held:
    """Return what was open. Raises DamagedError."""
    unpacker = zlib.decompressobj()
    try:
        body = _decoder.decode(unpacker.decompress(checked(data), BYTES_MAX))
        names = _named(body.names)
        return Held(
            body.open_ms,
            body.minutes_from,
            body.hour_from,
            tuple(_rollup(table, names) for table in body.minutes),
            tuple(_rollup(table, names) for table in body.hour),
            {start_ms: tuple(map(_sketched, of)) for start_ms, of in body.sketches.items()},
        )
    except (zlib.error, msgspec.DecodeError, ValueError, IndexError) as error:
        raise DamagedError(str(error)) from error


def _names(names: Collection[Name]) -> _Names:
    fields, devices = (list(dict.fromkeys(texts)) for texts in zip(*names, strict=True)) if names else ([], [])
    places = [{text: place for place, text in enumerate(texts)} for texts in (fields, devices)]
    pairs = [(places[0][field], places[1][device]) for field, device in names]
    return _Names(tuple(fields), tuple(devices), np.array(pairs, dtype=_NUMBERS).tobytes())


def _named(packed: _Names) -> list[Name]:
    """Make the names again. Raises ValueError and IndexError for what does not go together."""
    pairs = np.frombuffer(packed.pairs, _NUMBERS).reshape(-1, 2).tolist()
    return [shared_name(packed.fields[field], packed.devices[device]) for field, device in pairs]


def _table(rollup: Rollup, numbers: dict[Name, int]) -> _Table:
    """Make a table; what no column held before is given the next of *numbers*."""
    matrices = [
        matrix.astype(type_.newbyteorder("<"), copy=False).tobytes()
        for (type_, _), matrix in zip(forms(rollup.scope), flat(rollup), strict=True)
    ]
    series = tuple(
        (
            _bytes(columns.records),
            np.array([numbers.setdefault(name, len(numbers)) for name in columns.names], dtype=_NUMBERS).tobytes(),
        )
        for columns in rollup.scope.series
    )
    return _Table(rollup.scope.entries, series, _bytes(rollup.starts_ms), tuple(matrices))


def _rollup(table: _Table, names: Sequence[Name]) -> Rollup:
    """Make the roll-up again. Raises ValueError and IndexError for what does not go together."""
    columns = tuple(
        Columns(_integers(records), tuple([names[number] for number in np.frombuffer(numbers, _NUMBERS).tolist()]))
        for records, numbers in table.series
    )
    scope, starts_ms = Scope(table.entries, columns), _integers(table.starts)
    matrices = [
        np.frombuffer(matrix, type_.newbyteorder("<")).reshape(len(starts_ms), width)
        for (type_, width), matrix in zip(forms(scope), table.matrices, strict=True)
    ]
    return built(scope, starts_ms, matrices)


def _sketches(sketched: Sketched) -> _Sketches:
    return _Sketches(sketched.entries, {name: sketchblob.encode(of) for name, of in sketched.by_field.items()})


def _sketched(packed: _Sketches) -> Sketched:
    return Sketched(packed.entries, {name: sketchblob.decode(of) for name, of in packed.by_field.items()})


def _bytes(integers: Whole) -> bytes:
    return integers.astype(_INTEGERS, copy=False).tobytes()


def _integers(packed: bytes) -> Whole:
    return np.frombuffer(packed, _INTEGERS)
