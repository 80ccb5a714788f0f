"""Time remaining: the day on which something is full, or the sentence that says why there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from capacity import arithmetic
from capacity.fleets import DAYS, HOURS, WAVES, T, asked, two_hosts
from capacity.made import DAY_MS, GIB, GIB_KIB, Made
from capacity.made import Figures as Laid
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.gather import Selection
from domstat.capacity.runway import Runway, Status, runway
from domstat.capacity.settings import Capacity
from domstat.settings import Duration

CPU: dict[str, Laid] = {"host.cpus": 10, "host.memory.total": GIB_KIB}
Place = tuple[str, Resource, str]


def by_place(made: Made, settings: Capacity | None = None) -> dict[Place, Runway]:
    return {(one.host, one.resource, one.name): one for one in runway(asked(made, settings))}


def cpu_of(utilization: Laid, settings: Capacity | None = None, count: int = HOURS) -> Runway:
    made = Made(count=count)
    made.host("kvm1", {**CPU, "host.cpu.utilization": utilization})
    return by_place(made, settings)["kvm1", Resource.CPU, ""]


def test_steady_growth_is_full_on_the_day_it_reaches_what_is_usable() -> None:
    found = cpu_of(0.3 + 0.002 * T / 24)  # 0.02 cores a day of 10, from 3.0; 8 are usable
    days = (8.0 - (3.0 + 0.02 * DAYS)) / 0.02
    assert found.usable.value == 8.0
    assert found.expected.value == pytest.approx(days, abs=2)
    earliest, expected, latest = (one.value or 0 for one in (found.earliest, found.expected, found.latest))
    assert 0 < earliest <= expected <= latest
    assert found.conservative.value == found.earliest.value
    assert found.growth.value == pytest.approx(0.02, rel=0.05)
    assert [one.value for one in found.chances] == [pytest.approx(0, abs=0.05), pytest.approx(0, abs=0.05), 1]
    assert found.status is Status.AMPLE


def test_what_is_full_within_the_warning_is_short() -> None:
    assert cpu_of(0.3 + 0.004 * T / 24).status is Status.SHORT


def test_what_is_projected_of_a_day_is_the_peak_of_its_hours() -> None:
    found = cpu_of(0.3 + WAVES)
    hours = sorted((0.3 + WAVES)[-24:] * 10)
    assert found.demand.value == pytest.approx(hours[math.ceil(0.95 * 24) - 1])
    assert len(found.daily) == DAYS


def test_what_does_not_grow_is_not_full_within_the_horizon() -> None:
    found = cpu_of(0.3 + WAVES)
    assert (found.expected.value, found.expected.note) == (None, "not within the horizon: 365d")
    assert found.status is Status.BEYOND
    assert [one.value for one in found.chances] == [0, 0, 0]


def test_what_is_full_has_no_days_left() -> None:
    found = cpu_of(np.full(HOURS, 0.85))
    assert (found.status, found.expected.value, found.conservative.value) == (Status.FULL, 0, 0)
    assert [one.value for one in found.chances] == [1, 1, 1]


def test_a_day_of_history_is_not_enough() -> None:
    found = cpu_of(0.3, count=24)
    assert found.status is Status.YOUNG
    assert found.expected.note.startswith("not enough history")
    assert found.projection is None


def test_an_hour_of_history_is_not_enough() -> None:
    found = cpu_of(0.3, count=1)
    assert found.status is Status.YOUNG
    assert not found.demand.is_known


def test_of_a_host_that_vanished_the_figures_are_stale() -> None:
    made = two_hosts()
    made.host("kvm0", {"host.cpus": 10, "host.cpu.utilization": np.full(24 * 50, 0.5)})
    found = by_place(made)["kvm0", Resource.CPU, ""]
    assert (found.status, found.expected.note) == (Status.STALE, "stale figures: the newest is 50.0 days old")


def test_of_a_pool_that_was_not_refreshed_the_figures_are_stale() -> None:
    made = two_hosts()
    made.pool("old", {"pool.capacity": 10.0, "pool.allocation": 5.0, "pool.age": 2.0 * 86_400})
    found = by_place(made)["kvm1", Resource.STORAGE, "old"]
    assert found.status is Status.STALE


def test_a_host_that_does_not_say_how_large_it_is_is_not_known_to_be_full() -> None:
    made = Made(count=HOURS)
    made.guest("web", {"cpu.cores": 1.0})
    found = by_place(made)["kvm1", Resource.CPU, ""]
    assert (found.status, found.expected.value) == (Status.UNKNOWN, None)


def test_pools_and_thin_disks_have_runways_too() -> None:
    made = two_hosts()
    grows: dict[str, Laid] = {"block.capacity[vdb]": 50.0 * GIB, "block.allocation[vdb]": (10 + 0.2 * T / 24) * GIB}
    made.guest("fills", grows)
    found = by_place(made)
    pool = found["kvm1", Resource.STORAGE, "images"]
    assert pool.expected.value == pytest.approx((800 - 500) / 2, abs=3)
    disk = found["kvm1", Resource.DISK, "fills vdb"]
    assert disk.usable.value == 50 * GIB
    assert disk.expected.value == pytest.approx((50 - 30) / 0.2, abs=3)


def test_all_hosts_together_come_first_and_are_the_sum() -> None:
    found = runway(asked(two_hosts()))
    assert [one.host for one in found[:2]] == [ALL, ALL]
    assert found[0].usable.value == pytest.approx(0.8 * 24)


def test_the_horizon_the_buffer_and_the_level_can_be_set() -> None:
    settings = Capacity(horizon=Duration(30 * 86_400), cpu_buffer=0.0)
    found = cpu_of(0.3 + 0.004 * T / 24, settings)
    assert (found.usable.value, found.expected.note) == (10.0, "not within the horizon: 30d")


def test_little_of_the_time_seen_is_a_warning() -> None:
    gaps = np.where(T // 24 % 3 == 0, 0.3, np.nan)
    assert "only 34 % of the time was seen" in cpu_of(gaps).note


def test_a_third_of_the_data_missing_changes_the_day_but_little() -> None:
    steady = 0.3 + 0.004 * T / 24
    holes = np.where(np.random.default_rng(3).random(HOURS) < 1 / 3, np.nan, steady)
    whole, holed = cpu_of(steady), cpu_of(holes)
    assert whole.expected.value is not None
    assert holed.expected.value == pytest.approx(whole.expected.value, abs=0.05 * 365)


def test_what_is_asked_since_limits_what_is_looked_at() -> None:
    made = two_hosts()
    since = Selection(since_ms=made.until_ms - 20 * DAY_MS)
    (found, *_) = runway(asked(made, selection=since))
    assert found.days.count == 20


def test_every_explanation_is_right_by_its_own_inputs() -> None:
    found = runway(asked(two_hosts()))
    figures = [
        figure for one in found for figure in (one.usable, one.expected, one.conservative, *one.chances, one.peak)
    ]
    assert arithmetic.check(figures) > len(found)
