"""Days and weeks in steps."""

from __future__ import annotations

import pytest

from domstat.capacity.forecasting.rhythm import rhythm_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("step_ms", "day", "week", "block", "week_blocks"),
    [
        (5 * MINUTE, 288, 2016, 288, 7),
        (HOUR, 24, 168, 24, 7),
        (12 * HOUR, 2, 14, 2, 7),
        (7 * MINUTE, 0, 0, 1, 0),  # a day is no whole number of these
        (DAY, 0, 7, 1, 7),
        (2 * DAY, 0, 0, 1, 0),
        (7 * DAY, 0, 0, 1, 0),
    ],
)
def test_a_day_and_a_week_are_patterns_where_they_are_whole_numbers_of_steps(
    step_ms: int, day: int, week: int, block: int, week_blocks: int
) -> None:
    found = rhythm_of(step_ms)
    assert (found.day, found.week, found.block, found.week_blocks) == (day, week, block, week_blocks)


def test_windows_begin_with_the_last_value_and_grow() -> None:
    assert rhythm_of(HOUR).windows == (1, 3, 24, 72, 168)
    assert rhythm_of(DAY).windows == (1, 3, 7, 14, 28)
    assert rhythm_of(12 * HOUR).windows == (1, 2, 6, 14)


def test_patterns_have_names() -> None:
    assert rhythm_of(HOUR).seasons == ("day", "week")
    assert rhythm_of(DAY).seasons == ("week",)
    assert rhythm_of(2 * DAY).seasons == ()
