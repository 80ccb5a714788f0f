"""Quantiles out of sketches: of whole hours, to 1 %, at the same cost whatever the range."""

from __future__ import annotations

from collections.abc import Iterator

from domstat.catalog import FIELDS
from domstat.history import Aggregate, OnDamaged, Quantiles, Select, Span, Subject
from domstat.model import Kind
from domstat_sinks.sqlite.answers import asked
from domstat_sinks.sqlite.answers.plan import Stock
from domstat_sinks.sqlite.answers.reading import Once, Reading
from domstat_sinks.sqlite.answers.streams import Stream, Streams
from domstat_sinks.sqlite.rollups import ranges
from domstat_sinks.sqlite.rollups.ranges import Ranged
from domstat_sinks.sqlite.rollups.rollup import HOUR_MS

ERROR = 0.01
"""How far a quantile out of a sketch may be from the exact one, relatively."""

NAME = "sketches"

OF_VALUES = {
    "cpu.cores": "cpu.cores",
    "cpu.utilization": "cpu.utilization",
    "memory.used": "memory.used",
    "balloon.current": "balloon.current",
    "balloon.rss": "balloon.rss",
    "host.cpu.utilization": "host.cpu.utilization",
    "host.memory.used": "host.memory.used",
}
OF_RATES = {"cpu.time": "cpu.cores"}
"""By field, the key field that is this very series. What a guest has of several devices has one sketch for all."""


def sketched_fields(select: Select, names: frozenset[str]) -> dict[str, str]:
    """Return which fields that are asked for have sketches, and those of which key field."""
    of = {} if select.devices else OF_RATES if select.rate else OF_VALUES
    return {field: key for field, key in of.items() if field in names}


class Sketched:
    """Answers from sketches, where they may answer."""

    def __init__(self, streams: Streams, reading: Reading) -> None:
        self._streams = streams
        self._reading = reading

    def quantiles(
        self, select: Select, shares: tuple[float, ...], on_damaged: OnDamaged | None
    ) -> tuple[list[Quantiles], frozenset[tuple[int, str]]]:
        """Return what sketches say, and of which fields of which streams: of the others ticks are to be asked.

        They are asked if they are near enough, or if the ticks do not go back as far. Raises sqlite3.Error; and
        DamagedError, unless *on_damaged* is to be told.
        """
        told = None if on_damaged is None else Once(on_damaged)
        found: list[Quantiles] = []
        of: set[tuple[int, str]] = set()
        with self._streams.snapshot():
            span = self._streams.closed(select.span)
            slack_ms = select.tolerance / 2 * (span.until_ms - span.since_ms)
            meant = asked.fields_of(select, self._streams.fields())
            fields = sketched_fields(select, frozenset(meant.uses))
            for stream in self._streams.every() if fields else []:
                if not asked.is_wanted(stream, select):
                    continue
                ticks = self._streams.stored(stream).ticks
                if select.tolerance < ERROR and ticks is not None and ticks.span.since_ms <= span.since_ms:
                    continue
                uuids = self._uuids(stream, select, span, told)
                for field, key_field in fields.items():
                    ranged = ranges.quantiles(
                        self._streams.connection, stream.number, key_field, span, shares, told, slack_ms
                    )
                    if ranged is not None and _is_best(ranged, ticks, span, select.tolerance):
                        of.add((stream.number, field))
                        found += self._answers(stream, field, ranged, select, span, uuids)
        return found, frozenset(of)

    def _answers(
        self, stream: Stream, field: str, ranged: Ranged, select: Select, span: Span, uuids: set[str] | None
    ) -> Iterator[Quantiles]:
        kind = Kind.HOST if field.startswith("host.") else Kind.GUEST
        if select.kinds and kind not in select.kinds:
            return
        guests = dict(self._guests(ranged))
        scale = 1.0 if select.rate else FIELDS[field].unit.scale if field in FIELDS else 1.0
        share = (ranged.span.until_ms - ranged.span.since_ms) / (span.until_ms - span.since_ms)
        most = max(int(ranged.counts.max()), 1)
        for i, number in enumerate(ranged.guests.tolist()):
            uuid, name = guests.get(number, ("", ""))
            if uuids is not None and uuid not in uuids:
                continue
            yield Quantiles(
                subject=Subject(
                    host=stream.host, collect=stream.collect, kind=kind, uuid=uuid or None, name=name or None
                ),
                field=field,
                device=None,
                measure=asked.measure_of(field, select, Aggregate.LAST),
                tier=NAME,
                coverage=min(1.0, share * int(ranged.counts[i]) / most),
                count=int(ranged.counts[i]),
                values=tuple((ranged.values[i] / scale).tolist()),
            )

    def _guests(self, ranged: Ranged) -> Iterator[tuple[int, tuple[str, str]]]:
        """Give the uuids and the newest names of guests by their numbers; both are empty for the host."""
        wanted = set(ranged.guests.tolist())
        every = self._streams.connection.execute("SELECT id, ifnull(uuid, ''), ifnull(domain, '') FROM guest")
        yield from ((number, (uuid, domain)) for number, uuid, domain in every if number in wanted)

    def _uuids(self, stream: Stream, select: Select, span: Span, on_damaged: OnDamaged | None) -> set[str] | None:
        """Return whose quantiles are wanted, None for everybody's."""
        if not select.guests:
            return None
        return asked.uuids(self._reading.seen(stream, span, on_damaged), select.guests)


def _is_best(ranged: Ranged, ticks: Stock | None, span: Span, tolerance: float) -> bool:
    """Whether what sketches leave out of a span is tolerated; or whether there is more in them than in ticks."""
    if ticks is None or ranged.span.since_ms < ticks.span.since_ms // HOUR_MS * HOUR_MS:
        return True
    there_ms = span.until_ms - max(span.since_ms, ticks.span.since_ms)
    left_ms = there_ms - (ranged.span.until_ms - ranged.span.since_ms)
    return tolerance >= ERROR and left_ms <= tolerance * there_ms
