"""What guests' key fields come to in an hour or a day, as blobs: quantile sketches, increases, time covered. Pure.

A blob holds one key field of a *block* of guests, by their numbers: so blobs of any hours and days of one block can be
added up as they are, whoever came and went between.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from domstat.catalog import look_up
from domstat.model import Kind, whole_device
from domstat_sinks.sqlite.heads.layout import Entry
from domstat_sinks.sqlite.heads.row import DamagedError, checked
from domstat_sinks.sqlite.rollups import sketch, sketchblob
from domstat_sinks.sqlite.rollups.keyfields import KEY_FIELDS, RATES
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, Sort
from domstat_sinks.sqlite.rollups.rollplan import Real, Whole
from domstat_sinks.sqlite.rollups.rollrecord import FROM_COUNTERS
from domstat_sinks.sqlite.rollups.rollstats import Rollup
from domstat_sinks.sqlite.rollups.sketch import Sketches
from domstat_sinks.sqlite.rollups.unfinished import Sketched

BLOCK = 256
"""Guests in a block: a blob is a few KB, and one of the guests of a large host is read without the others."""

KINDS = (Kind.GUEST, Kind.HOST)
"""Whose key fields there are."""

_NS = 1e9
_SOURCES = {counter: field for field, counter in FROM_COUNTERS.items()} | {field: field for field in RATES}
"""By counter, the key field whose increase it is."""


class Figures(Struct, frozen=True):
    """What a key field of a block of guests comes to, a row a guest.

    *gains* are by how much counters grew, in base units, 0 where it is none; *covered_s* is over how many seconds.
    """

    gains: Real
    covered_s: Real
    sketches: Sketches


class _Body(Struct, frozen=True, array_like=True):
    gains: bytes
    covered_s: bytes
    sketches: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


def encode(figures: Figures) -> bytes:
    """Make a blob of *figures*."""
    body = _encoder.encode(
        _Body(_packed(figures.gains), _packed(figures.covered_s), sketchblob.encode(figures.sketches))
    )
    return zlib.crc32(body).to_bytes(4, "big") + body


def total(blobs: Sequence[bytes]) -> Figures:
    """Add up blobs, at least one, of one block. Raises DamagedError."""
    try:
        bodies = [_decoder.decode(checked(blob)) for blob in blobs]
        with np.errstate(over="ignore"):  # a counter in doubles may grow by more than one holds
            gains = np.sum([_reals(body.gains) for body in bodies], axis=0)
        covered_s = np.sum([_reals(body.covered_s) for body in bodies], axis=0)
    except (msgspec.DecodeError, zlib.error, ValueError) as error:
        raise DamagedError(str(error)) from error
    return Figures(gains, covered_s, sketchblob.total([(1, sketchblob.open_blob(body.sketches)) for body in bodies]))


def sketches_of(blob: bytes) -> bytes:
    """Return the sketches of a blob, packed. Raises DamagedError."""
    try:
        return _decoder.decode(checked(blob)).sketches
    except msgspec.DecodeError as error:
        raise DamagedError(str(error)) from error


def _packed(reals: Real) -> bytes:
    return zlib.compress(np.ascontiguousarray(reals).tobytes(), 1)


def _reals(packed: bytes) -> Real:
    return np.frombuffer(zlib.decompress(packed), dtype=np.float64)


def figures_of_hour(
    start_ms: int, rollups: Sequence[Rollup], sketched: Sequence[Sketched], numbers: Mapping[Entry, int]
) -> Iterator[tuple[str, int, Figures]]:
    """Give (key field, block, figures) of one hour; *numbers* are those of the guests, of whoever has one."""
    gained, covered_s = _gained(start_ms, rollups, numbers)
    places = [_places(part, numbers) for part in sketched]
    for field in KEY_FIELDS:
        parts = [
            (part.by_field[field], of) for part, of in zip(sketched, places, strict=True) if field in part.by_field
        ]
        for block in sorted({block for _, of in parts for block in of}):
            merged = sketch.assembled([(of, *places[block]) for of, places in parts if block in places], BLOCK)
            if not merged.counts.any():
                continue
            own = range(block * BLOCK, (block + 1) * BLOCK)
            yield (
                field,
                block,
                Figures(
                    np.array([gained.get((field, number), 0.0) for number in own]),
                    np.array([covered_s.get(number, 0.0) for number in own]),
                    merged,
                ),
            )


def _places(part: Sketched, numbers: Mapping[Entry, int]) -> dict[int, tuple[Whole, Whole]]:
    """Return, by block, which rows of a part are in it, and at which places."""
    found: dict[int, list[tuple[int, int]]] = {}
    for record, entry in enumerate(part.entries):
        number = numbers.get(entry)
        if number is not None:
            found.setdefault(number // BLOCK, []).append((record, number % BLOCK))
    return {block: tuple(np.array(of, dtype=np.int64).T) for block, of in found.items()}


def _gained(
    start_ms: int, rollups: Sequence[Rollup], numbers: Mapping[Entry, int]
) -> tuple[dict[tuple[str, int], float], dict[int, float]]:
    """Return by how much key fields grew, by field and guest, and over how many seconds guests were seen."""
    gained: dict[tuple[str, int], float] = {}
    covered_s: dict[int, float] = {}
    for rollup in rollups:
        for bucket in np.flatnonzero(rollup.starts_ms == start_ms).tolist():
            owners = [numbers.get(entry) for entry in rollup.scope.entries]
            both = np.concatenate([rollup.scope.series[sort].records for sort in COUNTERS])
            longest: Whole = np.zeros(len(owners), dtype=np.int64)
            np.maximum.at(longest, both, rollup.counters.covered_ns[bucket])
            for owner, covered_ns in zip(owners, longest.tolist(), strict=True):
                if owner is not None:
                    covered_s[owner] = covered_s.get(owner, 0.0) + covered_ns / _NS
            for field, record, gain in _increases(rollup, bucket):
                owner = owners[record]
                if owner is not None:
                    gained[field, owner] = gained.get((field, owner), 0.0) + gain
    return gained, covered_s


def _increases(rollup: Rollup, bucket: int) -> Iterator[tuple[str, int, float]]:
    """Give (key field, record, increase in base units) of the counters that are of one."""
    found: tuple[tuple[Sort, Any], ...] = (
        (Sort.COUNT, rollup.counters.increments),
        (Sort.REAL_COUNT, rollup.counters.reals),
    )
    for sort, increments in found:
        columns = rollup.scope.series[sort]
        for i, (field, device) in enumerate(columns.names):
            if field in _SOURCES and device == whole_device(device):
                factor = look_up(field).rate_factor / _NS
                yield _SOURCES[field], int(columns.records[i]), float(increments[bucket, i]) * factor
