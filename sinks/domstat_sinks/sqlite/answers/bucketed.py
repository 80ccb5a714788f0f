"""What buckets say of a series, in parts that add up: to steps, and with what ticks say of the rest of a span. Pure.

What was left out of a bucket, since the rest tells it, is put in again (see :mod:`..rollups.rollrecord`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct

from domstat.catalog import DERIVED, FieldKind, ValueType, look_up
from domstat.history import Aggregate
from domstat_sinks.sqlite.answers.plan import Use
from domstat_sinks.sqlite.answers.slabs import Presence, Stat, filled
from domstat_sinks.sqlite.answers.source import Values, chained
from domstat_sinks.sqlite.answers.steps import Increases, Samples, Stepper
from domstat_sinks.sqlite.answers.ticks import Flags, Integers
from domstat_sinks.sqlite.rollups.rollrecord import (
    COVERED,
    DENOMINATOR,
    FROM_COUNTERS,
    FROM_PAIRS,
    NUMERATOR,
    QUOTIENT,
    TICKS,
)

ROUNDED = 0.0005
"""How far a rounded statistic may be from what it was, relatively: to 11 bits."""

OF_RECORDS = frozenset({TICKS, COVERED})
"""Names of what buckets have of a record, not of a series."""


class Way(Struct, frozen=True):
    """What is asked of a series: one *aggregate* a step, of its values or of its rate."""

    aggregate: Aggregate
    rate: bool


class Parts(Struct, frozen=True):
    """Parts of steps, in the order of time. *columns* are what the aggregate is made of: see :func:`summed_up`."""

    time_ms: Integers
    columns: tuple[Values, ...]
    covered_ms: float


class Said(Struct, frozen=True):
    """What the buckets of a slab say of some series, a row each; *there* are the buckets that say it, None for all.

    *columns* are those of :class:`Parts`, or one number where it is the same everywhere.
    """

    columns: tuple[Values | float, ...]
    there: Flags | None


class Ask(Protocol):
    """Gives a statistic of these series by its name, None where there is none."""

    def __call__(self, name: str) -> Stat | None:
        """Return it."""

    def presence(self, name: str) -> Presence | None:
        """Return of which buckets it is there; that costs less."""


_OF_GAUGES = {
    Aggregate.MEAN: ("mean", "count"),
    Aggregate.MIN: ("min",),
    Aggregate.MAX: ("max",),
    Aggregate.LAST: (),
    Aggregate.COUNT: ("count",),
}
_OF_RATES = {Aggregate.MEAN: ("covered",), Aggregate.MAX: ("max_rate",)}


def use_of(field: str, way: Way, tolerance: float) -> Use:
    """Say whether buckets may answer: where they can and are near enough, freely."""
    if not _can_answer(field, way):
        return Use.NEVER
    # A field that nobody knows may change its type within a bucket, and only ticks know which value came last.
    if not (field in DERIVED or look_up(field).known):
        return Use.IF_NEED_BE
    return Use.FREELY if tolerance >= ROUNDED or _is_exact(field, way) else Use.IF_NEED_BE


def _can_answer(field: str, way: Way) -> bool:
    if look_up(field).kind is not FieldKind.COUNTER:
        return True
    return way.aggregate in _OF_RATES if way.rate else way.aggregate is Aggregate.INCREASE


def _is_exact(field: str, way: Way) -> bool:
    if field in DERIVED:
        return way.aggregate is Aggregate.COUNT
    if look_up(field).kind is FieldKind.COUNTER:  # doubles added up in another order are others in their last bit
        return way.aggregate is not Aggregate.MAX and look_up(field).type is not ValueType.F64
    return way.aggregate is not Aggregate.MEAN


def statistics(field: str, way: Way) -> tuple[str, ...]:
    """Name the statistics that it takes, the record's among them."""
    if field == QUOTIENT:
        return (*_of(QUOTIENT, way), *statistics(NUMERATOR, way), f"{DENOMINATOR}:last")
    if field in FROM_COUNTERS:
        counter = FROM_COUNTERS[field]
        return (*_of(field, way), f"{counter}:increment", f"{counter}:max_rate", f"{counter}:covered")
    if field in FROM_PAIRS:
        return (*_of(field, way), *(f"{of}:increment" for of in FROM_PAIRS[field]))
    return _of(field, way)


