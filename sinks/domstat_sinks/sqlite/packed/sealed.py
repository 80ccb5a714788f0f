"""Segments, taken apart into the ticks they were made of: for whoever wants records and not series."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, ValueType, look_up
from domstat.model import Domain, Figures, Kind, Moment, Pool, Record, Stamp, Value, key_of
from domstat_sinks.sqlite.heads.row import DamagedError, Extra, Words
from domstat_sinks.sqlite.packed.directory import EVERYTHING, Directory
from domstat_sinks.sqlite.packed.segments import Segments, spans_ns, values_of

WINDOW_VALUES = 1_000_000
"""Values unpacked at once, about 50 bytes each as objects: a hundred ticks of 200 guests."""


class SealedTick(Struct, frozen=True):
    """One tick, as it was stored, and for each record when it was read and how long after the one before (ns)."""

    id: int
    stamp: Stamp
    records: tuple[Record, ...]
    moments: tuple[Moment, ...]
    spans_ns: tuple[int | None, ...]


class _Window(Struct, frozen=True):
    """A few ticks of a segment, and by member and column what is in them."""

    directory: Directory
    ticks: range
    values: dict[tuple[int, int], dict[int, Value]]
    rates: dict[tuple[int, int], dict[int, float]]
    offsets: dict[int, dict[int, int]]
    spans: dict[int, dict[int, int]]


class SealedTicks:
    """Reads ticks out of segments."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._segments = Segments(connection)

    def ticks(self, segment: int, after_id: int, since_ms: int, until_ms: int) -> Iterator[SealedTick]:
        """Give a segment's own ticks after one, as far as they are in a span of time. Raises DamagedError."""
        directory = self._segments.directory(segment)
        of_stream = "SELECT s.host, s.collect FROM segment g JOIN stream s ON s.id = g.stream WHERE g.id = ?"
        stream = self._connection.execute(of_stream, (segment,)).fetchone()
        wanted = (directory.lead == 0) & (directory.ids > after_id)
        wanted &= (directory.time_ms >= since_ms) & (directory.time_ms < until_ms)
        places = np.flatnonzero(wanted).tolist()
        if not places:
            return
        if stream is None:
            raise DamagedError(f"segment {segment} is missing")
        per_tick = max(len(directory.shapes.flat), 1)
        size = max(WINDOW_VALUES // per_tick, 1)
        for start in range(places[0], places[-1] + 1, size):
            window = self._window(segment, directory, range(start, min(start + size, len(directory))))
            yield from (self._tick(window, tick, stream) for tick in window.ticks if wanted[tick])

    def _window(self, segment: int, directory: Directory, ticks: range) -> _Window:
        window = _Window(directory, ticks, {}, {}, {}, {})
        for member, placements in enumerate(directory.placements):
            there = directory.ticks_of(member)
            first, last = np.searchsorted(there, (ticks.start, ticks.stop)).tolist()
            if first == last:
                continue
            own = there[first:last].tolist()
            window.offsets[member] = dict(
                zip(own, directory.offsets_ns(member, there[first:last]).tolist(), strict=True)
            )
            since = max(first - 1, 0)
            spans = spans_ns(directory, member, there[since:last]).tolist()
            anew = directory.breaks.get((member, EVERYTHING), ())
            since_before = zip(there[since + 1 : last].tolist(), spans, strict=True)
            window.spans[member] = {at: span for at, span in since_before if at not in anew}
            shapes = set(placements[:, 2].tolist())
            for column in sorted({int(column) for shape in shapes for column in directory.shapes[shape]}):
                self._take(segment, window, member, column)
        return window

    def _take(self, segment: int, window: _Window, member: int, column: int) -> None:
        """Take a series' values and rates in the window's ticks."""
        directory = window.directory
        there = directory.ticks_of(member, column)
        first, last = np.searchsorted(there, (window.ticks.start, window.ticks.stop)).tolist()
        if first == last:
            return
        own = there[first:last].tolist()
        words = self._segments.words(segment, member, column)[first:last]
        window.values[member, column] = dict(zip(own, self._values(directory.columns[column].type, words), strict=True))
        if look_up(self._segments.field(directory.columns[column].field)).kind is FieldKind.COUNTER:
            rates = self._segments.rates_of(segment, member, column)[first:last].tolist()
            window.rates[member, column] = {
                tick: rate
                for tick, rate in zip(own, rates, strict=True)
                if rate == rate  # noqa: PLR0124
            }

    def _values(self, type_: ValueType, words: Words) -> Sequence[Value]:
        if type_ is ValueType.TEXT:
            return [self._segments.text(word) or "" for word in words.tolist()]
        if type_ is ValueType.BOOL:
            return [bool(word) for word in words.tolist()]
        found: list[Value] = values_of(type_, words).tolist()
        return found

    def _tick(self, window: _Window, tick: int, stream: tuple[str, str]) -> SealedTick:
        directory, stamp = window.directory, window.directory.stamp(tick)
        about: dict[str, Any] = {"host": stream[0], "collect": stream[1], "time_ms": stamp.time_ms}
        extras = directory.extras.get(tick, {})
        records, moments, spans = [], [], []
        for position, (member, shape, name) in enumerate(directory.layouts[directory.layout_of[tick]].tolist()):
            columns = directory.shapes[shape].tolist()
            records.append(self._record(window, tick, (member, name), columns, extras.get(position, _NOTHING), about))
            offset = window.offsets[member][tick]
            moments.append(Moment(stamp.time_ms + offset // 1_000_000, stamp.boot_ns + offset, stamp.boot_id))
            spans.append(window.spans[member].get(tick))
        return SealedTick(int(directory.ids[tick]), stamp, tuple(records), tuple(moments), tuple(spans))

    def _record(
        self,
        window: _Window,
        tick: int,
        whose: tuple[int, int],
        columns: Sequence[int],
        extra: Extra,
        about: dict[str, Any],
    ) -> Record:
        directory = window.directory
        member, name = directory.members[whose[0]], directory.names[whose[1]]
        keys = [self._key(directory, column) for column in columns]
        params = {key: window.values[whose[0], column][tick] for key, column in zip(keys, columns, strict=True)}
        rates = {}
        for key, column in zip(keys, columns, strict=True):
            rate = window.rates.get((whose[0], column), _NO_RATES).get(tick)
            if rate is not None:
                rates[key] = rate
        return Record(
            kind=Kind(member.kind),
            domain=Domain(member.uuid, name or "", member.incarnation) if member.uuid else None,
            pool=Pool(name) if name is not None and not member.uuid else None,
            figures=Figures(params, rates),
            partial=extra.partial,
            anew=extra.anew,
            **about,
        )

    def _key(self, directory: Directory, column: int) -> str:
        spec = directory.columns[column]
        return key_of(self._segments.field(spec.field), spec.device)


_NOTHING = Extra()
_NO_RATES: dict[int, float] = {}
