"""Answers to :class:`domstat.history.History`: which series are meant, and their values, from whatever is stored.

Series are read a few at a time, each time in a transaction of its own: what was read is consistent, and a reader of
months neither holds much in memory nor the writer up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.history import (
    EVER_MS,
    Aggregate,
    Coverage,
    Guest,
    Happening,
    HistoryError,
    Host,
    Loss,
    Measure,
    OnDamaged,
    Quantiles,
    Select,
    Series,
    Span,
    StoredField,
    Subject,
)
from domstat.model import Event, Kind
from domstat_sinks.sqlite import steps
from domstat_sinks.sqlite.choosing import Choice, Globs, Key, Who, place_of
from domstat_sinks.sqlite.head_source import HeadSource
from domstat_sinks.sqlite.rollrecord import is_of_buckets
from domstat_sinks.sqlite.sealed_source import SealedSource
from domstat_sinks.sqlite.source import Column, Extent, Seen, Source, Wanted, joined
from domstat_sinks.sqlite.ticks import Boots, Joiner

SAMPLES_AT_ONCE = 2_000_000
"""Samples read in one transaction, about 50 B each, unless a single series has more."""

EVENTS_AT_ONCE = 1_000

RAW = "raw"

_NAMED = (FieldKind.STATE, FieldKind.TEXT)
"""Kinds of fields whose values are names for something: no arithmetic is done on them."""


class Stream(Struct, frozen=True):
    """One host's collect block, by its number in the file."""

    number: int
    host: str
    collect: str


