"""Head rows as a source of columns: decoded part by part, and column by column from there on."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, ValueType, look_up
from domstat.history import OnDamaged, Span
from domstat.model import key_of
from domstat_sinks.sqlite.answers.choosing import Choice, Globs, Key, Who
from domstat_sinks.sqlite.answers.head_blocks import Block, Picks, Plan
from domstat_sinks.sqlite.answers.head_slabs import HeadSlab, HeadSlabs
from domstat_sinks.sqlite.answers.head_tracks import Anew, Course, Piece, Track
from domstat_sinks.sqlite.answers.slabs import Owner
from domstat_sinks.sqlite.answers.source import NOWHERE, Column, Extent, Seen, Values, Wanted, chained, typed
from domstat_sinks.sqlite.answers.ticks import Boots, Integers, Ticks
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

    def called(self, stream: int, span: Span, globs: Globs, _: OnDamaged | None) -> set[str]:
        """Return the uuids of guests that have such a name in a span."""
        found: set[str] = set()
        for number, *_times in self._layouts(stream, span):
            for uuid, name in self._connection.execute(
                "SELECT uuid, name FROM layout_record WHERE layout = ? AND uuid IS NOT NULL", (number,)
            ).fetchall():
                if globs.have(uuid) or globs.have(name or ""):
                    found.add(uuid)
        return found

    def seen(
        self, stream: int, span: Span, _: OnDamaged | None, uuids: Collection[str | None] | None = None
    ) -> Iterator[Seen]:
        """Give all that was seen of a stream in a span, by layout."""
        for number, *seen in self._layouts(stream, span):
            for kind, uuid, name, incarnation in self._connection.execute(
                "SELECT kind, uuid, name, incarnation FROM layout_record WHERE layout = ? ORDER BY position", (number,)
            ).fetchall():
                if uuids is None or uuid in uuids:
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

    def owners(
        self, stream: int, span: Span, names: Collection[str], _: OnDamaged | None
    ) -> Iterator[tuple[str, Sequence[Owner], int]]:
        """Give whose series of some statistics there are in a tier, by layout."""
        yield from self._read().slabs.owners(stream, span, names)

    def slabs(
        self, stream: int, span: Span, wanted: tuple[Collection[str], Collection[Owner]], on_damaged: OnDamaged | None
    ) -> Iterator[HeadSlab]:
        """Give the buckets of a tier that begin in a span, all in one. Raises DamagedError."""
        slab = self._read().slabs.slab(stream, span, wanted, on_damaged)
        if slab is not None:
            yield slab

    def _read(self) -> _Read:
        """Return what is still as it was read; a row that comes again is written anew, under its number."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            rows = Rows(self._connection)
            self._known = _Read(self._connection, rows, Store(self._connection), HeadSlabs(self._connection, rows))
            self._version = version
        return self._known


class _Read(Struct, frozen=True):
    """What has been read of the file, for who reads on."""

    connection: sqlite3.Connection
    rows: Rows
    store: Store
    slabs: HeadSlabs


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
        self._courses: dict[tuple[int, ...], Course] = {}
        """By the numbers of the blocks, which are kept."""

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
            before, own = self._rows.row(head_id), frozenset(rows[head_id])
            is_everybodys = all(it in own for it in self._subjects.values() if it in before.layout.positions)
            self._add(before, rows[head_id], None if is_everybodys else own)

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
        anew = Anew(track, self._store, self._on_damaged)
        for key in keys:
            column = self._column(track, key)
            if column is None:
                continue
            values, has = column
            is_counter = self._increases and look_up(key.field).kind is FieldKind.COUNTER
            ticks = (
                track.course.ticks
                if len(has) == len(track.course.ticks)
                else self._shared(track.course.ticks.part(has))
            )
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

    def _track(self, subject: Subject) -> Track | None:
        pieces: list[Piece] = []
        places: list[tuple[int, int]] = []
        for block in self._blocks.values():
            place = block.plan.places.get(subject)
            if place is None or not block.rows:
                continue
            at = block.plan.layout
            position = at.positions[subject]
            places.append((2 * at.guests_before[position] + 1, 2 * (at.guests or 1)))
            pieces.append(Piece(block, place, position, at.shapes[position], at.entries[position].incarnation))
        if not pieces:
            return None
        course = self._course([piece.block for piece in pieces])
        if len(set(places)) == 1:
            return Track(pieces, course, places[0])
        numerators, denominators = np.array(places, dtype=np.int64)[course.piece_of].T
        return Track(pieces, course, course.ticks.call_ns * numerators // denominators)

    def _course(self, blocks: Sequence[Block]) -> Course:
        """Put the rows of some blocks into the order of their ticks, once for all subjects that are in these."""
        key = tuple(map(id, blocks))
        known = self._courses.get(key)
        if known is None:
            stamps = np.concatenate([block.stamps for block in blocks], axis=1)
            order = np.argsort(stamps[0], kind="stable")
            counts = [len(block.rows) for block in blocks]
            piece_of = np.repeat(np.arange(len(blocks)), counts)[order]
            row_of = np.concatenate([np.arange(count) for count in counts])[order]
            ticks = self._shared(self._ticks_at(list(stamps[:, order])))
            of_piece = [np.flatnonzero(piece_of == number) for number in range(len(blocks))]
            known = self._courses[key] = Course(piece_of, row_of, of_piece, ticks)
        return known

    def _ticks_at(self, stamps: Sequence[Integers]) -> Ticks:
        return Ticks(*stamps, inside=(stamps[1] >= self._span.since_ms) & (stamps[1] < self._span.until_ms))

    def _column(self, track: Track, key: Key) -> tuple[Values, Integers] | None:
        """Return a series' values, and in which of the subject's records they are; None for no values."""
        records: list[Integers] = []
        values: list[Values] = []
        for number, piece in enumerate(track.pieces):
            found = _find(piece.shape, key)
            if found is None:
                continue
            mine = track.course.of_piece[number]
            at = int(np.searchsorted(self._picks.of(self._subjects[key.who], piece.shape), found))
            words = piece.block.words[track.course.row_of[mine], piece.place.start + at]
            type_ = piece.shape.columns[found].type
            if type_ is ValueType.TEXT:
                self._read_texts(words)
            values.append(typed(words, type_, self._texts))
            records.append(mine)
        if not records:
            return None
        if len(track.pieces) == 1:
            return values[0], records[0]
        order = np.argsort(np.concatenate(records), kind="stable")
        return chained(values)[order], np.concatenate(records)[order]

    def _read_texts(self, words: Words) -> None:
        for word in set(words.tolist()):
            if word not in self._texts:
                found = self._connection.execute("SELECT value FROM text WHERE id = ?", (word,)).fetchone()
                self._texts[word] = found[0]


def _find(shape: ShapeRead, key: Key) -> int | None:
    wanted = key_of(key.field, key.device)
    return shape.keys.index(wanted) if wanted in shape.keys else None
