"""Headers by columns: the order of each type, and sums in 128 bits."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import ValueType
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.packed.headers import NUMBERS, TYPES, Header, Headers, keys_of, summarise, words_of

word = st.integers(0, 2**64 - 1)


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def headers_of(type_: ValueType, *series: list[int], breaks: dict[int, list[int]] | None = None) -> Headers:
    types = np.full(len(series), NUMBERS[type_], dtype=np.uint8)
    return summarise(types, [np.array(one, dtype=np.uint64) for one in series], breaks or {})


def test_the_numbers_of_the_types_are_what_they_were_in_every_file() -> None:
    assert [type_.value for type_ in TYPES] == ["i64", "u64", "f64", "bool", "text"]
    assert set(TYPES) == set(ValueType)


@given(st.lists(word, min_size=1), st.sampled_from(TYPES))
def test_a_key_becomes_its_word_again_alone_and_among_others(words: list[int], type_: ValueType) -> None:
    plain: Words = np.array(words, dtype=np.uint64)
    each = np.full(len(words), NUMBERS[type_], dtype=np.uint8)
    keys = keys_of(plain, NUMBERS[type_])
    assert keys.tolist() == keys_of(plain, each).tolist()
    assert words_of(keys, NUMBERS[type_]).tolist() == words_of(keys, each).tolist() == words


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_keys_of_doubles_are_in_the_order_of_doubles(one: float, other: float) -> None:
    first, second = keys_of(np.array([bits(one), bits(other)], dtype=np.uint64), NUMBERS[ValueType.F64]).tolist()
    if one != other:
        assert (first < second) == (one < other)


def test_what_is_no_number_is_neither_least_nor_greatest() -> None:
    nan, plus_nan = bits(float("nan")) | 1 << 63, bits(float("nan"))
    headers = headers_of(ValueType.F64, [nan, bits(2.0), plus_nan, bits(-3.0)], [bits(1.0), plus_nan], [plus_nan])
    assert (headers.min[0], headers.max[0]) == (bits(-3.0), bits(2.0))
    assert (headers.min[1], headers.max[1]) == (bits(1.0), bits(1.0))
    assert headers.of(2) == Header(1, plus_nan, plus_nan, plus_nan, plus_nan, None)


@pytest.mark.parametrize(
    ("type_", "least", "greatest"),
    [(ValueType.U64, 5, 2**64 - 7), (ValueType.I64, 2**64 - 7, 9), (ValueType.BOOL, 5, 2**64 - 7)],
)
def test_the_least_is_so_by_the_order_of_its_type(type_: ValueType, least: int, greatest: int) -> None:
    header = headers_of(type_, [5, 2**64 - 7, 9]).of(0)
    assert (header.min, header.max) == (least, greatest)


def test_only_rises_count_and_none_across_a_break() -> None:
    headers = headers_of(ValueType.U64, [10, 15, 3, 5, 9], [10, 15, 20], [], breaks={1: [2], 0: [4]})
    assert headers.increment.tolist() == [7, 5, 0]
    assert headers.carry.tolist() == [0, 0, 0]
    assert headers.of(2) == Header(0, None, None, None, None, 0)


def test_a_text_has_a_first_and_a_last_and_nothing_between() -> None:
    assert headers_of(ValueType.TEXT, [7, 3]).of(0) == Header(2, 7, 3, None, None, None)


def test_types_may_differ_from_series_to_series() -> None:
    series = [np.array([2**64 - 1, 4], dtype=np.uint64)] * 2 + [np.zeros(0, dtype=np.uint64)]
    headers = summarise(np.array([NUMBERS[ValueType.I64], NUMBERS[ValueType.U64], 2], dtype=np.uint8), series, {})
    assert [headers.of(i).increment for i in range(3)] == [5, 0, None]


@given(st.lists(st.lists(word, max_size=30), min_size=1, max_size=5))
def test_increments_are_exact_however_high(series: list[list[int]]) -> None:
    headers = headers_of(ValueType.U64, *series)
    rises = [sum(max(0, one[i] - one[i - 1]) for i in range(1, len(one))) for one in series]
    assert [headers.of(i).increment for i in range(len(series))] == rises
