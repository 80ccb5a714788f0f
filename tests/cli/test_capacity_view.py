"""How answers are written: short for people, plain for programs, with their reasons."""

from __future__ import annotations

import pytest

from domstat.capacity.explained import Figure, Unit, added, given, missing, worked_out
from domstat.cli.capacity import view
from domstat.cli.capacity.view import Column, View

GIB = float(1 << 30)
TOTAL = given(16, Unit.THREADS, "host.cpus")
USABLE = worked_out(12.8, Unit.CORES, "total * 0.8", {"total": TOTAL})


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (given(1.5 * GIB, Unit.BYTES, ""), "1.5 GiB"),
        (given(0.43, Unit.RATIO, ""), "43 %"),
        (given(6.03e-12, Unit.RATIO, ""), "< 0.1 %"),
        (given(0.0, Unit.RATIO, ""), "0 %"),
        (given(0.003, Unit.RATIO, ""), "0.3 %"),
        (given(0.0, Unit.DAYS, ""), "0 d"),
        (given(7.25, Unit.DAYS, ""), "7.2 d"),
        (given(99.6, Unit.DAYS, ""), "100 d"),
        (given(0.0015, Unit.SECONDS, ""), "1.5 ms"),
        (given(12.8, Unit.CORES, ""), "12.8"),
        (given(3, Unit.GUESTS, "", "only half was seen"), "3 !"),
        (missing(Unit.DAYS, "not within the horizon: 365d"), "not within the horizon"),
        ("kvm1", "kvm1"),
        (None, ""),
        (0.123456789, "0.123457"),
        (7, "7"),
    ],
)
def test_a_cell_is_written_short(figure: Figure | str | float | None, text: str) -> None:
    assert view.written(figure) == text


def test_a_number_that_stands_alone_has_its_unit() -> None:
    assert [view.alone(one) for one in (TOTAL, USABLE, given(4, Unit.VCPUS, ""), missing(Unit.CORES, "none"))] == [
        "16 threads",
        "12.8 cores",
        "4 vCPUs",
        "none",
    ]


def shown() -> View:
    columns = (Column("host", "host"), Column("total", None), Column("usable", "usable"), Column("days", "days"))
    late = missing(Unit.DAYS, "not enough history: 3 of 8 values")
    return View(columns, (("kvm1", TOTAL, USABLE, late), ("kvm2", late, late, late)))


def test_a_table_leaves_columns_out_and_says_a_reason_once() -> None:
    answer = view.for_a_person(shown())
    assert answer.columns == ("host", "usable", "days")
    assert list(answer.rows) == [("kvm1", "12.8", "not enough history"), ("kvm2", "not enough history", "-")]


def test_a_program_gets_plain_numbers_and_null() -> None:
    answer = view.for_a_program(shown())
    assert answer.columns == ("host", "total", "usable", "days")
    assert list(answer.rows) == [("kvm1", 16, 12.8, None), ("kvm2", None, None, None)]


def test_an_explanation_is_indented_below_what_it_explains() -> None:
    assert list(
        view.explained_text(View((Column("host", "host"), Column("usable", "usable")), (("kvm1", USABLE),)))
    ) == [
        "",
        "kvm1",
        "  usable = 12.8 cores = total * 0.8",
        "      total = 16 threads (host.cpus)",
    ]


def test_an_explanation_has_the_same_in_json_and_csv() -> None:
    (line, _) = view.explained_lines(shown())
    assert line["explain"]["usable"] == {
        "value": 12.8,
        "unit": "cores",
        "formula": "total * 0.8",
        "inputs": {"total": {"value": 16.0, "unit": "threads", "source": "host.cpus"}},
    }
    rows = list(view.explained(shown()).rows)
    assert rows[1] == ("kvm1", "usable", "usable", 12.8, "cores", "total * 0.8", "", "")
    assert rows[2] == ("kvm1", "usable", "total", 16.0, "threads", "", "host.cpus", "")


def test_of_thousands_of_summands_an_explanation_shows_some() -> None:
    many = added({f"guest {number}": given(1, Unit.GUESTS, "") for number in range(5000)}, Unit.GUESTS)
    one = View((Column("host", "host"), Column("guests", "guests")), (("kvm1", many),))
    lines = list(view.explained_text(one))
    assert len(lines) < 2 * view.EXPLAINED_MAX
    assert lines[-1].strip() == "and so on"
