"""Which tiers answer which part of a span."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.history import EVER_MS, Span
from domstat_sinks.sqlite.answers.plan import Piece, Stock, Use, pieces

MINUTE = 60_000
FIVE, HOUR = 5 * MINUTE, 60 * MINUTE
DAY = 24 * HOUR


def ticks(since_ms: int = 0) -> Stock:
    return Stock("raw", 1, 1, Span(since_ms, EVER_MS))


def five(since_ms: int = 0, until_ms: int = 10 * DAY) -> Stock:
    return Stock("five_minutes", 2, FIVE, Span(since_ms, until_ms))


def hours(since_ms: int = 0, until_ms: int = 10 * DAY) -> Stock:
    return Stock("hours", 3, HOUR, Span(since_ms, until_ms))


def said(found: list[Piece]) -> list[tuple[str, int, int]]:
    return [(piece.stock.name, piece.span.since_ms, piece.span.until_ms) for piece in found]


def test_the_coarsest_that_fits_answers_and_finer_ones_its_edges() -> None:
    span = Span(DAY + 7 * MINUTE, 9 * DAY + 13 * MINUTE)
    assert said(pieces(span, None, Use.FREELY, ticks(), [hours(), five()])) == [
        ("raw", DAY + 7 * MINUTE, DAY + 10 * MINUTE),
        ("five_minutes", DAY + 10 * MINUTE, DAY + HOUR),
        ("hours", DAY + HOUR, 9 * DAY),
        ("five_minutes", 9 * DAY, 9 * DAY + 10 * MINUTE),
        ("raw", 9 * DAY + 10 * MINUTE, 9 * DAY + 13 * MINUTE),
    ]


def test_what_is_not_in_buckets_yet_is_read_from_ticks() -> None:
    found = pieces(Span(), None, Use.FREELY, ticks(), [hours(until_ms=5 * HOUR), five(until_ms=5 * HOUR + FIVE)])
    assert said(found) == [
        ("hours", 0, 5 * HOUR),
        ("five_minutes", 5 * HOUR, 5 * HOUR + FIVE),
        ("raw", 5 * HOUR + FIVE, EVER_MS),
    ]


@pytest.mark.parametrize(
    ("step_ms", "name"), [(DAY, "hours"), (HOUR, "hours"), (15 * MINUTE, "five_minutes"), (7 * MINUTE, "raw")]
)
def test_buckets_that_are_no_part_of_a_step_are_not_taken(step_ms: int, name: str) -> None:
    found = pieces(Span(DAY, 2 * DAY), step_ms, Use.FREELY, ticks(), [hours(), five()])
    assert said(found) == [(name, DAY, 2 * DAY)]


def test_buckets_answer_where_ticks_are_gone_even_if_they_are_no_part_of_a_step() -> None:
    found = pieces(Span(DAY, 4 * DAY), 7 * MINUTE, Use.FREELY, ticks(3 * DAY), [hours(), five(2 * DAY)])
    assert said(found) == [("hours", DAY, 2 * DAY), ("five_minutes", 2 * DAY, 3 * DAY), ("raw", 3 * DAY, 4 * DAY)]


def test_if_need_be_buckets_are_taken_of_no_more_than_ticks_are_gone_of() -> None:
    gone_ms = 3 * DAY + 7 * MINUTE
    found = pieces(Span(DAY, 4 * DAY), HOUR, Use.IF_NEED_BE, ticks(gone_ms), [hours(), five()])
    assert said(found) == [("hours", DAY, 3 * DAY + HOUR), ("raw", 3 * DAY + HOUR, 4 * DAY)]


def test_if_need_be_the_first_bucket_there_ever_was_is_left_to_the_ticks() -> None:
    found = pieces(Span(), HOUR, Use.IF_NEED_BE, ticks(DAY + 7 * MINUTE), [hours(DAY), five(DAY + FIVE)])
    assert said(found) == [("raw", DAY + 7 * MINUTE, EVER_MS)]


def test_buckets_that_must_not_answer_do_not() -> None:
    assert said(pieces(Span(), HOUR, Use.NEVER, ticks(DAY), [hours(), five()])) == [("raw", DAY, EVER_MS)]
    assert pieces(Span(), HOUR, Use.NEVER, None, [hours(), five()]) == []


def test_without_any_ticks_buckets_answer_alone() -> None:
    assert said(pieces(Span(), 7 * MINUTE, Use.IF_NEED_BE, None, [hours(0, DAY)])) == [("hours", 0, DAY)]


times = st.integers(0, 20 * 12).map(lambda fives: fives * FIVE)


@given(
    span=st.tuples(st.integers(0, 20 * HOUR), st.integers(1, 20 * HOUR)),
    raw=times,
    first=times,
    later=times,
    frontier=st.integers(0, 20 * HOUR),
    step_ms=st.sampled_from([None, MINUTE, FIVE, 7 * MINUTE, HOUR, 2 * HOUR]),
    use=st.sampled_from(Use),
)
def test_pieces_follow_each_other_and_ticks_have_what_buckets_have_not(
    *, span: tuple[int, int], raw: int, first: int, later: int, frontier: int, step_ms: int | None, use: Use
) -> None:
    asked = Span(span[0], sum(span))
    coarse = hours(first // HOUR * HOUR, max(frontier, first) // HOUR * HOUR)
    fine = five(max(first, later), max(frontier, first, later) // FIVE * FIVE)
    found = pieces(asked, step_ms, use, ticks(raw), [coarse, fine])
    for piece in found:
        its, has = piece.span, piece.stock.span
        assert asked.since_ms <= its.since_ms < its.until_ms <= asked.until_ms
        assert has.since_ms <= its.since_ms
        assert its.until_ms <= has.until_ms
        assert its.since_ms % piece.stock.width_ms == its.until_ms % piece.stock.width_ms == 0
    assert all(one.span.until_ms <= other.span.since_ms for one, other in pairwise(found))
    own_ms = sum(piece.span.until_ms - max(piece.span.since_ms, raw) for piece in found if piece.span.until_ms > raw)
    assert own_ms == max(0, asked.until_ms - max(asked.since_ms, raw)), "nothing is missed that there are ticks of"
