"""Thirty hours of two hosts, tick by tick: small enough that every answer can be worked out from the samples.

There is something of everything: a guest that is started anew, a hole in what was seen, a guest that goes off, one that
is off all along, one that is idle and two whose CPUs alone are, one that takes most of its host while another waits, a
slow disk, a guest that swaps (once for too short a time to count), a balloon driver that is silent and one that never
spoke, pools.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

from domstat.model import Batch, Domain, Event, Figures, Kind, Pool, Record, Stamp, Value

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
BEGIN_MS = 1_795_392_000_000 + 3 * HOUR_MS
"""Monday 2026-11-23, 03:00 UTC: neither the first day nor the last one is whole."""
HOURS = 30
NOW_MS = BEGIN_MS + HOURS * HOUR_MS
SURVEYED_EVERY = 5
"""Ticks from one survey to the next."""
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
NS = 1_000_000_000
CPUS = {"kvm1": 32, "kvm2": 24}
MEMORY = {"kvm1": 64 * GIB, "kvm2": 32 * GIB}
HOLE = (11.0, 12.2)
"""In these hours nobody looked at kvm1."""
RESTART_H, OFF_H = 7.0, 5.0
"""When web-1 is started anew, and old-2 goes off."""

Course: TypeAlias = Callable[[float], float]
"""What somebody does in a second, by hours since the beginning."""


def during(begin: float, end: float, inside: float, outside: float) -> Course:
    return lambda hour: inside if begin <= hour < end else outside


def always(value: float) -> Course:
    return lambda _hour: value


class Guest(Struct, frozen=True, kw_only=True):
    """A guest that runs: what it does, in base units; of its vCPUs each waits *steal*."""

    name: str
    host: str = "kvm1"
    vcpus: int = 2
    memory: int = 4 * GIB
    ballooned: int = 0
    cores: Course = always(0.5)
    used: Course = always(1.5 * GIB)
    steal: Course = always(0.003)
    swap: Course = always(0.0)
    faults: Course = always(0.5)
    net: Course = always(400_000.0)
    writes: Course = always(30.0)
    latency: Course = always(0.002)
    disks: tuple[str, ...] = ("vda",)
    spoke: Course = always(1.0)
    until_h: float = HOURS

    @property
    def uuid(self) -> str:
        """Its identity, made of its name."""
        return f"3d9e0f52-71aa-4c0b-9d7e-{int.from_bytes(self.name.encode()[:6], 'big'):012x}"


BULLYING = (20.0, 23.0)
GUESTS = (
    Guest(name="web-1", disks=("vda", "vdb"), cores=lambda hour: 0.6 + 0.02 * hour),
    Guest(name="bully-1", vcpus=12, memory=8 * GIB, cores=during(*BULLYING, 10.0, 1.0)),
    Guest(name="victim-1", cores=always(1.3), steal=during(*BULLYING, 0.3, 0.01)),
    Guest(name="idle-1", cores=always(0.02), net=always(900.0), writes=always(0.1), spoke=always(0.0), memory=2 * GIB),
    Guest(
        name="swap-1",
        swap=lambda hour: 3.0 * MIB * (24 <= hour < 25 or 28 <= hour < 28.2),
        ballooned=GIB,
        used=always(2.6 * GIB),
    ),
    Guest(name="slow-1", latency=during(26.0, 27.0, 0.08, 0.003), spoke=lambda hour: float(hour < 10)),
    Guest(name="copy-1", cores=always(0.02), net=always(900.0), writes=always(60.0)),
    Guest(name="relay-1", cores=always(0.02), net=always(900_000.0), writes=always(0.1)),
    Guest(name="db-1", host="kvm2", vcpus=4, memory=16 * GIB, cores=always(3.4), used=always(14 * GIB)),
    Guest(name="old-2", host="kvm2", until_h=OFF_H),
)
OFF = {"old-1": ("kvm1", 0.0), "old-2": ("kvm2", OFF_H)}
"""Guests that are off, where, and since when."""
POOLS = {"kvm1": ("images", 1024 * GIB, 2 * GIB), "kvm2": ("fast", 512 * GIB, GIB // 2)}
"""By host: a pool's name, its size, and what is added to it in an hour."""


