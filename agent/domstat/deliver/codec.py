"""Batches as the journal keeps them: packed into bytes, and unpacked into the very same records. Pure.

A row is self-contained but for rates. Of a guest that is as it was, rates and derived values follow from its sample and
the one before (see :attr:`domstat.model.Figures.follows`): they are not stored but worked out when somebody asks, by
the same functions, from the stream's row before. Everything else is stored as it is.

Keys are taken apart into *templates* (fields, and which of a guest's devices each is about), of which a tick has a few,
and the devices' names, of which every guest has its own. The rest is msgpack, deflated, behind a version and a CRC-32.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
from isal import isal_zlib
from msgspec import Struct

from domstat.collect.sample import Sample, Sampled, keyed
from domstat.memo import Lately, Shared
from domstat.model import (
    NO_FIGURES,
    Batch,
    Domain,
    Event,
    Figures,
    Gap,
    Kind,
    Moment,
    Partial,
    Pool,
    Record,
    Stamp,
    Value,
    key_of,
    moment_within,
    split_key,
)
from domstat.rates import SHAPES_MAX, elapsed_ns

VERSION = 1
"""The first byte of every row; it changes when older code would misread the rest."""

GUESTS_MAX = 65_536
"""Guests of one stream whose newest sample an unpacker remembers: more than a host can have."""

_HEAD_BYTES = 5
_RAW_DEFLATE = -15
_NO_DEVICE = -1

Stream: TypeAlias = tuple[str, str]


class DamagedRowError(Exception):
    """A row is not what was packed."""


class _Rest(Struct, frozen=True, array_like=True):
    """What only few records have. *host*, *collect* and *time_ms* where they are not the batch's."""

    labels: dict[str, str] | None = None
    devices: dict[str, dict[str, str]] | None = None
    partial: Partial | None = None
    anew: tuple[str, ...] | None = None
    event: Event | None = None
    gap: Gap | None = None
    pool: Pool | None = None
    rates: dict[str, float] | None = None
    derived: dict[str, float] | None = None
    host: str | None = None
    collect: str | None = None
    time_ms: int | None = None


class _Row(Struct, frozen=True, array_like=True):
    """One record: *template* and *devices* make its keys, *values* are in their order."""

    kind: Kind
    template: int
    devices: tuple[str, ...]
    values: tuple[Value, ...]
    domain: tuple[str, str, int | None] | None
    interval_s: float | None
    follows: bool
    rest: _Rest | None


class _Body(Struct, frozen=True, array_like=True):
    """One batch: *templates* are (fields, for each the position of its device among a record's, or -1)."""

    host: str
    collect: str
    stamp: tuple[int, int, str, int]
    templates: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]
    rows: tuple[_Row, ...]


class _Template:
    """One template; there is one object for each, so that it is found by identity."""

    __slots__ = ("__weakref__", "fields", "places")

    def __init__(self, fields: tuple[str, ...], places: tuple[int, ...]) -> None:
        self.fields = fields
        self.places = places


_template = Shared(_Template)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


def _take_apart(keys: tuple[str, ...]) -> tuple[_Template, tuple[str, ...]]:
    """Take a record's keys apart into a template and its devices."""
    pairs = [split_key(key) for key in keys]
    devices = tuple(dict.fromkeys(device for _, device in pairs if device is not None))
    place = {device: i for i, device in enumerate(devices)}
    places = tuple(_NO_DEVICE if device is None else place[device] for _, device in pairs)
    return _template(tuple(field for field, _ in pairs), places), devices


_taken_apart = Lately(_take_apart, SHAPES_MAX)


def _put_together(template: _Template, devices: tuple[str, ...]) -> tuple[str, ...]:
    """Make keys of a template and devices; the inverse of :func:`_take_apart`."""
    return tuple(
        key_of(field, None if place == _NO_DEVICE else devices[place])
        for field, place in zip(template.fields, template.places, strict=True)
    )


_together = Lately(_put_together, SHAPES_MAX)


