"""What a scenario's hosts would say: typed parameters in libvirt's own units, for a window of steps. Pure.

Of a counter a window has what it grows by in each step, of all else what it is at the end of each. What counters come
to is added up by whoever asks (:mod:`.scenario_stretches`), window by window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct

from domstat.model import Kind, key_of
from domstat_bench.scenario_courses import Course, Floats, Ints
from domstat_bench.scenario_world import KIB, Disk, Guest, Host, Pool, Sleeper, World

MIB = 1 << 20
RUNNING, OFF, ACTIVE_POOL = 1, 5, 2
"""libvirt's numbers of states."""

_NS = 1e9
_GUEST_KERNEL_KIB = 100 * KIB
"""What a guest's kernel does not count as its memory."""
QEMU = 200 * MIB
TOUCHED = 1.15
"""What a guest takes of the host: QEMU's own, and of what the guest uses so much, since caches are touched too."""
_KERNEL_SHARE, _IOWAIT_SHARE = 0.2, 0.01
"""How a host's time is divided: of what is busy, and of what is idle."""
_BALLOON_S = 10
"""How often a guest says how its memory is."""
_USABLE = 0.02
"""Of its memory a guest never uses so much."""


class Subject(Struct, frozen=True):
    """Whose values there are, from one time on and before another, by *keys*; *resets* are when all began anew."""

    kind: Kind
    uuid: str | None
    name: str | None
    keys: tuple[str, ...]
    from_ms: int
    until_ms: int
    resets: tuple[int, ...] = ()
    devices: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Stream(Protocol):
    """One stream of a host: its name, who is in it, and what they say."""

    collect: str
    subjects: Sequence[Subject]

    def told(self, times_ms: Ints, step_ms: int) -> list[Ints]:
        """Return a matrix for each subject, a row a step that begins at *times_ms*, a column a key."""


class Ticks:
    """The host's ordinary ticks: the host itself and its guests."""

    collect = "default"

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host
        own = Subject(Kind.HOST, None, None, HOST_KEYS, host.from_ms, host.until_ms)
        self.subjects: Sequence[Subject] = [own, *(_subject_of(guest, host) for guest in host.guests)]

    def told(self, times_ms: Ints, step_ms: int) -> list[Ints]:
        """Return what the host says, and each guest."""
        cores, memory = self._values("host/cores", self._host.own_cores, times_ms), self._own_memory(times_ms)
        matrices = []
        for guest in self._host.guests:
            said = _GuestSays(self._world, self._host, guest, times_ms, step_ms)
            is_there = (times_ms >= guest.from_ms) & (times_ms < guest.until_ms)
            cores = cores + said.cores * is_there
            memory = memory + said.rss_kib * KIB * is_there
            matrices.append(_matrix(list(said.columns())))
        return [self._host_says(cores, memory, step_ms), *matrices]

    def _own_memory(self, times_ms: Ints) -> Floats:
        return self._values("host/memory", self._host.own_memory, times_ms)

    def _values(self, what: str, course: Course, times_ms: Ints) -> Floats:
        return course.values(times_ms, self._world.begin_ms, f"{self._host.name}/{what}", self._world.seed)

    def _host_says(self, cores: Floats, memory: Floats, step_ms: int) -> Ints:
        host, step_ns = self._host, step_ms * 1e6
        busy = np.minimum(cores, host.cpus) * step_ns
        idle = host.cpus * step_ns - busy
        available = host.memory_kib - np.minimum(memory / KIB, host.memory_kib * 0.99)
        kernel, iowait = busy * _KERNEL_SHARE, idle * _IOWAIT_SHARE
        said = [
            busy - kernel, kernel, idle - iowait, iowait,
            np.full(len(cores), host.memory_kib), available * 0.6, available, np.full(len(cores), host.cpus),
        ]  # fmt: skip
        return _matrix(said)


HOST_KEYS = (
    "host.cpu.user", "host.cpu.kernel", "host.cpu.idle", "host.cpu.iowait",
    "host.memory.total", "host.memory.free", "host.memory.available", "host.cpus",
)  # fmt: skip

