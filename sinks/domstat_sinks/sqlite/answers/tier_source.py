"""Buckets as a source of parts: a tier is a stream, and each statistic of a series is a series of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from domstat.history import OnDamaged
from domstat_sinks.sqlite.answers.bucketed import OF_RECORDS, Ask, Parts, Told, Way, parts_of_buckets, statistics
from domstat_sinks.sqlite.answers.choosing import Choice, Key, Who
from domstat_sinks.sqlite.answers.plan import Piece
from domstat_sinks.sqlite.answers.source import Column, Seen, Source, Wanted, joined
from domstat_sinks.sqlite.answers.steps import samples_of, shown_ids
from domstat_sinks.sqlite.answers.ticks import Integers, Joiner
from domstat_sinks.sqlite.rollups.rollrecord import NUMERATOR, QUOTIENT

_PRESENT = frozenset({"last", "increment"})
"""One of these two is there of every series in every bucket that has a value of it."""

Columns: TypeAlias = Mapping[Key, Column]


class TierSource:
    """Reads buckets through the sources of ticks."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def seen(self, stream: int, piece: Piece, on_damaged: OnDamaged | None) -> Iterator[Seen]:
        """Give all that was seen of a *stream*, in a piece of one of its tiers. Raises DamagedError."""
        for source in self._sources:
            for seen in source.seen(piece.stock.stream, piece.span, on_damaged):
                yield replace(seen, who=_in(stream, seen.who))

    def found(
        self, stream: int, piece: Piece, choice: Choice, on_damaged: OnDamaged | None
    ) -> Iterator[tuple[Key, int]]:
        """Give the series that are chosen, and how many buckets they have at most. Raises DamagedError."""
        of_buckets = _ChoiceOfBuckets(choice)
        for source in self._sources:
            for key, count in source.found(piece.stock.stream, piece.span, of_buckets, on_damaged):
                field = key.field.rpartition(":")[0]
                if choice.wants_field(field):
                    yield Key(_in(stream, key.who), field, key.device), count
                if field == NUMERATOR and choice.wants_field(QUOTIENT):
                    yield Key(_in(stream, key.who), QUOTIENT, key.device), count

    def parts(
        self, piece: Piece, keys: Sequence[tuple[Key, Way]], on_damaged: OnDamaged | None
    ) -> Iterator[tuple[Key, Parts]]:
        """Give what the buckets of a piece say of some series. Raises DamagedError."""
        wanted = {
            _of_statistic(key, piece.stock.stream, name): None
            for key, way in keys
            for name in statistics(key.field, way)
        }
        columns: dict[Key, list[Column]] = {}
        for source in self._sources:
            for column in source.columns(list(wanted), Wanted(span=piece.span), on_damaged):
                columns.setdefault(column.key, []).append(column)
        joiner = Joiner()
        told = {key: _told(joined(of, joiner)) for key, of in columns.items()}
        starts = _Starts(piece.stock.width_ms)
        for key, way in keys:
            ask = _asking(told, key, piece.stock.stream)
            parts = parts_of_buckets(key.field, way, piece.stock.width_ms, starts, ask)
            if parts is not None:
                yield key, parts


class _Starts:
    """When buckets begin, by their times: the very same array for series that are in the same ones."""

    def __init__(self, width_ms: int) -> None:
        self._width_ms = width_ms
        self._known: dict[int, tuple[Integers, Integers]] = {}

    def __call__(self, time_ms: Integers) -> Integers:
        known = self._known.get(id(time_ms))
        if known is None:
            known = self._known[id(time_ms)] = (time_ms, time_ms // self._width_ms * self._width_ms)
        return known[1]


class _ChoiceOfBuckets(Choice):
    """The same choice, of the statistics that are there wherever a series is."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.wants_everybody = choice.wants_everybody

    def wants(self, who: Who) -> bool:
        return self._choice.wants(who)

    def wants_field(self, field: str) -> bool:
        base, _, statistic = field.rpartition(":")
        if statistic not in _PRESENT:
            return False
        return self._choice.wants_field(base) or (base == NUMERATOR and self._choice.wants_field(QUOTIENT))

    def wants_device(self, device: str | None) -> bool:
        return self._choice.wants_device(device)


def _in(stream: int, who: Who) -> Who:
    return Who(stream, who.kind, who.uuid, who.name)


def _of_statistic(key: Key, tier: int, name: str) -> Key:
    return Key(_in(tier, key.who), name, None if name in OF_RECORDS else key.device)


def _told(column: Column) -> Told:
    samples = samples_of(column)
    return Told(shown_ids(column), samples.time_ms, samples.values)


def _asking(told: Mapping[Key, Told], key: Key, tier: int) -> Ask:
    return lambda name: told.get(_of_statistic(key, tier, name))
