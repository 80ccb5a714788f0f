"""Charts drawn with characters: where lines are, what the axes say."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.cli.history.chart import Frame, Line, Scale, draw, scale_of
from domstat.history import Measure

START_MS = 1_795_305_600_000  # Sunday 22 November 2026, 00:00 UTC
MINUTE_MS, DAY_MS = 60_000, 86_400_000
BYTES = Measure("bytes")
FRAME = Frame(START_MS, START_MS + DAY_MS, 80, UTC)


def line(values: list[float], step_ms: int = MINUTE_MS, measure: Measure = BYTES, title: str = "a line") -> Line:
    return Line(title, measure, [START_MS + i * step_ms for i in range(len(values))], values)


def panel(drawn: list[str], rows: int) -> list[str]:
    """Return what is right of the axis, row by row."""
    return [text[12:] for text in drawn[2 : 2 + rows]]


def test_a_line_that_rises_all_day_goes_from_the_lower_left_to_the_upper_right() -> None:
    rising = line([float(i) for i in range(100)], DAY_MS // 100)
    rows = panel(draw([rising], FRAME, 10, [Scale(0.0, 100.0, 25.0)]), 10)
    assert rows[9][1] != " " == rows[9][-1] or len(rows[9]) < 20
    firsts = [len(row) - len(row[1:].lstrip()) for row in rows]
    assert firsts == sorted(firsts, reverse=True)
    assert max(map(len, rows)) == 80 - 12


def test_points_that_follow_each_other_are_joined_and_others_are_not() -> None:
    frame = Frame(START_MS, START_MS + 100 * MINUTE_MS, 63, UTC)
    whole = Line("", BYTES, [START_MS + i * 10 * MINUTE_MS for i in range(10)], [1.0] * 10)
    broken = Line("", BYTES, [time for i, time in enumerate(whole.time_ms) if i not in {4, 5, 6}], [1.0] * 7)
    scale = [Scale(0.0, 2.0, 1.0)]
    assert " " not in panel(draw([whole], frame, 3, scale), 3)[1][1:]
    assert panel(draw([broken], frame, 3, scale), 3)[1][1:].count(" ") == pytest.approx(19, abs=1)


def test_values_beyond_the_scale_stay_on_the_chart() -> None:
    rows = panel(draw([line([-50.0, 500.0])], FRAME, 4, [Scale(0.0, 100.0, 50.0)]), 4)
    assert rows[0][1] != " "
    assert rows[3][1] != " "


def test_title_and_figures_stand_above_and_the_span_below() -> None:
    drawn = draw([line([1024.0, 3 * 1024.0])], FRAME, 4, [Scale(0.0, 4096.0, 2048.0)])
    assert drawn[0] == "a line"
    assert drawn[1].strip() == "min 1 KiB  mean 2 KiB  max 3 KiB"
    assert drawn[-1].strip() == "Sun 22 Nov 2026 00:00:00 to Mon 23 Nov 2026 00:00:00 UTC"


def test_the_axis_of_values_has_marks_with_units() -> None:
    drawn = draw([line([0.0])], FRAME, 8, [Scale(0.0, 4096.0, 2048.0)])
    marks = [text[:11].strip() for text in drawn if "┤" in text]
    assert marks == ["4 KiB", "2 KiB", "0"]


def test_the_axis_of_time_has_round_local_times() -> None:
    east = Frame(START_MS + 5 * MINUTE_MS, START_MS + DAY_MS, 80, timezone(timedelta(hours=5, minutes=30), "IST"))
    labels = draw([line([1.0])], east, 3, [Scale(0.0, 1.0, 1.0)])[-2].split()
    assert labels == ["06:00", "12:00", "18:00", "23", "Nov"]
    assert draw([line([1.0])], east, 3, [Scale(0.0, 1.0, 1.0)])[-1].endswith("IST")


@pytest.mark.parametrize(
    ("span_ms", "labels"),
    [
        (60_000, ["00:00:00", "00:00:10", "00:00:20", "00:00:30", "00:00:40", "00:00:50"]),
        (3_600_000, ["22 Nov", "00:10", "00:20", "00:30", "00:40", "00:50"]),
        (7 * DAY_MS, ["23 Nov", "25 Nov", "27 Nov"]),
        (365 * DAY_MS, ["Jan 2027", "Mar 2027", "Jul 2027", "Sep 2027"]),
    ],
)
def test_times_are_as_fine_as_the_span_allows(span_ms: int, labels: list[str]) -> None:
    frame = Frame(START_MS, START_MS + span_ms, 84, UTC)
    drawn = draw([line([1.0])], frame, 3, [Scale(0.0, 1.0, 1.0)])[-2]
    assert [label for label in labels if label not in drawn] == []


@given(
    st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=50),
    st.integers(1, 10**10),
    st.integers(40, 200),
    st.integers(3, 15),
    st.booleans(),
)
def test_whatever_is_drawn_fits(values: list[float], step_ms: int, width: int, rows: int, is_binary: bool) -> None:
    drawn_line = line(values, step_ms, BYTES if is_binary else Measure("", per_second=True), "x" * 300)
    frame = Frame(START_MS, START_MS + len(values) * step_ms, width, UTC)
    scale = scale_of(min(values), max(values), rows, is_binary=is_binary)
    drawn = draw([drawn_line, drawn_line], frame, rows, [scale, scale])
    assert len(drawn) == 2 * (rows + 2) + 3
    assert max(map(len, drawn[:-1])) <= width


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.integers(3, 15), st.booleans())
def test_a_scale_holds_all_values_and_has_few_marks(low: float, more: float, rows: int, is_binary: bool) -> None:
    scale = scale_of(low, low + more, rows, is_binary=is_binary)
    slack = scale.step * 1e-6
    assert scale.bottom - slack <= low <= low + more <= scale.top + slack
    assert 1 <= round((scale.top - scale.bottom) / scale.step) <= 7


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0.1, 1.1, Scale(0.0, 1.5, 0.5)),
        (98.0, 100.0, Scale(98.0, 100.0, 0.5)),
        (0.0, 0.0, Scale(0.0, 1.0, 0.25)),
        (7.0, 7.0, Scale(0.0, 8.0, 2.0)),
        (-3.0, -3.0, Scale(-3.0, 0.0, 1.0)),
    ],
)
def test_a_scale_is_round_and_begins_at_nothing_unless_that_flattens_the_line(
    low: float, high: float, scale: Scale
) -> None:
    assert scale_of(low, high, 12, is_binary=False) == scale


def test_a_scale_of_bytes_is_round_in_their_largest_unit() -> None:
    scale = scale_of(1.4 * 2**30, 2.4 * 2**30, 5, is_binary=True)
    assert scale.step / 2**30 in {0.5, 1.0}
