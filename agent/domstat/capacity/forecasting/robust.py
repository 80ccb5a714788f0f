"""Medians, quantiles and rising lines of arrays with holes: what a few wild values cannot move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from domstat.capacity.forecasting.series import FloatArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAD_TO_SIGMA = 1.4826
"""The median distance from the median times this is the standard deviation, where values are normally distributed."""


def median(values: FloatArray, axis: int = -1) -> FloatArray:
    """Return the median along *axis* of what is known, NaN where nothing is.

    numpy's own ``nanmedian`` goes through the rows one by one in Python.
    """
    ordered = np.sort(values, axis=axis)
    if axis != -1:
        ordered = np.moveaxis(ordered, axis, -1)
    count = ordered.shape[-1]
    if np.isfinite(ordered[..., -1]).all():  # NaN comes last: there is none, and nothing to look for
        return np.asarray((ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2)
    known = np.isfinite(ordered).sum(axis=-1)
    return (_at(ordered, np.maximum(known - 1, 0) // 2) + _at(ordered, known // 2)) / 2


def _at(ordered: FloatArray, places: NDArray[np.int64]) -> FloatArray:
    """Return the value of each row at its place; numpy's ``take_along_axis`` takes five times as long."""
    count = ordered.shape[-1]
    starts = np.arange(0, ordered.size, count).reshape(places.shape)
    return np.asarray(ordered.ravel()[starts + np.minimum(places, count - 1)])


def mean(values: FloatArray) -> FloatArray:
    """Return the mean along the last axis of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def quantiles(values: FloatArray, shares: Sequence[float]) -> list[FloatArray]:
    """Return quantiles of what is known along the last axis, NaN where nothing is.

    Of n values the smallest stands at 1 / (n + 1) and the largest at n / (n + 1): the share of new values of the same
    kind that fall below them, which is what a bound is for. Beyond them it is the smallest and the largest.
    """
    ordered = np.sort(values, axis=-1)
    known = np.isfinite(ordered).sum(axis=-1)
    last = np.maximum(known - 1, 0)
    found = []
    for share in shares:
        place = np.clip(share * (known + 1) - 1, 0, last)
        below = place.astype(np.int64)
        low, high = _at(ordered, below), _at(ordered, np.minimum(below + 1, last))
        found.append(low + (high - low) * (place - below))
    return found


def weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the median along the last axis of values that count for their *weights*, interpolated between them."""
    order = np.argsort(values, axis=-1)
    starts = np.arange(0, order.size, order.shape[-1]).reshape(*order.shape[:-1], 1)
    ordered, weight = (np.ascontiguousarray(one).ravel()[order + starts] for one in (values, weights))
    # Each value stands in the middle of its weight; the median is where half of all is passed.
    passed = np.cumsum(weight, axis=-1)
    passed -= weight / 2 + passed[..., -1:] / 2
    above = np.minimum((passed < 0).sum(axis=-1), values.shape[-1] - 1)
    below = np.maximum(above - 1, 0)
    before, after = _at(passed, below), _at(passed, above)
    low, high = _at(ordered, below), _at(ordered, above)
    share = np.where(after > before, -before / np.where(after > before, after - before, 1.0), 1.0)
    return np.asarray(low + (high - low) * np.clip(share, 0, 1))


def rising(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return rows that never fall and are nearest to *values* by *weights*: isotonic regression.

    By the min-max formula (Barlow et al. 1972): the greatest, over beginnings, of the least, over ends, mean between
    them.
    """
    count = values.shape[1]
    nothing = np.zeros((len(values), 1))
    sums, totals = (np.cumsum(np.concatenate([nothing, one], axis=1), axis=1) for one in (values * weights, weights))
    total = totals[:, None, 1:] - totals[:, :-1, None]
    means = (sums[:, None, 1:] - sums[:, :-1, None]) / np.where(total > 0, total, 1.0)  # rows x beginnings x ends
    backwards = np.tri(count, k=-1, dtype=bool)
    least = np.minimum.accumulate(np.where(backwards, np.inf, means)[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.asarray(np.where(backwards, -np.inf, least).max(axis=1))
