"""Text on its way to a person's screen: what is untrusted made harmless, spans of time and sizes made short."""

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


def harmless(json: str) -> str:
    """Escape what a terminal could obey; to JSON it is the same text, since all of that is within its strings."""
    if json.replace("\n", "").isprintable():
        return json
    return "".join(letter if letter.isprintable() or letter == "\n" else _in_json(letter) for letter in json)


def span(seconds: float) -> str:
    """Write a span of time in its two largest units: ``8s``, ``4m 05s``, ``3h 07m``, ``12d 04h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    for small, large, names in ((1, 60, "ms"), (60, 3600, "hm")):
        if whole < large * (60 if large == 60 else 24):
            return f"{whole // large}{names[0]} {whole % large // small:02d}{names[1]}"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def size(number: int) -> str:
    """Write a number of bytes: ``812 B``, ``1.5 KiB``, ``40 MiB``."""
    if number < 1000:
        return f"{number} B"
    value = number / 1024
    units = ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.1f} {units[0]}" if value < 9.95 else f"{value:.0f} {units[0]}"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether *stream* is a terminal; a standard stream that was closed is None, and none."""
    return stream is not None and not stream.closed and stream.isatty()


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
