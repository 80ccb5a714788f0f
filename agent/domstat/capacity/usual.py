"""What is usual for somebody: figures of its own past at the same hour of the day (UTC), by quantiles. Pure.

Quantiles, because a past has its own bad days in it: half of these may be anything without moving a median. The same
hour, because being busy every afternoon is no news. Where an hour of the day was seen on fewer than VALUES_MIN days,
the whole past stands for it; where less than that was seen at all, nothing is usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from domstat.capacity.grid import HOUR_MS, FloatArray, Grid, known, quantile

if TYPE_CHECKING:
    import numpy.typing as npt

HOURS = 24

VALUES_MIN = 3
"""Figures that it takes: of two nobody can say which is the odd one."""


def hour_of_day(over: Grid) -> npt.NDArray[np.int64]:
    """Return in which hour of the day (UTC) each step is."""
    hours: npt.NDArray[np.int64] = (over.since_ms + np.arange(over.count, dtype=np.int64) * over.step_ms) // HOUR_MS
    return hours % HOURS


def usual(past: FloatArray, over_past: Grid, over: Grid, share: float = 0.5) -> FloatArray:
    """Return for each step of *over* what the *share* quantile of the past at that hour is; unknown is NaN.

    The past is in hours, *over* in steps of an hour or less.
    """
    figures = known(past)
    everywhere = quantile(figures, share) if len(figures) >= VALUES_MIN else None
    by_hour = _by_hour(past, over_past.since_ms // HOUR_MS % HOURS, share)
    found: FloatArray = np.where(np.isnan(by_hour), np.nan if everywhere is None else everywhere, by_hour)
    return found[hour_of_day(over)]


def _by_hour(past: FloatArray, begins: int, share: float) -> FloatArray:
    """Return a quantile for each hour of the day, of a past whose first hour is *begins*; NaN where that is too few."""
    days = -(-(begins + len(past)) // HOURS)
    if not days:
        return np.full(HOURS, np.nan)
    table = np.full(days * HOURS, np.nan)
    table[begins : begins + len(past)] = past
    table = np.sort(table.reshape(days, HOURS), axis=0)  # NaN comes last
    counts = (~np.isnan(table)).sum(axis=0)
    places = np.clip(np.ceil(share * counts).astype(np.int64) - 1, 0, days - 1)
    figures: FloatArray = table[places, np.arange(HOURS)]
    figures[counts < VALUES_MIN] = np.nan
    return figures


def lasting(flags: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    """Keep what is true for at least so many steps in a row."""
    if steps <= 1 or not len(flags):
        return flags
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    kept = np.zeros(len(flags), dtype=bool)
    for begin, end in zip(begins, ends, strict=True):
        if end - begin >= steps:
            kept[begin:end] = True
    return kept


def times(flags: npt.NDArray[np.bool_]) -> int:
    """Count how many times something is true, however long each time is."""
    return int((np.diff(np.concatenate([[False], flags]).astype(np.int8)) == 1).sum())
