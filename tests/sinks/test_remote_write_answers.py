"""What stores' answers to remote write mean: their own words, as they were seen or are documented, in a table."""

from __future__ import annotations

import pytest

from domstat_sinks.remote_write.answers import Fault, fault_of, meaning_of
from domstat_sinks.sending.answers import MENDED_AFTER_S, Answer, Denied, Later, Meaning, Refused, Stored, TooLarge

MIMIR = "failed pushing to ingester mimir-1: user=anonymous: "
OF_SERIES = '. The affected sample has timestamp 2026-11-22T22:15:04.123Z and is from series {__name__="a"}'


def meaning(status: int, text: str = "", /, **headers: str) -> Meaning:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return meaning_of(Answer(status, named, text.encode()), 1_795_385_704.0)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_success_is_stored(status: int) -> None:
    assert meaning(status) == Stored()


def test_a_web_page_is_no_success() -> None:
    assert isinstance(meaning(200, "<html>", content_type="text/html"), Later)


@pytest.mark.parametrize(
    ("status", "text", "fault"),
    [
        (400, "out of order sample\n", Fault.LATE),
        (400, "duplicate sample for timestamp\n", Fault.LATE),
        (400, "duplicate sample for timestamp 1; overrides not allowed: existing 1, new value 2", Fault.LATE),
        (400, "out of bounds\n", Fault.TOO_OLD),
        (400, "too old sample\n", Fault.TOO_OLD),
        (500, "too old sample\n", Fault.TOO_OLD),
        (409, "store locally for endpoint thanos-0:10901: conflict", Fault.LATE),
        (409, "add 3 samples: out of bounds", Fault.TOO_OLD),
        (
            400,
            MIMIR + "the sample has been rejected because another sample with a more recent timestamp has already been "
            "ingested and out-of-order samples are not allowed (err-mimir-sample-out-of-order)" + OF_SERIES,
            Fault.LATE,
        ),
        (
            400,
            MIMIR + "the sample has been rejected because another sample with a more recent timestamp has already been "
            "ingested and this sample is beyond the out-of-order time window of 6h "
            "(err-mimir-sample-timestamp-too-old)" + OF_SERIES,
            Fault.TOO_OLD,
        ),
        (
            400,
            MIMIR + "the sample has been rejected because another sample with the same timestamp, but a different "
            "value, has already been ingested (err-mimir-sample-duplicate-timestamp)" + OF_SERIES,
            Fault.LATE,
        ),
        (400, MIMIR + "per-user series limit of 150000 exceeded (err-mimir-max-series-per-user)", Fault.OTHER),
        (400, "series has 31 labels, limit: 30 (err-mimir-max-label-names-per-series)", Fault.OTHER),
        (400, "label value too long for metric: \"a\" label: \"b\"", Fault.OTHER),
        (400, "received a sample whose timestamp is too far in the future (err-mimir-too-far-in-future)", Fault.OTHER),
    ],
)  # fmt: skip
def test_refusals_of_samples_are_certain_and_say_what_is_wrong(status: int, text: str, fault: Fault) -> None:
    found = meaning(status, text)
    assert isinstance(found, Refused)
    assert found.certain
    assert fault_of(found.message) is fault


@pytest.mark.parametrize(
    ("why", "fault"),
    [
        ("out-of-order samples are not allowed (err-mimir-sample-out-of-order)", Fault.LATE),
        ("beyond the out-of-order time window of 6h (err-mimir-sample-timestamp-too-old)", Fault.TOO_OLD),
    ],
)
def test_what_is_wrong_is_kept_however_long_the_name_of_the_series_is(why: str, fault: Fault) -> None:
    text = f"{MIMIR}{'another sample has already been ingested, ' * 3}{why}{OF_SERIES}"
    found = meaning(400, text.replace('"a"', f'"{"a" * 1000}"'))
    assert isinstance(found, Refused)
    assert fault_of(found.message) is fault
    assert len(found.message) < 400


@pytest.mark.parametrize("text", ["", "snappy: corrupt input", "bad request", "<html>no</html>"])
def test_a_refusal_that_may_be_about_the_request_is_not_certain(text: str) -> None:
    found = meaning(400, text)
    assert isinstance(found, Refused)
    assert not found.certain


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (413, ""),
        (400, "too big packed request; mustn't exceed `-maxInsertRequestSize=100` bytes"),
        (400, "the incoming push request has been rejected (err-mimir-distributor-max-write-message-size)"),
    ],
)
def test_what_is_too_large_is_known_by_its_words_too(status: int, text: str) -> None:
    assert meaning(status, text) == TooLarge()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_denied(status: int) -> None:
    found = meaning(status, "no org id")
    assert isinstance(found, Denied)
    assert "token or tenant: no org id" in found.message


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 529])
def test_not_now_is_for_later(status: int) -> None:
    found = meaning(
        status, "the request has been rejected because the tenant exceeded the ingestion rate", retry_after="5"
    )
    assert isinstance(found, Later)
    assert found.after == 5


@pytest.mark.parametrize("status", [301, 307, 404, 405, 415, 418])
def test_what_somebody_has_to_mend_is_tried_again(status: int) -> None:
    found = meaning(status, "why")
    assert isinstance(found, Later)
    assert found.after == MENDED_AFTER_S


def test_an_error_that_only_mentions_what_is_old_is_an_error() -> None:
    assert isinstance(meaning(500, "panic in too old sample"), Later)
