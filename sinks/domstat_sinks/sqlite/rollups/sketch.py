"""Sketches: how often which values occurred, to a relative error of 1 %. Pure.

A sketch counts values in bins, each as wide as a fiftieth of what it holds: what DDSketch is. The values of a bin
stand for each other, so any quantile of any merged sketches is known to 1 %. Sketches are merged by adding up and taken
apart again by subtracting, so a long range is the difference of two that began at the same time (see
:mod:`.prefixes`).

The sketches of many series, one a guest as a rule, stand side by side as one matrix: nothing here loops over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.rollups.rollplan import Real, Whole

ERROR = 0.01
"""How far a quantile may be from the value it stands for, relative to that."""

_GAMMA = (1 + 0.999 * ERROR) / (1 - 0.999 * ERROR)  # a hair less, since logarithms in single precision are quicker
_LOG_GAMMA = log(_GAMMA)

LEAST, MOST = 1e-9, 1e18
"""What is told apart, in base units: a nanosecond; an exabyte. Less counts as zero, more as this."""

BIN_FIRST, BIN_LAST = ceil(log(LEAST) / _LOG_GAMMA), ceil(log(MOST) / _LOG_GAMMA)
"""The bound on what a sketch can hold: 3,110 bins."""

SUM_MOST = 1e300
"""As much a sum may be, so that sums of sums are finite, and can be taken apart again."""

_BINS_A_LOG = np.float32(1 / _LOG_GAMMA)
_LAST = np.float32(BIN_LAST)
_NOWHERE = np.float32(BIN_FIRST - 1)
"""Where zero goes, and what is not there: before the bins."""


class Sketches(Struct, frozen=True):
    """The sketches of several series, a row each.

    Column *i* of *bins* counts the values in bin *first* + *i*, *zeros* those that count as zero. *sums*, *mins* and
    *maxs* are those of the values themselves; of a series without any, infinite the wrong way round.
    """

    first: int
    bins: Whole
    zeros: Whole
    sums: Real
    mins: Real
    maxs: Real

    @property
    def counts(self) -> Whole:
        """How many values each has."""
        counts: Whole = self.zeros + self.bins.sum(axis=1)
        return counts


def sketch(values: Real, groups: int = 1) -> list[Sketches]:
    """Count *values*, a row a tick and a column a series, and give the series in so many groups of as many each.

    What is no finite number is not there.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sums = values.sum(axis=0)
    if not np.isfinite(sums).all() and np.isinf(values).any():
        values = np.where(np.isinf(values), np.nan, values)
    series = values.shape[1] // max(groups, 1)
    nowhere = BIN_FIRST - 1
    with np.errstate(all="ignore"):  # of zero, of what is none, of what single precision cannot hold
        logs = np.log(values.astype(np.float32))
    exact = np.ceil(np.multiply(logs, _BINS_A_LOG, out=logs), out=logs)
    bins = np.fmin(np.fmax(exact, _NOWHERE, out=exact), _LAST, out=exact).astype(np.int32)
    absent = np.isnan(values)
    absences = absent.sum(axis=0, dtype=np.int64)
    partly = absences > 0
    with np.errstate(over="ignore"):
        sums[partly] = np.nansum(values[:, partly], axis=0)
    if not np.isfinite(sums).all():
        np.clip(sums, -SUM_MOST, SUM_MOST, out=sums)
    mins, maxs = np.fmin.reduce(values, initial=np.inf), np.fmax.reduce(values, initial=-np.inf)
    lasts = bins.max(axis=0, initial=nowhere)
    firsts = np.where(bins > nowhere, bins, BIN_LAST).min(axis=0, initial=BIN_LAST)
    found = []
    for group in range(groups):
        of = slice(group * series, (group + 1) * series)
        first = int(firsts[of].min(initial=BIN_LAST))
        width = (
            max(int(lasts[of].max(initial=nowhere)) - first + 1, 0) + 1
        )  # zero, or nothing, has a column before the bins
        cells = np.maximum(bins[:, of] - (first - 1), 0) + np.arange(series) * width
        counts = np.bincount(cells.reshape(-1), minlength=series * width).reshape(series, width)
        zeros = counts[:, 0] - absences[of]
        found.append(Sketches(first if width > 1 else 0, counts[:, 1:], zeros, sums[of], mins[of], maxs[of]))
    return found


