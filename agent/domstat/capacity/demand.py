"""What each host is asked for over time: CPUs kept busy, and memory used.

A host's own records say it, and then all that runs on it counts. Where they do not, or where only some guests are
meant, it is the sum of the guests; each host's demand says which it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import numpy as np
from msgspec import Struct

from domstat.capacity import grid
from domstat.capacity.explained import Unit
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import DAY_MS, FloatArray, Grid, Matrix
from domstat.history import Aggregate
from domstat.model import Kind

ALL = ""
"""In place of a host's name: all hosts together."""


class Resource(StrEnum):
    """What a host has and can run out of; a pool has storage."""

    CPU = "cpu"
    MEMORY = "memory"
    STORAGE = "storage"
    DISK = "disk"


COMPUTE = (Resource.CPU, Resource.MEMORY)
"""What a host has of its own."""

HOST_FIELDS = ("host.cpu.utilization", "host.memory.used")
"""What says what a host is asked for."""

GUEST_FIELDS = ("cpu.cores", "balloon.rss", "balloon.current")
"""What says what guests ask of their hosts; read at once."""

UNITS = {
    Resource.CPU: Unit.CORES,
    Resource.MEMORY: Unit.BYTES,
    Resource.STORAGE: Unit.BYTES,
    Resource.DISK: Unit.BYTES,
}


class Demand(Struct, frozen=True):
    """What one host is asked for of one resource: *values* over *grid*, NaN where nobody knows; *source* says by whom.

    *name* is that of a pool. *covered* is the share of the grid's span that was seen.
    """

    host: str
    resource: Resource
    grid: Grid
    values: FloatArray
    covered: float
    source: str
    name: str = ""

    @property
    def now(self) -> float | None:
        """The newest figure that is known."""
        return grid.last_known(self.values)

    def quantile(self, share: float) -> float | None:
        """Return what is not exceeded for a share of the time that is known."""
        return grid.quantile(self.values, share)

    def daily(self, share: float) -> tuple[Grid, FloatArray]:
        """Return one such figure for each day."""
        return grid.by_day(self.values, self.grid, share)


def of_hosts(figures: Figures, resource: Resource, over: Grid) -> dict[str, Demand]:
    """Return what each host of the fleet is asked for, by name; what nobody knows is NaN throughout."""
    hosts = [host.name for host in figures.fleet.hosts]
    own = {} if figures.selection.guests else {asked.host: asked for asked in _own(figures, resource, over)}
    lacking = [host for host in hosts if host not in own]
    summed = {asked.host: asked for asked in _of_guests(figures, resource, over, lacking)} if lacking else {}
    return {host: own.get(host) or summed[host] for host in hosts}


def _own(figures: Figures, resource: Resource, over: Grid) -> Iterator[Demand]:
    expect(figures, over)
    if resource is Resource.MEMORY:
        found = figures.hosts("host.memory.used", over)
        values, source = found.values, "host.memory.used"
    else:
        found = figures.hosts("host.cpu.utilization", over)
        values, source = found.values * _threads(figures, over, found), "host.cpu.utilization * host.cpus"
    for place, key in enumerate(found.keys):
        if key.host in figures.fleet.host_of and not np.isnan(values[place]).all():
            yield Demand(key.host, resource, over, values[place], float(found.coverage[place]), source)


def _threads(figures: Figures, over: Grid, found: Matrix[Key]) -> FloatArray:
    """Return how many threads each host had in each step: it may have been given more, or some may be offline."""
    past = figures.past()
    read = figures.hosts("host.cpus", past)
    hours = (over.since_ms + np.arange(over.count) * over.step_ms - past.since_ms) // past.step_ms
    places = np.clip(hours, 0, max(0, past.count - 1))
    rows = np.full((len(found.keys), over.count), np.nan)
    for place, key in enumerate(found.keys):
        there = figures.fleet.host_of.get(key.host)
        if len(grid.known(read.row(key))):
            rows[place] = grid.carried(read.row(key))[places]
        elif there is not None and there.threads is not None:  # within the first hour
            rows[place] = there.threads
    return rows


def _of_guests(figures: Figures, resource: Resource, over: Grid, hosts: Sequence[str]) -> Iterator[Demand]:
    part = figures.on(hosts)
    part.expect((Kind.GUEST,), GUEST_FIELDS, over)
    if resource is Resource.MEMORY:
        rows, source = memory_of_guests(part, over, by_host=True), "memory of its guests, added up"
    else:
        rows, source = part.guests("cpu.cores", over, by_host=True), "cpu.cores of its guests, added up"
    meant = figures.fleet.guest_of
    for host in hosts:
        places = [place for place, key in enumerate(rows.keys) if key.host == host and key.uuid in meant]
        values = grid.total(rows.values[places]) if places else np.full(over.count, np.nan)
        covered = float(np.max(rows.coverage[places])) if places else 0.0
        yield Demand(host, resource, over, values, covered, source)


def memory_of_guests(figures: Figures, over: Grid, *, by_host: bool = False, only: tuple[str, ...] = ()) -> Matrix[Key]:
    """Return what memory guests take of their hosts: what is resident, else what they are given.

    What a guest itself calls used is less: what it once touched stays resident, as its cache.
    """
    figures.expect((Kind.GUEST,), ("balloon.rss", "balloon.current"), over, only=only)
    resident = figures.guests("balloon.rss", over, by_host=by_host, only=only)
    given = figures.guests("balloon.current", over, by_host=by_host, only=only)
    rows = []
    for key in dict.fromkeys([*resident.keys, *given.keys]):
        values = grid.first_known(np.array([resident.row(key), given.row(key)]))
        rows.append((key, values, max(resident.covered(key), given.covered(key))))
    return grid.of(over, rows)


def of_pools(figures: Figures) -> dict[tuple[str, str], Demand]:
    """Return what is allocated of each pool at the end of each day, and now, by host and name."""
    days = Grid.covering(figures.past().since_ms, figures.now_ms + DAY_MS - 1, DAY_MS)
    read = figures.pools("pool.allocation", days, Aggregate.LAST)
    return {
        (key.host, key.pool): Demand(
            key.host, Resource.STORAGE, days, read.values[place], float(read.coverage[place]), "pool.allocation",
            key.pool,
        )
        for place, key in enumerate(read.keys)
    }  # fmt: skip


def expect(figures: Figures, over: Grid) -> None:
    """Read at once what hosts say; over all the past, how many CPUs they had too."""
    fields = (*HOST_FIELDS, "host.cpus") if over == figures.past() else HOST_FIELDS
    figures.expect((Kind.HOST,), fields, over)


def of_all(demands: Sequence[Demand], resource: Resource, over: Grid) -> Demand:
    """Add up what hosts are asked for. A step in which one is not known, but before and after, is not known."""
    values = np.zeros(over.count)
    seen = np.zeros(over.count, dtype=bool)
    for demand in demands:
        places = np.flatnonzero(~np.isnan(demand.values))
        if len(places):
            inside = slice(places[0], places[-1] + 1)
            values[inside] += demand.values[inside]
            seen[inside] = True
    values[~seen] = np.nan
    covered = min((demand.covered for demand in demands), default=0.0)
    return Demand(ALL, resource, over, values, covered, "the hosts added up")
