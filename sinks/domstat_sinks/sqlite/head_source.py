"""Head rows as a source of columns: decoded part by part, and column by column from there on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, ValueType, look_up
from domstat.history import OnDamaged, Span
from domstat.model import key_of
from domstat.rates import WHOLE_GUEST
from domstat_sinks.sqlite import layout, row
from domstat_sinks.sqlite.rows import HeadRow, LayoutRead, Rows, ShapeRead, Subject
from domstat_sinks.sqlite.source import Column, Extent, Flags, Integers, Key, Seen, Values, Who, chained, typed
from domstat_sinks.sqlite.stored import LOOK_BACK_MAX, Store

Words: TypeAlias = row.Words


class HeadSource:
    """Reads columns out of head rows; meets :class:`.source.Source`.

    What is sealed is a head row's no more, even while the row is still there.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def extent(self, stream: int, span: Span) -> Extent | None:
        """Return a stream's first and last tick in a span, and how many there are."""
        found = self._connection.execute(
            "SELECT min(time_ms), max(time_ms), count(*) FROM head WHERE stream = ?1 AND time_ms >= ?2 AND time_ms < ?3"
            " AND id > (SELECT sealed FROM stream WHERE id = ?1)",
            (stream, span.since_ms, span.until_ms),
        ).fetchone()
        return Extent(*found) if found[2] else None

    def seen(self, stream: int, span: Span) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, by layout."""
        layouts = self._connection.execute(
            "SELECT layout, min(time_ms), max(time_ms), count(*) FROM head"
            " WHERE stream = ?1 AND time_ms >= ?2 AND time_ms < ?3"
            " AND id > (SELECT sealed FROM stream WHERE id = ?1) GROUP BY layout ORDER BY max(id)",
            (stream, span.since_ms, span.until_ms),
        ).fetchall()
        shapes: dict[int, tuple[layout.Column, ...]] = {}
        for number, first_ms, last_ms, ticks in layouts:
            for kind, uuid, name, shape in self._connection.execute(
                "SELECT kind, uuid, name, shape FROM layout_record WHERE layout = ? ORDER BY position", (number,)
            ).fetchall():
                columns = shapes.get(shape)
                if columns is None:
                    columns = shapes[shape] = self._shape(shape)
                yield Seen(Who(stream, kind, uuid, None if uuid else name), name, columns, first_ms, last_ms, ticks)

    def _shape(self, shape: int) -> tuple[layout.Column, ...]:
        found = self._connection.execute(
            "SELECT f.name, c.device, c.type FROM shape_column c JOIN field f ON f.id = c.field WHERE c.shape = ?"
            " ORDER BY c.position",
            (shape,),
        )
        return tuple(layout.Column(name, device, ValueType(type_)) for name, device, type_ in found)

    def columns(
        self, keys: Sequence[Key], span: Span, *, increases: bool, on_damaged: OnDamaged | None
    ) -> Iterator[Column]:
        """Give one column of each series that has a value. Raises DamagedError unless *on_damaged* is to be told."""
        streams: dict[int, dict[Who, list[Key]]] = {}
        for key in keys:
            streams.setdefault(key.who.stream, {}).setdefault(key.who, []).append(key)
        for stream, wanted in streams.items():
            reading = _Reading(self._connection, stream, span, wanted, increases=increases, on_damaged=on_damaged)
            reading.gather()
            for who, own in wanted.items():
                yield from reading.columns(who, own)


class _Plan:
    """Which words of a layout's rows are wanted: for each part an index into it; and whose they are in what comes."""

    def __init__(self, at: LayoutRead, subjects: Sequence[Subject], picks: _Picks) -> None:
        self.layout = at
        """Kept, so that no other layout can take the number of the object."""
        indexes: dict[int, list[Integers]] = {}
        present = sorted((at.positions[subject], subject) for subject in subjects if subject in at.positions)
        self.places: dict[Subject, slice] = {}
        self.picked: list[int] = []
        """Per word that comes, the column of its record that it is of."""
        for position, subject in present:  # parts come in their order, since positions do
            index = picks.of(subject, at.shapes[position])
            indexes.setdefault(position // row.PART_RECORDS, []).append(index + at.starts[position])
            self.places[subject] = slice(len(self.picked), len(self.picked) + len(index))
            self.picked += index.tolist()
        self.parts = [(part, np.concatenate(found)) for part, found in indexes.items()]


class _Block:
    """Rows of one plan: per row its stamp, and the words that the plan picks."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.rows: list[tuple[int, int, int, int, int]] = []
        """Per row: id, time, boot, boot-time clock, duration of the call."""
        self.picked: list[Words] = []
        self.extras: list[tuple[int, frozenset[int]]] = []
        """Rows that have more to say of some records: their places here, and those records' positions."""

    def add(self, at: HeadRow, boot: int, rows: Rows) -> None:
        """Add a row. Raises DamagedError, and the row is not there then."""
        words = [rows.words(at, part)[index] for part, index in self.plan.parts]
        if at.body.extras:
            self.extras.append((len(self.rows), frozenset(at.body.extras)))
        self.rows.append((at.id, at.stamp.time_ms, boot, at.stamp.boot_ns, at.stamp.call_ns))
        self.picked.append(words[0] if len(words) == 1 else np.concatenate(words))

    @cached_property
    def stamps(self) -> Integers:
        """The stamps, a column a row."""
        return np.array(self.rows, dtype=np.int64).reshape(-1, 5).T

    @cached_property
    def words(self) -> Words:
        """The words, a row a row."""
        return np.stack(self.picked)


class _Picks:
    """Which columns of a shape are wanted of a subject: those that are asked for, and those that tell it began anew."""

    def __init__(self, wanted: dict[Subject, set[tuple[str, str | None]]], *, increases: bool) -> None:
        self._wanted = wanted
        self._increases = increases
        self._known: dict[tuple[Subject, int], tuple[ShapeRead, Integers]] = {}

    def of(self, subject: Subject, shape: ShapeRead) -> Integers:
        """Return the positions of these columns."""
        known = self._known.get((subject, id(shape)))
        if known is None:
            wanted = self._wanted[subject]
            chosen = {i for i, column in enumerate(shape.columns) if (column.field, column.device) in wanted}
            if self._increases and chosen:
                chosen |= self._tell_tales(shape, chosen)
            index = np.array(sorted(chosen), dtype=np.int64)
            known = self._known[subject, id(shape)] = (shape, index)
        return known[1]

    @staticmethod
    def _tell_tales(shape: ShapeRead, chosen: set[int]) -> set[int]:
        """Return the counters that begin anew together with those chosen, by their positions."""
        epochs = dict(zip(shape.counters.counters, shape.counters.epochs, strict=True))
        of_chosen = {epochs.get(shape.keys[i]) for i in chosen}
        return {
            i for i, key in enumerate(shape.keys) if key in epochs and (key == WHOLE_GUEST or epochs[key] in of_chosen)
        }


class _Piece(Struct, frozen=True):
    """A subject's records in one block."""

    block: _Block
    place: slice
    position: int
    shape: ShapeRead
    incarnation: int | None
    name: str | None


class _Track(Struct, frozen=True):
    """A subject's records, in the order of their ticks, whatever block they are in."""

    pieces: list[_Piece]
    piece_of: Integers
    row_of: Integers
    """Per record, its piece, and its row in that piece's block."""
    ids: Integers
    time_ms: Integers
    boot: Integers
    boot_ns: Integers
    wall_ms: Integers


class _Reading:
    """One pass over a stream's rows, for some of its subjects."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        stream: int,
        span: Span,
        wanted: dict[Who, list[Key]],
        *,
        increases: bool,
        on_damaged: OnDamaged | None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._span = span
        self._increases = increases
        self._on_damaged = on_damaged
        self._rows = Rows(connection)
        self._store = Store(connection)
        self._subjects = {who: (who.kind, who.uuid, who.name) for who in wanted}
        fields = {self._subjects[who]: {(key.field, key.device) for key in keys} for who, keys in wanted.items()}
        self._picks = _Picks(fields, increases=increases)
        self._blocks: dict[tuple[int, Subject | None], _Block] = {}
        self._boots = {"": 0}
        self._texts: dict[int, str] = {}

    def gather(self) -> None:
        """Read the rows. Raises DamagedError."""
        if self._increases:
            self._boots |= {text: number for number, text in self._connection.execute("SELECT id, boot_id FROM boot")}
            self._boots[""] = 0
        waiting = set(self._subjects.values()) if self._increases else set()
        everybody = list(self._subjects.values())
        for head_id in self._ids():
            at = self._whole_row(head_id)
            if at is None:
                continue
            for subject in waiting & at.layout.positions.keys():
                waiting.discard(subject)
                self._gather_before(at, subject)
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

    def _gather_before(self, at: HeadRow, subject: Subject) -> None:
        """Read what a subject's first rates are taken from: its records before, back to one that lacks nothing."""
        position = at.layout.positions[subject]
        chain: list[HeadRow] = []
        try:
            while len(chain) < LOOK_BACK_MAX:
                before = self._rows.record_before(at, position)
                if before is None:
                    break
                at, position = self._rows.row(before[0]), before[1]
                chain.append(at)
                extra = at.body.extras.get(position)
                if extra is None or extra.partial is None:
                    break
        except row.DamagedError as error:
            self._pass_over(error)
        for earlier in reversed(chain):
            self._add(earlier, [subject], subject)

    def _add(self, at: HeadRow, subjects: Sequence[Subject], alone: Subject | None) -> None:
        block = self._blocks.get((id(at.layout), alone))
        if block is None:
            block = self._blocks[id(at.layout), alone] = _Block(_Plan(at.layout, subjects, self._picks))
        if not block.plan.parts:
            return
        try:
            block.add(at, self._boots.get(at.stamp.boot_id, 0), self._rows)
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
        inside = (track.time_ms >= self._span.since_ms) & (track.time_ms < self._span.until_ms)
        anew = _Anew(track, self._store, self._on_damaged)
        newest = track.pieces[track.piece_of[-1]]
        for key in keys:
            column = self._column(track, key)
            if column is None:
                continue
            values, has = column
            is_counter = self._increases and look_up(key.field).kind is FieldKind.COUNTER
            yield Column(
                key=key,
                name=newest.name,
                incarnation=newest.incarnation,
                time_ms=track.time_ms[has],
                boot=track.boot[has],
                boot_ns=track.boot_ns[has],
                wall_ms=track.wall_ms[has],
                values=values,
                inside=inside[has],
                anew=anew.of(key_of(key.field, key.device))[has] if is_counter else np.zeros(len(values), dtype=bool),
            )

    def _track(self, subject: Subject) -> _Track | None:
        pieces: list[_Piece] = []
        parts: list[Integers] = []
        for block in self._blocks.values():
            place = block.plan.places.get(subject)
            if place is None or not block.rows:
                continue
            at = block.plan.layout
            position = at.positions[subject]
            entry = at.entries[position]
            piece = _Piece(block, place, position, at.shapes[position], entry.incarnation, entry.name)
            offset_ns = block.stamps[4] * (2 * at.guests_before[position] + 1) // (2 * (at.guests or 1))
            count = len(block.rows)
            whose = (np.full(count, len(pieces)), np.arange(count))
            moments = (block.stamps[3] + offset_ns, block.stamps[1] + offset_ns // 1_000_000)
            parts.append(np.stack([block.stamps[0], block.stamps[1], block.stamps[2], *moments, *whose]))
            pieces.append(piece)
        if not pieces:
            return None
        records = np.concatenate(parts, axis=1)
        ids, time_ms, boot, boot_ns, wall_ms, piece_of, row_of = records[:, np.argsort(records[0], kind="stable")]
        return _Track(pieces, piece_of, row_of, ids, time_ms, boot, boot_ns, wall_ms)

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
            for head_id, position in zip(self._track.ids.tolist(), positions.tolist(), strict=True)
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
