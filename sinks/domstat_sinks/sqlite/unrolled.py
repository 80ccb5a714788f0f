"""Series of segments as JSON, which SQL unrolls into rows: a call a series, not a call a value.

SQLite's json_each() makes rows of an object's pairs in C. So a series comes as one object, times to values, and costs
a fraction of a microsecond a row.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from domstat.catalog import ValueType
from domstat_sinks.sqlite.layout import I64_MAX
from domstat_sinks.sqlite.row import Words
from domstat_sinks.sqlite.segments import Segments, Series


class Unrolled:
    """The functions that the views call for what is sealed; segments and fields by their numbers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._segments = Segments(connection)

    def series(self, segment: int, field: int) -> str:
        """Return a field's series as a list: each [kind, uuid, name, device]. Raises DamagedError."""
        directory = self._segments.directory(segment)
        found = []
        for series in self._segments.series(segment, field):
            member = directory.members[series.member]
            name, device = directory.names[series.name], directory.columns[series.column].device
            found.append((member.kind, member.uuid, name, device))
        return msgspec.json.encode(found).decode()

    def samples(self, segment: int, field: int, place: int) -> str:
        """Return the values of one of these series by their times. Raises DamagedError."""
        series = self._segments.series(segment, field)[place]
        times, words = self._segments.samples(segment, series)
        return _object(times, self._values(segment, series, words))

    def rates(self, segment: int, field: int, place: int) -> str:
        """Return the rates of one of these series by their times, where there are any. Raises DamagedError."""
        times, rates = self._segments.rates(segment, self._segments.series(segment, field)[place])
        taken = rates == rates  # noqa: PLR0124 - not a number where there is none
        return _object(times[taken], map(repr, rates[taken].tolist()))

    def _values(self, segment: int, series: Series, words: Words) -> Iterable[str]:
        match self._segments.directory(segment).columns[series.column].type:
            case ValueType.I64:
                return map(str, words.view("<i8").tolist())
            case ValueType.F64:
                return map(_real, words.view("<f8").tolist())
            case ValueType.TEXT:
                return [msgspec.json.encode(self._segments.text(word)).decode() for word in words.tolist()]
            case _:
                return [str(word) if word <= I64_MAX else f'"{word}"' for word in words.tolist()]


def _object(times: Any, values: Iterable[str]) -> str:
    pairs = [f'"{time_ms}":{value}' for time_ms, value in zip(times.tolist(), values, strict=True)]
    return "{" + ",".join(pairs) + "}"


def _real(value: float) -> str:
    """Write a double so that it is read back exactly; JSON has no infinity, but SQLite reads one from this."""
    if math.isfinite(value):
        return repr(value)
    return "null" if math.isnan(value) else "9e999" if value > 0 else "-9e999"
