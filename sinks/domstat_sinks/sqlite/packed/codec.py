"""Runs: whole numbers packed into bytes, each run behind a tag that says how. Pure.

pcodec sorts the numbers into bins by how often they occur, which is what differences of counters need. Short or nearly
constant runs fare better as planes of bytes, deflated; the smaller of both is kept.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, Final, TypeAlias

import numpy as np
import pcodec
from isal import isal_zlib
from pcodec import standalone

from domstat_sinks.sqlite.heads.row import DamagedError, Words

Steps: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

PCO_I64: Final = 1
PCO_I32: Final = 2
"""The numbers fit into 32 bits, which takes a quarter less time both ways."""
PCO_F64: Final = 3
PLANES: Final = 4
"""Zigzag, bytes sorted by significance, raw deflate: a count of planes, then the deflated planes."""

QUICK_LEVEL: Final = 4
"""What is merged within the hour: 5 % larger than level 6, at two thirds of the cost."""
NOISE_LEVEL: Final = 6
"""What is merged within the day, or is mostly noise, of which level 8 saves 0.3 % at twice the time."""
DAY_LEVEL: Final = 8
"""What is read for a month: up to 5 % smaller than level 6, and beyond it nothing gets smaller."""

NOISE_BITS: Final = 12
"""Bits of a number from which on it is mostly noise."""

PLANES_BELOW_BYTES: Final = 128
"""Where pcodec comes to less than this, its own tables are a good part of it, and planes are tried as well."""

SAMPLE_BLOCKS: Final = 4
SAMPLE_VALUES: Final = 128
"""Numbers in a block; some blocks tell what the rest is like."""
DRIFT_BITS: Final = 0.05
"""Bits of a number that differences must save: a twentieth of one is within what a sample may err."""

_ONE = np.uint64(1)
_TOP = np.uint64(63)
_RAW_DEFLATE = -15
_I32_LIMIT = 1 << 31


def _config(level: int, *, drifts: bool, grain: int) -> pcodec.ChunkConfig:
    return pcodec.ChunkConfig(
        compression_level=level,
        mode_spec=pcodec.ModeSpec.classic() if grain == 1 else pcodec.ModeSpec.try_int_mult(grain),
        delta_spec=pcodec.DeltaSpec.try_consecutive(1) if drifts else pcodec.DeltaSpec.no_op(),
    )


_CONFIGS = {
    (level, drifts): _config(level, drifts=drifts, grain=1)
    for level in (QUICK_LEVEL, NOISE_LEVEL, DAY_LEVEL)
    for drifts in (False, True)
}
_REAL_CONFIG = pcodec.ChunkConfig(compression_level=DAY_LEVEL)


def pack(numbers: Steps, level: int, grain: int = 1) -> bytes:
    """Make a run of *numbers*, of which there is at least one, and of which nearly all are multiples of *grain*."""
    drifts, bits = _character(numbers)
    if level == DAY_LEVEL and bits - math.log2(grain) > NOISE_BITS:
        level = NOISE_LEVEL
    config = _CONFIGS[level, drifts] if grain == 1 else _config(level, drifts=drifts, grain=grain)
    if max(int(numbers.max()), grain) < _I32_LIMIT and int(numbers.min()) >= -_I32_LIMIT:
        packed = _tagged(PCO_I32, standalone.simple_compress(numbers.astype(np.int32), config))
    else:
        packed = _tagged(PCO_I64, standalone.simple_compress(numbers, config))
    if len(packed) < PLANES_BELOW_BYTES:
        planes = _pack_planes(numbers)
        if len(planes) < len(packed):
            return planes
    return packed


def _character(numbers: Steps) -> tuple[bool, float]:
    """Look at some numbers; tell whether they drift, and about how many bits one of them takes.

    They drift where they are nearer to their neighbours than to the middle of all: then their differences are smaller.
    """
    if len(numbers) > SAMPLE_BLOCKS * SAMPLE_VALUES:
        stride = (len(numbers) - SAMPLE_VALUES) // (SAMPLE_BLOCKS - 1)
        places = [i * stride for i in range(SAMPLE_BLOCKS)]
        numbers = np.concatenate([numbers[place : place + SAMPLE_VALUES] for place in places])
    some = numbers.astype(np.float64)
    middle = np.partition(some, len(some) // 2)[len(some) // 2]
    alone = float(np.log2(np.abs(some - middle) + 1).sum()) / len(some)
    beside = float(np.log2(np.abs(some[1:] - some[:-1]) + 1).sum()) / len(some)
    return beside < alone - DRIFT_BITS, min(alone, beside)


def pack_reals(words: Words) -> bytes:
    """Make a run of doubles, given as their bits."""
    words = np.ascontiguousarray(words)
    planes = _pack_planes(words.view(np.int64))
    packed = _tagged(PCO_F64, standalone.simple_compress(words.view(np.float64), _REAL_CONFIG))
    return min(planes, packed, key=len)


def unpack(run: bytes, count: int) -> Steps:
    """Return the *count* numbers of a run; doubles as their bits. Raises DamagedError."""
    if not run:
        raise DamagedError("a run of values is empty")
    tag = run[0]
    if tag == PLANES:
        return _unpack_planes(run[1:], count)
    if tag not in {PCO_I64, PCO_I32, PCO_F64}:
        raise DamagedError(f"a run of values has codec {tag}, which this version does not know")
    try:
        numbers = standalone.simple_decompress(run[1:])
    except (RuntimeError, TypeError) as error:
        raise DamagedError(f"a run of values cannot be unpacked: {error}") from error
    dtype = {PCO_I64: np.int64, PCO_I32: np.int32, PCO_F64: np.float64}[tag]
    if numbers is None or len(numbers) != count or numbers.dtype != dtype:
        raise DamagedError(f"a run of values has not the {count} values it should have")
    unpacked: Steps = numbers.astype(np.int64) if tag == PCO_I32 else numbers.view(np.int64)
    return unpacked


def _tagged(tag: int, packed: bytes) -> bytes:
    return bytes((tag,)) + packed


def deflate(content: bytes) -> bytes:
    """Deflate without a checksum of its own: the chunk has one."""
    packer = isal_zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE)
    return packer.compress(content) + packer.flush()


def inflate(packed: bytes, size: int) -> bytes:
    """Undo :func:`deflate`, which was given *size* bytes. Raises DamagedError."""
    unpacker = zlib.decompressobj(_RAW_DEFLATE)
    try:
        content = unpacker.decompress(packed, size + 1)  # and no more, whatever it says
    except zlib.error as error:
        raise DamagedError(f"it cannot be inflated: {error}") from error
    if len(content) != size or not unpacker.eof:
        raise DamagedError(f"it inflates to something else than {size} bytes")
    return content


def _pack_planes(numbers: Steps) -> bytes:
    words = numbers.view(np.uint64)
    folded = (words << _ONE) ^ (np.uint64(0) - (words >> _TOP))
    needed = (int(folded.max()).bit_length() + 7) // 8
    planes = folded.view(np.uint8).reshape(-1, 8).T[:needed].tobytes()
    return bytes((PLANES, needed)) + deflate(planes)


def _unpack_planes(packed: bytes, count: int) -> Steps:
    if not packed or packed[0] > 8:
        raise DamagedError("a run of values has no planes")
    needed = packed[0]
    planes = np.frombuffer(inflate(packed[1:], needed * count), dtype=np.uint8)
    bytes_ = np.zeros((count, 8), dtype=np.uint8)
    bytes_[:, :needed] = planes.reshape(needed, count).T
    folded = bytes_.view(np.uint64).reshape(-1)
    return ((folded >> _ONE) ^ (np.uint64(0) - (folded & _ONE))).view(np.int64)
