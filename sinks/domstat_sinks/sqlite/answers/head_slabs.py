"""Head rows of a tier as a slab: of each row only the words that are asked for are kept, and no shape is read whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate

import msgspec
import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.history import OnDamaged, Span
from domstat_sinks.sqlite.answers.slabs import ABSENT, MIXED, Owner, Presence, Stat
from domstat_sinks.sqlite.answers.source import Values, chained, typed
from domstat_sinks.sqlite.answers.ticks import Integers
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.heads.rows import HeadRow, Rows
from domstat_sinks.sqlite.packed.headers import TYPES


class Placing(Struct, frozen=True):
    """Where the records of a layout are in its rows: whose each is, its shape, its first word in its part.

    *bounds* are where the words of each part begin and end.
    """

    subjects: list[tuple[str, str | None, str | None]]
    shapes: list[int]
    starts: list[int]
    bounds: list[tuple[int, int]]


class Columns(Struct, frozen=True):
    """Columns of one statistic in a layout: by owner, which of the words that are picked, and its type's place."""

    place_of: dict[Owner, int]
    types: dict[Owner, int]


class Placings:
    """Looks up layouts, as far as it takes to find a few statistics in their rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Placing] = {}

    def placing(self, layout: int) -> Placing:
        """Return where the records of a layout are."""
        known = self._known.get(layout)
        if known is None:
            known = self._known[layout] = self._read(layout)
        return known

    def _read(self, layout: int) -> Placing:
        found = self._connection.execute(
            "SELECT kind, uuid, name, shape FROM layout_record WHERE layout = ? ORDER BY position", (layout,)
        ).fetchall()
        shapes = [shape for *_, shape in found]
        of_shape = dict(
            self._connection.execute(
                "SELECT s.value, (SELECT count(*) FROM shape_column WHERE shape = s.value) FROM json_each(?) s",
                (_json(set(shapes)),),
            ).fetchall()
        )
        lengths = [of_shape[shape] for shape in shapes]
        starts: list[int] = []
        for first in range(0, len(lengths), row.PART_RECORDS):
            starts += list(accumulate(lengths[first : first + row.PART_RECORDS], initial=0))[:-1]
        return Placing(
            [(kind, uuid, None if uuid else name) for kind, uuid, name, _ in found],
            shapes,
            starts,
            row.part_bounds(lengths),
        )

    def columns(self, placing: Placing, names: Collection[str]) -> list[tuple[int, str, str | None, int, int]]:
        """Return the columns of some statistics: (position of the record, name, device, place in it, type's place)."""
        found = self._connection.execute(
            "SELECT c.shape, f.name, c.device, c.position, c.type FROM json_each(?) s CROSS JOIN json_each(?) n"
            " CROSS JOIN field f ON f.name = n.value"
            " CROSS JOIN shape_column c ON c.shape = s.value AND c.field = f.id",
            (_json(set(placing.shapes)), _json(names)),
        ).fetchall()
        of_shape: dict[int, list[tuple[str, str | None, int, int]]] = {}
        for shape, name, device, place, type_ in found:
            of_shape.setdefault(shape, []).append((name, device, place, _NUMBERS[type_]))
        return [
            (position, *column) for position, shape in enumerate(placing.shapes) for column in of_shape.get(shape, ())
        ]


class _Block(Struct, frozen=True):
    """Rows of one layout: which of the slab's rows they are, the words that were picked of each, and what these are."""

    rows: Integers
    words: Words
    columns: dict[str, Columns]


class HeadSlab:
    """Those head rows of a tier that are in a span; meets :class:`.slabs.Slab`."""

    def __init__(self, connection: sqlite3.Connection, time_ms: Integers, blocks: Sequence[_Block]) -> None:
        self._connection = connection
        self._blocks = blocks
        self.time_ms = time_ms

    def types(self, name: str, owners: Sequence[Owner]) -> Integers:
        """Return, for a statistic of each of these series, the place of its type in TYPES, or ABSENT, or MIXED."""
        chosen = np.full(len(owners), ABSENT)
        for block in self._blocks:
            columns = block.columns.get(name)
            if columns is None:
                continue
            types = np.array([columns.types.get(owner, ABSENT) for owner in owners], dtype=np.int64)
            differ = (chosen != ABSENT) & (types != ABSENT) & (chosen != types)
            chosen = np.where(differ, MIXED, np.where(types == ABSENT, chosen, types))
        return chosen

    def stat(self, name: str, owners: Sequence[Owner]) -> Stat:
        """Return a statistic of series that are of one type; of one that is MIXED alone."""
        types = set(self.types(name, owners).tolist())
        if types == {MIXED}:
            return self._mixed(name, owners)
        (type_,) = types
        words: Words = np.zeros((len(owners), len(self.time_ms)), dtype=np.uint64)
        there = np.zeros(words.shape, dtype=np.bool_)
        for block in self._blocks:
            columns = block.columns.get(name)
            if columns is None:
                continue
            places = np.array([columns.place_of.get(owner, ABSENT) for owner in owners], dtype=np.int64)
            has = np.flatnonzero(places >= 0)
            at = np.ix_(has, block.rows)
            words[at] = block.words[:, places[has]].T
            there[at] = True
        return Stat(self._typed(words, TYPES[type_]), None if there.all() else there)

    def presence(self, name: str, owners: Sequence[Owner]) -> Presence:
        """Return of which buckets a statistic of such series is there."""
        return Presence(self.stat(name, owners).there)

    def _mixed(self, name: str, owners: Sequence[Owner]) -> Stat:
        """Return one series that has values of several types."""
        (owner,) = owners
        there = np.zeros((1, len(self.time_ms)), dtype=np.bool_)
        parts: list[Values] = []
        at: list[Integers] = []
        for block in self._blocks:
            columns = block.columns.get(name)
            place = None if columns is None else columns.place_of.get(owner)
            if columns is not None and place is not None:
                parts.append(self._typed(block.words[:, place], TYPES[columns.types[owner]]))
                at.append(block.rows)
                there[0, block.rows] = True
        values = chained(parts)
        found = np.zeros((1, len(self.time_ms)), dtype=values.dtype)
        found[0, np.concatenate(at)] = values
        return Stat(found, there)

    def _typed(self, words: Words, type_: ValueType) -> Values:
        if type_ is not ValueType.TEXT:
            return typed(words, type_, {})
        texts: dict[int, str] = {0: ""}
        for word in set(words.reshape(-1).tolist()):
            found = self._connection.execute("SELECT value FROM text WHERE id = ?", (word,)).fetchone()
            if found is not None:
                texts[word] = found[0]
        return typed(words.reshape(-1), type_, texts).reshape(words.shape)


class HeadSlabs:
    """Makes slabs of head rows."""

    def __init__(self, connection: sqlite3.Connection, rows: Rows) -> None:
        self._connection = connection
        self._rows = rows
        self._placings = Placings(connection)

    def owners(self, stream: int, span: Span, names: Collection[str]) -> Iterable[tuple[str, list[Owner], int]]:
        """Give whose series of some statistics there are, by layout: the statistic, whose, and in how many rows."""
        for layout, count in self._connection.execute(
            f"SELECT layout, count(*) {_IN_SPAN} GROUP BY layout ORDER BY max(id)",
            (stream, span.since_ms, span.until_ms),
        ).fetchall():
            placing = self._placings.placing(layout)
            found: dict[str, list[Owner]] = {}
            for position, name, device, _, _ in self._placings.columns(placing, names):
                found.setdefault(name, []).append((placing.subjects[position], device))
            for name, owners in found.items():
                yield name, owners, count

    def slab(
        self, stream: int, span: Span, wanted: tuple[Collection[str], Collection[Owner]], on_damaged: OnDamaged | None
    ) -> HeadSlab | None:
        """Return what there is of some statistics of some owners' records; None for no rows. Raises DamagedError."""
        found = self._connection.execute(
            f"SELECT id, layout {_IN_SPAN} ORDER BY id",
            (stream, span.since_ms, span.until_ms),
        ).fetchall()
        subjects = {subject for subject, _ in wanted[1]}
        picks: dict[int, tuple[Placing, _Picks]] = {}
        time_ms: list[int] = []
        taken: dict[int, list[tuple[int, Words]]] = {}
        for head_id, layout in found:
            if layout not in picks:
                placing = self._placings.placing(layout)
                picks[layout] = (placing, _Picks(placing, self._placings.columns(placing, wanted[0]), subjects))
            placing, picked = picks[layout]
            try:
                at = self._rows.row(head_id)
                words = [self._words(at, part, placing)[index] for part, index in picked.parts]
            except DamagedError as error:
                if on_damaged is None:
                    raise
                on_damaged(str(error))
                continue
            taken.setdefault(layout, []).append((len(time_ms), np.concatenate([*words, _NONE])))
            time_ms.append(at.stamp.time_ms)
        blocks = [
            _Block(
                np.array([place for place, _ in rows], dtype=np.int64),
                np.stack([words for _, words in rows]),
                picks[layout][1].columns,
            )
            for layout, rows in taken.items()
        ]
        return HeadSlab(self._connection, np.array(time_ms, dtype=np.int64), blocks) if time_ms else None

    def _words(self, at: HeadRow, part: int, placing: Placing) -> Words:
        """Return the words of one part of a row. Raises DamagedError."""
        known: Words | None = at.parts.get(part)
        if known is None:
            base = self._words(self._rows.row(at.body.base), part, placing) if at.body.base else None
            start, end = placing.bounds[part]
            known = at.parts[part] = row.unpack_part(at.body, part, end - start, base)
        return known


class _Picks:
    """Which words of a layout's rows are wanted: for each part an index into it; and whose they are in what comes."""

    def __init__(
        self,
        placing: Placing,
        columns: Sequence[tuple[int, str, str | None, int, int]],
        subjects: Collection[tuple[str, str | None, str | None]],
    ) -> None:
        self.columns: dict[str, Columns] = {}
        indexes: dict[int, list[int]] = {}
        picked = 0
        for position, name, device, place, type_ in columns:
            subject = placing.subjects[position]
            if subject not in subjects:
                continue
            indexes.setdefault(position // row.PART_RECORDS, []).append(placing.starts[position] + place)
            own = self.columns.get(name)
            if own is None:
                own = self.columns[name] = Columns({}, {})
            own.place_of[subject, device], own.types[subject, device] = picked, type_
            picked += 1
        self.parts = [(part, np.array(index, dtype=np.int64)) for part, index in indexes.items()]
        # Parts come in their order, since records do.


def _json(items: Collection[int] | Collection[str]) -> str:
    return msgspec.json.encode(sorted(items)).decode()


_IN_SPAN = (
    "FROM head WHERE stream = ?1 AND time_ms >= ?2 AND time_ms < ?3 AND id > (SELECT sealed FROM stream WHERE id = ?1)"
)
_NUMBERS = {str(type_): place for place, type_ in enumerate(TYPES)}
_NONE: Words = np.zeros(0, dtype=np.uint64)
