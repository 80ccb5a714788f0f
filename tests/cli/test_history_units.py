"""Values as people read them."""

from __future__ import annotations

import pytest

from domstat.cli.history.units import scaled, short, unit_of
from domstat.history import Measure

RATIO = Measure("seconds", per_second=True)
BYTES, BYTE_RATE = Measure("bytes"), Measure("bytes", per_second=True)


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [
        (0, BYTES, "0"),
        (812.0, BYTES, "812 B"),
        (1536.0, BYTES, "1.5 KiB"),
        (1000 * 1024.0, BYTES, "1000 KiB"),
        (1023.9 * 1024, BYTES, "1 MiB"),
        (-3 * 2**30, BYTES, "-3 GiB"),
        (2**20, BYTE_RATE, "1 MiB/s"),
        (0.25, RATIO, "0.25"),
        (12.3456, RATIO, "12.3"),
        (0.000_250, Measure("seconds"), "250 µs"),
        (3e-9, Measure("seconds"), "3 ns"),
        (90.0, Measure("seconds"), "90 s"),
        (12_345.0, Measure("requests", per_second=True), "12.3 k"),
        (0.5, Measure("requests", per_second=True), "0.5"),
        (3.0, Measure(""), "3"),
        (1e20, Measure(""), "100000 P"),
    ],
)
def test_a_value_is_short_and_has_its_unit(value: float, measure: Measure, text: str) -> None:
    assert short(value, measure) == text


def test_what_is_in_its_base_unit_stays_exact_and_whole_factors_keep_whole_numbers() -> None:
    assert scaled(2**63 + 1, Measure("bytes")) == 2**63 + 1
    assert (scaled(3, Measure("bytes", 1024.0)), type(scaled(3, Measure("bytes", 1024.0)))) == (3072, int)
    assert scaled(5, Measure("seconds", 1e-9)) == 5e-9
    assert (scaled("text", Measure("", 2.0)), scaled(True, Measure("", 2.0))) == ("text", True)


@pytest.mark.parametrize(
    ("measure", "unit"),
    [
        (BYTES, "bytes"),
        (BYTE_RATE, "bytes/s"),
        (RATIO, ""),
        (Measure("", per_second=True), "1/s"),
        (Measure("bytes_per_second"), "bytes/s"),
    ],
)
def test_a_unit_has_its_name(measure: Measure, unit: str) -> None:
    assert unit_of(measure) == unit
