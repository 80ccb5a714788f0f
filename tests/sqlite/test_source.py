"""Columns put together from several sources."""

from __future__ import annotations

import numpy as np
import pytest

from domstat.catalog import ValueType
from domstat_sinks.sqlite.source import Values, chained, joined, typed

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
    both = joined([column([1, 2], [10, 20]), column([3], [30], anew=[])])
    assert both.values.tolist() == [1, 2, 3]
    assert both.time_ms.tolist() == [10, 20, 30]
    assert both.anew.tolist() == [True, False, False]
