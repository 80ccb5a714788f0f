"""Time remaining: in how many days each thing is full, and how sure that is.

What is projected is one figure a day: the peak of the day's hourly means of CPU and memory, the newest of the day of
what is allocated of a pool or a disk. *Expected* is the day on which the middle of the projection reaches usable
capacity, *conservative* the one on which its upper bound does: Aria's "aggressive" and "conservative".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import numpy as np
from msgspec import Struct

from domstat.capacity import grid, thin, world
from domstat.capacity.demand import COMPUTE, UNITS, Demand, Resource
from domstat.capacity.explained import Figure, Unit, given, missing, worked_out
from domstat.capacity.forecasting import Crossing, Projection, Refused, Series, crossing, project_many
from domstat.capacity.gather import Figures
from domstat.capacity.grid import DAY_MS, FloatArray, Grid
from domstat.capacity.settings import Capacity
from domstat.capacity.world import World

CHANCES_DAYS = (30, 90, 180)
"""Within how many days the probability of running out is said."""


_ORDER = tuple(Resource)


class Status(StrEnum):
    """What kind of answer there is; each is a sentence."""

    FULL = "full already"
    SHORT = "short"
    AMPLE = "ample"
    BEYOND = "not within the horizon"
    YOUNG = "not enough history"
    STALE = "stale figures"
    UNKNOWN = "not known"


_NO_DAY = f"{Status.YOUNG}: no whole day was seen"


class Runway(Struct, frozen=True):
    """When one thing is full; *name* is a pool's, or guest and disk.

    Days count from now. What is not known has the reason as its note. *daily* over *days* and *projection* are what
    was projected and what came of it, for drawing; *projection* is None where there is none.
    """

    host: str
    resource: Resource
    name: str
    status: Status
    usable: Figure
    demand: Figure
    growth: Figure
    expected: Figure
    conservative: Figure
    earliest: Figure
    latest: Figure
    chances: tuple[Figure, ...]
    peak: Figure
    days: Grid
    daily: FloatArray
    projection: Projection | None = None
    note: str = ""


class Line(Struct, frozen=True):
    """Something that fills: figures a day, up to a *limit*. *seen_ms* is when its newest figure was known."""

    host: str
    resource: Resource
    name: str
    limit: Figure
    days: Grid
    daily: FloatArray
    seen_ms: int | None
    covered: float
    source: str
    age_s: float | None = None


def runway(figures: Figures) -> tuple[Runway, ...]:
    """Say when each host's CPU and memory, each pool and each thin disk is full. Raises HistoryError."""
    seen = world.observe(figures)
    lines = [*_hosts(seen, with_all=world.are_several(seen)), *_pools(seen), *_disks(figures)]
    return of_lines(lines, seen.settings, seen.now_ms)


def of_world(seen: World, *, with_all: bool) -> tuple[Runway, ...]:
    """Say when each host's CPU and memory and each pool is full, and before these when all hosts' together are."""
    return of_lines([*_hosts(seen, with_all=with_all), *_pools(seen)], seen.settings, seen.now_ms)


def of_lines(lines: Sequence[Line], settings: Capacity, now_ms: int) -> tuple[Runway, ...]:
    """Project all lines at once, and say of each when it reaches its limit."""
    steps = max(1, round(settings.horizon / 86_400))
    lines = sorted(lines, key=lambda line: (line.host, _ORDER.index(line.resource), line.name))
    series = [Series(line.days.since_ms, DAY_MS, line.daily) for line in lines]
    projected = project_many(series, steps, settings.level) if lines else []
    return tuple(_runway(line, projection, settings, now_ms) for line, projection in zip(lines, projected, strict=True))


# What is projected.


def _hosts(seen: World, *, with_all: bool) -> Iterator[Line]:
    for resource in COMPUTE:
        total = world.over_all(seen, seen.past, resource) if with_all else None
        demands = [asked for (_, of), asked in seen.past.items() if of is resource]
        for asked in [*([total] if total else []), *demands]:
            days, daily = asked.daily(seen.settings.peak)
            limit = world.usable_of(seen, asked.host, resource)
            source = f"p{100 * seen.settings.peak:g} of each day's hourly means of {asked.source}"
            yield Line(asked.host, resource, "", limit, days, daily, _seen_ms(asked), asked.covered, source)


def _pools(seen: World) -> Iterator[Line]:
    for pool in seen.fleet.pools:
        asked = seen.pools.get((pool.host, pool.name))
        if asked is not None:
            limit = world.usable_of_pool(seen, pool)
            source = "each day's newest pool.allocation"
            yield Line(
                pool.host, Resource.STORAGE, pool.name, limit, asked.grid, asked.values, _seen_ms(asked), asked.covered,
                source, pool.age_s,
            )  # fmt: skip


def _disks(figures: Figures) -> Iterator[Line]:
    """Give the thin disks; they have no buffer, as nobody but their own guest fills them."""
    days = thin.days_of(figures)
    for growing in thin.growing(figures, days):
        disk, guest = growing.disk, growing.guest
        limit = given(disk.capacity, Unit.BYTES, "block.capacity")
        name = f"{guest.name} {disk.device}"
        yield Line(
            guest.host, Resource.DISK, name, limit, days, growing.daily, guest.last_ms, growing.covered,
            "each day's newest block.allocation",
        )  # fmt: skip


def _seen_ms(asked: Demand) -> int | None:
    places = np.flatnonzero(~np.isnan(asked.values))
    return asked.grid.since_ms + (int(places[-1]) + 1) * asked.grid.step_ms if len(places) else None


