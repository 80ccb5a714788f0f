"""Who has most of something: the first of guests, hosts, pools or devices, by any field, over any span.

Counters count by their rate. What is ranked are means of steps, hours or five minutes as the answer's grid says: their
mean, greatest, least, last, 95th percentile; of counters also the increase, which is the rate times the time that was
seen. Of a guest's several devices a step has the total, of shares of time (steal) the mean, of latencies the greatest.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from msgspec import Struct

from domstat.capacity import grid
from domstat.capacity.explained import Figure, Unit, given, worked_out
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import FloatArray, Grid, Matrix, Merging
from domstat.capacity.waiting import mean
from domstat.catalog import DERIVED, FieldKind, look_up
from domstat.history import Aggregate


class How(StrEnum):
    """What becomes of the steps of a span."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    LAST = "last"
    P95 = "p95"
    INCREASE = "increase"


class Of(StrEnum):
    """What is ranked; a field says which."""

    GUESTS = "guests"
    HOSTS = "hosts"
    POOLS = "pools"
    DEVICES = "devices"


class Ranked(Struct, frozen=True):
    """One of them: *name* is the guest's or the pool's, empty for a host, *device* the device's."""

    host: str
    name: str
    device: str
    value: Figure
    coverage: Figure


class Top(Struct, frozen=True):
    """The first ones, and of how many; *note* says what is to be said of all."""

    grid: Grid
    field: str
    how: How
    of: Of
    ranked: tuple[Ranked, ...]
    count: int
    note: str = ""


class Unranked(ValueError):
    """What was asked for cannot be ranked; the message says why."""


def top(
    figures: Figures,
    field: str,
    how: How = How.MEAN,
    count: int = 10,
    *,
    devices: bool = False,
    least_first: bool = False,
) -> Top:
    """Rank by a field. Raises Unranked where that cannot be done, and HistoryError."""
    kind = FieldKind.GAUGE if field in DERIVED else look_up(field).kind
    is_counter = kind is FieldKind.COUNTER
    if kind is FieldKind.TEXT:
        raise Unranked("is a text, and cannot be ranked")
    if how is How.INCREASE and not is_counter:
        raise Unranked("is no counter, and so has no increase")
    of = _of(field, devices=devices)
    # An hour's mean says nothing of its peaks; of all else it has as much as its parts.
    over = figures.window() if how in {How.MAX, How.MIN, How.P95} else figures.hours()
    rows = _read(figures, of, field, over, rate=is_counter)
    unit = _unit(field, rate=is_counter, how=how)
    lines = [line for key, row in _rows(rows) if (line := _line(figures, of, key, row, (field, how, unit, over)))]
    lines.sort(key=lambda line: ((1 if least_first else -1) * (line.value.value or 0.0), line.name, line.device))
    note = "" if lines else "nothing is known of it in this span"
    return Top(over, field, how, of, tuple(lines[:count]), len(lines), note)


def _of(field: str, *, devices: bool) -> Of:
    of = {"host": Of.HOSTS, "pool": Of.POOLS}.get(field.partition(".")[0], Of.GUESTS)
    if not devices:
        return of
    if of is not Of.GUESTS:
        raise Unranked(f"is of {of}, which have no devices")
    return Of.DEVICES


def _read(figures: Figures, of: Of, field: str, over: Grid, *, rate: bool) -> Matrix[Key]:
    how = Aggregate.LAST if look_up(field).kind is FieldKind.STATE else None
    match of:
        case Of.HOSTS:
            return figures.hosts(field, over, how, rate=rate)
        case Of.POOLS:
            return figures.pools(field, over, how)
        case Of.DEVICES:
            return figures.disks(field, over, how, rate=rate)
        case _:
            return figures.guests(field, over, how, rate=rate, devices=_merging(field))


def _merging(field: str) -> Merging:
    unit = DERIVED[field][0] if field in DERIVED else ""
    return {"ratio": mean, "seconds": grid.greatest}.get(unit, grid.total)


def _rows(rows: Matrix[Key]) -> list[tuple[Key, FloatArray]]:
    return [(key, row) for key, row in zip(rows.keys, rows.values, strict=True) if not np.isnan(row).all()]


def _line(figures: Figures, of: Of, key: Key, row: FloatArray, asked: tuple[str, How, Unit, Grid]) -> Ranked | None:
    """Make a line; None for what is not among those that are meant, or is there twice."""
    field, how, unit, over = asked
    fleet, host, name = figures.fleet, key.host, key.pool
    if of in {Of.GUESTS, Of.DEVICES}:
        guest = fleet.guest_of.get(key.uuid)
        if guest is None:
            return None
        host, name = guest.host, guest.name
    elif host not in fleet.host_of or any(
        pool.is_twin and (pool.host, pool.name) == (host, name) for pool in fleet.pools
    ):
        return None
    found = grid.known(row)
    seen = worked_out(
        len(found) / over.count,
        Unit.RATIO,
        "known / steps",
        {
            "known": given(float(len(found)), Unit.NONE, f"{over.step_name} means of {field} that are known"),
            "steps": given(float(over.count), Unit.NONE, "all of the span"),
        },
    )
    return Ranked(host, name, key.device, _value(found, how, unit, (field, over)), seen)


def _value(found: FloatArray, how: How, unit: Unit, what: tuple[str, Grid]) -> Figure:
    field, over = what
    if how is not How.INCREASE:
        source = f"{_NAMES[how]} of {len(found)} {over.step_name} means of {field}"
        return given(_TAKE[how](found), unit, source)
    rate = given(float(found.mean()), Unit.NONE, f"mean of {over.step_name} means of {field} a second")
    seconds = given(len(found) * over.step_ms / 1000, Unit.SECONDS, "the time that was seen")
    value = float(found.mean()) * len(found) * over.step_ms / 1000
    return worked_out(value, unit, "rate * seconds", {"rate": rate, "seconds": seconds})


_TAKE: dict[How, Callable[[FloatArray], float | None]] = {
    How.MEAN: lambda row: float(row.mean()),
    How.MAX: lambda row: float(row.max()),
    How.MIN: lambda row: float(row.min()),
    How.LAST: lambda row: float(row[-1]),
    How.P95: lambda row: grid.quantile(row, 0.95),
}
_NAMES = {How.MEAN: "mean", How.MAX: "greatest", How.MIN: "least", How.LAST: "last", How.P95: "p95"}


def _unit(field: str, *, rate: bool, how: How) -> Unit:
    """Return what the ranked values are in."""
    base = DERIVED[field][0] if field in DERIVED else look_up(field).unit.base
    if not rate or how is How.INCREASE:
        return _PLAIN.get(base, Unit.NONE)
    if base == "seconds":
        return Unit.CORES if field.startswith(_OF_CPUS) else Unit.RATIO
    return Unit.BYTES_PER_SECOND if base == "bytes" else Unit.PER_SECOND


_OF_CPUS = ("cpu.", "host.cpu.", "vcpu.time")
"""Times that are spent on CPUs: a second in each second is one of them, kept busy."""

_PLAIN = {str(unit): unit for unit in (Unit.BYTES, Unit.SECONDS, Unit.CORES, Unit.RATIO, Unit.BYTES_PER_SECOND)}
