"""The page's charts, as plotly takes them: plain data, no plotly needed to make it. Pure.

Colours are the style's variables, which the page's script puts in: so charts follow light and dark, and print. Text
that comes from outside goes through :func:`plain`, as plotly reads tags in labels and hovers.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from domstat.capacity.demand import ALL, Resource
from domstat.capacity.explained import Figure, Unit
from domstat.capacity.grid import DAY_MS, FloatArray
from domstat.capacity.hours import HOURS_OF_DAY, HOURS_OF_WEEK, Busy, Hours
from domstat.capacity.runway import Runway, Status
from domstat.report.naming import soonest, thing, tone
from domstat.report.numbers import date_of, day_in, number, said
from domstat.text import printable

Spec: TypeAlias = dict[str, Any]
"""What plotly draws: its data and its layout."""

BARS_MAX = 40
"""Runways that are drawn, those that end first; the table has all."""

ROW_PX, AXES_PX = 26, 64
"""Height of a bar or of a host's row, and of what stands around them."""

NAME_MAX = 28
"""Characters of a name beside a chart: as wide as leaves room for the chart on a telephone."""

DIGITS = 5
"""Digits of a drawn value that count: less than a pixel is lost."""

AHEAD_MIN_DAYS, AHEAD_MORE = 60, 1.25
"""How far ahead demand is drawn: beyond the day on which it is full, by a quarter, and two months at least."""

AHEAD_DAYS = 180
"""How far ahead where it is not full within the horizon."""

DAY_TICKS = (0, 90, 180, 270, 365, 730, 1095, 1460, 1825)
"""Days that are marked on an axis of days: few enough for a telephone."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HEAT = [[0.0, "var(--heat-none)"], [0.5, "var(--heat-half)"], [0.8, "var(--heat-much)"], [1.0, "var(--heat-all)"]]

_BINARY = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


class Chart(Struct, frozen=True):
    """A chart: the *key* of its place on the page, and what is drawn there."""

    key: str
    spec: Spec


def plain(text: str, limit: int = 200) -> str:
    """Write text for plotly, which would take what looks like a tag or an entity for one."""
    return html.escape(printable(text, limit), quote=False)


def _layout(height: int, **own: Any) -> Spec:
    axis: Spec = {"gridcolor": "var(--line)", "zerolinecolor": "var(--line)", "linecolor": "var(--line)"}
    own["xaxis"] = {**axis, **own.get("xaxis", {})}
    own["yaxis"] = {**axis, **own.get("yaxis", {})}
    return {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink)", "size": 12},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        "showlegend": False,
        **own,
    }


# Runways.


def of_hosts(found: Sequence[Runway]) -> list[Runway]:
    """Return the runways of hosts and pools."""
    return [one for one in found if one.resource is not Resource.DISK]


def of_disks(found: Sequence[Runway]) -> list[Runway]:
    """Return the runways of guests' disks that have an end."""
    return [one for one in found if one.resource is Resource.DISK and one.conservative.is_known]


def drawn(found: Sequence[Runway]) -> list[Runway]:
    """Choose the runways that are drawn: those of which something is known, what is full first comes first."""
    known = [one for one in found if one.status is Status.FULL or one.projection is not None]
    return sorted(known, key=soonest)[:BARS_MAX]


