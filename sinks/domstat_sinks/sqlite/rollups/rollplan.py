"""What there is to roll up in a part of a layout, prepared once for all of its ticks. Pure.

A *part* is up to ``row.PART_RECORDS`` records of a layout, whose words stand side by side. Its columns are sorted by
what becomes of them (:class:`.recipes.Sort`), so that each sort is one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType, look_up
from domstat.memo import Shared
from domstat.model import key_of, whole_device
from domstat.rates import WHOLE_GUEST
from domstat_sinks.sqlite.heads.layout import Column, Entry
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, Means, Name, Recipe, Sort, recipes_of, shared_name, sort_of

Whole: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Real: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

_SIGN = 1 << 63


class ShapePlan:
    """One record's columns, sorted, with what is to be known of each."""

    __slots__ = (
        "__weakref__", "columns", "counters", "epoch_of", "epochs", "factors", "flips", "keys", "names", "positions",
        "recipes", "types", "whole_guests",
    )  # fmt: skip

    def __init__(self, kind: str, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.types = tuple(column.type for column in columns)
        self.keys = tuple(key_of(column.field, column.device) for column in columns)
        sorts = [sort_of(column) for column in columns]
        self.positions = [_whole([i for i, of in enumerate(sorts) if of is sort]) for sort in Sort]
        """By sort, where its columns stand in the record."""
        self.names = [
            tuple(shared_name(columns[i].field, columns[i].device) for i in at.tolist()) for at in self.positions
        ]
        """By sort, what its columns hold."""
        counters = [self.positions[sort].tolist() for sort in COUNTERS]
        self.counters = {self.keys[i]: i for i in sorted(chain(*counters))}
        """Where the counters stand in the record, by key, in their order."""
        self.epochs: dict[tuple[str, str | None], int] = {}
        """What begins anew together, (stats group, device with all its parts), numbered."""
        self.epoch_of = [_whole([self._epoch(columns[i]) for i in of]) for of in counters]
        self.factors = [np.array([look_up(columns[i].field).rate_factor for i in of]) for of in counters]
        self.whole_guests = [np.array([self.keys[i] == WHOLE_GUEST for i in of], dtype=np.bool_) for of in counters]
        """These three by sort of counter, see :class:`Plan`."""
        is_signed = [self.types[i] is ValueType.I64 for i in counters[0]]
        self.flips = np.where(is_signed, np.uint64(_SIGN), np.uint64(0))
        at = {(column.field, column.device): i for i, column in enumerate(columns) if sorts[i] is not Sort.TEXT}
        self.recipes: dict[tuple[Means, int], list[Recipe]] = {}
        """By means, and by how many sources they have."""
        for recipe in recipes_of(kind, at, sorts):
            self.recipes.setdefault((recipe.means, len(recipe.sources)), []).append(recipe)

    def _epoch(self, column: Column) -> int:
        epoch = (look_up(column.field).group, whole_device(column.device))
        return self.epochs.setdefault(epoch, len(self.epochs))


shape_plan = Shared(ShapePlan)
"""The plan for records of a kind with these columns; guests alike share theirs."""


class Columns(Struct, frozen=True):
    """The columns of one matrix: of which record each is, and what it holds."""

    records: Whole
    names: tuple[Name, ...]


class Scope(Struct, frozen=True):
    """Whose statistics, and of what: *series* are the columns of their matrices, by :class:`.recipes.Sort`.

    The derived series are among the real ones, behind the others.
    """

    entries: tuple[Entry, ...]
    series: tuple[Columns, ...]


class Derived(Struct, frozen=True):
    """Series derived by the same means, from as many sources: a row a source, a column a series.

    *sources* are words of the part, -1 for one that is not there.
    """

    means: Means
    columns: Columns
    sources: Whole


class Plan(Struct, frozen=True):
    """A part of a layout, prepared.

    *shapes* are the records', *starts* where their words begin, *types* what each word is. *places* are the records'
    places in the answer of *guests* guests (see :func:`domstat.model.moment_within`). *words* say, by sort, which words
    make a matrix, *sorts* the same by word. *derived* is all that can be derived, in the order of its columns.

    Counters are those in integers, then those in doubles: *counter_of* is the counter that a word is, -1 for other
    words, *counter_records* whose each is. *flips* turn integer counters that may be negative into what compares as
    they do. *epochs* is what begins anew together, (record, device), *epoch_of* says which of them each counter is of,
    and *whole_guests* which counters take all of their record with them when they fall.
    """

    scope: Scope
    shapes: tuple[ShapePlan, ...]
    starts: Whole
    types: tuple[ValueType, ...]
    places: Whole
    guests: int
    words: tuple[Whole, ...]
    sorts: Whole
    derived: tuple[Derived, ...]
    counter_of: Whole
    counter_records: Whole
    factors: Real
    flips: Words
    epochs: tuple[tuple[int, str | None], ...]
    epoch_of: Whole
    whole_guests: Flags


def plan_part(
    entries: Sequence[Entry], columns: Sequence[tuple[Column, ...]], places: Sequence[int], guests: int
) -> Plan:
    """Prepare a part: the entries of its records, their columns, their places in the answer of *guests* guests."""
    shapes = tuple(shape_plan(entry.kind, of) for entry, of in zip(entries, columns, strict=True))
    starts = _whole(list(accumulate((len(of) for of in columns), initial=0)))
    epoch_starts = _whole(list(accumulate((len(shape.epochs) for shape in shapes), initial=0)))
    words = tuple(_joined([shape.positions[sort] for shape in shapes], starts) for sort in Sort)
    derived = _derived(shapes, starts)
    series = [_columns([shape.names[sort] for shape in shapes]) for sort in Sort]
    series[Sort.REAL] = _beside([series[Sort.REAL], *(of.columns for of in derived)])
    counters = np.concatenate([words[sort] for sort in COUNTERS])
    sorts, counter_of = np.zeros(starts[-1], dtype=np.int64), np.full(starts[-1], -1, dtype=np.int64)
    for sort in Sort:
        sorts[words[sort]] = sort
    counter_of[counters] = np.arange(len(counters))
    return Plan(
        scope=Scope(tuple(entries), tuple(series)),
        shapes=shapes,
        starts=starts[:-1],
        types=tuple(chain(*(shape.types for shape in shapes))),
        places=_whole(places),
        guests=guests,
        words=words,
        sorts=sorts,
        derived=derived,
        counter_of=counter_of,
        counter_records=np.concatenate([series[sort].records for sort in COUNTERS]),
        factors=np.concatenate([np.zeros(0), *(shape.factors[i] for i in (0, 1) for shape in shapes)]),
        flips=np.concatenate([np.zeros(0, dtype=np.uint64), *(shape.flips for shape in shapes)]),
        epochs=tuple((record, device) for record, shape in enumerate(shapes) for _, device in shape.epochs),
        epoch_of=np.concatenate([_joined([shape.epoch_of[i] for shape in shapes], epoch_starts) for i in (0, 1)]),
        whole_guests=np.concatenate(
            [np.zeros(0, dtype=np.bool_), *(shape.whole_guests[i] for i in (0, 1) for shape in shapes)]
        ),
    )


def _derived(shapes: Sequence[ShapePlan], starts: Whole) -> tuple[Derived, ...]:
    """Put together what is derived by the same means."""
    derived = []
    for means, width in sorted({group for shape in shapes for group in shape.recipes}):
        recipes = [shape.recipes.get((means, width), []) for shape in shapes]
        columns = _columns([tuple(recipe.name for recipe in of) for of in recipes])
        positions = _whole([recipe.sources for of in recipes for recipe in of]).T
        sources = np.where(positions < 0, -1, positions + starts[columns.records])
        derived.append(Derived(means, columns, sources))
    return tuple(derived)


def _whole(numbers: Sequence[Any]) -> Whole:
    return np.array(numbers, dtype=np.int64)


def _joined(positions: Sequence[Whole], starts: Whole) -> Whole:
    """Put the records' positions side by side, each record's moved to where it starts."""
    lengths = [len(of) for of in positions]
    joined: Whole = np.concatenate([*positions, np.zeros(0, dtype=np.int64)])
    return joined + np.repeat(starts[: len(lengths)], lengths)


def _columns(names: Sequence[tuple[Name, ...]]) -> Columns:
    records = np.repeat(np.arange(len(names)), [len(of) for of in names])
    return Columns(records, tuple(chain(*names)))


def _beside(columns: Sequence[Columns]) -> Columns:
    return Columns(np.concatenate([of.records for of in columns]), tuple(chain(*(of.names for of in columns))))
