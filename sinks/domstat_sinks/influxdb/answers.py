"""What a server's answer to a write means. Pure.

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
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from domstat.text import printable

AFTER_MAX_S = 600.0
"""Seconds: how long a server may send us away for. It may be back sooner than it thought."""

MENDED_AFTER_S = 30.0
"""Seconds until it is tried again when somebody has to do something first: soon enough to be seen at work."""

WORDS_MAX = 300
"""Characters of a server's message that are kept."""

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
_NOT_A_STORE = "text/html"


class Answer(Struct, frozen=True):
    """A server's answer; names of *headers* in lower case, the *body* undecoded and possibly cut."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    reason: str = ""


class Stored(Struct, frozen=True):
    """All of it is stored."""


class TooLarge(Struct, frozen=True):
    """The body is larger than the server takes."""


class Refused(Struct, frozen=True):
    """Some lines are not stored and never will be; of the others nothing is known.

    *named* are the lines that the server names, by their number from 0, each with the reason; *dropped* is how many
    the server says it left out. Only what is *certain* is about the lines and not about the whole request.
    """

    message: str
    certain: bool = True
    dropped: int | None = None
    named: Mapping[int, str] = {}


class Later(Struct, frozen=True):
    """Nothing can be said of the lines; try again, not before *after* seconds where that is known."""

    message: str
    after: float | None = None


class Denied(Struct, frozen=True):
    """The server does not take the token."""

    message: str


Meaning: TypeAlias = Stored | TooLarge | Refused | Later | Denied


def meaning_of(answer: Answer, now_s: float) -> Meaning:
    """Say what *answer* means; *now_s* (Unix time) is for a Retry-After that names a date, where no Date is given."""
    return usual_meaning_of(answer, now_s) or _BY_STATUS.get(answer.status, _of_the_unexpected)(answer)


def usual_meaning_of(answer: Answer, now_s: float) -> Meaning | None:
    """Say what *answer* means if any server, of whatever protocol, would mean that by its status."""
    if 200 <= answer.status < 300:
        return _of_success(answer)
    if 300 <= answer.status < 400:
        where = printable(answer.headers.get("location", "nowhere"), WORDS_MAX)
        return Later(f"the server sends us elsewhere, which is not followed: set url to {where}", MENDED_AFTER_S)
    if answer.status >= 500 or answer.status in {408, 425, 429}:
        return Later(f"the server answers {answer.status}: {words_of(answer)}", retry_after(answer, now_s))
    return None


def _of_success(answer: Answer) -> Meaning:
    if answer.headers.get("content-type", "").startswith(_NOT_A_STORE):
        return Later("the server answers with a web page: url leads to something else", MENDED_AFTER_S)
    return Stored()


def _of_refusal(answer: Answer) -> Meaning:
    text = message_of(answer)
    named = _named(answer)
    dropped = _DROPPED.search(text)
    return Refused(
        message=cut(_DROPPED.sub("", text)),
        certain=bool(named) or any(words in text for words in _OF_POINTS),
        dropped=int(dropped[1]) if dropped else None,
        named=named,
    )


def _of_the_unexpected(answer: Answer) -> Meaning:
    return Later(f"the server answers {answer.status}, which no InfluxDB should: {words_of(answer)}", MENDED_AFTER_S)


_BY_STATUS: dict[int, Callable[[Answer], Meaning]] = {
    400: _of_refusal,
    401: lambda answer: Denied(f"the server refuses the token: {words_of(answer)}"),
    403: lambda answer: Denied(f"the server forbids to write with this token: {words_of(answer)}"),
    404: lambda answer: Later(f"the server finds no such bucket: create it ({words_of(answer)})", MENDED_AFTER_S),
    413: lambda _: TooLarge(),
    422: _of_refusal,
}


def words_of(answer: Answer) -> str:
    """Return the server's own words, short."""
    return cut(message_of(answer))


def cut(text: str) -> str:
    """Shorten a message in its middle: servers quote lines there, and say at the end what is wrong with them."""
    text = " ".join(text.split())
    if len(text) > WORDS_MAX:
        text = f"{text[: WORDS_MAX // 3]} … {text[-WORDS_MAX // 2 :]}"
    return printable(text, WORDS_MAX)


def message_of(answer: Answer) -> str:
    """Return the server's own words: from JSON, else from a header, else the text itself, else HTTP's."""
    said = _json(answer)
    for key in ("message", "error"):
        if isinstance(said.get(key), str) and said[key]:
            return str(said[key])
    plain = answer.body.decode("utf-8", "replace").strip()
    is_page = answer.headers.get("content-type", "").startswith(_NOT_A_STORE) or plain.startswith("<")
    if answer.headers.get("content-encoding", "identity") != "identity" or is_page:
        plain = ""
    return answer.headers.get("x-influxdb-error") or plain or answer.reason or "without a word"


def _json(answer: Answer) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _named(answer: Answer) -> dict[int, str]:
    """Return the lines that InfluxDB 3 names, from 0, with its reasons."""
    data = _json(answer).get("data")
    entries = data if isinstance(data, list) else [data]
    named = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("line_number"), int) and entry["line_number"] >= 1:
            named[entry["line_number"] - 1] = cut(str(entry.get("error_message", "")) or "no reason is given")
    return named


def retry_after(answer: Answer, now_s: float) -> float | None:
    """Read Retry-After, seconds or a date; a date is taken against the server's own clock where it shows that."""
    value = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII):
        return min(float(value), AFTER_MAX_S)
    until = _date(value)
    if until is None:
        return None
    server_s = _date(answer.headers.get("date", ""))
    return min(max(0.0, until - (now_s if server_s is None else server_s)), AFTER_MAX_S)


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
