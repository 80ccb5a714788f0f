"""Records and batches as a KVM host gives them, for tests: a guest with 2 vCPUs, 2 disks and 2 NICs.

The figures are one guest's under a little load: 71 parameters, and the rates and derived values that domstat's own
functions make of two samples ten seconds apart. Beside the guest there is one of everything else that a record can be
about: its host, a pool, a guest that is off, an event, a gap, the agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domstat.derive import Derivation, derive
from domstat.model import Batch, Domain, Event, Figures, Gap, Kind, Moment, Partial, Pool, Record, Stamp, Value
from domstat.rates import Shape, advance

HOST = "kvm1"
COLLECT = "default"
UUID = "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a11"
SLEEPER_UUID = "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a99"
TIME_MS = 1_795_385_704_123  # 2026-11-22T22:15:04.123Z
INTERVAL_MS = 10_000
MACS = ("52:54:00:aa:bb:01", "52:54:00:aa:bb:02")
DISKS = ("vda", "vdb")
GIB_IN_KIB = 1 << 20


def _vcpu(number: int) -> dict[str, tuple[Value, int]]:
    return {
        f"vcpu.state[{number}]": (1, 0),
        f"vcpu.time[{number}]": (41_230_000_000_000 + number, 250_000_000),
        f"vcpu.wait[{number}]": (120_000_000, 0),
        f"vcpu.delay[{number}]": (93_112_458_771, 10_000_000 * (number + 1)),
        f"vcpu.halted[{number}]": (False, 0),
    }


def _net(mac: str) -> dict[str, tuple[Value, int]]:
    counted = {"bytes": (9_134_225_871, 1_048_576), "pkts": (12_331_902, 900), "errs": (0, 0), "drop": (17, 0)}
    return {f"net.{way}.{what}[{mac}]": both for way in ("rx", "tx") for what, both in counted.items()}


def _block(disk: str) -> dict[str, tuple[Value, int]]:
    counted = {
        "rd.reqs": (812_345, 40),
        "rd.bytes": (33_012_219_904, 2_097_152),
        "rd.times": (402_118_223_914, 20_000_000),
        "wr.reqs": (5_120_777, 100),
        "wr.bytes": (88_019_120_128, 4_194_304),
        "wr.times": (9_811_003_123_555, 150_000_000),
        "fl.reqs": (612_004, 10),
        "fl.times": (733_120_445_120, 5_000_000),
        "allocation": (21_474_836_480, 0),
        "capacity": (42_949_672_960, 0),
        "physical": (21_478_375_424, 0),
    }
    return {f"block.{what}[{disk}]": both for what, both in counted.items()}


# Each parameter's value, and by how much it grows in a second, both in libvirt's units.
_GUEST: dict[str, tuple[Value, int]] = {
    "state.state": (1, 0),
    "state.reason": (1, 0),
    "cpu.time": (86_400_123_456_789, 500_000_000),
    "cpu.user": (5_130_000_000_000, 50_000_000),
    "cpu.system": (9_870_000_000_000, 100_000_000),
    "cpu.haltpoll.success.time": (3_123_456_789, 1_000_000),
    "cpu.haltpoll.fail.time": (8_123_456_789, 2_000_000),
    "balloon.current": (4 * GIB_IN_KIB, 0),
    "balloon.maximum": (8 * GIB_IN_KIB, 0),
    "balloon.swap_in": (0, 0),
    "balloon.swap_out": (1_204, 4),
    "balloon.major_fault": (90_112, 1),
    "balloon.minor_fault": (77_120_331, 800),
    "balloon.unused": (GIB_IN_KIB // 2, 0),
    "balloon.available": (4 * GIB_IN_KIB - 102_400, 0),
    "balloon.usable": (2 * GIB_IN_KIB, 0),
    "balloon.last-update": (TIME_MS // 1000 - 2, 0),
    "balloon.disk_caches": (GIB_IN_KIB, 0),
    "balloon.hugetlb_pgalloc": (0, 0),
    "balloon.hugetlb_pgfail": (0, 0),
    "balloon.rss": (3 * GIB_IN_KIB, 0),
    "vcpu.current": (2, 0),
    "vcpu.maximum": (4, 0),
    **_vcpu(0),
    **_vcpu(1),
    "net.count": (2, 0),
    **_net(MACS[0]),
    **_net(MACS[1]),
    "block.count": (2, 0),
    **_block(DISKS[0]),
    **_block(DISKS[1]),
}


def guest_params(without: tuple[str, ...] = ()) -> dict[str, Value]:
    """Return the parameters of the guest, but those whose keys begin with one of *without*."""
    return {key: value for key, (value, _) in _GUEST.items() if not key.startswith(without or "\0")}


def _params_before(params: Mapping[str, Value]) -> dict[str, Value]:
    seconds = INTERVAL_MS // 1000
    growth = {key: _GUEST[key][1] * seconds if key in _GUEST else 0 for key in params}
    return {
        key: value - growth[key] if isinstance(value, int) and growth[key] else value for key, value in params.items()
    }


def guest_record(
    name: str = "web-1",
    *,
    uuid: str = UUID,
    id: int | None = 3,  # noqa: A002 - libvirt's word
    host: str = HOST,
    collect: str = COLLECT,
    time_ms: int = TIME_MS,
    params: Mapping[str, Value] | None = None,
    extra: Mapping[str, Value] | None = None,
    without: tuple[str, ...] = (),
    first: bool = False,
    partial: Partial | None = None,
    **more: Any,
) -> Record:
    """Make a guest's record.

    *params* replaces the parameters, *extra* adds to or changes them, *without* takes away those whose keys begin so;
    rates and derived values follow from what is left. *first* makes it the guest's first record, without rates.
    *more* are attributes of Record (rates, derived, labels …) that shall be as given.
    """
    taken = {**(guest_params(without) if params is None else params), **(extra or {})}
    rates: dict[str, float] = more.get("rates", {})
    if not first and "rates" not in more:
        shape = Shape(tuple(taken))
        before = Moment(time_ms - INTERVAL_MS, 0, "boot")
        now = Moment(time_ms, INTERVAL_MS * 1_000_000, "boot")
        _, baseline = advance(None, shape, _params_before(taken), before, id)
        rates, _ = advance(baseline, shape, taken, now, id)
    more.pop("rates", None)
    derived = more.pop("derived") if "derived" in more else derive(Derivation(tuple(taken)), taken, rates, time_ms)
    attributes: dict[str, Any] = {"interval_s": None if first else INTERVAL_MS / 1000}
    return Record(
        kind=Kind.GUEST,
        host=host,
        collect=collect,
        time_ms=time_ms,
        domain=Domain(uuid, name, id),
        partial=partial,
        figures=Figures(taken, rates, derived),
        **(attributes | more),
    )


def other_record(
    kind: Kind, *, host: str = HOST, collect: str = COLLECT, time_ms: int = TIME_MS, **more: Any
) -> Record:
    """Make a record that is not an ordinary guest's; *more* are its params, rates, derived and attributes of Record."""
    figures = Figures(*(more.pop(part, {}) for part in ("params", "rates", "derived")))
    return Record(kind=kind, host=host, collect=collect, time_ms=time_ms, figures=figures, **more)


