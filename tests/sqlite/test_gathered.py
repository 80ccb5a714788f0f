"""What slabs say of several series, gathered into the parts of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from domstat_sinks.sqlite.answers.bucketed import Said
from domstat_sinks.sqlite.answers.gathered import Gathered
from domstat_sinks.sqlite.answers.slabs import Stat

WIDTH_MS = 100
FIRST, SECOND = np.array([0, 100, 200]), np.array([300, 400])
BOTH = np.array([0, 1])


def values(*rows: list[int]) -> Any:
    return np.array(rows, dtype=np.int64)


def nothing() -> None:
    """Say that there are no ticks."""


def test_parts_follow_each_other_and_series_in_the_same_buckets_share_their_times() -> None:
    gathered = Gathered(2, WIDTH_MS)
    gathered.add(
        BOTH, FIRST, Said((values([1, 2, 3], [4, 5, 6]), 7.0), None), Stat(values([10] * 3, [20] * 3), None), nothing
    )
    gathered.add(
        BOTH, SECOND, Said((values([8, 9], [6, 5]), 7.0), None), Stat(values([10] * 2, [20] * 2), None), nothing
    )
    one, other = gathered.parts(0), gathered.parts(1)
    assert one is not None
    assert other is not None
    assert one.time_ms is other.time_ms
    assert one.time_ms.tolist() == [0, 100, 200, 300, 400]
    assert [column.tolist() for column in one.columns] == [[1, 2, 3, 8, 9], [7.0] * 5]
    assert [column.tolist() for column in other.columns] == [[4, 5, 6, 6, 5], [7.0] * 5]
    assert (one.covered_ms, other.covered_ms) == (50e-6, 100e-6)


def test_a_series_has_only_the_buckets_that_say_something_of_it() -> None:
    gathered = Gathered(3, WIDTH_MS)
    there = np.array([[True, False, True], [False] * 3])
    said = Said((values([1, 2, 3], [4, 5, 6]),), there)
    gathered.add(np.array([2, 0]), FIRST, said, Stat(values([10] * 3, [20] * 3), None), nothing)
    found = gathered.parts(2)
    assert found is not None
    assert (found.time_ms.tolist(), found.columns[0].tolist(), found.covered_ms) == ([0, 200], [1, 3], 20e-6)
    assert gathered.parts(0) is None
    assert gathered.parts(1) is None


def test_nobody_holds_the_values_of_all_for_the_sake_of_one() -> None:
    gathered = Gathered(2, WIDTH_MS)
    gathered.add(BOTH, FIRST, Said((values([1, 2, 3], [4, 5, 6]),), None), None, nothing)
    found = gathered.parts(1)
    assert found is not None
    assert found.columns[0].base is None


def test_a_series_may_change_its_type_from_slab_to_slab() -> None:
    gathered = Gathered(1, WIDTH_MS)
    only = np.array([0])
    gathered.add(only, FIRST, Said((values([1, 2, 3]),), None), None, nothing)
    gathered.add(only, SECOND, Said((np.array([[2**64 - 1, 0]], dtype=np.uint64),), None), None, nothing)
    found = gathered.parts(0)
    assert found is not None
    assert found.columns[0].tolist() == [1, 2, 3, 2**64 - 1, 0]


def test_without_counters_a_bucket_stands_for_its_share_of_the_most_ticks() -> None:
    gathered = Gathered(1, WIDTH_MS)
    only = np.array([0])
    gathered.add(only, FIRST, Said((values([1, 2, 3]),), None), None, lambda: Stat(values([30, 15, 30]), None))
    known = Stat(values([40_000_000, 0]), np.array([[True, False]]))
    gathered.add(only, SECOND, Said((values([1, 2]),), None), known, lambda: Stat(values([9, 6]), None))
    found = gathered.parts(0)
    assert found is not None
    assert found.covered_ms == 100 + 50 + 100 + 40 + 20