def pack(batch: Batch) -> bytes:
    """Pack a batch into a row's bytes."""
    templates: dict[_Template, int] = {}
    rows = tuple([_row(record, batch, templates) for record in batch.records])
    stamp = batch.stamp
    body = _Body(
        batch.host,
        batch.collect,
        (stamp.time_ms, stamp.boot_ns, stamp.boot_id, stamp.call_ns),
        tuple([(template.fields, template.places) for template in templates]),
        rows,
    )
    packed = isal_zlib.compress(_encode(body), 1, _RAW_DEFLATE)
    return bytes([VERSION]) + zlib.crc32(packed).to_bytes(4, "big") + packed


def _row(record: Record, batch: Batch, templates: dict[_Template, int]) -> _Row:
    figures = record.figures
    template, devices = _taken_apart(figures.keys)
    domain = record.domain
    return _Row(
        record.kind,
        templates.setdefault(template, len(templates)),
        devices,
        tuple(figures.values),
        None if domain is None else (domain.uuid, domain.name, domain.id),
        record.interval_s,
        figures.follows,
        _rest(record, batch),
    )


def _rest(record: Record, batch: Batch) -> _Rest | None:
    figures = record.figures
    is_whole = record.partial is None and record.anew is None and record.labels is None and record.devices is None
    if is_whole and figures.follows and record.time_ms == batch.stamp.time_ms:
        return None  # nearly every guest's case
    return _Rest(
        record.labels,
        record.devices,
        record.partial,
        record.anew,
        record.event,
        record.gap,
        record.pool,
        None if figures.follows else figures.rates or None,
        None if figures.follows else figures.derived or None,
        None if record.host == batch.host else record.host,
        None if record.collect == batch.collect else record.collect,
        None if record.time_ms == batch.stamp.time_ms else record.time_ms,
    )


def _open(blob: bytes) -> _Body:
    if len(blob) < _HEAD_BYTES or blob[0] != VERSION:
        raise DamagedRowError("it is of no version that this domstat knows")
    packed = blob[_HEAD_BYTES:]
    if zlib.crc32(packed) != int.from_bytes(blob[1:_HEAD_BYTES], "big"):
        raise DamagedRowError("its checksum is wrong")
    try:
        return _decode(zlib.decompress(packed, _RAW_DEFLATE))
    except (zlib.error, msgspec.DecodeError) as error:
        raise DamagedRowError(str(error)) from error


class Unpacker:
    """Unpacks the rows of any number of streams, each stream's in its order.

    It remembers the newest sample of every guest, against which the next rates are taken. What it has not seen itself
    it looks up: *look_back* gives a stream's rows before the one numbered so, the newest first.
    """

    def __init__(self, look_back: Callable[[Stream, int], Iterable[bytes]] = lambda _stream, _before: ()) -> None:
        self._look_back = look_back
        self._samples: dict[Stream, dict[str, Sample]] = {}

    def unpack(self, number: int, blob: bytes) -> Batch:
        """Unpack the row *number*. Raises DamagedRowError."""
        body = _open(blob)
        stream = (body.host, body.collect)
        known = self._samples.setdefault(stream, {})
        self._recall(number, stream, known, body)
        stamp = Stamp(*body.stamp)
        samples = dict(_samples(body, stamp))
        records = tuple(
            [_record(row, body, stamp, samples.get(i), known) for i, row in enumerate(body.rows)],
        )
        if len(known) > GUESTS_MAX:
            known.clear()
        known.update((body.rows[i].domain[0], sample) for i, sample in samples.items())  # type: ignore[index]
        return Batch(host=body.host, collect=body.collect, stamp=stamp, records=records)

    def forget(self) -> None:
        """Forget the samples: the next row may be one that was unpacked already."""
        self._samples.clear()

    def _recall(self, number: int, stream: Stream, known: dict[str, Sample], body: _Body) -> None:
        """Look up the samples before those of *body* that have not come by."""
        wanted = {row.domain[0] for row in body.rows if row.follows and row.domain} - known.keys()
        if not wanted:
            return
        for blob in self._look_back(stream, number):
            try:
                before = _open(blob)
            except DamagedRowError:
                continue
            for i, sample in _samples(before, Stamp(*before.stamp)):
                uuid = before.rows[i].domain[0]  # type: ignore[index]  # a guest's
                if uuid in wanted:
                    known[uuid] = sample
                    wanted.discard(uuid)
            if not wanted:
                return


