"""How far a sink has come: spans join, what is done is known, and what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.deliver.position import SPANS_MAX, Position, decode, seal, unseal

spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1])))


@given(low=st.integers(0, 20), done=spans)
def test_a_position_has_what_was_done_and_nothing_else(low: int, done: list[tuple[int, int]]) -> None:
    at = Position(low)
    for first, last in done:
        at = at.done(first, last)
    wanted = {*range(low + 1), *(number for first, last in done for number in range(first, last + 1))}
    assert {number for number in range(80) if at.has(number)} == wanted
    assert at.high == max(wanted)
    assert at.low == next(number for number in range(81) if number + 1 not in wanted)


@given(low=st.integers(0, 20), done=spans)
def test_spans_are_in_order_and_apart(low: int, done: list[tuple[int, int]]) -> None:
    at = Position(low)
    for first, last in done:
        at = at.done(first, last)
    edges = [at.low, *(edge for span in at.spans for edge in span)]
    assert all(later > earlier + 1 for earlier, later in zip(edges[::2], edges[1::2], strict=False))
    assert edges == sorted(edges)


@given(low=st.integers(0, 2**60), done=spans)
def test_a_position_is_read_as_it_was_written(low: int, done: list[tuple[int, int]]) -> None:
    at = Position(low)
    for first, last in done:
        at = at.done(first, last)
    assert decode(at.encode()) == at


def test_the_gap_before_a_span_is_found() -> None:
    at = Position(5).done(9, 10).done(20, 20)
    assert [at.gap_after(number) for number in (5, 9, 19, 20)] == [9, 20, 20, None]


def test_a_position_with_too_many_spans_says_so() -> None:
    at = Position(0)
    for i in range(SPANS_MAX):
        assert not at.is_full
        at = at.done(10 * i + 5, 10 * i + 6)
    assert at.is_full


@pytest.mark.parametrize("text", ["", "{}x", "[]", '{"low": "far"}'])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        decode(text)


def test_every_damage_to_a_sealed_position_is_noticed() -> None:
    at = Position(5).done(9, 10)
    sealed = seal(b"influx", at)
    assert unseal(b"influx", sealed) == at
    for i in range(len(sealed)):
        for bit in range(8):
            damaged = bytearray(sealed)
            damaged[i] ^= 1 << bit
            with pytest.raises(ValueError, match=r"checksum|position"):
                unseal(b"influx", bytes(damaged))


def test_a_position_is_one_sinks_and_no_others() -> None:
    with pytest.raises(ValueError, match="checksum"):
        unseal(b"influxdb", seal(b"influx", Position(5)))