def nothing(series: int) -> Sketches:
    """Return the sketches of so many series without values."""
    return sketch(np.zeros((0, series)))[0]


def spread(sketches: Sketches, places: Whole, series: int) -> Sketches:
    """Return the same sketches at *places* among so many series, the others without values."""
    bins = np.zeros((series, sketches.bins.shape[1]), dtype=np.int64)
    zeros, sums = np.zeros(series, dtype=np.int64), np.zeros(series)
    mins, maxs = np.full(series, np.inf), np.full(series, -np.inf)
    bins[places], zeros[places], sums[places] = sketches.bins, sketches.zeros, sketches.sums
    mins[places], maxs[places] = sketches.mins, sketches.maxs
    return Sketches(sketches.first, bins, zeros, sums, mins, maxs)


def merge(sketches: Sequence[Sketches]) -> Sketches:
    """Add up sketches, at least one, of the same series."""
    used = [those for those in sketches if those.bins.shape[1]]
    first = min((those.first for those in used), default=0)
    width = max((those.first + those.bins.shape[1] for those in used), default=0) - first
    bins = np.zeros((len(sketches[0].zeros), width), dtype=np.int64)
    for those in used:
        start = those.first - first
        bins[:, start : start + those.bins.shape[1]] += those.bins
    return Sketches(
        first=first,
        bins=bins,
        zeros=np.sum([those.zeros for those in sketches], axis=0),
        sums=np.sum([those.sums for those in sketches], axis=0),
        mins=np.min([those.mins for those in sketches], axis=0),
        maxs=np.max([those.maxs for those in sketches], axis=0),
    )


def assembled(parts: Sequence[tuple[Sketches, Whole, Whole]], series: int) -> Sketches:
    """Put rows of sketches, (sketches, which rows, their places), at their places among so many *series*.

    A place that several have is all of these together; one that none has is without values.
    """
    used = [of for of, _, _ in parts if of.bins.shape[1]]
    first = min((of.first for of in used), default=0)
    width = max((of.first + of.bins.shape[1] for of in used), default=0) - first
    empty = nothing(series)
    made = Sketches(first, np.zeros((series, width), dtype=np.int64), empty.zeros, empty.sums, empty.mins, empty.maxs)
    for of, rows, places in parts:
        start = of.first - first
        made.bins[places, start : start + of.bins.shape[1]] += of.bins[rows]
        made.zeros[places] += of.zeros[rows]
        made.sums[places] += of.sums[rows]
        made.mins[places] = np.minimum(made.mins[places], of.mins[rows])
        made.maxs[places] = np.maximum(made.maxs[places], of.maxs[rows])
    return made


def quantile(sketches: Sketches, q: float) -> Real:
    """Return the *q*-quantile, 0 to 1, of each series: of *n* values the one at floor(*q* (*n* - 1)) in their order.

    No number where there are no values.
    """
    counts = sketches.counts
    ranks = np.floor(q * (counts - 1)).astype(np.int64)
    below = np.cumsum(sketches.bins, axis=1) + sketches.zeros[:, None]
    columns = np.count_nonzero(below <= ranks[:, None], axis=1)
    values = np.where(ranks < sketches.zeros, 0.0, middle(sketches.first + columns))
    values = np.clip(values, np.minimum(sketches.mins, sketches.maxs), sketches.maxs)
    return np.where(counts > 0, values, np.nan)


def middle(bins: Whole) -> Real:
    """Return what the values in *bins* are taken for: as far, relatively, from the one edge as from the other."""
    middles: Real = 2 / (1 + _GAMMA) * np.exp(bins * _LOG_GAMMA)
    return middles
