"""Records as rows: which array holds what, what is left out and told, what comes twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.model import Value
from domstat_sinks.postgres.rows import Arrays, Rows, digest, rows_of, shown
from records import batch, guest_record

INT64_MAX = (1 << 63) - 1
PARTS = st.lists(st.none() | st.text(st.characters()), max_size=3)


def rows(*values: Value, rates: dict[str, float] | None = None) -> Rows:
    params = {f"cpu.v{number}": value for number, value in enumerate(values)}
    return rows_of([batch(guest_record(params=params, derived={}, rates=rates or {}))])


def arrays(*values: Value, rates: dict[str, float] | None = None) -> Arrays | None:
    (made,) = rows(*values, rates=rates).rows
    return made[0].arrays


def test_whole_numbers_others_and_texts_have_their_arrays_and_all_the_same_places() -> None:
    assert arrays(1, 0.5, "x", True, -INT64_MAX - 1) == Arrays(
        ints=f"{{1,NULL,NULL,1,{-INT64_MAX - 1}}}", floats="{NULL,0.5}", texts='{NULL,NULL,"x"}', rates=None
    )


def test_a_whole_number_beyond_64_bits_is_a_text_and_nearly_a_number() -> None:
    assert arrays(INT64_MAX + 1) == Arrays(None, "{9.223372036854776e+18}", "{9223372036854775808}", None)


def test_a_rate_is_at_its_counters_place() -> None:
    found = arrays(1, 2, 3, rates={"cpu.v1": 0.25})
    assert found is not None
    assert found.rates == "{NULL,0.25}"


def test_what_would_end_an_array_is_quoted() -> None:
    found = arrays('a"\\,}{')
    assert found is not None
    assert found.texts == '{"a\\"\\\\,}{"}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_cannot_be_stored_is_left_out_and_told(value: Value) -> None:
    made = rows(1, value, 2)
    assert made.rows[0][0].arrays == Arrays("{1,NULL,2}", None, None, None)
    assert ["cpu.v1: " in reason for _, reason in made.left_out] == [True]


def test_of_a_record_that_comes_twice_the_last_is_taken() -> None:
    first, second = (guest_record(params={"cpu.time": value}) for value in (1, 2))
    made = rows_of([batch(first), batch(second)])
    assert [source[1] for _, source in made.rows] == [second]


def test_a_record_of_no_time_is_rejected() -> None:
    record = guest_record(time_ms=-1, first=True)
    made = rows_of([batch(record)])
    assert [found for _, found, _ in made.rejected] == [record]
    assert made.rows == []


def test_the_last_millisecond_of_9999_is_a_time_still() -> None:
    assert rows_of([batch(guest_record(time_ms=253_402_300_799_999, first=True))]).rejected == []


@given(st.text(st.characters()))
def test_whatever_is_shown_can_be_stored_and_only_what_could_not_be_is_changed(text: str) -> None:
    seen = shown(text)
    assert "\0" not in seen
    seen.encode()
    assert (seen == text) == (not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text))


@given(PARTS, PARTS)
def test_digests_tell_apart_what_is_not_the_same(first: list[str | None], second: list[str | None]) -> None:
    assert (digest(*first) == digest(*second)) == (first == second)


def test_a_digest_never_changes() -> None:
    assert digest("kvm1", "default", "guest", None, None).hex() == "a3308d3a7b44d13fca9115d3334173b4"
