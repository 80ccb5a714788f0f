"""Head rows as a source of columns: decoded part by part, and column by column from there on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, ValueType, look_up
from domstat.history import OnDamaged, Span
from domstat.model import key_of
from domstat_sinks.sqlite.answers.choosing import Choice, Key, Who
from domstat_sinks.sqlite.answers.head_blocks import Block, Picks, Plan
from domstat_sinks.sqlite.answers.source import NOWHERE, Column, Extent, Seen, Values, Wanted, chained, typed
from domstat_sinks.sqlite.answers.ticks import Boots, Flags, Integers, Place, Ticks
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.rows import HeadRow, Rows, ShapeRead, Subject
from domstat_sinks.sqlite.heads.stored import LOOK_BACK_MAX, Store

Words: TypeAlias = row.Words


class HeadSource:
    """Reads columns out of head rows; meets :class:`.source.Source`.

    What is sealed is a head row's no more, even while the row is still there.
    """

    def __init__(self, connection: sqlite3.Connection, boots: Boots) -> None:
        self._connection = connection
        self._boots = boots
        self._version = -1

    def extent(self, stream: int, span: Span, _: OnDamaged | None) -> Extent | None:
        """Return a stream's first and last tick in a span, and how many there are."""
        found = self._connection.execute(
            "SELECT min(time_ms), max(time_ms), count(*) FROM head WHERE stream = ?1 AND time_ms >= ?2 AND time_ms < ?3"
            " AND id > (SELECT sealed FROM stream WHERE id = ?1)",
            (stream, span.since_ms, span.until_ms),
        ).fetchone()
        return Extent(*found) if found[2] else None

    def seen(self, stream: int, span: Span, _: OnDamaged | None) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, by layout."""
        for number, *seen in self._layouts(stream, span):
            for kind, uuid, name, incarnation in self._connection.execute(
                "SELECT kind, uuid, name, incarnation FROM layout_record WHERE layout = ? ORDER BY position", (number,)
            ).fetchall():
                yield Seen(Who(stream, kind, uuid, None if uuid else name), name, incarnation, *seen)

    def found(self, stream: int, span: Span, choice: Choice, _: OnDamaged | None) -> Iterator[tuple[Key, int]]:
        """Give the series that are chosen, by layout, and how many samples they have."""
        layouts = self._layouts(stream, span)
        every = self._connection.execute("SELECT id, name FROM field").fetchall() if layouts else []
        fields = {number: name for number, name in every if choice.wants_field(name)}
        shapes: dict[int, list[tuple[str, str | None]]] = {}
        for number, _first, _last, ticks in layouts:
            for kind, uuid, name, shape in self._connection.execute(
                "SELECT kind, uuid, name, shape FROM layout_record WHERE layout = ? ORDER BY position", (number,)
            ).fetchall():
                who = Who(stream, kind, uuid, None if uuid else name)
                if not choice.wants(who):
                    continue
                columns = shapes.get(shape)
                if columns is None:
                    columns = shapes[shape] = self._chosen(shape, fields, choice)
                for field, device in columns:
                    yield Key(who, field, device), ticks

    def _layouts(self, stream: int, span: Span) -> list[tuple[int, int, int, int]]:
        """Return the layouts of the span's ticks: the first and the last time of each, and how many there are."""
        return self._connection.execute(
            "SELECT layout, min(time_ms), max(time_ms), count(*) FROM head"
            " WHERE stream = ?1 AND time_ms >= ?2 AND time_ms < ?3"
            " AND id > (SELECT sealed FROM stream WHERE id = ?1) GROUP BY layout ORDER BY max(id)",
            (stream, span.since_ms, span.until_ms),
        ).fetchall()

    def _chosen(self, shape: int, fields: dict[int, str], choice: Choice) -> list[tuple[str, str | None]]:
        columns = self._connection.execute(
            "SELECT field, device FROM shape_column WHERE shape = ? AND field IN (SELECT value FROM json_each(?))"
            " ORDER BY position",
            (shape, msgspec.json.encode(list(fields)).decode()),
        )
        return [(fields[field], device) for field, device in columns if choice.wants_device(device)]

    def columns(self, keys: Sequence[Key], wanted: Wanted, on_damaged: OnDamaged | None) -> Iterator[Column]:
        """Give one column of each series that has a value. Raises DamagedError unless *on_damaged* is to be told."""
        streams: dict[int, dict[Who, list[Key]]] = {}
        for key in keys:
            streams.setdefault(key.who.stream, {}).setdefault(key.who, []).append(key)
        for stream, series in streams.items():
            reading = _Reading(self._read(), self._boots, (stream, series), wanted, on_damaged)
            reading.gather()
            for who, own in series.items():
                yield from reading.columns(who, own)

    def _read(self) -> _Read:
        """Return what is still as it was read; a row that comes again is written anew, under its number."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._known = _Read(self._connection, Rows(self._connection), Store(self._connection))
            self._version = version
        return self._known


class _Read(Struct, frozen=True):
    """What has been read of the file, for who reads on."""

    connection: sqlite3.Connection
    rows: Rows
    store: Store


class _Piece(Struct, frozen=True):
    """A subject's records in one block."""

    block: Block
    place: slice
    position: int
    shape: ShapeRead
    incarnation: int | None


