"""Which rows of the journal go, and why."""

from __future__ import annotations

from collections.abc import Sequence

from domstat.deliver.bounds import Limits, Row, Verdict, Why, judge

LIMITS = Limits(bytes=1000, age_s=1000.0, keep_s=100.0)


def rows(*ages_s: float, newest: Sequence[int] = ()) -> list[Row]:
    """Make rows of these ages, numbered from 1, with one record more each."""
    return [Row(number, number, age_s, number in newest) for number, age_s in enumerate(ages_s, 1)]


def decide(some: list[Row], low: int, waiting_age_s: float = 0.0, excess: int = 0) -> Verdict:
    return judge(some, low, waiting_age_s, LIMITS, excess, lambda _number: 100)


def test_what_a_sink_lacks_stays() -> None:
    assert decide(rows(900, 800, 700), low=0).numbers == ()


def test_what_every_sink_has_goes_when_it_was_kept_for_long_enough() -> None:
    verdict = decide(rows(300, 200, 50), low=3)
    assert verdict.numbers == (1, 2)
    assert verdict.dropped == ()


def test_what_lies_shortly_before_the_oldest_that_waits_stays_since_rates_begin_there() -> None:
    assert decide(rows(550, 450, 400), low=2, waiting_age_s=400).numbers == (1,)


def test_a_streams_newest_row_stays_for_rates_after_a_restart() -> None:
    assert decide(rows(300, 200, 150, newest=[2]), low=3).numbers == (1, 3)


def test_what_is_too_old_goes_whoever_lacks_it_and_that_is_said() -> None:
    verdict = decide(rows(2000, 1500, 1200, 900), low=1, waiting_age_s=1500.0)
    assert verdict.numbers == (1, 2, 3)
    ((why, gone),) = verdict.dropped
    assert (why, [row.number for row in gone]) == (Why.AGE, [2, 3])


def test_a_journal_that_is_too_large_loses_its_oldest_and_no_more_than_it_must() -> None:
    verdict = decide(rows(50, 40, 30, 20), low=1, excess=250)
    assert verdict.numbers == (1, 2, 3)
    ((why, gone),) = verdict.dropped
    assert (why, [(row.number, row.records) for row in gone]) == (Why.SIZE, [(2, 2), (3, 3)])


def test_too_large_goes_before_newest_and_before_kept() -> None:
    assert decide(rows(50, 40, newest=[1, 2]), low=2, excess=150).numbers == (1, 2)
