"""Statistics as records: the parameters by which a bucket is stored, as a head row like a tick. Pure.

What is stored of a record in a bucket, by key; a device follows in brackets as ever:

========================  =========================================================================================
``rollup.ticks``          how many ticks it had
``rollup.covered``        the time over which its counters' increments were taken, ns
``cpu.time:increment``    of a counter, exactly, in its own unit; absent where nothing was taken
``cpu.time:max_rate``     per second in base units, rounded
``cpu.time:covered``      only where it is not the record's
``balloon.rss:last``      of a gauge, state, boolean or text, exactly
``…:min``, ``…:max``      exactly
``…:mean``                rounded
``…:count``               the ticks with a value; only where it is not the record's ticks
``memory.used:min`` …     of a derived series, all rounded, its count always; all 0 where there is no value
========================  =========================================================================================

What can be told from the rest is left out. A gauge of a field that has never moved has no min, max and mean: they equal
its last. *Moving* fields are so for all records and for good, so that records keep their shape. Of ``cpu.cores``
and ``vcpu.steal`` the max is their counter's max_rate, and the mean its increment over the time covered; of a latency
the mean is time over requests; ``cpu.utilization`` is ``cpu.cores`` over ``vcpu.current`` unless that moved.

*Rounded* is to 11 bits, by at most 0.05 %: the other bits of such doubles are 0, which packs well, and rounding keeps
their order, so that the greatest of what is rounded is the greatest, rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat.catalog import DERIVED, ValueType
from domstat_sinks.sqlite.heads.layout import Column, Entry, shared_column
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, LEVELS, Sort
from domstat_sinks.sqlite.rollups.rollplan import Columns, Flags, Real, Scope, Whole
from domstat_sinks.sqlite.rollups.rollstats import Rollup, is_alike

TICKS, COVERED = "rollup.ticks", "rollup.covered"

STATISTICS = frozenset({"increment", "max_rate", "covered", "last", "min", "max", "mean", "count"})

NAMES_MAX = 2_048
"""Names of columns remembered: the catalogue's fields with all their statistics."""

_BITS_DROPPED = np.uint64(42)
_HALF = np.uint64(1 << 41)

FROM_COUNTERS = {"cpu.cores": "cpu.time", "vcpu.steal": "vcpu.delay"}
"""Derived series that are the rate of a counter."""

FROM_PAIRS = {f"block.{op}.latency": (f"block.{op}.times", f"block.{op}.reqs") for op in ("rd", "wr", "fl")}
"""Derived series that are the quotient of two counters' rates."""

QUOTIENT, NUMERATOR, DENOMINATOR = "cpu.utilization", "cpu.cores", "vcpu.current"


def is_of_buckets(field: str) -> bool:
    """Whether a field is one of buckets and sketches, and none that was collected."""
    base, _, statistic = field.rpartition(":")
    return field in DERIVED or field in {TICKS, COVERED} or (base != "" and statistic in STATISTICS)


