"""What a few wild values cannot move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.capacity.forecasting.robust import mean, median, quantiles, rising, weighted_median

NAN = np.nan
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


def test_a_median_is_of_what_is_known() -> None:
    rows = np.array([[3.0, NAN, 1, 2], [4, 1, NAN, NAN], [NAN, NAN, NAN, 7], [NAN] * 4])
    assert median(rows) == pytest.approx([2, 2.5, 7, NAN], nan_ok=True)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_it_is_that_of_numpy_along_any_axis(axis: int, missing: float) -> None:
    random = np.random.default_rng(1)
    values = random.normal(0, 1, (14, 15, 16))
    values[random.random(values.shape) < missing] = NAN
    assert median(values, axis) == pytest.approx(np.nanmedian(values, axis=axis))


def test_a_mean_is_of_what_is_known() -> None:
    assert mean(np.array([[1.0, NAN, 3], [NAN, NAN, NAN]])) == pytest.approx([2, NAN], nan_ok=True)


def test_quantiles_leave_room_for_what_was_not_seen_yet() -> None:
    # Of nine values, one in ten new ones is below the smallest.
    low, middle, high = quantiles(np.arange(1.0, 10)[None], (0.1, 0.5, 0.9))
    assert [*low, *middle, *high] == [1, 5, 9]
    assert quantiles(np.arange(1.0, 10)[None], (0.15,))[0] == pytest.approx([1.5])


def test_beyond_the_outermost_values_a_quantile_is_these() -> None:
    assert [float(one[0]) for one in quantiles(np.array([[5.0, NAN, 6]]), (0.01, 0.99))] == [5, 6]
    assert np.isnan(quantiles(np.array([[NAN, NAN]]), (0.5,))[0]).all()


def test_a_weighted_median_is_the_value_with_more_than_half_of_the_weight() -> None:
    assert weighted_median(np.array([[1.0, 100]]), np.array([[1.0, 1]])) == pytest.approx([50.5])
    assert weighted_median(np.array([[1.0, 1000, 2]]), np.array([[1.0, 0.1, 1]]))[0] < 3
    assert weighted_median(np.array([[7.0, 1, 9]]), np.array([[1.0, 0, 0]])).tolist() == [7]


@given(VALUES)
def test_with_equal_weights_it_is_the_median(values: list[float]) -> None:
    row = np.array([values])
    assert weighted_median(row, np.ones_like(row)) == pytest.approx(np.median(row, axis=1), rel=1e-9, abs=1e-6)


def test_a_rising_line_pools_what_falls_by_weight() -> None:
    rows = np.array([[1.0, 3, 2, 4]])
    assert rising(rows, np.ones((1, 4))).tolist() == [[1, 2.5, 2.5, 4]]
    assert rising(rows, np.array([[1.0, 3, 1, 1]])).tolist() == [[1, 2.75, 2.75, 4]]


@given(VALUES)
def test_a_rising_line_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    row = np.array([values])
    line = rising(row, np.ones_like(row))
    assert (np.diff(line) >= -1e-6).all()
    assert line.mean() == pytest.approx(row.mean(), rel=1e-9, abs=1e-6)


def test_what_has_no_weight_at_all_is_no_error() -> None:
    assert rising(np.array([[0.0, 0.0]]), np.zeros((1, 2))).tolist() == [[0, 0]]
