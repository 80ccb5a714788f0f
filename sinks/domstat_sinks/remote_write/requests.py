"""Pieces put together to requests, none of which has two samples of one series. Pure.

So a request that is sent again, whole or in parts, finds its own samples as the newest of their series at worst, and
every store takes an equal sample of the newest time. With two ticks of a guest in one request the older could be
refused for the younger, and nobody could say any more what was stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from domstat_sinks.prometheus.subjects import Subject
from domstat_sinks.remote_write.encoder import Piece

BODY_BYTES_MAX = 2 << 20
"""Bytes of a request before it is compressed: 12,000 samples; 200 KiB on the wire. Stores take 10 MiB and more."""

BODY_BYTES_MIN = 16 << 10
"""Bytes that a store which calls requests too large is sent nevertheless."""

SAMPLES_MAX = 10_000
"""Samples of a request: what Mimir takes of a tenant in a second, unless told otherwise; so one is never too many."""

_ENDS = 64
"""Bytes at either end by which a request is known."""


class Request(Struct, frozen=True):
    """Pieces that are sent at once."""

    pieces: tuple[Piece, ...]

    @property
    def body(self) -> bytes:
        """The request as it is sent, but for compression."""
        return b"".join(piece.body for piece in self.pieces)

    @property
    def series(self) -> int:
        """How many samples it has."""
        return sum(piece.series for piece in self.pieces)

    def halves(self) -> tuple[Request, Request]:
        """Return it as two, of as many pieces."""
        middle = len(self.pieces) // 2
        return Request(self.pieces[:middle]), Request(self.pieces[middle:])

    def runs(self, key: Sequence[object]) -> list[Request]:
        """Return it as several, each of the pieces in a row whose records have one *key* (by their number)."""
        runs: list[list[Piece]] = []
        for piece in self.pieces:
            if not runs or key[runs[-1][-1].number] != key[piece.number]:
                runs.append([])
            runs[-1].append(piece)
        return [Request(tuple(run)) for run in runs]

    @property
    def mark(self) -> tuple[int, int, bytes, bytes]:
        """What it is known by among those of one write: its records, and how it begins and ends."""
        first, last = self.pieces[0], self.pieces[-1]
        return first.number, last.number, first.body[:_ENDS], last.body[-_ENDS:]


def packed(pieces: Iterable[Piece], bytes_max: int) -> Iterator[Request]:
    """Put *pieces* together, in their order; one that is larger by itself is alone."""
    waiting: list[Piece] = []
    subjects: set[Subject] = set()
    size = samples = 0
    for piece in pieces:
        full = size + len(piece.body) > bytes_max or samples + piece.series > SAMPLES_MAX
        if waiting and (full or piece.subject in subjects):
            yield Request(tuple(waiting))
            waiting, size, samples = [], 0, 0
            subjects.clear()
        waiting.append(piece)
        subjects.add(piece.subject)
        size += len(piece.body)
        samples += piece.series
    if waiting:
        yield Request(tuple(waiting))
