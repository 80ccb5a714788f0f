"""Buckets as a source of parts: a tier is a stream, and each statistic of a series is a series of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from domstat.history import OnDamaged
from domstat_sinks.sqlite.answers.bucketed import OF_RECORDS, Parts, Way, said, statistics
from domstat_sinks.sqlite.answers.choosing import Choice, Key, Who
from domstat_sinks.sqlite.answers.gathered import Gathered
from domstat_sinks.sqlite.answers.plan import Piece
from domstat_sinks.sqlite.answers.slabs import ABSENT, MIXED, Owner, Presence, Slab, Stat
from domstat_sinks.sqlite.answers.source import Seen, Source
from domstat_sinks.sqlite.answers.ticks import Integers
from domstat_sinks.sqlite.rollups.rollrecord import COVERED, NUMERATOR, QUOTIENT, TICKS

_PRESENT = ("last", "increment")
"""One of these two is there of every series in every bucket that has a value of it."""


class TierSource:
    """Reads buckets through the sources of ticks."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def seen(
        self, stream: int, piece: Piece, on_damaged: OnDamaged | None, uuids: Collection[str | None] | None = None
    ) -> Iterator[Seen]:
        """Give all that was seen of a *stream*, in a piece of one of its tiers. Raises DamagedError."""
        for source in self._sources:
            for seen in source.seen(piece.stock.stream, piece.span, on_damaged, uuids):
                yield replace(seen, who=Who(stream, seen.who.kind, seen.who.uuid, seen.who.name))

    def found(
        self, stream: int, piece: Piece, choice: Choice, fields: frozenset[str], on_damaged: OnDamaged | None
    ) -> Iterator[tuple[Key, int]]:
        """Give the series of some fields that are chosen, and how many buckets they have. Raises DamagedError."""
        asked = fields | {NUMERATOR} if QUOTIENT in fields else fields
        names = {f"{field}:{statistic}": field for field in asked for statistic in _PRESENT}
        counts: dict[tuple[str, Owner], int] = {}
        for source in self._sources:
            for name, owners, count in source.owners(piece.stock.stream, piece.span, names, on_damaged):
                for owner in owners:
                    series = (names[name], owner)
                    counts[series] = counts.get(series, 0) + count
        for (field, (subject, device)), count in counts.items():
            who = Who(stream, *subject)
            if choice.wants(who) and choice.wants_device(device):
                if field in fields:
                    yield Key(who, field, device), count
                if field == NUMERATOR and QUOTIENT in fields:
                    yield Key(who, QUOTIENT, device), count

    def parts(
        self, piece: Piece, keys: Sequence[tuple[Key, Way]], on_damaged: OnDamaged | None
    ) -> Iterator[tuple[Key, Parts]]:
        """Give what the buckets of a piece say of some series. Raises DamagedError."""
        together: dict[tuple[str, Way], list[Key]] = {}
        for key, way in keys:
            together.setdefault((key.field, way), []).append(key)
        names = {name for field, way in together for name in statistics(field, way)}
        owners = {key: ((key.who.kind, key.who.uuid, key.who.name), key.device) for key, _ in keys}
        whose = _all_whose({asked: [owners[key] for key in own] for asked, own in together.items()})
        gathered = [Gathered(len(own), piece.stock.width_ms) for own in together.values()]
        for source in self._sources:
            for slab in source.slabs(piece.stock.stream, piece.span, (names, owners.values()), on_damaged):
                starts_ms = slab.time_ms // piece.stock.width_ms * piece.stock.width_ms
                read_once = _OfRecordsOnce(slab)
                for of_field, of_whom in zip(gathered, whose, strict=True):
                    _gather(of_field, of_whom, read_once, starts_ms)
        for of_field, own in zip(gathered, together.values(), strict=True):
            for place, key in enumerate(own):
                parts = of_field.parts(place)
                if parts is not None:
                    yield key, parts


class _Whose:
    """Some series of a field and what is asked of them: the statistics that it takes, and whose of each."""

    def __init__(self, field: str, way: Way, owners: Sequence[Owner], records: Sequence[Owner]) -> None:
        self.field = field
        self.way = way
        self.of = {name: records if name in OF_RECORDS else owners for name in statistics(field, way)}

    def chosen(self, places: Integers) -> Mapping[str, Sequence[Owner]]:
        """Return the owners at some places, by the name of each statistic."""
        if len(places) == len(self.of[TICKS]):
            return self.of
        return {name: [owners[i] for i in places.tolist()] for name, owners in self.of.items()}


