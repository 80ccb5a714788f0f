"""Rows of different lengths in one piece of memory: each is as it was, and no array of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sqlite.packed.ragged import Distinct, Ragged

PAIR = 2

lists = st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=5), max_size=6)
pairs = st.lists(st.lists(st.tuples(*[st.integers(0, 9)] * PAIR), max_size=4), max_size=5)


def of(rows: list[list[Any]], width: int = 0) -> Ragged:
    shape = (-1, width) if width else (-1,)
    return Ragged.of([np.array(row, dtype=np.int64).reshape(shape) for row in rows], width)


def listed(rows: Ragged) -> list[Any]:
    return [row.tolist() for row in rows]


@given(lists)
def test_its_rows_are_those_it_was_made_of(rows: list[list[int]]) -> None:
    made = of(rows)
    assert listed(made) == rows
    assert [made[place].tolist() for place in range(len(made))] == rows
    assert made.lengths.tolist() == [len(row) for row in rows]


def test_all_rows_are_in_one_piece_of_memory() -> None:
    made = of([[1, 2], [], [3]])
    assert {row.base is made.flat for row in made} == {True}
    assert made.flat.tolist() == [1, 2, 3]


@given(lists)
def test_each_number_is_known_to_be_of_its_row(rows: list[list[int]]) -> None:
    made = of(rows)
    expected = [number for number, row in enumerate(rows) for _ in row]
    assert made.numbers().tolist() == expected
    assert made.rows_at(np.arange(len(made.flat))).tolist() == expected


@given(lists)
def test_what_was_packed_comes_back(rows: list[list[int]]) -> None:
    assert listed(Ragged.of_packed(of(rows).packed())) == rows


@given(pairs)
def test_tuples_are_packed_number_by_number_and_come_back(rows: list[list[tuple[int, int]]]) -> None:
    packed = of(rows, PAIR).packed()
    for row, own in zip(rows, packed, strict=True):
        assert np.frombuffer(own, "<u4").tolist() == [pair[i] for i in range(PAIR) for pair in row]
    back = Ragged.of_packed(packed, PAIR)
    assert listed(back) == [[list(pair) for pair in row] for row in rows]
    assert {row.base is back.flat for row in back} <= {True}


@pytest.mark.parametrize("width", [0, PAIR])
def test_there_may_be_no_rows_at_all(width: int) -> None:
    for none in (of([], width), Ragged.of_packed([], width)):
        assert len(none) == 0
        assert none.numbers().tolist() == []
        assert none.flat.ndim == (2 if width else 1)


@given(st.lists(lists, min_size=1, max_size=4))
def test_rows_that_several_have_are_kept_once(several: list[list[list[int]]]) -> None:
    distinct = Distinct()
    places = [distinct.places(of(rows)).tolist() for rows in several]
    together = listed(distinct.together())
    assert [[together[place] for place in own] for own in places] == several
    assert len(together) == len({tuple(row) for rows in several for row in rows})
