"""Level shifts: where a series goes on at another level, at a stroke.

At each border between two blocks the median of the blocks after it is held against the median of those before it.
Growth makes all these differences alike, so what counts is how far one stands from their median; noise and random
walks spread them, so it is counted in their own spread. A shift is taken out by raising what came before it, which
leaves the slope on either side as it was: a step does not tilt the trend.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from domstat.capacity.forecasting.robust import MAD_TO_SIGMA, median
from domstat.capacity.forecasting.series import FloatArray

REACH, REACH_SHORT = 7, 3
"""Blocks on either side of a border: a week of days, so that weekends are in both; else the shorter one."""
BORDERS_MIN = 2
"""A shift is seen at about *reach* borders; there must be more than so many times as many, for the others to be the
most and to say what is usual."""
SIGMAS = 6.0
"""How many standard deviations, of the differences and of the blocks about their median, make a shift: with fewer a
random walk or a weekend is taken for one."""
LASTING = 0.5
"""The share of a shift by which all before and all after it are apart, at the least."""
SHIFTS_MAX = 4
"""More in one series are its way of growing, not accidents, and stay in it."""


def shifts_of(blocks: FloatArray) -> FloatArray:
    """Return what happens at the border before each block of each row: the size of a shift, 0 almost everywhere."""
    count = blocks.shape[1]
    sizes = np.zeros_like(blocks)
    reach = next((reach for reach in (REACH, REACH_SHORT) if count > (2 + BORDERS_MIN) * reach), 0)
    if reach:
        found = _borders(blocks, reach)
        few = (found != 0).sum(axis=1, keepdims=True) <= SHIFTS_MAX
        sizes[:, reach : count - reach + 1] = np.where(few, found, 0.0)
    return sizes


def lifts_of(sizes: FloatArray) -> FloatArray:
    """Return by how much each block is to be raised to be comparable to the last: all shifts that come after it."""
    return np.asarray(sizes.sum(axis=1, keepdims=True) - np.cumsum(sizes, axis=1))


def _borders(blocks: FloatArray, reach: int) -> FloatArray:
    """Return the size of the shift at each border that has *reach* blocks on both sides, 0 where there is none."""
    runs = sliding_window_view(blocks, reach, axis=1)
    levels = median(runs)
    differences = levels[:, reach:] - levels[:, :-reach]
    excess = differences - median(differences)[:, None]
    excess = np.where(np.isfinite(excess), excess, 0.0)
    height = np.abs(excess)
    middle = blocks[:, reach // 2 : reach // 2 + levels.shape[1]]
    spread = np.fmax(median(height), median(np.abs(middle - levels)))
    tall = height > SIGMAS * MAD_TO_SIGMA * np.fmax(spread, 0.0)[:, None]
    if not tall.any():
        return np.zeros_like(excess)
    # A median does not say where in its run a step is; the border that leaves least on either side does.
    left = np.nansum(np.abs(runs - levels[:, :, None]), axis=2)
    score = np.where(tall, reach * height - left[:, reach:] - left[:, :-reach], -np.inf)
    beyond = np.full((len(score), reach), -np.inf)
    around = sliding_window_view(np.concatenate([beyond, score, beyond], axis=1), reach, axis=1)
    best = (score > around[:, : -reach - 1].max(axis=2)) & (score >= around[:, reach + 1 :].max(axis=2))
    found = np.where(best, excess, 0.0)
    if reach < REACH:
        for row, place in np.argwhere(best).tolist():
            found[row, place] *= _lasts(blocks[row], place + reach, float(found[row, place]))
    return found


def _lasts(blocks: FloatArray, border: int, size: float) -> bool:
    """Tell whether most of what is before and after a border is as far apart: of two weeks, a weekend is not."""
    before, after = (float(median(side)) for side in (blocks[:border], blocks[border:]))
    return (after - before if size > 0 else before - after) > LASTING * abs(size)
