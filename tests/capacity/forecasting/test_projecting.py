"""What a projection is, of every kind of series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from domstat.capacity.forecasting import FloatArray, Projection, Refused, Series, crossing, project, project_many

MINUTES_5, HOUR, DAY = 300_000, 3_600_000, 86_400_000


def projected(values: NDArray[np.floating], steps: int, step_ms: int = DAY, level: float = 0.8) -> Projection:
    found = project(Series(0, step_ms, np.asarray(values, dtype=np.float64)), steps, level)
    assert isinstance(found, Projection)
    return found


def refusal(values: NDArray[np.floating] | list[float], steps: int, step_ms: int = DAY) -> str:
    found = project(Series(0, step_ms, np.asarray(values, dtype=np.float64)), steps)
    assert isinstance(found, Refused)
    return found.reason


def noise(count: int, sigma: float = 1.0, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(0, sigma, count)


# Where and how it is told.


def test_a_projection_begins_one_step_after_the_series() -> None:
    found = project(Series(7 * DAY, DAY, np.arange(20.0)), 5)
    assert isinstance(found, Projection)
    assert (found.start_ms, found.step_ms, len(found.middle)) == (27 * DAY, DAY, 5)


def test_holes_at_the_end_do_not_move_it() -> None:
    values = np.append(np.arange(30.0), [np.nan] * 5)
    found = projected(values, 10)
    assert found.start_ms == 35 * DAY
    assert found.middle == pytest.approx(np.arange(35.0, 45.0), abs=0.5)


def test_what_a_series_holds_is_left_as_it_was() -> None:
    values = np.append([np.inf], np.arange(30.0))
    before = values.copy()
    projected(values, 10)
    assert np.array_equal(values, before)


def test_the_same_series_gives_the_same_projection() -> None:
    values = noise(200)
    assert np.array_equal(projected(values, 30).high, projected(values, 30).high)


# What is refused, and why.


def test_nothing_known_is_no_history() -> None:
    assert refusal([], 5) == refusal([np.nan] * 50, 5) == "no history"


def test_few_values_are_counted_in_the_refusal() -> None:
    assert refusal([1.0] * 7, 5) == "not enough history: 7 of 8 values"


def test_too_short_a_history_says_how_many_days_it_takes() -> None:
    assert refusal(np.ones(120), 365 * 24, HOUR) == "not enough history: 5 of 14 days"


def test_two_weeks_reach_a_year() -> None:
    assert len(projected(noise(14), 365).middle) == 365
    assert refusal(noise(13), 365) == "not enough history: 13 of 14 days"


def test_no_steps_ahead_are_nothing_to_project() -> None:
    assert "no steps ahead" in refusal(np.ones(50), 0)


# Kinds of series.


@pytest.mark.parametrize("value", [0.0, 1 / 3, -7.1, 1e-300, 1e300])
@pytest.mark.parametrize("step_ms", [MINUTES_5, HOUR, DAY])
def test_what_never_changes_goes_on_exactly_as_it_is(value: float, step_ms: int) -> None:
    found = projected(np.full(400, value), 40, step_ms)
    assert set(found.low) == set(found.middle) == set(found.high) == {value}
    assert (found.slope_per_day, found.season, found.shifts_ms) == (0.0, (), ())


@pytest.mark.parametrize("step_ms", [MINUTES_5, 420_000, HOUR, 12 * HOUR, DAY, 7 * DAY, 9 * DAY])
def test_any_step_has_a_projection(step_ms: int) -> None:
    found = projected(10 + noise(300), 30, step_ms)
    assert found.middle == pytest.approx(np.full(30, 10.0), abs=1.5)


@pytest.mark.parametrize("seed", range(5))
def test_steady_growth_goes_on(seed: int) -> None:
    found = projected(100 + 0.5 * np.arange(180) + noise(180, 1, seed), 180)
    assert found.slope_per_day == pytest.approx(0.5, rel=0.03)
    assert found.middle[-1] == pytest.approx(100 + 0.5 * 359, rel=0.02)
    assert found.low[-1] < 100 + 0.5 * 359 < found.high[-1]


def test_growth_is_per_day_whatever_the_step() -> None:
    hours = np.arange(60 * 24)
    assert projected(100 + hours / 24 * 0.5, 240, HOUR).slope_per_day == pytest.approx(0.5, rel=0.03)


def test_growth_that_has_ended_does_not_go_on() -> None:
    values = np.append(100 + np.arange(120.0), np.full(120, 220.0)) + noise(240)
    assert projected(values, 60).middle[-1] == pytest.approx(220, abs=10)


def test_a_daily_pattern_is_repeated_hour_by_hour() -> None:
    hours = np.arange(20 * 24)
    values = 10 + 5 * np.sin(2 * np.pi * hours / 24) + noise(len(hours), 0.3)
    found = projected(values, 48, HOUR)
    assert found.middle == pytest.approx(10 + 5 * np.sin(2 * np.pi * np.arange(48) / 24), abs=0.6)
    assert found.season == ("day",)


def test_a_weekly_pattern_of_days_is_repeated_and_is_no_growth() -> None:
    # 27 days end with a Saturday: the weekend is not the new level.
    days = np.arange(27)
    values = np.where(days % 7 >= 5, 2.0, 10.0) + noise(27, 0.1)
    found = projected(values, 14)
    assert found.middle == pytest.approx(np.where(np.arange(27, 41) % 7 >= 5, 2.0, 10.0), abs=0.5)
    assert found.season == ("week",)
    assert abs(found.slope_per_day) < 0.02


def test_a_weekly_pattern_of_hours_takes_two_weeks_and_a_bit() -> None:
    hours = np.arange(15 * 24)
    values = np.where(hours // 24 % 7 >= 5, 2.0, 10.0) + noise(len(hours), 0.1)
    assert projected(values, 24, HOUR).season == ("week",)
    assert "week" not in projected(values[: 14 * 24], 24, HOUR).season


@pytest.mark.parametrize("step_ms", [HOUR, DAY])
def test_noise_has_no_pattern(step_ms: int) -> None:
    found = [projected(noise(90 * 24, seed=seed)[: 90 * DAY // step_ms], 14, step_ms).season for seed in range(6)]
    assert found == [()] * 6


def test_a_pattern_grows_with_the_load() -> None:
    days = np.arange(147)
    load = (10 + 0.5 * days) * np.where(days % 7 >= 5, 0.2, 1.0)
    found = projected(load[:140], 7)
    assert found.middle[:5].min() - found.middle[5:].max() > 0.9 * (load[140:145].min() - load[145:].max())


def test_a_nightly_backup_that_was_switched_off_is_not_expected() -> None:
    hours = np.arange(12 * 24)
    values = np.where((hours % 24 < 2) & (hours < 10 * 24), 100.0, 1.0)
    assert projected(values, 24, HOUR).middle.max() < 20


def test_one_spike_at_the_end_is_not_the_new_level() -> None:
    values = np.append(1 + np.abs(noise(100, 0.1)), 1000.0)
    assert projected(values, 20).middle[1:].max() < 3


def test_a_third_missing_makes_little_difference() -> None:
    whole = 100 + 0.5 * np.arange(180) + noise(180)
    holes = np.where(np.random.default_rng(3).random(180) < 1 / 3, np.nan, whole)
    assert projected(holes, 60).middle == pytest.approx(projected(whole, 60).middle, rel=0.02)


@pytest.mark.parametrize("height", [40.0, -40.0])
def test_a_level_shift_is_not_growth(height: float) -> None:
    values = 100 + noise(120) + np.where(np.arange(120) >= 70, height, 0.0)
    found = projected(values, 180)
    assert found.shifts_ms == (70 * DAY,)
    assert abs(found.slope_per_day) < 0.02
    assert found.middle[-1] == pytest.approx(100 + height, abs=4)
    assert found.high[29] - found.low[29] < 10


def test_growth_is_the_same_on_both_sides_of_a_shift() -> None:
    values = 100 + 0.5 * np.arange(180) + noise(180) + np.where(np.arange(180) >= 90, 60.0, 0.0)
    found = projected(values, 90)
    assert found.slope_per_day == pytest.approx(0.5, rel=0.05)
    assert found.middle[-1] == pytest.approx(160 + 0.5 * 269, rel=0.03)


def test_what_was_never_negative_will_not_be() -> None:
    found = projected(np.maximum(40 - 0.5 * np.arange(80) + noise(80), 0), 200)
    assert min(found.low.min(), found.middle.min()) == 0.0


def test_what_was_negative_may_be_again() -> None:
    assert projected(40 - np.arange(80.0), 50).middle[-1] == pytest.approx(-89, abs=3)


# The interval.


def test_the_interval_widens_with_the_distance() -> None:
    walk = np.cumsum(noise(365))
    widths = projected(walk, 365).high - projected(walk, 365).low
    assert (np.diff(widths) > -1e-9).all()
    assert widths[-1] > 3 * widths[0]


def test_a_short_series_has_a_wider_interval_far_ahead() -> None:
    long = 100 + 0.5 * np.arange(300) + noise(300, 5)
    short = long[-30:]
    widths = [found.high[-1] - found.low[-1] for found in (projected(long, 90), projected(short, 90))]
    assert widths[1] > 2 * widths[0]


def test_a_higher_level_is_a_wider_interval_around_the_same_middle() -> None:
    values = noise(300)
    some, more = projected(values, 30, level=0.5), projected(values, 30, level=0.9)
    assert np.array_equal(some.middle, more.middle)
    assert (more.high - more.low > some.high - some.low).all()
    assert (some.level, more.level) == (0.5, 0.9)


def test_values_so_far_apart_that_nothing_could_be_tried_give_no_false_certainty() -> None:
    values = np.full(400, np.nan)
    values[:80:10] = [1.0, 5, 2, 8, 3, 9, 4, 7]
    found = projected(values, 1)
    assert found.high[0] - found.low[0] >= 5


def test_older_values_than_are_looked_at_change_nothing() -> None:
    values = noise(12_000)
    assert np.array_equal(projected(np.append(noise(500, 90), values), 24, HOUR).high, projected(values, 24, HOUR).high)


# Many at once.


def test_many_are_projected_as_each_by_itself() -> None:
    random = np.random.default_rng(5)
    series = [
        Series(number * DAY, step_ms, random.normal(5, 1, count))
        for number, (step_ms, count) in enumerate([(DAY, 90), (HOUR, 90), (DAY, 90), (DAY, 91), (DAY, 3)] * 3)
    ]
    for one, found in zip(series, project_many(series, 30), strict=True):
        alone = project(one, 30)
        if isinstance(alone, Refused):
            assert found == alone
            continue
        assert isinstance(found, Projection)
        assert (found.start_ms, found.season, found.method) == (alone.start_ms, alone.season, alone.method)
        for line in ("low", "middle", "high"):
            assert getattr(found, line) == pytest.approx(getattr(alone, line), rel=1e-9)


def test_more_than_are_worked_on_at_once_are_all_answered() -> None:
    series = [Series(0, DAY, np.full(365, float(number))) for number in range(150)]
    found = project_many(series, 10)
    assert [float(one.middle[0]) for one in found if isinstance(one, Projection)] == list(range(150))


# Whatever the series.

FINITE = st.floats(allow_nan=True, allow_infinity=False)
SERIES = st.tuples(
    st.just(0),
    st.sampled_from([MINUTES_5, 420_000, HOUR, 12 * HOUR, DAY, 9 * DAY]),
    st.one_of(
        st.lists(FINITE, max_size=400),
        st.lists(st.sampled_from([0.0, 1.0, 2.5, float("nan")]), max_size=400),
    ).map(lambda values: np.array(values, dtype=np.float64)),
).map(lambda given: Series(*given))


HUGE = [*[0.0] * 7, 1.797693106568097e308, 0.0, 1.0, -2.263535834608891e301, 0.0, 1.7976931065681205e308, 0.0]


@settings(max_examples=150)
@given(SERIES, st.sampled_from([1, 2, 7, 30, 400]))
@example(Series(0, 12 * HOUR, np.array(HUGE)), 1)
def test_any_series_has_finite_lines_in_order_or_is_refused_in_a_sentence(series: Series, steps: int) -> None:
    found = project(series, steps)
    if isinstance(found, Refused):
        assert found.reason
        return
    lines = np.stack([found.low, found.middle, found.high])
    assert lines.shape == (3, steps)
    assert np.isfinite(lines).all()
    assert (lines[1:] >= lines[:-1]).all()
    assert np.isfinite(found.slope_per_day)
    known = series.values[np.isfinite(series.values)]
    assert known.min() < 0 or lines.min() >= 0
    reached = crossing(found, float(known.max()))
    chances = [reached.probability(days) for days in (0, 1, 30, 90, 180)]
    assert chances == sorted(chances)
    assert 0 <= chances[0] <= chances[-1] <= 1


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from([1e-6, 0.37, 1024.0, 1e9]))
def test_a_series_in_other_units_has_the_same_projection_in_these(seed: int, scale: float) -> None:
    values = np.abs(np.cumsum(noise(150, 1, seed))) + 1
    one, other = projected(values, 30), projected(values * scale, 30)
    for line in ("low", "middle", "high"):
        assert getattr(other, line) == pytest.approx(getattr(one, line) * scale, rel=1e-6, abs=1e-6 * scale)
    assert other.slope_per_day == pytest.approx(one.slope_per_day * scale, rel=1e-6, abs=1e-9 * scale)
