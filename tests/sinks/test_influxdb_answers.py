"""What servers' answers mean: their own words, as they were seen or are documented, in a table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.influxdb.answers import (
    AFTER_MAX_S,
    WORDS_MAX,
    Answer,
    Denied,
    Later,
    Meaning,
    Refused,
    Stored,
    TooLarge,
    meaning_of,
)

NOW = datetime(2026, 11, 22, 22, 15, 4, tzinfo=UTC)
NOW_S = NOW.timestamp()
CONFLICT = 'field type conflict: input field "f" on measurement "m" is type float, already exists as type integer'


def meaning(status: int, body: Any = b"", reason: str = "", /, **headers: str) -> Meaning:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return meaning_of(Answer(status, named, text, reason), NOW_S)


def refused(status: int, body: Any, /, **headers: str) -> Refused:
    found = meaning(status, body, "", **headers)
    assert isinstance(found, Refused)
    return found


def later(status: int, body: Any = b"", reason: str = "", /, **headers: str) -> Later:
    found = meaning(status, body, reason, **headers)
    assert isinstance(found, Later)
    return found


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_is_stored(status: int) -> None:
    assert meaning(status) == Stored()


def test_a_web_page_is_no_success() -> None:
    assert "url leads to something else" in later(200, content_type="text/html; charset=utf-8").message


def test_a_body_that_is_too_large_is_that() -> None:
    assert meaning(413, b"<html>413 Request Entity Too Large</html>", content_type="text/html") == TooLarge()


def test_influxdb_1_counts_what_it_dropped() -> None:
    assert refused(400, {"error": f"partial write: {CONFLICT} dropped=3"}) == Refused(
        f"partial write: {CONFLICT}", certain=True, dropped=3
    )


def test_influxdb_1_that_stored_all_it_could_parse_counts_none() -> None:
    said = refused(400, {"error": "partial write: unable to parse 'm f=x 1': invalid boolean dropped=0"})
    assert (said.certain, said.dropped) == (True, 0)


@pytest.mark.parametrize(
    "words",
    [
        f"failure writing points to database: partial write: {CONFLICT} dropped=1",
        "failure writing points to database: partial write: dropped 1 points outside retention policy dropped=1",
        "partial write: max-values-per-tag limit exceeded (100000/100000): measurement=m tag=uuid dropped=1",
    ],
)
def test_influxdb_2_says_422_of_points_it_could_not_write(words: str) -> None:
    said = refused(422, {"code": "unprocessable entity", "message": words})
    assert (said.certain, said.dropped) == (True, 1)


def test_influxdb_2_quotes_what_it_cannot_parse() -> None:
    said = refused(400, {"code": "invalid", "message": "unable to parse 'm f=': missing fields"})
    assert said == Refused("unable to parse 'm f=': missing fields", certain=True)


def test_influxdb_3_names_the_lines() -> None:
    data = [
        {"original_line": "m f=hi 1", "line_number": 2, "error_message": "invalid column type for column 'f'"},
        {"original_line": "m f= 1", "line_number": 7, "error_message": "No fields were provided"},
    ]
    said = refused(400, {"error": "partial write of line protocol occurred", "data": data})
    assert said.named == {1: "invalid column type for column 'f'", 6: "No fields were provided"}


def test_influxdb_3_that_takes_all_or_nothing_names_one_line() -> None:
    data = {"original_line": "m f= 1", "line_number": 1, "error_message": "No fields were provided"}
    assert refused(400, {"error": "parsing failed for write_lp endpoint", "data": data}).named == {
        0: "No fields were provided"
    }


@pytest.mark.parametrize("data", [None, "much", 3, [None], [{"line_number": 0}], [{"line_number": "2"}], {}])
def test_names_that_are_none_name_nothing(data: object) -> None:
    assert refused(400, {"error": "partial write of line protocol occurred", "data": data}).named == {}


def test_victoriametrics_speaks_plain_text_and_says_the_matter_last() -> None:
    body = (
        b'remoteAddr: "127.0.0.1:4"; requestURI: /api/v2/write?' + b"x" * 5000 + b"; too long line: more than 4 bytes\n"
    )
    said = refused(400, body, content_type="text/plain; charset=utf-8")
    assert said.certain
    assert said.message.startswith("remoteAddr")
    assert said.message.endswith("too long line: more than 4 bytes")
    assert len(said.message) <= WORDS_MAX


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Bad Request",
        b"<html>partial</html>",
        b'{"error":"database is required"}',
        b'{"message":"invalid header"}',
    ],
)
def test_a_400_that_does_not_speak_of_points_is_not_certain_to_be_of_them(body: bytes) -> None:
    assert not refused(400, body).certain


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_that(status: int) -> None:
    said = meaning(status, {"code": "unauthorized", "message": "unauthorized access"})
    assert isinstance(said, Denied)
    assert said.message.endswith("unauthorized access")


def test_a_bucket_that_is_missing_is_to_be_created() -> None:
    said = later(404, {"error": 'database not found: "nope"'})
    assert 'create it (database not found: "nope")' in said.message
    assert said.after


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


@pytest.mark.parametrize("status", [405, 410, 418])
def test_what_no_store_answers_is_tried_again(status: int) -> None:
    assert "which no InfluxDB should" in later(status, b"a teapot").message


def test_a_compressed_answer_is_not_decompressed() -> None:
    assert "without a word" in later(500, b"\x1f\x8b\x08junk", content_encoding="gzip").message


def test_the_error_header_speaks_where_the_body_does_not() -> None:
    assert refused(400, b"", x_influxdb_error="partial write: points beyond retention policy dropped=9").dropped == 9


@given(
    st.binary(max_size=400),
    st.integers(300, 599),
    st.dictionaries(st.sampled_from(["retry-after", "location"]), st.text(max_size=30)),
)
def test_whatever_is_answered_has_a_meaning_that_can_be_shown(
    body: bytes, status: int, headers: dict[str, str]
) -> None:
    said = meaning_of(Answer(status, headers, body), NOW_S)
    if not isinstance(said, Stored | TooLarge):
        assert said.message.isprintable()
        assert len(said.message) <= 2 * WORDS_MAX
