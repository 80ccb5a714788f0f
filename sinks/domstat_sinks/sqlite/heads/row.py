"""A head row's blob: a tick's values as compressed planes of bytes, with a checksum.

The values, 64 bits each, are cut into *parts* of ``PART_RECORDS`` records, so that reading one guest does not unpack
them all. In a part each value is replaced by its difference to the base row's (zigzag, so that small differences of
either sign are small numbers). Most stand still: a bit for each value says whether it differs, and only of those that
do the bytes follow, sorted by significance, which leaves runs of zeros. That is deflated at the fastest level. The
whole is msgpack behind a CRC-32.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeAlias

import msgspec
import numpy as np
from isal import isal_zlib
from msgspec import Struct

from domstat.model import Partial

Words: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"

CODEC_PLANES = 1
"""Byte planes of all differences, raw deflate: schema version 1."""

CODEC_SPARSE = 2
"""A bit a value, byte planes of the differences that are not zero, raw deflate: half the size, twice as fast."""

PART_RECORDS = 64

_ONE = np.uint64(1)
_TOP = np.uint64(63)
_RAW_DEFLATE = -15


class Extra(Struct, frozen=True, omit_defaults=True):
    """What a record has beside its values."""

    partial: Partial | None = None
    anew: tuple[str, ...] | None = None


class Body(Struct, frozen=True, array_like=True):
    """A blob, unpacked once: *base* is the id of the row these are differences to, 0 for none."""

    codec: int
    base: int
    parts: list[bytes]
    extras: dict[int, Extra]


class DamagedError(Exception):
    """A row's blob is not what was written."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Body)


def encode(words: Words, lengths: list[int], base: tuple[int, Words] | None, extras: dict[int, Extra]) -> bytes:
    """Make a blob of *words*, of which each record has as many as *lengths* says; *base* is (row id, its words)."""
    changed = words if base is None else words - base[1]  # wraps around at 2^64, which is what undoes it again
    folded = (changed << _ONE) ^ (np.uint64(0) - (changed >> _TOP))
    parts = [_deflate(folded[start:end]) for start, end in part_bounds(lengths)]
    body = _encoder.encode(Body(CODEC_SPARSE, base[0] if base else 0, parts, extras))
    return zlib.crc32(body).to_bytes(4, "big") + body


def part_bounds(lengths: list[int]) -> list[tuple[int, int]]:
    """Return where each part's words begin and end."""
    bounds = []
    start = 0
    for i in range(0, len(lengths), PART_RECORDS):
        end = start + sum(lengths[i : i + PART_RECORDS])
        bounds.append((start, end))
        start = end
    return bounds


def _deflate(words: Words) -> bytes:
    differ = words != 0
    moved = words[differ]
    # The planes above the greatest word's are all zero: they are left out, and known by their absence.
    needed = (int(moved.max(initial=0)).bit_length() + 7) // 8
    planes = moved.view(np.uint8).reshape(-1, 8).T[:needed].tobytes()
    # Raw: the whole blob has its checksum already.
    packer = isal_zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE)
    return packer.compress(np.packbits(differ).tobytes()) + packer.compress(planes) + packer.flush()


def checked(blob: bytes) -> bytes:
    """Return what is behind a blob's checksum. Raises DamagedError."""
    if zlib.crc32(blob[4:]) != int.from_bytes(blob[:4], "big"):
        raise DamagedError("its checksum is wrong")
    return blob[4:]


def open_blob(blob: bytes) -> Body:
    """Check a blob and take it apart, its parts still packed. Raises DamagedError."""
    try:
        body = _decoder.decode(checked(blob))
    except msgspec.DecodeError as error:
        raise DamagedError(str(error)) from error
    if body.codec not in {CODEC_PLANES, CODEC_SPARSE}:
        raise DamagedError(f"it has codec {body.codec}, which this version does not know")
    return body


def unpack_part(body: Body, part: int, count: int, base: Words | None) -> Words:
    """Unpack one part of *count* words; *base* are the base row's words of it. Raises DamagedError."""
    try:
        stored = np.frombuffer(isal_zlib.decompress(body.parts[part], _RAW_DEFLATE), dtype=np.uint8)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
        raise DamagedError(str(error)) from error
    if body.codec == CODEC_PLANES:
        folded = _from_planes(stored, count)
    else:
        mask_bytes = (count + 7) // 8
        differ = np.unpackbits(stored[:mask_bytes], count=count).view(bool)
        folded = np.zeros(count, dtype=np.uint64)
        folded[differ] = _from_planes(stored[mask_bytes:], int(differ.sum()))
    changed = (folded >> _ONE) ^ (np.uint64(0) - (folded & _ONE))
    return changed if base is None else changed + base


def _from_planes(planes: Any, count: int) -> Words:
    """Put *count* words together again whose bytes are sorted by significance."""
    bytes_ = np.zeros((count, 8), dtype=np.uint8)
    if count:
        stored = planes.reshape(-1, count)
        bytes_[:, : len(stored)] = stored.T
    return bytes_.view(np.uint64).reshape(-1)
