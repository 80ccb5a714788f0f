"""What is stored, as the batches it once came in: for whoever wants it in another sink.

Ticks are read in the order in which they were committed, out of segments and then out of head rows, and events and gaps
between them by their times. A page of each is read at a time, so that a reader of months keeps neither much in memory
nor the writer from folding its WAL.
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
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.rows import keep
from domstat_sinks.sqlite.heads.stored import Store
from domstat_sinks.sqlite.packed.sealed import SealedTick, SealedTicks

PAGE = 256
"""Events, or gaps, read at once."""

TICKS = 16
"""Head rows read at once, with all their records: a few MB of 200 guests."""

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
        self._sealed = SealedTicks(connection)
        self._details = _Details(connection)

    def count(self, since_ms: int, until_ms: int) -> int:
        """Return about how many ticks, events and gaps there are in a span. Raises sqlite3.Error.

        Each table is counted by an index that has its times; of a segment that is only partly in the span all ticks.
        """
        found = self._connection.execute(
            "SELECT (SELECT count(*) FROM stream s CROSS JOIN head h ON h.stream = s.id"
            "  WHERE s.tier = 0 AND h.id > s.sealed AND h.time_ms >= ?1 AND h.time_ms < ?2)"
            " + (SELECT ifnull(sum(g.ticks), 0) FROM stream s CROSS JOIN segment g ON g.stream = s.id"
            "  WHERE s.tier = 0 AND g.end_ms >= ?1 AND g.start_ms < ?2)"
            " + (SELECT count(*) FROM event WHERE time_ms >= ?1 AND time_ms < ?2)"
            " + (SELECT count(*) FROM stream s CROSS JOIN gap g ON g.stream = s.id"
            "  WHERE g.start_ms >= ?1 AND g.start_ms < ?2)",
            (since_ms, until_ms),
        ).fetchone()
        return int(found[0])

    def batches(self, since_ms: int, until_ms: int, on_damaged: OnDamaged) -> Iterator[Batch]:
        """Give the batches of a span; *on_damaged* is told of rows that cannot be read. Raises sqlite3.Error."""
        streams = self._connection.execute("SELECT id, host, collect FROM stream WHERE tier = 0 ORDER BY id").fetchall()
        gaps = (self._gaps(stream, since_ms, until_ms) for stream in streams)
        ticks = [self._ticks(stream, since_ms, until_ms, on_damaged) for stream in streams]
        in_order = (batch for _, batch in heapq.merge(*ticks, key=lambda numbered: numbered[0]))
        # Ticks are out of order only where a clock was set back: there events and gaps are a little off their place.
        yield from heapq.merge(*gaps, self._events(since_ms, until_ms), in_order, key=lambda batch: batch.stamp.time_ms)

    # Ticks.

    def _ticks(
        self, stream: tuple[int, str, str], since_ms: int, until_ms: int, on_damaged: OnDamaged
    ) -> Iterator[tuple[int, Batch]]:
        """Give a stream's ticks by their numbers: out of segments, then out of head rows, sealed meanwhile or not."""
        after = 0
        while True:
            found = self._segment_after(stream[0], after, since_ms, until_ms)
            if found is None:
                page, last_id = self._page(stream[0], after, since_ms, until_ms, on_damaged)
                yield from page
                if last_id is None:
                    return
                after = last_id
                continue
            try:
                for tick in self._sealed.ticks(found[0], after, since_ms, until_ms):
                    yield tick.id, self._whole_sealed(stream, tick)
                    after = tick.id
            except row.DamagedError as error:
                if not self._is_there(found[0]):
                    continue  # its ticks are in the one that it was merged into, unless they have expired
                on_damaged(str(error))
            after = found[1]

    def _segment_after(self, stream: int, after: int, since_ms: int, until_ms: int) -> tuple[int, int] | None:
        """Return the next segment of a span, and its last tick."""
        found: tuple[int, int] | None = self._connection.execute(
            "SELECT id, last_id FROM segment WHERE stream = ? AND last_id > ? AND end_ms >= ? AND start_ms < ?"
            " ORDER BY first_id LIMIT 1",
            (stream, after, since_ms, until_ms),
        ).fetchone()
        return found

    def _is_there(self, segment: int) -> bool:
        return self._connection.execute("SELECT 1 FROM segment WHERE id = ?", (segment,)).fetchone() is not None

    def _page(
        self, stream: int, after: int, since_ms: int, until_ms: int, on_damaged: OnDamaged
    ) -> tuple[list[tuple[int, Batch]], int | None]:
        """Read some head rows, all as of one moment, and the number of the last; None where there are no more."""
        batches: list[tuple[int, Batch]] = []
        self._connection.execute("BEGIN")
        try:
            if self._segment_after(stream, after, since_ms, until_ms) is not None:
                return [], after  # they have just been sealed
            ids = self._connection.execute(
                "SELECT h.id FROM head h JOIN stream s ON s.id = h.stream + 0 WHERE h.stream + 0 = ?1"
                " AND h.id > max(?2, s.sealed) AND h.time_ms >= ?3 AND h.time_ms < ?4 ORDER BY h.id LIMIT ?5",
                (stream, after, since_ms, until_ms, TICKS),
            ).fetchall()
            for (head_id,) in ids:
                try:
                    batches.append((head_id, self._tick(head_id, stream)))
                except row.DamagedError as error:
                    on_damaged(str(error))
        finally:
            self._connection.execute("COMMIT")
        return batches, ids[-1][0] if ids else None

    def _tick(self, head_id: int, stream: int) -> Batch:
        batch = self._store.batch(head_id)
        records = []
        for position, record in enumerate(batch.records):
            moment = self._store.moment(head_id, position)
            interval_s, rates = self._taken(head_id, position, moment)
            records.append(self._whole(stream, record, moment, interval_s, rates))
        return replace(batch, records=tuple(records))

    def _whole_sealed(self, stream: tuple[int, str, str], tick: SealedTick) -> Batch:
        records = [
            self._whole(stream[0], record, moment, None if span is None else span / 1e9, record.rates)
            for record, moment, span in zip(tick.records, tick.moments, tick.spans_ns, strict=True)
        ]
        return Batch(host=stream[1], collect=stream[2], stamp=tick.stamp, records=tuple(records))

    def _whole(
        self, stream: int, record: Record, moment: Moment, interval_s: float | None, rates: dict[str, float]
    ) -> Record:
        """Add to a record what is not stored with it: rates, derived values, the time since the one before, details."""
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
