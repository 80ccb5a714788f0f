"""Records of buckets, read back into statistics. Pure; what :mod:`.rollrecord` leaves out is put in again.

Means that were rounded are as close as that, and so are sums, being means times counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct, field

from domstat.catalog import DERIVED, ValueType, look_up
from domstat.model import Value, split_key
from domstat_sinks.sqlite.heads.layout import Column, Entry, type_of
from domstat_sinks.sqlite.rollups.recipes import Name, Sort, sort_of
from domstat_sinks.sqlite.rollups.rollplan import Columns, Scope
from domstat_sinks.sqlite.rollups.rollrecord import (
    COVERED,
    DENOMINATOR,
    FROM_COUNTERS,
    FROM_PAIRS,
    NUMERATOR,
    QUOTIENT,
    TICKS,
)
from domstat_sinks.sqlite.rollups.rollstats import Counters, Levels, Rollup, Texts

Stats = dict[str, Any]
"""What is said of a series, by statistic."""


class _Columns(Struct):
    """The series of one sort, as they are found."""

    records: list[int] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    stats: list[Stats] = field(default_factory=list)

    def add(self, record: int, name: Name, stats: Stats) -> None:
        self.records.append(record)
        self.names.append(name)
        self.stats.append(stats)

    def columns(self) -> Columns:
        return Columns(np.array(self.records, dtype=np.int64), tuple(self.names))

    def row(self, statistic: str, type_: type) -> Any:
        return np.array([[of[statistic] for of in self.stats]], dtype=type_).reshape(1, -1)

    def levels(self, type_: type) -> Levels:
        means, counts = self.row("mean", np.float64), self.row("count", np.int64)
        return Levels(counts, self.row("min", type_), self.row("max", type_), means * counts, self.row("last", type_))


def read_params(
    start_ms: int, records: Sequence[tuple[Entry, Mapping[str, Value]]], number_of: Callable[[str], int]
) -> Rollup:
    """Read the records of one bucket, as :meth:`.rollrecord.Form.row` made them.

    *number_of* turns texts back into their references. Keys that are none of a bucket's mean nothing and are left out.
    """
    found = [_Columns() for _ in Sort]
    ticks = []
    for record, (_, params) in enumerate(records):
        series = _series(params)
        ticks.append(int(series.get((TICKS, None), {}).get("", 0)))
        covered_ns = series.get((COVERED, None), {}).get("", 0)
        for name, stats in _complete(series, ticks[-1], covered_ns).items():
            if Sort.TEXT is (sort := _sort(name[0], stats)):
                stats["last"] = number_of(stats["last"])
            found[sort].add(record, name, stats)
    counts, reals = found[Sort.COUNT], found[Sort.REAL_COUNT]
    both = _Columns(counts.records + reals.records, counts.names + reals.names, counts.stats + reals.stats)
    return Rollup(
        scope=Scope(tuple(entry for entry, _ in records), tuple(of.columns() for of in found)),
        starts_ms=np.array([start_ms], dtype=np.int64),
        ticks=np.array([ticks], dtype=np.int64),
        levels=(
            found[Sort.UNSIGNED].levels(np.uint64),
            found[Sort.SIGNED].levels(np.int64),
            found[Sort.REAL].levels(np.float64),
        ),
        texts=Texts(found[Sort.TEXT].row("count", np.int64), found[Sort.TEXT].row("last", np.uint64)),
        counters=Counters(
            increments=counts.row("increment", np.uint64),
            reals=reals.row("increment", np.float64),
            max_rates=both.row("max_rate", np.float64),
            covered_ns=both.row("covered", np.int64),
        ),
    )


def _series(params: Mapping[str, Value]) -> dict[Name, Stats]:
    """Sort parameters by series: what is said of each."""
    series: dict[Name, Stats] = {}
    for key, value in params.items():
        field_, device = split_key(key)
        name, colon, statistic = field_.rpartition(":")
        series.setdefault((name if colon else statistic, device), {})[statistic if colon else ""] = value
    return series


def _complete(series: dict[Name, Stats], ticks: int, covered_ns: int) -> dict[Name, Stats]:
    """Put in what was left out since the rest tells it."""
    complete: dict[Name, Stats] = {}
    for name, stats in series.items():
        if "increment" in stats:
            complete[name] = {"covered": covered_ns, **stats}
        elif name[0] not in DERIVED and "last" in stats:
            last = stats["last"]
            complete[name] = {"count": ticks, "min": last, "max": last, "mean": last, **stats}
    for name, stats in series.items():
        if name[0] in DERIVED and "count" in stats:
            complete[name] = {**_told_by_counters(name, complete), **stats}
            if not stats["count"]:
                complete[name] |= dict.fromkeys(("last", "min", "max"), np.nan) | {"mean": 0.0}
    quotient = _quotient(complete)
    if quotient and (QUOTIENT, None) not in complete:
        complete[QUOTIENT, None] = quotient
    return complete


def _told_by_counters(name: Name, series: Mapping[Name, Stats]) -> Stats:
    """Return what the counters that a series is derived of say of it."""
    field_, device = name
    if field_ in FROM_COUNTERS:
        counter = series.get((FROM_COUNTERS[field_], device))
        if counter:  # both are of time, in nanoseconds
            return {"max": counter["max_rate"], "mean": counter["increment"] / counter["covered"]}
    elif field_ in FROM_PAIRS:
        times, requests = (series.get((of, device)) for of in FROM_PAIRS[field_])
        if times and requests and requests["increment"]:
            return {"mean": times["increment"] * 1e-9 / requests["increment"]}
    return {"max": np.nan, "mean": 0.0}


def _quotient(series: Mapping[Name, Stats]) -> Stats | None:
    numerator, denominator = series.get((NUMERATOR, None)), series.get((DENOMINATOR, None))
    if not numerator or not denominator or not denominator["last"]:
        return None
    figures = {statistic: numerator[statistic] / denominator["last"] for statistic in ("min", "max", "mean", "last")}
    return {"count": numerator["count"], **figures}


def _sort(field_: str, stats: Stats) -> Sort:
    """Say what kind of series it is, as it was among the ticks' columns."""
    if field_ in DERIVED:
        return Sort.REAL
    if "increment" in stats:
        return Sort.REAL_COUNT if isinstance(stats["increment"], float) else Sort.COUNT
    if look_up(field_).type is ValueType.BOOL and stats["last"] in {0, 1}:
        return Sort.UNSIGNED
    return sort_of(Column(field_, None, type_of(field_, stats["last"])))