# What comes of it.


def _runway(line: Line, projected: Projection | Refused, settings: Capacity, now_ms: int) -> Runway:
    unit = UNITS[line.resource]
    newest = grid.last_known(line.daily)
    demand = given(newest, unit, line.source, lacking=_NO_DAY)
    reason = _reason(line, projected, settings, now_ms)
    if reason is not None or isinstance(projected, Refused) or line.limit.value is None:
        status, note = reason or (Status.UNKNOWN, line.limit.note)
        nothing = missing(Unit.DAYS, note)
        chances = tuple(missing(Unit.RATIO, note) for _ in CHANCES_DAYS)
        return Runway(
            line.host, line.resource, line.name, status, line.limit, demand, missing(unit, note), nothing, nothing,
            nothing, nothing, chances, demand, line.days, line.daily, None, note,
        )  # fmt: skip
    found = crossing(projected, line.limit.value)
    note = _warning(line, settings)
    inputs = {
        "usable": line.limit,
        "newest": demand,
        "growth_per_day": given(projected.slope_per_day, unit, "slope of the projection"),
        "days_known": given(float(len(grid.known(line.daily))), Unit.NONE, line.source),
        "level": given(settings.level, Unit.RATIO, "the setting level"),
    }
    is_full = newest is not None and newest >= line.limit.value
    said = _Days(found, inputs, settings, now_ms, is_full=is_full, note=note)
    return Runway(
        line.host,
        line.resource,
        line.name,
        _status(said, settings, is_full=is_full),
        line.limit,
        demand,
        given(projected.slope_per_day, unit, f"slope of the projection ({projected.method})"),
        said.until("first day with middle(projection) >= usable", found.expected_ms),
        said.until("first day with high(projection) >= usable", found.conservative_ms),
        said.until("first day with high(projection) >= usable", found.earliest_ms),
        said.until("first day with low(projection) >= usable", found.latest_ms),
        tuple(said.chance(days) for days in CHANCES_DAYS),
        _peak(projected, line, settings, now_ms),
        line.days,
        line.daily,
        projected,
        note,
    )


class _Days:
    """Makes figures of days out of times."""

    def __init__(
        self,
        found: Crossing,
        inputs: dict[str, Figure],
        settings: Capacity,
        now_ms: int,
        *,
        is_full: bool,
        note: str,
    ) -> None:
        self._found = found
        self._inputs = inputs
        self._beyond = f"{Status.BEYOND}: {settings.horizon}"
        self._now_ms = now_ms
        self._is_full = is_full
        self._note = note

    def until(self, formula: str, time_ms: int | None) -> Figure:
        """Return the days until a time; one that has passed is now."""
        if self._is_full:
            return worked_out(0.0, Unit.DAYS, "newest >= usable already", self._inputs, self._note)
        if time_ms is None:
            return Figure(None, Unit.DAYS, formula, tuple(self._inputs.items()), note=self._beyond)
        days = max(0.0, (time_ms - self._now_ms) / DAY_MS)
        return worked_out(days, Unit.DAYS, formula, self._inputs, self._note)

    def chance(self, days: int) -> Figure:
        """Return how probable it is that it is full within so many days."""
        value = 1.0 if self._is_full else self._found.probability(days)
        formula = f"probability that projection >= usable within {days} days"
        return worked_out(value, Unit.RATIO, formula, self._inputs, self._note)

    @property
    def conservative_days(self) -> float | None:
        """The days until the upper bound is there."""
        return self.until("", self._found.conservative_ms).value


def _status(said: _Days, settings: Capacity, *, is_full: bool) -> Status:
    if is_full:
        return Status.FULL
    days = said.conservative_days
    if days is None:
        return Status.BEYOND
    return Status.SHORT if days * 86_400 < settings.warning else Status.AMPLE


def _reason(line: Line, projected: Projection | Refused, settings: Capacity, now_ms: int) -> tuple[Status, str] | None:
    """Say why nothing can be said, None where something can."""
    if line.seen_ms is None:
        return Status.UNKNOWN, f"nothing is known of {line.source}"
    if now_ms - line.seen_ms > settings.stale * 1000:
        return Status.STALE, f"{Status.STALE}: the newest is {(now_ms - line.seen_ms) / DAY_MS:.1f} days old"
    if line.age_s is not None and line.age_s > settings.stale:
        return Status.STALE, f"{Status.STALE}: the pool was refreshed {line.age_s / 86_400:.1f} days before it was read"
    if not len(grid.known(line.daily)):
        return Status.YOUNG, _NO_DAY
    if isinstance(projected, Refused):
        young = projected.reason if projected.reason.startswith(Status.YOUNG) else f"{Status.YOUNG}: {projected.reason}"
        return Status.YOUNG, young
    return None


def _warning(line: Line, settings: Capacity) -> str:
    if line.covered >= settings.coverage:
        return ""
    return f"only {100 * line.covered:.0f} % of the time was seen"


def _peak(projected: Projection, line: Line, settings: Capacity, now_ms: int) -> Figure:
    """Return the greatest that the upper bound is from now on and for the setting `ahead`."""
    until = int(np.ceil((now_ms + settings.ahead * 1000 - projected.start_ms) / DAY_MS))
    value = float(projected.high[: max(1, until)].max())
    newest = given(grid.last_known(line.daily), UNITS[line.resource], line.source)
    return worked_out(
        value,
        UNITS[line.resource],
        f"greatest of high(projection) within {settings.ahead}",
        {"newest": newest, "level": given(settings.level, Unit.RATIO, "the setting level")},
    )
