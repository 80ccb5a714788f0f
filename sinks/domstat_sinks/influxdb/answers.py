"""What a server's answer to line protocol means. Pure.

====================  ==========================================================================================
2xx                   stored
413                   too large: sent again in halves
400, 422              some of the points are refused, now and ever; the answer may say which
401, 403              the token is refused
404                   there is no such bucket
429, 503, any 5xx     not now; the server may say when
3xx                   somewhere else: not followed
anything else         this is no InfluxDB, or there is something between
====================  ==========================================================================================

Servers say the same in different words:

* InfluxDB 1 stores what it can and answers 400, ``partial write: … dropped=N`` (of one shard: N may be too few).
* InfluxDB 2 answers 422 likewise, and 400 ``unable to parse …`` if it stored nothing.
* InfluxDB 3 stores what it can and answers 400 with the lines that it could not, at most 100 of them.
* VictoriaMetrics answers 204 whatever a line says, unless it is too long to be one.

What is neither of these may be about the request as a whole (a proxy's own 400, a setting), so that refusing the
points for it would lose them all: such a refusal is not *certain*.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from domstat_sinks.sending.answers import (
    MENDED_AFTER_S,
    Answer,
    Denied,
    Later,
    Meaning,
    Refused,
    TooLarge,
    cut,
    json_of,
    message_of,
    usual_meaning_of,
    words_of,
)

_OF_POINTS = (
    "partial write",
    "unable to parse",
    "field type conflict",
    "parsing for line protocol failed",
    "parsing failed for write_lp",
    "too long line",
)
"""Words that only stand in a refusal of points."""

_DROPPED = re.compile(r"dropped=([0-9]+)\s*$")
_HEADER = "x-influxdb-error"
"""Where InfluxDB 1 says what is wrong, too."""


def meaning_of(answer: Answer, now_s: float) -> Meaning:
    """Say what *answer* means; *now_s* (Unix time) is for a Retry-After that names a date, where no Date is given."""
    usual = usual_meaning_of(answer, now_s, _HEADER)
    return usual or _BY_STATUS.get(answer.status, _of_the_unexpected)(answer)


def _of_refusal(answer: Answer) -> Meaning:
    text = message_of(answer, _HEADER)
    named = _named(answer)
    dropped = _DROPPED.search(text)
    return Refused(
        message=cut(_DROPPED.sub("", text)),
        certain=bool(named) or any(words in text for words in _OF_POINTS),
        dropped=int(dropped[1]) if dropped else None,
        named=named,
    )


def _words_of(answer: Answer) -> str:
    return words_of(answer, _HEADER)


def _of_the_unexpected(answer: Answer) -> Meaning:
    return Later(f"the server answers {answer.status}, which no InfluxDB should: {_words_of(answer)}", MENDED_AFTER_S)


_BY_STATUS: dict[int, Callable[[Answer], Meaning]] = {
    400: _of_refusal,
    401: lambda answer: Denied(f"the server refuses the token: {_words_of(answer)}"),
    403: lambda answer: Denied(f"the server forbids to write with this token: {_words_of(answer)}"),
    404: lambda answer: Later(f"the server finds no such bucket: create it ({_words_of(answer)})", MENDED_AFTER_S),
    413: lambda _: TooLarge(),
    422: _of_refusal,
}


def _named(answer: Answer) -> dict[int, str]:
    """Return the lines that InfluxDB 3 names, from 0, with its reasons."""
    data = json_of(answer).get("data")
    entries = data if isinstance(data, list) else [data]
    named = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("line_number"), int) and entry["line_number"] >= 1:
            named[entry["line_number"] - 1] = cut(str(entry.get("error_message", "")) or "no reason is given")
    return named
