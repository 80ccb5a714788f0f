"""Rows of different lengths in one piece of memory. Pure.

The shapes and layouts of a day with guests that come and go are thousands of short arrays; each by itself takes more
than its numbers do, and together they leave memory that nothing else fits into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

DIGEST_BYTES = 16
"""Of a row's numbers; two that differ have the same with a chance of one in 2^128."""


class Ragged:
    """Rows of numbers, or of tuples of as many numbers each; they are not to be written to."""

    __slots__ = ("ends", "flat")

    def __init__(self, flat: Integers, lengths: Sequence[int] | Integers) -> None:
        self.flat = flat
        """All rows, one behind the other."""
        self.ends: Integers = np.concatenate([_ZERO, np.cumsum(lengths, dtype=np.int64)])
        """Where each row begins in :attr:`flat`, and where the last one ends."""

    @classmethod
    def of(cls, rows: Sequence[Integers], width: int = 0) -> Ragged:
        """Put *rows* together; of tuples of *width* numbers, or of numbers if that is 0."""
        none: Integers = np.zeros((0, width) if width else 0, dtype=np.int64)
        return cls(np.concatenate([*rows, none]), [len(row) for row in rows])

    @classmethod
    def of_packed(cls, packed: Sequence[bytes], width: int = 0) -> Ragged:
        """Read rows that :meth:`packed` made. Raises ValueError for bytes that no rows make."""
        read = cls(np.frombuffer(b"".join(packed), "<u4").astype(np.int64), [len(row) // 4 for row in packed])
        if not width:
            return read
        made = cls(np.empty((len(read.flat) // width, width), dtype=np.int64), read.lengths // width)
        for row, own in zip(made, read, strict=True):
            row[:] = own.reshape(width, -1).T
        return made

    def packed(self) -> list[bytes]:
        """Make bytes of each row, those of tuples number by number, which deflates better."""
        return [row.T.astype("<u4").tobytes() for row in self]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: int) -> Integers:
        return self.flat[self.ends[place] : self.ends[place + 1]]

    def __iter__(self) -> Iterator[Integers]:
        return (self[place] for place in range(len(self)))

    @property
    def lengths(self) -> Integers:
        """How long each row is."""
        return np.diff(self.ends)

    def numbers(self) -> Integers:
        """Return by place in :attr:`flat` the number of its row."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def rows_at(self, places: Integers) -> Integers:
        """Return the numbers of the rows that some places in :attr:`flat` are in."""
        return np.searchsorted(self.ends, places, side="right") - 1


class Distinct:
    """Rows of several, each once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        """By digest: the rows themselves, 1 KB each, would be there once more."""
        self._parts: list[Ragged] = []

    def places(self, rows: Ragged) -> Integers:
        """Return the place that each of *rows* has among all."""
        known, places = self._places, np.zeros(len(rows), dtype=np.int64)
        is_new = np.zeros(len(rows), dtype=np.bool_)
        for number, row in enumerate(rows):
            count = len(known)
            places[number] = known.setdefault(blake2b(row.tobytes(), digest_size=DIGEST_BYTES).digest(), count)
            is_new[number] = len(known) > count
        self._parts.append(Ragged(rows.flat[np.repeat(is_new, rows.lengths)], rows.lengths[is_new]))
        return places

    def together(self) -> Ragged:
        """Return all rows, in the order of their places."""
        return Ragged(
            np.concatenate([part.flat for part in self._parts]), np.concatenate([part.lengths for part in self._parts])
        )


_ZERO: Integers = np.zeros(1, dtype=np.int64)