class _Track(Struct, frozen=True):
    """A subject's records, in the order of their ticks, whatever block they are in."""

    pieces: list[_Piece]
    piece_of: Integers
    row_of: Integers
    """Per record, its piece, and its row in that piece's block."""
    ticks: Ticks
    place: Place


class _Reading:
    """One pass over a stream's rows, for some of its subjects."""

    def __init__(
        self,
        read: _Read,
        boots: Boots,
        series: tuple[int, dict[Who, list[Key]]],
        wanted: Wanted,
        on_damaged: OnDamaged | None,
    ) -> None:
        self._connection, self._rows, self._store = read.connection, read.rows, read.store
        self._boots = boots
        self._stream, keys_of = series
        self._span = wanted.span
        self._increases = wanted.increases
        self._on_damaged = on_damaged
        self._subjects = {who: (who.kind, who.uuid, who.name) for who in keys_of}
        fields = {self._subjects[who]: {(key.field, key.device) for key in keys} for who, keys in keys_of.items()}
        self._picks = Picks(fields, increases=wanted.increases)
        self._blocks: dict[tuple[int, frozenset[Subject] | None], Block] = {}
        self._texts: dict[int, str] = {}
        self._ticks: dict[bytes, Ticks] = {}
        """By their ids: most subjects have the same."""

    def gather(self) -> None:
        """Read the rows. Raises DamagedError."""
        waiting = set(self._subjects.values()) if self._increases else set()
        everybody = list(self._subjects.values())
        for head_id in self._ids():
            at = self._whole_row(head_id)
            if at is None:
                continue
            if waiting:
                self._gather_before(at, waiting & at.layout.positions.keys())
                waiting -= at.layout.positions.keys()
            self._add(at, everybody, None)

    def _ids(self) -> list[int]:
        """Return the rows from the first of the span to the last, those between them too that say another time."""
        first, last = self._connection.execute(
            "SELECT min(id), max(id) FROM head WHERE stream = ?1 AND time_ms >= ?2 AND time_ms < ?3"
            " AND id > (SELECT sealed FROM stream WHERE id = ?1)",
            (self._stream, self._span.since_ms, self._span.until_ms),
        ).fetchone()
        if first is None:
            return []
        found = self._connection.execute(
            "SELECT id FROM head WHERE id BETWEEN ? AND ? AND stream + 0 = ? ORDER BY id", (first, last, self._stream)
        )
        return [head_id for (head_id,) in found]

    def _gather_before(self, at: HeadRow, subjects: set[Subject]) -> None:
        """Read what these subjects' first rates are taken from."""
        rows: dict[int, list[Subject]] = {}
        for subject in subjects:
            for head_id in self._chain(at, subject):
                rows.setdefault(head_id, []).append(subject)
        for head_id in sorted(rows):
            self._add(self._rows.row(head_id), rows[head_id], frozenset(rows[head_id]))

    def _chain(self, at: HeadRow, subject: Subject) -> list[int]:
        """Return the rows of a subject's records before one, back to one that lacks nothing."""
        position = at.layout.positions[subject]
        chain: list[int] = []
        try:
            while len(chain) < LOOK_BACK_MAX:
                before = self._rows.record_before(at, position)
                if before is None:
                    break
                at, position = self._rows.row(before[0]), before[1]
                chain.append(at.id)
                extra = at.body.extras.get(position)
                if extra is None or extra.partial is None:
                    break
        except row.DamagedError as error:
            self._pass_over(error)
        return chain

    def _add(self, at: HeadRow, subjects: Sequence[Subject], alone: frozenset[Subject] | None) -> None:
        block = self._blocks.get((id(at.layout), alone))
        if block is None:
            block = self._blocks[id(at.layout), alone] = Block(Plan(at.layout, subjects, self._picks))
        if not block.plan.parts:
            return
        try:
            block.add(at, self._boots.number(at.stamp.boot_id), self._rows)
        except row.DamagedError as error:
            self._pass_over(error)

    def _whole_row(self, head_id: int) -> HeadRow | None:
        try:
            return self._rows.row(head_id)
        except row.DamagedError as error:
            self._pass_over(error)
            return None

    def _pass_over(self, error: row.DamagedError) -> None:
        if self._on_damaged is None:
            raise error
        self._on_damaged(str(error))

    # From rows to columns.

    def columns(self, who: Who, keys: Sequence[Key]) -> Iterator[Column]:
        """Give a subject's columns. Raises DamagedError."""
        track = self._track(self._subjects[who])
        if track is None:
            return
        anew = _Anew(track, self._store, self._on_damaged)
        for key in keys:
            column = self._column(track, key)
            if column is None:
                continue
            values, has = column
            is_counter = self._increases and look_up(key.field).kind is FieldKind.COUNTER
            ticks = track.ticks if len(has) == len(track.ticks) else self._shared(track.ticks.part(has))
            yield Column(
                key=key,
                ticks=ticks,
                covered=ticks,
                place=track.place if isinstance(track.place, tuple) else track.place[has],
                values=values,
                anew=np.flatnonzero(anew.of(key_of(key.field, key.device))[has]) if is_counter else NOWHERE,
            )

    def _shared(self, ticks: Ticks) -> Ticks:
        return self._ticks.setdefault(ticks.ids.tobytes(), ticks)

    def _track(self, subject: Subject) -> _Track | None:
        pieces: list[_Piece] = []
        parts: list[Integers] = []
        places: set[tuple[int, int]] = set()
        for block in self._blocks.values():
            place = block.plan.places.get(subject)
            if place is None or not block.rows:
                continue
            at = block.plan.layout
            position = at.positions[subject]
            entry = at.entries[position]
            numerator, denominator = 2 * at.guests_before[position] + 1, 2 * (at.guests or 1)
            places.add((numerator, denominator))
            offset_ns = block.stamps[4] * numerator // denominator
            count = len(block.rows)
            parts.append(np.stack([*block.stamps, offset_ns, np.full(count, len(pieces)), np.arange(count)]))
            pieces.append(_Piece(block, place, position, at.shapes[position], entry.incarnation))
        if not pieces:
            return None
        records = np.concatenate(parts, axis=1)
        *stamps, offsets_ns, piece_of, row_of = records[:, np.argsort(records[0], kind="stable")]
        inside = (stamps[1] >= self._span.since_ms) & (stamps[1] < self._span.until_ms)
        ticks = self._shared(Ticks(*stamps, inside=inside))
        return _Track(pieces, piece_of, row_of, ticks, places.pop() if len(places) == 1 else offsets_ns)

    def _column(self, track: _Track, key: Key) -> tuple[Values, Integers] | None:
        """Return a series' values, and in which of the subject's records they are; None for no values."""
        records: list[Integers] = []
        values: list[Values] = []
        for number, piece in enumerate(track.pieces):
            found = _find(piece.shape, key)
            if found is None:
                continue
            mine = np.flatnonzero(track.piece_of == number)
            at = int(np.searchsorted(self._picks.of(self._subjects[key.who], piece.shape), found))
            words = piece.block.words[track.row_of[mine], piece.place.start + at]
            type_ = piece.shape.columns[found].type
            if type_ is ValueType.TEXT:
                self._read_texts(words)
            values.append(typed(words, type_, self._texts))
            records.append(mine)
        if not records:
            return None
        order = np.argsort(np.concatenate(records), kind="stable")
        return chained(values)[order], np.concatenate(records)[order]

    def _read_texts(self, words: Words) -> None:
        for word in np.unique(words).tolist():
            if word not in self._texts:
                found = self._connection.execute("SELECT value FROM text WHERE id = ?", (word,)).fetchone()
                self._texts[word] = found[0]


