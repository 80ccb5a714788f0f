"""Which guests wait for what, and when: for CPUs, for disks, for memory.

* a **CPU** while its steal (vcpu.delay of all its vCPUs by their number) is `steal` (10 %) or more: Netdata's number;
* a **disk** while its reads or its writes take `latency_factor` (2) times what is usual, and more than `latency_least`;
* **memory** while it swaps `swap` bytes a second (esxtop) or has `major_faults` a second (rules for Prometheus);

each in means of five minutes, and for `wait_after` (20 minutes) without a pause. What is usual is the median of the
guest's own hourly means at the same hour of the day, over the window before (:mod:`.usual`); what is `latency_factor`
times that, and lasts as long, is waiting *more than usual*. What a disk does that has next to no requests
(REQUESTS_MIN) says nothing.

First hours are looked at, and only guests that may have waited in one of these are looked at closer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.capacity import grid
from domstat.capacity.demand import Resource
from domstat.capacity.explained import Unit
from domstat.capacity.fleet import Guest, State
from domstat.capacity.gather import CELLS_MAX, Figures, Key
from domstat.capacity.grid import FIVE_MINUTES_MS, HOUR_MS, FloatArray, Grid, Matrix, Merging
from domstat.capacity.settings import Capacity
from domstat.capacity.usual import lasting, usual
from domstat.history import Aggregate
from domstat.model import Kind

if TYPE_CHECKING:
    import numpy.typing as npt

Flags: TypeAlias = "npt.NDArray[np.bool_]"

_WAYS = ("rd", "wr")
"""What a disk is asked for: to read, to write."""

REQUESTS_MIN = 1.0
"""Requests a second below which the latency of five minutes is that of a few requests, which may be anything."""

PAST_SHARE = 0.5
"""Of a history that is short this share is what is asked about, and the rest what is usual."""


class Spans(Struct, frozen=True):
    """What is looked at: *span*, in five minutes or hours, for who waits; *past*, in hours, for what is usual."""

    span: Grid
    past: Grid


class Waiting(Struct, frozen=True):
    """One guest that waits for one thing: *values* over the span, what is *usual* there, and when it *waits*.

    *more* is when it does so more than usually; where nothing is usual yet that is never. *what* is the field and, of a
    disk, its device.
    """

    guest: Guest
    resource: Resource
    what: str
    unit: Unit
    values: FloatArray
    usual: FloatArray
    waits: Flags
    more: Flags


class Seen(Struct, frozen=True):
    """Who waits, and of whom it is not known whether it waits for CPUs."""

    waits: tuple[Waiting, ...]
    without_steal: tuple[Guest, ...]


def spans(figures: Figures) -> Spans:
    """Return what is looked at: what the caller asked for, else the setting `wait_span` back from now."""
    settings, first_ms, now_ms = figures.settings, figures.fleet.first_ms, figures.now_ms
    since_ms = figures.selection.since_ms
    if since_ms is None:
        since_ms = now_ms - round(min(settings.wait_span * 1000, (now_ms - first_ms) * PAST_SHARE))
    since_ms = max(since_ms, first_ms) // HOUR_MS * HOUR_MS
    fine = Grid.covering(since_ms, now_ms, FIVE_MINUTES_MS)
    if fine.count * len(figures.fleet.guests) > CELLS_MAX:
        fine = Grid.covering(since_ms, now_ms, HOUR_MS)
    begins_ms = max(first_ms, since_ms - round(settings.window * 1000))
    return Spans(fine, Grid.covering(begins_ms, since_ms, HOUR_MS))


def waiting(figures: Figures, over: Spans) -> Seen:
    """Say who waits. Raises HistoryError."""
    hours = _hours(over.span)
    figures.expect((Kind.GUEST,), tuple(f"block.{way}.latency" for way in _WAYS), hours, Aggregate.MAX)
    rates = tuple(field for sign in _SIGNS if sign.is_rate for field in sign.fields)
    figures.expect((Kind.GUEST,), rates, hours, rate=True)
    found = [one for sign in _SIGNS for one in _of_guests(figures, over, sign)]
    found += [one for way in _WAYS for one in _of_disks(figures, over, way)]
    steal = {key.uuid for key in _read(figures, _SIGNS[0], hours).keys}
    running = _running(figures, figures.fleet.guest_of)
    return Seen(tuple(found), tuple(guest for guest in running if guest.uuid not in steal))


def mean(rows: FloatArray) -> FloatArray:
    """Return the mean of rows in each step, over those that are known: of vCPUs, what one of them waits."""
    counts = (~np.isnan(rows)).sum(axis=0)
    found: FloatArray = np.where(counts > 0, np.nansum(rows, axis=0) / np.maximum(counts, 1), np.nan)
    return found


# What guests wait for as a whole.


class _Sign(Struct, frozen=True):
    """A sign of waiting: fields, added up, that are at least a setting; several devices are made one by *devices*."""

    resource: Resource
    fields: tuple[str, ...]
    unit: Unit
    least: Callable[[Capacity], float]
    is_rate: bool = True
    devices: Merging = grid.total


_SIGNS = (
    _Sign(Resource.CPU, ("vcpu.steal",), Unit.RATIO, lambda settings: settings.steal, is_rate=False, devices=mean),
    _Sign(
        Resource.MEMORY,
        ("balloon.swap_in", "balloon.swap_out"),
        Unit.BYTES_PER_SECOND,
        lambda settings: settings.swap,
    ),
    _Sign(Resource.MEMORY, ("balloon.major_fault",), Unit.PER_SECOND, lambda settings: settings.major_faults),
)


def _of_guests(figures: Figures, over: Spans, sign: _Sign) -> Iterator[Waiting]:
    least = sign.least(figures.settings)
    hours = _hours(over.span)
    suspected = _above(_read(figures, sign, hours), least * _diluted(figures.settings))
    if not suspected:
        return
    only = tuple(sorted(suspected))
    values, before = (_read(figures, sign, of, only) for of in (over.span, over.past))
    for guest in _running(figures, suspected):
        key = Key(uuid=guest.uuid)
        row, normal = values.row(key), usual(before.row(key), over.past, over.span)
        steps = _steps(figures.settings, over.span)
        waits = lasting(row >= least, steps)
        if waits.any():
            more = lasting(waits & (row >= figures.settings.latency_factor * normal), steps)
            what = " + ".join(sign.fields)
            yield Waiting(guest, sign.resource, what, sign.unit, row, normal, waits, more)


def _read(figures: Figures, sign: _Sign, over: Grid, only: tuple[str, ...] = ()) -> Matrix[Key]:
    """Read a sign's fields and add them up."""
    read = [figures.guests(field, over, rate=sign.is_rate, devices=sign.devices, only=only) for field in sign.fields]
    if len(read) == 1:
        return read[0]
    keys = dict.fromkeys(key for matrix in read for key in matrix.keys)
    rows = ((key, grid.total(np.array([matrix.row(key) for matrix in read])), 1.0) for key in keys)
    return grid.of(over, rows)


