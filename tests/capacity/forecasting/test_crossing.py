"""When a limit is reached, and how probable that is."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting import Crossing, FloatArray, Projection, Series, crossing, project

HOUR, DAY = 3_600_000, 86_400_000


def line(middle: FloatArray, below: float = 1.0, above: float = 1.0, level: float = 0.8) -> Projection:
    return Projection(0, DAY, middle, middle - below, middle + above, level, "drawn", (), (), 0.0)


def of(values: FloatArray, steps: int, limit: float, step_ms: int = DAY) -> Crossing:
    found = project(Series(0, step_ms, values), steps)
    assert isinstance(found, Projection)
    return crossing(found, limit)


def test_each_line_reaches_the_limit_in_its_turn() -> None:
    found = crossing(line(np.arange(20.0), below=3, above=2), 10.0)
    assert (found.earliest_ms, found.expected_ms, found.latest_ms) == (8 * DAY, 10 * DAY, 13 * DAY)
    assert found.conservative_ms == found.earliest_ms


def test_what_is_not_reached_is_not_within_the_horizon() -> None:
    found = crossing(line(np.arange(20.0), below=3, above=2), 20.5)
    assert (found.earliest_ms, found.expected_ms, found.latest_ms) == (19 * DAY, None, None)
    assert crossing(line(np.arange(20.0)), 99).conservative_ms is None


def test_what_is_over_its_limit_is_so_at_once() -> None:
    found = crossing(line(np.full(20, 50.0)), 10.0)
    assert (found.earliest_ms, found.expected_ms, found.latest_ms) == (0, 0, 0)
    assert found.probability(1) > 0.999


def test_probabilities_agree_with_the_interval() -> None:
    found = crossing(line(np.arange(20.0), below=3, above=2), 10.0)
    assert found.probability(9) == pytest.approx(0.1)  # the ninth day is the first at which the upper bound is there
    assert found.probability(11) == pytest.approx(0.5)
    assert found.probability(14) == pytest.approx(0.9)


def test_probabilities_agree_with_an_interval_of_another_level() -> None:
    found = crossing(line(np.arange(20.0), below=3, above=2, level=0.5), 10.0)
    assert [found.probability(days) for days in (9, 11, 14)] == pytest.approx([0.25, 0.5, 0.75])


def test_without_any_spread_it_is_sure_or_impossible() -> None:
    found = crossing(line(np.arange(20.0), below=0, above=0), 10.0)
    assert [found.probability(days) for days in (10, 11, 20)] == [0.0, 1.0, 1.0]


def test_a_limit_that_was_reached_stays_reached() -> None:
    found = crossing(line(np.array([0.0, 10, 0, 0])), 9.0)
    assert found.expected_ms == DAY
    assert found.probability(4) == found.probability(2) > 0.5 > found.probability(1)


def test_days_beyond_the_horizon_are_those_of_the_horizon_and_none_are_nothing() -> None:
    found = crossing(line(np.arange(20.0)), 19.0)
    assert found.probability(180) == found.probability(20)
    assert found.probability(0) == 0.0


def test_days_are_counted_in_days_whatever_the_step() -> None:
    hours = np.arange(60 * 24)
    found = of(100 + hours / 24, 40 * 24, 180.0, HOUR)
    assert found.probability(15) < 0.01
    assert found.probability(25) > 0.99


@pytest.mark.parametrize("seed", range(8))
def test_growth_hits_its_limit_on_the_known_day_and_inside_the_interval(seed: int) -> None:
    random = np.random.default_rng(seed)
    slope, ahead, horizon = random.uniform(0.2, 1), int(random.integers(40, 150)), 365
    days = np.arange(180)
    pattern = np.where(days % 7 >= 5, -20.0, 0.0)
    found = of(100 + slope * days + pattern + random.normal(0, 1, 180), horizon, 100 + slope * (180 + ahead))
    truth_ms = (180 + ahead) * DAY
    assert found.expected_ms is not None
    assert abs(found.expected_ms - truth_ms) <= 0.05 * horizon * DAY
    assert found.earliest_ms is not None
    assert found.earliest_ms <= truth_ms + 2 * DAY  # a weekend may stand on the day itself
    assert found.latest_ms is None or found.latest_ms >= truth_ms


@pytest.mark.parametrize("seed", range(8))
def test_a_weekly_pattern_without_growth_is_not_within_the_horizon(seed: int) -> None:
    random = np.random.default_rng(seed)
    hours = np.arange(60 * 24)
    week = np.where(hours // 24 % 7 >= 5, 2.0, 10.0) + 3 * np.sin(2 * np.pi * hours / 24)
    found = of(week + random.normal(0, 0.5, len(hours)), 180 * 24, 20.0, HOUR)
    assert found.expected_ms is None
    assert found.probability(30) < 0.01
    assert found.probability(180) < 0.1


def test_a_guest_that_was_added_is_no_growth_to_run_out_by() -> None:
    values = 100 + np.random.default_rng(1).normal(0, 1, 120) + np.where(np.arange(120) >= 60, 40.0, 0.0)
    found = of(values, 365, 160.0)
    assert found.expected_ms is None
    assert found.probability(90) < 0.02
