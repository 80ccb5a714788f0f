"""Records as JSON lines, there and back: the format described in ``docs/records.md``.

One record a line; a key that does not apply is absent. ``partial`` alone is always there for guests, null when whole,
since "was anything left out?" is a question every reader should meet.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domstat.model import NO_FIGURES, Domain, Event, Figures, Gap, Kind, Partial, Pool, Record, Value

VERSION = 1
"""The ``v`` of every line; it changes when a reader of the old format would misunderstand the new one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class _Line(Struct, frozen=True, omit_defaults=True, gc=False):
    """A record as it is written; the order of the attributes is the order in the line."""

    v: int
    kind: str
    time: str
    host: str
    collect: str
    domain: Domain | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    devices: dict[str, dict[str, str]] | UnsetType = UNSET
    pool: Pool | UnsetType = UNSET
    event: Event | UnsetType = UNSET
    gap: dict[str, str] | UnsetType = UNSET
    interval_s: float | UnsetType = UNSET
    partial: Partial | UnsetType | None = UNSET
    anew: tuple[str, ...] | UnsetType = UNSET
    params: dict[str, Value] | UnsetType = UNSET
    rates: dict[str, float] | UnsetType = UNSET
    derived: dict[str, float] | UnsetType = UNSET


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


def write_time(time_ms: int) -> str:
    """Write a wall time as RFC 3339 in UTC with milliseconds: ``2026-11-22T22:15:04.123Z``."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def read_time(text: str) -> int:
    """Read a wall time written by :func:`write_time` (any RFC 3339 time will do) as milliseconds since 1970."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} does not say in which zone it is")
    return round((moment - _EPOCH) / _MS)


def _given(value: Any) -> Any:
    return UNSET if value is None else value


def _to_line(record: Record, time: str) -> _Line:
    gap = record.gap
    return _Line(
        VERSION,
        record.kind,
        time,
        record.host,
        record.collect,
        _given(record.domain),
        _given(record.labels),
        _given(record.devices),
        _given(record.pool),
        _given(record.event),
        {"from": write_time(gap.start), "to": write_time(gap.end), "reason": gap.reason} if gap else UNSET,
        _given(record.interval_s),
        record.partial if record.kind is Kind.GUEST else _given(record.partial),
        _given(record.anew),
        record.params or UNSET,
        record.rates or UNSET,
        record.derived or UNSET,
    )


def encode(records: tuple[Record, ...] | list[Record]) -> bytes:
    """Write *records* as JSON lines, each ended by a newline."""
    times: dict[int, str] = {}
    lines = [
        _to_line(record, times.get(record.time_ms) or times.setdefault(record.time_ms, write_time(record.time_ms)))
        for record in records
    ]
    return _encoder.encode_lines(lines)


def decode(line: bytes | str) -> Record:
    """Read one line back into the record it was written from.

    Raises ValueError, saying what is wrong, for anything that is not a record of a version this code knows.
    """
    try:
        read = _decoder.decode(line)
        if read.v != VERSION:
            raise ValueError(f"a record of version {read.v}; this domstat reads version {VERSION}")
        gap = read.gap or None
        return Record(
            kind=Kind(read.kind),
            host=read.host,
            collect=read.collect,
            time_ms=read_time(read.time),
            domain=read.domain or None,
            labels=None if read.labels is UNSET else read.labels,
            devices=None if read.devices is UNSET else read.devices,
            interval_s=None if read.interval_s is UNSET else read.interval_s,
            partial=read.partial or None,
            anew=read.anew or None,
            figures=Figures(read.params or {}, read.rates or {}, read.derived or {}),
            event=read.event or None,
            gap=Gap(read_time(gap["from"]), read_time(gap["to"]), gap["reason"]) if gap else None,
            pool=read.pool or None,
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        raise ValueError(f"not a domstat record: {error}") from error


KEYS_MAX = 65_536
"""Tuples of keys remembered, some 4 KB each: one a guest, since MACs differ, and more guests than one host has."""


class _Sampled(Struct, frozen=True, gc=False):
    """A line without what follows from its parameters: that is half of its length, and is passed over unread."""

    v: int
    kind: Kind
    time: str
    host: str
    collect: str
    domain: Domain | None = None
    labels: dict[str, str] | None = None
    devices: dict[str, dict[str, str]] | None = None
    pool: Pool | None = None
    event: Event | None = None
    gap: dict[str, str] | None = None
    partial: Partial | None = None
    anew: tuple[str, ...] | None = None
    params: dict[str, Value] | None = None


class _Parameters(Figures):
    """Parameters and no more, by keys that records alike share."""

    __slots__ = ("_keys",)

    def __init__(self, params: dict[str, Value], keys: tuple[str, ...]) -> None:
        super().__init__(params)
        self._keys = keys

    @property
    def keys(self) -> tuple[str, ...]:
        """The parameters' keys."""
        return self._keys


class SampleReader:
    """Reads lines for who takes rates anew: twice as fast as :func:`decode`, and without rates and derived values.

    Records alike share their keys. So what looks up the shape of a record finds it by that.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._time = ("", 0)
        self._decoder = msgspec.json.Decoder(_Sampled)

    def decode(self, line: bytes | str) -> Record:
        """Read one line. Raises ValueError as :func:`decode` does, but for what it passes over."""
        try:
            read = self._decoder.decode(line)
            if read.v != VERSION:
                raise ValueError(f"a record of version {read.v}; this domstat reads version {VERSION}")
            if read.time != self._time[0]:
                self._time = (read.time, read_time(read.time))
            gap = read.gap
            return Record(
                kind=read.kind,
                host=read.host,
                collect=read.collect,
                time_ms=self._time[1],
                domain=read.domain,
                labels=read.labels,
                devices=read.devices,
                partial=read.partial,
                anew=read.anew or None,
                figures=self._figures(read.params) if read.params else NO_FIGURES,
                event=read.event,
                gap=Gap(read_time(gap["from"]), read_time(gap["to"]), gap["reason"]) if gap else None,
                pool=read.pool,
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
            raise ValueError(f"not a domstat record: {error}") from error

    def _figures(self, params: dict[str, Value]) -> Figures:
        keys = tuple(params)
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        return _Parameters(params, self._keys.setdefault(keys, keys))
