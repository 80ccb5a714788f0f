"""A subject's records in head rows of whatever layouts, and where its counters begin anew in them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from msgspec import Struct

from domstat.history import OnDamaged
from domstat_sinks.sqlite.answers.head_blocks import Block
from domstat_sinks.sqlite.answers.source import typed
from domstat_sinks.sqlite.answers.ticks import Flags, Integers, Place, Ticks
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.rows import ShapeRead
from domstat_sinks.sqlite.heads.stored import Store


class Piece(Struct, frozen=True):
    """A subject's records in one block."""

    block: Block
    place: slice
    position: int
    shape: ShapeRead
    incarnation: int | None


class Course(Struct, frozen=True):
    """The rows of some blocks in the order of their ticks: the same for all subjects that are in these blocks.

    Per row *piece_of* is its block, and *row_of* its place there; *of_piece* are the rows of each block.
    """

    piece_of: Integers
    row_of: Integers
    of_piece: list[Integers]
    ticks: Ticks


class Track(Struct, frozen=True):
    """A subject's records, in the order of their ticks, whatever block they are in."""

    pieces: list[Piece]
    course: Course
    place: Place


class Anew:
    """Where a subject's counters begin anew.

    Nearly every guest has one shape all along, lacks nothing, and its counters never fall: then it is at its first
    record, and where its incarnation changes. What the stream's own function makes of any other says it, record by
    record.
    """

    def __init__(self, track: Track, store: Store, on_damaged: OnDamaged | None) -> None:
        self._track = track
        self._store = store
        self._on_damaged = on_damaged

    def of(self, key: str) -> Flags:
        """Say to which of all the subject's records no rate of a counter can be taken. Raises DamagedError."""
        rates = self._rates
        return self._regular if rates is None else np.array([key not in taken for taken in rates], dtype=bool)

    @cached_property
    def _regular(self) -> Flags:
        incarnations = [piece.incarnation for piece in self._track.pieces]
        numbers = {incarnation: number for number, incarnation in enumerate(dict.fromkeys(incarnations))}
        by_piece = np.array([numbers[incarnation] for incarnation in incarnations], dtype=np.int64)
        by_record = by_piece[self._track.course.piece_of]
        anew = np.ones(len(by_record), dtype=bool)
        anew[1:] = by_record[1:] != by_record[:-1]
        return anew

    @cached_property
    def _rates(self) -> list[dict[str, float]] | None:
        """Each record's rates, None where all is regular."""
        if self._is_regular():
            return None
        positions = np.array([piece.position for piece in self._track.pieces], dtype=np.int64)[
            self._track.course.piece_of
        ]
        return [
            self._taken(head_id, position)
            for head_id, position in zip(self._track.course.ticks.ids.tolist(), positions.tolist(), strict=True)
        ]

    def _taken(self, head_id: int, position: int) -> dict[str, float]:
        try:
            return self._store.rates(head_id, position)
        except row.DamagedError:
            if self._on_damaged is None:
                raise
            return {}

    def _is_regular(self) -> bool:
        pieces = self._track.pieces
        if (len(pieces) > 1 and len({piece.shape.columns for piece in pieces}) > 1) or any(
            _has_extras(piece) for piece in pieces
        ):
            return False
        shape = pieces[0].shape
        if len(pieces) == 1:
            falling = np.flatnonzero(pieces[0].block.falls[pieces[0].place]).tolist()
            picked = self._picked(pieces[0])
            return not any(shape.keys[picked[place]] in shape.counters.counters for place in falling)
        counters = set(shape.counters.counters)
        words = np.concatenate([piece.block.words[:, piece.place] for piece in pieces])
        # The pieces' words stand one after the other: put them into the order of the ticks.
        starts = np.cumsum([0, *(len(piece.block.rows) for piece in pieces)])[:-1]
        words = words[starts[self._track.course.piece_of] + self._track.course.row_of]
        index = self._picked(pieces[0])
        same = ~self._regular[1:]
        for place, position in enumerate(index):
            if shape.keys[position] in counters:
                values = typed(words[:, place], shape.columns[position].type, {})
                if np.any((values[1:] < values[:-1]) & same):
                    return False
        return True

    @staticmethod
    def _picked(piece: Piece) -> list[int]:
        return piece.block.plan.picked[piece.place.start : piece.place.stop]


def _has_extras(piece: Piece) -> bool:
    return any(piece.position in positions for _, positions in piece.block.extras)
