"""A history made of arrays, for tests of the planner's questions: it answers as any store must, without one.

Figures are laid in at equal steps; a NaN is a hole. What is asked of them is worked out the slow and plain way::

    made = Made(START_MS, step_ms=HOUR_MS)
    made.host("kvm1", {"host.cpus": 16, "host.memory.total": 64 * GIB_KIB, "host.cpu.utilization": rows})
    made.guest("web-1", {"vcpu.current": 4, "cpu.cores": rows, "block.capacity[vda]": 40 * GIB})
    made.pool("images", {"pool.capacity": ..., "pool.allocation": rows})
"""

from __future__ import annotations

import fnmatch
import math
import uuid as uuids
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from domstat.catalog import DERIVED, FieldKind, look_up
from domstat.history import (
    Aggregate,
    Answer,
    Coverage,
    Guest,
    Happening,
    Host,
    Info,
    Measure,
    OnDamaged,
    Quantiles,
    Select,
    Series,
    Span,
    StoredField,
    Subject,
)
from domstat.model import Event, Kind, split_key

GIB = 1 << 30
GIB_KIB = 1 << 20
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z, a Thursday."""

Figures: TypeAlias = "float | Sequence[float] | npt.NDArray[np.float64]"
"""One for as long as the longest beside it, or one a step. Counters are laid in as rates, in base units."""


class _Row(Struct):
    subject: Subject
    field: str
    device: str | None
    first: int
    values: npt.NDArray[np.float64]


class Made:
    """A history of *count* steps; meets :class:`domstat.history.History`."""

    def __init__(self, since_ms: int = START_MS, step_ms: int = HOUR_MS, count: int = 24 * 30) -> None:
        self.since_ms = since_ms
        self.step_ms = step_ms
        self.count = count
        self._rows: list[_Row] = []
        self._events: list[Happening] = []
        self.reads = 0

    @property
    def until_ms(self) -> int:
        """Where the last step ends: "now", as a rule."""
        return self.since_ms + self.count * self.step_ms

    # What is laid in.

    def host(self, name: str, figures: Mapping[str, Figures], *, first: int = 0) -> None:
        """Lay in a host's own figures, from the step *first* on."""
        self._lay(Subject(host=name, collect="default", kind=Kind.HOST), figures, first)

    def pool(self, name: str, figures: Mapping[str, Figures], *, host: str = "kvm1", first: int = 0) -> None:
        """Lay in a pool's figures."""
        self._lay(Subject(host=host, collect="survey", kind=Kind.POOL, pool=name), figures, first)

    def guest(
        self, name: str, figures: Mapping[str, Figures], *, host: str = "kvm1", first: int = 0, collect: str = "default"
    ) -> str:
        """Lay in a guest's figures on a host, and return its UUID, which follows from its name.

        It runs unless ``state.state`` is among the figures. A guest that moves is laid in once for each host.
        """
        uuid = str(uuids.uuid5(uuids.NAMESPACE_DNS, name))
        subject = Subject(host=host, collect=collect, kind=Kind.GUEST, uuid=uuid, name=name)
        self._lay(subject, {"state.state": 1, **figures}, first)
        return uuid

    def off(self, name: str, figures: Mapping[str, Figures], *, host: str = "kvm1", first: int = 0) -> str:
        """Lay in a guest that is off: what the survey says of it."""
        return self.guest(name, {"state.state": 5, **figures}, host=host, first=first, collect="survey")

    def event(self, time_ms: int, name: str, type_: str, *, host: str = "kvm1") -> None:
        """Have something happen to a guest."""
        uuid = str(uuids.uuid5(uuids.NAMESPACE_DNS, name))
        subject = Subject(host=host, collect="events", kind=Kind.EVENT, uuid=uuid, name=name)
        self._events.append(Happening(time_ms, subject, Event(type_)))

    def _lay(self, subject: Subject, figures: Mapping[str, Figures], first: int) -> None:
        longest = max((len(np.atleast_1d(of)) for of in figures.values() if np.ndim(of)), default=self.count)
        for key, given in figures.items():
            field, device = split_key(key)
            if np.ndim(given):
                values = np.asarray(given, dtype=np.float64)[: self.count - first]
            else:
                values = np.full(min(longest, self.count - first), float(given))  # type: ignore[arg-type]
            self._rows.append(_Row(subject, field, device, first, values))

    # What is answered.

    def hosts(self) -> tuple[Host, ...]:
        """Return all hosts."""
        names = sorted({row.subject.host for row in self._rows})
        return tuple(
            Host(name, ("default",), *self._seen(lambda row, name=name: row.subject.host == name)) for name in names
        )

    def guests(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Guest, ...]:
        """Return the guests that were seen in a span, by name."""
        found = {}
        for uuid in {row.subject.uuid for row in self._rows if row.subject.uuid}:
            rows = [row for row in self._rows if row.subject.uuid == uuid]
            first_ms, last_ms = self._seen(lambda row, uuid=uuid: row.subject.uuid == uuid)
            if first_ms < span.until_ms and last_ms >= span.since_ms:
                hosts = tuple(sorted({row.subject.host for row in rows}))
                name = rows[-1].subject.name or ""
                found[name, uuid] = Guest(uuid or "", name, hosts, first_ms, last_ms, len(rows))
        return tuple(guest for _, guest in sorted(found.items()))

    def events(self, span: Span) -> Iterator[Happening]:
        """Give what happened in a span."""
        inside = [one for one in self._events if span.since_ms <= one.time_ms < span.until_ms]
        return iter(sorted(inside, key=lambda one: one.time_ms))

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        """Give the series that are wanted and have a value."""
        self.reads += 1
        named = {
            row.subject.uuid
            for row in self._rows
            if row.subject.uuid
            and (_any(row.subject.name or "", select.guests) or _any(row.subject.uuid, select.guests))
        }
        for row in sorted(self._rows, key=_order):
            if select.guests and row.subject.uuid not in named:
                continue
            if self._is_wanted(row, select):
                series = self._series(row, select)
                if len(series.values):
                    yield series

    def _is_wanted(self, row: _Row, select: Select) -> bool:
        counts = _kind(row.field) is FieldKind.COUNTER
        return (
            _any(row.subject.host, select.hosts)
            and _any(row.subject.collect, select.collects)
            and (not select.kinds or row.subject.kind in select.kinds)
            and _any(row.field, select.fields)
            and (not select.devices or (row.device is not None and _any(row.device, select.devices)))
            and (counts if select.rate or select.aggregate is Aggregate.INCREASE else not counts)
        )

    def _series(self, row: _Row, select: Select) -> Series:
        span = Span(max(select.span.since_ms, self.since_ms), min(select.span.until_ms, self.until_ms))
        steps: dict[int, list[float]] = {}
        seen = 0
        for place, value in enumerate(row.values.tolist(), row.first):
            time_ms = self.since_ms + place * self.step_ms
            if not math.isnan(value) and span.since_ms <= time_ms < span.until_ms:
                seen += 1
                begin = time_ms if select.step_ms is None else time_ms // select.step_ms * select.step_ms
                begin = begin if select.step_ms or not select.aggregate else span.since_ms
                steps.setdefault(begin, []).append(value)
        is_level = _kind(row.field) is FieldKind.STATE
        how = select.aggregate or (Aggregate.LAST if is_level else Aggregate.MEAN)
        values = [_taken(of, how, self.step_ms) for of in steps.values()]
        asked_ms = span.until_ms - span.since_ms
        return Series(
            subject=row.subject,
            field=row.field,
            device=row.device,
            measure=_measure(row.field, rate=select.rate),
            tier="made",
            coverage=min(1.0, seen * self.step_ms / asked_ms) if asked_ms > 0 else 0.0,
            time_ms=np.array(list(steps), dtype=np.int64),
            values=np.array(values, dtype=np.float64),
        )

    def quantiles(
        self, select: Select, shares: tuple[float, ...], on_damaged: OnDamaged | None = None
    ) -> Iterator[Quantiles]:
        """Give quantiles of each series' figures."""
        for row in self._rows:
            if self._is_wanted(row, select):
                values = np.sort(row.values[~np.isnan(row.values)])
                places = [min(max(math.ceil(share * len(values)) - 1, 0), len(values) - 1) for share in shares]
                yield Quantiles(
                    subject=row.subject,
                    field=row.field,
                    device=row.device,
                    measure=_measure(row.field, rate=select.rate),
                    tier="made",
                    coverage=1.0,
                    count=len(values),
                    values=tuple(float(values[place]) for place in places),
                )

    def coverage(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Coverage, ...]:
        """Say how much of a span each host was seen."""
        asked_ms = span.until_ms - span.since_ms
        return tuple(
            Coverage(host.name, "default", host.first_ms, host.last_ms, self.count, 1.0, asked_ms, ())
            for host in self.hosts()
        )

    def fields(self) -> tuple[StoredField, ...]:
        """Return all fields."""
        names = sorted({row.field for row in self._rows})
        return tuple(StoredField(name, _kind(name), _measure(name, rate=False)) for name in names)

    def sql(self, text: str, span: Span = Span()) -> Answer:  # noqa: B008 - frozen
        """Refuse: nothing here may ask a store's own views."""
        raise NotImplementedError(text)

    def info(self) -> Info:
        """Refuse: nothing here may ask how a store keeps things."""
        raise NotImplementedError

    def _seen(self, is_it: object) -> tuple[int, int]:
        rows = [row for row in self._rows if is_it(row) and not np.isnan(row.values).all()]  # type: ignore[operator]
        first = min(row.first + int(np.flatnonzero(~np.isnan(row.values))[0]) for row in rows)
        last = max(row.first + int(np.flatnonzero(~np.isnan(row.values))[-1]) for row in rows)
        return self.since_ms + first * self.step_ms, self.since_ms + (last + 1) * self.step_ms - 1


def _order(row: _Row) -> tuple[str, ...]:
    subject = row.subject
    return (str(subject.kind), subject.name or subject.pool or "", subject.host, row.field, row.device or "")


def _any(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def _kind(field: str) -> FieldKind:
    return FieldKind.GAUGE if field in DERIVED else look_up(field).kind


def _measure(field: str, *, rate: bool) -> Measure:
    if field in DERIVED:
        return Measure(DERIVED[field][0])
    unit = look_up(field).unit
    return Measure(unit.base, 1.0, per_second=True) if rate else Measure(unit.base, unit.scale)


def _taken(values: Sequence[float], how: Aggregate, step_ms: int) -> float:
    match how:
        case Aggregate.LAST:
            return values[-1]
        case Aggregate.MIN:
            return min(values)
        case Aggregate.MAX:
            return max(values)
        case Aggregate.COUNT:
            return float(len(values))
        case Aggregate.INCREASE:
            return math.fsum(values) * step_ms / 1000
        case _:
            return math.fsum(values) / len(values)
