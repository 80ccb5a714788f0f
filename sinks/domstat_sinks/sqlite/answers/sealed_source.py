"""Segments as a source of columns: one segment and field at a time, a chunk as a whole wherever it can be.

Which series a segment has, whose they are and in which ticks they have values is in its directory; so nothing is
unpacked but what is asked for. Ticks that are there twice, as some segment's own and as leads of the next, are told
apart by who asks (:func:`.source.joined`): a lead is never inside the span.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from msgspec import Struct

from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite.answers.choosing import Choice, Key
from domstat_sinks.sqlite.answers.sealed_columns import SealedField
from domstat_sinks.sqlite.answers.source import Column, Extent, Seen, Wanted
from domstat_sinks.sqlite.answers.ticks import Boots
from domstat_sinks.sqlite.answers.windows import Places, Roster, Window, places_of
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.packed.segments import DIRECTORIES_KEPT, Segments

SERIES_KEPT = 65_536
"""Series of segments whose places are remembered, some 600 B each: one field of 200 guests in 300 segments."""


class SealedSource:
    """Reads columns out of segments; meets :class:`.source.Source`."""

    def __init__(self, connection: sqlite3.Connection, boots: Boots) -> None:
        self._connection = connection
        self._boots = boots
        self._segments = Segments(connection)
        self._rosters: OrderedDict[int, Roster] = OrderedDict()
        self._places: OrderedDict[tuple[int, int], Places] = OrderedDict()
        self._series_kept = 0

    def extent(self, stream: int, span: Span, on_damaged: OnDamaged | None) -> Extent | None:
        """Return a stream's first and last tick in a span, and how many there are. Raises DamagedError."""
        found = []
        for row in self._rows(stream, span):
            if row.is_whole(span):
                found.append(Extent(row.start_ms, row.end_ms, row.ticks))
                continue
            window = self._window(row, span, on_damaged)
            if window is not None:
                times_ms = window.directory.time_ms[window.inside]
                found.append(Extent(int(times_ms.min()), int(times_ms.max()), len(times_ms)))
        if not found:
            return None
        first_ms, last_ms = min(extent.first_ms for extent in found), max(extent.last_ms for extent in found)
        return Extent(first_ms, last_ms, sum(extent.ticks for extent in found))

    def seen(self, stream: int, span: Span, on_damaged: OnDamaged | None) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, by segment. Raises DamagedError."""
        for row in self._rows(stream, span):
            window = self._window(row, span, on_damaged)
            if window is not None:
                yield from window.seen()

    def found(self, stream: int, span: Span, choice: Choice, on_damaged: OnDamaged | None) -> Iterator[tuple[Key, int]]:
        """Give the series that are chosen, by segment, and how many samples they have at most. Raises DamagedError."""
        for row in self._rows(stream, span):
            window = self._window(row, span, on_damaged)
            if window is None:
                continue
            count = window.last - window.first + 2
            for number in window.directory.fields:
                if not choice.wants_field(self._segments.field(number)):
                    continue
                for key in self._places_of(window.roster, number).spots:
                    if (choice.wants_everybody or choice.wants(key.who)) and choice.wants_device(key.device):
                        yield key, count

    def columns(self, keys: Sequence[Key], wanted: Wanted, on_damaged: OnDamaged | None) -> Iterator[Column]:
        """Give a column of each series and segment. Raises DamagedError."""
        streams: dict[int, dict[str, list[Key]]] = {}
        for key in keys:
            streams.setdefault(key.who.stream, {}).setdefault(key.field, []).append(key)
        for stream, fields in streams.items():
            for row in self._rows(stream, wanted.span):
                window = self._window(row, wanted.span, on_damaged)
                if window is None:
                    continue
                for number in window.directory.fields:
                    of_field = fields.get(self._segments.field(number))
                    if of_field:
                        places = self._places_of(window.roster, number)
                        reading = SealedField(self._segments, window, (number, places), wanted, on_damaged)
                        yield from reading.columns(of_field)

    # What is known of segments.

    def _rows(self, stream: int, span: Span) -> list[_Row]:
        """Return the segments that may have ticks in a span, in the order of their ticks."""
        found = self._connection.execute(
            "SELECT id, start_ms, end_ms, ticks FROM segment"
            " WHERE stream = ? AND end_ms >= ? AND start_ms < ? ORDER BY first_id",
            (stream, span.since_ms, span.until_ms),
        )
        return [_Row(stream, *row) for row in found]

    def _window(self, row: _Row, span: Span, on_damaged: OnDamaged | None) -> Window | None:
        """Return what a segment has in a span; None for nothing. Raises DamagedError."""
        try:
            roster = self._roster(row)
        except DamagedError as error:
            if on_damaged is None:
                raise
            on_damaged(str(error))
            return None
        window = Window(roster, None if row.is_whole(span) else span)
        return window if window.last >= 0 else None

    def _roster(self, row: _Row) -> Roster:
        known = self._rosters.get(row.id)
        if known is None:
            known = self._rosters[row.id] = Roster(row.stream, row.id, self._segments.directory(row.id), self._boots)
            if len(self._rosters) > DIRECTORIES_KEPT:
                self._rosters.popitem(last=False)
        return known

    def _places_of(self, roster: Roster, number: int) -> Places:
        """Return where the series of a field are."""
        known = self._places.get((roster.segment, number))
        if known is None:
            known = self._places[roster.segment, number] = places_of(roster, number, self._segments.field(number))
            self._series_kept += len(known.spots)
            while self._series_kept > SERIES_KEPT and len(self._places) > 1:
                self._series_kept -= len(self._places.popitem(last=False)[1].spots)
        return known


class _Row(Struct, frozen=True):
    """What the file says of a segment beside its directory."""

    stream: int
    id: int
    start_ms: int
    end_ms: int
    ticks: int

    def is_whole(self, span: Span) -> bool:
        """Whether all of its ticks are in a span."""
        return self.start_ms >= span.since_ms and self.end_ms < span.until_ms