def runways(key: str, found: Sequence[Runway], now_ms: int, horizon_days: float) -> Chart:
    """Draw how long each thing lasts: to its earliest end, from there to its latest, and where it is expected."""
    rows = drawn(found)
    places = list(range(len(rows)))
    earliest = [_days(one.conservative, horizon_days) for one in rows]
    latest = [_days(one.latest, horizon_days) for one in rows]
    expected = [(place, one.expected.value) for place, one in enumerate(rows) if one.expected.value]
    tones = [tone(one) for one in rows]
    texts = [_runway_text(one, now_ms) for one in rows]
    common = {"type": "bar", "orientation": "h", "y": places, "hovertext": texts, "hoverinfo": "text"}
    sure = {**common, "x": earliest, "width": 0.62, "marker": {"color": [f"var(--{of})" for of in tones]}}
    spans = [late - early for early, late in zip(earliest, latest, strict=True)]
    unsure = {
        **common, "x": spans, "base": earliest, "width": 0.62,
        "marker": {"color": [f"var(--{of}-pale)" for of in tones]},
    }  # fmt: skip
    middle = {
        "type": "scatter", "mode": "markers", "hoverinfo": "text",
        "x": [days for _, days in expected],
        "y": [place for place, _ in expected],
        "hovertext": [texts[place] for place, _ in expected],
        "marker": {"symbol": "diamond", "size": 9, "color": "var(--ink)", "line": {"color": "var(--paper)"}},
    }  # fmt: skip
    full = [place for place in places if rows[place].status is Status.FULL]
    told = {
        "type": "scatter", "mode": "text", "x": [0] * len(full), "y": full, "textposition": "middle right",
        "text": [" full already" for _ in full], "textfont": {"color": "var(--full)"},
        "hovertext": [texts[place] for place in full], "hoverinfo": "text",
    }  # fmt: skip
    ticks = [days for days in DAY_TICKS if days <= horizon_days]
    layout = _layout(
        ROW_PX * len(rows) + AXES_PX,
        barmode="overlay",
        xaxis={
            "range": [0, horizon_days], "tickvals": ticks, "tickangle": 0, "automargin": True, "fixedrange": True,
            "ticktext": [f"{days} d<br>{_short_day(days, now_ms)}" for days in ticks],
        },
        yaxis={
            "range": [len(rows) - 0.5, -0.5], "tickvals": places, "automargin": True, "fixedrange": True,
            "ticktext": [plain(thing(one), NAME_MAX) for one in rows], "showgrid": False, "zeroline": False,
        },
    )  # fmt: skip
    return Chart(key, {"data": [sure, unsure, middle, told], "layout": layout})


def _days(figure: Figure, otherwise: float) -> float:
    return otherwise if figure.value is None else min(figure.value, otherwise)


def _short_day(days: float, now_ms: int) -> str:
    day, month, *_ = day_in(days, now_ms).split()
    return f"{day} {month[:3]}"


def _runway_text(one: Runway, now_ms: int) -> str:
    lines = [f"<b>{plain(thing(one))}</b>: {one.status}"]
    for name, days in (("earliest", one.conservative), ("expected", one.expected), ("latest", one.latest)):
        when = f"in {said(days)}, {day_in(days.value, now_ms)}" if days.value is not None else said(days)
        lines.append(f"{name}: {plain(when)}")
    lines.append(f"demand {plain(said(one.demand))} of {plain(said(one.usable))} usable")
    return "<br>".join(lines)


# Demand, and what is to be expected of it.


def demand(key: str, one: Runway) -> Chart:
    """Draw what was asked for each day, what is projected with its interval, and where it is full."""
    projection = one.projection
    unit, per = _unit(one)
    days = [date_of(one.days.since_ms + place * DAY_MS) for place in range(one.days.count)]
    data = [_line(days, one.daily / per, "demand", color="var(--line-past)", width=1.5)]
    last_ms = one.days.until_ms
    if projection is not None:
        count = min(len(projection.middle), _ahead(one))
        ahead = [date_of(projection.start_ms + place * projection.step_ms) for place in range(count)]
        last_ms = projection.start_ms + count * projection.step_ms
        level = f"{100 * projection.level:.0f} %"
        data += [
            _line(ahead, projection.high[:count] / per, f"upper, {level}", color="var(--band-edge)", width=0.5),
            {
                **_line(ahead, projection.low[:count] / per, f"lower, {level}", color="var(--band-edge)", width=0.5),
                "fill": "tonexty", "fillcolor": "var(--band)",
            },
            _line(ahead, projection.middle[:count] / per, "expected", color="var(--line-ahead)", width=2, dash="dot"),
        ]  # fmt: skip
    ends = [date_of(one.days.since_ms), date_of(last_ms)]
    total = next((figure for name, figure in one.usable.inputs if name == "total"), None)
    for name, limit, dash in (("usable", one.usable, "dash"), ("capacity", total, "dot")):
        if limit is not None and limit.value is not None:
            data.append(_line(ends, [limit.value / per] * 2, name, color=f"var(--{name})", width=1.5, dash=dash))
    layout = _layout(
        260,
        hovermode="x unified",
        xaxis={"type": "date", "automargin": True, "range": ends},
        yaxis={"rangemode": "tozero", "automargin": True, "title": {"text": unit}},
    )
    return Chart(key, {"data": data, "layout": layout})


