"""Records as pieces of requests: the very series that the prometheus sink shows, each with its record's time.

Beside a record's own figures there are what the prometheus sink works out of all of them: what guests and devices are,
how old a stream is, counts of events and gaps. Here each is told by one stream, with its ticks, so that the samples of
a series are in order whatever streams there are.

A guest that is in no stream any more is ended: its series get Prometheus' marker at the end of the tick that it is not
in, as when a scrape does not find it, and so do those under an old name, and infos whose labels have changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from domstat.model import Batch, Kind, Record
from domstat_sinks.prometheus.details import DEVICES_MAX, OWN_LABELS, further_labels
from domstat_sinks.prometheus.names import (
    DEVICE_INFO,
    EVENTS,
    GAP_TIME,
    GAPS,
    GUEST_INFO,
    GUEST_PARTIAL,
    POOL_INFO,
    STREAM_TIME,
    Family,
    label_text,
)
from domstat_sinks.prometheus.subjects import SURVEY, About, Subject, subject_of
from domstat_sinks.remote_write import series
from domstat_sinks.remote_write.memory import Memory, Told
from domstat_sinks.remote_write.series import ONE, STALE, ZERO, Owner, Written, labels_of, sample_of, series_of

OWNERS_MAX = 65_536
"""Guests and others whose labels are remembered as written; beyond it all are forgotten once, which costs only time."""

KINDS = frozenset({Kind.GUEST, Kind.HOST, Kind.POOL, Kind.AGENT})
"""Records with figures."""

LABELS_MAX = 30
"""Labels of one series, its name among them: Mimir, Cortex and VictoriaMetrics refuse, or cut, what has more."""


class Piece(Struct, frozen=True, gc=False):
    """What the record with that *number* comes to: series, one behind the other, and how many.

    *subject* and stream say whose they are: no two pieces that differ in it have a series in common.
    """

    number: int
    subject: Subject
    body: bytes
    series: int


class _Body:
    """Series of one record in the making."""

    __slots__ = ("left_out", "parts", "series")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.series = 0
        self.left_out: tuple[str, ...] = ()

    def add(self, written: Written) -> None:
        self.parts.append(written.body)
        self.series += written.series
        if written.left_out:
            self.left_out += written.left_out

    def add_one(self, labels: bytes, sample: bytes) -> None:
        self.parts.append(series_of(labels, sample))
        self.series += 1


class Encoder:
    """Writes records; one per sink. *labels* stand in every series."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = {name: label_text(text) for name, text in labels.items() if text}
        self._own = (*OWN_LABELS, *self._labels)
        self._owners: dict[tuple[object, ...], tuple[dict[str, bytes], Owner]] = {}

    def encode(self, batches: Sequence[Batch], memory: Memory, left_out: list[tuple[int, str]]) -> Iterator[Piece]:
        """Write *batches*' records, numbered through, in their order, and have *memory* go on with them.

        Append to *left_out* what of which record cannot be written, and why. A record of a kind that it does not know
        comes to nothing: nobody can say whose its series would be.
        """
        number = -1
        for batch in batches:
            is_survey = batch.collect == SURVEY
            for at, record in enumerate(batch.records, 1):
                number += 1
                if record.event is not None or record.gap is not None:
                    memory.count(record)
                    continue
                if record.kind not in KINDS:
                    continue
                body = self._record(batch, record, memory)
                if record.kind is Kind.AGENT or (is_survey and at == len(batch.records)):
                    self._end_tick(body, batch, record, memory)
                left_out += ((number, f"{key}: not a number that can be stored") for key in body.left_out)
                if body.series:
                    yield Piece(number, subject_of(record), b"".join(body.parts), body.series)

    def _record(self, batch: Batch, record: Record, memory: Memory) -> _Body:
        body = _Body()
        labels, owner = self._owner(record)
        figures, time_ms = record.figures, record.time_ms
        written = series.write("params", figures.keys, figures.values, owner, time_ms)
        body.add(written)
        derived = figures.derived
        if derived:
            more = series.write("derived", tuple(derived), tuple(derived.values()), owner, time_ms)
            if written.names.isdisjoint(more.names):
                body.add(more)
        if record.kind is Kind.GUEST or record.kind is Kind.POOL:
            self._tell(body, batch, record, labels, memory)
        return body

    def _tell(self, body: _Body, batch: Batch, record: Record, labels: Mapping[str, bytes], memory: Memory) -> None:
        """Write what a guest or pool is, and end what it is no more."""
        subject = subject_of(record)
        about = memory.about(subject, record)
        ticks = memory.ticks(batch.stream)
        before = ticks.before.get(subject)
        if before is not None and _name(before) != _name(record):
            self._end_figures(body, before, record.time_ms)
        ticks.now[subject] = record
        if not memory.speaks(subject, batch.stream, record.time_ms):
            return
        told = memory.told.get(subject)
        if told is None or told.about is not about or told.name != _name(record):
            new = self._told(record, labels, about)
            if told is not None:
                _end_labels(body, [each for each in _all(told) if each not in _all(new)], record.time_ms)
            told = memory.told[subject] = new
        sample = sample_of(record.time_ms, ONE)
        for info in told.infos:
            body.add_one(info, sample)
        if told.partial:
            body.add_one(told.partial, sample if record.partial else sample_of(record.time_ms, ZERO))

    def _told(self, record: Record, labels: Mapping[str, bytes], about: About) -> Told:
        is_guest = record.kind is Kind.GUEST
        prefix, info = ("label_", GUEST_INFO) if is_guest else ("", POOL_INFO)
        infos = [self._info(info, labels, about.labels or {}, prefix)]
        devices: dict[bytes, Mapping[str, str]] = {}
        for device, details in islice((about.devices or {}).items() if is_guest else (), DEVICES_MAX):
            devices.setdefault(label_text(device), details)  # of those that differ in nothing that can be written, one
        infos += [
            self._info(DEVICE_INFO, {**labels, "device": name}, details) for name, details in devices.items() if name
        ]
        partial = labels_of(GUEST_PARTIAL.name, labels) if is_guest else b""
        return Told(tuple(infos), partial, about, _name(record))

    def _info(self, family: Family, labels: Mapping[str, bytes], more: Mapping[str, str], prefix: str = "") -> bytes:
        room = LABELS_MAX - 1 - len(labels)
        return labels_of(family.name, {**labels, **dict(islice(further_labels(more, prefix, self._own), room))})

    def _end_tick(self, body: _Body, batch: Batch, record: Record, memory: Memory) -> None:
        """Write what is told once a tick, and end whoever is gone."""
        time_ms, (host, collect) = record.time_ms, batch.stream

        def add(family: Family, value: float, **labels: str) -> None:
            written = {name: label_text(text) for name, text in labels.items()}
            body.add_one(labels_of(family.name, self._labels | written), sample_of(time_ms, struct.pack("<d", value)))

        add(STREAM_TIME, batch.stamp.time_ms / 1000, host=host, collect=collect)
        for (of_host, of_collect, reason), (number, lasted_ms) in memory.gaps.items():
            if (of_host, of_collect) == (host, collect):
                add(GAPS, number, host=host, collect=collect, reason=reason)
                add(GAP_TIME, lasted_ms / 1000, host=host, collect=collect, reason=reason)
        if memory.speaks(host, batch.stream, time_ms):
            for (of_host, type_), number in memory.events.items():
                if of_host == host:
                    add(EVENTS, number, host=host, type=type_)
        for subject, gone in memory.gone(batch.stream):
            self._end_figures(body, gone, time_ms)
            told = memory.told.pop(subject, None)
            if told is not None:
                _end_labels(body, _all(told), time_ms)

    def _end_figures(self, body: _Body, record: Record, time_ms: int) -> None:
        _, owner = self._owner(record)
        figures = record.figures
        body.add(series.end("params", figures.keys, figures.values, owner, time_ms))
        if figures.derived:
            body.add(series.end("derived", tuple(figures.derived), tuple(figures.derived.values()), owner, time_ms))

    def _owner(self, record: Record) -> tuple[dict[str, bytes], Owner]:
        """Return the labels that all series of a record share, and the same as they are written."""
        collect = record.collect if record.kind is Kind.AGENT else None
        about = (record.host, record.domain, record.pool, collect)
        found = self._owners.get(about)
        if found is None:
            texts = {"host": record.host}
            if record.domain is not None:
                texts |= {"uuid": record.domain.uuid, "domain": record.domain.name}
            if record.pool is not None:
                texts["pool"] = record.pool.name
            if collect is not None:
                texts["collect"] = collect
            labels = self._labels | {name: label_text(text) for name, text in texts.items()}
            if len(self._owners) >= OWNERS_MAX:
                self._owners.clear()
            found = self._owners[about] = (labels, series.owner_of(labels))
        return found


def _name(record: Record) -> str:
    return record.domain.name if record.domain is not None else ""


def _all(told: Told) -> list[bytes]:
    return [*told.infos, told.partial] if told.partial else [*told.infos]


def _end_labels(body: _Body, labels: Sequence[bytes], time_ms: int) -> None:
    for each in labels:
        body.add_one(each, sample_of(time_ms, STALE))
