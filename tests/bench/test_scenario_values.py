"""What made-up hosts say: libvirt's parameters, in its units, and what the host says of its guests together."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.catalog import look_up
from domstat.model import split_key
from domstat_bench.scenario_courses import HOUR_MS, Course
from domstat_bench.scenario_values import HOST_KEYS, POOL_KEYS, Survey, Ticks, guest_keys, streams_of
from domstat_bench.scenario_world import GIB, KIB, Disk, Guest, Host, Pool, Sleeper, World

BEGIN_MS, STEP_MS = 1_795_392_000_000, 300_000
TIMES = np.arange(BEGIN_MS, BEGIN_MS + 2 * HOUR_MS, STEP_MS)


def guest(**changes: object) -> Guest:
    about = {
        "uuid": "3d9e0f52-71aa-4c0b-9d7e-000000000001", "name": "web-1", "cores": Course(level=1.5),
        "memory": Course(level=1.0 * GIB), "steal": Course(level=0.1), "rx": Course(level=1000.0),
        "disks": (Disk(reads=Course(level=10.0), latency=Course(level=0.002)),),
    }  # fmt: skip
    return Guest(**{**about, **changes})  # type: ignore[arg-type]


def world(*guests: Guest, **host: object) -> World:
    made = Host(name="kvm1", cpus=8, guests=guests, own_cores=Course(level=0.5), **host)  # type: ignore[arg-type]
    return World(begin_ms=BEGIN_MS, end_ms=BEGIN_MS + 2 * HOUR_MS, hosts=(made,))


def said(of: World, number: int = 1) -> dict[str, np.ndarray]:
    stream = Ticks(of, of.hosts[0])
    return dict(zip(stream.subjects[number].keys, stream.told(TIMES, STEP_MS)[number].T, strict=True))


def test_the_catalogue_knows_every_field() -> None:
    keys = (*HOST_KEYS, *POOL_KEYS, *guest_keys(guest()))
    assert [key for key in keys if not look_up(split_key(key)[0]).known] == []
    assert len(guest_keys(guest())) == 27


def test_counters_grow_by_what_is_used_in_a_step() -> None:
    values = said(world(guest()))
    assert set(values["cpu.time"].tolist()) == {450_000_000_000}
    assert set(values["vcpu.delay[1]"].tolist()) == {30_000_000_000}
    assert set(values["block.rd.reqs[vda]"].tolist()) == {3000}
    assert set(values["block.rd.times[vda]"].tolist()) == {6_000_000_000}


def test_no_guest_is_busier_than_its_vcpus_and_no_host_than_its_cpus() -> None:
    crowd = tuple(guest(uuid=f"{i}", cores=Course(level=9.0), vcpus=4) for i in range(3))
    assert set(said(world(*crowd))["cpu.time"].tolist()) == {4 * 300 * 10**9}
    host = said(world(*crowd), 0)
    busy = host["host.cpu.user"] + host["host.cpu.kernel"]
    assert set(busy.tolist()) == {8 * 300 * 10**9}
    assert set((host["host.cpu.idle"] + host["host.cpu.iowait"]).tolist()) == {0}


def test_a_host_is_as_busy_as_itself_and_the_guests_that_are_there() -> None:
    later = guest(uuid="2", from_ms=BEGIN_MS + HOUR_MS)
    host = said(world(guest(), later), 0)
    busy = (host["host.cpu.user"] + host["host.cpu.kernel"]) / 300e9
    assert busy[0] == pytest.approx(2.0)
    assert busy[-1] == pytest.approx(3.5)
    used = (host["host.memory.total"] - host["host.memory.available"]) * KIB / GIB
    assert used[0] == pytest.approx(4 + 1.15 + 200 / 1024, rel=1e-3)
    assert used[-1] == pytest.approx(4 + 2 * (1.15 + 200 / 1024), rel=1e-3)


def test_memory_is_used_as_the_guest_says_until_its_driver_falls_silent() -> None:
    at_ms = BEGIN_MS + HOUR_MS
    values = said(world(guest(memory=Course(level=1.0 * GIB, growth=240.0 * GIB), speaks_until_ms=at_ms)))
    used = (values["balloon.available"] - values["balloon.usable"]) * KIB / GIB
    assert used[0] == pytest.approx(1.0)
    assert set(values["balloon.last-update"][12:].tolist()) == {at_ms // 1000}
    assert np.ptp(values["balloon.usable"][12:]) == 0
    assert np.ptp(values["balloon.usable"][:12]) > 0


def test_a_driver_that_never_spoke_has_no_update() -> None:
    assert set(said(world(guest(speaks_until_ms=0)))["balloon.last-update"].tolist()) == {0}


def test_a_thin_disk_never_outgrows_its_capacity() -> None:
    disk = Disk(capacity=4 * GIB, allocation=Course(level=3.9 * GIB, growth=100.0 * GIB))
    values = said(world(guest(disks=(disk,))))
    assert values["block.allocation[vda]"].max() == 4 * GIB
    assert values["block.allocation[vda]"].min() < 4 * GIB


def test_a_survey_tells_of_pools_and_of_what_guests_that_are_off_hold() -> None:
    pool, off = Pool(capacity=100, allocation=Course(level=30.0)), Sleeper(uuid="9", name="old-1")
    of = world(guest(), pools=(pool,), sleepers=(off,))
    stream = Survey(of, of.hosts[0])
    its_pool, its_sleeper = stream.told(TIMES, STEP_MS)
    assert its_pool[0].tolist() == [2, 100, 30, 70]
    assert dict(zip(stream.subjects[1].keys, its_sleeper[0].tolist(), strict=True)) == {
        "state.state": 5, "state.reason": 1, "vcpu.maximum": 2, "balloon.maximum": 4 * GIB // KIB,
        "volume.capacity[vda]": 40 * GIB, "volume.allocation[vda]": 10 * GIB,
    }  # fmt: skip
    assert [one.collect for one in streams_of(of, of.hosts[0])] == ["default", "survey"]


def test_a_host_without_pools_and_sleepers_has_one_stream() -> None:
    of = world(guest())
    assert [one.collect for one in streams_of(of, of.hosts[0])] == ["default"]
