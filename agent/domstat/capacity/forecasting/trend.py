"""Growth: a robust slope of block levels, and how far it may be off.

The slope over one lag is the median of the differences of all blocks that far apart (Theil's incomplete method); the
slope over all lags is their mean, weighted by the lag and by how many pairs there are, because long lags see growth
best. Lags are whole weeks where blocks are days, so that weekends are no growth.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from domstat.capacity.forecasting.robust import MAD_TO_SIGMA, median
from domstat.capacity.forecasting.series import FloatArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAGS = 4
"""Lags looked at; more of them change the slope by less than it is known."""
PAIRS_MIN = 3
"""With fewer pairs of a lag their median is one of them."""
BLOCKS_MIN = 6
"""With fewer blocks there is no trend to be seen."""
CORRELATION_MAX = 0.9
"""Blocks more alike than this to the next are taken for that much alike: beyond it nothing could be said."""


def slope_of(blocks: FloatArray, week: int) -> FloatArray:
    """Return the slope of each row a block, NaN where there is too little to tell. *week* is in blocks, or 0."""
    count = blocks.shape[1]
    if count < BLOCKS_MIN:
        return np.full(len(blocks), np.nan)
    lags = _lags(count, week)
    before = np.arange(count) - lags[:, None]
    differences = blocks[:, None, :] - np.where(before >= 0, blocks[:, before], np.nan)  # rows x lags x blocks
    pairs = np.isfinite(differences).sum(axis=2)
    weights = np.where(pairs >= PAIRS_MIN, lags * np.sqrt(pairs), 0.0)
    rises = np.where(weights > 0, median(differences) / lags, 0.0)
    total = weights.sum(axis=1)
    return np.where(total > 0, (rises * weights).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan)


def error_of(blocks: FloatArray, slope: FloatArray) -> FloatArray:
    """Return the standard error of each row's slope, a block.

    That of a straight line through n blocks with noise s is s * sqrt(12 / n**3); noise that carries on from block to
    block counts as fewer of them, by (1 - r) / (1 + r).
    """
    rest = blocks - slope[:, None] * np.arange(blocks.shape[1])
    rest = rest - median(rest)[:, None]
    known = np.maximum(np.isfinite(rest).sum(axis=1), 2)
    noise = MAD_TO_SIGMA * np.fmax(median(np.abs(rest)), 0.0)
    if blocks.shape[1] < 2:
        return noise
    change = MAD_TO_SIGMA * np.fmax(median(np.abs(np.diff(rest, axis=1))), 0.0)
    share = np.minimum(change, 2 * noise) / np.where(noise > 0, noise, 1.0)
    alike = np.clip(1 - share**2 / 2, 0.0, CORRELATION_MAX)
    return np.asarray(noise * np.sqrt(12 / known**3 * (1 + alike) / (1 - alike)))


@lru_cache(maxsize=64)
def _lags(count: int, week: int) -> NDArray[np.int64]:
    unit = week if week and count >= 3 * week else 1
    longest = max(count * 2 // 3 // unit, 1)
    return unit * np.array(
        sorted(set(np.geomspace(max(longest / 8, 1), longest, LAGS).round().astype(np.int64).tolist()))
    )
