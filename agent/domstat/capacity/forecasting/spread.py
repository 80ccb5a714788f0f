"""How far off the mixture was in the series' own past, and so how far off it may be.

The bounds of an interval are quantiles of the errors at earlier origins, by bands of the horizon (conformal
prediction with a rolling origin): nothing is supposed about how errors are distributed. A band's neighbours count with
it, which steadies the quantiles. Bounds never get nearer with the distance. Beyond the farthest band that could be
tried they go on to widen as they did, and by what the slope may be off.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from domstat.capacity.forecasting.bands import Bands
from domstat.capacity.forecasting.robust import median, quantiles, rising
from domstat.capacity.forecasting.series import FloatArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_ORIGINS = 2.0
"""All errors of one origin are alike in part. With n origins bounds are wider by that part times this over n."""
WIDENING_MIN, WIDENING_MAX, WIDENING_UNKNOWN = 0.15, 1.0, 0.5
"""Bounds widen with this power of the distance: not at all for noise, 1/2 for a random walk, 1 for a wrong slope."""
BANDS_BACK = 2
"""The power is read off the last band and the one so many before it."""


def spread_of(
    errors: FloatArray,
    bands: Bands,
    level: float,
    shares: FloatArray,
    steps: NDArray[np.int64],
    slope_error: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return how far below and above the middle the truth may be: series x steps each, neither below 0.

    *errors* is series x origins x tried steps: truth minus what was said, NaN where the truth is not known.
    *slope_error* is the standard error of each series' slope, a step.
    """
    tail = (1 - level) / 2
    seen = np.where(bands.around >= 0, errors[:, :, bands.around], np.nan).swapaxes(1, 2)
    known = np.isfinite(seen)  # series x bands x origins x steps
    origins = known.any(axis=3).sum(axis=2)
    alike = np.fmax(median(np.abs(median(seen))), 0.0) * FEW_ORIGINS / np.maximum(origins, 1)
    low, high = quantiles(seen.reshape(*seen.shape[:2], -1), (tail, 1 - tail))
    weights = known.sum(axis=(2, 3)).astype(np.float64)
    tilted = NormalDist().inv_cdf(1 - tail) * slope_error[:, None] * np.maximum(steps - bands.steps[-1], 0)
    sides = rising(np.fmax(np.concatenate([-low, high]), 0.0) + np.tile(alike, (2, 1)), np.tile(weights, (2, 1)))
    below, above = np.split(np.hypot(_widening(sides, bands, shares, steps), np.tile(tilted, (2, 1))), 2)
    return below, above


def _widening(bounds: FloatArray, bands: Bands, shares: FloatArray, steps: NDArray[np.int64]) -> FloatArray:
    """Return bounds by steps from bounds by bands."""
    power = np.full(len(bounds), WIDENING_UNKNOWN)
    if len(bands.centres) > BANDS_BACK:
        was, now = bounds[:, -1 - BANDS_BACK], bounds[:, -1]
        ratio = np.where(was > 0, now / np.where(was > 0, was, 1.0), 1.0)
        power = np.log(ratio) / np.log(bands.centres[-1] / bands.centres[-1 - BANDS_BACK])
        power = np.clip(power, WIDENING_MIN, WIDENING_MAX)
    beyond = np.maximum(steps / bands.centres[-1], 1.0)
    return np.asarray((bounds @ shares) * beyond ** power[:, None])
