"""Remote write from the other side: requests read strictly, and stores that keep samples as the real ones do."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from cramjam import snappy

from scripted import Reply, Request

Labels: TypeAlias = tuple[tuple[str, str], ...]
STALE_BITS = 0x7FF0_0000_0000_0002


@dataclass(frozen=True)
class Sample:
    """One sample as it was sent."""

    labels: Labels
    time_ms: int
    bits: int
    """The value's."""

    @property
    def name(self) -> str:
        return dict(self.labels)["__name__"]

    @property
    def value(self) -> float:
        return float(struct.unpack("<d", struct.pack("<Q", self.bits))[0])

    @property
    def is_stale(self) -> bool:
        return self.bits == STALE_BITS


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in itertools.count(0, 7):
        number |= (raw[at] & 127) << shift
        at += 1
        if raw[at - 1] < 128:
            return number, at
    raise AssertionError


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give a message's fields, by number."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        match tag & 7:
            case 0:
                value, at = _varint(raw, at)
                yield tag >> 3, value
            case 1:
                yield tag >> 3, raw[at : at + 8]
                at += 8
            case 2:
                length, at = _varint(raw, at)
                assert at + length <= len(raw), "a length beyond the end"
                yield tag >> 3, raw[at : at + length]
                at += length
            case other:
                raise AssertionError(f"wire type {other}")


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def read(body: bytes) -> list[Sample]:
    """Read a WriteRequest; what the specification does not allow fails."""
    samples: list[Sample] = []
    for number, series in _fields(body):
        assert number == 1
        labels: list[tuple[str, str]] = []
        found: list[tuple[int, int]] = []
        for part, raw in _fields(_bytes(series)):
            inner = dict(_fields(_bytes(raw)))
            if part == 1:
                labels.append((_bytes(inner[1]).decode(), _bytes(inner[2]).decode()))
            else:
                assert part == 2
                time_ms = inner[2]
                assert isinstance(time_ms, int)
                found.append((time_ms, struct.unpack("<Q", _bytes(inner[1]))[0]))
        names = [name for name, _ in labels]
        assert names == sorted(set(names)), "labels are sorted, each once"
        assert all(text for _, text in labels), "no label is empty"
        assert len(found) == 1
        samples += (Sample(tuple(labels), time_ms, bits) for time_ms, bits in found)
    return samples


def sent(request: Request) -> list[Sample]:
    """Read what was sent, by the protocol's rules."""
    assert request.method == "POST"
    assert request.headers["content-encoding"] == "snappy"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["x-prometheus-remote-write-version"] == "0.1.0"
    return read(bytes(snappy.decompress_raw(request.body)))


@dataclass
class Series:
    times: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    """As bits."""


@dataclass
class Tsdb:
    """Keeps samples as Prometheus' TSDB does: in order, an equal one of the newest time once more."""

    oldest_ms: int = 0
    """What is older is out of bounds."""
    refuses: Callable[[Sample], str] = lambda _: ""
    """Returns why a sample is refused in any case."""
    series: dict[Labels, Series] = field(default_factory=dict)
    requests: int = 0

    def fault(self, sample: Sample) -> str:
        if why := self.refuses(sample):
            return why
        kept = self.series.get(sample.labels)
        if sample.time_ms < self.oldest_ms:
            return "out of bounds"
        if kept is None or sample.time_ms > kept.times[-1]:
            return ""
        if sample.time_ms < kept.times[-1]:
            return "out of order sample"
        return "" if sample.bits == kept.values[-1] else "duplicate sample for timestamp"

    def keep(self, sample: Sample) -> None:
        kept = self.series.setdefault(sample.labels, Series())
        if not kept.times or kept.times[-1] != sample.time_ms:
            kept.times.append(sample.time_ms)
            kept.values.append(sample.bits)

    def prometheus(self, request: Request) -> Reply:
        """Store all or nothing, and say what is wrong with the first that is."""
        self.requests += 1
        samples = sent(request)
        for sample in samples:
            if why := self.fault(sample):
                return Reply(400, why.encode() + b"\n", {"Content-Type": "text/plain; charset=utf-8"})
        for sample in samples:
            self.keep(sample)
        return Reply(204, stores=False)

    def mimir(self, request: Request) -> Reply:
        """Store what can be stored, and say what is wrong with the first that cannot."""
        self.requests += 1
        faults = []
        for sample in sent(request):
            if why := self.fault(sample):
                faults.append((why, sample))
            else:
                self.keep(sample)
        if not faults:
            return Reply(200, stores=False)
        why, sample = faults[0]
        text = f"failed pushing to ingester: user=anonymous: {why}. The affected sample is from series {sample.labels}"
        return Reply(400, text.encode())

    def thanos(self, request: Request) -> Reply:
        """Do the same, in other words."""
        reply = self.mimir(request)
        return Reply(409, b"store locally for endpoint: conflict") if reply.status == 400 else reply

    def value(self, name: str, **labels: str) -> float:
        """Return the newest value of the one series of that name that has the labels."""
        return self.values(name, **labels)[-1]

    def values(self, name: str, **labels: str) -> list[float]:
        (found,) = self.find(name, **labels)
        return [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in found.values]

    def find(self, name: str, **labels: str) -> list[Series]:
        wanted = {"__name__": name, **labels}.items()
        return [kept for found, kept in self.series.items() if wanted <= dict(found).items()]

    def texts(self, name: str, label: str) -> set[str]:
        """Return a label's values over all series of that name."""
        found = (dict(labels) for labels in self.series)
        return {labels.get(label, "") for labels in found if labels["__name__"] == name}

    def is_ended(self, name: str, **labels: str) -> bool:
        return all(kept.values[-1] == STALE_BITS for kept in self.find(name, **labels))
