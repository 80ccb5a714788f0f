"""Columns put together from several sources."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from domstat.catalog import ValueType
from domstat_sinks.sqlite.answers.source import NOWHERE, Values, chained, joined, typed
from domstat_sinks.sqlite.answers.ticks import Joiner

from .test_steps import column

U64_MAX = (1 << 64) - 1


def array(values: list[object], type_: type) -> Values:
    return np.array(values, dtype=type_)


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (ValueType.I64, [-1, 4]),
        (ValueType.U64, [U64_MAX, 4]),
        (ValueType.BOOL, [True, True]),
        (ValueType.TEXT, ["last", "fourth"]),
    ],
)
def test_words_become_values_of_their_type(type_: ValueType, expected: list[object]) -> None:
    words = np.array([U64_MAX, 4], dtype=np.uint64)
    assert typed(words, type_, {U64_MAX: "last", 4: "fourth"}).tolist() == expected


def test_a_double_is_the_one_that_was_stored() -> None:
    assert typed(np.array([0.1]).view(np.uint64), ValueType.F64, {}).tolist() == [0.1]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (array([1], np.int64), array([2], np.int64), "i"),
        (array([-1], np.int64), array([2], np.uint64), "i"),
        (array([1], np.int64), array([U64_MAX], np.uint64), "u"),
        (array([-1], np.int64), array([U64_MAX], np.uint64), "O"),
        (array([2**60 + 1], np.int64), array([0.5], np.float64), "O"),
        (array(["a"], object), array([1], np.int64), "O"),
    ],
)
def test_values_of_several_types_are_put_together_exactly(first: Values, second: Values, kind: str) -> None:
    both = chained([first, second])
    assert (both.dtype.kind, both.tolist()) == (kind, first.tolist() + second.tolist())


def test_columns_of_one_series_follow_each_other() -> None:
    both = joined([column([1, 2], [10, 20]), column([3], [30], anew=[])], Joiner())
    assert both.values.tolist() == [1, 2, 3]
    assert both.ticks.time_ms.tolist() == [10, 20, 30]
    assert (both.anew.tolist(), both.place) == ([0], (1, 2))


def test_what_a_column_has_that_one_before_it_had_comes_once() -> None:
    first, second = (
        column([1, 2, 3], [10, 20, 30], anew=[0, 2]),
        column([2, 3, 1], [20, 30, 40], anew=[0, 2], outside=2),
    )
    both = joined([first, second], Joiner())
    assert both.values.tolist() == [1, 2, 3, 1]
    assert both.ticks.inside.tolist() == [True] * 4
    assert both.anew.tolist() == [0, 2, 3]


def test_where_nothing_begins_anew_nobody_looks_for_it() -> None:
    parts = [replace(column([1], [time_ms]), anew=NOWHERE) for time_ms in (10, 20)]
    assert joined(parts, Joiner()).anew is NOWHERE


def test_each_part_keeps_when_in_its_calls_it_was_read() -> None:
    first, second = column([1, 2], [10, 20]), replace(column([2, 3], [20, 30]), place=(3, 2))
    assert np.asarray(joined([first, second], Joiner()).place).tolist() == [5_000_000, 5_000_000, 15_000_000]


def test_what_totals_are_not_taken_from_is_covered_all_the_same() -> None:
    whole = column([1, 2, 3], [10, 20, 30])
    ends = replace(whole, ticks=whole.ticks.ends, values=whole.values[[0, 2]])
    both = joined([ends, column([4], [40], anew=[])], Joiner())
    assert (both.values.tolist(), both.covered.time_ms.tolist()) == ([1, 3, 4], [10, 20, 30, 40])
