"""Segments as a source of columns: one segment and field at a time, a chunk as a whole wherever it can be.

Which series a segment has, whose they are and in which ticks they have values is in its directory; so nothing is
unpacked but what is asked for. Ticks that are there twice, as some segment's own and as leads of the next, are told
apart by who asks (:func:`.source.joined`): a lead is never inside the span.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite.answers.choosing import Choice, Globs, Key
from domstat_sinks.sqlite.answers.sealed_columns import SealedField
from domstat_sinks.sqlite.answers.sealed_slabs import SealedSlab, TierSegment, inside
from domstat_sinks.sqlite.answers.slabs import Owner
from domstat_sinks.sqlite.answers.source import Column, Extent, Seen, Wanted
from domstat_sinks.sqlite.answers.ticks import Boots
from domstat_sinks.sqlite.answers.windows import Places, Roster, Window, places_of
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.segments import Kept, Segments

SERIES_KEPT = 65_536
"""Series of segments whose places are remembered, some 600 B each: one field of 200 guests in 300 segments."""


class SealedSource:
    """Reads columns out of segments; meets :class:`.source.Source`."""

    def __init__(self, connection: sqlite3.Connection, boots: Boots) -> None:
        self._connection = connection
        self._boots = boots
        self._segments = Segments(connection)
        self._rosters: Kept[Roster] = Kept()
        self._places: OrderedDict[tuple[int, int], Places] = OrderedDict()
        self._series_kept = 0
        self._tier_segments: Kept[TierSegment] = Kept()

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

    def called(self, stream: int, span: Span, globs: Globs, on_damaged: OnDamaged | None) -> set[str]:
        """Return the uuids of guests that have such a name in segments of a span. Raises DamagedError."""
        found: set[str] = set()
        for row in self._rows(stream, span):
            roster = self._roster(row, on_damaged)
            if roster is None:
                continue
            names = roster.uuids_of
            matching = (name for name in names if globs.have(name)) if globs.plain is None else globs.plain
            found.update(*(names.get(name, ()) for name in matching))
        return found

    def seen(
        self, stream: int, span: Span, on_damaged: OnDamaged | None, uuids: Collection[str | None] | None = None
    ) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, by segment. Raises DamagedError."""
        for row in self._rows(stream, span):
            window = self._window(row, span, on_damaged)
            if window is not None:
                yield from window.seen(uuids)

    def found(self, stream: int, span: Span, choice: Choice, on_damaged: OnDamaged | None) -> Iterator[tuple[Key, int]]:
        """Give the series that are chosen, by segment, and how many samples they have at most. Raises DamagedError."""
        for row in self._rows(stream, span):
            window = self._window(row, span, on_damaged)
            if window is None:
                continue
            count = window.last - window.first + 2
            for number in self._numbers(window, choice.named):
                if not choice.wants_field(self._segments.field(number)):
                    continue
                places = self._places_of(window.roster, number)
                keys: Iterable[Key] = places.spots
                if choice.uuids is not None:
                    keys = [key for uuid in choice.uuids for key in places.of_uuid.get(uuid, ())]
                for key in keys:
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
                for number in self._numbers(window, fields):
                    places = self._places_of(window.roster, number)
                    reading = SealedField(self._segments, window, (number, places), wanted, on_damaged)
                    yield from reading.columns(fields[self._segments.field(number)])

    def owners(
        self, stream: int, span: Span, names: Collection[str], on_damaged: OnDamaged | None
    ) -> Iterator[tuple[str, Sequence[Owner], int]]:
        """Give whose series of some statistics there are in a tier, by segment. Raises DamagedError."""
        for row in self._rows(stream, span):
            segment = self._tier_segment(row, on_damaged)
            count = 0 if segment is None else len(inside(segment.directory, span))
            for name in names if count else ():
                number = self._segments.number(name)
                if segment is not None and number is not None:
                    yield name, segment.owners(number), count

    def slabs(
        self, stream: int, span: Span, _: tuple[Collection[str], Collection[Owner]], on_damaged: OnDamaged | None
    ) -> Iterator[SealedSlab]:
        """Give the buckets of a tier that begin in a span, by segment. Raises DamagedError."""
        for row in self._rows(stream, span):
            segment = self._tier_segment(row, on_damaged)
            within = None if segment is None else inside(segment.directory, span)
            if segment is not None and within is not None and len(within):
                yield SealedSlab(self._segments, segment, within, on_damaged)

    # What is known of segments.

    def _tier_segment(self, row: _Row, on_damaged: OnDamaged | None) -> TierSegment | None:
        """Return a tier's segment; None for one that is damaged. Raises DamagedError."""
        known = self._tier_segments.get(row.id)
        if known is not None:
            return known
        directory = self._directory(row, on_damaged)
        if directory is None:
            return None
        return self._tier_segments.put(row.id, TierSegment(row.id, directory), directory)

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
        roster = self._roster(row, on_damaged)
        if roster is None:
            return None
        window = roster.window(None if row.is_whole(span) else span)
        return window if window.last >= 0 else None

    def _roster(self, row: _Row, on_damaged: OnDamaged | None) -> Roster | None:
        """Return whose the series of a segment are; None for one that is damaged. Raises DamagedError."""
        known = self._rosters.get(row.id)
        if known is not None:
            return known
        directory = self._directory(row, on_damaged)
        if directory is None:
            return None
        return self._rosters.put(row.id, Roster(row.stream, row.id, directory, self._boots), directory)

    def _directory(self, row: _Row, on_damaged: OnDamaged | None) -> Directory | None:
        try:
            return self._segments.directory(row.id)
        except DamagedError as error:
            if on_damaged is None:
                raise
            on_damaged(str(error))
            return None

    def _numbers(self, window: Window, names: Collection[str] | None) -> Iterable[int]:
        """Return the numbers of the fields of these names that a segment has, of all without any."""
        if names is None:
            return window.directory.fields
        numbers = (self._segments.number(name) for name in names)
        return [number for number in numbers if number is not None and number in window.roster.fields]

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
