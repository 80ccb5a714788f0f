"""What a series is made of, as seen from its end: levels, slopes and seasons.

All is worked out for many rows at once. A row is the history of one series up to one of its origins, with NaN before
its beginning, so that the ends of all rows stand in one column. A *season* is what recurs every day or every week:
medians by the place in the day or week. The first season of all is none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from domstat.capacity.forecasting.rhythm import Rhythm
from domstat.capacity.forecasting.robust import mean, median
from domstat.capacity.forecasting.series import FloatArray
from domstat.capacity.forecasting.trend import error_of, slope_of

PERIODS_MIN = 2
"""Whole days, or weeks, of history below which there is no such season (as Prophet and statsmodels have it)."""
DAYS_MAX, WEEKS_MAX = 14, 8
"""Periods a season is taken from: habits change, and older ones tell no more."""
PERIODS_NOW = 3
"""The size of a season is that of the median of so many last periods: patterns grow and shrink with the load."""
GONE = 0.25
"""A pattern that in the last period has less than this share of its size is over: a backup that was switched off."""
RECENT = 2
"""The recent slope is that of the last one in so many parts of the history."""
DOUBT_GROWTH, DOUBT_CHANGE = 1.0, 4.0
"""That there is growth is half believed when it is one standard error; that it has changed, when that is two."""


class Parts(NamedTuple):
    """What rows are made of.

    *levels* is rows x seasons x windows: the level now, by what is taken for the season and over how long it is taken.
    *slopes* is rows x slopes, a step: none, of the whole history, of the recent history; *errors* are their standard
    errors. *seasons* has one array a season, rows x its period, which begins at the end of the row.
    """

    levels: FloatArray
    slopes: FloatArray
    errors: FloatArray
    seasons: tuple[FloatArray, ...]


def parts_of(rows: FloatArray, rhythm: Rhythm) -> Parts:
    """Take rows apart."""
    blocks = blocks_of(rows, rhythm.block)
    seasons = _seasons(rows, rhythm)
    levels = np.stack([_levels(rows, season, rhythm.windows) for season in seasons], axis=1)
    slopes, errors = _slopes(blocks, rhythm)
    return Parts(levels, slopes, errors, seasons)


def _slopes(blocks: FloatArray, rhythm: Rhythm) -> tuple[FloatArray, FloatArray]:
    """Return no slope, that of all blocks and that of the recent ones, and their standard errors, a step.

    What a slope says beyond the one before it is believed as far as it stands out of its own error e: by the factor
    d**2 / (d**2 + doubt * e**2), for the difference d (shrinkage, as James and Stein have it).
    """
    slopes, errors = [np.zeros(len(blocks))], [np.zeros(len(blocks))]
    recent = blocks[:, -max(blocks.shape[1] // RECENT, 1) :]
    for some, doubt in ((blocks, DOUBT_GROWTH), (recent, DOUBT_CHANGE)):
        found = slope_of(some, rhythm.week_blocks)
        slope = np.where(np.isfinite(found), found, 0.0)
        error = error_of(some, slope) / rhythm.block
        change = np.where(np.isfinite(found), slope / rhythm.block - slopes[-1], 0.0)
        all_of_it = change**2 + doubt * error**2
        slopes.append(slopes[-1] + change**3 / np.where(all_of_it > 0, all_of_it, 1.0))
        errors.append(error)
    return np.stack(slopes, axis=1), np.stack(errors, axis=1)


def blocks_of(rows: FloatArray, block: int) -> FloatArray:
    """Return the level of each whole block of each row, the last block ending with the row."""
    count = rows.shape[1] // block
    if block == 1 or not count:
        return rows if count else median(rows)[:, None]
    return median(rows[:, rows.shape[1] - count * block :].reshape(len(rows), count, block))


def _seasons(rows: FloatArray, rhythm: Rhythm) -> tuple[FloatArray, ...]:
    """Return no season, that of the day and that of the week, as far as these are patterns and there is history."""
    seasons = [np.zeros((len(rows), 1))]
    for period, most in ((rhythm.day, DAYS_MAX), (rhythm.week, WEEKS_MAX)):
        count = min((rows.shape[1] - 1) // period, most) if period else 0
        if count >= PERIODS_MIN:
            profile = _profile(rows[:, rows.shape[1] - count * period :].reshape(len(rows), count, period))
            simpler = np.tile(seasons[-1], (1, period // seasons[-1].shape[1]))
            seasons.append(np.where(np.isfinite(profile), profile, simpler))
    return tuple(seasons)


def _profile(periods: FloatArray) -> FloatArray:
    """Return what recurs at each place of the period, rows x places; NaN where too few periods are known.

    Each period is counted from its own median and in its own size, so that a pattern keeps its shape when it grows.
    """
    rest = periods - median(periods)[:, :, None]
    sizes = mean(np.abs(rest))
    shapes = rest / np.where(sizes > 0, sizes, 1.0)[:, :, None]
    known = np.isfinite(shapes).sum(axis=1)
    shape = median(shapes, axis=1)
    if (known == 2).any():
        # Two values have no majority: what recurs is what both have of the same sign.
        both = np.clip(0.0, np.fmin.reduce(shapes, axis=1), np.fmax.reduce(shapes, axis=1))
        shape = np.where(known == 2, both, shape)
    usual = np.fmax(median(sizes[:, -PERIODS_NOW:]), 0.0)
    size = np.where(sizes[:, -1] < GONE * usual, sizes[:, -1], usual)
    return np.where(known >= PERIODS_MIN, shape * size[:, None], np.nan)


def _levels(rows: FloatArray, season: FloatArray, windows: tuple[int, ...]) -> FloatArray:
    """Return the level of each row over each window; where a window holds nothing, that over the next longer one."""
    length = min(windows[-1], rows.shape[1])
    rest = rows[:, rows.shape[1] - length :] - season[:, np.arange(-length, 0) % season.shape[1]]
    found = [rest[:, -1] if window == 1 else median(rest[:, -window:]) for window in windows]
    if not np.isfinite(found[-1]).all():
        found[-1] = np.where(np.isfinite(found[-1]), found[-1], median(rows))
    for place in range(len(windows) - 2, -1, -1):
        found[place] = np.where(np.isfinite(found[place]), found[place], found[place + 1])
    return np.stack(found, axis=1)
