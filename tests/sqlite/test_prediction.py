"""Predictions: what of a guest's three CPU times follows from the other two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import FieldKind, look_up
from domstat_sinks.sqlite.packed.prediction import PREDICTED, predict

WORDS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=20)


@given(WORDS)
def test_system_time_is_what_user_time_leaves_of_the_total_modulo_2_to_the_64(pairs: list[tuple[int, int]]) -> None:
    parts = [np.array([pair[i] for pair in pairs], dtype=np.uint64) for i in range(2)]
    assert predict(parts).tolist() == [(total - user) % 2**64 for total, user in pairs]


@pytest.mark.parametrize("field", sorted({*PREDICTED, *(part for parts in PREDICTED.values() for part in parts)}))
def test_only_counters_the_catalogue_knows_are_predicted_and_predict(field: str) -> None:
    assert look_up(field).known
    assert look_up(field).kind is FieldKind.COUNTER


def test_nothing_is_predicted_from_what_is_predicted_itself() -> None:
    assert not {part for parts in PREDICTED.values() for part in parts} & PREDICTED.keys()
