"""What a server's answer means, whatever protocol it speaks, and the words to say it in. Pure.

====================  ==========================================================================================
2xx                   stored
408, 425, 429, 5xx    not now; the server may say when
3xx                   somewhere else: not followed
====================  ==========================================================================================

What any other status means is the protocol's to say, in a module of the sink's own, and in the same terms: a request is
made of *items* (lines, samples), of which a server may refuse some.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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

VEIL = "***"
"""What is shown in place of a secret that a server sends back."""

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
    """Some items are not stored and never will be; of the others nothing is known.

    *named* are the items that the server names, by their number from 0, each with the reason; *dropped* is how many
    the server says it left out. Only what is *certain* is about the items and not about the whole request.
    """

    message: str
    certain: bool = True
    dropped: int | None = None
    named: Mapping[int, str] = {}


class Later(Struct, frozen=True):
    """Nothing can be said of the items; try again, not before *after* seconds where that is known."""

    message: str
    after: float | None = None


class Denied(Struct, frozen=True):
    """The server does not take the token."""

    message: str


Meaning: TypeAlias = Stored | TooLarge | Refused | Later | Denied

Outcome: TypeAlias = Stored | TooLarge | Refused
"""A meaning that says something of the items."""


def veiled(answer: Answer, secrets: Iterable[str]) -> Answer:
    """Hide *secrets* in an answer: what is between us and a server may quote the request, and its words are logged."""
    body, texts = answer.body, {**answer.headers, "": answer.reason}
    for secret in secrets:
        body = body.replace(secret.encode(), VEIL.encode())
        texts = {name: text.replace(secret, VEIL) for name, text in texts.items()}
    reason = texts.pop("")
    return Answer(answer.status, texts, body, reason)


def usual_meaning_of(answer: Answer, now_s: float, header: str = "") -> Meaning | None:
    """Say what *answer* means if any server, of whatever protocol, would mean that by its status.

    *now_s* (Unix time) is for a Retry-After that names a date, where no Date is given; for *header* see
    :func:`message_of`.
    """
    if is_success(answer.status):
        return _of_success(answer)
    if 300 <= answer.status < 400:
        where = printable(answer.headers.get("location", "nowhere"), WORDS_MAX)
        return Later(f"the server sends us elsewhere, which is not followed: set url to {where}", MENDED_AFTER_S)
    if answer.status >= 500 or answer.status in {408, 425, 429}:
        return Later(f"the server answers {answer.status}: {words_of(answer, header)}", retry_after(answer, now_s))
    return None


def is_success(status: int) -> bool:
    """Whether an answer of that status says that everything went well."""
    return 200 <= status < 300


def _of_success(answer: Answer) -> Meaning:
    if answer.headers.get("content-type", "").startswith(_NOT_A_STORE):
        return Later("the server answers with a web page: url leads to something else", MENDED_AFTER_S)
    return Stored()


def words_of(answer: Answer, header: str = "") -> str:
    """Return the server's own words, short; for *header* see :func:`message_of`."""
    return cut(message_of(answer, header))


def cut(text: str) -> str:
    """Shorten a message in its middle: servers quote lines there, and say at the end what is wrong with them."""
    text = " ".join(text.split())
    if len(text) > WORDS_MAX:
        text = f"{text[: WORDS_MAX // 3]} … {text[-WORDS_MAX // 2 :]}"
    return printable(text, WORDS_MAX)


def message_of(answer: Answer, header: str = "") -> str:
    """Return the server's own words: from JSON, else from a *header* of theirs, else the text itself, else HTTP's."""
    said = json_of(answer)
    for key in ("message", "error"):
        if isinstance(said.get(key), str) and said[key]:
            return str(said[key])
    plain = answer.body.decode("utf-8", "replace").strip()
    is_page = answer.headers.get("content-type", "").startswith(_NOT_A_STORE) or plain.startswith("<")
    if answer.headers.get("content-encoding", "identity") != "identity" or is_page:
        plain = ""
    return answer.headers.get(header) or plain or answer.reason or "without a word"


def json_of(answer: Answer) -> dict[str, Any]:
    """Return the table that a server has answered in JSON, an empty one if it has not."""
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


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