def _find(shape: ShapeRead, key: Key) -> int | None:
    wanted = key_of(key.field, key.device)
    return shape.keys.index(wanted) if wanted in shape.keys else None


class _Anew:
    """Where a subject's counters begin anew.

    Nearly every guest has one shape all along, lacks nothing, and its counters never fall: then it is at its first
    record, and where its incarnation changes. What the stream's own function makes of any other says it, record by
    record.
    """

    def __init__(self, track: _Track, store: Store, on_damaged: OnDamaged | None) -> None:
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
        by_record = by_piece[self._track.piece_of]
        anew = np.ones(len(by_record), dtype=bool)
        anew[1:] = by_record[1:] != by_record[:-1]
        return anew

    @cached_property
    def _rates(self) -> list[dict[str, float]] | None:
        """Each record's rates, None where all is regular."""
        if self._is_regular():
            return None
        positions = np.array([piece.position for piece in self._track.pieces], dtype=np.int64)[self._track.piece_of]
        return [
            self._taken(head_id, position)
            for head_id, position in zip(self._track.ticks.ids.tolist(), positions.tolist(), strict=True)
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
        if len({piece.shape.columns for piece in pieces}) > 1 or any(_has_extras(piece) for piece in pieces):
            return False
        shape = pieces[0].shape
        counters = set(shape.counters.counters)
        words = np.concatenate([piece.block.words[:, piece.place] for piece in pieces])
        # The pieces' words stand one after the other: put them into the order of the ticks.
        starts = np.cumsum([0, *(len(piece.block.rows) for piece in pieces)])[:-1]
        words = words[starts[self._track.piece_of] + self._track.row_of]
        index = self._picked(pieces[0])
        same = ~self._regular[1:]
        for place, position in enumerate(index):
            if shape.keys[position] in counters:
                values = typed(words[:, place], shape.columns[position].type, {})
                if np.any((values[1:] < values[:-1]) & same):
                    return False
        return True

    @staticmethod
    def _picked(piece: _Piece) -> list[int]:
        return piece.block.plan.picked[piece.place.start : piece.place.stop]


def _has_extras(piece: _Piece) -> bool:
    return any(piece.position in positions for _, positions in piece.block.extras)
