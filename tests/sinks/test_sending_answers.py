"""What servers' answers mean by their status, whatever they speak."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sending.answers import (
    AFTER_MAX_S,
    WORDS_MAX,
    Answer,
    Later,
    Meaning,
    Stored,
    message_of,
    usual_meaning_of,
    words_of,
)

NOW = datetime(2026, 11, 22, 22, 15, 4, tzinfo=UTC)
NOW_S = NOW.timestamp()


def answer(status: int, body: Any = b"", reason: str = "", /, **headers: str) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, text, reason)


def meaning(status: int, body: Any = b"", reason: str = "", /, **headers: str) -> Meaning | None:
    return usual_meaning_of(answer(status, body, reason, **headers), NOW_S)


def later(status: int, body: Any = b"", reason: str = "", /, **headers: str) -> Later:
    found = meaning(status, body, reason, **headers)
    assert isinstance(found, Later)
    return found


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_is_stored(status: int) -> None:
    assert meaning(status) == Stored()


def test_a_web_page_is_no_success() -> None:
    assert "url leads to something else" in later(200, content_type="text/html; charset=utf-8").message


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_busy_or_broken_server_is_tried_again(status: int) -> None:
    assert later(status, b"", "Overloaded") == Later(f"the server answers {status}: Overloaded")


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("17", 17.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("999999999", AFTER_MAX_S),
        ("-3", None),
        ("soon", None),
        ("٣", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=90), usegmt=True), AFTER_MAX_S),
        ("Sun, 99 Nov 2026 22:15:04 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_may_say_when_to_come_again(status: int, value: str, after: float | None) -> None:
    assert later(status, retry_after=value).after == after


def test_a_date_to_come_again_is_by_the_servers_own_clock() -> None:
    wrong = NOW - timedelta(hours=1)
    date = format_datetime(wrong, usegmt=True)
    until = format_datetime(wrong + timedelta(seconds=20), usegmt=True)
    assert later(503, retry_after=until, date=date).after == 20.0


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_said_and_not_followed(status: int) -> None:
    said = later(status, location="http://elsewhere:8086/\x1b[31m")
    assert "set url to http://elsewhere:8086/\\x1b[31m" in said.message


def test_a_compressed_answer_is_not_decompressed() -> None:
    assert "without a word" in later(500, b"\x1f\x8b\x08junk", content_encoding="gzip").message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 418, 422])
def test_what_the_others_mean_is_the_protocols_to_say(status: int) -> None:
    assert meaning(status, {"message": "no"}) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "in JSON", "error": "later"}, "in JSON"),
        ({"error": "in JSON"}, "in JSON"),
        ({"message": 3}, "in a header"),
        (b"as text", "in a header"),
        (b"<html>a page</html>", "in a header"),
    ],
)
def test_a_servers_words_are_looked_for_where_they_are_likeliest(body: Any, words: str) -> None:
    assert message_of(answer(400, body, "Bad Request", x_error="in a header"), "x-error") == words


@pytest.mark.parametrize(
    ("body", "words"), [(b" as text\n", "as text"), (b"<html>a page</html>", "Bad Request"), (b"", "Bad Request")]
)
def test_a_header_that_is_not_asked_for_says_nothing(body: bytes, words: str) -> None:
    assert message_of(answer(400, body, "Bad Request", x_error="in a header")) == words


def test_long_words_are_cut_in_their_middle() -> None:
    said = words_of(answer(400, b"at first " + b"x" * 5000 + b" at last"))
    assert said.startswith("at first")
    assert said.endswith("at last")
    assert len(said) <= WORDS_MAX


@given(
    st.binary(max_size=400),
    st.integers(200, 599),
    st.dictionaries(st.sampled_from(["retry-after", "location", "content-type"]), st.text(max_size=30)),
)
def test_whatever_is_answered_can_be_shown(body: bytes, status: int, headers: dict[str, str]) -> None:
    said = usual_meaning_of(Answer(status, headers, body), NOW_S)
    if isinstance(said, Later):
        assert said.message.isprintable()
        assert len(said.message) <= 2 * WORDS_MAX
