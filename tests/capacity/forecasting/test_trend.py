"""The slope, and how far it may be off."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from domstat.capacity.forecasting.series import FloatArray
from domstat.capacity.forecasting.trend import error_of, slope_of


def noise(count: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 1, count)


def slope(values: NDArray[np.floating], week: int = 0) -> float:
    return float(slope_of(np.asarray(values[None], dtype=np.float64), week)[0])


@pytest.mark.parametrize("count", [6, 7, 30, 365])
def test_a_line_has_its_own_slope(count: int) -> None:
    assert slope(3 - 0.25 * np.arange(count)) == pytest.approx(-0.25)


def test_few_blocks_tell_nothing() -> None:
    assert np.isnan(slope(np.arange(5.0)))
    assert np.isnan(slope(np.array([1.0, np.nan, np.nan, np.nan, np.nan, 2, np.nan, np.nan])))


def test_a_quarter_of_wild_values_does_not_turn_it() -> None:
    values = 0.5 * np.arange(200) + noise(200)
    values[np.random.default_rng(1).random(200) < 0.25] = 1e6
    assert slope(values) == pytest.approx(0.5, abs=0.05)


def test_weekends_do_not_turn_it() -> None:
    days = np.arange(25)  # ends in the middle of a week
    assert slope(np.where(days % 7 >= 5, 0.0, 100.0), week=7) == pytest.approx(0.0)


def test_holes_do_not_turn_it() -> None:
    values = 0.5 * np.arange(120)
    values[::3] = np.nan
    assert slope(values) == pytest.approx(0.5)


@pytest.mark.parametrize("count", [30, 120])
def test_its_error_is_how_far_it_is_off_from_one_noise_to_another(count: int) -> None:
    rows = np.stack([noise(count, seed) for seed in range(300)])
    slopes = slope_of(rows, 0)
    assert np.median(error_of(rows, slopes)) == pytest.approx(slopes.std(), rel=0.3)


def test_noise_that_carries_on_makes_it_less_sure() -> None:
    walk = np.cumsum(noise(120))[None]
    shuffled = np.random.default_rng(1).permutation(walk[0])[None]
    flat = np.zeros(1)
    assert error_of(walk, flat)[0] > 2.5 * error_of(shuffled, flat)[0]


def test_a_line_without_noise_is_sure() -> None:
    rows = 0.5 * np.arange(64.0)[None]
    assert error_of(rows, np.array([0.5])).tolist() == [0.0]


def test_one_block_says_nothing_of_an_error() -> None:
    assert error_of(np.array([[5.0]]), np.zeros(1)).tolist() == [0.0]
