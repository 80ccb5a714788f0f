"""Text is fitted into cells, harmless; values become sparks and bars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from domstat.top.lines import Line, cut, fit, gauge, spark, text_of, width_of


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("web-1", 8, "web-1   "),
        ("web-1", 5, "web-1"),
        ("web-12345", 5, "web-…"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日… "),
        ("web-1", 1, "…"),
        ("", 3, "   "),
    ],
)
def test_a_text_fills_its_cells_and_an_ellipsis_stands_for_the_rest(text: str, width: int, shown: str) -> None:
    assert fit(text, width) == shown


def test_numbers_stand_right() -> None:
    assert fit("42%", 5, right=True) == "  42%"


@given(st.text(), st.integers(1, 60))
def test_whatever_a_name_is_it_takes_its_cells_and_moves_no_cursor(name: str, width: int) -> None:
    shown = fit(name, width)
    assert width_of(shown) == width
    assert shown.isprintable()


@pytest.mark.parametrize("text", ["web-1", "grün", "日本語", "한국", "e\u0301", "▁█░▼…·", "🦀"])
def test_cells_are_counted_as_what_draws_them_counts(text: str) -> None:
    assert width_of(text) == cell_len(text)


def test_a_line_is_made_exactly_as_wide_as_the_page() -> None:
    line: Line = (("web-1", "strong"), (" running", "plain"))
    assert cut(line, 8) == (("web-1", "strong"), (" r…", "plain"))
    assert cut(line, 15) == (*line, ("  ", "plain"))
    assert cut((), 3) == (("   ", "plain"),)


def test_a_page_is_text_without_blanks_at_the_ends() -> None:
    assert text_of([(("a ", "plain"), ("b ", "dim")), ()]) == "a b\n"


def test_sparks_go_from_nothing_to_the_largest_and_leave_a_blank_where_nothing_is_known() -> None:
    assert spark([0.0, None, 5.0, 10.0], 4) == "▁ ▅█"
    assert spark([0.0, 0.0], 2) == "▁▁"
    assert spark([None, None], 2) == "  "
    assert spark([], 5) == ""


def test_sparks_can_have_a_full_height_that_only_more_than_it_exceeds() -> None:
    assert spark([0.0, 0.5], 2, full=1.0) == "▁▅"
    assert spark([1.0, 2.0], 2, full=1.0) == "▅█"


def test_more_values_than_cells_are_drawn_as_means() -> None:
    assert spark([0.0, 2.0, None, 4.0, 4.0, 4.0], 3) == "▃██"


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e12)), max_size=130), st.integers(0, 130))
def test_sparks_take_as_many_cells_as_there_are_or_fewer_where_there_are_fewer_values(
    values: list[float | None], width: int
) -> None:
    assert len(spark(values, width)) == min(len(values), width)


def test_a_bar_is_as_full_as_its_share_and_red_when_nearly_full() -> None:
    assert gauge(0.5, 4) == (("██", "bar"), ("░░", "dim"))
    assert gauge(0.9, 10) == (("█████████", "bad"), ("░", "dim"))
    assert gauge(None, 2) == (("", "bar"), ("░░", "dim"))
    assert gauge(7.0, 2) == (("██", "bad"), ("", "dim"))
