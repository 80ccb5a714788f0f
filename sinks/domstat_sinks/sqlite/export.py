"""What is stored, as the batches it once came in: for whoever wants it in another sink.

Head rows are read in the order in which they were committed, which is that of the ticks, and events and gaps between
them by their times. A page of each is read at a time, so that a reader of months keeps neither much in memory nor the
writer from folding its WAL.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from domstat.derive import Derivation, derive, derive_host
from domstat.model import Batch, Domain, Event, Figures, Gap, Kind, Moment, Record, stamp_of
from domstat.rates import SHAPES_MAX, elapsed_ns
from domstat_sinks.sqlite import row
from domstat_sinks.sqlite.rows import keep
from domstat_sinks.sqlite.stored import Store

PAGE = 256
"""Rows whose numbers are read at once."""

GUESTS_KEPT = 65_536
"""Guests of all streams whose labels and devices are remembered, until when they are so."""

_EVER_MS = 1 << 62

OnDamaged: TypeAlias = Callable[[str], None]
Details: TypeAlias = tuple[dict[str, str], dict[str, dict[str, str]]]


class Exporter:
    """Reads batches out of a history, on any connection to it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._store = Store(connection)
        self._details = _Details(connection)

    def count(self, since_ms: int, until_ms: int) -> int:
        """Return how many ticks, events and gaps there are from one time on and before another. Raises sqlite3.Error.

        Each table is counted by an index that has its times.
        """
        found = self._connection.execute(
            "SELECT (SELECT count(*) FROM stream s CROSS JOIN head h ON h.stream = s.id"
            "  WHERE h.time_ms >= ?1 AND h.time_ms < ?2)"
            " + (SELECT count(*) FROM event WHERE time_ms >= ?1 AND time_ms < ?2)"
            " + (SELECT count(*) FROM stream s CROSS JOIN gap g ON g.stream = s.id"
            "  WHERE g.start_ms >= ?1 AND g.start_ms < ?2)",
            (since_ms, until_ms),
        ).fetchone()
        return int(found[0])

    def batches(self, since_ms: int, until_ms: int, on_damaged: OnDamaged) -> Iterator[Batch]:
        """Give the batches of a span; *on_damaged* is told of rows that cannot be read. Raises sqlite3.Error."""
        streams = self._connection.execute("SELECT id, host, collect FROM stream ORDER BY id").fetchall()
        gaps = (self._gaps(stream, since_ms, until_ms) for stream in streams)
        # Ticks are out of order only where a clock was set back: there events and gaps are a little off their place.
        yield from heapq.merge(
            *gaps,
            self._events(since_ms, until_ms),
            self._ticks(since_ms, until_ms, on_damaged),
            key=lambda batch: batch.stamp.time_ms,
        )

    # Ticks.

    def _ticks(self, since_ms: int, until_ms: int, on_damaged: OnDamaged) -> Iterator[Batch]:
        first, last = self._bounds(since_ms, until_ms)
        while first <= last:
            page = self._connection.execute(
                "SELECT id, time_ms, stream FROM head WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", (first, last, PAGE)
            ).fetchall()
            for head_id, time_ms, stream in page:
                if since_ms <= time_ms < until_ms:
                    try:
                        batch = self._tick(head_id, stream)
                    except row.DamagedError as error:
                        on_damaged(str(error))
                        continue
                    yield batch
            if len(page) < PAGE:
                return
            first = page[-1][0] + 1

    def _bounds(self, since_ms: int, until_ms: int) -> tuple[int, int]:
        """Return the first and the last row of a span; the first is beyond the last where there is none."""
        first, last = self._connection.execute(
            "SELECT ifnull(min(h.id), 1), ifnull(max(h.id), 0) FROM stream s CROSS JOIN head h ON h.stream = s.id"
            " WHERE h.time_ms >= ? AND h.time_ms < ?",
            (since_ms, until_ms),
        ).fetchone()
        return int(first), int(last)

    def _tick(self, head_id: int, stream: int) -> Batch:
        batch = self._store.batch(head_id)
        records = [self._whole(head_id, position, stream, record) for position, record in enumerate(batch.records)]
        return replace(batch, records=tuple(records))

    def _whole(self, head_id: int, position: int, stream: int, record: Record) -> Record:
        """Add to a record what its row does not keep: rates, derived values, the time since the one before, details."""
        moment = self._store.moment(head_id, position)
        interval_s, rates = self._taken(head_id, position, moment)
        labels, devices = (None, None)
        if record.kind is Kind.GUEST and record.domain is not None:
            labels, devices = self._details.news(stream, record.domain.uuid, record.time_ms)
        return replace(
            record,
            interval_s=interval_s,
            labels=labels,
            devices=devices,
            figures=Figures(record.params, rates, _derived(record, rates, moment)),
        )

    def _taken(self, head_id: int, position: int, moment: Moment) -> tuple[float | None, dict[str, float]]:
        """Take rates against the record before; none where that is damaged."""
        try:
            since = self._store.moment_before(head_id, position)
            return elapsed_ns(since, moment) / 1e9 if since else None, self._store.rates(head_id, position)
        except row.DamagedError:
            return None, {}

    # What happened between ticks.

    def _events(self, since_ms: int, until_ms: int) -> Iterator[Batch]:
        after = (since_ms, -1)
        while True:
            page = self._connection.execute(
                "SELECT e.id, e.time_ms, s.host, s.collect, e.uuid, e.name, e.incarnation, e.type, e.reason, e.device"
                " FROM event e JOIN stream s ON s.id = e.stream"
                " WHERE (e.time_ms, e.id) > (?, ?) AND e.time_ms < ? ORDER BY e.time_ms, e.id LIMIT ?",
                (*after, until_ms, PAGE),
            ).fetchall()
            for _, time_ms, host, collect, uuid, name, incarnation, *event in page:
                domain = Domain(uuid, name or "", incarnation) if uuid else None
                yield _alone(host, collect, Kind.EVENT, time_ms, domain=domain, event=Event(*event))
            if len(page) < PAGE:
                return
            after = (page[-1][1], page[-1][0])

    def _gaps(self, stream: tuple[int, str, str], since_ms: int, until_ms: int) -> Iterator[Batch]:
        number, host, collect = stream
        while True:
            page = self._connection.execute(
                "SELECT start_ms, end_ms, reason FROM gap WHERE stream = ? AND start_ms >= ? AND start_ms < ?"
                " ORDER BY start_ms LIMIT ?",
                (number, since_ms, until_ms, PAGE),
            ).fetchall()
            for start_ms, end_ms, reason in page:
                yield _alone(host, collect, Kind.GAP, start_ms, gap=Gap(start_ms, end_ms, reason))
            if len(page) < PAGE:
                return
            since_ms = page[-1][0] + 1