class Query:
    """Reads a history, on a connection that nobody else has a transaction on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        boots = Boots()
        self._sources: tuple[Source, ...] = (SealedSource(connection, boots), HeadSource(connection, boots))
        """Oldest first."""

    # Who and what is there.

    def span(self) -> Span:
        """Return the span from the first tick to the last. Raises sqlite3.Error."""
        with self._snapshot():
            return self._closed(Span())

    def hosts(self) -> tuple[Host, ...]:
        """Return all hosts. Raises sqlite3.Error."""
        found: dict[str, tuple[list[str], list[Extent]]] = {}
        with self._snapshot():
            for stream in self._streams():
                extent = self._extent(stream, Span())
                if extent is not None:
                    collects, extents = found.setdefault(stream.host, ([], []))
                    collects.append(stream.collect)
                    extents.append(extent)
        return tuple(
            Host(name, tuple(collects), min(e.first_ms for e in extents), max(e.last_ms for e in extents))
            for name, (collects, extents) in found.items()
        )

    def guests(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Guest, ...]:
        """Return the guests that were seen in a span, by name.

        Raises sqlite3.Error, and DamagedError where *on_damaged* is not to be told.
        """
        found: dict[str, list[tuple[Stream, Seen]]] = {}
        with self._snapshot():
            for stream in self._streams():
                for seen in self._seen(stream, span, on_damaged):
                    if seen.who.uuid:
                        found.setdefault(seen.who.uuid, []).append((stream, seen))
        guests = [_guest(uuid, sightings) for uuid, sightings in found.items()]
        return tuple(sorted(guests, key=lambda guest: (guest.name, guest.uuid)))

    def events(self, span: Span) -> Iterator[Happening]:
        """Give what happened in a span, in the order of time. Raises sqlite3.Error."""
        after = (span.since_ms, -1)
        while True:
            page = self._connection.execute(
                "SELECT e.id, e.time_ms, s.host, s.collect, e.uuid, e.name, e.incarnation, e.type, e.reason, e.device"
                " FROM event e JOIN stream s ON s.id = e.stream"
                " WHERE (e.time_ms, e.id) > (?, ?) AND e.time_ms < ? ORDER BY e.time_ms, e.id LIMIT ?",
                (*after, span.until_ms, EVENTS_AT_ONCE),
            ).fetchall()
            for _, time_ms, host, collect, uuid, name, incarnation, *event in page:
                subject = Subject(
                    host=host, collect=collect, kind=Kind.EVENT, uuid=uuid, name=name, incarnation=incarnation
                )
                yield Happening(time_ms, subject, Event(*event))
            if len(page) < EVENTS_AT_ONCE:
                return
            after = (page[-1][1], page[-1][0])

    def coverage(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Coverage, ...]:
        """Say how much of a span each stream has seen.

        Raises sqlite3.Error, and DamagedError where *on_damaged* is not to be told.
        """
        with self._snapshot():
            span = self._closed(span)
            found = [(stream, self._extent(stream, span, on_damaged)) for stream in self._streams()]
            return tuple(self._coverage(stream, extent, span) for stream, extent in found if extent is not None)

    def fields(self) -> tuple[StoredField, ...]:
        """Return all fields, by name. Raises sqlite3.Error."""
        rows = self._connection.execute("SELECT name, kind, unit, scale FROM field ORDER BY name")
        return tuple(
            StoredField(name, FieldKind(kind), Measure(unit, scale))
            for name, kind, unit, scale in rows
            if not is_of_buckets(name)
        )

    # Series.

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        """Give the series that are wanted.

        Raises HistoryError, sqlite3.Error, and DamagedError where *on_damaged* is not to be told.
        """
        _check(select)
        with self._snapshot():
            span = self._closed(select.span)
        stepper = steps.Stepper(select.step_ms, span)
        wanted = Wanted(
            span=select.span,
            increases=select.rate or select.aggregate is Aggregate.INCREASE,
            totals=_is_total(select) and span.since_ms > 0,
        )
        for column, subject in self._columns(select, wanted, on_damaged):
            field = column.key.field
            aggregate = select.aggregate or _natural(field, rate=select.rate)
            shown = _taken(column, select, aggregate, stepper)
            if len(shown.time_ms):
                yield Series(
                    subject=subject,
                    field=field,
                    device=column.key.device,
                    measure=_measure(field, select, aggregate),
                    tier=RAW,
                    coverage=steps.share_covered(column, span),
                    time_ms=shown.time_ms,
                    values=shown.values,
                )

    def quantiles(
        self, select: Select, shares: tuple[float, ...], on_damaged: OnDamaged | None = None
    ) -> Iterator[Quantiles]:
        """Give quantiles of each series. Raises as :meth:`read` does."""
        _check(select)
        if not all(0 <= share <= 1 for share in shares):
            raise HistoryError(f"quantiles are asked for by shares from 0 to 1, not {shares}")
        with self._snapshot():
            span = self._closed(select.span)
        wanted = Wanted(span=select.span, increases=select.rate)
        for column, subject in self._columns(select, wanted, on_damaged):
            field = column.key.field
            if look_up(field).kind in _NAMED or column.values.dtype == object:
                continue
            rated = steps.increases_of(column).rates(field) if select.rate else steps.samples_of(column)
            if len(rated.time_ms):
                yield Quantiles(
                    subject=subject,
                    field=field,
                    device=column.key.device,
                    measure=_measure(field, select, Aggregate.LAST),
                    tier=RAW,
                    coverage=steps.share_covered(column, span),
                    count=len(rated.time_ms),
                    values=steps.quantiles(rated.values, shares),
                )

    def _columns(
        self, select: Select, wanted: Wanted, on_damaged: OnDamaged | None
    ) -> Iterator[tuple[Column, Subject]]:
        told = None if on_damaged is None else _Once(on_damaged)
        with self._snapshot():
            streams = {stream.number: stream for stream in self._streams() if _is_wanted(stream, select)}
            newest, keys = self._chosen(streams, select, told)
        subjects: dict[Who, Subject] = {}
        for portion in _portions(keys):
            found: dict[Key, list[Column]] = {}
            with self._snapshot():
                for source in self._sources:
                    for column in source.columns(portion, wanted, told):
                        found.setdefault(column.key, []).append(column)
            joiner = Joiner()
            for key in portion:
                if key in found:
                    subject = subjects.get(key.who)
                    if subject is None:
                        subject = subjects[key.who] = _subject(newest[key.who], streams[key.who.stream])
                    yield joined(found.pop(key), joiner), subject

    def _chosen(
        self, streams: dict[int, Stream], select: Select, on_damaged: OnDamaged | None
    ) -> tuple[dict[Who, Seen], list[tuple[Key, int]]]:
        """Return who is there, and the series that are wanted, in their order, each with how many samples it has."""
        sightings = [seen for stream in streams.values() for seen in self._seen(stream, select.span, on_damaged)]
        choice = Choice(select, _uuids(sightings, select.guests) if select.guests else None)
        newest = {seen.who: seen for seen in sightings}
        ticks: dict[Key, int] = {}
        for number in streams:
            for source in self._sources:
                for key, count in source.found(number, select.span, choice, on_damaged):
                    ticks[key] = ticks.get(key, 0) + count

        def place(item: tuple[Key, int]) -> tuple[object, ...]:
            who, stream = item[0].who, streams[item[0].who.stream]
            whose = (who.kind, newest[who].name or "", who.uuid or "", stream.host, stream.collect)
            return (*whose, *place_of(item[0]))

        return newest, sorted((item for item in ticks.items() if item[0].who in newest), key=place)

    # What is asked of the sources.

    def _streams(self) -> list[Stream]:
        rows = self._connection.execute("SELECT id, host, collect FROM stream WHERE tier = 0 ORDER BY host, collect")
        return [Stream(*row) for row in rows]

    def _extent(self, stream: Stream, span: Span, on_damaged: OnDamaged | None = None) -> Extent | None:
        extents = [source.extent(stream.number, span, on_damaged) for source in self._sources]
        found = [extent for extent in extents if extent is not None]
        if not found:
            return None
        first_ms, last_ms = min(extent.first_ms for extent in found), max(extent.last_ms for extent in found)
        return Extent(first_ms, last_ms, sum(extent.ticks for extent in found))

    def _seen(self, stream: Stream, span: Span, on_damaged: OnDamaged | None) -> Iterator[Seen]:
        for source in self._sources:
            yield from source.seen(stream.number, span, on_damaged)

    def _closed(self, span: Span) -> Span:
        """Close a span's open ends by the first and the last tick there is."""
        since_ms, until_ms = span.since_ms, span.until_ms
        if since_ms <= 0 or until_ms >= EVER_MS:
            found = [extent for stream in self._streams() if (extent := self._extent(stream, Span())) is not None]
            if since_ms <= 0:
                since_ms = min((extent.first_ms for extent in found), default=0)
            if until_ms >= EVER_MS:
                until_ms = max((extent.last_ms for extent in found), default=0) + 1
        return Span(since_ms, until_ms)

    def _coverage(self, stream: Stream, extent: Extent, span: Span) -> Coverage:
        gaps = self._connection.execute(
            "SELECT max(start_ms, ?2), min(end_ms, ?3), reason FROM gap"
            " WHERE stream = ?1 AND end_ms > ?2 AND start_ms < ?3 ORDER BY start_ms",
            (stream.number, extent.first_ms, extent.last_ms),
        )
        losses: dict[str, int] = {}
        seen_until_ms = extent.first_ms
        for start_ms, end_ms, reason in gaps:
            lost_ms = end_ms - max(start_ms, seen_until_ms)  # gaps may overlap, and time is lost once
            if lost_ms > 0:
                losses[reason] = losses.get(reason, 0) + lost_ms
                seen_until_ms = end_ms
        seen_ms = extent.last_ms - extent.first_ms - sum(losses.values())
        asked_ms = span.until_ms - span.since_ms
        return Coverage(
            host=stream.host,
            collect=stream.collect,
            first_ms=extent.first_ms,
            last_ms=extent.last_ms,
            ticks=extent.ticks,
            share=min(1.0, seen_ms / asked_ms) if asked_ms > 0 else 0.0,
            asked_ms=asked_ms,
            losses=tuple(Loss(reason, lost_ms) for reason, lost_ms in sorted(losses.items())),
        )

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Have all that is read be of one moment."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")