def _all_whose(asked: Mapping[tuple[str, Way], Sequence[Owner]]) -> list[_Whose]:
    """Put together whose series are asked of each field; fields of the same records have the same list of these."""
    known: dict[tuple[Owner, ...], tuple[Owner, ...]] = {}
    found = []
    for (field, way), owners in asked.items():
        records = tuple((subject, None) for subject, _ in owners)
        found.append(_Whose(field, way, owners, known.setdefault(records, records)))
    return found


class _OfRecordsOnce:
    """A slab of which the statistics of records are read once for all fields of the same list of records."""

    def __init__(self, slab: Slab) -> None:
        self.time_ms = slab.time_ms
        self._slab = slab
        self._types: dict[tuple[str, int], tuple[Integers, Sequence[Owner]]] = {}
        self._stats: dict[tuple[str, int], tuple[Stat, Sequence[Owner]]] = {}
        """With the very list, so that no other has its identity."""

    def types(self, name: str, owners: Sequence[Owner]) -> Integers:
        """Return the types of a statistic (see :class:`.slabs.Slab`)."""
        if name not in OF_RECORDS:
            return self._slab.types(name, owners)
        known = self._types.get((name, id(owners)))
        if known is None:
            known = self._types[name, id(owners)] = self._slab.types(name, owners), owners
        return known[0]

    def stat(self, name: str, owners: Sequence[Owner]) -> Stat:
        """Return a statistic (see :class:`.slabs.Slab`). Raises DamagedError."""
        if name not in OF_RECORDS:
            return self._slab.stat(name, owners)
        known = self._stats.get((name, id(owners)))
        if known is None:
            known = self._stats[name, id(owners)] = self._slab.stat(name, owners), owners
        return known[0]

    def presence(self, name: str, owners: Sequence[Owner]) -> Presence:
        """Return of which buckets a statistic is there (see :class:`.slabs.Slab`). Raises DamagedError."""
        return self._slab.presence(name, owners)


def _gather(gathered: Gathered, whose: _Whose, slab: Slab, starts_ms: Integers) -> None:
    """Add what a slab says of some series, those together of which the same statistics are there, of the same types."""
    types = np.array([slab.types(name, owners) for name, owners in whose.of.items()])
    for chosen in _alike(types):
        asked = _Asked(slab, whose.chosen(chosen), types[:, chosen[0]])
        found = said(whose.field, whose.way, asked)
        if found is not None:
            gathered.add(chosen, starts_ms, found, asked(COVERED), lambda asked=asked: asked(TICKS))  # type: ignore[misc]


def _alike(types: Integers) -> Iterator[Integers]:
    """Give the places of those columns that are alike; of what is mixed each by itself."""
    if types.min() > MIXED and (types == types[:, :1]).all():
        yield np.arange(types.shape[1])
        return
    is_mixed = (types == MIXED).any(axis=0)
    yield from np.flatnonzero(is_mixed)[:, None]
    rest = np.flatnonzero(~is_mixed)
    if not len(rest):
        return
    _, which = np.unique(types[:, rest], axis=1, return_inverse=True)
    which = which.reshape(-1)
    for group in range(int(which.max()) + 1):
        yield rest[which == group]


class _Asked:
    """Gives the statistics of some series of a slab, each read once."""

    def __init__(self, slab: Slab, owners: Mapping[str, Sequence[Owner]], types: Integers) -> None:
        self._slab = slab
        self._owners = owners
        self._there = {name for name, type_ in zip(owners, types.tolist(), strict=True) if type_ != ABSENT}
        self._known: dict[str, Stat] = {}

    def __call__(self, name: str) -> Stat | None:
        """Return a statistic, None where there is none. Raises DamagedError."""
        if name not in self._there:
            return None
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._slab.stat(name, self._owners[name])
        return known

    def presence(self, name: str) -> Presence | None:
        """Return of which buckets a statistic is there, None where there is none. Raises DamagedError."""
        return self._slab.presence(name, self._owners[name]) if name in self._there else None
