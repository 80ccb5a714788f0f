"""All that is reckoned with, in one place: the fleet, and what it is asked for over time.

Questions about what is and questions about what would be are the same ones, of another world (:mod:`.whatif`).
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from domstat.capacity import demand
from domstat.capacity.demand import ALL, COMPUTE, Demand, Resource
from domstat.capacity.explained import Figure, Unit, added, given, worked_out
from domstat.capacity.fleet import Fleet, Pool
from domstat.capacity.gather import Figures
from domstat.capacity.grid import Grid
from domstat.capacity.settings import Capacity

Place: TypeAlias = tuple[str, Resource]
"""A host, or ALL, and what of it."""


class World(Struct, frozen=True):
    """What is there and what it is asked for.

    *window* is demand over the window of peaks, *past* over the time that growth is looked at (hours), by host and
    resource; *pools* what is allocated of pools, a figure a day, by host and name.
    """

    now_ms: int
    settings: Capacity
    fleet: Fleet
    window: dict[Place, Demand]
    past: dict[Place, Demand]
    pools: dict[tuple[str, str], Demand]


def observe(figures: Figures) -> World:
    """Read what is. Raises HistoryError."""
    window = figures.window(len(figures.fleet.hosts))
    past = figures.past()
    demand.expect(figures, past)
    return World(
        figures.now_ms,
        figures.settings,
        figures.fleet,
        _asked(figures, window),
        _asked(figures, past),
        demand.of_pools(figures),
    )


def _asked(figures: Figures, over: Grid) -> dict[Place, Demand]:
    return {(host, of): asked for of in COMPUTE for host, asked in demand.of_hosts(figures, of, over).items()}


def are_several(seen: World) -> bool:
    """Whether several hosts can be seen, so that all together are worth a line."""
    return sum(not host.is_stale for host in seen.fleet.hosts) > 1


def over_all(seen: World, demands: dict[Place, Demand], resource: Resource) -> Demand | None:
    """Add up what all hosts that can be seen are asked for; None where nobody knows."""
    places = [(host.name, resource) for host in seen.fleet.hosts if not host.is_stale]
    found = [demands[place] for place in places if place in demands]
    return demand.of_all(found, resource, found[0].grid) if found else None


def total_of(seen: World, host: str, resource: Resource) -> Figure:
    """Return how much of a resource a host has, or all hosts that can be seen."""
    field, unit = _TOTALS[resource]
    if host == ALL:
        hosts = [one for one in seen.fleet.hosts if not one.is_stale]
        return added({one.name: total_of(seen, one.name, resource) for one in hosts}, unit)
    there = seen.fleet.host_of[host]
    value = there.threads if resource is Resource.CPU else there.memory
    return given(value, unit, field)


_TOTALS = {Resource.CPU: ("host.cpus", Unit.THREADS), Resource.MEMORY: ("host.memory.total", Unit.BYTES)}


def usable_of(seen: World, host: str, resource: Resource) -> Figure:
    """Return the total minus the buffer."""
    unit = Unit.CORES if resource is Resource.CPU else Unit.BYTES
    return usable(total_of(seen, host, resource), unit, buffer_of(seen.settings, resource))


def usable_of_pool(seen: World, pool: Pool) -> Figure:
    """Return a pool's capacity minus the buffer."""
    capacity = given(pool.capacity, Unit.BYTES, "pool.capacity")
    return usable(capacity, Unit.BYTES, buffer_of(seen.settings, Resource.STORAGE))


def buffer_of(settings: Capacity, resource: Resource) -> Figure:
    """Return the share that stays free."""
    name = {Resource.CPU: "cpu_buffer", Resource.MEMORY: "memory_buffer"}.get(resource, "storage_buffer")
    return given(getattr(settings, name), Unit.RATIO, f"the setting {name}")


def usable(total: Figure, unit: Unit, buffer: Figure) -> Figure:
    """Return a total minus its buffer."""
    value = None if total.value is None or buffer.value is None else total.value * (1 - buffer.value)
    return worked_out(value, unit, "total * (1 - buffer)", {"total": total, "buffer": buffer})
