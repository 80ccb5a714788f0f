"""Records in the forms that stores want: points per device, flat dictionaries, rows and columns. Pure.

For whoever writes a sink; each sink needs one of them at most::

    points(record)      a point a device, as time-series databases want it: name, tags, fields
    flat(record)        one dictionary, as document stores and message queues want it
    rows(record)        a row a value, as tables want it; columns(batches) are the same, column by column
    describe(field)     what a field is: kind, unit, help

Names of fields are libvirt's, see :mod:`domstat.catalog`; a rate is its counter's field with ``.rate`` behind it, per
second and in base units. Values are as libvirt gave them: times their ``scale`` they are in base units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from msgspec import Struct

from domstat.catalog import DERIVED, STRANGERS_MAX, FieldKind, look_up
from domstat.model import Batch, Kind, Record, Value, key_of, split_key

RATE = ".rate"
"""What stands behind a counter's field where its rate is meant."""

INT64_MAX = (1 << 63) - 1
"""Most stores have no larger integers."""

_SECONDS = "seconds"


class Metadata(Struct, frozen=True):
    """What a field is. Values times *scale* are in the unit *base* (plural, empty for plain numbers).

    *per_second* is said of rates, whose *scale* is 1. *help* is empty for what the catalogue does not know.
    """

    kind: FieldKind
    base: str
    scale: float = 1.0
    per_second: bool = False
    help: str = ""


class Point(Struct, frozen=True):
    """What one device of a subject says at one tick, or the subject itself where *device* is None.

    *name* is the first word of a guest's fields (``cpu``, ``block``, ``net``), else the record's kind, ``event`` and
    ``gap`` among them, or ``partial`` for what libvirt left out. *tags* say whose it is and are all texts; the points
    of a record share them. *fields* has one value at least.
    """

    name: str
    device: str | None
    tags: Mapping[str, str]
    fields: dict[str, Value]
    time_ms: int


class Row(NamedTuple):
    """One value. Its key is all of *time_ms* to *device*: a row that comes again has the same.

    A number is in *value*; in *value_int* too, if it is a whole one of 64 bits. A text, and a whole number that is
    larger, is in *text*. *rate* is a counter's, per second in the unit *unit*; *value* times *scale* is in *unit*.
    """

    time_ms: int
    host: str
    collect: str
    kind: str
    uuid: str | None
    domain: str | None
    pool: str | None
    field: str
    device: str | None
    value: float | None
    value_int: int | None
    text: str | None
    rate: float | None
    unit: str
    scale: float


class Columns(Struct, frozen=True):
    """Rows as columns of one length; see :class:`Row`."""

    time_ms: list[int]
    host: list[str]
    collect: list[str]
    kind: list[str]
    uuid: list[str | None]
    domain: list[str | None]
    pool: list[str | None]
    field: list[str]
    device: list[str | None]
    value: list[float | None]
    value_int: list[int | None]
    text: list[str | None]
    rate: list[float | None]
    unit: list[str]
    scale: list[float]


@lru_cache(maxsize=STRANGERS_MAX)
def describe(field: str) -> Metadata:
    """Say what a field is: a parameter's, a derived value's, or a rate's (``cpu.time.rate``). A stranger is a gauge."""
    if field in DERIVED:
        base, meaning = DERIVED[field]
        return Metadata(FieldKind.GAUGE, base, help=meaning)
    if field.endswith(RATE):
        row = look_up(field.removesuffix(RATE))
        return Metadata(FieldKind.GAUGE, row.unit.base, per_second=True, help=row.help)
    row = look_up(field)
    return Metadata(row.kind, row.unit.base, row.unit.scale, help=row.help)


def identity(record: Record) -> dict[str, str]:
    """Say what *record* is about, in texts: host, collect, kind, and uuid and domain, or pool, where there is one."""
    said = {"host": record.host, "collect": record.collect, "kind": str(record.kind)}
    if record.domain is not None:
        said |= {"uuid": record.domain.uuid, "domain": record.domain.name}
    if record.pool is not None:
        said["pool"] = record.pool.name
    return said


