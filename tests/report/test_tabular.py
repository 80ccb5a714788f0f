"""Tables of whatever rows they are given."""

from __future__ import annotations

from domstat.capacity.explained import Figure, Unit, given, missing
from domstat.report.tabular import ROWS_MAX, Column, table

COLUMNS: tuple[Column[tuple[str, Figure | None]], ...] = (
    Column("name", lambda row: row[0]),
    Column("much", lambda row: row[1], "how much"),
)


def written(*rows: tuple[str, Figure | None]) -> str:
    return table("Things", COLUMNS, rows, command="domstat capacity things", nothing="There are none.")


def test_a_number_shows_how_it_came_about_when_pointed_at() -> None:
    assert '<td class="figure" title="much = 2 cores (cpu.cores)">2 cores</td>' in written(
        ("a", given(2.0, Unit.CORES, "cpu.cores"))
    )


def test_a_number_with_a_warning_is_marked() -> None:
    assert '2 cores<sup title="few were seen">!</sup>' in written(
        ("a", given(2.0, Unit.CORES, "cpu.cores", "few were seen"))
    )


def test_where_there_is_no_number_there_is_its_reason() -> None:
    text = written(("a", missing(Unit.DAYS, "stale figures: 3 days old")), ("b", None))
    assert '<td class="lacking" title="much = stale figures: 3 days old">stale figures</td>' in text
    assert "<td></td>" in text
    assert "None" not in text


def test_the_first_cell_of_a_row_heads_it() -> None:
    assert '<th scope="row">&lt;a&gt;</th>' in written(("<a>", None))


def test_without_rows_there_is_a_sentence() -> None:
    assert written() == '<p class="nothing">There are none.</p>'


def test_of_too_many_rows_the_rest_is_counted_and_where_they_are_is_said() -> None:
    text = written(*((str(place), None) for place in range(ROWS_MAX + 7)))
    assert text.count("<tr>") == ROWS_MAX + 1
    assert "and 7 more, which domstat capacity things lists" in text
