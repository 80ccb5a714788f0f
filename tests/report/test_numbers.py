"""Figures as people read them."""

from __future__ import annotations

import pytest

from domstat.capacity.explained import Figure, Unit, given, missing, worked_out
from domstat.report import numbers

GIB = float(1 << 30)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.8, Unit.CORES, "12.8 cores"),
        (1.0, Unit.VCPUS, "1 vCPU"),
        (1234.0, Unit.GUESTS, "1.23 k guests"),
        (64 * GIB, Unit.BYTES, "64 GiB"),
        (1023.9, Unit.BYTES, "1 KiB"),
        (1.5 * 1024, Unit.BYTES_PER_SECOND, "1.5 KiB/s"),
        (0.97, Unit.RATIO, "97 %"),
        (0.0002, Unit.RATIO, "< 0.1 %"),
        (0.0, Unit.RATIO, "0 %"),
        (1.0, Unit.DAYS, "1 day"),
        (2.25, Unit.DAYS, "2.2 days"),
        (117.4, Unit.DAYS, "117 days"),
        (0.012, Unit.SECONDS, "12 ms"),
        (7200.0, Unit.SECONDS, "2 h"),
        (0.0, Unit.SECONDS, "0 s"),
        (2.5, Unit.NONE, "2.5"),
        (-7.6e-17, Unit.CORES, "0 cores"),
        (-3 * GIB, Unit.BYTES, "-3 GiB"),
    ],
)
def test_a_number_is_short_and_has_its_unit(value: float, unit: Unit, text: str) -> None:
    assert numbers.number(value, unit) == text


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("value", [0.0, 1e-12, 0.5, 1.0, 999.99, 1e6, 1e18, -1.0])
def test_every_number_of_every_unit_is_written_in_a_few_characters(value: float, unit: Unit) -> None:
    text = numbers.number(value, unit)
    assert 0 < len(text) < 40
    assert "e+" not in text
    assert "nan" not in text.lower()


def test_where_there_is_no_number_there_is_its_reason_in_a_table_without_the_details() -> None:
    figure = missing(Unit.DAYS, "not within the horizon: 365d")
    assert numbers.said(figure) == "not within the horizon: 365d"
    assert numbers.briefly(figure) == "not within the horizon"
    assert numbers.said(Figure(None)) == "not known"
    assert numbers.briefly(missing(Unit.CORES, "nothing is known of what that is and of where it is")) == "not known"


def test_a_figure_says_how_it_came_about_a_line_a_step() -> None:
    total = given(16.0, Unit.THREADS, "host.cpus")
    buffer = given(0.2, Unit.RATIO, "the setting cpu_buffer")
    usable = worked_out(12.8, Unit.CORES, "total * (1 - buffer)", {"total": total, "buffer": buffer}, "few were seen")
    assert numbers.how(usable, "usable").splitlines() == [
        "usable = 12.8 cores = total * (1 - buffer) [few were seen]",
        "   total = 16 threads (host.cpus)",
        "   buffer = 20 % (the setting cpu_buffer)",
    ]


def test_an_explanation_of_thousands_of_parts_ends_somewhere() -> None:
    parts = {f"guest-{place}": given(1.0, Unit.CORES, "cpu.cores") for place in range(2000)}
    lines = numbers.how(worked_out(2000.0, Unit.CORES, "sum of 2000", parts), "demand").splitlines()
    assert len(lines) == numbers.STEPS_MAX + 1
    assert lines[-1] == "and so on"


def test_days_are_days_in_utc() -> None:
    midnight = 1_798_329_600_000  # 2026-12-27T00:00:00Z
    assert numbers.day_of(midnight) == "27 December 2026"
    assert numbers.minute_of(midnight - 60_000) == "26 December 2026, 23:59 UTC"
    assert numbers.date_of(midnight) == "2026-12-27"
    assert numbers.day_in(1.5, midnight) == "28 December 2026"


def test_counts_agree_with_their_nouns() -> None:
    assert [numbers.counted(count, "guest") for count in (0, 1, 2, 1500)] == [
        "0 guests", "1 guest", "2 guests", "1,500 guests",
    ]  # fmt: skip
