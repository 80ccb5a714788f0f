"""Derived series, all of a part at once; equal to :mod:`domstat.derive`'s to the last bit. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.rollups.increments import Run
from domstat_sinks.sqlite.rollups.recipes import Means, Sort
from domstat_sinks.sqlite.rollups.rollplan import Real, Whole

_KIB = 1024.0


def derive(run: Run, rates: Real) -> Real:
    """Derive what *run* and its *rates* allow, a row a tick and a column a series; no number where there is none."""
    derived = [_WAYS[of.means](run, rates, of.sources) for of in run.plan.derived]
    return np.hstack(derived) if derived else np.zeros((len(run.words), 0))


def level_values(run: Run, columns: Whole) -> Real:
    """Return what gauges say, as doubles, a row a tick and a column each of *columns*, the words asked for."""
    words = np.take(run.words, columns, axis=1, mode="clip")
    sorts = run.plan.sorts[columns]
    values = words.astype(np.float64)
    for sort, type_ in ((Sort.SIGNED, np.int64), (Sort.REAL, np.float64)):
        if (sorts == sort).any():
            np.copyto(values, words.view(type_), where=sorts == sort)
    return values


def _rate(run: Run, rates: Real, sources: Whole) -> Real:
    """Pick the rates of the counters that are the words *sources*; no number for a source that is not there."""
    picked: Real = np.take(rates, run.plan.counter_of[sources], axis=1, mode="clip")
    if (sources < 0).any():
        picked[:, sources < 0] = np.nan
    return picked


def _first_rate(run: Run, rates: Real, sources: Whole) -> Real:
    return _rate(run, rates, sources[0])


def _utilization(run: Run, rates: Real, sources: Whole) -> Real:
    vcpus = level_values(run, sources[1])
    vcpus[vcpus == 0] = np.nan
    return _rate(run, rates, sources[0]) / vcpus


def _latency(run: Run, rates: Real, sources: Whole) -> Real:
    per_second = _rate(run, rates, sources[1])
    per_second[per_second == 0] = np.nan
    return _rate(run, rates, sources[0]) / per_second


def _memory(run: Run, _rates: Real, sources: Whole) -> Real:
    used = _difference(run, sources[1], run.words[:, sources[2]])
    used[level_values(run, sources[0]) == 0] = np.nan
    return used


def _host_cpu(run: Run, rates: Real, sources: Whole) -> Real:
    """Return what is neither idle nor waiting, of all: added up one by one in their order, as sum() does."""
    spent = np.zeros((len(rates), sources.shape[1]))
    for of in sources[2:]:
        spent += np.nan_to_num(_rate(run, rates, of))
    idle = np.nan_to_num(_rate(run, rates, sources[0])) + np.nan_to_num(_rate(run, rates, sources[1]))
    spent[spent <= 0] = np.nan
    return (spent - idle) / spent


def _host_memory(run: Run, _rates: Real, sources: Whole) -> Real:
    total, available, *parts = sources
    free = np.zeros((len(run.words), sources.shape[1]), dtype=np.uint64)
    for of in parts:
        free += np.where(of < 0, np.uint64(0), run.words[:, of])
    return _difference(run, total, np.where(available < 0, free, run.words[:, available]))


def _difference(run: Run, totals: Whole, free: Words) -> Real:
    """Return totals less what is free, in bytes of KiB: exact, as a difference of words that fits an int64."""
    kib: Whole = (run.words[:, totals] - free).view(np.int64)
    used: Real = np.multiply(kib, _KIB)
    return used


_WAYS: dict[Means, Callable[[Run, Real, Whole], Real]] = {
    Means.CORES: _first_rate,
    Means.UTILIZATION: _utilization,
    Means.STEAL: _first_rate,
    Means.LATENCY: _latency,
    Means.MEMORY: _memory,
    Means.HOST_CPU: _host_cpu,
    Means.HOST_MEMORY: _host_memory,
}
