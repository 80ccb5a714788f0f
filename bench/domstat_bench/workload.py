"""Made-up guests over time: 52 integers each, every ten seconds, as libvirt would give them.

Vectorised and pure: the same seed makes the same values. An hour is made at a time, so that memory stays bounded
(200 guests: about 30 MB of values); the hours of a workload come in their order::

    for hour in Workload(200).hours(168):
        hour.values[AT["cpu.time"], 7]      # one guest's column: an int64 for each tick
        hour.ticks.time_ms                  # the stamps, shared by all guests
        hour.incarnations[7]                # libvirt's domain ids, -1 for a guest that is off

What is related here is related in libvirt too, and no closer: cpu.time is user and system together, but for the
microsecond that cutting off each of the three leaves; the vCPUs' times are cpu.time without what QEMU's own threads
take, in clock ticks of 10 ms; waiting and delay are the same queue, counted by two clocks; bytes are the sizes of so
many packets or requests.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from domstat_bench.workload_drive import Clock, Drive, Driver, Floats, Ints, Ticks, Traits
from domstat_bench.workload_kinds import AT, COUNTERS, FIELDS, kind_names

SEED = 5
BEGIN_MS = 1_704_067_200_000
"""Monday 2024-01-01, 00:00 UTC."""

VCPUS = 2
_PAGE = 4096
_PAGE_KIB = _PAGE // 1024
_CLUSTER = 65_536
_GIB = 1 << 30
_GIB_IN_KIB = 1 << 20
_STATE_OFF, _RUNNING = 5, 1
_BALLOON_S = 10.003
"""How often a guest says how its memory is, by a clock of its own."""
_GRANULES = {
    "cpu.time": 1000, "cpu.user": 1000, "cpu.system": 1000,
    "vcpu.time[0]": 10**7, "vcpu.time[1]": 10**7, "vcpu.wait[0]": 10**7, "vcpu.wait[1]": 10**7,
}  # fmt: skip
"""What is cut off in these, in nanoseconds: cgroups count in microseconds, /proc in clock ticks."""
_ALIVE = np.array([AT[field] for field in COUNTERS])
_UPTIME_DAYS = (1.0, 60.0)
"""How long guests had been up when it all begins."""


class Hour(Struct, frozen=True):
    """An hour of all guests: *values* by field (see FIELDS), guest and tick; *incarnations* by guest and tick."""

    number: int
    ticks: Ticks
    values: Ints
    incarnations: Ints

    @property
    def samples(self) -> int:
        """How many values these are."""
        return int(self.values.size)


class Workload:
    """So many guests from *begin_ms* on, the beginning of a Monday (UTC)."""

    def __init__(self, guests: int, *, seed: int = SEED, begin_ms: int = BEGIN_MS) -> None:
        self.guests, self.seed, self.begin_ms = guests, seed, begin_ms

    @property
    def kinds(self) -> list[str]:
        """The kind of each guest."""
        return kind_names(self.guests)

    def hours(self, count: int) -> Iterator[Hour]:
        """Make the first *count* hours; the same ones every time."""
        rng = np.random.default_rng(self.seed)
        traits = Traits(self.guests)
        clock, driver = Clock(rng, self.guests, self.begin_ms), Driver(rng, self.guests, traits)
        guests = _Guests(rng, traits, self.guests)
        for number in range(count):
            ticks = clock.hour(number)
            yield guests.hour(number, ticks, driver.hour(ticks))


class _Guests:
    """The guests' counters and gauges, as they stand."""

    def __init__(self, rng: np.random.Generator, traits: Traits, guests: int) -> None:
        self._rng, self._traits, self._guests = rng, traits, guests
        self._lives = traits["wakeups"] > 0
        self._counted = np.zeros((len(COUNTERS), guests), dtype=np.int64)
        self._uptime_s = rng.uniform(*_UPTIME_DAYS, guests) * 86_400
        self._memory = 4 * _GIB_IN_KIB << rng.integers(0, 3, (guests, 1))
        self._capacity = 40 * _GIB << rng.integers(0, 3, (guests, 1))
        self._grows = rng.random((guests, 1)) < 0.6
        self._image = np.where(self._grows, self._capacity // 4 // _CLUSTER * _CLUSTER, self._capacity)
        self._swaps = (rng.random((guests, 1)) < 0.1) & (traits["faults"] > 100)
        self._balloon_s = rng.uniform(0, _BALLOON_S, (guests, 1))
        self._rss = self._memory // _PAGE_KIB * 9 // 10
        self._incarnation = np.where(self._lives[:, 0], np.arange(1, guests + 1), -1)
        self._next_id = guests + 1
        self._ticks = 0

    def hour(self, number: int, ticks: Ticks, drive: Drive) -> Hour:
        """Go on by an hour."""
        self._ticks = len(ticks.time_ms)
        values = np.zeros((len(FIELDS), self._guests, self._ticks), dtype=np.int64)
        grown = self._counters(ticks, drive)
        self._add_up(values, grown, drive)
        self._gauges(values, ticks, drive)
        return Hour(number, ticks, values, self._incarnations(drive))

    def _add_up(self, values: Ints, grown: dict[str, Floats], drive: Drive) -> None:
        """Fill in the counters, which begin anew where a guest does, and cut off what libvirt does not see."""
        if self._uptime_s.any():
            begun = {field: np.rint(each.mean(axis=1) / 10 * self._uptime_s) for field, each in grown.items()}
            self._counted[:] = [begun[field] if field in begun else np.zeros(self._guests) for field in COUNTERS]
            self._uptime_s[:] = 0
        for i, field in enumerate(COUNTERS):
            if field in grown:
                values[AT[field]] = np.cumsum(np.rint(grown[field]), axis=1, dtype=np.float64).astype(np.int64)
            values[AT[field]] += self._counted[i][:, None]
        for guest, tick in np.argwhere(drive.restarted):
            before = values[_ALIVE, guest, tick - 1] if tick else self._counted[:, guest]
            values[_ALIVE, guest, tick:] -= before[:, None]
        self._counted = values[_ALIVE, :, -1].copy()
        values[AT["cpu.user"]] = values[AT["cpu.time"]] - values[AT["cpu.system"]]
        for field, granule in _GRANULES.items():
            values[AT[field]] -= values[AT[field]] % granule
        for field in ("balloon.swap_in", "balloon.swap_out"):
            values[AT[field]] *= _PAGE_KIB
        for field in ("block.rd.bytes[vda]", "block.wr.bytes[vda]"):
            values[AT[field]] *= _PAGE

    def _counters(self, ticks: Ticks, drive: Drive) -> dict[str, Floats]:
        """Return by how much each counter grows in each tick, disk bytes in pages."""
        load = drive.pace * ticks.since_s
        grown = self._net(load, drive) | self._disk(load, drive) | self._memory_counters(load, drive)
        return grown | self._cpu(ticks, drive, grown)

    def _cpu(self, ticks: Ticks, drive: Drive, grown: dict[str, Floats]) -> dict[str, Floats]:
        """Return nanoseconds of CPU and of waiting for it."""
        traits, wander, since_s = self._traits, drive.wander, ticks.since_s
        busy_s = np.minimum(traits["cores"] * drive.pace * self._noise(traits["steady"]), 1.96) * since_s
        share = np.clip(0.5 + 0.06 * wander["split"] + self._normal(0.03), 0.05, 0.95)
        first = np.minimum(busy_s * share, since_s * 0.995)
        second = np.minimum(busy_s - first, since_s * 0.995)
        packets = grown["net.rx.pkts[nic]"] + grown["net.tx.pkts[nic]"]
        requests = grown["block.rd.reqs[vda]"] + grown["block.wr.reqs[vda]"]
        qemu = (8e-4 * since_s * self._lives + packets * 2.5e-6 + requests * 22e-6) * self._noise(0.08)
        system = (first + second) * traits["system"] * np.exp(0.1 * wander["system"]) * self._noise(0.06) + 0.8 * qemu
        total = first + second + qemu
        idle = np.clip(1 - busy_s / since_s / VCPUS, 0.02, 1)
        woken = (traits["wakeups"] * since_s + 0.3 * packets + requests) * idle * self._noise(0.05)
        polls = np.exp(0.15 * wander["haltpoll"])
        crowd = np.exp(0.5 * wander["contention"])
        grown_ns = {
            "cpu.time": total * 1e9,
            "cpu.system": np.minimum(system, total) * 1e9,
            "cpu.haltpoll.success.time": woken * polls * 14e3 * self._noise(0.05),
            "cpu.haltpoll.fail.time": woken / polls * 48e3 * self._noise(0.05),
        }
        for vcpu, spent in enumerate((first, second)):
            delay = (spent * 0.006 * crowd + woken * 1.5e-6) * self._noise(0.15) * 1e9
            grown_ns[f"vcpu.time[{vcpu}]"] = spent * 1e9
            grown_ns[f"vcpu.delay[{vcpu}]"] = delay
            grown_ns[f"vcpu.wait[{vcpu}]"] = delay * np.exp(0.1 * wander["waiting"]) * self._noise(0.15)
        return grown_ns

    def _net(self, load: Floats, drive: Drive) -> dict[str, Floats]:
        grown = {}
        for way in ("rx", "tx"):
            size = self._traits[f"{way}_size"]
            packets = self._count(self._traits[way] * load * self._noise(0.06))
            each = size * np.exp(0.15 * drive.wander[f"{way}_size"])
            octets = packets * each + np.sqrt(packets) * size * self._normal(0.9)
            grown[f"net.{way}.pkts[nic]"] = packets
            grown[f"net.{way}.bytes[nic]"] = np.maximum(octets, packets * 42)
        grown["net.rx.drop[nic]"] = self._count(2e-8 * self._traits["rx"] * load**2)
        return grown

    def _disk(self, load: Floats, drive: Drive) -> dict[str, Floats]:
        grown = {}
        for way in ("rd", "wr"):
            pages = self._traits[f"{way}_pages"]
            requests = self._count(self._traits[way] * load * self._noise(0.1))
            each = pages * np.exp(0.15 * drive.wander[f"{way}_pages"])
            moved = requests * each + np.sqrt(requests) * pages * self._normal(0.8)
            took = self._traits[f"{way}_ms"] * 1e6 * np.exp(0.3 * drive.wander[f"{way}_ms"])
            grown[f"block.{way}.reqs[vda]"] = requests
            grown[f"block.{way}.bytes[vda]"] = np.maximum(moved, requests)
            grown[f"block.{way}.times[vda]"] = self._times(requests, took)
        flushes = self._count(grown["block.wr.reqs[vda]"] * self._traits["flushes"])
        took = self._traits["wr_ms"] * 2e6 * np.exp(0.3 * drive.wander["wr_ms"])
        return grown | {"block.fl.reqs[vda]": flushes, "block.fl.times[vda]": self._times(flushes, took)}

    def _times(self, requests: Floats, took_ns: Floats) -> Floats:
        """Return how long so many requests took together, each in its own time."""
        spread = np.sqrt(np.maximum(requests, 1))
        together: Floats = requests * took_ns * np.maximum(1 + self._normal(1.2) / spread, 0.1)
        return together

    def _memory_counters(self, load: Floats, drive: Drive) -> dict[str, Floats]:
        faults = self._traits["faults"] * load * np.exp(0.2 * drive.wander["faults"])
        short = self._swaps * np.maximum(drive.wander["faults"] - 1.5, 0)
        return {
            "balloon.minor_fault": faults * self._noise(0.15),
            "balloon.major_fault": self._count(2e-4 * self._traits["faults"] * load),
            "balloon.swap_in": self._count(40 * short * load),
            "balloon.swap_out": self._count(60 * short * load),
        }

    def _gauges(self, values: Ints, ticks: Ticks, drive: Drive) -> None:
        """Fill in what stands still or goes up and down."""
        lives = self._lives
        values[AT["state.state"]] = np.where(lives, _RUNNING, _STATE_OFF)
        values[AT["state.reason"]] = values[AT["net.count"]] = values[AT["block.count"]] = 1
        values[AT["vcpu.current"]] = values[AT["vcpu.maximum"]] = VCPUS
        values[AT["vcpu.state[0]"]] = values[AT["vcpu.state[1]"]] = lives
        values[AT["balloon.current"]] = values[AT["balloon.maximum"]] = self._memory
        values[AT["balloon.available"]] = self._memory - 102_400
        values[AT["block.capacity[vda]"]] = self._capacity
        self._image_size(values, ticks, drive)
        self._guest_memory(values, ticks, drive)

    def _image_size(self, values: Ints, ticks: Ticks, drive: Drive) -> None:
        clusters = self._count(self._traits["clusters"] * drive.pace * ticks.since_s) * self._grows
        size = np.minimum(self._image + np.cumsum(clusters, axis=1).astype(np.int64) * _CLUSTER, self._capacity)
        values[AT["block.allocation[vda]"]] = values[AT["block.physical[vda]"]] = size
        self._image = size[:, -1:]

    def _guest_memory(self, values: Ints, ticks: Ticks, drive: Drive) -> None:
        """Fill in what the guest says of its memory, in pages of 4 KiB, and QEMU's own."""
        pages, walk = self._memory // _PAGE_KIB, drive.walk
        step = self._traits["churn"]
        unused = np.maximum(pages // 6 + np.rint(walk["unused"] * step).astype(np.int64), 2048)
        caches = np.maximum(pages // 4 + np.rint(walk["caches"] * step).astype(np.int64), 1024)
        slab = np.rint(walk["slab"] * step / 6).astype(np.int64)
        steps = np.where(self._rng.random(drive.pace.shape) < 0.15 * self._lives, self._normal(6.0), 0.0)
        rss = self._rss + np.cumsum(np.rint(steps), axis=1).astype(np.int64)
        self._rss = rss[:, -1:]
        values[AT["balloon.unused"]] = unused * _PAGE_KIB
        values[AT["balloon.disk_caches"]] = caches * _PAGE_KIB
        values[AT["balloon.usable"]] = np.maximum(unused + caches * 9 // 10 + slab - 8192, 1024) * _PAGE_KIB
        values[AT["balloon.rss"]] = np.maximum(rss, 1024) * _PAGE_KIB
        spoken = (ticks.time_ms / 1000 - self._balloon_s) // _BALLOON_S * _BALLOON_S + self._balloon_s
        values[AT["balloon.last-update"]] = np.where(self._lives, spoken, 0).astype(np.int64)

    def _incarnations(self, drive: Drive) -> Ints:
        """Give every guest that begins anew the next number, as libvirt does."""
        found = np.repeat(self._incarnation[:, None], drive.pace.shape[1], axis=1)
        for tick, guest in np.argwhere(drive.restarted.T):
            found[guest, tick:] = self._next_id
            self._next_id += 1
        self._incarnation = found[:, -1].copy()
        return found

    def _normal(self, deviation: float | Floats) -> Floats:
        """Draw for every guest and tick of this hour."""
        drawn: Floats = deviation * self._rng.standard_normal((self._guests, self._ticks))
        return drawn

    def _noise(self, deviation: float | Floats) -> Floats:
        """Draw factors about 1."""
        return np.exp(self._normal(deviation))

    def _count(self, expected: Floats) -> Floats:
        """Draw how often something happens that is expected so often."""
        return self._rng.poisson(expected).astype(np.float64)