class Sampler:
    """Counts up what guests and hosts do, with some chance in it."""

    def __init__(self) -> None:
        self._random = random.Random(31)
        self._counted: dict[tuple[str, str], float] = {}

    def about(self, value: float) -> float:
        return value * self._random.uniform(0.8, 1.2)

    def count(self, whose: str, key: str, a_minute: float) -> int:
        total = self._counted.get((whose, key), 0.0) + a_minute
        self._counted[whose, key] = total
        return int(total)

    def begin_anew(self, whose: str) -> None:
        self._counted = {key: value for key, value in self._counted.items() if key[0] != whose}

    def guest(self, guest: Guest, hour: float, time_ms: int) -> dict[str, Value]:
        """Return what a guest says after one more minute."""
        used, name = self.about(guest.used(hour)), guest.name
        current = guest.memory - guest.ballooned
        speaks = guest.spoke(hour) > 0
        spoke_ms = time_ms if speaks else BEGIN_MS + 10 * HOUR_MS if guest.spoke(0.0) else 0
        params: dict[str, Value] = {
            "state.state": 1,
            "cpu.time": self.count(name, "cpu.time", self.about(guest.cores(hour)) * 60 * NS),
            "vcpu.current": guest.vcpus,
            "vcpu.maximum": guest.vcpus,
            "balloon.current": current // KIB,
            "balloon.maximum": guest.memory // KIB,
            "balloon.rss": int(min(used * 1.15 + 200 * MIB, current)) // KIB,
            "balloon.last-update": spoke_ms // 1000,
            "balloon.swap_in": self.count(name, "swap_in", guest.swap(hour) * 60 / KIB),
            "balloon.swap_out": self.count(name, "swap_out", 0.5 * guest.swap(hour) * 60 / KIB),
            "balloon.major_fault": self.count(name, "faults", guest.faults(hour) * 60),
            "net.rx.bytes[eth0]": self.count(name, "rx", self.about(guest.net(hour)) * 60),
            "net.tx.bytes[eth0]": self.count(name, "tx", self.about(guest.net(hour)) * 30),
        }
        if spoke_ms:
            free = current - 100 * MIB - used if speaks else 2.0 * GIB
            params |= {"balloon.available": (current - 100 * MIB) // KIB, "balloon.usable": int(max(free, 0)) // KIB}
        for vcpu in range(guest.vcpus):
            waited = self.about(guest.steal(hour)) * 60 * NS
            params[f"vcpu.delay[{vcpu}]"] = self.count(name, f"delay{vcpu}", waited)
        for disk in guest.disks:
            params |= self._disk(guest, disk, hour)
        return params

    def _disk(self, guest: Guest, disk: str, hour: float) -> dict[str, Value]:
        requests = self.about(guest.writes(hour)) * 60
        took = requests * self.about(guest.latency(hour)) * NS
        counted = {
            "rd.reqs": requests / 3, "rd.bytes": requests / 3 * 16 * KIB, "rd.times": requests * 0.0005 * NS,
            "wr.reqs": requests, "wr.bytes": requests * 8 * KIB, "wr.times": took,
        }  # fmt: skip
        said: dict[str, Value] = {
            f"block.{of}[{disk}]": self.count(guest.name, f"{disk}.{of}", value) for of, value in counted.items()
        }
        sizes = {"capacity": 40 * GIB, "allocation": 10 * GIB + int(hour * 100) * MIB, "physical": 9 * GIB}
        return said | {f"block.{of}[{disk}]": size for of, size in sizes.items()}

    def host(self, host: str, cores: float, memory: float) -> dict[str, Value]:
        busy = self.about(cores + 0.3)
        spent = {"user": 0.8 * busy, "kernel": 0.2 * busy, "idle": CPUS[host] - busy}
        counted: dict[str, Value] = {
            f"host.cpu.{of}": self.count(host, of, share * 60 * NS) for of, share in spent.items()
        }
        total = MEMORY[host] // KIB
        available = total - int((memory + 4 * GIB) / KIB)
        return counted | {"host.cpus": CPUS[host], "host.memory.total": total, "host.memory.available": available}


def batches() -> Iterator[Batch]:
    """Give all ticks, in their order."""
    sampler = Sampler()
    for minute in range(HOURS * 60 + 1):
        hour, time_ms = minute / 60, BEGIN_MS + minute * MINUTE_MS
        for host in CPUS:
            batch = _batch(host, "default", time_ms, _ticked(sampler, host, hour, time_ms))
            if not (host == "kvm1" and HOLE[0] <= hour < HOLE[1]):
                yield batch
            if minute % SURVEYED_EVERY == 0:
                yield _batch(host, "survey", time_ms, tuple(_surveyed(host, hour, time_ms)))
        if hour == OFF_H:
            domain = Domain(GUESTS[-1].uuid, "old-2", 9)
            event = Record(
                kind=Kind.EVENT, host="kvm2", collect="events", time_ms=time_ms, domain=domain,
                event=Event("stopped", "shutdown"),
            )  # fmt: skip
            yield _batch("kvm2", "events", time_ms, (event,))


def _batch(host: str, collect: str, time_ms: int, records: tuple[Record, ...]) -> Batch:
    return Batch(
        host=host, collect=collect, stamp=Stamp(time_ms, (time_ms - BEGIN_MS) * 1_000_000, "boot", 0), records=records
    )


def _ticked(sampler: Sampler, host: str, hour: float, time_ms: int) -> tuple[Record, ...]:
    guests = [guest for guest in GUESTS if guest.host == host and hour < guest.until_h]
    if host == "kvm1" and hour == RESTART_H:
        sampler.begin_anew("web-1")
    said = {guest: sampler.guest(guest, hour, time_ms) for guest in guests}
    resident = sum(int(params["balloon.rss"]) * KIB for params in said.values())
    own = sampler.host(host, sum(guest.cores(hour) for guest in guests), resident)
    return (
        Record(kind=Kind.HOST, host=host, collect="default", time_ms=time_ms, figures=Figures(own)),
        *(
            Record(
                kind=Kind.GUEST, host=host, collect="default", time_ms=time_ms, figures=Figures(params),
                domain=Domain(guest.uuid, guest.name, 2 if guest.name == "web-1" and hour >= RESTART_H else 1),
            )
            for guest, params in said.items()
        ),
    )  # fmt: skip


def _surveyed(host: str, hour: float, time_ms: int) -> Iterator[Record]:
    name, capacity, grows = POOLS[host]
    held = capacity // 4 + int(hour * grows)
    params: dict[str, Value] = {
        "pool.state": 2, "pool.capacity": capacity, "pool.allocation": held, "pool.available": capacity - held
    }  # fmt: skip
    yield Record(kind=Kind.POOL, host=host, collect="survey", time_ms=time_ms, figures=Figures(params), pool=Pool(name))
    for sleeper, (where, since_h) in OFF.items():
        if where == host and hour >= since_h:
            sizes: dict[str, Value] = {
                "state.state": 5, "vcpu.maximum": 2, "balloon.maximum": 4 * GIB // KIB,
                "volume.capacity[vda]": 40 * GIB, "volume.allocation[vda]": 8 * GIB,
            }  # fmt: skip
            domain = Domain(Guest(name=sleeper).uuid, sleeper)
            yield Record(
                kind=Kind.GUEST, host=host, collect="survey", time_ms=time_ms, figures=Figures(sizes), domain=domain
            )