# What is meant.


class _Once:
    """Tells of each damage once, however often it is met."""

    def __init__(self, on_damaged: OnDamaged) -> None:
        self._on_damaged = on_damaged
        self._told: set[str] = set()

    def __call__(self, text: str) -> None:
        """Tell of it unless that was done."""
        if text not in self._told:
            self._told.add(text)
            self._on_damaged(text)


def _check(select: Select) -> None:
    if select.span.since_ms >= select.span.until_ms:
        raise HistoryError("the span ends before it begins")
    if select.step_ms is not None and select.step_ms <= 0:
        raise HistoryError(f"a step has at least a millisecond, not {select.step_ms}")
    if select.rate and select.aggregate is Aggregate.INCREASE:
        raise HistoryError("an increase is of a counter, not of its rate: ask for one or the other")


def _is_wanted(stream: Stream, select: Select) -> bool:
    return Globs(select.hosts).have(stream.host) and Globs(select.collects).have(stream.collect)


def _is_total(select: Select) -> bool:
    """Whether nothing is wanted of a counter but its sum over the whole span."""
    if select.step_ms is not None:
        return False
    return select.aggregate is Aggregate.INCREASE or (select.rate and select.aggregate is Aggregate.MEAN)


def _uuids(sightings: Sequence[Seen], patterns: Sequence[str]) -> set[str]:
    """Return the guests that had such a name at any time."""
    globs = Globs(patterns)
    return {
        seen.who.uuid
        for seen in sightings
        if seen.who.uuid and (globs.have(seen.name or "") or globs.have(seen.who.uuid))
    }


