"""Charts as plotly takes them: what is in them, and that nothing in a name means anything to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import msgspec
import plotly.graph_objects as go
import pytest

from domstat.report import charts
from domstat.report.answers import Answers
from domstat.report.charts import Chart
from domstat.report.naming import thing
from report.asked import ALL, HOSTILE_HOST, full, growing, hostile, young


def all_of(answers: Answers) -> Iterator[Chart]:
    own, disks = charts.of_hosts(answers.runways), charts.of_disks(answers.runways)
    yield charts.runways("runways", own, answers.now_ms, 365)
    yield charts.runways("disks", disks, answers.now_ms, 365)
    for place, one in enumerate(charts.pressed(own, 6)):
        yield charts.demand(f"demand-{place}", one)
    yield charts.by_day(answers.hours)
    yield charts.by_week(answers.hours)


@pytest.mark.parametrize("made", ALL)
def test_plotly_knows_everything_that_is_said_to_it(made: Callable[[], Answers]) -> None:
    for chart in all_of(made()):
        go.Figure(chart.spec)  # raises where it does not


@pytest.mark.parametrize("made", ALL)
def test_a_chart_is_plain_data_without_what_is_no_number(made: Callable[[], Answers]) -> None:
    for chart in all_of(made()):
        json.loads(msgspec.json.encode(chart.spec), parse_constant=pytest.fail)
        assert "NaN" not in str(chart.spec)


def test_a_bar_goes_to_the_earliest_end_and_on_to_the_latest_with_a_mark_where_it_is_expected() -> None:
    beyond = 365
    one = next(one for one in growing().runways if one.name == "images")
    chart = charts.runways("runways", [one], growing().now_ms, beyond)
    sure, unsure, middle, told = chart.spec["data"]
    assert sure["x"] == [one.conservative.value]
    assert unsure["base"] == [one.conservative.value]
    assert unsure["x"] == [(one.latest.value or 0) - (one.conservative.value or 0)]
    assert middle["x"] == [one.expected.value]
    assert told["y"] == []
    assert sure["marker"]["color"] == ["var(--ample)"]


def test_what_has_no_end_reaches_the_edge_and_what_is_full_says_so() -> None:
    calm = next(one for one in growing().runways if (one.host, one.resource) == ("kvm2", "cpu"))
    sure, unsure, middle, _ = charts.runways("runways", [calm], growing().now_ms, 365).spec["data"]
    assert (sure["x"], unsure["x"], middle["x"]) == ([365], [0], [])
    done = next(one for one in full().runways if (one.host, one.resource) == ("kvm1", "cpu"))
    sure, _, middle, told = charts.runways("runways", [done], full().now_ms, 365).spec["data"]
    assert (sure["x"], middle["x"], told["text"]) == ([0.0], [], [" full already"])


def test_of_what_nothing_is_known_nothing_is_drawn() -> None:
    assert charts.drawn(young().runways) == []


def test_of_too_many_those_that_end_first_are_drawn() -> None:
    many = [one for one in growing().runways if one.projection is not None] * 20
    found = charts.drawn(many)
    assert len(found) == charts.BARS_MAX
    assert thing(found[0]) == "kvm1 CPU"


def test_demand_is_drawn_with_its_projection_and_with_the_line_it_must_not_reach() -> None:
    one = next(one for one in growing().runways if one.name == "images")
    past, upper, lower, middle, usable, capacity = charts.demand("demand", one).spec["data"]
    assert past["x"][0] == "2026-01-01"
    assert past["y"][0] == pytest.approx(300, rel=0.02)
    assert upper["x"] == lower["x"] == middle["x"]
    assert middle["x"][0] > past["x"][-1]
    assert lower["fill"] == "tonexty"
    assert usable["y"] == [800, 800]
    assert capacity["y"] == [1000, 1000]
    assert charts.demand("demand", one).spec["layout"]["yaxis"]["title"]["text"] == "GiB"


def test_a_day_that_was_not_seen_is_a_gap() -> None:
    one = hostile().runways[0]
    values = one.daily.copy()
    values[3] = float("nan")
    drawn = charts.demand("demand", msgspec.structs.replace(one, daily=values)).spec["data"][0]
    assert drawn["y"][3] is None


def test_hours_have_a_row_a_host_and_a_column_an_hour() -> None:
    found = growing().hours
    day, week = charts.by_day(found).spec["data"][0], charts.by_week(found).spec["data"][0]
    assert [len(row) for row in day["z"]] == [24, 24]
    assert [len(row) for row in week["z"]] == [168, 168]
    assert all(0 <= share <= 1 for row in day["z"] for share in row)
    assert week["hovertext"][0][24].startswith("<b>kvm1</b>, Tue 00:00 UTC<br>")


def test_a_name_that_looks_like_a_tag_is_none_to_plotly() -> None:
    specs = [chart.spec for chart in all_of(hostile())]
    texts = [text for spec in specs for text in _texts(spec)]
    assert any(charts.plain(HOSTILE_HOST) in text for text in texts)
    for text in texts:
        bare = text
        for own in ("<b>", "</b>", "<br>"):
            bare = bare.replace(own, "")
        assert "<" not in bare, text


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def test_no_template_of_plotlys_holds_a_name() -> None:
    for chart in all_of(hostile()):
        assert {trace.get("hovertemplate", "%{y:.4g}") for trace in chart.spec["data"]} <= {"%{y:.4g}"}
