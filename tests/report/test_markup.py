"""Markup that cannot be broken out of."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from domstat.report.markup import TEXT_MAX, Html, data, element, joined, text


class _Read(HTMLParser):
    """What a reader of HTML finds."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text(max_size=TEXT_MAX // 10))
def test_whatever_a_text_is_it_makes_no_element_and_no_attribute(name: str) -> None:
    read = _Read(element("td", name, title=name))
    assert [(tag, list(attributes)) for tag, attributes in read.starts] == [("td", ["title"])]


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=50))
def test_a_text_that_can_be_printed_is_read_as_it_was(name: str) -> None:
    read = _Read(element("td", name, title=name))
    assert "".join(read.texts) == name
    assert read.starts[0][1]["title"] == name


def test_what_could_hide_or_turn_what_is_beside_it_is_written_as_its_escape() -> None:
    assert text("a\u202eb\x00") == r"a\u202eb\x00"


def test_markup_goes_in_as_it_is_and_text_beside_it_does_not() -> None:
    assert element("p", Html("<b>1</b>"), "<b>2</b>") == "<p><b>1</b>&lt;b&gt;2&lt;/b&gt;</p>"
    assert joined(["<", Html("<br>")]) == "&lt;<br>"


def test_attributes_are_left_out_where_there_is_nothing_to_say() -> None:
    assert element("output", hidden=True, class_=None, id=False) == "<output hidden></output>"
    assert element("div", data_chart="a", class_="b") == '<div data-chart="a" class="b"></div>'


def test_an_element_that_has_no_end_gets_none() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_an_explanation_keeps_its_lines() -> None:
    assert element("td", title="a\nb") == '<td title="a\nb"></td>'


def test_a_text_that_is_endless_is_cut() -> None:
    assert len(text("x" * 10_000)) == TEXT_MAX


@given(st.recursive(st.text() | st.integers(-(2**53), 2**53) | st.none(), st.lists))
def test_data_can_be_read_and_ends_no_script(value: object) -> None:
    written = data(value)
    assert json.loads(written) == value
    assert not {"<", ">", "&", "\u2028", "\u2029"} & set(written)
