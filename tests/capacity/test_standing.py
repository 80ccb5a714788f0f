"""How hosts stand: every figure against the plain computation of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from capacity import arithmetic
from capacity.fleets import HOURS, WAVES, T, asked, two_hosts
from capacity.made import GIB, Made
from domstat.capacity import standing, world
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.gather import Selection
from domstat.capacity.grid import FloatArray
from domstat.capacity.settings import Capacity
from domstat.capacity.standing import Standing

KVM1 = 16 * (0.3 + 0.2 * T / HOURS + WAVES)
KVM2 = 8 * (0.25 + WAVES)
WINDOW = 24 * 30


def by_place(
    made: Made, settings: Capacity | None = None, selection: Selection | None = None
) -> dict[tuple[str, Resource], Standing]:
    seen = world.observe(asked(made, settings, selection))
    return {(one.host, one.resource): one for one in standing.of(seen, with_all=world.are_several(seen))}


def p95(values: FloatArray) -> float:
    return float(sorted(values)[math.ceil(0.95 * len(values)) - 1])


def test_cpu_is_what_there_is_what_is_given_out_and_what_is_asked_for() -> None:
    one = by_place(two_hosts())["kvm1", Resource.CPU]
    assert one.total.value == 16
    assert one.usable.value == pytest.approx(12.8)
    assert (one.allocated.value, one.ratio.value) == (12, 0.75)
    assert one.room.value == 16 * 4 - 12
    assert one.now.value == pytest.approx(KVM1[-1])
    assert one.peak.value == pytest.approx(p95(KVM1[-WINDOW:]))
    assert one.coverage.value == 1.0


def test_what_remains_is_usable_capacity_without_the_projected_peak() -> None:
    one = by_place(two_hosts())["kvm1", Resource.CPU]
    assert one.runway is not None
    assert one.runway.projection is not None
    peak = one.runway.projection.high[:3].max()
    assert one.remaining.value == pytest.approx(12.8 - peak)
    assert peak == pytest.approx(p95(KVM1[-24:]), rel=0.05)


def test_memory_and_storage_stand_likewise() -> None:
    found = by_place(two_hosts())
    memory, storage = found["kvm1", Resource.MEMORY], found["kvm1", Resource.STORAGE]
    assert (memory.total.value, memory.allocated.value, memory.now.value) == (64 * GIB, 11 * GIB, 40 * GIB)
    assert memory.remaining.value == pytest.approx(0.8 * 64 * GIB - 40 * GIB)
    assert (storage.total.value, storage.usable.value) == (1000 * GIB, 800 * GIB)
    assert storage.allocated.value == (20 + 100 + 50) * GIB
    assert storage.now.value == pytest.approx(500 * GIB, rel=0.001)
    assert ("kvm2", Resource.STORAGE) not in found


def test_all_hosts_together_are_the_sum() -> None:
    found = by_place(two_hosts())
    cpu = found[ALL, Resource.CPU]
    assert (cpu.total.value, cpu.allocated.value) == (24, 14)
    assert cpu.now.value == pytest.approx(KVM1[-1] + KVM2[-1])
    assert cpu.peak.value == pytest.approx(p95((KVM1 + KVM2)[-WINDOW:]))
    assert found[ALL, Resource.STORAGE].total.value == 1000 * GIB


def test_a_pool_that_hosts_share_counts_once_in_all_of_them() -> None:
    made = two_hosts()
    for host in ("kvm1", "kvm2"):
        made.pool("nfs", {"pool.capacity": 500.0 * GIB, "pool.allocation": 100.0 * GIB}, host=host)
    found = by_place(made)
    assert found["kvm2", Resource.STORAGE].total.value == 500 * GIB
    assert found[ALL, Resource.STORAGE].total.value == 1500 * GIB


def test_guests_that_are_off_count_where_that_is_set() -> None:
    cpu = by_place(two_hosts(), Capacity(count_off=True))["kvm1", Resource.CPU]
    assert cpu.allocated.value == 14


def test_more_given_out_than_may_be_leaves_no_room() -> None:
    cpu = by_place(two_hosts(), Capacity(cpu_ratio=0.5))["kvm1", Resource.CPU]
    assert (cpu.room.value, cpu.ratio.value) == (0, 0.75)


def test_with_chosen_guests_only_these_count() -> None:
    found = by_place(two_hosts(), selection=Selection(guests=("web-*",)))
    cpu = found["kvm1", Resource.CPU]
    assert cpu.allocated.value == 4
    assert cpu.peak.value == pytest.approx(p95((2 + 10 * WAVES)[-WINDOW:]))


def test_a_young_history_remains_what_its_own_peak_leaves() -> None:
    made = Made(count=2)
    made.host("kvm1", {"host.cpus": 10, "host.cpu.utilization": 0.3})
    cpu = by_place(made)["kvm1", Resource.CPU]
    assert cpu.remaining.value == pytest.approx(8 - 3)
    assert "nothing can be projected yet" in cpu.remaining.note
    assert cpu.time_remaining.note.startswith("not enough history")


def test_of_a_host_that_vanished_nothing_is_said_to_remain() -> None:
    made = two_hosts()
    made.host("kvm0", {"host.cpus": np.full(24, 99.0), "host.cpu.utilization": np.full(24, 0.1)})
    found = by_place(made)
    assert found["kvm0", Resource.CPU].remaining.note.startswith("stale figures")
    assert found[ALL, Resource.CPU].total.value == 24


def test_every_explanation_is_right_by_its_own_inputs() -> None:
    found = by_place(two_hosts()).values()
    figures = [
        figure
        for one in found
        for figure in (one.usable, one.ratio, one.remaining, one.room, one.total, one.now, one.peak)
    ]
    assert arithmetic.check(figures) > 3 * len(found)
