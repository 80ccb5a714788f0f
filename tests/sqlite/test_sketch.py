"""Sketches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sqlite.rollups.sketch import (
    BIN_FIRST,
    BIN_LAST,
    ERROR,
    LEAST,
    MOST,
    Sketches,
    merge,
    nothing,
    quantile,
    sketch,
    spread,
)

VALUES = st.one_of(
    st.just(0.0),
    st.just(math.nan),
    st.floats(LEAST * 1.1, MOST),
    st.floats(0.01, 4.0),
    st.integers(0, 10**12).map(float),
)
QUANTILES = (0.0, 0.5, 0.95, 0.99, 1.0)


def of_one(values: list[float]) -> Sketches:
    return sketch(np.array(values, dtype=np.float64).reshape(-1, 1))[0]


def same(one: Sketches, other: Sketches) -> bool:
    """Whether two sketches count the same, wherever their bins begin."""
    quantiles = [
        np.array_equal(quantile(one, q), quantile(other, q), equal_nan=True) for q in np.linspace(0, 1, 21).tolist()
    ]
    return (
        all(quantiles)
        and one.counts.tolist() == other.counts.tolist()
        and one.sums.tolist() == pytest.approx(other.sums.tolist())
        and (one.mins.tolist(), one.maxs.tolist()) == (other.mins.tolist(), other.maxs.tolist())
    )


@given(st.lists(VALUES, min_size=1))
def test_a_quantile_is_known_to_1_percent(values: list[float]) -> None:
    there = sorted(value for value in values if not math.isnan(value))
    sketched = of_one(values)
    for q in QUANTILES:
        (found,) = quantile(sketched, q).tolist()
        if not there:
            assert math.isnan(found)
            continue
        exact = there[math.floor(q * (len(there) - 1))]
        assert abs(found - exact) <= ERROR * exact


@given(st.lists(VALUES))
def test_count_sum_least_and_greatest_are_exact(values: list[float]) -> None:
    there = [value for value in values if not math.isnan(value)]
    sketched = of_one(values)
    assert sketched.counts.tolist() == [len(there)]
    assert sketched.sums.tolist() == pytest.approx([math.fsum(there)])
    assert (sketched.mins[0], sketched.maxs[0]) == (min(there, default=math.inf), max(there, default=-math.inf))


@given(st.lists(VALUES), st.lists(VALUES), st.lists(VALUES))
def test_merged_sketches_are_the_sketch_of_all_values(one: list[float], other: list[float], third: list[float]) -> None:
    parts = [of_one(one), of_one(other), of_one(third)]
    assert same(merge(parts), of_one(one + other + third))
    assert same(merge([merge(parts[:2]), parts[2]]), merge([parts[0], merge(parts[1:])]))
    assert same(merge([nothing(1), *parts, nothing(1)]), merge(parts))


def test_many_series_are_sketched_at_once_as_each_by_itself() -> None:
    values = np.random.default_rng(1).lognormal(3, 4, (50, 12))
    values[7, 3] = math.nan
    values[:, 5] = 0.0
    groups = sketch(values, 3)
    assert [len(group.zeros) for group in groups] == [4, 4, 4]
    for column in range(12):
        group, row = groups[column // 4], column % 4
        of = slice(row, row + 1)
        own = Sketches(group.first, group.bins[of], group.zeros[of], group.sums[of], group.mins[of], group.maxs[of])
        assert same(own, of_one(values[:, column].tolist()))


def test_what_is_less_than_a_nanosecond_and_what_is_negative_counts_as_zero() -> None:
    sketched = of_one([1e-12, -5.0, 0.0])
    assert sketched.zeros.tolist() == [3]
    assert (sketched.mins.tolist(), quantile(sketched, 0.5).tolist()) == ([-5.0], [0.0])


@given(st.lists(st.floats(1e-300, 1e300), min_size=1))
def test_a_sketch_never_has_more_bins_than_there_are(values: list[float]) -> None:
    sketched = of_one(values)
    assert sketched.bins.shape[1] <= BIN_LAST - BIN_FIRST + 1 <= 3_113
    assert sketched.counts.tolist() == [len(values)]


def test_sketches_are_spread_among_the_series_of_a_wider_table() -> None:
    wide = spread(sketch(np.array([[1.0, 2.0], [1.0, math.nan]]))[0], np.array([3, 0]), 5)
    assert wide.counts.tolist() == [1, 0, 0, 2, 0]
    assert quantile(wide, 0.5)[[0, 3]].tolist() == pytest.approx([2.0, 1.0], rel=ERROR)