def _samples(body: _Body, stamp: Stamp) -> Iterable[tuple[int, Sample]]:
    """Give the guests' samples of a batch, by position."""
    guests = [i for i, row in enumerate(body.rows) if row.kind is Kind.GUEST and row.domain is not None]
    for position, i in enumerate(guests):
        row = body.rows[i]
        naming = keyed(_keys(row, body))
        yield i, Sample(naming, row.values, moment_within(stamp, position, len(guests)), row.domain[2])  # type: ignore[index]


def _keys(row: _Row, body: _Body) -> tuple[str, ...]:
    template = _template(*body.templates[row.template])  # not the row's own, whose every name is another string
    return _together(template, row.devices)


def _record(row: _Row, body: _Body, stamp: Stamp, sample: Sample | None, known: dict[str, Sample]) -> Record:
    rest = row.rest or _NOTHING
    domain = None if row.domain is None else Domain(*row.domain)
    return Record(
        kind=row.kind,
        host=body.host if rest.host is None else rest.host,
        collect=body.collect if rest.collect is None else rest.collect,
        time_ms=stamp.time_ms if rest.time_ms is None else rest.time_ms,
        domain=domain,
        labels=rest.labels,
        devices=rest.devices,
        interval_s=row.interval_s,
        partial=rest.partial,
        anew=rest.anew,
        figures=_figures(row, body, sample, known.get(domain.uuid) if domain else None),
        event=rest.event,
        gap=rest.gap,
        pool=rest.pool,
    )


def _figures(row: _Row, body: _Body, sample: Sample | None, before: Sample | None) -> Figures:
    if row.follows and sample is not None and before is not None and _is_next(before, sample, row.interval_s):
        return Sampled(sample, before)
    keys = _keys(row, body)
    if not keys:
        return NO_FIGURES
    rest = row.rest or _NOTHING
    return Figures(dict(zip(keys, row.values, strict=True)), rest.rates, rest.derived)


def _is_next(before: Sample, sample: Sample, interval_s: float | None) -> bool:
    """Whether *before* is the sample that the stream took the rates against; a row in between may have been lost."""
    return (
        before.incarnation == sample.incarnation
        and before.plan is sample.plan
        and elapsed_ns(before.moment, sample.moment) / 1e9 == interval_s
    )


_NOTHING = _Rest()


class Seen(Struct, frozen=True):
    """A guest as one row has it: what rates are taken against, and what that lacks."""

    domain: Domain
    keys: tuple[str, ...]
    values: Sequence[Any]
    moment: Moment
    partial: Partial | None
    anew: tuple[str, ...]


def host_of(blob: bytes) -> tuple[tuple[str, ...], Sequence[Any], Moment] | None:
    """Unpack the host's sample: keys, values and moment; None where the row has none. Raises DamagedRowError."""
    body = _open(blob)
    guests = sum(row.kind is Kind.GUEST for row in body.rows)
    for row in body.rows:
        if row.kind is Kind.HOST:
            return _keys(row, body), row.values, moment_within(Stamp(*body.stamp), 0, guests or 1)
    return None


def guests_of(blob: bytes) -> list[Seen]:
    """Unpack what rates are taken against, and nothing else. Raises DamagedRowError."""
    body = _open(blob)
    return [
        Seen(
            Domain(*body.rows[i].domain),  # type: ignore[misc]  # a guest's
            sample.plan.keys,
            sample.values,
            sample.moment,
            (body.rows[i].rest or _NOTHING).partial,
            (body.rows[i].rest or _NOTHING).anew or (),
        )
        for i, sample in _samples(body, Stamp(*body.stamp))
    ]
