"""Lines of a page: pieces of text with a tone each, fitted into cells of a terminal. Pure.

A tone is a word for what a piece means; what it looks like is the drawing's to decide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import tzinfo
from itertools import pairwise
from typing import Literal, TypeAlias

from msgspec import Struct

from domstat.text import printable

Tone: TypeAlias = Literal["plain", "dim", "strong", "bad", "warn", "bar", "head", "chosen"]
Piece: TypeAlias = tuple[str, Tone]
Line: TypeAlias = tuple[Piece, ...]


class Frame(Struct, frozen=True, kw_only=True):
    """What a page is laid out for: cells, the time now, the zone of whoever looks, what is said of the source.

    *trouble* is why the source gives nothing, None while it does.
    """

    width: int
    height: int
    now_ms: int
    zone: tzinfo
    source: str
    trouble: str | None = None


NAME_MAX = 200
"""Characters of a name that are looked at; no screen has room for more."""

_ELLIPSIS = "…"
_SPARKS = "▁▂▃▄▅▆▇█"


def width_of(text: str) -> int:
    """Return how many cells *text* takes: two for a wide character, none for a mark on the one before."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Make *text*, which may be anybody's, exactly *width* cells wide and harmless; an ellipsis stands for the rest."""
    text = printable(text, NAME_MAX)
    if width_of(text) > width:
        kept = 0
        for place, character in enumerate(text):
            kept += _cells(character)
            if kept > width - 1:
                text = text[:place] + _ELLIPSIS[: max(width, 0)]
                break
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def cut(line: Line, width: int) -> Line:
    """Make a line exactly *width* cells wide."""
    kept: list[Piece] = []
    left = width
    for text, tone in line:
        piece = text if width_of(text) <= left else fit(text, left)
        kept.append((piece, tone))
        left -= width_of(piece)
        if left <= 0:
            break
    return (*kept, (" " * left, "plain")) if left > 0 else tuple(kept)


def text_of(lines: Sequence[Line]) -> str:
    """Write a page as plain text, without blanks at the ends of lines."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def spark(values: Sequence[float | None], width: int, full: float = 0.0) -> str:
    """Draw values from 0 to the largest, or to *full* if none is as large, as one character each; unknown is a blank.

    Where there are more values than *width*, neighbours are drawn as their mean.
    """
    merged = _merged(values, width)
    top = max(full, *(value for value in merged if value is not None), 0.0)
    steps = len(_SPARKS) - 1
    return "".join(
        " " if value is None else _SPARKS[round(max(value, 0.0) / top * steps) if top > 0 else 0] for value in merged
    )


def _merged(values: Sequence[float | None], width: int) -> list[float | None]:
    cells = min(len(values), max(width, 0))
    edges = [len(values) * cell // cells for cell in range(cells + 1)] if cells else []
    return [_mean(values[start:end]) for start, end in pairwise(edges)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def gauge(share: float | None, width: int) -> Line:
    """Draw a share from 0 to 1 as a bar."""
    full = 0 if share is None else round(min(max(share, 0.0), 1.0) * width)
    tone: Tone = "bad" if share is not None and share >= 0.9 else "bar"
    return (("█" * full, tone), ("░" * (width - full), "dim"))


def counted(number: int, thing: str) -> str:
    """Write how many there are: ``1 guest``, ``3 guests``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