_GUEST_KEYS = (
    "state.state", "cpu.time",
    "balloon.current", "balloon.maximum", "balloon.swap_in", "balloon.swap_out", "balloon.major_fault",
    "balloon.unused", "balloon.available", "balloon.usable", "balloon.last-update", "balloon.rss",
    "vcpu.current", "vcpu.maximum",
)  # fmt: skip
_DISK_FIELDS = (
    "block.rd.reqs", "block.rd.bytes", "block.rd.times", "block.wr.reqs", "block.wr.bytes", "block.wr.times",
    "block.allocation", "block.capacity", "block.physical",
)  # fmt: skip
_NIC_FIELDS = ("net.rx.bytes", "net.tx.bytes")


def guest_keys(guest: Guest) -> tuple[str, ...]:
    """Return a guest's keys, in the order in which it says their values."""
    return (
        *_GUEST_KEYS,
        *(key_of("vcpu.delay", str(number)) for number in range(guest.vcpus)),
        *(key_of(field, guest.mac) for field in _NIC_FIELDS),
        *(key_of(field, disk.name) for disk in guest.disks for field in _DISK_FIELDS),
    )


def _subject_of(guest: Guest, host: Host) -> Subject:
    disks = [
        (
            disk.name,
            (("path", disk.path or f"/var/lib/libvirt/images/{guest.uuid}-{disk.name}.qcow2"), ("bus", "virtio")),
        )
        for disk in guest.disks
    ]
    nic = (guest.mac, (("mac", guest.mac), ("tap", f"vnet{guest.mac[-2:]}"), ("bridge", "br0")))
    return Subject(
        Kind.GUEST,
        guest.uuid,
        guest.name,
        guest_keys(guest),
        max(guest.from_ms, host.from_ms),
        min(guest.until_ms, host.until_ms),
        guest.resets,
        (*disks, nic),
        guest.labels,
    )


def _image(uuid: str, disk: str) -> str:
    return f"/var/lib/libvirt/images/{uuid}-{disk}.qcow2"


