"""The page: one file of HTML that loads nothing, from what matters most to what the words mean. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from operator import attrgetter

import domstat
from domstat.capacity.contention import Wait
from domstat.capacity.demand import ALL
from domstat.capacity.explained import Figure
from domstat.capacity.forecasting import Projection
from domstat.capacity.remaining import Remaining
from domstat.capacity.rightsize import Verdict
from domstat.capacity.runway import Status
from domstat.capacity.standing import Standing
from domstat.capacity.summary import Summary
from domstat.report import charts, headline, tables
from domstat.report.answers import Answers
from domstat.report.assets import Assets
from domstat.report.charts import Chart
from domstat.report.definitions import definitions
from domstat.report.markup import Content, Html, data, element, joined
from domstat.report.naming import RESOURCES, UNKNOWN_TONE, some, thing, tone
from domstat.report.numbers import counted, day_in, day_of, how, minute_of, said
from domstat.report.trust import doubts

CARDS_MAX = 24
"""Hosts that have a card, the most constrained first; the table has all."""

DEMANDS_MAX = 6
"""Things whose demand is drawn."""

DAY_S = 86_400


def write(answers: Answers, assets: Assets) -> str:
    """Write the whole page."""
    drawn: list[Chart] = []
    parts = [
        _top(answers),
        _runways(answers, drawn),
        _demand(answers, drawn),
        _hours(answers, drawn),
        _hosts(answers),
        _days(answers),
        _disks(answers, drawn),
        _remaining(answers),
        _reclaim(answers),
        _sizes(answers),
        _contention(answers),
        _trust(answers),
        _definitions(answers),
    ]
    specs = {chart.key: chart.spec for chart in drawn}
    body = element(
        "body",
        element("main", *parts),
        element("footer", f"Made by domstat {domstat.__version__} from its history; this page loads nothing."),
        element("output", id="how", hidden=True),
        element("script", data(specs), type="application/json", id="charts"),
        element("script", Html(assets.plotly)),
        element("script", Html(assets.script)),
    )
    return f"<!DOCTYPE html>\n{element('html', _head(answers, assets), body, lang='en')}\n"


def _head(answers: Answers, assets: Assets) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(assets)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Capacity, {day_of(answers.now_ms)}"),
        element("style", Html(assets.style)),
    )


def _policy(assets: Assets) -> str:
    """Say that the page may load nothing, and run these two scripts only, whatever got into it.

    Plotly makes its own style sheet and draws heat maps as images of its own.
    """
    scripts = " ".join(f"'sha256-{_digest(text)}'" for text in (assets.plotly, assets.script))
    return f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# What matters.


def _top(answers: Answers) -> Html:
    hosts = counted(len(answers.fleet.hosts), "host")
    about = f"{hosts}, as of {minute_of(answers.now_ms)}; growth since {day_of(answers.since_ms)}."
    return element(
        "header",
        element("h1", "Capacity"),
        element("p", about, class_="about"),
        element("p", headline.first(answers), class_="headline"),
        element("ul", *(element("li", text) for text in headline.others(answers)), class_="others"),
        _cards(answers),
        element("nav", *(element("a", name, href=f"#{key}") for key, name in _SECTIONS), aria_label="Sections"),
    )


_SECTIONS = (
    ("runways", "Time remaining"),
    ("demand", "Demand"),
    ("hours", "Busy hours"),
    ("hosts", "Hosts"),
    ("days", "Days left"),
    ("disks", "Thin disks"),
    ("remaining", "What still fits"),
    ("reclaim", "Reclaim"),
    ("sizes", "Sizes"),
    ("contention", "Who waits"),
    ("trust", "How far to trust this"),
    ("definitions", "Definitions"),
)


def _section(key: str, *contents: Content) -> Html:
    return element("section", element("h2", dict(_SECTIONS)[key]), *contents, id=key)


def _cards(answers: Answers) -> Html:
    hosts = [one for one in answers.summaries if one.host != ALL]
    fitting = {one.host: one for one in answers.remaining.hosts}
    hosts.sort(key=lambda one: ((most := _constrained(one)) is None, most.pressure if most else (0.0, 0.0)))
    cards = [_card(one, fitting.get(one.host), answers) for one in hosts[:CARDS_MAX]]
    more = len(hosts) - CARDS_MAX
    rest = [element("p", f"and {more:,} more hosts, which the table has", class_="more")] if more > 0 else []
    return joined([element("ul", *cards, class_="cards"), *rest])


def _constrained(one: Summary) -> Standing | None:
    return next((of for of in one.standings if of.resource == one.constrained), None)


def _card(one: Summary, fits: Remaining | None, answers: Answers) -> Html:
    most = _constrained(one)
    runway = None if most is None else most.runway
    lines = [f"{counted(one.running, 'guest')} running, {one.off:,} off"]
    if fits is not None and fits.guests.value is not None:
        limit = f", limited by {RESOURCES[fits.limited_by]}" if fits.limited_by else ""
        lines.append(f"{fits.guests.value:,.0f} more fit{limit}")
    return element(
        "li",
        element("h3", one.host),
        element("p", *_when(one, most, answers), class_="when"),
        *(element("p", line) for line in lines),
        class_=f"card {UNKNOWN_TONE if one.note else tone(runway)}",
    )


def _when(one: Summary, most: Standing | None, answers: Answers) -> Iterator[Html]:
    """Say in large print how long a host lasts, and below that of what and until when."""
    runway = None if most is None else most.runway
    if most is None or runway is None:
        yield element("strong", "not known")
        yield element("span", one.note or "nothing is known of what it is asked for")
        return
    what = RESOURCES[most.resource] + (f" {runway.name}" if runway.name else "")
    earliest, expected = runway.conservative, runway.expected
    if runway.status is Status.FULL:
        yield element("strong", "full")
        yield element("span", f"{what}: {said(runway.demand)} of {said(runway.usable)}")
    elif earliest.value is None:
        beyond = runway.status is Status.BEYOND
        yield element("strong", f"> {headline.horizon_days(answers)} days" if beyond else str(runway.status))
        yield element("span", what if beyond else f"{what}: {runway.note}")
    else:
        yield element("strong", said(earliest), title=how(earliest, "earliest"))
        then = f", expected {day_in(expected.value, answers.now_ms)}" if expected.value is not None else ""
        yield element("span", f"of {what} at least{then}")


# The charts.


def _chart(chart: Chart, drawn: list[Chart], caption: str, title: str = "") -> Html:
    """Make the place of a chart, and remember the chart for it."""
    drawn.append(chart)
    heads = [element("h3", title)] if title else []
    place = element("div", data_chart=chart.key, class_="chart", role="img", aria_label=title or caption)
    return element("figure", *heads, place, element("figcaption", caption))


def _runways(answers: Answers, drawn: list[Chart]) -> Html:
    own = charts.of_hosts(answers.runways)
    if not charts.drawn(own):
        return _section("runways", element("p", "There is nothing to draw yet.", class_="nothing"))
    horizon = answers.settings.horizon / DAY_S
    legend = (
        "Full colour: until the earliest day, by the upper bound of what is projected. Pale: from there to the latest, "
        "by its lower bound. Diamond: the day that is expected. What reaches the right edge is not full within "
        f"{horizon:.0f} days."
    )
    return _section("runways", _chart(charts.runways("runways", own, answers.now_ms, horizon), drawn, legend))


def _disks(answers: Answers, drawn: list[Chart]) -> Html:
    found = charts.of_disks(answers.runways)
    if not found:
        return _section("disks", element("p", "No thin disk is known to be full within the horizon.", class_="nothing"))
    chart = charts.runways("disks", found, answers.now_ms, answers.settings.horizon / DAY_S)
    caption = "When disks of guests that grow are full, drawn as above; there is no buffer."
    return _section("disks", _chart(chart, drawn, caption), tables.runways(found, "Thin disks"))


def _demand(answers: Answers, drawn: list[Chart]) -> Html:
    found = charts.pressed(charts.of_hosts(answers.runways), DEMANDS_MAX)
    if not found:
        return _section("demand", element("p", "There is nothing to draw yet.", class_="nothing"))
    figures = [
        _chart(charts.demand(f"demand-{place}", one), drawn, _told(one.projection), thing(one))
        for place, one in enumerate(found)
    ]
    intro = (
        f"What is full first: demand day by day, what is expected of it with its {answers.settings.level:.0%} "
        "interval. Dashed is what is usable, which it should not reach; dotted is all there is."
    )
    return _section("demand", element("p", intro), element("div", *figures, class_="pair"))


def _told(projection: Projection | None) -> str:
    """Say what a projection was made of."""
    if projection is None:
        return "It is full; nothing is projected."
    season = " and ".join(projection.season)
    parts = [f"pattern of the {season}" if season else "no recurring pattern"]
    days = [day_of(time_ms) for time_ms in projection.shifts_ms]
    if days:
        parts.append(f"its level jumped on {some(days)}, which is not taken for growth")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _hours(answers: Answers, drawn: list[Chart]) -> Html:
    found = answers.hours
    if not found.hosts:
        return _section("hours", element("p", "It is not known when hosts are busy.", class_="nothing"))
    over = f"the last {found.days:.0f} days" if found.days >= 2 else f"the last {found.over.count} hours"
    parts = [_chart(charts.by_day(found), drawn, f"Share of each host's CPUs in use by hour of the day (UTC), {over}.")]
    if found.has_weeks:
        parts.append(_chart(charts.by_week(found), drawn, "The same by hour of the week, from Monday on (UTC)."))
    return _section("hours", *parts)


# The tables.


def _hosts(answers: Answers) -> Html:
    constrained = [
        f"{one.host or 'All hosts'}: {RESOURCES[one.constrained] if one.constrained else one.note or 'not known'}"
        for one in answers.summaries
    ]
    return _section("hosts", tables.standings(answers), element("p", f"Most constrained: {'; '.join(constrained)}."))


def _days(answers: Answers) -> Html:
    return _section("days", tables.runways(charts.of_hosts(answers.runways), "Time remaining"))


def _remaining(answers: Answers) -> Html:
    each = answers.remaining.each
    demand = _of_each((each.cores, ""), (each.resident, " of memory"), (each.held, " of disk"))
    size = _of_each((each.vcpus, ""), (each.memory, " of memory"), (each.disk, " of disk"))
    text = f"Each guest is {each.name}: by demand {demand}; by allocation {size}."
    return _section("remaining", element("p", text), tables.remaining(answers))


def _of_each(*parts: tuple[Figure, str]) -> str:
    return some([f"{said(figure)}{what}" for figure, what in parts if figure.is_known]) or "nothing is known of it"


def _reclaim(answers: Answers) -> Html:
    found = answers.reclaim
    parts: list[Content] = []
    if found.candidates:
        parts.append(tables.reclaimable(answers.summaries))
    parts.append(tables.candidates(found.candidates, "Off or idle"))
    if found.regular:
        parts.append(tables.candidates(found.regular, "Idle but for regular work: not counted as reclaimable"))
    if found.lately_off:
        text = f"{counted(found.lately_off, 'guest')} more went off lately, less than {answers.settings.off_after} ago."
        parts.append(element("p", text))
    return _section("reclaim", *parts)


def _sizes(answers: Answers) -> Html:
    found = answers.sizes.sizings
    if not found:
        return _section("sizes", element("p", "No guest is seen to run.", class_="nothing"))
    small, big = ([one for one in found if one.verdict is of] for of in (Verdict.UNDERSIZED, Verdict.OVERSIZED))
    fit = sum(one.verdict is Verdict.FITS for one in found)
    text = (
        f"Of {len(found):,} sizes of guests that run, {fit:,} fit, {len(small):,} are too small, {len(big):,} too big."
    )
    return _section(
        "sizes",
        element("p", text),
        tables.sizings(small, "Too small", "No guest is too small, as far as that is known."),
        tables.sizings(big, "Too big", "No guest is too big, as far as that is known."),
    )


def _contention(answers: Answers) -> Html:
    found = answers.contention
    waits: Sequence[Wait] = sorted(found.waits, key=attrgetter("is_unusual"), reverse=True)
    return _section("contention", tables.bullies(found.bullies), tables.waits(waits))


def _trust(answers: Answers) -> Html:
    texts = [element("li", text) for text in doubts(answers)]
    said_ = element("ul", *texts) if texts else element("p", "Nothing stands against it.", class_="nothing")
    return _section("trust", tables.seen(answers), said_)


def _definitions(answers: Answers) -> Html:
    pairs = (joined([element("dt", term), element("dd", meaning)]) for term, meaning in definitions(answers.settings))
    hint = "A dotted number says how it came about: point at it, or touch it."
    return _section("definitions", element("p", hint), element("dl", *pairs))
