"""Capacity remaining, and how many more guests of one kind fit on each host.

By the demand model as many fit as their peaks go into what the projected peak leaves of usable capacity; by the
allocation model as many as their sizes go into what may still be given out. Both are the least over all resources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from domstat.capacity import profile, standing, world
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.explained import Figure, Unit, added, missing, worked_out
from domstat.capacity.gather import Figures
from domstat.capacity.profile import Profile, Size
from domstat.capacity.standing import Standing


class Like(Struct, frozen=True):
    """Guests like one: its name or UUID."""

    name: str


class NobodyError(Exception):
    """There is no guest of that name or UUID, which is the message."""


class Remaining(Struct, frozen=True):
    """What is left on one host, or on ALL hosts together, and how many more guests fit.

    *limited_by* and *rooms_limited_by* are the resource that is used up first, by demand and by allocation.
    """

    host: str
    standings: tuple[Standing, ...]
    guests: Figure
    limited_by: Resource | None
    guests_by_allocation: Figure
    rooms_limited_by: Resource | None


class Answer(Struct, frozen=True):
    """What one guest takes, and what is left for such guests."""

    each: Profile
    hosts: tuple[Remaining, ...]


def remaining(figures: Figures, wanted: Like | Size | None = None) -> Answer:
    """Say what is left, and how many guests fit: of the average one, like one, or of a size.

    Raises HistoryError, and NobodyError.
    """
    seen = world.observe(figures)
    each = _profile(figures, wanted)
    found: dict[str, list[Standing]] = {}
    for one in standing.of(seen, with_all=world.are_several(seen)):
        found.setdefault(one.host, []).append(one)
    hosts = {host: _remaining(host, standings, each) for host, standings in found.items()}
    if ALL in hosts:
        singles = [one for host, one in hosts.items() if host != ALL and not seen.fleet.host_of[host].is_stale]
        hosts[ALL] = _added(hosts[ALL], singles)
    return Answer(each, tuple(hosts.values()))


def _profile(figures: Figures, wanted: Like | Size | None) -> Profile:
    if isinstance(wanted, Like):
        found = figures.fleet.called(wanted.name)
        if not found:
            raise NobodyError(wanted.name)
        return profile.of_guest(found[0], profile.peaks(figures, (found[0].uuid,)))
    usual = profile.average(figures.fleet.guests, profile.peaks(figures))
    return usual if wanted is None else profile.of_size(wanted, usual)


def _remaining(host: str, standings: Sequence[Standing], each: Profile) -> Remaining:
    left = {one.resource: one.remaining for one in standings}
    rooms = {one.resource: one.room for one in standings}
    by_demand = {
        Resource.CPU: fit(left[Resource.CPU], each.cores),
        Resource.MEMORY: fit(left[Resource.MEMORY], each.resident),
    }
    by_allocation = {
        Resource.CPU: fit(rooms[Resource.CPU], each.vcpus),
        Resource.MEMORY: fit(rooms[Resource.MEMORY], each.memory),
    }
    if Resource.STORAGE in left and each.disk.value:
        by_demand[Resource.STORAGE] = _fit_pools(left[Resource.STORAGE], each.held)
        by_allocation[Resource.STORAGE] = fit(rooms[Resource.STORAGE], each.disk)
    guests, limit = _least(by_demand)
    allocated, room_limit = _least(by_allocation)
    return Remaining(host, tuple(standings), guests, limit, allocated, room_limit)


def fit(room: Figure, each: Figure) -> Figure:
    """Return how many times one goes into a room; what takes nothing has no limit here."""
    inputs = {"room": room, "each": each}
    if room.value is None or each.value is None:
        return worked_out(None, Unit.GUESTS, "floor(room / each)", inputs)
    if each.value <= 0:
        return missing(Unit.GUESTS, "takes nothing of it")
    return worked_out(math.floor(room.value / each.value), Unit.GUESTS, "floor(room / each)", inputs)


def _fit_pools(left: Figure, each: Figure) -> Figure:
    """Return how many fit into pools, each as a whole into one."""
    parts = {name: fit(room, each) for name, room in left.inputs}
    return added(parts, Unit.GUESTS) if parts else fit(left, each)


def _least(fits: dict[Resource, Figure]) -> tuple[Figure, Resource | None]:
    """Return how many fit by all resources, and which it is that limits them."""
    unknown = [one for one in fits.values() if one.value is None and one.formula]
    known = {of: one for of, one in fits.items() if one.value is not None}
    if unknown or not known:
        note = unknown[0].note if unknown else "takes nothing that is known of"
        return missing(Unit.GUESTS, note), None
    least = min(known, key=lambda of: known[of].value or 0.0)
    inputs = {str(of): one for of, one in known.items()}
    formula = f"min({', '.join(inputs)})" if len(inputs) > 1 else next(iter(inputs))
    return worked_out(known[least].value, Unit.GUESTS, formula, inputs), least


def _added(total: Remaining, hosts: Sequence[Remaining]) -> Remaining:
    """Add up what fits on each host: what is left of several is no room for one guest."""
    return Remaining(
        total.host,
        total.standings,
        added({one.host: one.guests for one in hosts}, Unit.GUESTS),
        None,
        added({one.host: one.guests_by_allocation for one in hosts}, Unit.GUESTS),
        None,
    )
