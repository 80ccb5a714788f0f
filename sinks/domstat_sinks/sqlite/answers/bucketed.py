"""What buckets say of a series, in parts that add up: to steps, and with what ticks say of the rest of a span. Pure.

What was left out of a bucket, since the rest tells it, is put in again (see :mod:`..rollups.rollrecord`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from domstat.catalog import DERIVED, FieldKind, ValueType, look_up
from domstat.history import Aggregate
from domstat_sinks.sqlite.answers.plan import Use
from domstat_sinks.sqlite.answers.source import Values, chained
from domstat_sinks.sqlite.answers.steps import Increases, Samples, Stepper
from domstat_sinks.sqlite.answers.ticks import Integers
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


class Told(Struct, frozen=True):
    """What one statistic says, by the numbers of the buckets it is there for."""

    ids: Integers
    time_ms: Integers
    values: Values


Ask: TypeAlias = Callable[[str], "Told | None"]
"""Gives a statistic by its name, None where there is none."""

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


def parts_of_buckets(
    field: str, way: Way, width_ms: int, starts: Callable[[Integers], Integers], ask: Ask
) -> Parts | None:
    """Return what buckets of *width_ms* say of a series; None for nothing. *starts* gives when buckets begin."""
    told = _told(field, way, ask)
    if told is None or not len(told[0].ids):
        return None
    base, columns = told
    return Parts(starts(base.time_ms), columns, _covered_ms(base.ids, width_ms, ask))


def _covered_ms(ids: Integers, width_ms: int, ask: Ask) -> float:
    """Return for how much time buckets stand: what has no counters does for as much as its share of the most ticks."""
    ticks = _at(ids, ask(TICKS), 0)
    by_ticks_ns = (ticks / max(int(ticks.max()), 1) * width_ms * 1e6).astype(np.int64)
    return float(_at(ids, ask(COVERED), by_ticks_ns).sum()) / 1e6


def _told(field: str, way: Way, ask: Ask) -> tuple[Told, tuple[Values, ...]] | None:
    if field in DERIVED:
        return _of_derived(field, way, ask)
    if look_up(field).kind is FieldKind.COUNTER:
        return _of_counter(field, way, ask)
    base = ask(f"{field}:last")
    if base is None:
        return None

    def own(statistic: str) -> Values:
        return _at(base.ids, ask(f"{field}:{statistic}"), base.values)

    if way.aggregate in {Aggregate.MEAN, Aggregate.COUNT}:
        counts = _at(base.ids, ask(f"{field}:count"), _at(base.ids, ask(TICKS), 1))
        if way.aggregate is Aggregate.COUNT:
            return base, (counts,)
        return base, (own("mean").astype(np.float64) * counts, counts)
    values = base.values if way.aggregate is Aggregate.LAST else own(str(way.aggregate))
    return base, (values.astype(np.bool_) if look_up(field).type is ValueType.BOOL else values,)


def _of_counter(field: str, way: Way, ask: Ask) -> tuple[Told, tuple[Values, ...]] | None:
    base = ask(f"{field}:increment")
    if base is None:
        return None
    if way.rate and way.aggregate is Aggregate.MAX:
        return base, (_at(base.ids, ask(f"{field}:max_rate"), np.nan),)
    if not way.rate:
        return base, (base.values,)
    return base, (base.values, _at(base.ids, ask(f"{field}:covered"), _at(base.ids, ask(COVERED), 0)))


def _of_derived(field: str, way: Way, ask: Ask) -> tuple[Told, tuple[Values, ...]] | None:
    found = [told for told in (_stored(field, way, ask), _quotient(field, way, ask)) if told is not None]
    if not found:
        return None
    if len(found) == 2:  # of the buckets in which the quotient is stored the other is not asked
        ids = found[0][0].ids
        found[1] = _chosen(found[1], ~np.isin(found[1][0].ids, ids))
        if not len(found[1][0].ids):
            del found[1]
    bases = [base for base, _ in found]
    order = np.argsort(np.concatenate([base.ids for base in bases]), kind="stable")
    merged = Told(
        *(np.concatenate(of)[order] for of in zip(*((b.ids, b.time_ms, b.values) for b in bases), strict=True))
    )
    return merged, tuple(np.concatenate(of)[order] for of in zip(*(columns for _, columns in found), strict=True))


def _stored(field: str, way: Way, ask: Ask) -> tuple[Told, tuple[Values, ...]] | None:
    """Return what is stored of a derived series, with what its counters say."""
    base = ask(f"{field}:last")
    if base is None:
        return None
    counts = _at(base.ids, ask(f"{field}:count"), 0)
    columns: tuple[Values, ...]
    match way.aggregate:
        case Aggregate.COUNT:
            columns = (counts,)
        case Aggregate.LAST:
            columns = (base.values,)
        case Aggregate.MIN:
            columns = (_at(base.ids, ask(f"{field}:min"), np.nan),)
        case Aggregate.MAX:
            columns = (_at(base.ids, ask(f"{field}:max"), _by_counters(field, "max", base, ask)),)
        case _:
            means = _at(base.ids, ask(f"{field}:mean"), _by_counters(field, "mean", base, ask))
            weights = _weights(field, base, counts, ask)
            columns = (means * weights, weights)
    return _chosen((base, columns), counts > 0)


def _by_counters(field: str, statistic: str, base: Told, ask: Ask) -> Values:
    """Return what the counters that a series is derived of say of it; no number where they say nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if field in FROM_COUNTERS:
            counter = FROM_COUNTERS[field]
            if statistic == "max":
                return _at(base.ids, ask(f"{counter}:max_rate"), np.nan)
            covered = _at(base.ids, ask(f"{counter}:covered"), _at(base.ids, ask(COVERED), 0))
            increments: Values = _at(base.ids, ask(f"{counter}:increment"), 0)
            return np.asarray(increments / covered)  # both are of time, in nanoseconds
        if field in FROM_PAIRS and statistic == "mean":
            times, requests = (_at(base.ids, ask(f"{of}:increment"), 0) for of in FROM_PAIRS[field])
            return np.asarray(times * 1e-9 / requests)
    return np.full(len(base.ids), np.nan)