class _Details:
    """Says what guests' labels and devices are when that is news: at their first record, and when they change."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._same_until: OrderedDict[tuple[int, str], tuple[int, int]] = OrderedDict()
        """By stream and guest, the span of time of which no more is to be said."""

    def news(self, stream: int, uuid: str, time_ms: int) -> Details | tuple[None, None]:
        """Return labels and devices as of a time, in milliseconds since 1970, unless they have been said."""
        key = (stream, uuid)
        since_ms, until_ms = self._same_until.get(key, (0, 0))
        if since_ms <= time_ms < until_ms:
            return None, None
        now = self._connection.execute(
            "SELECT time_ms, labels, devices FROM detail WHERE stream = ? AND uuid = ? AND time_ms <= ?"
            " ORDER BY time_ms DESC LIMIT 1",
            (*key, time_ms),
        ).fetchone()
        (change_ms,) = self._connection.execute(
            "SELECT min(time_ms) FROM detail WHERE stream = ? AND uuid = ? AND time_ms > ?", (*key, time_ms)
        ).fetchone()
        until_ms = _EVER_MS if change_ms is None else change_ms
        keep(self._same_until, key, (now[0] if now else 0, until_ms), GUESTS_KEPT)
        return (_read(now[1]), _read(now[2])) if now else (None, None)


def _read(text: str) -> Any:
    return msgspec.json.decode(text)


def _alone(host: str, collect: str, kind: Kind, time_ms: int, **about: Any) -> Batch:
    """Make the batch of one event or gap: of its call nothing was kept but the time."""
    record = Record(kind=kind, host=host, collect=collect, time_ms=time_ms, **about)
    return Batch(host=host, collect=collect, stamp=stamp_of(time_ms), records=(record,))


_derivation = lru_cache(maxsize=SHAPES_MAX)(Derivation)


def _derived(record: Record, rates: dict[str, float], moment: Moment) -> dict[str, float]:
    if record.kind is Kind.HOST:
        return derive_host(record.params, rates)
    if record.kind is Kind.GUEST:
        return derive(_derivation(tuple(record.params)), record.params, rates, moment.time_ms)
    return {}
