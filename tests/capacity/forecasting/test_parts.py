"""What a series is made of."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting.parts import blocks_of, parts_of
from domstat.capacity.forecasting.rhythm import rhythm_of
from domstat.capacity.forecasting.series import FloatArray

HOUR, DAY = 3_600_000, 86_400_000
HOURLY, DAILY = rhythm_of(HOUR), rhythm_of(DAY)


def noise(count: int, sigma: float = 1.0, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(0, sigma, count)


def test_a_block_is_the_median_of_a_whole_day_that_ends_with_the_row() -> None:
    row = np.concatenate([[99.0] * 5, np.full(24, 1.0), np.full(24, 2.0)])[None]
    assert blocks_of(row, 24).tolist() == [[1, 2]]
    assert blocks_of(row, 1) is row
    assert blocks_of(row[:, :5], 24).tolist() == [[99]]


def test_a_day_returns_by_the_hour() -> None:
    hours = np.arange(6 * 24)
    found = parts_of((10 + np.sin(2 * np.pi * hours / 24))[None], HOURLY)
    assert found.seasons[1][0] == pytest.approx(np.sin(2 * np.pi * np.arange(24) / 24), abs=1e-9)


def test_what_happened_once_in_many_days_is_no_pattern() -> None:
    values = np.tile(np.sin(np.arange(24.0)), 7)
    values[30] = 1000.0
    assert np.abs(parts_of(values[None], HOURLY).seasons[1]).max() < 3


def test_of_two_days_a_pattern_is_what_both_have() -> None:
    values = np.ones(49)
    values[30] = values[6 + 1] = 5.0  # the seventh hour of the second whole day; the first has it an hour later
    values[[1 + 20, 1 + 24 + 20]] = 9.0
    season = parts_of(values[None], HOURLY).seasons[1][0]
    assert np.flatnonzero(season).tolist() == [20]


def test_a_pattern_has_the_size_it_has_of_late() -> None:
    shape = np.sin(2 * np.pi * np.arange(24) / 24)
    values = np.concatenate([size * shape for size in (1, 1, 1, 1, 4, 4, 4, 4)])
    assert parts_of(values[None], HOURLY).seasons[1][0] == pytest.approx(4 * shape, abs=1e-9)


def test_a_pattern_that_stopped_yesterday_is_over() -> None:
    values = np.where((np.arange(8 * 24) % 24 == 3) & (np.arange(8 * 24) < 7 * 24), 100.0, 0.0)
    assert np.abs(parts_of(values[None], HOURLY).seasons[1]).max() == 0


def test_a_row_without_weeks_has_the_pattern_of_its_days() -> None:
    hours = np.arange(20 * 24)
    rows = np.stack([np.sin(2 * np.pi * hours / 24), np.sin(2 * np.pi * hours / 24)])
    rows[1, : 12 * 24] = np.nan
    found = parts_of(rows, HOURLY)
    assert len(found.seasons) == 3
    assert found.seasons[2][1] == pytest.approx(np.tile(np.sin(2 * np.pi * hours[:24] / 24), 7), abs=1e-9)


def test_levels_are_medians_of_the_last_values_without_the_season() -> None:
    values = np.append(np.full(60, 10.0), [20.0, 20.0, 50.0])
    assert parts_of(values[None], DAILY).levels[0, 0].tolist() == [50, 20, 10, 10, 10]


def test_a_window_that_holds_nothing_has_the_level_of_the_next_longer_one() -> None:
    values = np.append(np.full(60, 10.0), [np.nan] * 5)
    values[40:60] = 20.0
    assert parts_of(values[None], DAILY).levels[0, 0].tolist() == [20] * 5
    nothing = np.append(np.full(60, 10.0), [np.nan] * 30)
    assert parts_of(nothing[None], DAILY).levels[0, 0].tolist() == [10] * 5


def test_clear_growth_is_believed_and_a_slope_within_its_error_hardly() -> None:
    clear = parts_of((0.5 * np.arange(100) + noise(100))[None], DAILY)
    assert clear.slopes[0, 0] == 0
    assert clear.slopes[0, 1:] == pytest.approx([0.5, 0.5], rel=0.05)
    rows = np.stack([noise(100, seed=seed) for seed in range(50)])
    found = parts_of(rows, DAILY)
    assert np.abs(found.slopes[:, 1]).mean() < 0.6 * found.errors[:, 1].mean()


def test_growth_that_changed_has_another_recent_slope() -> None:
    values = np.append(np.zeros(100), np.arange(100.0)) + noise(200)
    _, long, recent = parts_of(values[None], DAILY).slopes[0]
    assert recent == pytest.approx(1.0, rel=0.1)
    assert long < 0.8


def test_slopes_are_a_step_whatever_a_block_is() -> None:
    assert parts_of(0.01 * np.arange(40 * 24.0)[None], HOURLY).slopes[0, 1] == pytest.approx(0.01)


def test_a_short_history_has_no_growth_and_no_recent_growth_of_its_own() -> None:
    assert parts_of(np.arange(5.0)[None], DAILY).slopes.tolist() == [[0, 0, 0]]
    slopes = parts_of(np.arange(8.0)[None], DAILY).slopes[0]
    assert slopes[2] == slopes[1] > 0.9