def _ahead(one: Runway) -> int:
    days = one.expected.value if one.expected.value is not None else one.conservative.value
    return round(max(AHEAD_MIN_DAYS, AHEAD_DAYS if days is None else AHEAD_MORE * days))


def _unit(one: Runway) -> tuple[str, float]:
    """Return what values are drawn in, and how many base units that is."""
    if one.demand.unit is not Unit.BYTES:
        return str(one.demand.unit), 1.0
    largest = max((figure.value or 0.0 for figure in (one.demand, one.usable)), default=0.0)
    return next(((name, float(size)) for size, name in _BINARY if largest >= size), ("B", 1.0))


def _line(days: Sequence[str], values: Iterable[float] | FloatArray, name: str, **line: Any) -> Spec:
    return {
        "type": "scatter", "mode": "lines", "x": days, "y": [_rounded(value) for value in values], "name": name,
        "line": line, "hovertemplate": "%{y:.4g}",
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    """Write a value as briefly as a chart needs it; what is not known is a gap."""
    return None if value is None or value != value else float(f"{value:.{DIGITS}g}")  # noqa: PLR0124 - NaN


# When hosts are busy.


def by_day(found: Hours) -> Chart:
    """Draw the hours of the day, a row a host: how much of its CPUs is in use on the mean of all days."""
    hours = [f"{hour:02}" for hour in range(HOURS_OF_DAY)]
    texts = [
        [_hour_text(one, f"{hour}:00 UTC", one.day[place], one.peaks[place]) for place, hour in enumerate(hours)]
        for one in found.hosts
    ]
    ticks = list(range(0, HOURS_OF_DAY, 3))
    return Chart("hours-of-day", _heat(found.hosts, [one.day for one in found.hosts], texts, ticks, hours[::3]))


def by_week(found: Hours) -> Chart:
    """Draw the hours of the week, a row a host."""
    texts = [
        [
            _hour_text(
                one, f"{WEEKDAYS[place // HOURS_OF_DAY]} {place % HOURS_OF_DAY:02}:00 UTC", one.week[place], None
            )
            for place in range(HOURS_OF_WEEK)
        ]
        for one in found.hosts
    ]
    ticks = [day * HOURS_OF_DAY + HOURS_OF_DAY // 2 for day in range(len(WEEKDAYS))]
    return Chart("hours-of-week", _heat(found.hosts, [one.week for one in found.hosts], texts, ticks, WEEKDAYS))


def _heat(
    hosts: Sequence[Busy],
    shares: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    ticks: Sequence[int],
    names: Sequence[str],
) -> Spec:
    places = list(range(len(hosts)))
    data = {
        "type": "heatmap", "y": places, "z": [[_rounded(share) for share in row] for row in shares],
        "hovertext": texts, "hoverinfo": "text", "zmin": 0, "zmax": 1, "xgap": 1, "ygap": 1, "colorscale": HEAT,
        "colorbar": {"tickformat": ".0%", "thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.5, 1]},
    }  # fmt: skip
    layout = _layout(
        ROW_PX * len(hosts) + AXES_PX,
        xaxis={
            "tickvals": ticks, "ticktext": names, "tickangle": 0, "showgrid": False, "automargin": True,
            "fixedrange": True,
        },
        yaxis={
            "range": [len(hosts) - 0.5, -0.5], "tickvals": places, "showgrid": False, "automargin": True,
            "ticktext": [plain(one.host, NAME_MAX) for one in hosts], "fixedrange": True,
        },
    )  # fmt: skip
    return {"data": [data], "layout": layout}


def _hour_text(one: Busy, when: str, mean: float | None, peak: float | None) -> str:
    said_mean = "not known" if mean is None else f"{number(mean, Unit.RATIO)} of its CPUs, on the mean"
    said_peak = "" if peak is None else f"<br>{number(peak, Unit.RATIO)} at its peak"
    return f"<b>{plain(one.host)}</b>, {when}<br>{said_mean}{said_peak}"


def pressed(found: Sequence[Runway], most: int) -> list[Runway]:
    """Choose what demand is drawn of: the most constrained, of hosts one by one."""
    return [one for one in drawn(found) if one.host != ALL][:most]