def rounded(values: Real) -> Real:
    """Round to 11 bits; what is no finite number stays what it is."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    near = ((bits + _HALF) >> _BITS_DROPPED << _BITS_DROPPED).view(np.float64)
    return np.where(np.isfinite(values), near, values)


def moving_fields(rollup: Rollup) -> frozenset[str]:
    """Return the fields of gauges, states and booleans that moved within a bucket."""
    return frozenset(
        columns.names[i][0]
        for levels, columns in zip(rollup.levels, rollup.scope.series, strict=False)
        for i in np.flatnonzero((levels.mins < levels.maxs).any(axis=0)).tolist()
        if columns.names[i][0] not in DERIVED
    )


class Row(Struct, frozen=True):
    """Records of one bucket, as a head row has them: who they are of, their columns, all their words in a row.

    *columns* are the very same from bucket to bucket where nothing but values has changed.
    """

    entries: tuple[Entry, ...]
    columns: tuple[tuple[Column, ...], ...]
    words: Words


class _Output(Struct, frozen=True):
    """Parameters of one kind, one for each of *columns*: those that *is_stored* says, with *values*."""

    columns: Columns
    statistic: str
    is_stored: Flags
    values: Any


_TYPES = (
    (np.uint64, ValueType.U64),
    (np.int64, ValueType.I64),
    (np.float64, ValueType.F64),
    (np.uint64, ValueType.TEXT),
)
"""What outputs are: whole numbers, signed ones, doubles, texts."""


class _Selection(Struct, frozen=True):
    """What of all outputs is stored: as bytes, and by type which; then whose it is, and the order they have it in."""

    mark: bytes
    chosen: list[Whole]
    order: Whole
    records: list[int]
    columns: tuple[tuple[Column, ...], ...]


class Form:
    """Makes records of statistics, of one scope as a rule; remembers how, from bucket to bucket."""

    def __init__(self) -> None:
        self._traits: _Traits | None = None
        self._selection: _Selection | None = None

    def row(self, rollup: Rollup, bucket: int, moving: frozenset[str]) -> Row:
        """Return the records of one of the buckets of *rollup*, of whoever had a tick in it.

        *moving* are the fields of gauges that are not taken for constant (see :func:`moving_fields`).
        """
        traits = self._traits
        if traits is None or traits.moving != moving or not is_alike(traits.scope, rollup.scope):
            traits = self._traits = _traits(rollup.scope, moving)
            self._selection = None
        outputs = _outputs(rollup, bucket, traits)
        flags = [np.concatenate([output.is_stored for output in of]) for of in outputs]
        mark = b"".join([of.tobytes() for of in flags])
        selection = self._selection
        if selection is None or mark != selection.mark:
            selection = self._selection = _select(mark, outputs, flags)
        picked = [
            np.concatenate([output.values.astype(type_, copy=False) for output in of])[which].view(np.uint64)
            for (type_, _), of, which in zip(_TYPES, outputs, selection.chosen, strict=True)
        ]
        # Without the incarnation: a guest is one subject of a tier, however often it was started.
        entries = tuple([replace(rollup.scope.entries[record], incarnation=None) for record in selection.records])
        return Row(entries, selection.columns, np.concatenate(picked)[selection.order])


class _Traits(Struct, frozen=True):
    """What is to be known of a scope's columns, with *moving* fields.

    Of gauges, *gauges* and *movers* say, by sort, which these are, and which of them move. Of the series in doubles,
    *has_max* and *has_mean* say which derived ones have their own. *quotients* are derived series that may be told by
    another and a gauge: (its column, the other's, the gauge's sort and column, the record).
    """

    scope: Scope
    moving: frozenset[str]
    counters: Columns
    gauges: tuple[Flags, ...]
    movers: tuple[Flags, ...]
    has_max: Flags
    has_mean: Flags
    quotients: tuple[tuple[int, int, Sort, int, int], ...]


def _traits(scope: Scope, moving: frozenset[str]) -> _Traits:
    columns = [scope.series[sort] for sort in COUNTERS]
    gauges = [_which(scope.series[sort], lambda name: name not in DERIVED) for sort in LEVELS]
    real = scope.series[Sort.REAL]
    has_max = ~gauges[Sort.REAL] & _which(real, lambda name: name not in FROM_COUNTERS)
    return _Traits(
        scope=scope,
        moving=moving,
        counters=Columns(np.concatenate([of.records for of in columns]), columns[0].names + columns[1].names),
        gauges=tuple(gauges),
        movers=tuple(_which(scope.series[sort], moving.__contains__) for sort in LEVELS),
        has_max=has_max,
        has_mean=has_max & _which(real, lambda name: name not in FROM_PAIRS),
        quotients=tuple(_quotients(scope)),
    )


def _which(columns: Columns, is_so: Callable[[str], bool]) -> Flags:
    return np.array([is_so(field) for field, _ in columns.names], dtype=np.bool_)


def _quotients(scope: Scope) -> Iterator[tuple[int, int, Sort, int, int]]:
    """Find the series that may be told by another and a gauge (see :class:`_Traits`)."""
    real = scope.series[Sort.REAL]
    at = {(record, name): i for i, (record, name) in enumerate(zip(real.records.tolist(), real.names, strict=True))}
    for sort in LEVELS:
        columns = scope.series[sort]
        for i, (record, name) in enumerate(zip(columns.records.tolist(), columns.names, strict=True)):
            column, numerator = at.get((record, (QUOTIENT, None))), at.get((record, (NUMERATOR, None)))
            if name == (DENOMINATOR, None) and column is not None and numerator is not None:
                yield column, numerator, sort, i, record


def _select(mark: bytes, outputs: Sequence[Sequence[_Output]], flags: Sequence[Flags]) -> _Selection:
    """Sort what is stored by record, and name it."""
    chosen: list[Whole] = []
    found: dict[int, list[tuple[int, Column]]] = {}
    place = 0
    for (_, type_), of, is_stored in zip(_TYPES, outputs, flags, strict=True):
        chosen.append(np.flatnonzero(is_stored))
        for output in of:
            which = np.flatnonzero(output.is_stored)
            for record, i in zip(output.columns.records[which].tolist(), which.tolist(), strict=True):
                field, device = output.columns.names[i]
                column = shared_column(_named(field, output.statistic), device, type_)
                found.setdefault(record, []).append((place, column))
                place += 1
    return _Selection(
        mark,
        chosen,
        np.array([at for record in sorted(found) for at, _ in found[record]], dtype=np.int64),
        sorted(found),
        tuple(tuple(column for _, column in found[record]) for record in sorted(found)),
    )


@lru_cache(maxsize=NAMES_MAX)
def _named(field: str, statistic: str) -> str:
    return f"{field}:{statistic}" if statistic else field


def _outputs(rollup: Rollup, bucket: int, traits: _Traits) -> list[list[_Output]]:
    """Return all that could be stored: in whole numbers, signed ones, doubles, texts."""
    scope, ticks, counters = rollup.scope, rollup.ticks[bucket], rollup.counters
    is_there = ticks > 0
    both, integers = traits.counters, rollup.counters.increments.shape[1]
    covered_ns = counters.covered_ns[bucket]
    record_covered = np.zeros(len(ticks), dtype=np.int64)
    np.maximum.at(record_covered, both.records, covered_ns)
    is_taken = covered_ns > 0
    everybody = np.arange(len(ticks))
    whole = [
        _Output(Columns(everybody, ((TICKS, None),) * len(ticks)), "", is_there, ticks),
        _Output(Columns(everybody, ((COVERED, None),) * len(ticks)), "", record_covered > 0, record_covered),
        _Output(scope.series[Sort.COUNT], "increment", is_taken[:integers], counters.increments[bucket]),
        _Output(both, "covered", is_taken & (covered_ns != record_covered[both.records]), covered_ns),
    ]
    real = [
        _Output(scope.series[Sort.REAL_COUNT], "increment", is_taken[integers:], counters.reals[bucket]),
        _Output(both, "max_rate", is_taken, rounded(counters.max_rates[bucket])),
    ]
    signed: list[_Output] = []
    for sort, exact in zip(LEVELS, (whole, signed, real), strict=True):
        levels, of = rollup.levels[sort], scope.series[sort]
        counts = levels.counts[bucket]
        is_known = traits.gauges[sort] & (counts > 0)
        is_moving = is_known & (traits.movers[sort] | (levels.mins[bucket] < levels.maxs[bucket]))
        whole.append(_Output(of, "count", is_known & (counts != ticks[of.records]), counts))
        exact += [
            _Output(of, "last", is_known, levels.lasts[bucket]),
            _Output(of, "min", is_moving, levels.mins[bucket]),
            _Output(of, "max", is_moving, levels.maxs[bucket]),
        ]
        real.append(_Output(of, "mean", is_moving, rounded(levels.sums[bucket] / np.maximum(counts, 1))))
    counted, rest = _derived_outputs(rollup, bucket, traits)
    texts = rollup.texts.counts[bucket]
    text = scope.series[Sort.TEXT]
    whole += [counted, _Output(text, "count", (texts > 0) & (texts != ticks[text.records]), texts)]
    return [whole, signed, real + rest, [_Output(text, "last", texts > 0, rollup.texts.lasts[bucket])]]


def _derived_outputs(rollup: Rollup, bucket: int, traits: _Traits) -> tuple[_Output, list[_Output]]:
    """Return what could be stored of derived series: how many ticks had a value; the rest."""
    of, levels = rollup.scope.series[Sort.REAL], rollup.levels[Sort.REAL]
    counts = levels.counts[bucket]
    is_stored = ~traits.gauges[Sort.REAL] & (rollup.ticks[bucket] > 0)[of.records]
    for column, numerator, sort, i, record in traits.quotients:
        gauges = rollup.levels[sort]
        if (
            gauges.mins[bucket, i] == gauges.maxs[bucket, i] != 0
            and gauges.counts[bucket, i] == rollup.ticks[bucket, record]
            and counts[column] == counts[numerator]
        ):
            is_stored[column] = False
    means = levels.sums[bucket] / np.maximum(counts, 1)
    numbers = {"last": levels.lasts[bucket], "min": levels.mins[bucket], "max": levels.maxs[bucket], "mean": means}
    which = {"max": is_stored & traits.has_max, "mean": is_stored & traits.has_mean}
    rest = [
        _Output(of, statistic, which.get(statistic, is_stored), np.where(counts > 0, rounded(values), 0.0))
        for statistic, values in numbers.items()
    ]
    return _Output(of, "count", is_stored, counts), rest
