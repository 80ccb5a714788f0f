"""What a history has of a tier, read back tick by tick; and what it should have, counted one by one."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.catalog import DERIVED
from domstat.model import Batch, Figures, Record, split_key
from domstat_sinks.sqlite.heads.layout import entry_of
from domstat_sinks.sqlite.heads.stored import Store
from domstat_sinks.sqlite.packed.sealed import SealedTicks
from domstat_sinks.sqlite.rollups.rollstats import Rollup, Subject
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, merge

from .histories import TEXTS, Found, Series, Tick, by_key, history, naive
from .rollparams import read_params

WIDTHS = {1: FIVE_MINUTES_MS, 2: HOUR_MS}
ROUNDED = 2**-10
"""Twice the error of what is rounded: a sum is a rounded mean times a count."""


def some_history(seed: int, length: int, step_ms: int) -> list[Tick]:
    """Make a history as it can be stored: what is no number is left out."""
    return [
        Tick(tick.stamp, tuple(_storable(record) for record in tick.records)) for tick in history(seed, length, step_ms)
    ]


def _storable(record: Record) -> Record:
    params = {key: value for key, value in record.params.items() if value == value}  # noqa: PLR0124 - NaN is not
    return replace(record, figures=Figures(params))


def batches(ticks: Sequence[Tick]) -> list[Batch]:
    return [Batch(host="h", collect="c", stamp=tick.stamp, records=tick.records) for tick in ticks]


def tail(ticks: Sequence[Tick], count: int, later_ms: int = 3 * HOUR_MS) -> list[Tick]:
    """Return ticks that come hours later, in a bucket of their own: all before are finished when these are sealed."""
    last = max(tick.stamp.time_ms for tick in ticks) + later_ms
    stamps = [(last // HOUR_MS * HOUR_MS + i, ticks[-1].stamp.boot_ns + 10**13 + i * 10**6) for i in range(count)]
    empty = ticks[-1].records[:1]
    return [
        Tick(type(tick.stamp)(time_ms, boot_ns, tick.stamp.boot_id, 0), empty)
        for (time_ms, boot_ns), tick in zip(stamps, [ticks[-1]] * count, strict=True)
    ]


def rows(path: Path, tier: int) -> list[tuple[int, Sequence[Record]]]:
    """Return all buckets of a tier, in the order in which they were stored: when each begins, its records."""
    connection = sqlite3.connect(path)
    width = WIDTHS[tier]
    found = []
    segments = connection.execute(
        "SELECT g.id FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = ? ORDER BY first_id", (tier,)
    )
    for (segment,) in segments.fetchall():
        ticks = SealedTicks(connection).ticks(segment, 0, 0, 1 << 62)
        found += [(tick.id, tick.stamp.time_ms // width * width, tick.records) for tick in ticks]
    store = Store(connection)
    heads = connection.execute(
        "SELECT h.id FROM head h JOIN stream s ON s.id = h.stream WHERE s.tier = ? AND h.id > s.sealed", (tier,)
    )
    for (head_id,) in heads.fetchall():
        batch = store.batch(head_id)
        found.append((head_id, batch.stamp.time_ms // width * width, batch.records))
    connection.close()
    return [(start, records) for _, start, records in sorted(found, key=lambda one: one[0])]


def stored(path: Path, tier: int) -> Found:
    """Return all that a tier says, buckets that are there several times merged."""
    found: list[Rollup] = [
        read_params(start, [(entry_of(record), dict(record.params)) for record in records], TEXTS.__getitem__)
        for start, records in rows(path, tier)
    ]
    return by_key(merge(found, WIDTHS[tier])) if found else {}


def expected(ticks: Sequence[Tick], tier: int) -> Found:
    """Return what a tier should say of ticks, each counted one by one."""
    found: Found = {}
    for at, series in naive(ticks, WIDTHS[tier]).items():
        there = sum(1 for tick in ticks for record in tick.records if _is(tick, record, at, WIDTHS[tier]))
        spelt: dict[str, Any] = {"ticks": there}
        spelt |= {key: its for key, of in series.items() if (its := _spelt(of))}
        found[at] = spelt
    return found


def _is(tick: Tick, record: Record, at: tuple[int, Subject], width: int) -> bool:
    entry = entry_of(record)
    return (tick.stamp.time_ms // width * width, (entry.kind, entry.uuid, None if entry.uuid else entry.name)) == at


def _spelt(series: Series) -> dict[str, Any]:
    if series.rates:
        increment = sum(series.values)
        if isinstance(increment, int):
            increment %= 1 << 64  # where a counter fell from beyond 2^63
        return {"increment": increment, "max_rate": max(series.rates), "covered": sum(series.spans)}
    values = [value for value in series.values if not (isinstance(value, float) and math.isnan(value))]
    if not values:
        return {}
    if isinstance(values[0], str):
        return {"count": len(values), "last": TEXTS[values[-1]]}
    return {
        "count": len(values), "last": values[-1], "min": min(values), "max": max(values), "sum": math.fsum(values),
    }  # fmt: skip


def assert_same(found: Found, wanted: Found, *, with_last: bool = True) -> None:
    """Compare what is stored with what should be: all exactly, but for what is rounded when it is stored."""
    assert set(found) == set(wanted)
    for at, series in wanted.items():
        assert set(found[at]) == set(series), at
        for key, statistics in series.items():
            if key == "ticks":
                assert found[at][key] == statistics
                continue
            for statistic, value in statistics.items():
                if statistic == "last" and not with_last:
                    continue
                assert _is_near(key, statistic, found[at][key][statistic], value), (at, key, statistic)


def _is_near(key: str, statistic: str, found: Any, value: Any) -> bool:
    is_derived = split_key(key)[0] in DERIVED
    if is_derived and statistic == "sum" and not key.endswith("memory.used"):
        return True  # its mean is told by counters, over time and not over ticks
    if statistic in {"max_rate", "sum"} or (is_derived and statistic != "count") or "energy" in key:
        return bool(found == pytest.approx(value, rel=ROUNDED))
    return bool(found == value)
