"""Truths: when what grows is full, by its mean and by its peaks."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_bench import scenarios
from domstat_bench.scenario_courses import DAY_MS
from domstat_bench.scenario_truth import Trend, cores_expected, cpu_trend
from domstat_bench.scenarios import END_MS, FULL_IN_DAYS

TREND = Trend(
    resource="pool", host="kvm1", field="pool.allocation", capacity=100.0, end_ms=END_MS, at_end=40.0, per_day=2.0,
    peak=1.25,
)  # fmt: skip


def test_a_limit_is_reached_when_what_is_left_has_been_added() -> None:
    assert TREND.full_ms == END_MS + 30 * DAY_MS
    assert TREND.crosses_ms(90.0) == END_MS + 25 * DAY_MS
    assert TREND.crosses_ms(100.0, peaks=True) == END_MS + 20 * DAY_MS
    assert TREND.crosses_ms(30.0) == END_MS - 5 * DAY_MS


def test_what_does_not_grow_never_reaches_what_is_above_it() -> None:
    level = Trend(resource="cpu", host="kvm1", field="x", capacity=10.0, end_ms=END_MS, at_end=5.0, per_day=0.0)
    assert level.full_ms is None
    assert level.crosses_ms(4.0) == END_MS


def test_a_trend_is_that_of_all_guests_that_are_there_at_the_end() -> None:
    world = scenarios.new_guest().world
    found = cpu_trend(world, world.hosts[0])
    assert found.per_day == pytest.approx(0)
    assert found.at_end == pytest.approx(0.3 + 3 * 0.5 + 3.0)


def test_a_week_has_peaks_above_its_mean() -> None:
    (truth,) = scenarios.weekly_growth().truths
    assert isinstance(truth, Trend)
    assert truth.peak > 1.5
    full_ms = truth.crosses_ms(truth.capacity, peaks=True)
    assert full_ms is not None
    assert (full_ms - END_MS) / DAY_MS == pytest.approx(FULL_IN_DAYS, abs=4)


def test_what_is_expected_has_no_noise() -> None:
    world = scenarios.one_guest().world
    times_ms = np.arange(END_MS - DAY_MS, END_MS, 300_000)
    assert np.ptp(cores_expected(world, world.hosts[0], times_ms)) == 0
