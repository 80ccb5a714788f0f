"""Sketches as bytes, and many of them added up at once. Pure.

A blob holds the sketches of many series: all of one key field, say, and of one day. Of each series it has the bins from
the first to the last that counts something, all series' one behind the other. Numbers are packed by pcodec, behind a
checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from pcodec import ChunkConfig, standalone

from domstat_sinks.sqlite.heads.row import DamagedError, checked
from domstat_sinks.sqlite.rollups.sketch import Sketches, middle

CELLS_MAX = 1 << 26
"""Bins of all series together that a blob may claim to have: 20,000 series of all the bins there are."""


class Blob(Struct, frozen=True, array_like=True):
    """A blob, its numbers still packed: of how many *series*, all of whose bins are *width* from *first* on.

    *starts* is where each series' own bins begin, from *first*, *lengths* how many it has, and *counts* are theirs.
    """

    series: int
    first: int
    width: int
    starts: bytes
    lengths: bytes
    counts: bytes
    zeros: bytes
    sums: bytes
    mins: bytes
    maxs: bytes


_decoder = msgspec.msgpack.Decoder(Blob)


def encode(sketches: Sketches) -> bytes:
    """Make a blob of *sketches*."""
    is_used = sketches.bins > 0
    series, width = sketches.bins.shape
    any_used = is_used.any(axis=1)
    starts = is_used.argmax(axis=1) if width else np.zeros(series, dtype=np.int64)
    ends = width - is_used[:, ::-1].argmax(axis=1) if width else starts
    lengths = np.where(any_used, ends - starts, 0)
    columns = np.arange(width)
    own = (columns >= starts[:, None]) & (columns < (starts + lengths)[:, None])
    blob = Blob(
        series=series,
        first=sketches.first,
        width=width,
        starts=_pack(starts),
        lengths=_pack(lengths),
        counts=_pack(sketches.bins[own]),
        zeros=_pack(sketches.zeros),
        sums=_pack(sketches.sums),
        mins=_pack(sketches.mins),
        maxs=_pack(sketches.maxs),
    )
    body = msgspec.msgpack.encode(blob)
    return zlib.crc32(body).to_bytes(4, "big") + body


def open_blob(data: bytes) -> Blob:
    """Check a blob and take it apart. Raises DamagedError."""
    try:
        blob = _decoder.decode(checked(data))
    except msgspec.DecodeError as error:
        raise DamagedError(str(error)) from error
    if not 0 <= blob.series * blob.width <= CELLS_MAX:
        raise DamagedError(f"it claims to have {blob.series} sketches of {blob.width} bins")
    return blob


def decode(data: bytes) -> Sketches:
    """Return the sketches in a blob. Raises DamagedError."""
    return total([(1, open_blob(data))])


def total(terms: Sequence[tuple[int, Blob]]) -> Sketches:
    """Add up the blobs, at least one, of the same series whose sign is 1, and subtract those whose sign is -1.

    Where something is subtracted, the least and the greatest value are known as well as any other is, to 1 %. Raises
    DamagedError.
    """
    series = terms[0][1].series
    first = min((blob.first for _, blob in terms if blob.width), default=0)
    width = max((blob.first + blob.width for _, blob in terms if blob.width), default=0) - first
    flat = np.zeros(series * width, dtype=np.int64)
    zeros, sums = np.zeros(series, dtype=np.int64), np.zeros(series)
    mins, maxs = np.full(series, np.inf), np.full(series, -np.inf)
    for sign, blob in terms:
        lengths, counts = _unpack(blob.lengths, series), _unpack(blob.counts)
        starts = _unpack(blob.starts, series) + np.arange(series) * width + (blob.first - first)
        cells = np.arange(len(counts)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        flat[cells] += counts if sign > 0 else -counts
        zeros += sign * _unpack(blob.zeros, series)
        sums += sign * _unpack(blob.sums, series)
        if sign > 0:
            mins, maxs = np.minimum(mins, _unpack(blob.mins, series)), np.maximum(maxs, _unpack(blob.maxs, series))
    found = Sketches(first, flat.reshape(series, width), zeros, sums, mins, maxs)
    return _bounded(found) if any(sign < 0 for sign, _ in terms) else found


def _bounded(sketches: Sketches) -> Sketches:
    """Take the least and the greatest value from the bins, where the values themselves are not known."""
    is_used = sketches.bins > 0
    any_used = is_used.any(axis=1) if is_used.shape[1] else np.zeros(len(is_used), dtype=np.bool_)
    lowest, highest = np.zeros(len(is_used)), np.zeros(len(is_used))
    if is_used.shape[1]:
        lowest = middle(sketches.first + is_used.argmax(axis=1))
        highest = middle(sketches.first + is_used.shape[1] - 1 - is_used[:, ::-1].argmax(axis=1))
    mins = np.where(sketches.zeros > 0, 0.0, np.where(any_used, lowest, np.inf))
    maxs = np.where(any_used, highest, np.where(sketches.zeros > 0, 0.0, -np.inf))
    return msgspec.structs.replace(sketches, mins=mins, maxs=maxs)


def _pack(numbers: Any) -> bytes:
    packed: bytes = standalone.simple_compress(np.ascontiguousarray(numbers), ChunkConfig())
    return packed


def _unpack(packed: bytes, count: int | None = None) -> Any:
    """Unpack numbers, *count* of them. Raises DamagedError."""
    try:
        numbers = standalone.simple_decompress(packed)
    except Exception as error:
        raise DamagedError(str(error)) from error
    numbers = np.zeros(0, dtype=np.int64) if numbers is None else numbers
    if count is not None and len(numbers) != count:
        raise DamagedError(f"it has {len(numbers)} numbers where there should be {count}")
    return numbers