def _diluted(settings: Capacity) -> float:
    """Return what an hour's mean is at least, of what is waited in it, when half of `wait_after` is in that hour."""
    return min(1.0, settings.wait_after / 2 / 3600)


# What they wait for at one disk.


def _of_disks(figures: Figures, over: Spans, way: str) -> Iterator[Waiting]:
    field, settings = f"block.{way}.latency", figures.settings
    highest = figures.disks(field, _hours(over.span), Aggregate.MAX)
    suspected = _above(highest, settings.latency_least)
    if not suspected:
        return
    only = tuple(sorted(suspected))
    values, before = (figures.disks(field, of, only=only) for of in (over.span, over.past))
    requests = figures.disks(f"block.{way}.reqs", over.span, rate=True, only=only)
    guests = {guest.uuid: guest for guest in _running(figures, suspected)}
    for key in values.keys:
        if key.uuid not in guests:
            continue
        row, normal = values.row(key), usual(before.row(key), over.past, over.span)
        is_slow = (row >= settings.latency_least) & (row >= settings.latency_factor * normal)
        waits = lasting(is_slow & (requests.row(key) >= REQUESTS_MIN), _steps(settings, over.span))
        if waits.any():
            what = f"{field}[{key.device}]"
            yield Waiting(guests[key.uuid], Resource.DISK, what, Unit.SECONDS, row, normal, waits, waits)


# Both.


def _hours(span: Grid) -> Grid:
    """Return the hours that a span is in, the last one whether it is over or not."""
    return Grid.covering(span.since_ms, span.until_ms + HOUR_MS - 1, HOUR_MS)


def _above(rows: Matrix[Key], least: float) -> set[str]:
    return {key.uuid for key, row in zip(rows.keys, rows.values, strict=True) if (row >= least).any()}


def _running(figures: Figures, uuids: Iterable[str]) -> Iterator[Guest]:
    """Give those guests that run, and whose host can be seen."""
    wanted = set(uuids)
    for guest in figures.fleet.on_any(State.RUNNING):
        host = figures.fleet.host_of.get(guest.host)
        if guest.uuid in wanted and host is not None and not host.is_stale:
            yield guest


def _steps(settings: Capacity, over: Grid) -> int:
    return max(1, math.ceil(settings.wait_after * 1000 / over.step_ms))
