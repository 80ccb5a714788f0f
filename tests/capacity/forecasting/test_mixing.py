"""Candidates, their weights and what they say together."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting.bands import bands_of, shares_of
from domstat.capacity.forecasting.mixing import mixture_of, said_by, slopes_of, tried, weights_of
from domstat.capacity.forecasting.parts import Parts
from domstat.capacity.forecasting.series import FloatArray

WINDOWS = (1, 3)
BANDS = bands_of(4)
STEPS = np.arange(1, 5)


def parts(levels: list[list[float]], slopes: list[float], season: list[float] | None = None) -> Parts:
    seasons = (np.zeros((1, 1)), *([np.array([season])] if season else []))
    return Parts(np.array([levels]), np.array([slopes]), np.zeros((1, len(slopes))), seasons)


def weights(shape: tuple[int, ...], *chosen: tuple[int, int, int]) -> FloatArray:
    found = np.zeros((1, *shape, len(BANDS.centres)))
    for place in chosen:
        found[(0, *place)] = 1 / len(chosen)
    return found


def test_a_candidate_goes_on_from_the_middle_of_its_window() -> None:
    said = tried(parts([[10, 8]], [0, 2]), WINDOWS, STEPS)
    assert said[0, 0, 0].tolist() == [[10] * 4, [12, 14, 16, 18]]
    assert said[0, 0, 1].tolist() == [[8] * 4, [12, 14, 16, 18]]  # a value ago it was 8


def test_a_candidate_repeats_its_season() -> None:
    said = tried(parts([[10, 10], [10, 10]], [0], [1, 2, 3]), WINDOWS, STEPS)
    assert said[0, :, 0, 0].tolist() == [[10] * 4, [11, 12, 13, 11]]


def test_all_that_are_equally_good_weigh_the_same() -> None:
    found = weights_of(np.zeros((1, 3, 2, 2, 3, len(BANDS.steps))), BANDS)
    assert found == pytest.approx(np.full(found.shape, 1 / 12))


def test_half_the_error_weighs_64_times_as_much() -> None:
    errors = np.full((1, 3, 1, 2, 1, len(BANDS.steps)), 0.2)
    errors[:, :, :, 1] = 0.4
    found = weights_of(errors, BANDS)[0, 0, :, 0, 0]
    assert found[0] / found[1] == pytest.approx(64, rel=1e-6)


def test_later_origins_count_for_more() -> None:
    errors = np.ones((1, 2, 1, 2, 1, len(BANDS.steps)))
    errors[0, 0, 0, 0], errors[0, 1, 0, 1] = 0.5, 0.5  # each is better at one of the origins
    found = weights_of(errors, BANDS)[0, 0, :, 0, 0]
    assert found[0] > found[1]


def test_bands_are_weighed_by_themselves_and_what_is_not_known_not_at_all() -> None:
    errors = np.full((1, 2, 1, 2, 1, len(BANDS.steps)), 0.2)
    errors[..., 1, :, -1] = 0.4
    errors[:, 1] = np.nan
    found = weights_of(errors, BANDS)[0, 0, :, 0]
    assert found[0, 0] == pytest.approx(0.5)
    assert found[0, -1] > 0.9


def test_one_that_has_all_the_weight_is_the_mixture() -> None:
    of = parts([[10, 8], [11, 9]], [0, 2], [1, 2, 3])
    shares = shares_of(BANDS, STEPS)
    mixture = mixture_of(of, weights((2, 2, 2), (1, 1, 1)), WINDOWS)
    assert said_by(mixture, of, shares, STEPS)[0] == pytest.approx(tried(of, WINDOWS, STEPS)[0, 1, 1, 1])


def test_two_that_are_equally_good_meet_half_way() -> None:
    of = parts([[10, 20], [0, 0]], [0, 2], [0, 0, 6])
    shares = shares_of(BANDS, STEPS)
    mixture = mixture_of(of, weights((2, 2, 2), (0, 0, 0), (1, 0, 0)), WINDOWS)
    assert said_by(mixture, of, shares, STEPS)[0] == pytest.approx([5, 5, 8, 5])


def test_a_wild_last_value_is_passed_over_unless_it_has_most_of_the_weight() -> None:
    of = Parts(np.array([[[1000.0, 10, 11]]]), np.zeros((1, 1)), np.zeros((1, 1)), (np.zeros((1, 1)),))
    mixture = mixture_of(of, np.full((1, 1, 3, 1, 1), 1 / 3), (1, 3, 7))
    assert mixture.levels[0, 0, 0] == 11
    most = np.array([0.9, 0.05, 0.05]).reshape(1, 1, 3, 1, 1)
    assert mixture_of(of, most, (1, 3, 7)).levels[0, 0, 0] > 800


def test_slopes_that_differ_are_less_sure_than_each_of_them() -> None:
    of = parts([[0, 0]], [0, 2])._replace(errors=np.array([[0, 0.1]]))
    alone = slopes_of(mixture_of(of, weights((1, 2, 2), (0, 0, 1)), WINDOWS), of)
    assert (alone[0][0], alone[1][0]) == pytest.approx((2, 0.1))
    both = slopes_of(mixture_of(of, weights((1, 2, 2), (0, 0, 0), (0, 0, 1)), WINDOWS), of)
    assert both[0][0] == pytest.approx(1)
    assert both[1][0] == pytest.approx(np.hypot(1, 0.05))
