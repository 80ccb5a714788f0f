"""How each host stands with each resource: what there is, what is given out, what is asked for, what is left.

Two models, as in Aria: by *demand*, capacity remaining is usable capacity minus the projected peak; by *allocation* it
is what may be given out (total times the ratio) minus what is. Neither is ever below nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from domstat.capacity import world
from domstat.capacity.demand import ALL, COMPUTE, UNITS, Demand, Resource
from domstat.capacity.explained import Figure, Unit, added, given, missing, worked_out
from domstat.capacity.fleet import Guest, Pool, State
from domstat.capacity.runway import Runway, Status, of_world
from domstat.capacity.settings import Capacity
from domstat.capacity.world import World

GIVEN_OUT = {Resource.CPU: Unit.VCPUS, Resource.MEMORY: Unit.BYTES, Resource.STORAGE: Unit.BYTES}


class Standing(Struct, frozen=True):
    """One resource of one host, or of ALL hosts together.

    *ratio* is what is given out over what there is: vCPU to thread, and so on. *now* and *peak* are demand: the newest
    figure, and what is not exceeded for the share `peak` of the window. *remaining* is by the demand model, *room* by
    that of allocation. Of storage all pools of the host count, and *runway* is that of the pool that is full first.
    """

    host: str
    resource: Resource
    total: Figure
    usable: Figure
    allocated: Figure
    ratio: Figure
    now: Figure
    peak: Figure
    remaining: Figure
    room: Figure
    runway: Runway | None
    coverage: Figure

    @property
    def time_remaining(self) -> Figure:
        """Days until it is full by the upper bound of the projection."""
        return missing(Unit.DAYS, Status.UNKNOWN) if self.runway is None else self.runway.conservative

    @property
    def pressure(self) -> tuple[float, float]:
        """How hard pressed it is, the hardest first: days remaining, then the share of usable that is in use."""
        days, peak, usable = self.time_remaining.value, self.peak.value, self.usable.value
        used = 0.0 if peak is None or not usable else peak / usable
        return (math.inf if days is None else days, -used)


def of(seen: World, *, with_all: bool) -> tuple[Standing, ...]:
    """Say how every host stands, and before these all hosts together."""
    runways = of_world(seen, with_all=with_all)
    found = {(one.host, one.resource): one for one in runways if one.resource in COMPUTE}
    hosts = [host.name for host in seen.fleet.hosts]
    return tuple(
        standing
        for host in ([ALL, *hosts] if with_all else hosts)
        for standing in _of_host(seen, host, found, [one for one in runways if one.resource is Resource.STORAGE])
    )


def _of_host(
    seen: World, host: str, runways: dict[tuple[str, Resource], Runway], pools: Sequence[Runway]
) -> Iterator[Standing]:
    for resource in COMPUTE:
        asked = world.over_all(seen, seen.window, resource) if host == ALL else seen.window.get((host, resource))
        yield _compute(seen, host, resource, asked, runways.get((host, resource)))
    mine = _pools_of(seen, host)
    if mine:
        names = {(pool.host, pool.name) for pool in mine}
        yield _storage(seen, host, mine, [one for one in pools if (one.host, one.name) in names])


def _compute(seen: World, host: str, resource: Resource, asked: Demand | None, found: Runway | None) -> Standing:
    unit, settings = UNITS[resource], seen.settings
    total = world.total_of(seen, host, resource)
    usable = world.usable_of(seen, host, resource)
    out = _given_out(seen, host, resource)
    now, peak = _now(asked, unit), _peak(asked, unit, settings)
    return Standing(
        host,
        resource,
        total,
        usable,
        out,
        _ratio(out, total),
        now,
        peak,
        _remaining(usable, found, peak, unit),
        room(total, ratio_of(settings, resource), out),
        found,
        given(None if asked is None else asked.covered, Unit.RATIO, "share of the window that was seen"),
    )


def _storage(seen: World, host: str, pools: Sequence[Pool], runways: Sequence[Runway]) -> Standing:
    totals = {f"{pool.host}/{pool.name}": given(pool.capacity, Unit.BYTES, "pool.capacity") for pool in pools}
    usables = {f"{pool.host}/{pool.name}": world.usable_of_pool(seen, pool) for pool in pools}
    demands = [seen.pools[key] for pool in pools if (key := (pool.host, pool.name)) in seen.pools]
    total, usable = added(totals, Unit.BYTES), added(usables, Unit.BYTES)
    out = _given_out(seen, host, Resource.STORAGE)
    by_pool = {f"{one.host}/{one.name}": one for one in demands}
    held = {f"{pool.host}/{pool.name}": given(pool.allocation, Unit.BYTES, "newest pool.allocation") for pool in pools}
    peak = added({name: _peak(one, Unit.BYTES, seen.settings) for name, one in by_pool.items()}, Unit.BYTES)
    lefts = {f"{one.host}/{one.name}": _remaining(one.usable, one, one.demand, Unit.BYTES) for one in runways}
    covered = min((one.covered for one in demands), default=None)
    return Standing(
        host,
        Resource.STORAGE,
        total,
        usable,
        out,
        _ratio(out, total),
        added(held, Unit.BYTES),
        peak,
        added(lefts, Unit.BYTES),
        room(total, ratio_of(seen.settings, Resource.STORAGE), out),
        min(runways, key=_first_full, default=None),
        given(covered, Unit.RATIO, "share of the time that the pools were seen"),
    )


def _first_full(one: Runway) -> tuple[float, float]:
    """Put what is full first before all else, and what nobody knows last."""
    days, expected = one.conservative.value, one.expected.value
    return (math.inf if days is None else days, math.inf if expected is None else expected)


def _pools_of(seen: World, host: str) -> list[Pool]:
    """Return a host's pools; of all hosts, those that several share once."""
    if host == ALL:
        stale = {one.name for one in seen.fleet.hosts if one.is_stale}
        return [pool for pool in seen.fleet.pools if not pool.is_twin and pool.host not in stale]
    return list(seen.fleet.pools_of(host))


