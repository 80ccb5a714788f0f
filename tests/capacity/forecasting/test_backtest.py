"""How well the past would have been projected."""

from __future__ import annotations

import math

import numpy as np
import pytest

from domstat.capacity.forecasting import Backtest, FloatArray, Refused, Series, backtest
from domstat_bench.forecast_kinds import generated

HOUR, DAY = 3_600_000, 86_400_000


def scored(values: FloatArray, horizon: int, origins: int = 5, step_ms: int = DAY) -> Backtest:
    found = backtest(Series(0, step_ms, values), horizon, origins)
    assert isinstance(found, Backtest)
    return found


def test_each_origin_is_compared_over_the_whole_horizon() -> None:
    found = scored(np.random.default_rng(1).normal(0, 1, 100), 7)
    assert (found.origins, found.count) == (5, 35)


def test_holes_are_no_truths() -> None:
    values = np.random.default_rng(1).normal(0, 1, 100)
    values[-3:] = np.nan
    assert scored(values, 7).count == 32


def test_what_never_changes_is_as_good_as_the_last_value_and_always_inside() -> None:
    found = scored(np.full(100, 0.3), 7)
    assert (found.mase_last, found.mase_seasonal, found.inside) == (1.0, 1.0, 1.0)


def test_growth_is_better_than_either_simple_way() -> None:
    found = scored(np.arange(200.0) + np.random.default_rng(1).normal(0, 1, 200), 30)
    assert found.mase_last < 0.2
    assert found.mase_seasonal < 0.2


def test_a_weekly_pattern_is_better_than_the_last_value_and_than_last_week() -> None:
    days = np.arange(140)
    values = np.where(days % 7 >= 5, 2.0, 10.0) + np.random.default_rng(1).normal(0, 1, 140)
    found = scored(values, 28, origins=10)
    assert found.mase_last < 0.7
    assert found.mase_seasonal < 0.9


def test_the_season_of_hours_is_a_week_where_there_are_two_and_else_a_day() -> None:
    # What repeats exactly leaves the right season no error at all.
    weekly = np.random.default_rng(1).normal(0, 1, 168)
    assert scored(np.tile(weekly, 8), 48, step_ms=HOUR).mase_seasonal in {1.0, math.inf}
    assert math.isfinite(scored(np.tile(weekly, 2), 48, step_ms=HOUR).mase_seasonal)
    assert scored(np.tile(weekly[:24], 14), 48, step_ms=HOUR).mase_seasonal in {1.0, math.inf}


def test_nothing_of_what_came_after_an_origin_is_known_at_it() -> None:
    values = np.random.default_rng(2).normal(0, 1, 100)
    values[90:] = 1000.0
    assert scored(values, 10, origins=1).inside == 0.0


def test_too_short_a_series_says_what_it_takes() -> None:
    assert backtest(Series(0, DAY, np.ones(5)), 7, 3) == Refused("not enough history: 5 of 8 steps")
    found = backtest(Series(0, DAY, np.ones(12)), 7, 3)
    assert isinstance(found, Refused)
    assert "before any origin" in found.reason


def test_a_series_of_holes_is_refused() -> None:
    assert isinstance(backtest(Series(0, DAY, np.full(100, np.nan)), 7, 3), Refused)


def test_over_all_kinds_it_beats_the_simple_ways_and_the_interval_holds_what_it_says() -> None:
    found = [backtest(series, 7 * DAY // series.step_ms, 6) for name, series in generated(2, 1) if "5 min" not in name]
    scores = [one for one in found if isinstance(one, Backtest)]
    assert len(scores) == len(found) == 24
    for ratios in ([one.mase_last for one in scores], [one.mase_seasonal for one in scores]):
        assert np.exp(np.mean(np.log(np.clip(ratios, 0.01, 100)))) < 0.9
    assert 0.72 < np.mean([one.inside for one in scores]) < 0.88


@pytest.mark.parametrize(("level", "least", "most"), [(0.5, 0.4, 0.6), (0.8, 0.74, 0.88), (0.95, 0.9, 0.99)])
def test_the_interval_of_noise_holds_its_level(level: float, least: float, most: float) -> None:
    inside = []
    for seed in range(12):
        values = np.random.default_rng(seed).normal(0, 1, 240)
        found = backtest(Series(0, DAY, values), 14, 6, level)
        assert isinstance(found, Backtest)
        inside.append(found.inside)
    assert least < np.mean(inside) < most
