"""The summary: how each host stands, what presses it hardest, and what could be had back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from domstat.capacity import standing, world
from domstat.capacity.demand import ALL, UNITS, Resource
from domstat.capacity.explained import Figure, added, given
from domstat.capacity.fleet import State
from domstat.capacity.gather import Figures
from domstat.capacity.reclaim import Candidate, reclaim
from domstat.capacity.standing import Standing
from domstat.capacity.world import World


class Summary(Struct, frozen=True):
    """One host, or ALL hosts together, which come first.

    *constrained* is the resource with the least time remaining; where none runs out within the horizon, the one of
    which the greatest share of what is usable is in use. None where nothing is known. *reclaimable* is what idle guests
    and those that are off would give back, by resource; of a world that is not there it is empty.
    """

    host: str
    running: int
    off: int
    standings: tuple[Standing, ...]
    constrained: Resource | None
    reclaimable: dict[Resource, Figure]
    note: str = ""


def summary(figures: Figures) -> tuple[Summary, ...]:
    """Sum up what is. Raises HistoryError."""
    seen = world.observe(figures)
    return of_world(seen, with_all=world.are_several(seen), candidates=reclaim(figures).candidates)


def of_world(seen: World, *, with_all: bool, candidates: Sequence[Candidate] | None = None) -> tuple[Summary, ...]:
    """Sum up a world that is, or that would be; *candidates* are whom to reclaim, None where nobody looked."""
    by_host: dict[str, list[Standing]] = {}
    for one in standing.of(seen, with_all=with_all):
        by_host.setdefault(one.host, []).append(one)
    return tuple(
        _summary(seen, host, tuple(found), {} if candidates is None else _reclaimable(host, candidates))
        for host, found in by_host.items()
    )


def _summary(seen: World, host: str, found: tuple[Standing, ...], reclaimable: dict[Resource, Figure]) -> Summary:
    guests = [guest for guest in seen.fleet.guests if host in {ALL, guest.host}]
    there = seen.fleet.host_of.get(host)
    note = ""
    if there is not None and there.is_stale:
        note = f"stale figures: not seen for {(seen.now_ms - there.last_ms) / 86_400_000:.1f} days"
    return Summary(
        host,
        sum(guest.state is State.RUNNING for guest in guests),
        sum(guest.state is State.OFF for guest in guests),
        found,
        None if note else _constrained(found),
        reclaimable,
        note,
    )


def _constrained(found: tuple[Standing, ...]) -> Resource | None:
    known = [one for one in found if one.peak.is_known and one.usable.is_known]
    return min(known, key=lambda one: one.pressure).resource if known else None


def _reclaimable(host: str, candidates: Sequence[Candidate]) -> dict[Resource, Figure]:
    """Add up what comes back on a host, by resource; nobody to reclaim gives back nothing."""
    mine = {f"{one.name} on {one.host}": one for one in candidates if host in {ALL, one.host}}
    return {of: _added(of, {name: back(one) for name, one in mine.items()}) for of, back in _BACK.items()}


_BACK: dict[Resource, Callable[[Candidate], Figure]] = {
    Resource.CPU: lambda one: one.cores,
    Resource.MEMORY: lambda one: one.memory,
    Resource.STORAGE: lambda one: one.disk,
}


def _added(resource: Resource, parts: dict[str, Figure]) -> Figure:
    if not parts:
        return given(0.0, UNITS[resource], "no guest is idle, or off for long")
    return added(parts, UNITS[resource])
