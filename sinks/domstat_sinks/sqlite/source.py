"""What reading asks of the storage: which series there are, and their columns. The storage may have several sources.

A :class:`Source` knows one form in which samples are stored; :mod:`.query` puts together what several have of one
series, and knows nothing of any form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite import layout

Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
Values: TypeAlias = "np.ndarray[Any, Any]"
"""int64, uint64, float64, bool, or object: texts, and values of several types."""


class Who(Struct, frozen=True):
    """A subject of one stream, over all ticks; *name* is that of what has no uuid."""

    stream: int
    kind: str
    uuid: str | None
    name: str | None


class Key(Struct, frozen=True):
    """A series."""

    who: Who
    field: str
    device: str | None


class Seen(Struct, frozen=True):
    """That a subject was in so many ticks, the first and the last at these times, with these columns."""

    who: Who
    name: str | None
    columns: tuple[layout.Column, ...]
    first_ms: int
    last_ms: int
    ticks: int


class Extent(Struct, frozen=True):
    """A stream's first and last tick in a span, and how many there are."""

    first_ms: int
    last_ms: int
    ticks: int


class Column(Struct, frozen=True, kw_only=True):
    """Some samples of one series, in the order of their ticks.

    *boot*, *boot_ns* and *wall_ms* are the moment at which each was read (:class:`domstat.model.Moment`), *boot* being
    the number in the table ``boot``, 0 where the boot is not known. *inside* are the samples of the span that was asked
    for; the others are there to take increases against. *anew* says of a counter to which samples no rate can be taken
    from the one before: there the guest, its device or the counter began anew. It says nothing where increases were not
    asked for.
    """

    key: Key
    name: str | None
    incarnation: int | None
    time_ms: Integers
    boot: Integers
    boot_ns: Integers
    wall_ms: Integers
    values: Values
    inside: Flags
    anew: Flags


class Source(Protocol):
    """One form in which samples are stored. Reads in whatever transaction it is called in."""

    def extent(self, stream: int, span: Span) -> Extent | None:
        """Return the extent of what it has of a stream in a span, None for nothing."""

    def seen(self, stream: int, span: Span) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, a subject as often as suits the source, oldest first."""

    def columns(
        self, keys: Sequence[Key], span: Span, *, increases: bool, on_damaged: OnDamaged | None
    ) -> Iterator[Column]:
        """Give the columns of some series, of each as many as suits the source, in the order of their ticks.

        With *increases* a column also has the sample before the span that the first increase in it is taken from.
        Raises DamagedError, unless *on_damaged* is to be told.
        """


def typed(words: Any, type_: ValueType, texts: dict[int, str]) -> Values:
    """Turn 64-bit words into values."""
    match type_:
        case ValueType.U64:
            return np.asarray(words, dtype=np.uint64)
        case ValueType.I64:
            return np.ascontiguousarray(words).view(np.int64)
        case ValueType.F64:
            return np.ascontiguousarray(words).view(np.float64)
        case ValueType.BOOL:
            return np.asarray(words != 0)
        case ValueType.TEXT:
            return np.array([texts[word] for word in words.tolist()], dtype=object)


def chained(parts: Sequence[Values]) -> Values:
    """Put values together that may be of several types, exactly."""
    types = {part.dtype for part in parts}
    if len(types) == 1:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    if types == {np.dtype(np.int64), np.dtype(np.uint64)}:
        if all(part.max(initial=0) <= layout.I64_MAX for part in parts):
            return np.concatenate([part.astype(np.int64) for part in parts])
        if all(part.min(initial=0) >= 0 for part in parts):
            return np.concatenate([part.astype(np.uint64) for part in parts])
    return np.array([value for part in parts for value in part.tolist()], dtype=object)


def joined(columns: Sequence[Column]) -> Column:
    """Put the columns of one series together, which follow each other."""
    if len(columns) == 1:
        return columns[0]
    return Column(
        key=columns[-1].key,
        name=columns[-1].name,
        incarnation=columns[-1].incarnation,
        time_ms=np.concatenate([column.time_ms for column in columns]),
        boot=np.concatenate([column.boot for column in columns]),
        boot_ns=np.concatenate([column.boot_ns for column in columns]),
        wall_ms=np.concatenate([column.wall_ms for column in columns]),
        values=chained([column.values for column in columns]),
        inside=np.concatenate([column.inside for column in columns]),
        anew=np.concatenate([column.anew for column in columns]),
    )
