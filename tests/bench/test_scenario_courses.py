"""Courses: what is expected is what was asked for, and noise is the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, WEEK_MS, Change, Course

MONDAY_MS = 1_795_392_000_000
STEP_MS = 300_000


def times(days: float, begin_ms: int = MONDAY_MS) -> np.ndarray:
    return np.arange(begin_ms, begin_ms + int(days * DAY_MS), STEP_MS)


def test_growth_is_added_every_day() -> None:
    course = Course(level=2.0, growth=0.5)
    assert course.expected(np.array([MONDAY_MS, MONDAY_MS + 4 * DAY_MS]), MONDAY_MS).tolist() == [2.0, 4.0]


def test_nothing_falls_below_zero() -> None:
    assert Course(level=1.0, growth=-1.0).expected(times(3), MONDAY_MS).min() == 0
    assert Course(level=1.0, noise=5.0).values(times(3), MONDAY_MS, "x", 1).min() == 0


def test_a_day_is_busiest_at_its_peak_and_a_weekend_quieter() -> None:
    course = Course(level=1.0, swing=0.5, peak_h=15.0, weekend=0.4)
    values = course.expected(times(7), MONDAY_MS)
    assert times(7)[values.argmax()] % DAY_MS == 15 * HOUR_MS
    weekdays, weekend = values[: 5 * 288], values[5 * 288 :]
    assert weekend.max() == pytest.approx(0.4 * weekdays.max())
    assert np.allclose(weekdays[:288], weekdays[288:576])


def test_outside_its_hours_only_the_rest_is_left() -> None:
    values = Course(level=10.0, hours=(2.0, 3.0), rest=0.1).expected(times(1), MONDAY_MS)
    assert np.count_nonzero(values == 10.0) == 12
    assert np.count_nonzero(values == 1.0) == 288 - 12


def test_a_change_holds_from_its_beginning_until_its_end() -> None:
    change = Change(MONDAY_MS + HOUR_MS, MONDAY_MS + 3 * HOUR_MS, add=5.0, times=2.0)
    values = Course(level=1.0, changes=(change,)).expected(times(1), MONDAY_MS)
    assert values[11:13].tolist() == [1.0, 7.0]
    assert values[35:37].tolist() == [7.0, 1.0]


def test_noise_is_the_same_every_time_and_another_for_others() -> None:
    course = Course(level=100.0, noise=0.1, drift=0.05)
    values = course.values(times(20), MONDAY_MS, "a", 1)
    assert np.array_equal(values, course.values(times(20), MONDAY_MS, "a", 1))
    assert not np.array_equal(values, course.values(times(20), MONDAY_MS, "b", 1))
    assert not np.array_equal(values, course.values(times(20), MONDAY_MS, "a", 2))
    assert values.mean() == pytest.approx(100, rel=0.03)
    assert np.diff(values).std() == pytest.approx(100 * 0.1 * 2**0.5, rel=0.1)


def test_a_drift_goes_on_from_one_window_to_the_next() -> None:
    course = Course(level=1.0, drift=0.2)
    whole = course.values(times(80), MONDAY_MS, "a", 1)
    parts = [course.values(times(16, MONDAY_MS + i * 16 * DAY_MS), MONDAY_MS, "a", 1) for i in range(5)]
    assert np.allclose(whole, np.concatenate(parts))
    assert 0.1 < whole.std() < 0.3


def test_a_week_is_as_the_one_before_without_growth() -> None:
    course = Course(level=1.0, swing=0.3, weekend=0.5)
    assert np.allclose(course.expected(times(7), 0), course.expected(times(7, MONDAY_MS - WEEK_MS), 0))
