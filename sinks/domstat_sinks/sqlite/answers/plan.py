"""Which tiers answer a question, each for which part of its span. Pure.

Ticks answer everything, exactly, as long as they are kept. Buckets answer at once what was made of them when they were
stored, of whole buckets: where the edges of a span are not theirs, a finer tier has these.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from domstat.history import Span


class Use(IntEnum):
    """Whether buckets may answer."""

    NEVER = 0
    IF_NEED_BE = 1  # where the ticks are gone
    FREELY = 2


class Stock(Struct, frozen=True):
    """What one tier of a stream has: every bucket that begins in *span*; or, of a *width_ms* of 1, every tick.

    *stream* is the tier's number in the file.
    """

    name: str
    stream: int
    width_ms: int
    span: Span


class Piece(Struct, frozen=True):
    """A part of a span, and what answers for it."""

    stock: Stock
    span: Span


def pieces(span: Span, step_ms: int | None, use: Use, ticks: Stock | None, buckets: Sequence[Stock]) -> list[Piece]:
    """Split a span, in the order of time; what nobody has is in no piece.

    *buckets* are the tiers, coarsest first; *ticks* is None where there are none left. Buckets that are no part of a
    step are taken only where there is nothing else.
    """
    if use is Use.NEVER:
        return _split(span, [ticks] if ticks else [])
    fitting = [stock for stock in buckets if step_ms is None or step_ms % stock.width_ms == 0]
    at_will, spare = (fitting, []) if use is Use.FREELY else ([], fitting)
    others = [*spare, *(stock for stock in reversed(buckets) if stock not in fitting)]
    return _split(span, [*at_will, *(_before(stock, ticks) for stock in others), *([ticks] if ticks else [])])


def _before(stock: Stock, ticks: Stock | None) -> Stock:
    """Limit a tier to what is older than the ticks that are left.

    The bucket in which these begin has more than they have, unless it is the first there ever was.
    """
    if ticks is None:
        return stock
    begin_ms = ticks.span.since_ms // stock.width_ms * stock.width_ms
    until_ms = begin_ms if begin_ms <= stock.span.since_ms else _up(ticks.span.since_ms, stock.width_ms)
    until_ms = min(stock.span.until_ms, until_ms)
    return replace(stock, span=Span(stock.span.since_ms, until_ms))


def _split(span: Span, stocks: Sequence[Stock]) -> list[Piece]:
    if not stocks or span.since_ms >= span.until_ms:
        return []
    first, *rest = stocks
    since_ms = _up(max(span.since_ms, first.span.since_ms), first.width_ms)
    until_ms = min(span.until_ms, first.span.until_ms) // first.width_ms * first.width_ms
    if since_ms >= until_ms:
        return _split(span, rest)
    own = Piece(first, Span(since_ms, until_ms))
    return [*_split(Span(span.since_ms, since_ms), rest), own, *_split(Span(until_ms, span.until_ms), rest)]


def _up(time_ms: int, width_ms: int) -> int:
    return -(-time_ms // width_ms) * width_ms
