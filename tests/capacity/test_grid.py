"""Grids and matrices: steps, days, quantiles, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.capacity import grid
from domstat.capacity.grid import DAY_MS, HOUR_MS, Grid

NAN = math.nan
figures = st.lists(st.one_of(st.just(NAN), st.floats(-1e9, 1e9)), max_size=60)


def test_a_grid_has_the_step_that_a_time_is_in_and_no_step_that_is_not_over() -> None:
    found = Grid.covering(HOUR_MS + 1, 5 * HOUR_MS - 1, HOUR_MS)
    assert (found.since_ms, found.count, found.until_ms) == (HOUR_MS, 3, 4 * HOUR_MS)


def test_a_grid_that_ends_before_it_begins_has_no_steps() -> None:
    assert Grid.covering(5 * HOUR_MS, HOUR_MS, HOUR_MS).count == 0


def test_values_go_into_the_steps_they_begin_in_and_others_into_none() -> None:
    over = Grid(10 * HOUR_MS, HOUR_MS, 3)
    times = np.array([9, 10, 12, 13]) * HOUR_MS
    row = over.row(times, np.array([1.0, 2.0, 3.0, 4.0]))
    assert np.array_equal(row, [2.0, NAN, 3.0], equal_nan=True)


@given(figures, st.floats(0, 1))
def test_a_quantile_is_the_smallest_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    found = grid.quantile(np.array(values), share)
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        assert found is None
    else:
        assert found == known[min(max(math.ceil(share * len(known)) - 1, 0), len(known) - 1)]


@given(figures)
def test_what_is_carried_stands_until_the_next_and_the_first_before_itself(values: list[float]) -> None:
    carried = grid.carried(np.array(values)).tolist()
    last = next((value for value in values if not math.isnan(value)), None)
    for before, after in zip(values, carried, strict=True):
        last = before if not math.isnan(before) else last
        assert after == last or (last is None and math.isnan(after))


@given(figures)
def test_the_last_known_figure_is_found(values: list[float]) -> None:
    known = [value for value in values if not math.isnan(value)]
    assert grid.last_known(np.array(values, dtype=float)) == (known[-1] if known else None)


def test_a_total_is_known_where_any_row_is() -> None:
    rows = np.array([[1.0, NAN, NAN], [2.0, 3.0, NAN]])
    assert np.array_equal(grid.total(rows), [3.0, 3.0, NAN], equal_nan=True)
    assert np.array_equal(grid.greatest(rows), [2.0, 3.0, NAN], equal_nan=True)
    assert np.array_equal(grid.first_known(rows), [1.0, 3.0, NAN], equal_nan=True)


@given(st.integers(0, 40), st.integers(0, 130), st.floats(0.1, 1.0))
def test_days_have_the_quantile_of_their_hours_where_half_of_these_are_known(
    lead: int, count: int, share: float
) -> None:
    rng = np.random.default_rng(lead * 1000 + count)
    values = np.where(rng.random(count) < 0.4, np.nan, rng.random(count))
    over = Grid(lead * HOUR_MS, HOUR_MS, count)
    days, found = grid.by_day(values, over, share)
    assert days.until_ms <= over.until_ms < days.until_ms + DAY_MS
    for place in range(days.count):
        inside = [
            value
            for hour, value in enumerate(values.tolist())
            if place * 24 <= (lead % 24) + hour < (place + 1) * 24 and not math.isnan(value)
        ]
        expected = grid.quantile(np.array(inside), share) if len(inside) >= 12 else None
        assert found[place] == pytest.approx(expected) if expected is not None else math.isnan(found[place])


def test_rows_of_one_key_are_put_together_and_what_was_seen_adds_up() -> None:
    over = Grid(0, HOUR_MS, 2)
    matrix = grid.of(over, [(("a", 1), np.array([1.0, NAN]), 0.5), (("a", 2), np.array([NAN, 2.0]), 0.5)])
    found = matrix.merged(lambda key: key[0], grid.first_known)
    assert found.keys == ("a",)
    assert found.row("a").tolist() == [1.0, 2.0]
    assert found.covered("a") == 1.0


def test_a_key_that_is_not_there_is_not_known() -> None:
    empty: grid.Matrix[str] = grid.of(Grid(0, HOUR_MS, 2), [])
    assert "a" not in empty
    assert np.isnan(empty.row("a")).all()
    assert empty.covered("a") == 0.0


@pytest.mark.parametrize(
    ("places", "share"),
    [
        (range(24), 1.0),
        (range(12), 0.5),
        ((), 0.0),
        ((3,), 1 / 24),
        (range(0, 24, 3), 1.0),  # a figure every three steps is all there is to be had
        ((*range(8), *range(16, 24)), 2 / 3),
        (range(0, 12, 2), 0.5),
    ],
)
def test_what_is_seen_is_what_known_steps_usually_stand_for(places: Sequence[int], share: float) -> None:
    values = np.full(24, np.nan)
    values[list(places)] = 1.0
    assert grid.seen(values) == pytest.approx(share)
