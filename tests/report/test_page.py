"""The page as text: whole, self-contained, and nothing in it that a person should not meet."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from domstat.report import page
from domstat.report.answers import Answers
from domstat.report.assets import Assets
from report.asked import ALL, HOSTILE_GUESTS, PLAIN, full, growing, hostile, lost, young

EMPTY = {"meta", "br"}


class _Read(HTMLParser):
    """A page as a reader of HTML finds it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"script", "style"}:
            self.scripts.append(data)
        else:
            self.texts.append(data)


def read(answers: Answers) -> _Read:
    return _Read(page.write(answers, PLAIN))


@pytest.mark.parametrize("made", ALL)
def test_every_element_ends_and_every_link_leads_somewhere(made: Callable[[], Answers]) -> None:
    found = read(made())
    assert found.open == []
    ids = {attributes["id"] for _, attributes in found.starts if "id" in attributes}
    assert {attributes["href"] for tag, attributes in found.starts if tag == "a"} == {
        f"#{one}" for one in ids - {"charts", "how"}
    }


@pytest.mark.parametrize("made", ALL)
def test_no_figure_is_shown_as_something_only_a_program_understands(made: Callable[[], Answers]) -> None:
    text = page.write(made(), PLAIN)
    for word in ("NaN", "None", "nan", "Infinity", "Traceback", "Figure(", "Status.", "Resource."):
        assert not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), word


@pytest.mark.parametrize("made", ALL)
def test_every_chart_has_a_place_and_every_place_a_chart(made: Callable[[], Answers]) -> None:
    found = read(made())
    places = {attributes["data-chart"] for _, attributes in found.starts if "data-chart" in attributes}
    assert json.loads(found.scripts[1]).keys() == places


def test_nothing_is_loaded_from_anywhere() -> None:
    found = read(growing())
    attributes = [(tag, name, value) for tag, having in found.starts for name, value in having.items()]
    assert [
        one for one in attributes if one[1] in {"src", "srcset", "action", "style"} or one[1].startswith("on")
    ] == []
    assert {value[:1] for tag, name, value in attributes if name == "href" and value} == {"#"}
    assert {tag for tag, _ in found.starts} & {"link", "img", "iframe", "object", "embed", "base", "form"} == set()


def test_the_policy_lets_the_two_scripts_run_and_nothing_else() -> None:
    assets = Assets("a{}", "page()", "plotly()")
    found = _Read(page.write(growing(), assets))
    policy = next(having["content"] for _, having in found.starts if having.get("http-equiv"))
    sums = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (assets.plotly, assets.script)
    ]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{sums[0]}' 'sha256-{sums[1]}'; style-src 'unsafe-inline'; "
        "img-src data: blob:"
    )
    assert found.scripts[0] == "a{}"
    assert found.scripts[2:] == ["plotly()", "page()"]


def test_names_that_mean_harm_are_text() -> None:
    found = read(hostile())
    assert [tag for tag, _ in found.starts].count("script") == 3
    assert {tag for tag, _ in found.starts} & {"b", "i", "img", "svg"} == set()
    shown = "".join(found.texts)
    for name in HOSTILE_GUESTS:
        assert name in shown or name == "web\u202e\x1b[2J\x00gpj"
    assert "\u202e" not in shown
    assert r"web\u202e\x1b[2J\x00gpj" in shown


def test_the_sentence_that_matters_comes_first_and_definitions_last() -> None:
    found = read(growing())
    sections = [having["id"] for tag, having in found.starts if tag == "section"]
    assert sections == [
        "runways", "demand", "hours", "hosts", "days", "disks", "remaining",
        "reclaim", "sizes", "contention", "trust", "definitions",
    ]  # fmt: skip
    shown = "".join(found.texts)
    assert shown.index("kvm1 CPU is full first") < shown.index("Time remaining")


def test_each_host_has_a_card_that_says_how_long_it_lasts_and_of_what() -> None:
    shown = "|".join(read(growing()).texts)
    assert (
        "kvm1|102 days|of CPU at least, expected 22 July 2026|2 guests running, 1 off|1 more fit, limited by CPU"
        in shown
    )
    assert "kvm2|> 365 days|memory|1 guest running, 0 off" in shown
    assert "kvm1|full|memory: 40 GiB of 19.2 GiB" in "|".join(read(full()).texts)


def test_a_history_that_is_too_young_says_so_in_place_of_charts() -> None:
    shown = "".join(read(young()).texts)
    assert "There is not enough history yet" in shown
    assert "There is nothing to draw yet." in shown
    assert "It is not known when hosts are busy." in shown


def test_hosts_that_are_not_seen_any_more_leave_sentences_where_figures_would_be() -> None:
    shown = "".join(read(lost()).texts)
    assert "No guest is seen to run." in shown
    assert "by demand 21.7 GiB of disk; by allocation 4.67 vCPUs, 4.33 GiB of memory and 43.3 GiB of disk." in shown


def test_the_same_answers_make_the_same_page() -> None:
    assert page.write(growing(), PLAIN) == page.write(growing(), PLAIN)
