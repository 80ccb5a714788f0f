"""When a projection reaches a limit.

*Reaching* is the first step at or above the limit. At each step the projection says how probable it is that the value
is there: the middle is exceeded with a probability of one half, *high* with (1 - level) / 2, and beyond and between
these it falls off as in a normal distribution with that spread above and below. The probability of having run out
within some days is that of the worst step until then. It is so by construction one half at the expected crossing,
and 10 % and 90 % at the ends of the interval of an 80 % projection.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from domstat.capacity.forecasting.series import DAY_MS, FloatArray, Projection

NORMAL = NormalDist()
FAR = 40.0
"""So many standard deviations away nothing happens in the digits of a float."""


class Crossing(Struct, frozen=True):
    """When a limit is reached, in ms since 1970; None where it is not within the projection.

    *expected_ms* is when the middle reaches it, *conservative_ms* when the upper bound does. The interval goes from
    *earliest_ms*, which is the conservative one, to *latest_ms*, when even the lower bound is there; where that is
    None the interval is open: the limit may not be reached within the horizon at all.
    """

    limit: float
    expected_ms: int | None
    conservative_ms: int | None
    earliest_ms: int | None
    latest_ms: int | None
    start_ms: int
    step_ms: int
    probabilities: FloatArray

    def probability(self, days: float) -> float:
        """Return how probable it is that the limit is reached within *days*, or within the horizon if that is less."""
        steps = min(math.ceil(days * DAY_MS / self.step_ms), len(self.probabilities))
        return float(self.probabilities[steps - 1]) if steps > 0 else 0.0


def crossing(projection: Projection, limit: float) -> Crossing:
    """Say when a projection reaches *limit* from below."""
    earliest = _first(projection, projection.high, limit)
    return Crossing(
        limit,
        _first(projection, projection.middle, limit),
        earliest,
        earliest,
        _first(projection, projection.low, limit),
        projection.start_ms,
        projection.step_ms,
        _probabilities(projection, limit),
    )


def _first(projection: Projection, line: FloatArray, limit: float) -> int | None:
    reached = np.flatnonzero(line >= limit)
    return projection.start_ms + int(reached[0]) * projection.step_ms if len(reached) else None


def _probabilities(projection: Projection, limit: float) -> FloatArray:
    """Return for each step how probable it is that the limit was reached by then."""
    wide = NORMAL.inv_cdf((1 + projection.level) / 2)
    low, middle, high = (
        projection.low / 2,
        projection.middle / 2,
        projection.high / 2,
    )  # differences of halves are finite
    gap = limit / 2 - middle
    spread = np.where(gap > 0, high - middle, middle - low) / wide
    with np.errstate(over="ignore"):
        far = np.where(spread > 0, gap / np.where(spread > 0, spread, 1.0), np.where(gap > 0, FAR, -FAR))
    nearest = np.minimum.accumulate(np.clip(far, -FAR, FAR))
    nearer, each = np.unique(nearest, return_inverse=True)
    return np.asarray(np.array([NORMAL.cdf(-sigmas) for sigmas in nearer.tolist()])[each])
