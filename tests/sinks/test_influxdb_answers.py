"""What servers' answers mean: their own words, as they were seen or are documented, in a table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.influxdb.answers import meaning_of
from domstat_sinks.sending.answers import WORDS_MAX, Answer, Denied, Later, Meaning, Refused, Stored, TooLarge

NOW_S = 1_795_385_704.0
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


def test_what_any_server_means_by_its_status_is_what_this_one_means() -> None:
    assert meaning(204) == Stored()
    assert later(429, retry_after="17").after == 17.0
    assert "set url to http://elsewhere" in later(307, location="http://elsewhere").message


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


@pytest.mark.parametrize("status", [405, 410, 418])
def test_what_no_store_answers_is_tried_again(status: int) -> None:
    assert "which no InfluxDB should" in later(status, b"a teapot").message


def test_the_error_header_speaks_where_the_body_does_not() -> None:
    assert refused(400, b"", x_influxdb_error="partial write: points beyond retention policy dropped=9").dropped == 9
    assert later(503, b"", "Service Unavailable", x_influxdb_error="engine is closed").message.endswith(
        "engine is closed"
    )


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
