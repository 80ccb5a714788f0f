"""Numbers as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.units import MISSING, count, duration, optional, percent, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.04, "0.0"), (812, "812"), (999.6, "1.0K"), (1536, "1.5K"), (40 * 2**20, "40M"), (2**64, "16E")],
)
def test_sizes_count_in_1024s(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.3, "0.3"), (140, "140"), (1500, "1.5k"), (2e6, "2.0M")])
def test_counts_count_in_1000s(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("ratio", "text"), [(0, "0%"), (0.004, "0.4%"), (0.25, "25%"), (1.034, "103%")])
def test_ratios_become_percent(ratio: float, text: str) -> None:
    assert percent(ratio) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0µs"), (0.00034, "340µs"), (0.0015, "1.5ms"), (2.1, "2.1s")])
def test_times_have_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e18))
def test_no_size_is_wider_than_its_column_allows(value: float) -> None:
    assert len(size(value)) <= 4


def test_missing_is_a_dash_and_zero_is_zero() -> None:
    assert optional(size, None) == MISSING
    assert optional(size, 0.0) == "0"
