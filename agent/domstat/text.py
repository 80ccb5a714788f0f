"""Untrusted text on its way to a person's screen."""

from __future__ import annotations

from typing import TextIO

_ELLIPSIS = "…"


def printable(text: str, limit: int = 200) -> str:
    r"""Write *text* so that it cannot move the cursor, change colours or reorder what stands beside it.

    Everything that is not printable (control characters, escape sequences, bidirectional marks, line breaks) is
    written as its escape, ``\x1b``; what is longer than *limit* characters is cut, with an ellipsis.
    """
    shown = text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + _ELLIPSIS


def is_terminal(stream: TextIO | None) -> bool:
    """Whether *stream* is a terminal; a standard stream that was closed is None, and none."""
    return stream is not None and not stream.closed and stream.isatty()


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
