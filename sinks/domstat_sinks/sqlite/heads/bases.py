"""The rows that the next rows of a stream are differences to, as the writer remembers them."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.row import Words

BASES_MAX = 64
"""Bases of one stream: a large host's tick comes in chunks, each with guests, and so a layout, of its own."""

BASE_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of one stream's bases: twice the values of as many guests as one call can return, so that whoever is asked for
in chunks has them all, and whoever has a new layout at every tick does not pile up old ones."""


class Base(Struct):
    """A head row that is plain, its values, and how many rows it serves, itself among them."""

    id: int
    words: Words
    rows: int = 1


class Bases:
    """Finds the base for a stream's next row: one a layout, the least recently used of too many forgotten."""

    def __init__(self) -> None:
        self._streams: dict[int, OrderedDict[int, Base]] = {}

    def find(self, stream: int, layout: int) -> Base | None:
        """Return the base for one more row of *layout*; None where that row must be plain."""
        bases = self._streams.get(stream)
        base = bases.get(layout) if bases else None
        if bases is None or base is None or base.rows >= schema.KEYFRAME_EVERY:
            return None
        base.rows += 1
        bases.move_to_end(layout)
        return base

    def add(self, stream: int, layout: int, base: Base) -> None:
        """Remember the base of the rows of *layout* that follow."""
        bases = self._streams.setdefault(stream, OrderedDict())
        bases.pop(layout, None)
        bases[layout] = base
        held = sum(base.words.nbytes for base in bases.values())
        while len(bases) > BASES_MAX or (held > BASE_BYTES_MAX and len(bases) > 1):
            held -= bases.popitem(last=False)[1].words.nbytes

    def forget(self, stream: int) -> None:
        """Forget the bases of *stream*: the rows that follow are plain until they have new ones."""
        self._streams.pop(stream, None)
