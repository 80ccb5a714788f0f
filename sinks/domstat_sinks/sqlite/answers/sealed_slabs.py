"""Segments of a tier as slabs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite.answers.slabs import ABSENT, MIXED, Owner, Presence, Stat
from domstat_sinks.sqlite.answers.source import Values, chained, typed
from domstat_sinks.sqlite.answers.ticks import Flags, Integers
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.headers import NUMBERS, TYPES
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.packed.seriesindex import FieldSeries, SeriesIndex


class Owned(Struct, frozen=True):
    """By whose they are, where some series of a segment are: of each owner one, and *again* what it has beyond that."""

    place_of: dict[Owner, int]
    again: dict[Owner, list[int]]


class Found(Struct, frozen=True):
    """The series of one statistic in a segment.

    *types* are the places of their types in TYPES, and ABSENT behind them.
    """

    series: FieldSeries
    owned: Owned
    types: Integers


class TierSegment:
    """What is known of a tier's segment, whatever span is asked for."""

    def __init__(self, number: int, directory: Directory) -> None:
        self.number = number
        self.directory = directory
        self.index = SeriesIndex(directory)
        self._whose = [(member.kind, member.uuid, member.name) for member in directory.members]
        self._found: dict[int, Found] = {}
        self._owned: dict[tuple[int, bytes], Owned] = {}
        """By the number of the very array of members, which the index keeps, and their devices."""

    def owners(self, field: int) -> list[Owner]:
        """Return whose the series of a field are, by its number in the file."""
        return list(self.found(field).owned.place_of)

    def found(self, field: int) -> Found:
        """Return the series of a field, by its number in the file."""
        known = self._found.get(field)
        if known is None:
            known = self._found[field] = self._find(field)
        return known

    def _find(self, field: int) -> Found:
        series = self.index.of(field)
        types = self.type_of[np.append(series.columns, ABSENT)]
        key = id(series.members), self._device_of[series.columns].tobytes()
        owned = self._owned.get(key)
        if owned is None:
            owned = self._owned[key] = self._own(series)
        return Found(series, owned, types)

    def _own(self, series: FieldSeries) -> Owned:
        columns, whose = self.directory.columns, self._whose
        owners = [
            (whose[member], columns[column].device)
            for member, column in zip(series.members.tolist(), series.columns.tolist(), strict=True)
        ]
        place_of = dict(zip(owners, range(len(owners)), strict=True))
        again: dict[Owner, list[int]] = {}
        if len(place_of) < len(owners):
            for place, owner in enumerate(owners):
                if place_of[owner] != place:
                    again.setdefault(owner, []).append(place)
        return Owned(place_of, again)

    @cached_property
    def _device_of(self) -> Integers:
        """By column, a number of its device."""
        numbers: dict[str | None, int] = {}
        devices = (numbers.setdefault(column.device, len(numbers)) for column in self.directory.columns)
        return np.fromiter(devices, dtype=np.int64)

    @cached_property
    def type_of(self) -> Integers:
        """By column, the place of its type in TYPES, and ABSENT behind them."""
        return np.array([*(NUMBERS[column.type] for column in self.directory.columns), ABSENT], dtype=np.int64)


