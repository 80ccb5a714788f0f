"""How old rows are: by the boot-time clock for this run, by the wall clock, once, for those before."""

from __future__ import annotations

from domstat.deliver.ages import MARK_EVERY_S, Ages

START_MS = 1_795_385_704_000


def test_a_row_of_this_run_is_as_old_as_the_boot_time_clock_says() -> None:
    ages = Ages(100, 50.0, START_MS)
    ages.note(100, 60.0)
    ages.note(101, 60.0 + MARK_EVERY_S)
    assert ages.age_s(100, 0, 260.0) <= 200.0
    assert ages.age_s(100, 0, 260.0) == 260.0 - (60.0 + MARK_EVERY_S), "at the least: the mark after it"
    assert ages.age_s(101, 0, 260.0) == 0.0, "no mark after it yet"


def test_a_wall_clock_that_is_set_makes_no_row_of_this_run_older() -> None:
    ages = Ages(1, 0.0, START_MS)
    for number in range(1, 20):
        ages.note(number, number * MARK_EVERY_S)
    month_ago = START_MS - 30 * 86_400_000
    assert ages.age_s(1, month_ago, 20 * MARK_EVERY_S) <= 20 * MARK_EVERY_S


def test_a_row_of_an_earlier_run_was_as_old_at_the_start_as_the_wall_clock_said() -> None:
    ages = Ages(100, 50.0, START_MS)
    assert ages.age_s(99, START_MS - 3_600_000, 60.0) == 3610.0


def test_marks_of_rows_that_have_gone_are_forgotten_and_the_others_keep_their_age() -> None:
    ages = Ages(1, 0.0, START_MS)
    for number in range(1, 1000):
        ages.note(number, number * MARK_EVERY_S)
    now = 1000 * MARK_EVERY_S
    before = [ages.age_s(number, 0, now) for number in range(901, 1000)]
    ages.forget(900)
    assert [ages.age_s(number, 0, now) for number in range(901, 1000)] == before
    assert len(ages._numbers) <= 101
