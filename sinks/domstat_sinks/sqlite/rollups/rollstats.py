"""Statistics of buckets as matrices, and how their rows and columns are moved about. Pure; no value changes here.

Of a row that is not there nothing is known, and of a column that is not there neither: what fills them in changes
nothing it is merged with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.heads.layout import Entry
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.rollups.recipes import Name, Sort
from domstat_sinks.sqlite.rollups.rollplan import Columns, Real, Scope, Whole

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""Integers, signed or not, or doubles."""


class Levels(Struct, frozen=True):
    """Statistics of gauges, states, booleans or derived series, a row a bucket and a column a series.

    *counts* are the ticks with a value; where there are none, the rest means nothing. *sums* are exact below 2^53.
    *mins*, *maxs* and *lasts* have the values' own type.
    """

    counts: Whole
    mins: Values
    maxs: Values
    sums: Real
    lasts: Values


class Texts(Struct, frozen=True):
    """The last text of each, as references into the table of texts, and how many ticks had one."""

    counts: Whole
    lasts: Words


class Counters(Struct, frozen=True):
    """Statistics of counters, a row a bucket and a column a counter (see :class:`~.rollplan.Scope`).

    *increments*, corrected for resets, are in the counters' own units, those of counters in doubles in *reals*; they
    wrap around at 2^64, for which a counter would have to fall from beyond 2^63. *max_rates* are per second in base
    units, no number where nothing was taken. *covered_ns* is the time over which increments were taken.
    """

    increments: Words
    reals: Real
    max_rates: Real
    covered_ns: Whole


class Rollup(Struct, frozen=True):
    """Statistics of the series in *scope* in the buckets that begin at *starts_ms*, ascending.

    *ticks* says how many ticks each record has in each bucket.
    """

    scope: Scope
    starts_ms: Whole
    ticks: Whole
    levels: tuple[Levels, Levels, Levels]
    texts: Texts
    counters: Counters


Subject: TypeAlias = tuple[str, str | None, str | None]
"""Whose values a record has, over ticks and incarnations: kind, uuid, and the name of what has no uuid."""


def subject_of(entry: Entry) -> Subject:
    """Say whose values a record has: a guest may change its name, a pool is nothing but its name."""
    return (entry.kind, entry.uuid, None if entry.uuid else entry.name)


def rows_of(rollup: Rollup, rows: Whole) -> Rollup:
    """Return the buckets at *rows*, in this order."""
    return built(rollup.scope, rollup.starts_ms[rows], [matrix[rows] for matrix in flat(rollup)])


def stacked(rollups: Sequence[Rollup]) -> Rollup:
    """Put the buckets of roll-ups, at least one, of one scope below each other, as they are."""
    if len(rollups) == 1:
        return rollups[0]
    matrices = [np.concatenate(those) for those in zip(*map(flat, rollups), strict=True)]
    return built(rollups[0].scope, np.concatenate([rollup.starts_ms for rollup in rollups]), matrices)


def nothing_of(scope: Scope) -> Rollup:
    """Return a roll-up without buckets."""
    widths = _widths(scope)
    nothing: list[Any] = [np.zeros((0, widths[axis]), dtype=type_) for axis, type_, _ in _FORM]
    return built(scope, np.zeros(0, dtype=np.int64), nothing)


def recast(rollup: Rollup, scope: Scope) -> Rollup:
    """Return the same statistics in the columns of *scope*, which has all of its columns and perhaps more."""
    if rollup.scope is scope:
        return rollup
    if is_alike(rollup.scope, scope):
        return msgspec.structs.replace(rollup, scope=scope)
    places, widths = _places(rollup.scope, scope), _widths(scope)
    matrices = []
    for (axis, type_, fill), matrix in zip(_FORM, flat(rollup), strict=True):
        wider: Any = np.full((len(matrix), widths[axis]), fill, dtype=type_)
        wider[:, places[axis]] = matrix
        matrices.append(wider)
    return built(scope, rollup.starts_ms, matrices)


def unite(scopes: Sequence[Scope]) -> Scope:
    """Return the scope of all that is in *scopes*; of a subject with several incarnations or names the last is named.

    A series that has been of several types is in it once for each.
    """
    if all(is_alike(scope, scopes[-1]) for scope in scopes):
        return scopes[-1]
    entries = {subject_of(entry): entry for scope in scopes for entry in scope.entries}
    record_at = {subject: i for i, subject in enumerate(entries)}
    series = []
    for sort in Sort:
        keys = list(dict.fromkeys(key for scope in scopes for key in _keys(scope, scope.series[sort], record_at)))
        records = np.array([record for record, _ in keys], dtype=np.int64)
        series.append(Columns(records, tuple(name for _, name in keys)))
    return Scope(tuple(entries.values()), tuple(series))


