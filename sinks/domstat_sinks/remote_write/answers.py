"""What a store's answer to remote write means. Pure.

====================  ==========================================================================================
2xx                   stored
400, 409, 422         some of the samples are refused, now and ever (409 is Thanos' word)
413                   too large: sent again in halves
401, 403              the token or the tenant is refused
404, 405, 415         remote write is not taken there
429, 503, any 5xx     not now; the server may say when
3xx                   somewhere else: not followed
anything else         this is no store, or there is something between
====================  ==========================================================================================

The specification has a sender give up whatever is answered 4xx, but 429. Here that is done only with what the answer
says of the samples; a wrong token, path or tenant is somebody's to mend, and loses nothing meanwhile.

What of a refused request is stored differs:

* Prometheus stores none of it, and names nothing. Before 2.50 it answers 500 to what is too old.
* Mimir, Cortex and Thanos store what they can, and say of one sample what is wrong.
* VictoriaMetrics refuses nothing but what it cannot read.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from domstat_sinks.sending.answers import (
    MENDED_AFTER_S,
    Answer,
    Denied,
    Later,
    Meaning,
    Refused,
    TooLarge,
    message_of,
    usual_meaning_of,
    words_of,
)

_TOO_OLD = ("too old", "too-old", "out of bounds", "out-of-bounds")
_LATE = (
    "out of order",
    "out-of-order",
    "duplicate sample",
    "duplicate-timestamp",
    "new-value-for-timestamp",
    "conflict",
)
_OF_SAMPLES = (
    *_TOO_OLD,
    *_LATE,
    "too far in the future",
    "too-far-in-future",
    "series limit",
    "max-series",
    "max-label",
    "label name",
    "label value",
    "label-invalid",
    "label-name",
    "label-value",
    "invalid-metric-name",
    "invalid metric name",
)
"""Words that only stand in a refusal of samples, in lower case."""

_LARGE = (
    "max-write-message-size",
    "maxinsertrequestsize",
    "larger than max",
    "larger than the allowed",
    "request too large",
)
"""Words of those who answer 400 to what is too large."""

_OF_OLD_PROMETHEUS = "too old sample"


class Fault(StrEnum):
    """What is wrong with a sample that is refused."""

    LATE = "out of order"
    """The series has a newer sample, or another one of that time."""
    TOO_OLD = "too old"
    """It is older, or further ahead, than what the store takes of anything."""
    OTHER = "other"
    """A limit, or a label that the store does not like."""


def meaning_of(answer: Answer, now_s: float) -> Meaning:
    """Say what *answer* means; *now_s* (Unix time) is for a Retry-After that names a date, where no Date is given."""
    if answer.status == 500 and message_of(answer) == _OF_OLD_PROMETHEUS:
        return Refused(_OF_OLD_PROMETHEUS)
    usual = usual_meaning_of(answer, now_s)
    if usual is not None:
        return usual
    return _BY_STATUS.get(answer.status, _of_the_unexpected)(answer)


def fault_of(message: str) -> Fault:
    """Say what a refusal in these words is about; some name the window of late ones where something is too old."""
    said = message.lower()
    if any(words in said for words in _TOO_OLD):
        return Fault.TOO_OLD
    return Fault.LATE if any(words in said for words in _LATE) else Fault.OTHER


def _of_refusal(answer: Answer) -> Meaning:
    said = message_of(answer).lower()
    if any(words in said for words in _LARGE):
        return TooLarge()
    is_sure = answer.status == 409 or any(words in said for words in _OF_SAMPLES)
    fault, words = fault_of(said), words_of(answer)
    if fault_of(words) is not fault:  # a long name of a series has taken the place of what is said of it
        words = f"{fault}: {words}"
    return Refused(words, certain=is_sure)


def _of_denial(answer: Answer) -> Meaning:
    return Denied(f"the server answers {answer.status}, to this token or tenant: {words_of(answer)}")


def _of_another_path(answer: Answer) -> Meaning:
    said = words_of(answer)
    return Later(f"the server answers {answer.status}: no remote write is taken at this path ({said})", MENDED_AFTER_S)


def _of_the_unexpected(answer: Answer) -> Meaning:
    return Later(f"the server answers {answer.status}, which no store should: {words_of(answer)}", MENDED_AFTER_S)


_BY_STATUS: dict[int, Callable[[Answer], Meaning]] = {
    400: _of_refusal,
    401: _of_denial,
    403: _of_denial,
    404: _of_another_path,
    405: _of_another_path,
    409: _of_refusal,
    413: lambda _: TooLarge(),
    415: _of_another_path,
    422: _of_refusal,
}
