"""Which sketches make up a range of days."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sqlite.rollups.prefixes import CUMULATIVE_EVERY_DAYS, Term, terms

YEAR = list(range(0, 400, CUMULATIVE_EVERY_DAYS))


def days_of(chosen: list[Term]) -> dict[int, int]:
    """Say how often each day is in what was chosen."""
    days: Counter[int] = Counter()
    for term in chosen:
        for day in range(term.day) if term.is_cumulative else [term.day]:
            days[day] += term.sign
    return {day: count for day, count in days.items() if count}


@given(st.integers(0, 390), st.integers(0, 390), st.sets(st.integers(0, 400)))
def test_what_is_chosen_comes_to_each_day_of_the_range_once(one: int, other: int, cumulative: set[int]) -> None:
    since, until = sorted((one, other))
    assert days_of(terms(since, until, sorted(cumulative))) == dict.fromkeys(range(since, until), 1)


@given(st.integers(0, 390), st.integers(0, 390))
def test_no_range_takes_more_than_two_sums_and_fifteen_days_at_either_end(one: int, other: int) -> None:
    since, until = sorted((one, other))
    assert len(terms(since, until, YEAR)) <= min(until - since, 2 + 2 * 15)


def test_a_few_days_are_added_up() -> None:
    assert terms(5, 8, YEAR) == [Term(1, 5), Term(1, 6), Term(1, 7)]


def test_a_long_range_is_the_difference_of_two_sums() -> None:
    assert terms(30, 330, YEAR) == [Term(-1, 30, is_cumulative=True), Term(1, 330, is_cumulative=True)]


def test_no_days_take_no_sketches() -> None:
    assert terms(7, 7, YEAR) == []
