"""How far a sink has come in the journal. Pure.

Rows are numbered in the order in which they were collected. A sink that takes them in order has come to one number; one
that is also given fresh rows while a backlog drains has done some spans beyond it.
"""

from __future__ import annotations

import zlib

import msgspec
from msgspec import Struct

SPANS_MAX = 64
"""Spans a position can have: one for each time that a sink was away and has not caught up since."""


class Position(Struct, frozen=True):
    """Everything up to *low* is done, and the *spans* (first, last), all beyond it, apart and in order."""

    low: int = 0
    spans: tuple[tuple[int, int], ...] = ()

    def has(self, number: int) -> bool:
        """Whether the row *number* is done."""
        return number <= self.low or any(first <= number <= last for first, last in self.spans)

    @property
    def high(self) -> int:
        """The last number that is done."""
        return self.spans[-1][1] if self.spans else self.low

    @property
    def is_full(self) -> bool:
        """Whether there are so many spans that no row out of order may be done before older ones are."""
        return len(self.spans) >= SPANS_MAX

    def done(self, first: int, last: int) -> Position:
        """Return the position after the rows from *first* to *last* are done too, whichever of them exist."""
        low = self.low
        merged: list[tuple[int, int]] = []
        for begin, end in sorted([*self.spans, (first, last)]):
            if begin <= low + 1:
                low = max(low, end)
            elif merged and begin <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((begin, end))
        return Position(low, tuple(merged))

    def gap_after(self, number: int) -> int | None:
        """Return the first number after *number* at which a span begins, None if there is none."""
        return next((first for first, _ in self.spans if first > number), None)

    def encode(self) -> bytes:
        """Write the position as the journal stores it."""
        return _encode(self)


def seal(sink: bytes, at: Position) -> bytes:
    """Write a sink's position with a checksum: one that is damaged would have the sink miss what it is not yet at."""
    text = at.encode()
    return b"%08x%s" % (zlib.crc32(sink + text), text)


def unseal(sink: bytes, sealed: bytes) -> Position:
    """Read what :func:`seal` wrote. Raises ValueError for anything else."""
    if sealed[:8] != b"%08x" % zlib.crc32(sink + sealed[8:]):
        raise ValueError("its checksum is wrong")
    return decode(sealed[8:])


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Position)


def decode(text: bytes | str) -> Position:
    """Read a position that was stored. Raises ValueError for anything else."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a position: {error}") from error
