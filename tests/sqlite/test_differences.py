"""Steps and their units."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sqlite.packed.differences import in_unit, in_units, steps_of

step = st.integers(-(2**63), 2**63 - 1)
moving = st.one_of(
    st.lists(step, min_size=1, max_size=200),
    st.builds(
        lambda unit, steps: [one * unit for one in steps],
        st.sampled_from([2, 3, 1000, 4096, 10**7]),
        st.lists(st.integers(-9, 9), min_size=1, max_size=200),
    ),
).filter(any)


def test_a_step_over_the_edge_is_small() -> None:
    assert steps_of(np.array([2**64 - 1, 1, 0], dtype=np.uint64)).tolist() == [2, -1]


@given(moving)
def test_a_unit_is_the_greatest_that_divides_all(steps: list[int]) -> None:
    unit, numbers, grain = in_unit(np.array(steps, dtype=np.int64))
    greatest = math.gcd(*steps)
    assert unit == (greatest if greatest < 2**63 and grain == 1 else 1)
    assert (numbers.astype(object) * unit).tolist() == steps


def test_a_step_that_is_no_multiple_hides_the_grain_of_the_others_from_nobody() -> None:
    steps = np.random.default_rng(1).integers(1, 60, 1000) * 4096
    steps[500] = -12_345
    assert in_unit(steps)[::2] == (1, 4096)
    steps[:100] += 1
    assert in_unit(steps)[::2] == (1, 1)


@given(st.lists(moving, min_size=1, max_size=8))
def test_units_found_together_undo_what_they_did(series: list[list[int]]) -> None:
    sizes = np.array([len(one) for one in series])
    steps = np.array([one for its in series for one in its], dtype=np.int64)
    units, numbers = in_units(steps, np.cumsum(sizes) - sizes, sizes)
    assert (numbers * np.repeat(units, sizes)).tolist() == steps.tolist()


@pytest.mark.parametrize("odd", [1, 125, 78125])
def test_guests_of_one_grain_have_the_greatest_unit(odd: int) -> None:
    series = [[8 * odd, 24 * odd, -8 * odd], [512 * odd, 1024 * odd], [odd, 2 * odd]]
    sizes = np.array([3, 2, 2])
    units, _ = in_units(np.concatenate(series), np.cumsum(sizes) - sizes, sizes)
    assert units.tolist() == [8 * odd, 512 * odd, odd]


def test_a_guest_of_another_grain_keeps_its_own() -> None:
    sizes = np.array([3, 2])
    units, numbers = in_units(np.array([1000, 3000, -17, 5000, 1000]), np.array([0, 3]), sizes)
    assert units.tolist() == [1, 1000]
    assert numbers.tolist() == [1000, 3000, -17, 5, 1]
