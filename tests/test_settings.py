"""Durations, sizes, and errors that name the key, what was found and what is allowed."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from domstat.settings import Duration, Problem, SettingsError, Size, decode, holds_secret, show, veiled


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("30d", 2_592_000), (" 10 s ", 10)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("512KiB", 512 << 10), ("64MiB", 64 << 20), ("1.5GiB", 3 << 29), ("2TiB", 2 << 40)]
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "10 parsecs",
        "-5s",
        "0s",
        "0.0000001ms",
        "1e3s",
        "1,5s",
        "\u0661s",
        "ten s",
        "10S",
        "9" * 400 + "d",
    ],
)
def test_what_is_no_duration_is_refused_naming_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match='a duration such as "500ms"'):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["", "64", "64MB", "0B", "0.3B", "64mib", "-1GiB", "9" * 400 + "TiB", "99999999TiB"])
def test_what_is_no_size_is_refused_naming_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match='a size such as "512KiB"'):
        Size.parse(text)


@pytest.mark.parametrize("text", ["500ms", "10s", "90s", "5m", "1h", "25h", "30d", "1500ms", "0.5ms", "1234567ms"])
def test_a_duration_is_written_as_people_write_it(text: str) -> None:
    assert str(Duration.parse(text)) == text


@pytest.mark.parametrize("text", ["1B", "1000B", "1KiB", "64MiB", "1GiB", "3TiB", "1025KiB"])
def test_a_size_is_written_as_people_write_it(text: str) -> None:
    assert str(Size.parse(text)) == text


@given(st.integers(1, 10**12), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_every_duration_that_can_be_written_comes_back(count: int, unit: str) -> None:
    try:
        duration = Duration.parse(f"{count}{unit}")
    except ValueError:
        return  # more than a century
    assert math.isclose(Duration.parse(str(duration)), duration, rel_tol=1e-12)


@given(st.integers(1, 1 << 53))
def test_every_size_comes_back_exactly(size: int) -> None:
    assert Size.parse(str(Size(size))) == size


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    level: Literal["low", "high"] = "low"
    words: tuple[Literal["red", "green", "blue"], ...] = ()


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    every: Duration = Duration(10)
    room: Size | None = None
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    share: float = 0.5
    wanted: bool = False
    inner: Inner = Inner()
    rows: tuple[Inner, ...] = ()
    tags: dict[str, str] = {}
    anything: list[Any] = []
    name: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.path == "nowhere":
            raise ValueError("nowhere is no place")


def problems(raw: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        decode(raw, Table)
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_settings_are_decoded_with_their_defaults() -> None:
    table = decode({"path": "x", "every": "1m", "room": "1GiB", "rows": [{"level": "high"}]}, Table)
    assert table == Table("x", Duration(60), Size(1 << 30), rows=(Inner("high"),))
    assert isinstance(table.every, Duration)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({}, "path: missing, and there is no default"),
        ({"path": 5}, "path: found 5, expected text"),
        ({"path": "x", "pth": 1}, 'pth: unknown key; did you mean "path"?'),
        ({"path": "x", "every": 10}, f"every: found 10, expected {Duration.allowed}"),
        ({"path": "x", "every": "10"}, f'every: found "10", expected {Duration.allowed}'),
        ({"path": "x", "room": "64MB"}, f'room: found "64MB", expected {Size.allowed}'),
        ({"path": "x", "count": "3"}, 'count: found "3", expected a whole number'),
        ({"path": "x", "count": 0}, "count: found 0, expected a whole number >= 1"),
        ({"path": "x", "share": "half"}, 'share: found "half", expected a number'),
        ({"path": "x", "wanted": "yes"}, 'wanted: found "yes", expected true or false'),
        ({"path": "x", "inner": 3}, "inner: found 3, expected a table"),
        ({"path": "x", "inner": {"level": "hihg"}},
         'inner.level: found "hihg", expected one of "low", "high"; did you mean "high"?'),
        ({"path": "x", "inner": {"words": ["red", "gren"]}},
         'inner.words[1]: found "gren", expected one of "red", "green", "blue"; did you mean "green"?'),
        ({"path": "x", "inner": {"words": "red"}}, 'inner.words: found "red", expected a list'),
        ({"path": "x", "rows": {"level": "low"}},
         "rows: found {'level': 'low'}, but this is a list of tables: write [[rows]]"),
        ({"path": "x", "rows": [{}, {"level": 1}]}, 'rows[1].level: found 1, expected one of "low", "high"'),
        ({"path": "x", "rows": [5]}, "rows[0]: found 5, expected a table"),
        ({"path": "x", "anything": {}}, "anything: found {}, but this is a list of tables: write [[anything]]"),
        ({"path": "x", "tags": {"a": 1}}, "tags: found {'a': 1}, expected text"),
        ({"path": "x", "name": ""}, 'name: found "", expected text of length >= 1'),
        ({"path": "nowhere"}, "nowhere is no place"),
        (5, "found 5, expected a table"),
    ],
)  # fmt: skip
def test_one_wrong_thing_is_one_line_with_key_found_and_allowed(raw: Any, line: str) -> None:
    assert problems(raw) == [line]


def test_a_key_like_no_other_is_answered_with_those_there_are() -> None:
    assert problems({"path": "x", "zzz": 1}) == [
        "zzz: unknown key; known here: path, every, room, count, share, wanted, inner, rows, tags, anything, name"
    ]


def test_everything_that_is_wrong_is_said_and_not_just_the_first() -> None:
    assert len(problems({"every": 1, "count": "x", "inner": {"level": 0}, "zzz": 1})) == 5


def test_keys_are_named_from_where_the_table_stands_and_meant_ones_found_elsewhere_too() -> None:
    with pytest.raises(SettingsError) as caught:
        decode({"path": "x", "tpye": 1}, Table, "sinks[2]", also=("type",))
    assert caught.value.problems == [Problem("sinks[2].tpye", 'unknown key; did you mean "type"?')]


@given(st.dictionaries(st.text(max_size=5) | st.sampled_from(Table.__struct_fields__), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
), max_size=4))  # fmt: skip
def test_whatever_stands_in_a_table_is_taken_or_refused_line_by_line(raw: dict[str, Any]) -> None:
    problems: list[Problem] | None = None
    try:
        decode(raw, Table)
    except SettingsError as error:
        problems = error.problems
    assert problems is None or all(problem.text for problem in problems)
    assert problems != []


def test_a_value_is_shown_short_and_on_one_line() -> None:
    assert show("a\nb") == '"a\\nb"'
    assert show(True) == "True"
    assert len(show("x" * 1000)) < 70
    assert "\n" not in show(["a\nb"])


def test_a_password_is_not_shown_however_it_is_cut() -> None:
    url = f"http://me:{'s3cret' * 20}@kvm7/"
    for value in (url, [url], {"url": url}, f"x {url}"):
        assert "s3cret" not in show(value)


class Careless(Struct, frozen=True):
    """Settings as a stranger's sink may have them."""

    url: str = "http://me:s3cret@kvm7/"
    password: str = "s3cret"
    api_key: str | None = None
    Token: int = 7
    token_file: str = "/etc/sink.token"
    password_credential: str = "pg"
    headers: dict[str, str] = field(default_factory=lambda: {"X-API-Key": "s3cret", "X-Scope-OrgID": "ours"})
    hosts: tuple[str, ...] = ("a", "http://me:s3cret@b")


def test_secrets_are_hidden_by_the_names_that_they_have_and_within_urls() -> None:
    assert veiled(Careless()) == {
        "url": "http://me:***@kvm7/",
        "password": "***",
        "api_key": None,
        "Token": "***",
        "token_file": "/etc/sink.token",
        "password_credential": "pg",
        "headers": {"X-API-Key": "***", "X-Scope-OrgID": "ours"},
        "hosts": ("a", "http://me:***@b"),
    }


def test_settings_hold_a_secret_or_they_do_not() -> None:
    assert holds_secret(Careless())
    harmless = Careless(url="http://kvm7", password="", Token=0, headers={}, hosts=())
    assert not holds_secret(harmless)
    assert holds_secret(msgspec.structs.replace(harmless, headers={"Cookie": "s3cret"}))


def test_a_wrong_value_of_a_secret_is_not_shown() -> None:
    for raw in ({"password": 12345}, {"password": ["s3cret"]}, {"Token": "s3cret"}, {"headers": {"X-API-Key": 12345}}):
        with pytest.raises(SettingsError) as caught:
            decode(raw, Careless, "sinks[0]")
        assert "***" in str(caught.value)
        assert not {"s3cret", "12345"} & set(re.findall(r"\w+", str(caught.value)))
