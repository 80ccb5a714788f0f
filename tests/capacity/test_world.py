"""All that is reckoned with: what is observed, and what there is of it."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.fleets import DAYS, HOURS, asked, two_hosts
from capacity.made import GIB, Made
from domstat.capacity import world
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.grid import DAY_MS, FIVE_MINUTES_MS, HOUR_MS
from domstat.capacity.settings import Capacity


def test_a_world_has_the_window_in_five_minutes_the_past_in_hours_and_pools_in_days() -> None:
    seen = world.observe(asked(two_hosts()))
    assert seen.window["kvm1", Resource.CPU].grid.step_ms == FIVE_MINUTES_MS
    assert (seen.past["kvm1", Resource.CPU].grid.step_ms, seen.past["kvm1", Resource.CPU].grid.count) == (
        HOUR_MS,
        HOURS,
    )
    pool = seen.pools["kvm1", "images"]
    assert (pool.grid.step_ms, pool.grid.count) == (DAY_MS, DAYS)


def test_usable_is_the_total_without_the_buffer_of_that_resource() -> None:
    settings = Capacity(cpu_buffer=0.5, memory_buffer=0.25, storage_buffer=0.1)
    seen = world.observe(asked(two_hosts(), settings))
    assert world.usable_of(seen, "kvm1", Resource.CPU).value == 8
    assert world.usable_of(seen, "kvm1", Resource.MEMORY).value == 48 * GIB
    assert world.usable_of_pool(seen, seen.fleet.pools[0]).value == pytest.approx(900 * GIB)


def test_all_hosts_have_what_those_that_can_be_seen_have() -> None:
    made = two_hosts()
    made.host("kvm0", {"host.cpus": np.full(24, 99.0), "host.cpu.utilization": np.full(24, 0.5)})
    seen = world.observe(asked(made))
    assert world.total_of(seen, ALL, Resource.CPU).value == 24
    assert world.are_several(seen)


def test_of_a_host_without_records_the_total_is_not_known() -> None:
    made = Made(count=48)
    made.guest("web", {"cpu.cores": 1.0})
    seen = world.observe(asked(made))
    assert world.total_of(seen, "kvm1", Resource.MEMORY).note == "nothing is known of host.memory.total"
    assert not world.usable_of(seen, "kvm1", Resource.CPU).is_known
    assert not world.are_several(seen)