def event_record(type: str = "started", reason: str | None = "booted", **more: Any) -> Record:  # noqa: A002
    """Make the record of an event, by default the guest's start; *device* and *domain* may be given."""
    device = more.pop("device", None)
    domain = more.pop("domain", Domain(UUID, "web-1", 3))
    return other_record(Kind.EVENT, event=Event(type, reason, device), domain=domain, **more)


def gap_record(reason: str = "libvirtd did not answer", lasted_ms: int = 30_000, **more: Any) -> Record:
    """Make the record of a gap that ended with this tick."""
    time_ms = more.get("time_ms", TIME_MS)
    return other_record(Kind.GAP, gap=Gap(time_ms - lasted_ms, time_ms, reason), **more)


def pool_record(name: str = "images", **more: Any) -> Record:
    """Make a storage pool's record: four fifths of a TiB are taken; *extra* adds to or changes the parameters."""
    params = {
        "pool.state": 2,
        "pool.capacity": 1_099_511_627_776,
        "pool.allocation": 879_609_302_221,
        "pool.available": 219_902_325_555,
        **more.pop("extra", {}),
    }
    figures: dict[str, Any] = {"params": params, "derived": {"pool.age": 0.0}}
    return other_record(Kind.POOL, pool=Pool(name), **(figures | more))


