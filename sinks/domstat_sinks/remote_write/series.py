"""A record's samples as remote write's protobuf: a plan per set of keys, so that a record costs little but its numbers.

A request is nothing but series, one behind the other, each with one sample here (prometheus/prompb/types.proto)::

    WriteRequest  1: TimeSeries, as often as there are any
    TimeSeries    1: Label, as often …; 2: Sample
    Label         1: name, 2: value
    Sample        1: value (double), 2: timestamp (int64, milliseconds)

The labels of a series are sorted by name. What all of a record's series share is therefore written in parts: before
the name, between the name and the device, behind the device. The timestamp stands before the value, as protobuf lets
fields stand in any order, so that all that is between a series' own labels and its value is the same for a record, and
is written once. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from domstat.model import Value
from domstat_sinks.prometheus.samples import Numbers, Sample, Source, real, samples_of, types_and_texts

PLANS_MAX = 65_536
"""Sets of keys remembered, two a guest, since MACs differ: 20 KiB for one of two disks and two NICs."""

STALE = struct.pack("<Q", 0x7FF0_0000_0000_0002)
"""The value that ends a series (Prometheus' model/value.StaleNaN): who asks for a later time does not find it."""

ONE = struct.pack("<d", 1.0)
ZERO = struct.pack("<d", 0.0)

_SERIES = b"\x0a"
_LABEL = b"\x0a"
_SAMPLE = b"\x12"
_TIMESTAMP = b"\x10"
_VALUE = b"\x09"

_double = struct.Struct("<d").pack


class Owner(Struct, frozen=True, gc=False):
    """The labels that all series of one subject share, written, in the parts that other labels stand between."""

    before: bytes
    """Before ``__name__``."""
    between: bytes
    """Between that and ``device``."""
    behind: bytes
    """Between that and ``value``."""
    last: bytes
    """Behind that."""


class Written(Struct, frozen=True, gc=False):
    """Series, one behind the other, how many, what their metrics are called, and which keys had no number."""

    body: bytes
    series: int
    names: frozenset[str]
    left_out: tuple[str, ...] = ()


NOTHING = Written(b"", 0, frozenset())


def owner_of(labels: Mapping[str, bytes]) -> Owner:
    """Write *labels*; empty ones are none."""
    there = {name: text for name, text in sorted(labels.items()) if text}
    return Owner(
        before=_join((name, text) for name, text in there.items() if name < "__name__"),
        between=_join((name, text) for name, text in there.items() if "__name__" < name < "device"),
        behind=_join((name, text) for name, text in there.items() if "device" < name < "value"),
        last=_join((name, text) for name, text in there.items() if name > "value"),
    )


def labels_of(metric: str, labels: Mapping[str, bytes]) -> bytes:
    """Write all the labels of one series; empty ones are none."""
    return _join(sorted({"__name__": metric.encode(), **{k: v for k, v in labels.items() if v}}.items()))


def sample_of(time_ms: int, value: bytes) -> bytes:
    """Write a sample; *value* is a double, little-endian."""
    return _head_of(time_ms) + value


def series_of(labels: bytes, sample: bytes) -> bytes:
    """Put one series together."""
    return _SERIES + varint(len(labels) + len(sample)) + labels + sample


def write(source: Source, keys: tuple[str, ...], values: Sequence[Value], owner: Owner, time_ms: int) -> Written:
    """Write a record's values; leave out what is no number."""
    written = _write(source, keys, values, owner, time_ms)
    if written is None:
        found = {key: n for key, value in zip(keys, values, strict=True) if (n := real(value)) is not None}
        written = _write(source, tuple(found), tuple(found.values()), owner, time_ms) or NOTHING
        written = replace(written, left_out=tuple(key for key in keys if key not in found))
    return written


def end(source: Source, keys: tuple[str, ...], values: Sequence[Value], owner: Owner, time_ms: int) -> Written:
    """End the series of a record that had these values."""
    head = _head_of(time_ms)
    return _plan(source, keys, values, owner, head).end(owner, head)


def split(body: bytes) -> list[bytes]:
    """Take a request's body apart into its series."""
    found, at = [], 0
    while at < len(body):
        length, begin = _read_varint(body, at + 1)
        found.append(body[at : begin + length])
        at = begin + length
    return found


def varint(number: int) -> bytes:
    """Write a number as protobuf does; a negative one, as int64, in ten bytes."""
    if 0 <= number < 128:
        return bytes((number,))
    number &= (1 << 64) - 1
    written = bytearray()
    while number >= 128:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


class _Plan:
    """Everything of a record's series but their numbers, times and what they share.

    *shared* is how many bytes behind a series' device come of the subject and the sample.
    """

    __slots__ = ("_numbers", "_pieces", "_texts", "names", "series")

    def __init__(
        self,
        source: Source,
        keys: tuple[str, ...],
        typed: tuple[tuple[type, ...], tuple[str, ...]],
        before: bytes,
        between: bytes,
        shared: int,
    ) -> None:
        samples = samples_of(source, keys, *typed)
        self._numbers = Numbers(samples)
        self._pieces: list[bytes] = []
        self._texts = [(place, _label("value", one.text)) for place, one in enumerate(samples) if one.text]
        for sample in samples:
            head = before + _label("__name__", sample.family.name.encode()) + between + _device(sample)
            text = _label("value", sample.text) if sample.text else b""
            self._pieces += [_SERIES + varint(len(head) + len(text) + shared) + head, b"", b""]
        self.names = frozenset(sample.family.name for sample in samples)
        self.series = len(samples)

    def write(self, values: Sequence[Value], owner: Owner, head: bytes) -> Written | None:
        """Write *values*; None if one of them is no number that can be written."""
        numbers = self._numbers.of(values)
        return None if numbers is None else self._fill([*map(_double, numbers)], owner, head)

    def end(self, owner: Owner, head: bytes) -> Written:
        """Write the value that ends a series to each."""
        return self._fill([STALE] * self.series, owner, head)

    def _fill(self, values: list[bytes], owner: Owner, head: bytes) -> Written:
        pieces = self._pieces.copy()
        pieces[1::3] = [owner.behind + owner.last + head] * self.series
        pieces[2::3] = values
        for place, label in self._texts:
            pieces[3 * place + 1] = owner.behind + label + owner.last + head
        return Written(b"".join(pieces), self.series, self.names)


_plan_of = lru_cache(maxsize=PLANS_MAX)(_Plan)


def _plan(source: Source, keys: tuple[str, ...], values: Sequence[Value], owner: Owner, head: bytes) -> _Plan:
    shared = len(owner.behind) + len(owner.last) + len(head) + len(ONE)
    return _plan_of(source, keys, types_and_texts(source, values), owner.before, owner.between, shared)


def _write(
    source: Source, keys: tuple[str, ...], values: Sequence[Value], owner: Owner, time_ms: int
) -> Written | None:
    head = _head_of(time_ms)
    return _plan(source, keys, values, owner, head).write(values, owner, head)


@lru_cache(maxsize=256)
def _head_of(time_ms: int) -> bytes:
    """Write all of a sample that stands before its value."""
    timestamp = varint(time_ms)
    return _SAMPLE + varint(len(timestamp) + 10) + _TIMESTAMP + timestamp + _VALUE


def _device(sample: Sample) -> bytes:
    return _label("device", sample.device) if sample.device else b""


def _join(labels: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(_label(name, text) for name, text in labels)


def _label(name: str, text: bytes) -> bytes:
    called = name.encode()
    body = b"\x0a" + varint(len(called)) + called + b"\x12" + varint(len(text)) + text
    return _LABEL + varint(len(body)) + body


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at *at*, and where it ends."""
    number = shift = 0
    while True:
        byte = body[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
