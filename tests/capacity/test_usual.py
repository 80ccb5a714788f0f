"""What is usual for somebody, at the same hour of the day."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.made import DAY_MS, HOUR_MS, MINUTE_MS, START_MS
from domstat.capacity.grid import Grid
from domstat.capacity.usual import HOURS, hour_of_day, lasting, times, usual

PAST = Grid(START_MS, HOUR_MS, 20 * 24)
SPAN = Grid(START_MS + 20 * DAY_MS, 5 * MINUTE_MS, 288)


def test_being_busy_every_afternoon_is_usual_in_the_afternoon_and_not_at_night() -> None:
    past = np.where(hour_of_day(PAST) == 14, 9.0, 1.0)
    found = usual(past, PAST, SPAN)
    assert set(found[hour_of_day(SPAN) == 14]) == {9.0}
    assert set(found[hour_of_day(SPAN) != 14]) == {1.0}


def test_a_few_bad_days_do_not_move_it() -> None:
    past = np.full(PAST.count, 1.0)
    past[: 9 * 24] = 50.0
    assert set(usual(past, PAST, SPAN)) == {1.0}


def test_hours_that_were_hardly_seen_are_judged_by_all_of_the_past() -> None:
    past = np.full(PAST.count, 2.0)
    past[hour_of_day(PAST) == 5] = np.nan
    past[5] = 100.0
    assert set(usual(past, PAST, SPAN)) == {2.0}


def test_of_two_figures_nothing_is_usual() -> None:
    past = np.full(PAST.count, np.nan)
    past[3:5] = 1.0
    assert np.isnan(usual(past, PAST, SPAN)).all()
    assert np.isnan(usual(np.full(0, 1.0), Grid(START_MS, HOUR_MS, 0), SPAN)).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.integers(0, 23))
def test_it_is_the_quantile_that_counting_gives(seed: int, share: float, begins: int) -> None:
    draw = np.random.default_rng(seed)
    over = Grid(START_MS + begins * HOUR_MS, HOUR_MS, 7 * 24)
    past = draw.random(over.count)
    found = usual(past, over, SPAN, share)
    for step in range(0, SPAN.count, 12):
        hour = (SPAN.since_ms + step * SPAN.step_ms) // HOUR_MS % HOURS
        those = sorted(past[place] for place in range(over.count) if (begins + place) % 24 == hour)
        assert found[step] == those[math.ceil(share * len(those)) - 1]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6))
def test_only_what_lasts_is_kept(flags: list[bool], steps: int) -> None:
    text = "".join("x" if flag else "." for flag in flags)
    runs = [run for run in text.split(".") if run]
    kept = lasting(np.array(flags, dtype=bool), steps)
    assert kept.sum() == sum(len(run) for run in runs if len(run) >= steps)
    assert not (kept & ~np.array(flags, dtype=bool)).any()
    assert times(kept) == sum(len(run) >= steps for run in runs)
