"""Roll-ups."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domstat_sinks.sqlite.rollups.rollstats import Subject, nothing_of
from domstat_sinks.sqlite.rollups.rollup import DAY_MS, FIVE_MINUTES_MS, HOUR_MS, merge

from .histories import TEXTS, Found, Series, by_key, history, naive, rolled

SEEDS = st.integers(0, 2**32)


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def assert_same(
    found: Found, expected: dict[tuple[int, Subject], dict[str, Series]], *, with_last: bool = True
) -> None:
    """Compare with what the ticks come to one by one; only sums may depend on the order of adding up."""
    assert set(found) == set(expected)
    for at, series in expected.items():
        mine = dict(found[at])
        mine.pop("ticks")
        numbers = {key: own for key, own in series.items() if not own.rates}
        for key, own in series.items():
            if own.rates:
                its = mine.pop(key)
                assert (its["max_rate"], its["covered"]) == (max(own.rates), sum(own.spans)), key
                total = (
                    sum(own.values) if "energy" in key else sum(own.values) % (1 << 64)
                )  # counters may fall from beyond 2^63
                assert its["increment"] == (pytest.approx(total) if "energy" in key else total)
        for key, own in numbers.items():
            values = [value for value in own.values if not is_nan(value)]
            if not values:
                continue
            its = mine.pop(key)
            assert its["count"] == len(values), key
            if with_last:
                assert its["last"] == TEXTS.get(values[-1], values[-1]), key
            if isinstance(values[0], str):
                continue
            assert (its["min"], its["max"]) == (min(values), max(values)), key
            assert its["sum"] == pytest.approx(math.fsum(values), rel=1e-12), key
        assert mine == {}


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 24))
def test_a_roll_up_is_what_the_ticks_come_to_one_by_one_however_they_are_cut(seed: int, slices: int) -> None:
    ticks = history(seed)
    cuts = sorted(random.Random(seed).sample(range(1, len(ticks)), slices - 1))
    assert_same(by_key(merge(rolled(ticks, cuts), FIVE_MINUTES_MS)), naive(ticks, FIVE_MINUTES_MS))


@settings(max_examples=10)
@given(SEEDS, st.sampled_from([HOUR_MS, DAY_MS]))
def test_buckets_combine_to_wider_ones_as_if_these_had_been_made_of_the_ticks(seed: int, width_ms: int) -> None:
    ticks = history(seed, length=30, step_ms=300_000)
    five_minutes = merge(rolled(ticks, [11, 17]), FIVE_MINUTES_MS)
    wide = merge([five_minutes], width_ms)
    # A clock that was set back has the ticks of a bucket come apart: which is the last is told by buckets then.
    in_order = all(one.stamp.time_ms <= other.stamp.time_ms for one, other in pairwise(ticks))
    assert_same(by_key(wide), naive(ticks, width_ms), with_last=in_order)


@settings(max_examples=20)
@given(SEEDS)
def test_merging_is_associative_and_nothing_changes_nothing(seed: int) -> None:
    parts = rolled(history(seed), [7, 15])
    cut = random.Random(seed).randrange(1, len(parts)) if len(parts) > 1 else 1
    left, right = merge(parts[:cut], FIVE_MINUTES_MS), parts[cut:]
    whole = merge(parts, FIVE_MINUTES_MS)
    nothing = nothing_of(whole.scope)
    rest = [merge(right, FIVE_MINUTES_MS)] if right else []
    for other in (merge([left, *rest], FIVE_MINUTES_MS), merge([nothing, whole, nothing], FIVE_MINUTES_MS)):
        assert_equal(by_key(other), by_key(whole))


def assert_equal(found: Found, expected: Found) -> None:
    assert set(found) == set(expected)
    for at, series in expected.items():
        assert set(found[at]) == set(series)
        for key, statistics in series.items():
            assert found[at][key] == pytest.approx(statistics, rel=1e-12, nan_ok=True), key


def test_of_a_run_the_increment_belongs_to_the_bucket_of_the_later_tick() -> None:
    ticks = history(seed=2, length=4, step_ms=FIVE_MINUTES_MS)
    (run,) = rolled(ticks[:2], [])
    assert_same(by_key(run), naive(ticks[:2], FIVE_MINUTES_MS))
    covered = run.counters.covered_ns.any(axis=1)
    assert len(run.starts_ms) == 2
    assert covered.tolist() == [False, True]


def test_rolled_up_statistics_are_of_their_values_own_types() -> None:
    rollup = merge(rolled(history(seed=1), []), FIVE_MINUTES_MS)
    assert [levels.lasts.dtype for levels in rollup.levels] == [np.uint64, np.int64, np.float64]
    assert rollup.counters.increments.dtype == np.uint64
