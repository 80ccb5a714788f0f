"""A fleet as one finds it: hosts of one size, guests of eight kinds, most of them larger than they need to be. Pure.

The kinds are those of :mod:`.workload_kinds`. Beside what these do all the time a few guests in a hundred are new, have
moved, grow, are off, or have a balloon driver that has stopped; every host has a pool that fills, some sooner than
others, and one host in five is crowded, so that its guests wait.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat_bench.scenario_courses import DAY_MS, EVER_MS, HOUR_MS, Course
from domstat_bench.scenario_world import GIB, KIB, Disk, Guest, Host, Pool, Sleeper, World
from domstat_bench.workload_kinds import KINDS, Kind, kind_names

_SEED = 66
_VCPUS = (2, 2, 2, 4, 4, 8)
_MEMORY_GIB = (2, 4, 4, 8, 8, 16)
_OWN_VCPUS = 2
"""The vCPUs of the guests that workload_kinds describes."""
_CLUSTER = 65_536
_PAGE = 4_096
_JOB_HOURS = 4.0
_OUTSIDE_JOBS = 0.03
_OVERCOMMIT = 2.5
"""vCPUs for each CPU of a host."""
_CROWDED_EVERY = 5
_GROWING_EVERY = 3
_GROWTH = 1.5
"""What grows needs so much more after all the time, relatively to the beginning."""
_RESTARTS_A_YEAR = 4.0


class _Odds(Struct, frozen=True):
    """How likely a guest is to be one of these."""

    new: float = 0.03
    moved: float = 0.01
    growing: float = 0.05
    growing_where_all_do: float = 0.7
    silent: float = 0.03
    two_disks: float = 0.25
    undersized: float = 0.04


_ODDS = _Odds()


def fleet_world(hosts: int, guests: int, begin_ms: int, end_ms: int, step_ms: int = 300_000) -> World:
    """Make a fleet."""
    maker = _Maker(begin_ms, end_ms)
    kinds = kind_names(guests)
    made: list[list[Guest | Sleeper]] = [[] for _ in range(hosts)]
    for number, kind in enumerate(kinds):
        home = number * hosts // guests
        for away, guest in maker.guests(number, kind, home, hosts):
            made[(home + away) % hosts].append(guest)
    whole = tuple(maker.host(number, of) for number, of in enumerate(made))
    return World(begin_ms=begin_ms, end_ms=end_ms, hosts=whole, step_ms=step_ms, seed=_SEED)


class _Maker:
    """Draws guests and hosts, in their order."""

    def __init__(self, begin_ms: int, end_ms: int) -> None:
        self._rng = np.random.default_rng(_SEED)
        self._begin_ms, self._end_ms = begin_ms, end_ms
        self._days = max((end_ms - begin_ms) / DAY_MS, 1.0)

    def guests(self, number: int, kind: str, home: int, hosts: int) -> Iterator[tuple[int, Guest | Sleeper]]:
        """Give a guest, or what it was before and after it moved, each with how many hosts on from its home it is."""
        guest = self._guest(number, kind, is_growing=self._happens(_odds_of_growth(home)))
        if kind == "off":
            off_ms = self._some_hour(0.2, 0.95)
            yield 0, replace(guest, until_ms=off_ms)
            yield 0, _asleep(guest, off_ms)
        elif hosts > 1 and self._happens(_ODDS.moved):
            moved_ms = self._some_hour(0.5, 0.95)
            yield 0, replace(guest, until_ms=moved_ms)
            yield 1, replace(guest, from_ms=moved_ms)
        else:
            is_new = self._happens(_ODDS.new)
            yield 0, replace(guest, from_ms=self._some_hour(0.6, 0.97)) if is_new else guest

    def host(self, number: int, guests: list[Guest | Sleeper]) -> Host:
        """Make the host of some guests, large enough for them."""
        running = [guest for guest in guests if isinstance(guest, Guest)]
        vcpus = sum(guest.vcpus for guest in running)
        memory_kib = sum(guest.memory_kib for guest in running)
        is_crowded = number % _CROWDED_EVERY == _CROWDED_EVERY - 1
        cpus = max(8, round(vcpus / (_OVERCOMMIT * (2 if is_crowded else 1)) / 4) * 4)
        if is_crowded:
            running = [replace(guest, steal=replace(guest.steal, level=0.04, swing=0.8)) for guest in running]
        disks = sum(
            disk.allocation.trend(np.array([self._end_ms]), self._begin_ms)[0]
            for guest in running
            for disk in guest.disks
        )
        growth = sum(disk.allocation.growth for guest in running for disk in guest.disks)
        return Host(
            name=f"kvm{number + 1:02d}",
            cpus=cpus,
            memory_kib=max(16 * GIB // KIB, round(memory_kib * float(self._rng.uniform(0.9, 1.5)) / 4194304) * 4194304),
            guests=tuple(running),
            sleepers=tuple(guest for guest in guests if isinstance(guest, Sleeper)),
            pools=(self._pool(disks, growth),),
        )

    def _pool(self, allocated: float, growth: float) -> Pool:
        """Make a pool that has so much at the end, and that is full some time between a month and some years later."""
        growth = max(growth, 0.2 * GIB)
        left_days = float(self._rng.choice([35.0, 90.0, 200.0, 500.0, 1500.0]))
        level = max(allocated - growth * self._days, 0.1 * allocated)
        growth = (allocated - level) / self._days
        capacity = round((allocated + growth * left_days) / GIB) * GIB
        return Pool(capacity=max(capacity, GIB), allocation=Course(level=level, growth=growth, drift=0.002))

    def _guest(self, number: int, name: str, *, is_growing: bool) -> Guest:
        kind, rng = KINDS[name], self._rng
        vcpus = int(rng.choice(_VCPUS))
        memory_kib = int(rng.choice(_MEMORY_GIB)) * GIB // KIB
        size = vcpus / _OWN_VCPUS * float(rng.lognormal(-0.4, 0.4))
        cores = self._course(kind.cores * size, kind)
        if self._happens(_ODDS.undersized):
            cores = replace(cores, level=0.8 * vcpus, swing=0.15)
        used = float(rng.uniform(0.15, 0.85)) * memory_kib * KIB
        memory = Course(level=used, noise=0.01, drift=0.05)
        if is_growing:
            cores = replace(cores, level=cores.level / 2, growth=cores.level / 2 * _GROWTH / self._days)
            memory = replace(memory, level=used / 2, growth=used / 2 / self._days)
        return Guest(
            uuid=f"b7c0a1d4-5e1f-4c6e-8a35-{number:012x}",
            name=f"{name}-{number}",
            mac=f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            vcpus=vcpus,
            memory_kib=memory_kib,
            cores=cores,
            memory=memory,
            steal=Course(level=0.004, noise=0.4, drift=0.3),
            rx=self._course(kind.rx * kind.rx_size * size, kind),
            tx=self._course(kind.tx * kind.tx_size * size, kind),
            major_faults=self._course(2e-4 * kind.faults, kind),
            disks=tuple(self._disks(kind, size)),
            speaks_until_ms=self._some_hour(0.3, 0.98) if self._happens(_ODDS.silent) else EVER_MS,
            resets=self._restarts(),
            labels=(("title", f"{name} {number}"), ("nova.flavor", f"m{vcpus}.{memory_kib * KIB // GIB}")),
        )

    def _disks(self, kind: Kind, size: float) -> Iterator[Disk]:
        for name in ("vda", "vdb") if self._happens(_ODDS.two_disks) else ("vda",):
            capacity = int(self._rng.choice([20, 40, 40, 80, 160])) * GIB
            level = capacity * float(self._rng.uniform(0.1, 0.5))
            growth = min(kind.clusters * _CLUSTER * 86_400 * 0.3, (capacity - level) / self._days * 0.9)
            yield Disk(
                name=name,
                capacity=capacity,
                allocation=Course(level=level, growth=growth),
                reads=self._course(kind.rd * size, kind),
                writes=self._course(kind.wr * size, kind),
                latency=Course(level=kind.rd_ms / 1000, noise=0.15, drift=0.2),
                read_bytes=round(kind.rd_pages * _PAGE),
                write_bytes=round(kind.wr_pages * _PAGE),
            )

    def _course(self, level: float, kind: Kind) -> Course:
        begin_h = float(self._rng.uniform(0, 24 - _JOB_HOURS))
        return Course(
            level=level,
            swing=kind.swing,
            peak_h=float(self._rng.normal(14, 1.5)),
            weekend=kind.weekend,
            hours=(begin_h, begin_h + _JOB_HOURS) if kind.jobs else None,
            rest=_OUTSIDE_JOBS,
            noise=kind.steady * 2,
            drift=kind.drift / 2,
        )

    def _restarts(self) -> tuple[int, ...]:
        count = int(self._rng.poisson(_RESTARTS_A_YEAR * self._days / 365))
        return tuple(sorted(self._some_hour(0.0, 0.99) for _ in range(count)))

    def _happens(self, odds: float) -> bool:
        return bool(self._rng.random() < odds)

    def _some_hour(self, first: float, last: float) -> int:
        """Draw an hour between two parts of all the time."""
        share = float(self._rng.uniform(first, last))
        return (self._begin_ms + int((self._end_ms - self._begin_ms) * share)) // HOUR_MS * HOUR_MS


def _odds_of_growth(host: int) -> float:
    return _ODDS.growing_where_all_do if host % _GROWING_EVERY == 1 else _ODDS.growing


def _asleep(guest: Guest, since_ms: int) -> Sleeper:
    volumes = tuple((disk.name, disk.capacity, int(disk.allocation.level)) for disk in guest.disks)
    return Sleeper(
        uuid=guest.uuid,
        name=guest.name,
        vcpus=guest.vcpus,
        memory_kib=guest.memory_kib,
        from_ms=since_ms,
        volumes=volumes,
    )
