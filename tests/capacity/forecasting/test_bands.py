"""A horizon in bands."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting.bands import BANDS_MAX, TRIED_IN_A_BAND, bands_of, shares_of


@pytest.mark.parametrize("horizon", [1, 2, 7, 30, 288, 2016, 9000])
def test_bands_reach_from_the_first_step_to_the_last(horizon: int) -> None:
    bands = bands_of(horizon)
    assert (bands.steps[0], bands.steps[-1]) == (1, horizon)
    assert (np.diff(bands.steps) > 0).all()
    assert (np.diff(bands.centres) > 0).all()
    assert len(bands.centres) == len(bands.starts) <= BANDS_MAX
    assert len(bands.steps) <= BANDS_MAX * TRIED_IN_A_BAND


def test_near_steps_are_all_tried_and_far_ones_here_and_there() -> None:
    steps = bands_of(2016).steps
    assert {1, 2, 3, 4, 5} <= set(steps.tolist())
    assert np.diff(steps)[-1] > 50


def test_around_a_band_are_its_own_steps_and_its_neighbours() -> None:
    bands = bands_of(30)
    last = len(bands.centres) - 1
    for band, row in enumerate(bands.around):
        places = set(row[row >= 0].tolist())
        first = bands.starts[max(band - 1, 0)]
        end = len(bands.steps) if band >= last - 1 else bands.starts[band + 2]
        assert places == set(range(first, end))


def test_bands_share_what_is_said_at_each_step() -> None:
    bands = bands_of(288)
    shares = shares_of(bands, np.arange(1, 1001))
    assert shares.sum(axis=0) == pytest.approx(np.ones(1000))
    assert shares.min() >= 0
    assert (shares[:, 0] == np.eye(len(bands.centres))[0]).all()  # the first step is the first band's
    assert (shares[-1, 500:] == 1).all()  # beyond the last centre there is none but the last
