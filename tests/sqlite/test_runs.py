"""Runs: a series' numbers, whether it has a run for itself or a part of one."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.packed import codec
from domstat_sinks.sqlite.packed.runs import Runs


def packed(*numbers: int) -> bytes:
    return codec.pack(np.array(numbers, dtype=np.int64), codec.QUICK_LEVEL)


def words(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(numbers, dtype=np.uint64)


def test_series_have_their_parts_of_a_run_in_their_order_and_runs_of_their_own() -> None:
    runs = Runs([packed(1, 2, 3, 4, 5), packed(7, 8)], words(1, 2, 0, 1), words(3, 3, 9, 4))
    assert runs.numbers(3, 3).tolist() == [3, 4, 5]
    assert runs.numbers(0, 2).tolist() == [1, 2]
    assert runs.numbers(1, 2).tolist() == [7, 8]
    assert runs.shared(1).tolist() == [1, 2, 3, 4, 5]


def test_a_run_that_has_not_as_many_numbers_as_its_series_is_damaged() -> None:
    runs = Runs([packed(1, 2, 3), packed(7, 8)], words(1, 1, 2), words(3, 3, 3))
    with pytest.raises(DamagedError):
        runs.numbers(0, 2)
    with pytest.raises(DamagedError):
        runs.numbers(2, 3)