def is_alike(one: Scope, other: Scope) -> bool:
    """Tell whether two scopes have the same series of the same subjects in the same order."""
    return one is other or (
        len(one.entries) == len(other.entries)
        and list(map(subject_of, one.entries)) == list(map(subject_of, other.entries))
        and all(
            mine.names == theirs.names and np.array_equal(mine.records, theirs.records)
            for mine, theirs in zip(one.series, other.series, strict=True)
        )
    )


def _keys(scope: Scope, columns: Columns, record_at: dict[Subject, int]) -> list[tuple[int, Name]]:
    """Name columns by the record that theirs is in another scope."""
    records = [record_at[subject_of(entry)] for entry in scope.entries]
    return [(records[record], name) for record, name in zip(columns.records.tolist(), columns.names, strict=True)]


# A roll-up's matrices in a row, each with what its columns are, its type, and what stands for nothing.

_RECORDS, _COUNTERS = len(Sort), len(Sort) + 1
"""What columns can be besides the series of one sort: the records; all counters."""

_MOST_UNSIGNED, _SIGNED = (1 << 64) - 1, np.iinfo(np.int64)

Form: TypeAlias = tuple[int, type, Any]


def _levels_form(sort: Sort, type_: type, most: Any, least: Any) -> list[Form]:
    return [(sort, np.int64, 0), (sort, type_, most), (sort, type_, least), (sort, np.float64, 0), (sort, type_, 0)]


_FORM: list[Form] = [
    (_RECORDS, np.int64, 0),
    *_levels_form(Sort.UNSIGNED, np.uint64, _MOST_UNSIGNED, 0),
    *_levels_form(Sort.SIGNED, np.int64, _SIGNED.max, _SIGNED.min),
    *_levels_form(Sort.REAL, np.float64, np.nan, np.nan),
    (Sort.TEXT, np.int64, 0),
    (Sort.TEXT, np.uint64, 0),
    (Sort.COUNT, np.uint64, 0),
    (Sort.REAL_COUNT, np.float64, 0),
    (_COUNTERS, np.float64, np.nan),
    (_COUNTERS, np.int64, 0),
]


def flat(rollup: Rollup) -> list[Any]:
    """Return a roll-up's matrices in a row."""
    parts = (*rollup.levels, rollup.texts, rollup.counters)
    return [rollup.ticks, *(matrix for part in parts for matrix in msgspec.structs.astuple(part))]


def built(scope: Scope, starts_ms: Whole, flat: Sequence[Any]) -> Rollup:
    """Make a roll-up of its matrices, as :func:`flat` gives them."""
    ticks, *matrices = flat
    levels = (Levels(*matrices[0:5]), Levels(*matrices[5:10]), Levels(*matrices[10:15]))
    return Rollup(scope, starts_ms, ticks, levels, Texts(*matrices[15:17]), Counters(*matrices[17:21]))


def forms(scope: Scope) -> list[tuple[np.dtype[Any], int]]:
    """Say of each of these matrices of which type it is, and how many columns it has."""
    widths = _widths(scope)
    return [(np.dtype(type_), widths[axis]) for axis, type_, _ in _FORM]


def _widths(scope: Scope) -> list[int]:
    """Say how many columns a matrix has, by what its columns are."""
    series = [len(columns.names) for columns in scope.series]
    return [*series, len(scope.entries), series[Sort.COUNT] + series[Sort.REAL_COUNT]]


def _places(old: Scope, new: Scope) -> list[Whole]:
    """Say where the columns of *old* are in *new*, by what they are."""
    record_at = {subject_of(entry): i for i, entry in enumerate(new.entries)}
    records = np.array([record_at[subject_of(entry)] for entry in old.entries], dtype=np.int64)
    series = []
    for mine, theirs in zip(old.series, new.series, strict=True):
        column_at = {key: i for i, key in enumerate(zip(theirs.records.tolist(), theirs.names, strict=True))}
        series.append(np.array([column_at[key] for key in _keys(old, mine, record_at)], dtype=np.int64))
    reals_from = len(new.series[Sort.COUNT].names)
    return [*series, records, np.concatenate([series[Sort.COUNT], reals_from + series[Sort.REAL_COUNT]])]
