"""Which candidates have done well in a series' own past, and what they say together.

A candidate is a level over some window, a season and a slope. Each is tried at earlier origins of the same series,
against what came after, by bands of the horizon: near ahead the last value may do best, far ahead the season. The
candidates are then mixed by how small their errors were. None is chosen: a combination of good forecasts is better
than a guess which of them is best, as the M competitions found and as Nutanix's X-FIT does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domstat.capacity.forecasting.bands import Bands
from domstat.capacity.forecasting.parts import Parts
from domstat.capacity.forecasting.robust import weighted_median
from domstat.capacity.forecasting.series import FloatArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

POWER = 6.0
"""A candidate's weight falls with this power of its error: with twice the error of the best it counts for 1/64.
Between 3 and 10 it makes a difference of 1 % to the errors."""
RECENCY = 0.85
"""An origin counts for this share of the next later one: habits change."""
NO_ERROR = 1e-9
"""Errors below this share of the series' greatest value are none."""


class Mixture(NamedTuple):
    """What the candidates say together, by bands.

    *levels* is rows x seasons x bands: the median, by weight, of the levels now. *seasons* and *slopes* are how much
    of each there is, rows x seasons x bands and rows x slopes x bands.
    """

    levels: FloatArray
    seasons: FloatArray
    slopes: FloatArray


def tried(parts: Parts, windows: tuple[int, ...], steps: NDArray[np.int64]) -> FloatArray:
    """Return what each candidate says: rows x seasons x windows x slopes x steps."""
    ahead = parts.slopes[:, None, None, :, None] * steps
    seasons = np.stack([season[:, (steps - 1) % season.shape[1]] for season in parts.seasons], axis=1)
    return np.asarray((_starts(parts, windows)[..., None] + ahead) + seasons[:, :, None, None, :])


def _starts(parts: Parts, windows: tuple[int, ...]) -> FloatArray:
    """Return where each candidate starts, rows x seasons x windows x slopes: a level is that of its window's middle."""
    since = (np.array(windows) - 1) / 2
    return np.asarray(parts.levels[..., None] + parts.slopes[:, None, None, :] * since[:, None])


def weights_of(errors: FloatArray, bands: Bands) -> FloatArray:
    """Return the weight of each candidate in each band: series x seasons x windows x slopes x bands.

    *errors* is series x origins x seasons x windows x slopes x steps, without sign; NaN where the truth is not known.
    """
    recency = RECENCY ** np.arange(errors.shape[1])
    known = np.isfinite(errors[:, :, 0, 0, 0])  # of all candidates alike
    total = np.add.reduceat(
        np.einsum("so...,o->s...", np.where(np.isfinite(errors), errors, 0.0), recency), bands.starts, axis=-1
    )
    count = np.add.reduceat(np.einsum("son,o->sn", known, recency), bands.starts, axis=-1)
    means = total / np.where(count > 0, count, 1.0)[:, None, None, None, :]
    least = means.min(axis=(1, 2, 3), keepdims=True)
    weights = ((least + NO_ERROR) / (means + NO_ERROR)) ** POWER
    return np.asarray(weights / weights.sum(axis=(1, 2, 3), keepdims=True))


def mixture_of(parts: Parts, weights: FloatArray, windows: tuple[int, ...]) -> Mixture:
    """Mix the candidates of rows.

    Levels are mixed by their median: a last value that is a spike is then passed over, however good last values are
    elsewhere, unless they are better than all others together.
    """
    rows, seasons, _, _, bands = weights.shape
    by_band = np.moveaxis(weights.reshape(rows, seasons, -1, bands), 2, 3)
    starts = _starts(parts, windows).reshape(rows, seasons, 1, -1)
    levels = weighted_median(np.broadcast_to(starts, by_band.shape), by_band)
    return Mixture(levels, by_band.sum(axis=3), weights.sum(axis=(1, 2)))


def said_by(mixture: Mixture, parts: Parts, shares: FloatArray, steps: NDArray[np.int64]) -> FloatArray:
    """Return what a mixture says at each of *steps*, rows x steps; *shares* is bands x steps."""
    slopes = (parts.slopes[:, :, None] * mixture.slopes).sum(axis=1)
    said = (mixture.levels * mixture.seasons).sum(axis=1) @ shares + (slopes @ shares) * steps
    for number, season in enumerate(parts.seasons[1:], 1):
        said += (mixture.seasons[:, number] @ shares) * season[:, (steps - 1) % season.shape[1]]
    return np.asarray(said)


def slopes_of(mixture: Mixture, parts: Parts) -> tuple[FloatArray, FloatArray]:
    """Return the slope of each row far ahead, and how far it may be off (a standard deviation), both a step.

    *errors* are the standard errors of the slopes, rows x slopes. How far the slopes are from each other counts too:
    growth that is not the same over the whole of the past is not known as well as each slope by itself.
    """
    weights = mixture.slopes[:, :, -1]
    slope = (weights * parts.slopes).sum(axis=1)
    apart = (weights * (parts.slopes - slope[:, None]) ** 2).sum(axis=1)
    return slope, np.sqrt((weights * parts.errors).sum(axis=1) ** 2 + apart)
