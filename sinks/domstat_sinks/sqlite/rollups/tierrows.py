"""Finished buckets as head rows: a tier is a stream of its own, and a bucket a tick of it.

So sealing, merging, checksums, verifying and reading are those of ticks. A row is packed some time before it is stored,
since that is to be quick: it is done in the transaction that seals the ticks that the bucket was made of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from domstat.memo import Shared
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.bases import Base, Bases
from domstat_sinks.sqlite.heads.headids import HeadIds
from domstat_sinks.sqlite.heads.layout import Entry, Shape
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.rollups.rollrecord import Row

BOOT = "rollup"
"""The boot of buckets, whose boot-time clock is the number of the last tick in them: so each has a stamp of its own."""

CROWD_MAX = 1_000
"""Rows for one bucket: one as a rule, and one each time that ticks come for it later."""


class Packed(Struct, frozen=True):
    """A bucket, packed: a head row that is not stored yet."""

    id: int
    stream: int
    start_ms: int
    last_id: int
    boot: int
    layout: int
    blob: bytes


class TierRows:
    """Packs and stores buckets, on the writing connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        numbers: Numbers,
        ids: HeadIds,
        ends_slice: Callable[[int, int], bool],
        added: Callable[[int, int, int], None],
    ) -> None:
        """*ends_slice* tells whether a row of this stream and time is the first of a slice, *added* is told of it."""
        self._connection = connection
        self._numbers = numbers
        self._ids = ids
        self._ends_slice = ends_slice
        self._added = added
        self._shape = Shared(Shape)
        self.forget()

    def forget(self) -> None:
        """Build on no row that was packed so far: it may never have been stored."""
        self._bases = Bases()
        self._layouts: dict[int, tuple[list[tuple[Entry, Shape]], int]] = {}

    def forget_layouts(self, gone: frozenset[int]) -> None:
        """Drop the numbers of layouts that are *gone*."""
        self._layouts = {stream: last for stream, last in self._layouts.items() if last[1] not in gone}

    def forget_stream(self, stream: int) -> None:
        """Build on no row of a stream, and drop the number of its layout."""
        self._bases.forget(stream)
        self._layouts.pop(stream, None)

    def pack(self, stream: int, start_ms: int, last_id: int, parts: Sequence[Row]) -> Packed:
        """Pack a bucket, whose records are in *parts*. Raises sqlite3.Error."""
        words = np.concatenate([part.words for part in parts])
        entries = [
            (entry, self._shape(columns))
            for part in parts
            for entry, columns in zip(part.entries, part.columns, strict=True)
        ]
        layout = self._layout(stream, entries)
        if self._ends_slice(stream, start_ms):
            self._bases.forget(stream)
        head_id = self._ids.take()
        base = self._bases.find(stream, layout)
        lengths = [len(shape.columns) for _, shape in entries]
        blob = row.encode(words, lengths, (base.id, base.words) if base else None, {})
        if base is None:
            self._bases.add(stream, layout, Base(head_id, words))
        self._added(stream, head_id, start_ms)
        return Packed(head_id, stream, start_ms, last_id, self._numbers.boot(BOOT), layout, blob)

    def store(self, packed: Packed) -> None:
        """Store a bucket, beside what there is of it already. Raises sqlite3.Error."""
        for time_ms in range(packed.start_ms, packed.start_ms + CROWD_MAX):
            stored = self._connection.execute(
                "INSERT OR IGNORE INTO head (id, stream, time_ms, boot_ns, boot_id, call_ns, layout, blob)"
                " VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
                (packed.id, packed.stream, time_ms, packed.last_id, packed.boot, packed.layout, packed.blob),
            )
            if stored.rowcount:
                return
        raise sqlite3.DataError(f"{CROWD_MAX} rows of one bucket")

    def _layout(self, stream: int, entries: list[tuple[Entry, Shape]]) -> int:
        """Return the number of a layout, nearly always that of the bucket before."""
        last = self._layouts.get(stream)
        if last is None or last[0] != entries:
            last = self._layouts[stream] = (entries, self._numbers.layout(entries))
        return last[1]
