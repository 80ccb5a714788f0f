"""Rows projected together."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.capacity.forecasting.rhythm import rhythm_of
from domstat.capacity.forecasting.together import ORIGINS_MAX, project_rows

HOUR, DAY = 3_600_000, 86_400_000


def test_rows_do_not_know_of_each_other() -> None:
    random = np.random.default_rng(1)
    rows = random.normal(0, 1, (3, 90)) * np.array([[1.0], [1e6], [1e-6]])
    together = project_rows(rows, rhythm_of(DAY), 30, 0.8)
    for number in range(3):
        alone = project_rows(rows[number : number + 1], rhythm_of(DAY), 30, 0.8)
        assert together.high[number] == pytest.approx(alone.high[0], rel=1e-9)
        assert together.slopes[number] == pytest.approx(alone.slopes[0], rel=1e-9, abs=1e-15)


def test_the_past_is_projected_from_as_many_origins_as_there_is_history_for() -> None:
    values = np.random.default_rng(1).normal(0, 1, (1, 400))
    assert project_rows(values, rhythm_of(DAY), 7, 0.8).origins == ORIGINS_MAX
    assert project_rows(values[:, :8], rhythm_of(DAY), 7, 0.8).origins == 4
    assert project_rows(values[:, : 8 * 24], rhythm_of(HOUR), 7, 0.8).origins == 5  # days apart


def test_a_shift_is_told_by_its_block() -> None:
    hours = np.arange(40 * 24)
    rows = np.where(hours >= 25 * 24, 5.0, 1.0)[None] + np.random.default_rng(1).normal(0, 0.1, (1, len(hours)))
    assert np.flatnonzero(project_rows(rows, rhythm_of(HOUR), 24, 0.8).shifts[0]).tolist() == [25]


def test_the_hours_before_the_first_whole_day_are_lifted_with_it() -> None:
    hours = np.arange(40 * 24 + 7)
    rows = np.where(hours >= 25 * 24 + 7, 5.0, 1.0)[None]
    found = project_rows(rows, rhythm_of(HOUR), 48, 0.8)
    assert set(found.high[0]) == set(found.low[0]) == {5.0}