def _weights(field: str, base: Told, counts: Values, ask: Ask) -> Values:
    """Return what the means of buckets stand for: of a rate the time, of a latency the requests, or else the ticks."""
    if field in FROM_COUNTERS:
        return _at(base.ids, ask(f"{FROM_COUNTERS[field]}:covered"), _at(base.ids, ask(COVERED), 0))
    if field in FROM_PAIRS:
        return _at(base.ids, ask(f"{FROM_PAIRS[field][1]}:increment"), 0)
    return counts


def _quotient(field: str, way: Way, ask: Ask) -> tuple[Told, tuple[Values, ...]] | None:
    """Return a quotient by what it is one of: where it is not stored its denominator did not move."""
    cores = _stored(NUMERATOR, way, ask) if field == QUOTIENT else None
    vcpus = ask(f"{DENOMINATOR}:last")
    if cores is None or vcpus is None:
        return None
    base, columns = _chosen(cores, np.isin(cores[0].ids, vcpus.ids))
    if way.aggregate is Aggregate.COUNT:
        return base, columns
    first, *rest = columns
    return base, (first / _at(base.ids, vcpus, 1), *rest)


def _chosen(told: tuple[Told, tuple[Values, ...]], which: Values) -> tuple[Told, tuple[Values, ...]]:
    base, columns = told
    if which.all():
        return told
    chosen = Told(base.ids[which], base.time_ms[which], base.values[which])
    return chosen, tuple(column[which] for column in columns)


def _at(ids: Integers, told: Told | None, default: Values | float) -> Values:
    """Return a statistic for the buckets of these numbers; *default* where it is not there."""
    if told is not None and (told.ids is ids or np.array_equal(told.ids, ids)):
        return told.values
    values: Values = np.array(np.broadcast_to(np.asarray(default), len(ids)))
    if told is None or not len(told.ids):
        return values
    places = np.minimum(np.searchsorted(told.ids, ids), len(told.ids) - 1)
    there = told.ids[places] == ids
    if values.dtype != told.values.dtype and values.dtype.kind != "O":
        values = values.astype(told.values.dtype if not np.isnan(values).any() else np.float64)
    values[there] = told.values[places[there]]
    return values


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
    time_ms = np.concatenate([part.time_ms for part in parts])
    columns = [chained(list(of)) for of in zip(*(part.columns for part in parts), strict=True)]
    steps = stepper.steps(time_ms)
    if way.aggregate is Aggregate.MEAN:
        sums, divisors = (steps.sums(column) for column in columns)
        if not way.rate:
            return Samples(steps.starts, sums / divisors)
        has = divisors > 0
        return Increases(steps.starts[has], sums[has], divisors[has]).rates(field)
    if way.aggregate in {Aggregate.INCREASE, Aggregate.COUNT}:
        return Samples(steps.starts, steps.sums(columns[0]))
    return Samples(steps.starts, steps.taken(columns[0], way.aggregate))
