"""What is known of a series without its values: first, last, least, greatest, and by how much it rose. Pure.

All series of a chunk at once, as columns of words. The order is the type's own: words of every type are turned into
*keys*, which as unsigned numbers are in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat_sinks.sqlite.heads.row import Words

Indices: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

TYPES: Final = (ValueType.I64, ValueType.U64, ValueType.F64, ValueType.BOOL, ValueType.TEXT)
"""By their numbers in a chunk: never to be reordered."""
NUMBERS: Final = {type_: i for i, type_ in enumerate(TYPES)}

_I64, _F64 = NUMBERS[ValueType.I64], NUMBERS[ValueType.F64]
_TOP_BIT = np.uint64(1 << 63)
_NONE = np.uint64(0)
_SIGN = np.uint64(63)
_ALL = np.uint64((1 << 64) - 1)
_HALF = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)
_INFINITY = np.uint64(0x7FF0_0000_0000_0000)


class Header(Struct, frozen=True):
    """One series: words, None where there are none or where they mean nothing for the type.

    *min* and *max* leave out doubles that are no numbers, unless there is nothing else. *increment* is the sum of all
    steps up, without those across a break: what a counter counted although it began anew. It may exceed 64 bits.
    """

    count: int
    first: int | None
    last: int | None
    min: int | None
    max: int | None
    increment: int | None


class Headers(Struct, frozen=True, eq=False):
    """All series of a chunk, as columns. Where :class:`Header` says None, a column holds 0 or has no meaning.

    An increment is ``increment + (carry << 64)``; the carry is 0 for whatever has not begun anew very high up.
    """

    type: Flags
    count: Words
    first: Words
    last: Words
    min: Words
    max: Words
    increment: Words
    carry: Words

    def of(self, i: int) -> Header:
        """Return one series' header."""
        count, type_ = int(self.count[i]), TYPES[self.type[i]]
        if not count:
            return Header(0, None, None, None, None, 0 if type_ in _COUNTING else None)
        ordered = type_ is not ValueType.TEXT
        return Header(
            count,
            int(self.first[i]),
            int(self.last[i]),
            int(self.min[i]) if ordered else None,
            int(self.max[i]) if ordered else None,
            int(self.increment[i]) + (int(self.carry[i]) << 64) if type_ in _COUNTING else None,
        )


_COUNTING = {ValueType.I64, ValueType.U64}


def keys_of(words: Words, types: Any) -> Words:
    """Return keys in the order of the types, which are one for all words or one each."""
    keys: Words = words ^ _flip(types, words >> _SIGN != 0)
    return keys


def words_of(keys: Words, types: Any) -> Words:
    """Undo :func:`keys_of`."""
    words: Words = keys ^ _flip(types, keys >> _SIGN == 0)
    return words


def _flip(types: Any, negative: Any) -> Any:
    """Return the bits in which a key differs from its word."""
    if np.ndim(types):
        of_reals = np.where(negative, _ALL, _TOP_BIT)
        return np.where(types == _F64, of_reals, np.where(types == _I64, _TOP_BIT, _NONE))
    if types == _F64:
        return np.where(negative, _ALL, _TOP_BIT)
    return _TOP_BIT if types == _I64 else _NONE


def summarise(types: Flags, series: Sequence[Words], breaks: Mapping[int, Sequence[int]]) -> Headers:
    """Work out the headers of *series*; *breaks* are positions, beyond 0, by the index of a series."""
    counts = np.fromiter(map(len, series), dtype=np.int64, count=len(series))
    columns = np.zeros((6, len(series)), dtype=np.uint64)
    full = np.flatnonzero(counts)
    if len(full):
        flat = np.concatenate(series)
        ends = np.cumsum(counts)
        starts = ends - counts
        broken = [int(starts[i]) + place for i, places in breaks.items() for place in places if place < counts[i]]
        columns[:, full] = _columns(flat, types, counts, starts[full], broken)
    return Headers(types, counts.view(np.uint64), *columns)


def _columns(flat: Words, types: Flags, counts: Indices, starts: Indices, broken: Sequence[int]) -> Words:
    """Return the columns from the first to the carry, of those series that have values; they begin at *starts*."""
    each: Any = types[0] if (types == types[0]).all() else np.repeat(types, counts)  # mostly one for all
    own = each if np.ndim(each) == 0 else each[starts]
    ends = np.append(starts[1:], len(flat)) - 1
    keys = keys_of(flat, each)
    falls = keys[1:] < keys[:-1]
    falls[starts[1:] - 1] = False
    first, last = flat[starts], flat[ends]
    if not broken and not falls.any() and not np.any(own == _F64):
        none = np.zeros_like(first)
        return np.stack([first, last, first, last, keys[ends] - keys[starts], none])
    least, greatest = _without_nans(flat, each, keys, starts)
    low, high = _increments(keys, falls, starts, broken)
    least, greatest = np.minimum.reduceat(least, starts), np.maximum.reduceat(greatest, starts)
    return np.stack([first, last, words_of(least, own), words_of(greatest, own), low, high])


def _without_nans(flat: Words, types: Any, keys: Words, starts: Indices) -> tuple[Words, Words]:
    """Return keys for the least and for the greatest: what is no number never wins while there is a number."""
    reals = types == _F64
    if not reals.any():
        return keys, keys
    nans = reals & ((flat & ~_TOP_BIT) > _INFINITY)
    if not nans.any():
        return keys, keys
    numbers = np.logical_or.reduceat(~nans, starts)
    hidden = nans & np.repeat(numbers, np.diff(np.append(starts, len(flat))))
    return np.where(hidden, _ALL, keys), np.where(hidden, _NONE, keys)


def _increments(keys: Words, falls: Any, starts: Indices, broken: Sequence[int]) -> tuple[Words, Words]:
    """Sum the steps up, in 128 bits: the lower and the upper 64."""
    rises = np.zeros_like(keys)
    np.multiply(keys[1:] - keys[:-1], ~falls, out=rises[1:])
    rises[starts] = 0
    rises[list(broken)] = 0
    if int(rises.max()) < (1 << 64) // len(rises):
        sums = np.add.reduceat(rises, starts)
        return sums, np.zeros_like(sums)
    low = np.add.reduceat(rises & _LOW, starts)
    high = np.add.reduceat(rises >> _HALF, starts) + (low >> _HALF)
    return (high << _HALF) | (low & _LOW), high >> _HALF
