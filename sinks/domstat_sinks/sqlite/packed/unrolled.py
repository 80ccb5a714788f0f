"""Series of segments as JSON, which SQL unrolls into rows: a call a series, not a call a value.

SQLite's json_each() makes rows of an object's pairs in C. So a series comes as one object, times to values, and costs
a fraction of a microsecond a row.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, TypeVar

import msgspec
import numpy as np

from domstat.catalog import ValueType
from domstat.history import Span
from domstat_sinks.sqlite.heads.layout import I64_MAX
from domstat_sinks.sqlite.packed.ragged import Integers
from domstat_sinks.sqlite.packed.segments import Reals, Segments

Values = TypeVar("Values", bound=Any)


class Unrolled:
    """The functions that the views call for what is sealed; segments and fields by their numbers."""

    def __init__(self, connection: sqlite3.Connection, span: Span) -> None:
        self._span = span
        self._segments = Segments(connection)
        self._times = b""
        """The times that the template is for: those of all series of a segment, as a rule."""
        self._template = "{}"

    def devices(self, segment: int, whose: int, field: int) -> str:
        """Return the devices of a member's series of a field, as a list. Raises DamagedError."""
        directory = self._segments.directory(segment)
        found = [directory.columns[series.column].device for series in self._segments.series(segment, whose, field)]
        return msgspec.json.encode(found).decode()

    def samples(self, segment: int, whose: int, field: int, place: int) -> str:
        """Return the values of one of these series by their times. Raises DamagedError."""
        series = self._segments.series(segment, whose, field)[place]
        times, words = self._within(*self._segments.samples(segment, series))
        match self._segments.directory(segment).columns[series.column].type:
            case ValueType.I64:
                return self._object(times, words.view("<i8").tolist())
            case ValueType.F64:
                return self._reals(times, words.view("<f8"))
            case ValueType.TEXT:
                return self._object(times, [_Json(self._segments.text(word)) for word in words.tolist()])
            case _:
                values: list[Any] = words.tolist()
                if len(words) and words.max() > I64_MAX:
                    values = [word if word <= I64_MAX else _Json(str(word)) for word in values]
                return self._object(times, values)

    def rates(self, segment: int, whose: int, field: int, place: int) -> str:
        """Return the rates of one of these series by their times, null where there is none. Raises DamagedError."""
        series = self._segments.series(segment, whose, field)[place]
        return self._reals(*self._within(*self._segments.rates(segment, series)))

    def _within(self, times: Integers, values: Values) -> tuple[Integers, Values]:
        """Return what is of the span that is read."""
        span = self._span
        if not len(times) or (times.min() >= span.since_ms and times.max() < span.until_ms):
            return times, values
        wanted = (times >= span.since_ms) & (times < span.until_ms)
        return times[wanted], values[wanted]

    def _reals(self, times: Integers, values: Reals) -> str:
        found: list[Any] = values.tolist()
        return self._object(times, found if np.isfinite(values).all() else [_finite(value) for value in found])

    def _object(self, times: Integers, values: list[Any]) -> str:
        """Write times and values as an object; Python writes numbers as JSON has them."""
        key = times.tobytes()
        if key != self._times:
            self._times = key
            self._template = "{" + ",".join([f'"{time_ms}":%r' for time_ms in times.tolist()]) + "}"
        return self._template % tuple(values)


class _Json:
    """A value that is written as JSON."""

    __slots__ = ("_text",)

    def __init__(self, value: Any) -> None:
        self._text = msgspec.json.encode(value).decode()

    def __repr__(self) -> str:
        return self._text


class _Literal(_Json):
    """What JSON has no value for, as SQLite's parser takes it."""

    def __init__(self, text: str) -> None:
        self._text = text


_INFINITY, _MINUS_INFINITY, _NULL = _Literal("9e999"), _Literal("-9e999"), _Literal("null")


def _finite(value: float) -> Any:
    """Return a double so that it is read back exactly; JSON has no infinity, but SQLite reads one from 9e999."""
    if math.isfinite(value):
        return value
    return _NULL if math.isnan(value) else _INFINITY if value > 0 else _MINUS_INFINITY