def _of(field: str, way: Way) -> tuple[str, ...]:
    if look_up(field).kind is FieldKind.COUNTER:
        own = ("increment", *_OF_RATES.get(way.aggregate, ()))
    elif field in DERIVED:
        own = ("last", "count", *_OF_GAUGES[way.aggregate])
    else:
        own = ("last", *_OF_GAUGES[way.aggregate])
    return (*(f"{field}:{statistic}" for statistic in own), TICKS, COVERED)


def said(field: str, way: Way, ask: Ask) -> Said | None:
    """Return what the buckets of a slab say of some series; None for nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):  # what comes of such is of buckets that say nothing
        if field in DERIVED:
            return _of_derived(field, way, ask)
        if look_up(field).kind is FieldKind.COUNTER:
            return _of_counter(field, way, ask)
        return _of_level(field, way, ask)


def _of_level(field: str, way: Way, ask: Ask) -> Said | None:
    if way.aggregate in {Aggregate.MEAN, Aggregate.COUNT}:
        return _of_level_by_ticks(field, way, ask)
    base = ask(f"{field}:last")
    if base is None:
        return None
    values = base.values
    if way.aggregate is not Aggregate.LAST:
        values = np.asarray(filled(ask(f"{field}:{way.aggregate}"), base.values))
    return Said((values.astype(np.bool_) if look_up(field).type is ValueType.BOOL else values,), base.there)


def _of_level_by_ticks(field: str, way: Way, ask: Ask) -> Said | None:
    """Return the ticks with a value, or also the mean, for which the last is needed only where that says it."""
    base = ask.presence(f"{field}:last")
    if base is None:
        return None
    counts = filled(ask(f"{field}:count"), lambda: filled(ask(TICKS), 1))
    if way.aggregate is Aggregate.COUNT:
        return Said((counts,), base.there)
    means = ask(f"{field}:mean")
    if means is None or means.there is not None:
        last = ask(f"{field}:last")
        if last is None:
            return None
        values, there = filled(means, last.values), last.there
    else:
        values, there = means.values, base.there
    return Said((np.asarray(values, dtype=np.float64) * counts, counts), there)


def _of_counter(field: str, way: Way, ask: Ask) -> Said | None:
    base = ask(f"{field}:increment")
    if base is None:
        return None
    if way.rate and way.aggregate is Aggregate.MAX:
        return Said((filled(ask(f"{field}:max_rate"), np.nan),), base.there)
    if not way.rate:
        return Said((base.values,), base.there)
    return Said((base.values, _covered(field, ask)), base.there)


def _covered(counter: str, ask: Ask) -> Values | float:
    return filled(ask(f"{counter}:covered"), lambda: filled(ask(COVERED), 0))


def _of_derived(field: str, way: Way, ask: Ask) -> Said | None:
    stored = _stored(field, way, ask)
    if field != QUOTIENT or (stored is not None and (stored.there is None or stored.there.all())):
        return stored
    other = _quotient(way, ask)
    if stored is None or stored.there is None or other is None:
        return stored if other is None else other
    # Of the buckets in which the quotient is stored the other is not asked.
    columns = tuple(np.where(stored.there, *both) for both in zip(stored.columns, other.columns, strict=True))
    return Said(columns, None if other.there is None else stored.there | other.there)


def _stored(field: str, way: Way, ask: Ask) -> Said | None:
    """Return what is stored of a derived series, with what its counters say."""
    base = ask.presence(f"{field}:last")
    if base is None:
        return None
    counts = np.asarray(filled(ask(f"{field}:count"), 0))
    columns: tuple[Values | float, ...]
    match way.aggregate:
        case Aggregate.COUNT:
            columns = (counts,)
        case Aggregate.LAST:
            last = ask(f"{field}:last")
            if last is None:
                return None
            base, columns = Presence(last.there), (last.values,)
        case Aggregate.MIN:
            columns = (filled(ask(f"{field}:min"), np.nan),)
        case Aggregate.MAX:
            columns = (filled(ask(f"{field}:max"), lambda: _by_counters(field, "max", ask)),)
        case _:
            means = filled(ask(f"{field}:mean"), lambda: _by_counters(field, "mean", ask))
            weights = _weights(field, counts, ask)
            columns = (means * weights, weights)
    has = counts > 0
    if base.there is not None:
        has = has & base.there
    return Said(columns, None if has.all() else has)


def _by_counters(field: str, statistic: str, ask: Ask) -> Values | float:
    """Return what the counters that a series is derived of say of it; no number where they say nothing."""
    if field in FROM_COUNTERS:
        counter = FROM_COUNTERS[field]
        if statistic == "max":
            return filled(ask(f"{counter}:max_rate"), np.nan)
        increments = np.asarray(filled(ask(f"{counter}:increment"), 0))
        return np.asarray(increments / _covered(counter, ask))  # both are of time, in nanoseconds
    if field in FROM_PAIRS and statistic == "mean":
        times, requests = (np.asarray(filled(ask(f"{of}:increment"), 0)) for of in FROM_PAIRS[field])
        return np.asarray(times * 1e-9 / requests)
    return np.nan


def _weights(field: str, counts: Values, ask: Ask) -> Values | float:
    """Return what the means of buckets stand for: of a rate the time, of a latency the requests, or else the ticks."""
    if field in FROM_COUNTERS:
        return _covered(FROM_COUNTERS[field], ask)
    if field in FROM_PAIRS:
        return filled(ask(f"{FROM_PAIRS[field][1]}:increment"), 0)
    return counts


def _quotient(way: Way, ask: Ask) -> Said | None:
    """Return a quotient by what it is one of: where it is not stored its denominator did not move."""
    cores, vcpus = _stored(NUMERATOR, way, ask), ask(f"{DENOMINATOR}:last")
    if cores is None or vcpus is None:
        return None
    there = cores.there if vcpus.there is None else vcpus.there if cores.there is None else cores.there & vcpus.there
    if way.aggregate is Aggregate.COUNT:
        return Said(cores.columns, there)
    first, *rest = cores.columns
    return Said((first / vcpus.values, *rest), there)


# Of ticks, and of both.


def parts_of_increases(increases: Increases, way: Way, stepper: Stepper, covered_ms: float) -> Parts:
    """Return the increases of ticks by steps, of a rate with the time in which they were."""
    steps = stepper.steps(increases.time_ms)
    gained = steps.sums(increases.deltas)
    return Parts(steps.starts, (gained, steps.sums(increases.elapsed_ns)) if way.rate else (gained,), covered_ms)


def parts_of_samples(
    samples: Samples, aggregate: Aggregate, stepper: Stepper, covered_ms: float, weights: Values | None = None
) -> Parts:
    """Return what samples come to, by steps. For a mean each counts as much as its weight, by default as any other."""
    steps = stepper.steps(samples.time_ms)
    if aggregate is Aggregate.MEAN:
        if weights is not None:
            return Parts(steps.starts, (steps.sums(samples.values * weights), steps.sums(weights)), covered_ms)
        sums = steps.sums(np.asarray(samples.values, dtype=np.float64))
        return Parts(steps.starts, (sums, steps.counts), covered_ms)
    return Parts(steps.starts, (steps.taken(samples.values, aggregate),), covered_ms)


def summed_up(parts: Sequence[Parts], field: str, way: Way, stepper: Stepper) -> Samples:
    """Return one value a step of parts that follow each other."""
    steps = stepper.steps_of([part.time_ms for part in parts])
    columns = [chained(of) for of in zip(*(part.columns for part in parts), strict=True)]
    if way.aggregate is Aggregate.MEAN:
        sums, divisors = (steps.sums(column) for column in columns)
        if not way.rate:
            return Samples(steps.starts, sums / divisors)
        has = divisors > 0
        if has.all():
            return Increases(steps.starts, sums, divisors).rates(field)
        return Increases(steps.starts[has], sums[has], divisors[has]).rates(field)
    if way.aggregate in {Aggregate.INCREASE, Aggregate.COUNT}:
        return Samples(steps.starts, steps.sums(columns[0]))
    return Samples(steps.starts, steps.taken(columns[0], way.aggregate))
