"""Roll-ups: what the ticks of a span come to, as statistics that can be merged. Pure.

A bucket is a span of wall time that begins at a multiple of its width. Statistics of one bucket that were made of
different ticks are merged, and buckets are combined to wider ones, by one and the same function, :func:`merge`. It is
associative, and its identity is a roll-up without buckets; of the order of what is merged only ``last`` takes notice.

What a counter did between two ticks belongs to the bucket of the later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from domstat_sinks.sqlite.rollups.increments import Run, Taken
from domstat_sinks.sqlite.rollups.recipes import Sort
from domstat_sinks.sqlite.rollups.rollplan import Real, Whole
from domstat_sinks.sqlite.rollups.rollstats import (
    Counters,
    Levels,
    Rollup,
    Texts,
    Values,
    recast,
    rows_of,
    stacked,
    unite,
)

FIVE_MINUTES_MS = 300_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def roll_up(run: Run, taken: Taken, derived: Real, width_ms: int) -> Rollup:
    """Roll up the ticks of *run*, of which *taken* and *derived* were made, into buckets of *width_ms*."""
    unsigned, signed, reals, texts = (
        np.take(run.words, run.plan.words[sort], axis=1, mode="clip")
        for sort in (Sort.UNSIGNED, Sort.SIGNED, Sort.REAL, Sort.TEXT)
    )
    every_tick = Rollup(
        scope=run.plan.scope,
        starts_ms=run.stamps.times_ms,
        ticks=_ones((len(run.words), len(run.plan.places))),
        levels=(
            _levels_of(unsigned),
            _levels_of(signed.view(np.int64)),
            _levels_of(np.hstack([reals.view(np.float64), derived])),
        ),
        texts=Texts(_ones(texts.shape), texts),
        counters=Counters(taken.deltas, taken.real_deltas, taken.rates, taken.spans_ns),
    )
    return _reduce(every_tick, width_ms)


def merge(rollups: Sequence[Rollup], width_ms: int) -> Rollup:
    """Merge *rollups*, at least one, whatever their scopes, into buckets of *width_ms*, which theirs must fit into.

    What comes later in *rollups* counts as later, and so has the say on ``last``.
    """
    scope = unite([rollup.scope for rollup in rollups])
    return _reduce(stacked([recast(rollup, scope) for rollup in rollups]), width_ms)


def _levels_of(values: Values) -> Levels:
    """Make the statistics of every tick by itself; what is no number is not there."""
    if values.dtype != np.float64:
        return Levels(_ones(values.shape), values, values, values, values)
    is_absent = np.isnan(values)
    if not is_absent.any():
        return Levels(_ones(values.shape), values, values, values, values)
    return Levels((~is_absent).astype(np.int64), values, values, np.where(is_absent, 0.0, values), values)


def _ones(shape: tuple[int, ...]) -> Whole:
    return np.broadcast_to(np.int64(1), shape)


Bounds: TypeAlias = list[tuple[int, int]]
"""Which rows become one: from, to."""


def _reduce(rollup: Rollup, width_ms: int) -> Rollup:
    """Make one row of all that lie in one bucket, in the order they are in."""
    starts_ms = rollup.starts_ms // width_ms * width_ms
    if (np.diff(starts_ms) < 0).any():  # the clock was set back, or what is merged is not in the order of time
        order = np.argsort(starts_ms, kind="stable")
        starts_ms = starts_ms[order]
        rollup = rows_of(rollup, order)
    firsts = np.flatnonzero(np.diff(starts_ms, prepend=-1))
    bounds = list(zip(firsts.tolist(), [*firsts[1:].tolist(), len(starts_ms)], strict=True))
    counters = rollup.counters
    return Rollup(
        scope=rollup.scope,
        starts_ms=starts_ms[firsts],
        ticks=_over(np.add, rollup.ticks, bounds),
        levels=(
            _reduce_levels(rollup.levels[0], bounds),
            _reduce_levels(rollup.levels[1], bounds),
            _reduce_levels(rollup.levels[2], bounds),
        ),
        texts=Texts(_over(np.add, rollup.texts.counts, bounds), _last(rollup.texts.lasts, rollup.texts.counts, bounds)),
        counters=Counters(
            increments=_over(np.add, counters.increments, bounds),
            reals=_over(np.add, counters.reals, bounds),
            max_rates=_over(np.fmax, counters.max_rates, bounds),
            covered_ns=_over(np.add, counters.covered_ns, bounds),
        ),
    )


def _reduce_levels(levels: Levels, bounds: Bounds) -> Levels:
    is_real = levels.mins.dtype == np.float64
    return Levels(
        counts=_over(np.add, levels.counts, bounds),
        mins=_over(np.fmin if is_real else np.minimum, levels.mins, bounds),
        maxs=_over(np.fmax if is_real else np.maximum, levels.maxs, bounds),
        sums=_over(np.add, levels.sums, bounds, np.float64),
        lasts=_last(levels.lasts, levels.counts, bounds),
    )


def _over(function: np.ufunc, rows: Values, bounds: Bounds, type_: type | None = None) -> Any:
    """Apply *function* over the rows of each bucket. A loop over buckets: reduceat takes seven times as long."""
    reduced = np.zeros((len(bounds), rows.shape[1]), dtype=type_ or rows.dtype)
    if function is np.add and not any(rows.strides) and rows.size:  # the same everywhere
        return reduced + rows[0, 0] * np.array([[end - start] for start, end in bounds])
    with np.errstate(over="ignore", invalid="ignore"):  # of doubles: a sum beyond their range is infinite, or no number
        for i, (start, end) in enumerate(bounds):
            function.reduce(rows[start:end], axis=0, dtype=type_, out=reduced[i])
    return reduced


def _last(rows: Values, counts: Whole, bounds: Bounds) -> Any:
    """Pick of the rows of each bucket the last that has a value; the last of all where none has."""
    lasts = rows[[end - 1 for _, end in bounds]] if bounds else rows[:0]
    for i, (start, end) in enumerate(bounds):
        absent = np.flatnonzero(counts[end - 1] == 0)
        if len(absent) and end - start > 1:
            backwards = counts[start:end, absent][::-1] > 0
            lasts[i, absent] = rows[end - 1 - backwards.argmax(axis=0), absent]
    return lasts
