"""Columns of one field out of one segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, ValueType, look_up
from domstat.history import OnDamaged
from domstat_sinks.sqlite.answers.choosing import Key
from domstat_sinks.sqlite.answers.source import NOWHERE, Column, Values, Wanted, chained, typed
from domstat_sinks.sqlite.answers.ticks import Integers, Place, Ticks, offsets_ns
from domstat_sinks.sqlite.answers.windows import Places, Plain, Window
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.packed.directory import EVERYTHING, GROUP
from domstat_sinks.sqlite.packed.segments import Segments

Spot: TypeAlias = tuple[int, int]
"""A member and a column."""

_WHOLE_NUMBERS = (ValueType.I64, ValueType.U64)
"""What adds up exactly: doubles do not."""


class _Opened(Struct, frozen=True):
    """A chunk. Where many series are wanted, *matrix* are the values of those that have as many, in *row_of* it.

    Where totals are wanted, *ends* are the first and the last value of each series; nothing is unpacked for them.
    """

    matrix: Words | None
    row_of: dict[int, int]
    ends: Words | None


class SealedField:
    """Reads one field out of one segment."""

    def __init__(
        self,
        segments: Segments,
        window: Window,
        field: tuple[int, Places],
        wanted: Wanted,
        on_damaged: OnDamaged | None,
    ) -> None:
        self._segments = segments
        self._window = window
        self._directory = window.directory
        self._number, self._places = field
        self._increases = wanted.increases
        self._totals = wanted.totals and window.is_whole
        self._on_damaged = on_damaged
        self._is_counter = wanted.increases and look_up(segments.field(self._number)).kind is FieldKind.COUNTER
        self._opened: dict[int, _Opened | DamagedError] = {}

    def columns(self, keys: Sequence[Key]) -> Iterator[Column]:
        """Give the columns of those series that have samples in the window. Raises DamagedError."""
        spots, plain = self._places.spots, self._places.plain
        self._of_group = Counter(member // GROUP for key in keys for member, _ in spots.get(key, ()))
        for key in keys:
            try:
                if key in plain and not (self._is_counter and plain[key].is_broken):
                    column = self._plain(key, plain[key])
                else:
                    column = self._column(key, spots[key]) if key in spots else None
            except DamagedError as error:
                if self._on_damaged is None:
                    raise
                self._on_damaged(str(error))
                continue
            if column is not None:
                yield column

    def _plain(self, key: Key, its: Plain) -> Column | None:
        """Return a series that is a single column."""
        ticks, part = self._window.ticks(its.at, increases=self._increases)
        if ticks is None:
            return None
        opened = self._open(its.group)
        shown = ticks
        if opened.ends is not None and its.type in _WHOLE_NUMBERS and _is_steady(ticks, its.at):
            shown, words = ticks.ends, opened.ends[its.row, : len(ticks)]
        elif opened.matrix is not None and its.row in opened.row_of:
            # A copy, so that nobody holds all of it for the sake of one.
            words = opened.matrix[opened.row_of[its.row], part].copy()
        else:
            words = self._words(self._places.spots[key][0])[part]
        values = self._typed(words, its.type)
        return Column(key=key, ticks=shown, covered=ticks, place=its.place, values=values, anew=NOWHERE)

    def _column(self, key: Key, spots: Sequence[Spot]) -> Column | None:
        """Return a series, which is several where a guest was started again, or a column changed its type."""
        in_turn = self._window.roster.in_turn(key.who, spots)
        if in_turn is None:
            return self._entangled(key, spots)
        at = self._window.strung([self._places.ticks[spot] for spot in in_turn])
        ticks, part = self._window.ticks(at, increases=self._increases)
        if ticks is None:
            return None
        anew = self._anew(in_turn, at, part) if self._is_counter else NOWHERE
        place = self._place(in_turn, part)
        if self._totals and _is_steady(ticks, at):
            total = self._total(in_turn, anew)
            if total is not None:
                chosen, values = total
                shown = ticks.part(chosen) if len(in_turn) > 1 else ticks.ends
                place = place if isinstance(place, tuple) else place[chosen]
                return Column(
                    key=key,
                    ticks=shown,
                    covered=ticks,
                    place=place,
                    values=values,
                    anew=np.searchsorted(chosen, anew),
                )
        values = chained(list(self._values_of_part(in_turn, part)))
        return Column(key=key, ticks=ticks, covered=ticks, place=place, values=values, anew=anew)

    def _values_of_part(self, spots: Sequence[Spot], part: slice) -> Iterator[Values]:
        """Give what is in *part* of the values of some series that follow each other. Raises DamagedError."""
        before = 0
        for spot in spots:
            count = len(self._places.ticks[spot])
            start, stop = max(part.start - before, 0), min(part.stop - before, count)
            if start < stop:
                yield self._values(spot)[start:stop]
            before += count

    def _place(self, spots: Sequence[Spot], part: slice) -> Place:
        """Return when in their calls the samples of some series that follow each other were read."""
        places = []
        for spot in spots:
            at = self._places.ticks[spot]
            places.append((self._window.roster.place(spot[0], at), at))
        first = places[0][0]
        if isinstance(first, tuple) and all(isinstance(place, tuple) and place == first for place, _ in places):
            return first
        return np.concatenate([offsets_ns(place, self._directory.call_ns[at]) for place, at in places])[part]

    def _anew(self, spots: Sequence[Spot], at: Integers, part: slice) -> Integers:
        """Return where in *part* of the ticks *at* some places a counter began anew, by itself or with its member."""
        breaks = self._directory.breaks
        places: set[int] = set()
        for spot in spots:
            for tick in (*breaks.get(spot, ()), *breaks.get((spot[0], EVERYTHING), ())):
                place = int(np.searchsorted(at, tick))
                if part.start <= place < part.stop and at[place] == tick:
                    places.add(place - part.start)
        return np.array(sorted(places)) if places else NOWHERE

    # Out of chunks.

    def _open(self, group: int) -> _Opened:
        known = self._opened.get(group)
        if known is None:
            try:
                chunk = self._segments.chunk(self._window.roster.segment, self._number, group)
                if self._totals:
                    headers = chunk.headers()
                    known = _Opened(None, {}, np.stack([headers.first, headers.last], axis=1))
                elif 2 * self._of_group[group] > len(chunk):
                    even = chunk.even()
                    row_of = dict(zip(even.tolist(), range(len(even)), strict=True))
                    known = _Opened(chunk.rows(even) if len(even) else None, row_of, None)
                else:
                    known = _Opened(None, {}, None)
            except DamagedError as error:
                known = error
            self._opened[group] = known
        if isinstance(known, DamagedError):
            raise known
        return known

    def _values(self, spot: Spot) -> Values:
        """Return all values of a series. Raises DamagedError."""
        member, column = spot
        opened = self._open(member // GROUP)
        row = opened.row_of.get(self._places.rows[spot])
        words = self._words(spot) if row is None or opened.matrix is None else opened.matrix[row].copy()
        return self._typed(words, self._directory.columns[column].type)

    def _words(self, spot: Spot) -> Words:
        return self._segments.words(self._window.roster.segment, *spot, row=self._places.rows[spot])

    def _typed(self, words: Words, type_: ValueType) -> Values:
        if type_ is ValueType.I64:
            return words.view(np.int64)
        texts = {word: self._text(word) for word in set(words.tolist())} if type_ is ValueType.TEXT else {}
        return typed(words, type_, texts)

    def _text(self, word: int) -> str:
        text = self._segments.text(word)
        if text is None:
            raise DamagedError(f"text {word} is missing, which segment {self._window.roster.segment} has as a value")
        return text

    def _total(self, spots: Sequence[Spot], anew: Integers) -> tuple[Integers, Values] | None:
        """Return the first and the last sample of each series, where they tell all that it rose by; their places too.

        They do where a counter began anew at the first sample of a series at most, which it does wherever it falls.
        """
        starts, chosen, values = set(), [], []
        count = 0
        for member, column in spots:
            type_, firsts_and_lasts = self._directory.columns[column].type, self._open(member // GROUP).ends
            if firsts_and_lasts is None or type_ not in _WHOLE_NUMBERS:
                return None
            length = len(self._places.ticks[member, column])
            ends = [count, count + length - 1][:length]
            chosen += ends
            row = self._places.rows[member, column]
            values.append(typed(firsts_and_lasts[row, : len(ends)], type_, {}))
            starts.add(count)
            count += length
        if not starts.issuperset(anew.tolist()):
            return None
        return np.array(chosen), chained(values)

    # A series that is several which take turns: of a guest that was migrated away and came back under its old number.

    def _entangled(self, key: Key, spots: Sequence[Spot]) -> Column | None:
        directory, roster = self._directory, self._window.roster
        all_at = [self._places.ticks[spot] for spot in spots]
        at = np.concatenate(all_at)
        order = np.argsort(at, kind="stable")
        order = order[np.append(at[order][1:] != at[order][:-1], True)]  # of a guest that is in a tick twice, the last
        offsets = [
            offsets_ns(roster.place(spot[0], its), directory.call_ns[its])
            for spot, its in zip(spots, all_at, strict=True)
        ]
        at = at[order]
        ticks, part = self._window.ticks(at, increases=self._increases)
        if ticks is None:
            return None
        chosen = order[part]
        ends = np.cumsum([len(its) for its in all_at])
        whose = np.searchsorted(ends, chosen, side="right")
        values = [self._values(spot)[chosen[whose == i] - (ends[i] - len(all_at[i]))] for i, spot in enumerate(spots)]
        return Column(
            key=key,
            ticks=ticks,
            covered=ticks,
            place=np.concatenate(offsets)[chosen],
            values=chained(values)[np.argsort(np.argsort(whose, kind="stable"), kind="stable")],
            anew=self._anew(spots, at, part) if self._is_counter else NOWHERE,
        )


def _is_steady(ticks: Ticks, at: Integers) -> bool:
    """Whether first and last sample tell what a counter that only rises rose by, and in how much time.

    They do in ticks of one boot between which time passed for everybody. They do not where more than one of all ticks
    *at* which it has values is a lead: what it rose by between these is in the segment before.
    """
    return len(ticks) == len(at) and ticks.is_one_boot and ticks.is_steady