def points(record: Record) -> Iterator[Point]:
    """Give *record* as points, one for each device and group of fields that it has."""
    tags = identity(record)
    found: dict[tuple[str, str | None], dict[str, Value]] = {}
    for key, value in _named(record):
        field, device = split_key(key)
        if record.kind is Kind.GUEST:
            name = field.partition(".")[0]
        else:
            name, field = str(record.kind), field.removeprefix(f"{record.kind}.")
        found.setdefault((name, device), {})[field] = value
    for name, device, remarks in _remarks(record):
        found.setdefault((name, device), {}).update(remarks)
    for (name, device), fields in found.items():
        yield Point(name, device, tags, fields, record.time_ms)


def flat(record: Record) -> dict[str, Any]:
    """Give *record* as one dictionary: ``time_ms``, what it is about, and every value by its key.

    A rate is beside its counter: ``block.wr.bytes[vda]`` and ``block.wr.bytes.rate[vda]``. Events have ``event.type``,
    gaps ``gap.from_ms``, partial records ``partial.missing``. Labels, when they travel, are ``label.NAME``.
    """
    said: dict[str, Any] = {"time_ms": record.time_ms, **identity(record)}
    if record.interval_s is not None:
        said["interval_s"] = record.interval_s
    said.update(_named(record))
    for name, device, remarks in _remarks(record):
        said.update({f"{name}.{what}": value for what, value in remarks.items()})
        if device is not None:
            said[f"{name}.device"] = device
    said.update({f"label.{name}": value for name, value in (record.labels or {}).items()})
    return said


def rows(record: Record) -> Iterator[Row]:
    """Give *record* as rows, one a value; a counter's rate is in its counter's row."""
    domain, pool = record.domain, record.pool
    whose = (
        record.time_ms,
        record.host,
        record.collect,
        str(record.kind),
        domain.uuid if domain else None,
        domain.name if domain else None,
        pool.name if pool else None,
    )
    rates = record.rates
    for key, value in chain(record.params.items(), record.derived.items()):
        field, device = split_key(key)
        what = describe(field)
        yield Row(*whose, field, device, *_split(value), rates.get(key), what.base, what.scale)
    for field, device, number, text in _occurrences(record):
        yield Row(*whose, field, device, number, None, text, None, _SECONDS if number is not None else "", 1.0)


def columns(batches: Iterable[Batch]) -> Columns:
    """Give all of *batches* as columns, a row a value, in their order."""
    found = [row for batch in batches for record in batch.records for row in rows(record)]
    return Columns(*map(list, zip(*found, strict=True))) if found else Columns(*([] for _ in Row._fields))


def _named(record: Record) -> Iterator[tuple[str, Value]]:
    """Give every value by its key; rates by their own, which ends in ``.rate``."""
    yield from record.params.items()
    for key, rate in record.rates.items():
        field, device = split_key(key)
        yield key_of(field + RATE, device), rate
    yield from record.derived.items()


def _remarks(record: Record) -> Iterator[tuple[str, str | None, dict[str, Value]]]:
    """Give what is to be said besides what was measured: name, device, fields."""
    if record.partial is not None:
        fields: dict[str, Value] = {"missing": ",".join(record.partial.missing)}
        yield "partial", None, _given(fields, age_s=record.partial.age_s)
    if record.event is not None:
        yield "event", record.event.device, _given({"type": record.event.type}, reason=record.event.reason)
    if record.gap is not None:
        gap = record.gap
        yield "gap", None, {"from_ms": gap.start, "to_ms": gap.end, "reason": gap.reason}


def _given(fields: dict[str, Value], **more: Value | None) -> dict[str, Value]:
    return fields | {name: value for name, value in more.items() if value is not None}


def _occurrences(record: Record) -> Iterator[tuple[str, str | None, float | None, str | None]]:
    """Give the same for rows: field, device, a time in seconds, a text. An event's type is in its field's name.

    So two events of one guest at one tick are two rows.
    """
    if record.partial is not None:
        yield "partial", None, record.partial.age_s, ",".join(record.partial.missing)
    if record.event is not None:
        yield f"event.{record.event.type}", record.event.device, None, record.event.reason
    if record.gap is not None:
        yield "gap", None, (record.gap.end - record.gap.start) / 1000, record.gap.reason


def _split(value: Value) -> tuple[float | None, int | None, str | None]:
    """Return a value as a number, as a whole one of 64 bits, and as a text."""
    if isinstance(value, str):
        return None, None, value
    if isinstance(value, float):
        return value, None, None
    if -INT64_MAX - 1 <= value <= INT64_MAX:
        return float(value), int(value), None
    return float(value), None, str(value)
