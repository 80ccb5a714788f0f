"""Head rows of one layout, of which only what is asked for is unpacked: the words of some series, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from domstat.catalog import ValueType
from domstat.rates import WHOLE_GUEST
from domstat_sinks.sqlite.answers.ticks import Flags, Integers
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.heads.rows import HeadRow, LayoutRead, Rows, ShapeRead, Subject


class Plan:
    """Which words of a layout's rows are wanted: for each part an index into it; and whose they are in what comes."""

    def __init__(self, at: LayoutRead, subjects: Sequence[Subject], picks: Picks) -> None:
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
        self.positions = [position for position, _ in present]
        """Of the subjects, in the order of their places."""
        self.parts = [(part, np.concatenate(found)) for part, found in indexes.items()]


class Block:
    """Rows of one plan: per row its stamp, and the words that the plan picks."""

    def __init__(self, plan: Plan) -> None:
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

    @cached_property
    def falls(self) -> Flags:
        """By word, whether its value falls from one row to the next."""
        types: list[ValueType] = []
        for position, place in zip(self.plan.positions, self.plan.places.values(), strict=True):
            columns = self.plan.layout.shapes[position].columns
            types += [columns[column].type for column in self.plan.picked[place]]
        falls: Flags = np.logical_or.reduce(self.words[1:] < self.words[:-1], axis=0)
        for type_, dtype in ((ValueType.I64, np.int64), (ValueType.F64, np.float64)):
            own = np.flatnonzero(np.array([each is type_ for each in types], dtype=np.bool_))
            values = np.ascontiguousarray(self.words[:, own]).view(dtype)
            falls[own] = (values[1:] < values[:-1]).any(axis=0)
        return falls


class Picks:
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
