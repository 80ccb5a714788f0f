"""What batches come to, worked out one value at a time: what the history's answers are held to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from domstat.catalog import look_up
from domstat.model import Batch, Domain, Kind, Moment, Record, moment_within, split_key

NS = 1_000_000_000


class Increase(Struct, frozen=True):
    """What a counter counted from one tick of its subject to the next, in so many seconds."""

    time_ms: int
    subject: str
    device: str | None
    value: float
    seconds: float


class Level(Struct, frozen=True):
    """What something else was at a tick, in its base unit."""

    time_ms: int
    subject: str
    device: str | None
    value: float


def subject_of(record: Record) -> str:
    """Name a guest, pool or host."""
    named: Domain | object | None = record.domain or record.pool
    return str(getattr(named, "name", record.host))


def ticks(batches: Iterable[Batch]) -> Iterator[tuple[Record, Moment]]:
    """Give all records of ticks, with the moments that they are of."""
    for batch in batches:
        guests = [record for record in batch.records if record.kind is Kind.GUEST]
        for record in batch.records:
            place = guests.index(record) if record.kind is Kind.GUEST else 0
            if record.event is None and record.gap is None:
                yield record, moment_within(batch.stamp, place, max(1, len(guests)))


def increases(batches: Iterable[Batch], field: str) -> Iterator[Increase]:
    """Give what a field counted, without a span in which its guest or device began anew."""
    before: dict[tuple[str, str, str], tuple[Domain | None, Moment, float]] = {}
    for record, moment in ticks(batches):
        for key, value in record.params.items():
            name, device = split_key(key)
            if name != field or isinstance(value, str):
                continue
            series = (record.kind, subject_of(record), key)
            domain, since, last = before.get(series, (None, moment, math.inf))
            before[series] = (record.domain, moment, value)
            is_same = domain == record.domain and device not in (record.anew or ())
            if is_same and last <= value:
                seconds = (moment.boot_ns - since.boot_ns) / NS
                yield Increase(record.time_ms, subject_of(record), device, value - last, seconds)


def levels(batches: Iterable[Batch], field: str) -> Iterator[Level]:
    """Give what a field was."""
    for record, _ in ticks(batches):
        for key, value in record.params.items():
            name, device = split_key(key)
            if name == field and not isinstance(value, str):
                yield Level(record.time_ms, subject_of(record), device, value * look_up(field).unit.scale)


def memory_used(batches: Iterable[Batch]) -> Iterator[Level]:
    """Give the bytes that guests say they use."""
    for record, _ in ticks(batches):
        own = record.params
        if own.get("balloon.last-update"):
            free = own.get("balloon.usable", own.get("balloon.unused"))
            total = own.get("balloon.available")
            if isinstance(total, int) and isinstance(free, int):
                yield Level(record.time_ms, subject_of(record), None, (total - free) * 1024)


def by_subject(found: Iterable[Increase | Level]) -> dict[str, list[float]]:
    """Put rates per second, or levels, together by whose they are, in order."""
    values: dict[str, list[float]] = defaultdict(list)
    for one in found:
        values[one.subject].append(one.value / one.seconds if isinstance(one, Increase) else one.value)
    return values


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so many of the others are not above."""
    return sorted(values)[math.floor(share * (len(values) - 1))]
