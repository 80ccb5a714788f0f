"""Statistics as records, and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domstat.catalog import DERIVED
from domstat.model import Value, key_of, split_key
from domstat_sinks.sqlite.heads.layout import Entry, value_of
from domstat_sinks.sqlite.rollups.rollrecord import Form, Row, moving_fields, rounded
from domstat_sinks.sqlite.rollups.rollstats import Rollup, unite
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, merge

from .histories import TEXTS, by_key, history, rolled
from .rollparams import read_params

NAMES = {number: text for text, number in TEXTS.items()}
ROUNDED = 2**-11


Record = tuple[Entry, dict[str, Value]]


def stored(rollup: Rollup, moving: frozenset[str] = frozenset()) -> list[list[Record]]:
    form = Form()
    return [records_of(form.row(rollup, bucket, moving)) for bucket in range(len(rollup.starts_ms))]


def records_of(row: Row) -> list[Record]:
    bits = iter(row.words.tolist())
    return [
        (entry, {key_of(of.field, of.device): value_of(of.type, next(bits), NAMES) for of in columns})
        for entry, columns in zip(row.entries, row.columns, strict=True)
    ]


def read_back(rollup: Rollup, moving: frozenset[str] = frozenset()) -> list[Rollup]:
    return [
        read_params(start, records, TEXTS.__getitem__)
        for start, records in zip(rollup.starts_ms.tolist(), stored(rollup, moving), strict=True)
    ]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.booleans())
def test_what_is_stored_comes_back_exactly_or_rounded(seed: int, moves: bool) -> None:
    rollup = merge(rolled(history(seed), []), FIVE_MINUTES_MS)
    moving = moving_fields(rollup) if moves else frozenset()
    expected = by_key(rollup)
    found = {at: series for one in read_back(rollup, moving) for at, series in by_key(one).items()}
    assert set(found) == set(expected)
    for at, series in expected.items():
        assert set(found[at]) == set(series)
        for key, statistics in series.items():
            if key == "ticks":
                assert found[at][key] == statistics
            else:
                assert_close(key, found[at][key], statistics)


def assert_close(key: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    is_derived = split_key(key)[0] in DERIVED
    for statistic, value in expected.items():
        if statistic in {"max_rate", "sum"} or (is_derived and statistic != "count"):
            over_time = is_derived and statistic == "sum" and not key.endswith("memory.used")
            assert over_time or found[statistic] == pytest.approx(value, rel=2 * ROUNDED), (key, statistic)
        else:
            assert found[statistic] == value, (key, statistic)


def test_the_mean_of_a_latency_is_all_time_over_all_requests() -> None:
    rollup = merge(rolled(history(1), []), HOUR_MS)
    (only,) = read_back(rollup)[:1]
    series = by_key(only)[next(at for at in by_key(only) if at[1][1] == "uuid-0")]
    latency, times, requests = (series[f"block.rd.{what}[vda]"] for what in ("latency", "times", "reqs"))
    mean = times["increment"] * 1e-9 / requests["increment"]
    assert latency["sum"] / latency["count"] == pytest.approx(mean)


def test_cores_and_steal_have_the_mean_over_time_of_their_counter_and_its_greatest_rate() -> None:
    (only,) = read_back(merge(rolled(history(1), []), HOUR_MS))[:1]
    series = by_key(only)[next(at for at in by_key(only) if at[1][1] == "uuid-0")]
    for derived, counter in (("cpu.cores", "cpu.time"), ("vcpu.steal[1]", "vcpu.delay[1]")):
        mean = series[counter]["increment"] / series[counter]["covered"]
        assert series[derived]["sum"] / series[derived]["count"] == pytest.approx(mean)
        assert series[derived]["max"] == series[counter]["max_rate"]


def test_a_gauge_that_stood_still_costs_its_last_alone_until_its_field_has_moved() -> None:
    rollup = merge(rolled(history(3), []), FIVE_MINUTES_MS)
    still = [params for entry, params in stored(rollup)[0] if entry.uuid]
    assert {key for key in still[0] if key.startswith("balloon.available")} == {"balloon.available:last"}
    moved = [params for entry, params in stored(rollup, frozenset({"balloon.available"}))[0] if entry.uuid]
    statistics = {f"balloon.available:{statistic}" for statistic in ("last", "min", "max", "mean")}
    assert {key for key in moved[0] if key.startswith("balloon.available")} == statistics


def test_fields_that_moved_are_named() -> None:
    moving = moving_fields(merge(rolled(history(3), []), FIVE_MINUTES_MS))
    assert {"balloon.unused", "vcpu.state"} <= moving
    assert not {"balloon.available", "state.reason", "cpu.time", "cpu.cores"} & moving


def test_records_keep_their_shape_from_bucket_to_bucket() -> None:
    ticks = history(seed=3, length=60)  # without trouble
    rollup = merge(rolled(ticks, []), FIVE_MINUTES_MS)
    shapes = {tuple(records[1][1]) for records in stored(rollup, moving_fields(rollup))[1:] if len(records) > 1}
    assert len(shapes) <= 2  # with and without a utilization of its own, where the number of vCPUs changes


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False), min_size=1))
def test_rounding_keeps_three_figures_and_the_order_and_leaves_the_low_bits_empty(values: list[float]) -> None:
    exact = np.array([value for value in values if abs(value) < 1e300])
    found = rounded(exact)
    assert (np.abs(found - exact) <= np.abs(exact) * ROUNDED).all()
    assert (np.diff(found[np.argsort(exact)]) >= 0).all()
    assert not (found.view(np.uint64) & np.uint64((1 << 42) - 1)).any()


def test_what_is_no_finite_number_is_not_rounded() -> None:
    found = rounded(np.array([math.nan, math.inf, -math.inf, 0.0]))
    assert found.tolist() == pytest.approx([math.nan, math.inf, -math.inf, 0.0], nan_ok=True)


def test_a_key_that_is_none_of_a_buckets_is_left_out() -> None:
    rollup = merge(rolled(history(3), []), FIVE_MINUTES_MS)
    ((entry, params), *_) = stored(rollup)[0]
    known = read_params(0, [(entry, params)], TEXTS.__getitem__)
    more = read_params(0, [(entry, params | {"new.field:median": 1})], TEXTS.__getitem__)
    assert by_key(more) == by_key(known)


def test_what_was_stored_is_merged_with_what_is_new_in_the_same_columns() -> None:
    rollup = merge(rolled(history(3), []), FIVE_MINUTES_MS)
    united = unite([rollup.scope, *(one.scope for one in read_back(rollup))])
    assert [len(columns.names) for columns in united.series] == [len(columns.names) for columns in rollup.scope.series]
    twice = merge([*read_back(rollup), rollup], FIVE_MINUTES_MS)
    assert (twice.ticks == 2 * rollup.ticks).all()
    assert (twice.counters.increments == 2 * rollup.counters.increments).all()
