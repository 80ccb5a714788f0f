"""Text on its way to a screen: what is untrusted, spans and sizes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.text import harmless, printable, size, span


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-1", "web-1"),
        ("Grüße 世界", "Grüße 世界"),
        ("", ""),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\r\tc\0", r"a\nb\r\tc\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b5D", r"\x9b5D"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_could_move_the_cursor_is_written_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(), st.integers(1, 50))
def test_nothing_unprintable_and_nothing_too_long_comes_through(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


def test_what_is_cut_says_so() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable("abcd", 4) == "abcd"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (245, "4m 05s"),
        (3599, "59m 59s"),
        (11_220, "3h 07m"),
        (86_399, "23h 59m"),
        (12 * 86_400 + 4 * 3600, "12d 04h"),
        (-3, "0s"),
    ],
)
def test_a_span_is_written_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (812, "812 B"), (1536, "1.5 KiB"), (40 << 20, "40 MiB"), (1 << 30, "1.0 GiB"), (9 << 50, "9216 TiB")],
)
def test_a_size_is_written_in_a_unit_that_makes_it_short(number: int, shown: str) -> None:
    assert size(number) == shown


def test_what_is_escaped_is_the_same_to_whoever_reads_json() -> None:
    text = json.dumps({"a": "\x7f\u202e\U000e0001ü", "b": 1}, ensure_ascii=False) + "\n"
    assert harmless(text).replace("\n", "").isprintable()
    assert json.loads(harmless(text)) == json.loads(text)
    assert harmless('{"a":"ü"}\n') == '{"a":"ü"}\n'
