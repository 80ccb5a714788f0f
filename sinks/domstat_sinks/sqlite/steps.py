"""Arithmetic on whole columns: increases and rates, one value a step, quantiles, coverage. Pure.

A rate is taken by the very operations that the stream uses, so that it is equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from domstat.catalog import look_up
from domstat.history import Aggregate, Span
from domstat_sinks.sqlite.source import Column, Integers, Values

PAUSE = 2
"""Intervals of the usual length after which a sample no longer stands for all the time since the one before."""


class Samples(Struct, frozen=True):
    """Some samples of a series: when, and what."""

    time_ms: Integers
    values: Values


class Increases(Struct, frozen=True):
    """By how much a counter grew up to some of its samples, in its own unit, and in how many nanoseconds each time."""

    time_ms: Integers
    deltas: Values
    elapsed_ns: Integers

    def rates(self, field: str) -> Samples:
        """Return the increases per second, in the base unit."""
        return Samples(self.time_ms, self.deltas.astype(np.float64) * look_up(field).rate_factor / self.elapsed_ns)


def samples_of(column: Column) -> Samples:
    """Return a column's samples in its span."""
    return Samples(column.time_ms[column.inside], column.values[column.inside])


def increases_of(column: Column) -> Increases:
    """Return a counter's increases in its span; where it began anew, or no time has passed, there is none."""
    elapsed_ns = _elapsed_ns(column)
    has = column.inside[1:] & ~column.anew[1:] & (elapsed_ns > 0)
    deltas = column.values[1:] - column.values[:-1]  # where an unsigned one fell it began anew, and is not kept
    return Increases(column.time_ms[1:][has], deltas[has], elapsed_ns[has])


def _elapsed_ns(column: Column) -> Integers:
    """Return the time from each sample to the next (see :func:`domstat.rates.elapsed_ns`)."""
    known = (column.boot[1:] == column.boot[:-1]) & (column.boot[1:] != 0)
    return np.where(known, np.diff(column.boot_ns), np.diff(column.wall_ms) * 1_000_000)


class Steps:
    """Which step each sample is in. *starts* are the times at which those steps begin that have a sample."""

    def __init__(self, time_ms: Integers, step_ms: int | None, span: Span) -> None:
        """Without *step_ms* the whole span is one step, which begins with it, or with the first sample."""
        if step_ms is None:
            first_ms = span.since_ms or int(time_ms.min(initial=time_ms[0] if len(time_ms) else 0))
            steps = np.full(len(time_ms), first_ms, dtype=np.int64)
        else:
            steps = time_ms // step_ms * step_ms
        # Stable, so that the last of a step's samples is that of its last tick even where a clock went back.
        self._order = np.argsort(steps, kind="stable") if np.any(steps[1:] < steps[:-1]) else None
        ordered = self._ordered(steps)
        begins = np.ones(len(ordered), dtype=bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        self._begins = np.flatnonzero(begins)
        self.starts: Integers = ordered[begins]
        self.counts: Integers = np.diff(self._begins, append=len(ordered))

    def _ordered(self, values: Values) -> Values:
        return values if self._order is None else values[self._order]

    def sums(self, values: Values) -> Values:
        """Return each step's sum."""
        return np.asarray(np.add.reduceat(self._ordered(values), self._begins))

    def taken(self, values: Values, aggregate: Aggregate) -> Values:
        """Return one value a step; *aggregate* is none that needs increases."""
        taken: Values
        match aggregate:
            case Aggregate.COUNT:
                taken = self.counts
            case Aggregate.LAST:
                taken = self._ordered(values)[self._begins + self.counts - 1]
            case Aggregate.MIN:
                taken = np.minimum.reduceat(self._ordered(values), self._begins)
            case Aggregate.MAX:
                taken = np.maximum.reduceat(self._ordered(values), self._begins)
            case _:
                taken = self.sums(values.astype(np.float64)) / self.counts
        return taken


def by_steps(samples: Samples, aggregate: Aggregate, step_ms: int | None, span: Span) -> Samples:
    """Return one value a step of a series' samples."""
    if not len(samples.time_ms):
        return samples
    steps = Steps(samples.time_ms, step_ms, span)
    return Samples(steps.starts, steps.taken(samples.values, aggregate))


def increases_by_steps(found: Increases, step_ms: int | None, span: Span) -> Samples:
    """Return each step's increase, in the counter's own unit: an increase is in the step in which it was read."""
    if not len(found.time_ms):
        return Samples(found.time_ms, found.deltas)
    steps = Steps(found.time_ms, step_ms, span)
    return Samples(steps.starts, steps.sums(found.deltas))


def rates_by_steps(found: Increases, field: str, step_ms: int | None, span: Span) -> Samples:
    """Return each step's mean rate: all that was gained over all the time in which it was gained."""
    if not len(found.time_ms):
        return found.rates(field)
    steps = Steps(found.time_ms, step_ms, span)
    gained = Increases(steps.starts, steps.sums(found.deltas), steps.sums(found.elapsed_ns))
    return gained.rates(field)


def quantiles(values: Values, shares: Sequence[float]) -> tuple[float, ...]:
    """Return, for each share, the smallest value that so much of all values does not exceed; there must be one."""
    count = len(values)
    places = [min(max(int(np.ceil(share * count)) - 1, 0), count - 1) for share in shares]
    parted = np.partition(values, sorted(set(places))) if places else values
    return tuple(parted[place].item() for place in places)


def covered_ms(time_ms: Integers) -> int:
    """Return for how much time samples stand: each for that since the one before, the first for the usual time.

    After a pause of more than ``PAUSE`` times the usual one a sample stands for no more than the usual time. A single
    sample stands for nothing.
    """
    if len(time_ms) < 2:
        return 0
    passed = np.diff(np.sort(time_ms))
    usual = int(np.median(passed))
    return int(np.where(passed > PAUSE * usual, usual, passed).sum()) + usual


def share_covered(time_ms: Integers, span: Span) -> float:
    """Return the share of a span for which samples stand."""
    asked_ms = span.until_ms - span.since_ms
    return min(1.0, covered_ms(time_ms) / asked_ms) if asked_ms > 0 else 0.0
