"""Rows of a matrix projected together: taken apart, tried against their own past, put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domstat.capacity.forecasting.bands import Bands, bands_of, shares_of
from domstat.capacity.forecasting.mixing import Mixture, mixture_of, said_by, slopes_of, tried, weights_of
from domstat.capacity.forecasting.parts import Parts, blocks_of, parts_of
from domstat.capacity.forecasting.rhythm import Rhythm
from domstat.capacity.forecasting.series import FloatArray
from domstat.capacity.forecasting.shifts import lifts_of, shifts_of
from domstat.capacity.forecasting.spread import spread_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORIGINS_MAX = 10
"""Earlier points from which the past is projected, to see how that went."""
TRAINING, TRAINING_MIN = 3, 4
"""The first one in so many parts of the history, and at least so many values, are only learnt from, never tried."""


class Rows(NamedTuple):
    """What is projected: rows x steps, or one a row, in the rows' own unit.

    *slopes* are a step, *seasons* the weights of seasons, rows x seasons; *shifts* tells for each block of each row
    whether the level shifts before it. *origins* is from how many earlier points the past was projected.
    """

    middle: FloatArray
    low: FloatArray
    high: FloatArray
    slopes: FloatArray
    seasons: FloatArray
    shifts: NDArray[np.bool_]
    origins: int


def project_rows(values: FloatArray, rhythm: Rhythm, steps: int, level: float) -> Rows:
    """Project the rows of a matrix."""
    known = np.where(np.isfinite(values), values, np.nan)
    exponents = np.frexp(np.nanmax(np.abs(known), axis=1, keepdims=True))[1]
    scaled = np.ldexp(known, -exponents)  # by a power of two, which costs no digit
    base = _last_known(scaled)
    blocks = blocks_of(scaled - base, rhythm.block)
    shifts = shifts_of(blocks)
    lifts = lifts_of(shifts)
    matrix = scaled - base + _by_steps(lifts, rhythm.block, scaled.shape[1])
    ahead = np.arange(1, steps + 1)
    offsets = _offsets(scaled.shape[1], steps, rhythm)
    bands = bands_of(min(steps, int(offsets[-1])))
    shares = shares_of(bands, ahead)
    parts = parts_of(_histories(matrix, offsets), rhythm)
    mixture, missed = _mixed(parts, _truth(matrix, offsets, bands), rhythm, bands)
    present = _present(parts, len(offsets))
    middle = said_by(mixture, present, shares, ahead)
    slopes, slope_error = slopes_of(mixture, present)
    below, above = spread_of(missed, bands, level, shares, ahead, slope_error)
    tested = np.asarray(np.isfinite(missed).any(axis=(1, 2)))[:, None]
    span = np.nanmax(matrix, axis=1, keepdims=True) - np.nanmin(matrix, axis=1, keepdims=True)
    below, above = (np.where(tested, side, span) for side in (below, above))
    floor = np.where(np.nanmin(scaled, axis=1, keepdims=True) >= 0, 0.0, -np.inf)
    return Rows(
        middle=_unscaled(np.maximum(middle + base, floor), exponents),
        low=_unscaled(np.maximum(middle - below + base, floor), exponents),
        high=_unscaled(np.maximum(middle + above + base, floor), exponents),
        slopes=_unscaled(slopes[:, None], exponents)[:, 0],
        seasons=_weights_of_seasons(mixture, present),
        shifts=shifts != 0,
        origins=len(offsets),
    )


def _mixed(parts: Parts, truth: FloatArray, rhythm: Rhythm, bands: Bands) -> tuple[Mixture, FloatArray]:
    """Return the mixture for the present, and how far off it was at each origin and tried step."""
    count, each = len(truth), truth.shape[1] + 1
    said = tried(parts, rhythm.windows, bands.steps)
    said = said.reshape(count, each, *said.shape[1:])[:, 1:]
    weights = weights_of(np.abs(truth[:, :, None, None, None] - said), bands)
    mixture = mixture_of(parts, np.repeat(weights, each, axis=0), rhythm.windows)
    once = said_by(mixture, parts, shares_of(bands, bands.steps), bands.steps).reshape(count, each, -1)[:, 1:]
    return Mixture(*(part[::each] for part in mixture)), truth - once


def _weights_of_seasons(mixture: Mixture, parts: Parts) -> FloatArray:
    """Return the weight of each season, rows x seasons; one that is flat is none."""
    flat = np.stack([(season == 0).all(axis=1) for season in parts.seasons], axis=1)
    flat[:, 0] = False
    return np.where(flat, 0.0, mixture.seasons.mean(axis=2))


def _present(parts: Parts, origins: int) -> Parts:
    """Leave out the rows of origins."""
    each = origins + 1
    return Parts(
        parts.levels[::each],
        parts.slopes[::each],
        parts.errors[::each],
        tuple(season[::each] for season in parts.seasons),
    )


def _last_known(matrix: FloatArray) -> FloatArray:
    """Return the last known value of each row, as a column.

    All is counted from it: what stays as it is then is exactly that, and no rounding puts it beside its interval.
    """
    places = matrix.shape[1] - 1 - np.isfinite(matrix[:, ::-1]).argmax(axis=1)
    return np.take_along_axis(matrix, places[:, None], axis=1)


def _by_steps(lifts: FloatArray, block: int, length: int) -> FloatArray:
    """Return lifts by steps from lifts by blocks; what is before the first whole block is lifted as it is."""
    whole = np.repeat(lifts, block, axis=1)[:, -length:]
    return np.concatenate([np.repeat(whole[:, :1], length - whole.shape[1], axis=1), whole], axis=1)


def _unscaled(values: FloatArray, exponents: NDArray[np.int32]) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.clip(np.ldexp(values, exponents), -np.finfo(np.float64).max, np.finfo(np.float64).max)


def _offsets(length: int, steps: int, rhythm: Rhythm) -> NDArray[np.int64]:
    """Return how many steps before the end each origin is, the nearest first.

    They are whole days apart where there is history for it: errors are then those of the same hours of the day.
    """
    usable = max(length - max(length // TRAINING, TRAINING_MIN), 1)
    apart = max(min(usable // ORIGINS_MAX, steps), 1)
    if rhythm.day and usable >= 2 * rhythm.day:
        apart = max(round(apart / rhythm.day), 1) * rhythm.day
    return np.arange(1, min(ORIGINS_MAX, usable // apart) + 1) * apart


def _histories(matrix: FloatArray, offsets: NDArray[np.int64]) -> FloatArray:
    """Return the present and the history up to each origin, (series x (1 + origins)) x length, with ends aligned."""
    series, length = matrix.shape
    rows = np.full((series, len(offsets) + 1, length), np.nan)
    rows[:, 0] = matrix
    for number, offset in enumerate(offsets.tolist(), 1):
        rows[:, number, offset:] = matrix[:, : length - offset]
    return rows.reshape(-1, length)


def _truth(matrix: FloatArray, offsets: NDArray[np.int64], bands: Bands) -> FloatArray:
    """Return what came after each origin at each step that is tried, NaN where that is yet to come."""
    places = matrix.shape[1] - offsets[:, None] + bands.steps - 1
    truth = matrix[:, np.minimum(places, matrix.shape[1] - 1)]
    return np.where(places < matrix.shape[1], truth, np.nan)
