"""Names from outside, escaped and read back."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.escape import NAME_BYTES_MAX, UNSAFE, escape_name, unescape_name

NASTY = st.text(
    st.one_of(st.sampled_from("\\%, =\"'\n\r\t\0\x7f\x85\u202e\u2028\u00a0#a1é"), st.characters()), max_size=600
)

DIRECTING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(NASTY)
def test_a_name_is_read_back_as_it_was(name: str) -> None:
    escaped = escape_name(name)
    if "%~" not in escaped:
        assert unescape_name(escaped) == name


@given(st.text(max_size=40))
def test_a_short_name_is_never_cut(name: str) -> None:
    assert unescape_name(escape_name(name)) == name


@given(NASTY)
def test_what_line_protocol_cannot_carry_never_remains(name: str) -> None:
    escaped = escape_name(name)
    assert escaped
    assert escaped.strip() == escaped
    assert not re.search(rf"[{UNSAFE}\\]", escaped)
    assert len(escaped.encode()) <= NAME_BYTES_MAX


@given(NASTY, NASTY)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (escape_name(one) == escape_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["web-1", "Büro 2", "a,b=c", "数据库", "👩‍💻", 'say "hi"', "#1"])
def test_a_harmless_name_stays_as_it_is(name: str) -> None:
    assert escape_name(name) == name


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a\\", "a%5C"),
        ("50%", "50%25"),
        (" a b ", "%20a b%20"),
        ("two\nlines", "two%0Alines"),
        ("", "%empty"),
        ("%empty", "%25empty"),
        ("\u202egnp", "%E2%80%AEgnp"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_each_kind_of_trouble_is_written_as_documented(name: str, escaped: str) -> None:
    assert escape_name(name) == escaped
    assert unescape_name(escaped) == name


def test_names_that_begin_alike_are_told_apart_when_cut() -> None:
    one, other = escape_name("x" * 5000), escape_name("x" * 5000 + "y")
    assert one != other
    assert one[:490] == other[:490]


@pytest.mark.parametrize("character", ["x", "é", "\n", "\u202e", "😀", "%"])
@pytest.mark.parametrize("offset", range(4))
def test_a_cut_name_comes_back_as_its_beginning(character: str, offset: int) -> None:
    name = "a" * offset + character * 5000
    back = unescape_name(escape_name(name))
    assert back.endswith("…")
    assert name.startswith(back[:-1])
    assert len(back) > 20


def test_everything_that_acts_on_a_terminal_is_unsafe() -> None:
    unsafe = re.compile(f"[{UNSAFE}]")
    acting = [chr(i) for i in range(0x3000) if unicodedata.category(chr(i)) == "Cc"]
    directing = [chr(i) for i in range(0x3000) if unicodedata.bidirectional(chr(i)) in DIRECTING]
    assert [character for character in acting + directing if not unsafe.match(character)] == []
