"""How far off the truth may be."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting.bands import bands_of, shares_of
from domstat.capacity.forecasting.series import FloatArray
from domstat.capacity.forecasting.spread import spread_of

BANDS = bands_of(30)


def spread(
    errors: FloatArray, steps: int = 30, slope_error: float = 0.0, level: float = 0.8
) -> tuple[FloatArray, FloatArray]:
    ahead = np.arange(1, steps + 1)
    below, above = spread_of(errors[None], BANDS, level, shares_of(BANDS, ahead), ahead, np.array([slope_error]))
    return below[0], above[0]


def noise(origins: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 1, (origins, len(BANDS.steps)))


def test_bounds_of_noise_are_its_quantiles() -> None:
    below, above = spread(noise(400))
    assert below == pytest.approx(np.full(30, 1.28), abs=0.08)
    assert above == pytest.approx(np.full(30, 1.28), abs=0.08)


def test_bounds_are_those_of_the_level() -> None:
    assert spread(noise(400), level=0.5)[1] == pytest.approx(np.full(30, 0.67), abs=0.08)


def test_what_is_mostly_above_has_little_room_below() -> None:
    below, above = spread(np.exp(noise(400)))
    assert below.max() < 0.01
    assert above.min() > 3


def test_bounds_never_get_nearer_with_the_distance() -> None:
    errors = noise(10) * np.linspace(2, 1, len(BANDS.steps))
    for side in spread(errors, 60):
        assert (np.diff(side) >= -1e-12).all()


def test_errors_that_one_origin_has_in_common_make_bounds_of_few_origins_wider() -> None:
    levels = np.random.default_rng(1).normal(0, 1, (100, 1)) + np.zeros(len(BANDS.steps))
    few = np.median([spread(levels[start : start + 4])[1][-1] for start in range(0, 100, 4)])
    assert few > spread(levels)[1][-1]


def test_noise_goes_on_as_noise_and_a_walk_as_a_walk_beyond_what_was_tried() -> None:
    still = spread(noise(200), 300)[1]
    assert still[-1] < 1.6 * still[29]
    walk = np.cumsum(np.random.default_rng(1).normal(0, 1, (200, 31)), axis=1)[:, BANDS.steps]
    moving = spread(walk, 300)[1]
    assert moving[-1] / moving[29] == pytest.approx(np.sqrt(300 / 30), rel=0.35)


def test_a_slope_that_may_be_off_widens_beyond_what_was_tried_and_not_before() -> None:
    sure, unsure = spread(noise(200), 300)[1], spread(noise(200), 300, slope_error=0.1)[1]
    assert np.array_equal(sure[:30], unsure[:30])
    assert unsure[-1] == pytest.approx(np.hypot(sure[-1], 1.2816 * 0.1 * 270), rel=1e-3)


def test_no_error_is_no_spread_and_nothing_known_neither() -> None:
    assert spread(np.zeros((5, len(BANDS.steps))))[1].tolist() == [0] * 30
    assert spread(np.full((5, len(BANDS.steps)), np.nan))[0].tolist() == [0] * 30
