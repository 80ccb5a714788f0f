"""A horizon in bands: near ahead step by step, far ahead coarsely."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domstat.capacity.forecasting.series import FloatArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDS_MAX = 8
"""Bands of a horizon: enough for a last value to fade into a season, few enough for each to see many errors."""
TRIED_IN_A_BAND = 12
"""Steps of a band at which candidates are tried: neighbours say much the same."""


class Bands(NamedTuple):
    """Bands of a horizon.

    *steps* are those that are tried, *starts* where each band begins in them, *centres* the mean step of each band.
    *around* has the places in *steps* of each band and of its neighbours, bands x places; -1 where there are fewer.
    """

    steps: NDArray[np.int64]
    starts: NDArray[np.int64]
    centres: FloatArray
    around: NDArray[np.int64]


@lru_cache(maxsize=64)
def bands_of(horizon: int) -> Bands:
    """Divide a horizon into bands that grow with the distance."""
    edges = _whole(np.geomspace(1, horizon + 1, BANDS_MAX + 1))
    tried = [
        np.array(_whole(np.linspace(first, last - 1, min(TRIED_IN_A_BAND, last - first))))
        for first, last in pairwise(edges)
    ]
    starts = np.cumsum([0, *(len(some) for some in tried[:-1])])
    around = np.full((len(tried), 3 * TRIED_IN_A_BAND), -1)
    for band, row in enumerate(around):
        first, last = max(band - 1, 0), min(band + 1, len(tried) - 1)
        places = np.arange(starts[first], starts[last] + len(tried[last]))
        row[: len(places)] = places
    return Bands(np.concatenate(tried), starts, np.array([float(some.mean()) for some in tried]), around)


def _whole(steps: FloatArray) -> list[int]:
    """Round steps to whole ones, each of them once."""
    # np.unique would import numpy.ma, which takes 10 ms.
    return sorted(set(steps.round().astype(int).tolist()))


def shares_of(bands: Bands, steps: NDArray[np.int64]) -> FloatArray:
    """Return how much each band has to say at each step, bands x steps: the two around it share, by log distance."""
    places = np.interp(np.log(steps), np.log(bands.centres), np.arange(len(bands.centres)))
    return np.asarray(np.maximum(1 - np.abs(places - np.arange(len(bands.centres))[:, None]), 0.0))
