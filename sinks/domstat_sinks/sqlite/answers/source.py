"""What reading asks of the storage: which series there are, and their columns. The storage has several sources.

A :class:`Source` knows one form in which samples are stored; :mod:`.query` puts together what several have of one
series, and knows nothing of any form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite.answers.choosing import Choice, Globs, Key, Who
from domstat_sinks.sqlite.answers.ticks import Integers, Joiner, Place, Ticks, offsets_ns
from domstat_sinks.sqlite.heads import layout

if TYPE_CHECKING:
    from domstat_sinks.sqlite.answers.slabs import Owner, Slab

Values: TypeAlias = "np.ndarray[Any, Any]"
"""int64, uint64, float64, bool, or object: texts, and values of several types."""


NOWHERE: Integers = np.zeros(0, dtype=np.int64)


class Seen(Struct, frozen=True):
    """That a subject was in so many ticks, the first and the last at these times, under this name."""

    who: Who
    name: str | None
    incarnation: int | None
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

    *anew* are a counter's samples to which no rate can be taken from the one before, by their places: there the guest,
    its device or the counter began anew. It says nothing where increases were not asked for.

    Where only totals were asked for, *ticks* may be the first and the last of those that the series has samples in,
    which are *covered* then.
    """

    key: Key
    ticks: Ticks
    covered: Ticks
    place: Place
    values: Values
    anew: Integers


class Source(Protocol):
    """One form in which samples are stored. Reads in whatever transaction it is called in.

    What raises DamagedError does so unless *on_damaged* is to be told, and then passes that over.
    """

    def extent(self, stream: int, span: Span, on_damaged: OnDamaged | None) -> Extent | None:
        """Return the extent of what it has of a stream in a span, None for nothing. Raises DamagedError."""

    def called(self, stream: int, span: Span, globs: Globs, on_damaged: OnDamaged | None) -> set[str]:
        """Return the uuids of guests that may be meant: of all that had such a name in the span, and some others.

        Raises DamagedError.
        """

    def seen(
        self, stream: int, span: Span, on_damaged: OnDamaged | None, uuids: Collection[str | None] | None = None
    ) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, a subject as often as suits the source, the newest last.

        Only those of these *uuids*, if there are some; None is what has none. Raises DamagedError.
        """

    def found(self, stream: int, span: Span, choice: Choice, on_damaged: OnDamaged | None) -> Iterator[tuple[Key, int]]:
        """Give the series that are chosen, each as often as suits the source, and about how many samples they have.

        Raises DamagedError.
        """

    def columns(self, keys: Sequence[Key], wanted: Wanted, on_damaged: OnDamaged | None) -> Iterator[Column]:
        """Give the columns of some series, of each as many as suits the source, in the order of their ticks.

        Raises DamagedError.
        """

    def owners(
        self, stream: int, span: Span, names: Collection[str], on_damaged: OnDamaged | None
    ) -> Iterator[tuple[str, Sequence[Owner], int]]:
        """Give whose series of some statistics there are in a tier, and about how many buckets each has.

        As often as suits the source. Raises DamagedError.
        """

    def slabs(
        self, stream: int, span: Span, wanted: tuple[Collection[str], Collection[Owner]], on_damaged: OnDamaged | None
    ) -> Iterator[Slab]:
        """Give the buckets of a tier that begin in a span, in the order in which they were stored.

        *wanted* are the statistics that will be asked for, and whose. Raises DamagedError.
        """


class Wanted(Struct, frozen=True, kw_only=True):
    """What is wanted of series.

    With *increases* a column also has the sample before the span that the first increase in it is taken from. With
    *totals* nothing is wanted but the sum of all increases, and of all time in which that was.
    """

    span: Span
    increases: bool = False
    totals: bool = False


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
    parts = [part for part in parts if len(part)] or parts[:1]
    types = {part.dtype for part in parts}
    if len(types) == 1:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    if types == {np.dtype(np.int64), np.dtype(np.uint64)}:
        if all(part.max(initial=0) <= layout.I64_MAX for part in parts):
            return np.concatenate([part.astype(np.int64) for part in parts])
        if all(part.min(initial=0) >= 0 for part in parts):
            return np.concatenate([part.astype(np.uint64) for part in parts])
    return np.array([value for part in parts for value in part.tolist()], dtype=object)


def joined(columns: Sequence[Column], joiner: Joiner) -> Column:
    """Put the columns of one series together, which follow each other; what two of them have comes once."""
    if len(columns) == 1:
        return columns[0]
    ticks, starts = joiner.join([column.ticks for column in columns])
    is_all = all(column.covered is column.ticks for column in columns)
    covered = ticks if is_all else joiner.join([column.covered for column in columns])[0]
    return Column(
        key=columns[0].key,
        ticks=ticks,
        covered=covered,
        place=_joined_places(columns, starts),
        values=chained([column.values[start:] for column, start in zip(columns, starts, strict=True)]),
        anew=_joined_places_anew(columns, starts),
    )


def _joined_places(columns: Sequence[Column], starts: Sequence[int]) -> Place:
    first = columns[0].place
    if isinstance(first, tuple) and all(isinstance(its.place, tuple) and its.place == first for its in columns):
        return first
    return np.concatenate(
        [offsets_ns(column.place, column.ticks.call_ns)[start:] for column, start in zip(columns, starts, strict=True)]
    )


def _joined_places_anew(columns: Sequence[Column], starts: Sequence[int]) -> Integers:
    places, before = [], 0
    for column, start in zip(columns, starts, strict=True):
        if len(column.anew):
            places.append(column.anew[column.anew >= start] + (before - start))
        before += len(column.ticks) - start
    return np.concatenate(places) if places else NOWHERE
