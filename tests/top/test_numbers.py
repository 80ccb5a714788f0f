"""Numbers fit into five characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.top import numbers
from domstat.top.numbers import Write


@pytest.mark.parametrize(
    ("write", "value", "shown"),
    [
        (numbers.size, 0, "0"),
        (numbers.size, 812, "812"),
        (numbers.size, 1536, "1.5K"),
        (numbers.size, 40 << 20, "40M"),
        (numbers.count, 1500, "1.5k"),
        (numbers.percent, 0.004, "0.4%"),
        (numbers.percent, 1.03, "103%"),
        (numbers.cores, 0.25, "0.25"),
        (numbers.cores, 120.4, "120"),
        (numbers.latency, 0.00034, "340µs"),
        (numbers.latency, 0.0015, "1.5ms"),
        (numbers.latency, 0.9999, "1.0s"),
        (numbers.latency, 2.1, "2.1s"),
        (numbers.whole, 16.0, "16"),
    ],
)
def test_a_number_is_short(write: Write, value: float, shown: str) -> None:
    assert write(value) == shown


def test_what_is_not_known_is_never_a_zero() -> None:
    assert numbers.known(numbers.size, None) == "-"
    assert numbers.known(numbers.size, 0) == "0"


@given(st.floats(0, 1e17), st.sampled_from([numbers.size, numbers.count]))
def test_sizes_and_counts_have_five_characters_at_most(value: float, write: Write) -> None:
    assert len(write(min(value, 9e14))) <= 5


@given(st.floats(0, 900))
def test_latencies_have_five_characters_at_most(seconds: float) -> None:
    assert len(numbers.latency(seconds)) <= 5
