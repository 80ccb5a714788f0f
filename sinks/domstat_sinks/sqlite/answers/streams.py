"""The streams of a file, what there is of each, and reading at one moment: shared by all that answers questions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from domstat.history import EVER_MS, OnDamaged, Span
from domstat_sinks.sqlite.answers.head_source import HeadSource
from domstat_sinks.sqlite.answers.plan import Stock
from domstat_sinks.sqlite.answers.sealed_source import SealedSource
from domstat_sinks.sqlite.answers.source import Extent, Source
from domstat_sinks.sqlite.answers.stocks import buckets_of, ticks_of
from domstat_sinks.sqlite.answers.ticks import Boots
from domstat_sinks.sqlite.rollups.rollrecord import is_of_buckets


class Stream(Struct, frozen=True):
    """One host's collect block, by its number in the file."""

    number: int
    host: str
    collect: str


class Stored(Struct, frozen=True):
    """What is left of a stream: its *ticks*, None where there are none, and its tiers' *buckets*, coarsest first."""

    ticks: Stock | None
    buckets: tuple[Stock, ...]

    @property
    def span(self) -> Span | None:
        """From the oldest that there is on to the newest; None for nothing. A bucket begins before its first tick."""
        stocks = [stock for stock in (self.ticks, *self.buckets) if stock is not None]
        if not stocks:
            return None
        oldest = min(stocks, key=lambda stock: stock.span.since_ms)
        since_ms = oldest.span.since_ms
        if self.ticks is not None and self.ticks.span.since_ms < since_ms + oldest.width_ms:
            since_ms = self.ticks.span.since_ms
        return Span(since_ms, max(stock.span.until_ms for stock in stocks))


class Streams:
    """Looks at streams, on a connection that nobody else has a transaction on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        boots = Boots()
        self.sources: tuple[Source, ...] = (SealedSource(connection, boots), HeadSource(connection, boots))
        """Oldest first."""
        self._fields: tuple[int | None, frozenset[str]] = (None, frozenset())
        """The newest field's number, and the names of all; a field never goes."""

    def every(self) -> list[Stream]:
        """Return all of them."""
        rows = self.connection.execute("SELECT id, host, collect FROM stream WHERE tier = 0 ORDER BY host, collect")
        return [Stream(*row) for row in rows]

    def fields(self) -> frozenset[str]:
        """Return the names of all fields that are stored, and not only of buckets."""
        (newest,) = self.connection.execute("SELECT max(id) FROM field").fetchone()
        if newest != self._fields[0]:
            rows = self.connection.execute("SELECT name FROM field")
            self._fields = newest, frozenset(name for (name,) in rows if not is_of_buckets(name))
        return self._fields[1]

    def stored(self, stream: Stream) -> Stored:
        """Say what is left of a stream."""
        return Stored(ticks_of(self.connection, stream.number), tuple(buckets_of(self.connection, stream.number)))

    def extent(self, stream: Stream, span: Span, on_damaged: OnDamaged | None = None) -> Extent | None:
        """Return the first and the last tick of a stream in a span. Raises DamagedError."""
        extents = [source.extent(stream.number, span, on_damaged) for source in self.sources]
        found = [extent for extent in extents if extent is not None]
        if not found:
            return None
        first_ms, last_ms = min(extent.first_ms for extent in found), max(extent.last_ms for extent in found)
        return Extent(first_ms, last_ms, sum(extent.ticks for extent in found))

    def closed(self, span: Span) -> Span:
        """Close a span's open ends: where the history begins, and after the last tick there is."""
        since_ms, until_ms = span.since_ms, span.until_ms
        streams = self.every() if since_ms <= 0 or until_ms >= EVER_MS else []
        if since_ms <= 0:
            spans = [its for stream in streams if (its := self.stored(stream).span) is not None]
            since_ms = min((its.since_ms for its in spans), default=0)
        if until_ms >= EVER_MS:
            found = [extent for stream in streams if (extent := self.extent(stream, Span())) is not None]
            until_ms = max((extent.last_ms for extent in found), default=0) + 1
        return Span(since_ms, until_ms)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have all that is read be of one moment."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")
