"""Answers to :class:`domstat.history.History`: who and what is there, what happened, and what was seen of a span."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from domstat.catalog import DERIVED, FieldKind
from domstat.history import (
    Coverage,
    Guest,
    Happening,
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
from domstat_sinks.sqlite.answers import asked
from domstat_sinks.sqlite.answers.choosing import place_of
from domstat_sinks.sqlite.answers.derived_series import RECIPES
from domstat_sinks.sqlite.answers.reading import Reading
from domstat_sinks.sqlite.answers.sketched import Sketched
from domstat_sinks.sqlite.answers.source import Extent, Seen
from domstat_sinks.sqlite.answers.streams import Stream, Streams
from domstat_sinks.sqlite.rollups.rollrecord import is_of_buckets

EVENTS_AT_ONCE = 1_000


class Query:
    """Reads a history, on a connection that nobody else has a transaction on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._streams = Streams(connection)
        self._reading = Reading(self._streams)
        self._sketched = Sketched(self._streams, self._reading)

    # Who and what is there.

    def span(self) -> Span:
        """Return the span from the first tick to the last. Raises sqlite3.Error."""
        with self._streams.snapshot():
            return self._streams.closed(Span())

    def hosts(self) -> tuple[Host, ...]:
        """Return all hosts. Raises sqlite3.Error."""
        found: dict[str, list[tuple[str, Span]]] = {}
        with self._streams.snapshot():
            for stream in self._streams.every():
                span = self._streams.stored(stream).span
                if span is not None:
                    extent = self._streams.extent(stream, Span())
                    last_ms = span.until_ms if extent is None else extent.last_ms
                    found.setdefault(stream.host, []).append((stream.collect, Span(span.since_ms, last_ms)))
        return tuple(
            Host(
                name,
                tuple(collect for collect, _ in streams),
                min(span.since_ms for _, span in streams),
                max(span.until_ms for _, span in streams),
            )
            for name, streams in found.items()
        )

    def guests(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Guest, ...]:
        """Return the guests that were seen in a span, by name.

        Raises sqlite3.Error, and DamagedError where *on_damaged* is not to be told.
        """
        found: dict[str, list[tuple[Stream, Seen]]] = {}
        with self._streams.snapshot():
            for stream in self._streams.every():
                for seen in self._reading.seen(stream, span, on_damaged):
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
        with self._streams.snapshot():
            span = self._streams.closed(span)
            found = [(stream, self._streams.extent(stream, span, on_damaged)) for stream in self._streams.every()]
            return tuple(self._coverage(stream, extent, span) for stream, extent in found if extent is not None)

    def fields(self) -> tuple[StoredField, ...]:
        """Return all fields, by name, those that are derived of others too. Raises sqlite3.Error."""
        rows = self._connection.execute("SELECT name, kind, unit, scale FROM field ORDER BY name")
        stored = [
            StoredField(name, FieldKind(kind), Measure(unit, scale))
            for name, kind, unit, scale in rows
            if not is_of_buckets(name)
        ]
        names = {field.name for field in stored}
        derived = [
            StoredField(name, FieldKind.GAUGE, Measure(DERIVED[name][0]))
            for name, recipe in RECIPES.items()
            if recipe.is_possible(names)
        ]
        return tuple(sorted([*stored, *derived], key=lambda field: field.name))

    # Series.

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        """Give the series that are wanted (:meth:`.reading.Reading.read`)."""
        return self._reading.read(select, on_damaged)

    def quantiles(
        self, select: Select, shares: tuple[float, ...], on_damaged: OnDamaged | None = None
    ) -> Iterator[Quantiles]:
        """Give quantiles of each series: from sketches where these may answer, from ticks otherwise.

        Raises as :meth:`read` does.
        """
        asked.check(select)
        asked.check_shares(shares)
        found, done = self._sketched.quantiles(select, shares, on_damaged)
        by_ticks = self._reading.quantiles(select, shares, on_damaged, done)
        yield from sorted([*found, *by_ticks], key=_place_of_answer) if found else by_ticks

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


def _place_of_answer(found: Quantiles) -> tuple[object, ...]:
    subject = found.subject
    whose = (subject.kind, subject.name or subject.pool or "", subject.uuid or "", subject.host, subject.collect)
    return (*whose, *place_of(found.field, found.device))


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