class SealedSlab:
    """Those buckets of a segment that are in a span; meets :class:`.slabs.Slab`."""

    def __init__(self, segments: Segments, known: TierSegment, inside: Integers, on_damaged: OnDamaged | None) -> None:
        """*inside* are the places of these buckets in the segment."""
        self._segments = segments
        self._known = known
        self._directory = known.directory
        self._on_damaged = on_damaged
        is_run = len(inside) == int(inside[-1]) - int(inside[0]) + 1
        self._inside: slice | Integers = slice(int(inside[0]), int(inside[-1]) + 1) if is_run else inside
        self.time_ms = known.directory.time_ms[self._inside]
        self._known_places: dict[tuple[int, int], tuple[Integers, Sequence[Owner]]] = {}
        """By the numbers of the objects, with the owners, so that no others take theirs."""

    def types(self, name: str, owners: Sequence[Owner]) -> Integers:
        """Return, for a statistic of each of these series, the place of its type in TYPES, or ABSENT, or MIXED."""
        found = self._found(name)
        if found is None:
            return np.full(len(owners), ABSENT)
        again = found.owned.again
        chosen: Integers = found.types[self._places(found, owners)]
        for i, owner in enumerate(owners) if again else ():
            if any(found.types[place] != chosen[i] for place in again.get(owner, ())):
                chosen[i] = MIXED
        return chosen

    def stat(self, name: str, owners: Sequence[Owner]) -> Stat:
        """Return a statistic of series that are of one type; of one that is MIXED alone. Raises DamagedError."""
        found = self._found(name)
        if found is None:
            raise KeyError(f"{name} is in none of these buckets")
        places = self._places(found, owners)
        type_ = found.types[places[0]]
        if found.owned.again and any(owner in found.owned.again for owner in owners):
            return self._scattered(found, owners, TYPES[type_])
        words, there = self._gathered(found, places)
        return Stat(self._typed(words, TYPES[type_]), there)

    def presence(self, name: str, owners: Sequence[Owner]) -> Presence:
        """Return of which buckets a statistic of such series is there. Raises DamagedError."""
        found = self._found(name)
        if found is not None and found.series.always[self._places(found, owners)].all():
            return Presence(None)
        return Presence(self.stat(name, owners).there)

    def _found(self, name: str) -> Found | None:
        number = self._segments.number(name)
        return None if number is None else self._known.found(number)

    def _places(self, found: Found, owners: Sequence[Owner]) -> Integers:
        """Return where the series of these owners are, ABSENT for none."""
        key = id(found.owned), id(owners)
        known = self._known_places.get(key)
        if known is None:
            place_of = found.owned.place_of
            places = np.array([place_of.get(owner, ABSENT) for owner in owners], dtype=np.int64)
            known = self._known_places[key] = places, owners
        return known[0]

    def _gathered(self, found: Found, places: Integers) -> tuple[Words, Flags | None]:
        """Return the words of one series each, and where they are; None for everywhere."""
        series = found.series
        field = self._directory.columns[int(series.columns[places[0]])].field
        groups, always = series.groups[places], series.always[places]
        if always.all() and (groups == groups[0]).all():
            return self._everywhere(field, int(groups[0]), series.rows[places])
        words: Words = np.zeros((len(places), len(self.time_ms)), dtype=np.uint64)
        there = np.broadcast_to(always[:, None], words.shape).copy()
        for group in np.flatnonzero(np.bincount(groups)).tolist():
            own = np.flatnonzero(groups == group)
            steady, rest = own[always[own]], own[~always[own]]
            try:
                chunk = self._segments.chunk(self._known.number, field, group)
                if len(steady):
                    words[steady] = chunk.rows(series.rows[places[steady]])[:, self._inside]
                for i in rest.tolist():
                    words[i], there[i] = self._somewhere(found, int(places[i]))
            except DamagedError as error:
                self._tell(error)
                there[own] = False
        return words, None if there.all() else there

    def _everywhere(self, field: int, group: int, rows: Integers) -> tuple[Words, Flags | None]:
        """Return the words of series of one chunk that are in all ticks."""
        try:
            return self._segments.chunk(self._known.number, field, group).rows(rows)[:, self._inside], None
        except DamagedError as error:
            self._tell(error)
        shape = len(rows), len(self.time_ms)
        return np.zeros(shape, dtype=np.uint64), np.zeros(shape, dtype=np.bool_)

    def _somewhere(self, found: Found, place: int) -> tuple[Words, Flags]:
        """Return the words of a series that is in some ticks only, and in which. Raises DamagedError."""
        series = found.series
        column = int(series.columns[place])
        field, group = self._directory.columns[column].field, int(series.groups[place])
        chunk = self._segments.chunk(self._known.number, field, group)
        at = self._known.index.ticks(int(series.members[place]), column)
        words, there = np.zeros(len(self._directory), dtype=np.uint64), np.zeros(len(self._directory), dtype=np.bool_)
        words[at], there[at] = chunk.words(int(series.rows[place])), True
        return words[self._inside], there[self._inside]

    def _scattered(self, found: Found, owners: Sequence[Owner], type_: ValueType) -> Stat:
        """Return series that are several each: of what is in a bucket twice the last counts."""
        rows: list[Values] = []
        there = np.zeros((len(owners), len(self.time_ms)), dtype=np.bool_)
        for i, owner in enumerate(owners):
            parts: list[tuple[Integers, Values]] = []
            for place in sorted((*found.owned.again.get(owner, ()), found.owned.place_of[owner])):
                try:
                    words, its = self._somewhere(found, place)
                except DamagedError as error:
                    self._tell(error)
                    continue
                its_type = TYPES[found.types[place]]
                parts.append((np.flatnonzero(its), self._typed(words[its], its_type)))
                there[i] |= its
            rows.append(_one_row(parts, len(self.time_ms), self._typed(np.zeros(0, dtype=np.uint64), type_)))
        return Stat(np.stack(rows), there)

    def _typed(self, words: Words, type_: ValueType) -> Values:
        if type_ is not ValueType.TEXT:
            return typed(words, type_, {})
        texts = {word: self._segments.text(word) for word in set(words.reshape(-1).tolist()) if word}
        missing = [word for word, text in texts.items() if text is None]
        if missing:
            raise DamagedError(f"text {missing[0]} is missing, which segment {self._known.number} has as a value")
        return typed(words.reshape(-1), type_, {0: "", **texts}).reshape(words.shape)  # type: ignore[dict-item]

    def _tell(self, error: DamagedError) -> None:
        if self._on_damaged is None:
            raise error
        self._on_damaged(str(error))


def _one_row(parts: Sequence[tuple[Integers, Values]], count: int, nothing: Values) -> Values:
    """Put the values of one series together, each at its places, of whatever types they are."""
    values = chained([nothing, *(values for _, values in parts)])
    row = np.zeros(count, dtype=values.dtype)
    if len(parts):
        row[np.concatenate([at for at, _ in parts])] = values
    return row


def inside(directory: Directory, span: Span) -> Integers:
    """Return the places of a segment's own buckets that begin in a span."""
    own = (directory.lead == 0) & (directory.time_ms >= span.since_ms) & (directory.time_ms < span.until_ms)
    return np.flatnonzero(own)