def sleeper_record(name: str = "old-1", *, uuid: str = SLEEPER_UUID, **more: Any) -> Record:
    """Make the record of a guest that is off; *extra* adds to or changes the parameters."""
    params: dict[str, Value] = {
        "state.state": 5,
        "state.reason": 1,
        "vcpu.maximum": 2,
        "balloon.maximum": 4 * GIB_IN_KIB,
        "volume.capacity[vda]": 42_949_672_960,
        "volume.allocation[vda]": 8_589_934_592,
        **more.pop("extra", {}),
    }
    return other_record(Kind.GUEST, domain=Domain(uuid, name), **({"params": params} | more))


# Each parameter's value, and by how much it grows in a second, both in libvirt's units: 16 CPUs, a quarter busy.
_HOST: dict[str, tuple[Value, int]] = {
    "host.cpu.user": (812_000_000_000_000, 3_000_000_000),
    "host.cpu.kernel": (231_000_000_000_000, 1_000_000_000),
    "host.cpu.idle": (9_650_000_000_000_000, 12_000_000_000),
    "host.cpu.iowait": (12_000_000_000_000, 0),
    "host.memory.total": (64 * GIB_IN_KIB, 0),
    "host.memory.free": (8 * GIB_IN_KIB, 0),
    "host.memory.buffers": (GIB_IN_KIB, 0),
    "host.memory.cached": (16 * GIB_IN_KIB, 0),
    "host.memory.available": (24 * GIB_IN_KIB, 0),
    "host.cpus": (16, 0),
    "host.version.libvirt": ("9.0.0", 0),
    "host.version.hypervisor": ("QEMU 7.2.22", 0),
}


def host_record(*, first: bool = False, without: tuple[str, ...] = (), **more: Any) -> Record:
    """Make the host's own record; *first* makes it the first, without rates, *without* takes parameters away."""
    params = {key: value for key, (value, _) in _HOST.items() if not key.startswith(without or "\0")}
    rates = {} if first else {key: growth / 1e9 for key, (_, growth) in _HOST.items() if key.startswith("host.cpu.")}
    derived = {"host.memory.used": float(40 * GIB_IN_KIB * 1024)}
    if not first:
        derived["host.cpu.utilization"] = 0.25
    figures: dict[str, Any] = {
        "params": params,
        "rates": rates,
        "derived": derived,
        "interval_s": None if first else INTERVAL_MS / 1000,
    }
    return other_record(Kind.HOST, **(figures | more))


def agent_record(**more: Any) -> Record:
    """Make the record of what the agent says of itself; *extra* adds to or changes the parameters."""
    params: dict[str, Value] = {
        "agent.call.time": 12_000_000,
        "agent.lateness": -1_000_000,
        "agent.calls": 1,
        "agent.guests": 20,
        "agent.partial": 0,
        "agent.quarantined": 0,
        "agent.skipped": 3,
        "agent.failed": 0,
        "agent.workers_killed": 0,
        "agent.reconnects": 1,
        "agent.clock_steps": 0,
        **more.pop("extra", {}),
    }
    figures: dict[str, Any] = {
        "params": params,
        "rates": {"agent.skipped": 0.1, "agent.failed": 0.0},
        "interval_s": INTERVAL_MS / 1000,
    }
    return other_record(Kind.AGENT, **(figures | more))


def one_of_each() -> dict[Kind, Record]:
    """Make a record of every kind."""
    return {
        Kind.HOST: host_record(),
        Kind.GUEST: guest_record(),
        Kind.POOL: pool_record(),
        Kind.EVENT: event_record(collect="events"),
        Kind.GAP: gap_record(),
        Kind.AGENT: agent_record(),
    }


def batch(
    *records: Record,
    host: str = HOST,
    collect: str = COLLECT,
    time_ms: int = TIME_MS,
    call_ms: int = 12,
) -> Batch:
    """Make a batch of *records*, by default of the one guest's."""
    stamp = Stamp(time_ms, 1_234_567_000_000, "5b1c7a7e-7d4b-4d0e-9a0e-0a6f2a3f6a10", call_ms * 1_000_000)
    return Batch(host=host, collect=collect, stamp=stamp, records=records or (guest_record(),))
