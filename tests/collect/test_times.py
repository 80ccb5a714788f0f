"""A time for every answer that no other has, whatever the wall clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.collect import times
from domstat.collect.times import Times


def given_times(*asked: int) -> list[int]:
    clock = Times()
    return [clock.next(time_ms) for time_ms in asked]


def test_a_clock_that_goes_on_is_left_alone() -> None:
    assert given_times(0, 10, 20, 35) == [0, 10, 20, 35]


def test_two_answers_within_a_millisecond_have_two_times() -> None:
    assert given_times(10, 10, 10, 11) == [10, 11, 12, 13]


def test_a_clock_set_back_is_followed_where_no_time_was_given_yet() -> None:
    assert given_times(100, 110, 5, 15) == [100, 110, 5, 15]


def test_a_clock_set_back_onto_times_that_were_given_is_moved_on_past_them() -> None:
    assert given_times(100, 101, 102, 110, 100, 110) == [100, 101, 102, 110, 103, 111]


def test_a_clock_set_right_again_is_followed() -> None:
    assert given_times(100, 50, 100, 200) == [100, 50, 101, 200]


@given(st.lists(st.integers(0, 50), max_size=40))
def test_no_time_is_given_twice_nor_moved_further_than_it_must(asked: list[int]) -> None:
    clock, seen = Times(), set[int]()
    for time_ms in asked:
        got = clock.next(time_ms)
        assert got not in seen
        assert set(range(time_ms, got)) <= seen
        seen.add(got)


def test_a_bounded_number_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "TIMES_MAX", 3)
    clock = Times()
    for time_ms in range(10):
        clock.next(time_ms)
    assert len(clock._given) == 3
    assert clock.next(8) == 10