class _GuestSays:
    """A guest's values in one window."""

    def __init__(self, world: World, host: Host, guest: Guest, times_ms: Ints, step_ms: int) -> None:
        self._world, self._host, self._guest = world, host, guest
        self._times_ms, self._step_ms, self._step_s = times_ms, step_ms, step_ms / 1000
        self.cores = np.minimum(self._values("cores", guest.cores), guest.vcpus)
        current = guest.current_kib
        self._current = np.full(len(times_ms), float(guest.memory_kib)) if current is None else self._hourly(current)
        self._available = self._current - _GUEST_KERNEL_KIB
        self._used = np.minimum(self._values("memory", guest.memory) / KIB, self._available * (1 - _USABLE))
        self.rss_kib = np.rint(np.minimum(self._current, self._used * TOUCHED + QEMU / KIB))

    def columns(self) -> Iterator[Floats]:
        """Give its values, in the order of its keys."""
        guest, count = self._guest, len(self._times_ms)
        swap = self._grown("swap", guest.swap) / KIB
        available, usable, spoken_s = self._last_said()
        yield from (np.full(count, RUNNING), self.cores * self._step_s * _NS)
        yield from (self._current, np.full(count, guest.memory_kib), swap, swap)
        yield self._grown("faults", guest.major_faults)
        yield from (usable / 3, available, usable, spoken_s, self.rss_kib)
        yield from (np.full(count, guest.vcpus), np.full(count, guest.vcpus))
        waited = np.minimum(self._grown("steal", guest.steal), self._step_s) * _NS
        for _ in range(guest.vcpus):
            yield waited
        yield from (self._grown("rx", guest.rx), self._grown("tx", guest.tx))
        for disk in guest.disks:
            yield from self._disk(disk)

    def _disk(self, disk: Disk) -> Iterator[Floats]:
        latency_ns = self._values(f"{disk.name}/latency", disk.latency) * _NS
        for what, course, size in (
            ("reads", disk.reads, disk.read_bytes),
            ("writes", disk.writes, disk.write_bytes),
        ):
            requests = np.rint(self._grown(f"{disk.name}/{what}", course))
            yield from (requests, requests * size, requests * latency_ns)
        allocation = np.minimum(self._values(f"{disk.name}/allocation", disk.allocation), disk.capacity)
        yield from (allocation, np.full(len(allocation), float(disk.capacity)), allocation)

    def _last_said(self) -> tuple[Floats, Floats, Floats]:
        """Return what its balloon driver said last: available and usable memory in KiB, and when that was, in s."""
        guest, usable = self._guest, self._available - self._used
        ends_s = (self._times_ms + self._step_ms) // 1000 // _BALLOON_S * _BALLOON_S
        is_silent = self._times_ms >= guest.speaks_until_ms
        if is_silent.any():
            last = np.array([guest.speaks_until_ms])
            used = guest.memory.expected(last, self._world.begin_ms)[0] / KIB
            usable = np.where(is_silent, np.maximum(self._available - used, self._available * _USABLE), usable)
        return self._available, usable, np.minimum(ends_s, guest.speaks_until_ms // 1000).astype(np.float64)

    def _values(self, what: str, course: Course) -> Floats:
        whose = f"{self._host.name}/{self._guest.uuid}/{what}"
        return course.values(self._times_ms, self._world.begin_ms, whose, self._world.seed)

    def _grown(self, what: str, course: Course) -> Floats:
        return self._values(what, course) * self._step_s

    def _hourly(self, course: Course) -> Floats:
        return course.expected(self._times_ms // 3_600_000 * 3_600_000, self._world.begin_ms)


class Survey:
    """The looks at what is no part of a tick: storage pools, and guests that are off."""

    collect = "survey"

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host
        self.subjects: Sequence[Subject] = [
            *(_pool_of(pool, host) for pool in host.pools),
            *(_sleeper_of(sleeper, host) for sleeper in host.sleepers),
        ]

    def told(self, times_ms: Ints, step_ms: int) -> list[Ints]:  # noqa: ARG002 - there are no counters
        """Return what the pools say, and what is known of each guest that is off."""
        return [
            *(self._pool_says(pool, times_ms) for pool in self._host.pools),
            *(_matrix([np.full(len(times_ms), said) for said in _sleeper_says(one)]) for one in self._host.sleepers),
        ]

    def _pool_says(self, pool: Pool, times_ms: Ints) -> Ints:
        whose = f"{self._host.name}/{pool.name}/allocation"
        values = pool.allocation.values(times_ms, self._world.begin_ms, whose, self._world.seed)
        allocation = np.rint(np.minimum(values, pool.capacity))
        count = len(times_ms)
        return _matrix(
            [np.full(count, ACTIVE_POOL), np.full(count, pool.capacity), allocation, pool.capacity - allocation]
        )


POOL_KEYS = ("pool.state", "pool.capacity", "pool.allocation", "pool.available")


def _pool_of(pool: Pool, host: Host) -> Subject:
    labels = (("type", pool.type), ("path", pool.path))
    return Subject(Kind.POOL, None, pool.name, POOL_KEYS, host.from_ms, host.until_ms, labels=labels)


def _sleeper_of(sleeper: Sleeper, host: Host) -> Subject:
    volumes = [key_of(field, name) for name, _, _ in sleeper.volumes for field in _VOLUME_FIELDS]
    disks = tuple((name, (("path", _image(sleeper.uuid, name)),)) for name, _, _ in sleeper.volumes)
    return Subject(
        Kind.GUEST,
        sleeper.uuid,
        sleeper.name,
        ("state.state", "state.reason", "vcpu.maximum", "balloon.maximum", *volumes),
        max(sleeper.from_ms, host.from_ms),
        min(sleeper.until_ms, host.until_ms),
        devices=disks,
    )


_VOLUME_FIELDS = ("volume.capacity", "volume.allocation")


def _sleeper_says(sleeper: Sleeper) -> list[int]:
    volumes = [size for _, capacity, allocation in sleeper.volumes for size in (capacity, allocation)]
    return [OFF, 1, sleeper.vcpus, sleeper.memory_kib, *volumes]


def _matrix(columns: Sequence[Floats | Ints]) -> Ints:
    matrix = np.empty((len(columns[0]), len(columns)), dtype=np.int64)
    for place, column in enumerate(columns):
        np.rint(column, out=matrix[:, place], casting="unsafe")
    return matrix


def streams_of(world: World, host: Host) -> list[Stream]:
    """Return a host's streams."""
    return [Ticks(world, host), Survey(world, host)] if host.pools or host.sleepers else [Ticks(world, host)]