# The parts.


def ratio_of(settings: Capacity, resource: Resource) -> Figure:
    """Return how much may be given out for each that there is."""
    name = f"{resource}_ratio"
    return given(getattr(settings, name), Unit.NONE, f"the setting {name}")


def room(total: Figure, ratio: Figure, out: Figure) -> Figure:
    """Return what may still be given out, by the allocation model."""
    inputs = {"total": total, "ratio": ratio, "allocated": out}
    if total.value is None or ratio.value is None or out.value is None:
        return worked_out(None, out.unit, "max(0, total * ratio - allocated)", inputs)
    value = max(0.0, total.value * ratio.value - out.value)
    return worked_out(value, out.unit, "max(0, total * ratio - allocated)", inputs)


def _ratio(out: Figure, total: Figure) -> Figure:
    value = None if out.value is None or not total.value else out.value / total.value
    return worked_out(value, Unit.NONE, "allocated / total", {"allocated": out, "total": total})


def _now(asked: Demand | None, unit: Unit) -> Figure:
    if asked is None:
        return missing(unit, "nothing is known of what is asked for")
    return given(asked.now, unit, f"newest {asked.grid.step_name} mean of {asked.source}")


def _peak(asked: Demand | None, unit: Unit, settings: Capacity) -> Figure:
    if asked is None:
        return missing(unit, "nothing is known of what is asked for")
    days = asked.grid.count * asked.grid.step_ms / 86_400_000
    source = f"p{100 * settings.peak:g} of {asked.grid.step_name} means of {asked.source} over {days:.1f} days"
    few = asked.covered < settings.coverage
    note = f"only {100 * asked.covered:.0f} % of the time was seen" if few else ""
    return given(asked.quantile(settings.peak), unit, source, note)


def _remaining(usable: Figure, found: Runway | None, peak: Figure, unit: Unit) -> Figure:
    """Return usable capacity minus the projected peak; where nothing can be projected, minus the peak there was."""
    is_projected = found is not None and found.projection is not None
    projected = found.peak if found is not None and is_projected else peak
    inputs = {"usable": usable, "peak": projected}
    if found is not None and found.status is Status.STALE:
        return missing(unit, found.note)
    value = None if usable.value is None or projected.value is None else max(0.0, usable.value - projected.value)
    note = "" if is_projected else "from the peak there was: nothing can be projected yet"
    return worked_out(value, unit, "max(0, usable - peak)", inputs, note)


def _given_out(seen: World, host: str, resource: Resource) -> Figure:
    guests = [guest for guest in seen.fleet.guests if _counts(seen, guest, host, resource)]
    sizes = {
        Resource.CPU: [guest.vcpus for guest in guests],
        Resource.MEMORY: [guest.memory for guest in guests],
        Resource.STORAGE: [disk.capacity for guest in guests for disk in guest.disks],
    }[resource]
    known = [size for size in sizes if size is not None]
    what = {Resource.CPU: "vCPUs", Resource.MEMORY: "memory", Resource.STORAGE: "disk sizes"}[resource]
    note = f"without {len(sizes) - len(known)} that are not known" if len(known) < len(sizes) else ""
    return given(math.fsum(known), GIVEN_OUT[resource], f"{what} of {len(guests)} guests, added up", note)


def _counts(seen: World, guest: Guest, host: str, resource: Resource) -> bool:
    there = seen.fleet.host_of.get(guest.host)
    if there is None or (host == ALL and there.is_stale) or host not in {ALL, guest.host}:
        return False
    if guest.state is State.OFF:
        return seen.settings.count_off or resource is Resource.STORAGE
    return guest.state is State.RUNNING
