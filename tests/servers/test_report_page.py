"""The report in a real browser: it draws, loads nothing, complains of nothing, and no name means anything to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.report import assets, page
from domstat.report.answers import Answers
from domstat_lab.browser import Chromium, Page
from report.asked import ALL, HOSTILE_GUESTS, HOSTILE_HOST, full, growing, hostile, young

DRAWN = "document.documentElement.dataset.drawn"
PRINTED_PX = 680

Show = Callable[..., Page]


@pytest.fixture
def show(chromium: Chromium, tmp_path: Path) -> Iterator[Show]:
    """Show the page of some answers, and wait until its charts are drawn."""
    pages: list[Page] = []

    def shown(answers: Answers, *, dark: bool = False) -> Page:
        file = tmp_path / "report.html"
        file.write_text(page.write(answers, assets.load()), encoding="utf-8")
        pages.append(chromium.open(file, dark=dark))
        pages[-1].wait_for(DRAWN)
        return pages[-1]

    yield shown
    for one in pages:
        one.close()


def loaded(shown: Page) -> list[str]:
    """Return what was asked for beside the page itself and images that a chart made."""
    return [url for url in shown.requests if not url.startswith(("data:image/", "blob:"))][1:]


@pytest.mark.parametrize("made", ALL)
def test_it_draws_every_chart_loads_nothing_and_complains_of_nothing(show: Show, made: Callable[[], Answers]) -> None:
    shown = show(made())
    places = shown.ask("document.querySelectorAll('[data-chart]').length")
    assert shown.ask(DRAWN) == str(places)
    assert shown.ask("document.querySelectorAll('.js-plotly-plot .main-svg .cartesianlayer').length") == places
    assert shown.requests[0].startswith("file:///")
    assert loaded(shown) == []
    assert shown.complaints == []


def test_bars_demand_and_hours_are_there_to_be_seen(show: Show) -> None:
    shown = show(growing())
    assert shown.ask("document.querySelectorAll('[data-chart=runways] .bars .point').length") == 14
    assert shown.ask("document.querySelectorAll('[data-chart=demand-0] .js-line').length") == 6
    assert shown.ask("document.querySelectorAll('[data-chart=hours-of-day] .heatmaplayer image').length") == 1
    assert shown.ask("document.querySelector('[data-chart=runways]').getBoundingClientRect().height") > 200


def test_names_that_mean_harm_stay_text_on_the_page_and_in_its_charts(show: Show) -> None:
    shown = show(hostile())
    assert shown.ask("typeof hacked") == "undefined"
    text = shown.ask("document.body.textContent")
    for name in HOSTILE_GUESTS:
        if name.isprintable():
            assert name in text
    assert r"web\u202e\x1b[2J\x00gpj" in text
    labels = shown.ask("[...document.querySelectorAll('[data-chart] .ytick text')].map((one) => one.textContent)")
    assert f"{HOSTILE_HOST} memory" in labels
    assert HOSTILE_HOST in labels
    assert "var(--ink) vda" in labels
    assert shown.ask("document.querySelectorAll('svg a, main img, main svg[onload], [onmouseover]').length") == 0


def test_a_name_in_what_a_chart_says_when_pointed_at_is_text_too(show: Show) -> None:
    shown = show(hostile())
    point(shown, "[data-chart=runways] .bars .point path")
    shown.wait_for("document.querySelector('[data-chart=runways] .hoverlayer .hovertext') !== null")
    assert HOSTILE_HOST in shown.ask("document.querySelector('[data-chart=runways] .hoverlayer').textContent")
    assert shown.ask("typeof hacked") == "undefined"
    assert shown.complaints == []


def point(shown: Page, selector: str) -> None:
    """Point at the middle of an element."""
    shown.ask(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    left, top, width, height = shown.ask(
        f"(({{x, y, width, height}}) => [x, y, width, height])"
        f"(document.querySelector({selector!r}).getBoundingClientRect())"
    )
    for nudge in (0, 2):  # a pointer that does not move points at nothing
        shown.call("Input.dispatchMouseEvent", type="mouseMoved", x=left + width / 2 + nudge, y=top + height / 2)


def test_what_got_in_all_the_same_would_not_run(show: Show) -> None:
    shown = show(young())
    shown.ask(
        "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/ onerror=hacked=1>');"
        "document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))"
    )
    shown.wait_for("true")
    assert shown.ask("typeof hacked") == "undefined"
    assert any("Content Security Policy" in text for text in shown.complaints)


@pytest.mark.parametrize("made", [growing, hostile, full])
def test_it_is_no_wider_than_the_window(show: Show, made: Callable[[], Answers]) -> None:
    shown = show(made())
    for width in (1280, 420, 360):
        shown.resize(width, 900)
        widest = "Math.max(...[...document.querySelectorAll('html, .chart')].map((one) => one.scrollWidth))"
        shown.wait_for(f"innerWidth === {width} && {widest} <= {width}")  # charts follow a moment later


def test_charts_follow_when_the_person_turns_to_dark(show: Show) -> None:
    shown = show(growing())
    ink = "getComputedStyle(document.querySelector('[data-chart=runways] .ytick text')).fill"
    light = shown.ask(ink)
    shown.prefer(dark=True)
    shown.wait_for(f"{ink} !== {light!r}")
    assert shown.ask(ink) == shown.ask("getComputedStyle(document.body).color")


def test_touching_a_number_says_how_it_came_about(show: Show) -> None:
    shown = show(growing())
    assert shown.ask("document.getElementById('how').hidden")
    shown.ask("document.querySelector('#hosts td.figure:nth-of-type(3)').click()")
    assert shown.ask("document.getElementById('how').textContent").startswith("usable = 19.2 cores = ")
    shown.ask("document.querySelector('h1').click()")
    assert shown.ask("document.getElementById('how').hidden")


def test_on_paper_it_is_light_as_wide_as_the_paper_and_all_of_every_table(show: Show, tmp_path: Path) -> None:
    shown = show(growing(), dark=True)
    shown.ask(
        "addEventListener('beforeprint', () => { window.printed = ["
        "document.querySelector('[data-chart=runways] .main-svg').getBoundingClientRect().width, "
        "getComputedStyle(document.documentElement).getPropertyValue('--paper').trim(), "
        "getComputedStyle(document.querySelector('.scroll')).maxHeight] })"
    )
    shown.printed(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert shown.ask("window.printed")[0] == PRINTED_PX
    shown.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert shown.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.ask("getComputedStyle(document.querySelector('.scroll')).maxHeight") == "none"
    assert shown.complaints == []
