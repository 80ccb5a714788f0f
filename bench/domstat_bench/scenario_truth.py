"""What is true of a scenario: what whoever looks at its history ought to find. Pure.

Times are milliseconds since 1970, values are in base units (cores, bytes, seconds).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from domstat_bench.scenario_courses import DAY_MS, WEEK_MS, Floats, Ints
from domstat_bench.scenario_values import QEMU, TOUCHED
from domstat_bench.scenario_world import Guest, Host, World

_GRAIN_MS = 300_000


class Trend(Struct, frozen=True, kw_only=True):
    """What grows, or does not: *at_end* is its mean then, without noise, and *per_day* is added every day.

    *peak* is how far, as a factor, the 95th percentile of a week is above its mean. *resource* is ``cpu``, ``memory``,
    ``pool`` or ``disk``; *device* is the pool's name or the disk's, *guest* the disk's owner.
    """

    resource: str
    host: str
    field: str
    capacity: float
    end_ms: int
    at_end: float
    per_day: float
    peak: float = 1.0
    guest: str | None = None
    device: str | None = None

    def crosses_ms(self, limit: float, *, peaks: bool = False) -> int | None:
        """Return when the mean, or the *peaks*, reach a limit; None for never."""
        factor = self.peak if peaks else 1.0
        if self.per_day <= 0:
            return self.end_ms if self.at_end * factor >= limit else None
        return self.end_ms + round((limit / factor - self.at_end) / self.per_day * DAY_MS)

    @property
    def full_ms(self) -> int | None:
        """When its mean reaches all of its capacity."""
        return self.crosses_ms(self.capacity)


class Shift(Struct, frozen=True):
    """A series that went from one level to another at once, and does not grow."""

    host: str
    guest: str
    field: str
    at_ms: int
    before: float
    after: float


class Newcomer(Struct, frozen=True):
    """A guest that was not there before."""

    host: str
    guest: str
    since_ms: int


class Silent(Struct, frozen=True):
    """A guest whose balloon driver spoke last at that time; what it said then still stands there."""

    host: str
    guest: str
    since_ms: int


class Off(Struct, frozen=True):
    """A guest that is off since then, and holds so many bytes of disk."""

    host: str
    guest: str
    since_ms: int
    held_bytes: int


class Idle(Struct, frozen=True):
    """Which guests do nothing, and which do something that is easily overlooked, or much."""

    idle: tuple[str, ...]
    busy: tuple[str, ...]


class Moved(Struct, frozen=True):
    """A guest that is on another host since then."""

    uuid: str
    guest: str
    from_host: str
    to_host: str
    at_ms: int


class Restarted(Struct, frozen=True):
    """A guest that was started anew at these times; what it does in a second is the same all along."""

    guest: str
    field: str
    at_ms: tuple[int, ...]
    per_second: float


class Bully(Struct, frozen=True):
    """Who takes so much of a host, between these times, that others wait: *noisy* seconds a second, else *quiet*."""

    host: str
    bully: str
    victims: tuple[str, ...]
    bystanders: tuple[str, ...]
    windows_ms: tuple[tuple[int, int], ...]
    quiet: float
    noisy: float


class Gone(Struct, frozen=True):
    """A host of which nothing has been seen since then."""

    host: str
    last_ms: int


class Unseen(Struct, frozen=True):
    """The share of all time in which nobody looked at a host."""

    host: str
    share: float


Truth: TypeAlias = (
    Trend | Shift | Newcomer | Silent | Off | Idle | Moved | Restarted | Bully | Gone | Unseen
)  # fmt: skip


class Scenario(Struct, frozen=True, kw_only=True):
    """What happens, and what is true of it."""

    name: str
    world: World
    truths: tuple[Truth, ...] = ()


def cores_expected(world: World, host: Host, times_ms: Ints) -> Floats:
    """Return how many CPUs a host and those guests keep busy that are there at the end, as if they always had been."""
    cores = host.own_cores.expected(times_ms, world.begin_ms)
    for guest in _there_at_the_end(world, host):
        cores = cores + np.minimum(guest.cores.expected(times_ms, world.begin_ms), guest.vcpus)
    return cores


def memory_expected(world: World, host: Host, times_ms: Ints) -> Floats:
    """Return how many bytes a host and those guests use that are there at the end, as if they always had been."""
    memory = host.own_memory.expected(times_ms, world.begin_ms)
    for guest in _there_at_the_end(world, host):
        touched = guest.memory.expected(times_ms, world.begin_ms) * TOUCHED + QEMU
        memory = memory + np.minimum(touched, guest.memory_kib * 1024.0)
    return memory


def _there_at_the_end(world: World, host: Host) -> list[Guest]:
    return [guest for guest in host.guests if guest.until_ms >= world.end_ms]


def cpu_trend(world: World, host: Host) -> Trend:
    """Tell how a host's CPUs are used."""
    at_end, per_day, peak = _trend(world, lambda times_ms: cores_expected(world, host, times_ms))
    return Trend(
        resource="cpu", host=host.name, field="host.cpu.utilization", capacity=host.cpus, end_ms=world.end_ms,
        at_end=at_end, per_day=per_day, peak=peak,
    )  # fmt: skip


def memory_trend(world: World, host: Host) -> Trend:
    """Tell how a host's memory is used."""
    at_end, per_day, peak = _trend(world, lambda times_ms: memory_expected(world, host, times_ms))
    return Trend(
        resource="memory", host=host.name, field="host.memory.used", capacity=host.memory_kib * 1024.0,
        end_ms=world.end_ms, at_end=at_end, per_day=per_day, peak=peak,
    )  # fmt: skip


def pool_trend(world: World, host: Host, number: int = 0) -> Trend:
    """Tell how a pool fills."""
    pool = host.pools[number]
    at_end, per_day, peak = _trend(world, lambda times_ms: pool.allocation.expected(times_ms, world.begin_ms))
    return Trend(
        resource="pool", host=host.name, field="pool.allocation", capacity=pool.capacity, end_ms=world.end_ms,
        at_end=at_end, per_day=per_day, peak=peak, device=pool.name,
    )  # fmt: skip


def disk_trend(world: World, host: Host, guest: int = 0, disk: int = 0) -> Trend:
    """Tell how a thin disk grows."""
    owner = host.guests[guest]
    its = owner.disks[disk]
    at_end, per_day, peak = _trend(world, lambda times_ms: its.allocation.expected(times_ms, world.begin_ms))
    return Trend(
        resource="disk", host=host.name, field="block.allocation", capacity=its.capacity, end_ms=world.end_ms,
        at_end=at_end, per_day=per_day, peak=peak, guest=owner.name, device=its.name,
    )  # fmt: skip


def _trend(world: World, expected: Callable[[Ints], Floats]) -> tuple[float, float, float]:
    """Return the mean at the end, what is added to it every day, and how far a week's peaks are above it."""
    last = np.arange(world.end_ms - WEEK_MS, world.end_ms, _GRAIN_MS)
    values, before = expected(last), expected(last - WEEK_MS)
    per_day = float(values.mean() - before.mean()) / 7
    at_end = float(values.mean()) + per_day * 3.5
    line = at_end + per_day * (last - world.end_ms) / DAY_MS
    return at_end, per_day, float(np.quantile(values / np.maximum(line, 1e-12), 0.95))