def _portions(wanted: Sequence[tuple[Key, int]]) -> Iterator[list[Key]]:
    """Split series into as many as are read at once."""
    portion: list[Key] = []
    held = 0
    for key, ticks in wanted:
        if portion and held + ticks > SAMPLES_AT_ONCE:
            yield portion
            portion, held = [], 0
        portion.append(key)
        held += ticks
    if portion:
        yield portion


def _guest(uuid: str, sightings: Sequence[tuple[Stream, Seen]]) -> Guest:
    newest = max((seen for _, seen in sightings), key=lambda seen: seen.last_ms)
    return Guest(
        uuid=uuid,
        name=newest.name or "",
        hosts=tuple(sorted({stream.host for stream, _ in sightings})),
        first_ms=min(seen.first_ms for _, seen in sightings),
        last_ms=newest.last_ms,
        ticks=sum(seen.ticks for _, seen in sightings),
    )


# What becomes of a column.


def _natural(field: str, *, rate: bool) -> Aggregate:
    """Return what a step has of a field where nobody says."""
    return Aggregate.MEAN if rate or look_up(field).kind is FieldKind.GAUGE else Aggregate.LAST


def _taken(column: Column, select: Select, aggregate: Aggregate, stepper: steps.Stepper) -> steps.Samples:
    """Return what is asked for of a column; nothing where the aggregate does not apply to it."""
    field = column.key.field
    named = look_up(field).kind in _NAMED or column.values.dtype == object
    whole = select.step_ms is None and select.aggregate is None
    if not whole and named and aggregate not in {Aggregate.LAST, Aggregate.COUNT}:
        return steps.Samples(column.ticks.time_ms[:0], column.values[:0])
    if aggregate is Aggregate.INCREASE:
        return steps.increases_by_steps(steps.increases_of(column), stepper)
    if not select.rate:
        samples = steps.samples_of(column)
        return samples if whole else steps.by_steps(samples, aggregate, stepper)
    increases = steps.increases_of(column)
    if whole:
        return increases.rates(field)
    if aggregate is Aggregate.MEAN:
        return steps.rates_by_steps(increases, field, stepper)
    return steps.by_steps(increases.rates(field), aggregate, stepper)


def _measure(field: str, select: Select, aggregate: Aggregate) -> Measure:
    unit = look_up(field).unit
    if aggregate is Aggregate.COUNT:
        return Measure("")
    return Measure(unit.base, per_second=True) if select.rate else Measure(unit.base, unit.scale)


def _subject(seen: Seen, stream: Stream) -> Subject:
    who = seen.who
    return Subject(
        host=stream.host,
        collect=stream.collect,
        kind=Kind(who.kind),
        uuid=who.uuid,
        name=seen.name if who.uuid else None,
        incarnation=seen.incarnation,
        pool=who.name if who.kind == Kind.POOL else None,
    )
