"""Arithmetic on whole columns: increases and rates, one value a step, quantiles, coverage. Pure.

A rate is taken by the very operations that the stream uses, so that it is equal to the last bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from domstat.catalog import look_up
from domstat.history import Aggregate, Span
from domstat_sinks.sqlite.answers.source import Column, Values
from domstat_sinks.sqlite.answers.ticks import Flags, Integers

STEPS_KEPT = 8
"""Steps kept: most series have samples at the same times, each tier and the ticks at others."""


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
        rates = self.deltas.astype(np.float64)
        rates *= look_up(field).rate_factor  # in place: new arrays of this size cost more than the arithmetic
        rates /= self.elapsed_ns
        return Samples(self.time_ms, rates)


def samples_of(column: Column) -> Samples:
    """Return a column's samples in its span."""
    ticks = column.ticks
    return Samples(ticks.shown_ms, column.values if ticks.all_inside else column.values[ticks.inside])


def shown_ids(column: Column) -> Integers:
    """Return the numbers of the ticks of :func:`samples_of`."""
    ticks = column.ticks
    return ticks.ids if ticks.all_inside else ticks.ids[ticks.inside]


def increases_of(column: Column) -> Increases:
    """Return a counter's increases in its span; where it began anew, or no time has passed, there is none."""
    ticks = column.ticks
    elapsed_ns = ticks.elapsed_ns(column.place)
    deltas = column.values[1:] - column.values[:-1]  # where an unsigned one fell it began anew, and is not kept
    has = _increased(column)
    if has is None:
        return Increases(ticks.after_ms, deltas, elapsed_ns)
    return Increases(ticks.after_ms[has], deltas[has], elapsed_ns[has])


def increased_ids(column: Column) -> Integers:
    """Return the numbers of the ticks of :func:`increases_of`."""
    has, after = _increased(column), column.ticks.ids[1:]
    return after if has is None else after[has]


def _increased(column: Column) -> Flags | None:
    """Return which samples but the first there is an increase to; None for all."""
    ticks = column.ticks
    anew = column.anew[column.anew > 0] - 1
    if ticks.all_after_inside and ticks.is_steady and not len(anew):
        return None
    has: Flags = ticks.inside[1:] & (ticks.elapsed_ns(column.place) > 0)
    has[anew] = False
    return has


class Steps:
    """Which step each sample is in. *starts* are the times at which those steps begin that have a sample."""

    def __init__(self, time_ms: Integers, step_ms: int | None, span: Span) -> None:
        """Without *step_ms* the whole span is one step, which begins with it, or with the first sample."""
        if step_ms is None:
            first_ms = span.since_ms or int(time_ms.min(initial=time_ms[0] if len(time_ms) else 0))
            steps = np.full(len(time_ms), first_ms, dtype=np.int64)
        else:
            steps = time_ms // step_ms * step_ms
        rises = np.diff(steps)
        least = int(rises.min(initial=1))
        self._is_one_each = least > 0
        # Stable, so that the last of a step's samples is that of its last tick even where a clock went back.
        self._order = np.argsort(steps, kind="stable") if least < 0 else None
        if self._is_one_each:
            self._begins: Integers = np.arange(len(steps))
            self.starts: Integers = steps
            self.counts: Integers = np.ones(len(steps), dtype=np.int64)
            return
        ordered = self._ordered(steps)
        begins = np.ones(len(ordered), dtype=bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        self._begins = np.flatnonzero(begins)
        self.starts = ordered[begins]
        self.counts = np.diff(self._begins, append=len(ordered))

    def _ordered(self, values: Values) -> Values:
        return values if self._order is None else values[self._order]

    def sums(self, values: Values) -> Values:
        """Return each step's sum."""
        if self._is_one_each and values.dtype != np.bool_:
            return values
        return np.asarray(np.add.reduceat(self._ordered(values), self._begins))

    def taken(self, values: Values, aggregate: Aggregate) -> Values:
        """Return one value a step; *aggregate* is none that needs increases."""
        taken: Values
        if self._is_one_each and aggregate in {Aggregate.LAST, Aggregate.MIN, Aggregate.MAX}:
            return values
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


class Stepper:
    """Finds out which samples are in which steps, once for all series with samples at the same times."""

    def __init__(self, step_ms: int | None, span: Span) -> None:
        self._step_ms = step_ms
        self._span = span
        self._known: OrderedDict[tuple[int, ...], tuple[Sequence[Integers], Steps]] = OrderedDict()
        """By the numbers of the very objects, which are kept so that no others can take their numbers."""

    def steps(self, time_ms: Integers) -> Steps:
        """Return the steps of samples at these times."""
        return self.steps_of([time_ms])

    def steps_of(self, times_ms: Sequence[Integers]) -> Steps:
        """Return the steps of samples at these times, one array after the other."""
        key = tuple(map(id, times_ms))
        known = self._known.get(key)
        if known is None:
            time_ms = times_ms[0] if len(times_ms) == 1 else np.concatenate(times_ms)
            known = self._known[key] = (times_ms, Steps(time_ms, self._step_ms, self._span))
            if len(self._known) > STEPS_KEPT:
                self._known.popitem(last=False)
        return known[1]


def by_steps(samples: Samples, aggregate: Aggregate, stepper: Stepper) -> Samples:
    """Return one value a step of a series' samples."""
    if not len(samples.time_ms):
        return samples
    steps = stepper.steps(samples.time_ms)
    return Samples(steps.starts, steps.taken(samples.values, aggregate))


def increases_by_steps(found: Increases, stepper: Stepper) -> Samples:
    """Return each step's increase, in the counter's own unit: an increase is in the step in which it was read."""
    if not len(found.time_ms):
        return Samples(found.time_ms, found.deltas)
    steps = stepper.steps(found.time_ms)
    return Samples(steps.starts, steps.sums(found.deltas))


def rates_by_steps(found: Increases, field: str, stepper: Stepper) -> Samples:
    """Return each step's mean rate: all that was gained over all the time in which it was gained."""
    if not len(found.time_ms):
        return found.rates(field)
    steps = stepper.steps(found.time_ms)
    gained = Increases(steps.starts, steps.sums(found.deltas), steps.sums(found.elapsed_ns))
    return gained.rates(field)


def quantiles(values: Values, shares: Sequence[float]) -> tuple[float, ...]:
    """Return, for each share, the smallest value that so much of all values does not exceed; there must be one."""
    count = len(values)
    places = [min(max(int(np.ceil(share * count)) - 1, 0), count - 1) for share in shares]
    found: dict[int, Any] = {count - 1: values.max(), 0: np.fmin.reduce(values)}
    for place in places:
        if place not in found:  # one by one, which is quicker than all at once
            found[place] = np.partition(values, place)[place]
    return tuple(found[place].item() for place in places)


def share_covered(covered_ms: float, span: Span) -> float:
    """Return the share of a span for which samples stand that stand for so much time."""
    asked_ms = span.until_ms - span.since_ms
    return min(1.0, covered_ms / asked_ms) if asked_ms > 0 else 0.0
