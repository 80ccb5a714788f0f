"""The made-up guests: as libvirt's, the same every time, and no more alike than libvirt's are."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.catalog import look_up
from domstat.model import split_key
from domstat_bench.workload import Hour, Workload
from domstat_bench.workload_drive import GAP_TICKS, HOUR_TICKS
from domstat_bench.workload_kinds import AT, COUNTERS, FIELDS, KINDS

GUESTS, HOURS = 20, 26


@pytest.fixture(scope="module")
def hours() -> list[Hour]:
    return list(Workload(GUESTS).hours(HOURS))


def whole(hours: list[Hour], field: str) -> np.ndarray:
    return np.concatenate([hour.values[AT[field]] for hour in hours], axis=1)


def test_a_guest_has_52_fields_that_the_catalogue_knows() -> None:
    assert len(FIELDS) == len(set(FIELDS)) == 52
    assert [field for field in FIELDS if not look_up(split_key(field)[0]).known] == []


def test_twenty_guests_are_of_all_eight_kinds() -> None:
    assert set(Workload(GUESTS).kinds) == set(KINDS)
    assert len(KINDS) == 8


def test_the_same_seed_makes_the_same_hours_and_another_makes_others() -> None:
    one, again, other = (list(Workload(3, seed=seed).hours(2)) for seed in (1, 1, 2))
    for first, second in zip(one, again, strict=True):
        assert np.array_equal(first.values, second.values)
        assert np.array_equal(first.ticks.time_ms, second.ticks.time_ms)
    assert not np.array_equal(one[1].values, other[1].values)


def test_counters_fall_only_where_a_guest_begins_anew_and_then_all_that_move_do(hours: list[Hour]) -> None:
    incarnations = np.concatenate([hour.incarnations for hour in hours], axis=1)
    anew = np.diff(incarnations, axis=1) != 0
    assert anew.any()
    for field in COUNTERS:
        falls = np.diff(whole(hours, field), axis=1) < 0
        assert not (falls & ~anew).any(), field
    assert ((np.diff(whole(hours, "cpu.time"), axis=1) < 0) == anew).all()


def test_no_two_guests_ever_have_one_domain_id(hours: list[Hour]) -> None:
    for hour in hours:
        running = np.sort(np.where(hour.incarnations < 0, -np.arange(GUESTS)[:, None] - 1, hour.incarnations), axis=0)
        assert (np.diff(running, axis=0) > 0).all()


def test_values_have_libvirts_granularity(hours: list[Hour]) -> None:
    for fields, granule, finer in (
        (("cpu.time", "cpu.user", "cpu.system"), 1000, 10_000),
        (("vcpu.time[0]", "vcpu.wait[1]"), 10**7, 10**8),
        (("block.rd.bytes[vda]", "block.wr.bytes[vda]"), 4096, 8192),
        (("balloon.unused", "balloon.usable", "balloon.rss"), 4, 8),
    ):
        for field in fields:
            values = whole(hours, field)
            assert not (values % granule).any(), field
            assert (values % finer).any(), field


def test_user_and_system_time_are_the_whole_but_for_the_microsecond_that_is_cut_off(hours: list[Hour]) -> None:
    left = whole(hours, "cpu.time") - whole(hours, "cpu.user") - whole(hours, "cpu.system")
    assert set(np.unique(left)) == {0, 1000}


def test_vcpus_never_run_for_longer_than_time_went_by(hours: list[Hour]) -> None:
    boot_ns = np.concatenate([hour.ticks.boot_ns for hour in hours])
    for vcpu in (0, 1):
        ran = np.diff(whole(hours, f"vcpu.time[{vcpu}]"), axis=1)
        assert (ran <= np.diff(boot_ns) + 2 * 10**7).all()


def test_what_is_off_or_silent_stands_still_and_a_third_of_all_fields_do(hours: list[Hour]) -> None:
    kinds = np.array(Workload(GUESTS).kinds)
    still = np.array([np.ptp(whole(hours, field), axis=1) == 0 for field in FIELDS])
    assert still[:, kinds == "off"].all()
    assert still[[AT["net.rx.bytes[nic]"], AT["block.wr.reqs[vda]"]]][:, kinds == "silent"].all()
    of_the_busy = still[:, np.isin(kinds, ["database", "web", "application", "batch"])].mean()
    assert 0.3 < of_the_busy < 0.4


def test_stamps_are_late_by_some_milliseconds_and_five_minutes_are_missing_once(hours: list[Hour]) -> None:
    time_ms = np.concatenate([hour.ticks.time_ms for hour in hours])
    late = (time_ms - Workload(1).begin_ms) % 10_000
    assert 4 <= np.median(late) <= 12
    assert len(np.unique(late)) > 20
    assert np.sum(np.diff(time_ms) > 15_000) == 1
    assert [len(hour.ticks.time_ms) for hour in hours[:3]] == [HOUR_TICKS, HOUR_TICKS - len(GAP_TICKS), HOUR_TICKS]


def test_nights_are_quieter_than_days_and_weekends_than_weeks() -> None:
    spent = [hour.values[AT["cpu.time"]][:, [0, -1]] for hour in Workload(GUESTS).hours(168)]
    web = [i for i, kind in enumerate(Workload(GUESTS).kinds) if kind == "web"]
    load = np.array([np.clip(each[web, 1] - each[web, 0], 0, None).mean() for each in spent]).reshape(7, 24)
    assert load[:5, 12:16].mean() > 2 * load[:5, 0:4].mean()
    assert load[:5].mean() > 1.2 * load[5:].mean()
