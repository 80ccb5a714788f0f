"""Where a level shifts, and where it only seems to."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting.series import FloatArray
from domstat.capacity.forecasting.shifts import lifts_of, shifts_of


def noise(count: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 1, count)


def found(values: FloatArray) -> dict[int, float]:
    sizes = shifts_of(values[None])[0]
    return {int(place): float(sizes[place]) for place in np.flatnonzero(sizes)}


@pytest.mark.parametrize("at", [7, 20, 53])
@pytest.mark.parametrize("height", [15.0, -15.0])
def test_a_step_is_found_where_it_is_and_with_its_size(at: int, height: float) -> None:
    sizes = found(noise(60) + np.where(np.arange(60) >= at, height, 0.0))
    assert list(sizes) == [at]
    assert sizes[at] == pytest.approx(height, abs=1.5)


def test_without_noise_the_smallest_step_is_one() -> None:
    assert found(np.where(np.arange(40) >= 20, 1.001, 1.0)) == {20: pytest.approx(0.001)}


def test_growth_beside_a_step_is_no_part_of_it() -> None:
    sizes = found(2.0 * np.arange(60) + noise(60) + np.where(np.arange(60) >= 30, 50.0, 0.0))
    assert sizes == {30: pytest.approx(50, abs=3)}


@pytest.mark.parametrize("seed", range(10))
def test_noise_growth_walks_weekends_and_spikes_are_no_steps(seed: int) -> None:
    days = np.arange(120)
    assert not found(noise(120, seed))
    assert not found(days * 3.0 + noise(120, seed))
    assert not found(np.cumsum(noise(120, seed)))
    assert not found(np.where(days % 7 >= 5, 0.0, 50.0) + noise(120, seed))
    assert not found(noise(120, seed) + np.where(days % 30 == 10, 100.0, 0.0))


def test_many_steps_are_a_way_of_growing() -> None:
    assert len(found(np.repeat([0.0, 20, 50, 60, 100], 15) + 0.1 * noise(75))) == 4
    assert not found(np.repeat([0.0, 20, 50, 60, 100, 130, 150], 15) + 0.1 * noise(105))


def test_holes_do_not_hide_a_step() -> None:
    values = noise(60) + np.where(np.arange(60) >= 30, 30.0, 0.0)
    values[::3] = np.nan
    assert [abs(place - 30) <= 1 for place in found(values)] == [True]


def test_in_few_blocks_nothing_is_told() -> None:
    assert not found(np.repeat([0.0, 9], 6))
    assert found(np.repeat([0.0, 9], [6, 7])) == {6: 9}


@pytest.mark.parametrize("count", range(13, 60))
def test_a_step_is_found_in_histories_of_any_length(count: int) -> None:
    at = count // 2
    assert list(found(np.arange(count) + 0.1 * noise(count) + np.where(np.arange(count) >= at, 20.0, 0.0))) == [at]


@pytest.mark.parametrize("count", range(13, 35))
def test_weekends_of_a_few_weeks_are_no_steps(count: int) -> None:
    for first in range(7):
        days = np.arange(first, first + count)
        assert not found(np.where(days % 7 >= 5, 0.0, 50.0) + noise(count))


def test_what_came_before_a_step_is_lifted_to_what_came_after() -> None:
    values = np.repeat([1.0, 5, 3], 20)[None]
    assert (values + lifts_of(shifts_of(values)) == 3).all()


def test_rows_do_not_know_of_each_other() -> None:
    rows = np.stack([noise(60), noise(60) + np.where(np.arange(60) >= 30, 30.0, 0.0)])
    assert np.array_equal(shifts_of(rows)[1], shifts_of(rows[1:])[0])
    assert not shifts_of(rows)[0].any()
