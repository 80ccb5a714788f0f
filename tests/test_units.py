"""Numbers as a person reads them, in five characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat import units
from domstat.units import MISSING, Write, cores, count, known, latency, percent, size, whole


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.04, "0.0"), (812, "812"), (999.6, "1.0K"), (1536, "1.5K"), (40 << 20, "40M"), (2**64, "16E")],
)
def test_sizes_count_in_1024s(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.3, "0.3"), (140, "140"), (1500, "1.5k"), (2e6, "2.0M")])
def test_counts_count_in_1000s(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.004, "0.4%"), (0.25, "25%"), (1.034, "103%")])
def test_shares_become_per_cent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0µs"), (0.00034, "340µs"), (0.0009996, "1.0ms"), (0.0015, "1.5ms"), (0.9999, "1.0s"), (2.1, "2.1s")],
)
def test_times_have_the_unit_that_fits(seconds: float, text: str) -> None:
    assert latency(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0.25, "0.25"), (3.1, "3.10"), (99.99, "99.99"), (120.4, "120")])
def test_cores_have_hundredths_until_there_is_no_room_for_them(value: float, text: str) -> None:
    assert cores(value) == text


def test_a_small_number_of_things_is_exact() -> None:
    assert whole(16.0) == "16"


@given(st.floats(0, 1e18))
def test_a_size_has_four_characters_at_most(value: float) -> None:
    assert len(size(value)) <= 4


@given(st.floats(0, 9e14), st.sampled_from([units.size, units.count]))
def test_sizes_and_counts_have_five_characters_at_most(value: float, write: Write) -> None:
    assert len(write(value)) <= 5


@given(st.floats(0, 900))
def test_latencies_have_five_characters_at_most(seconds: float) -> None:
    assert len(latency(seconds)) <= 5


def test_what_is_not_known_is_a_dash_and_zero_is_zero() -> None:
    assert known(size, None) == MISSING
    assert known(size, 0.0) == "0"
