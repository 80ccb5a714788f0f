"""How well a series' own past would have been projected: a rolling origin.

From each of some origins, spread over the later part of the series, only what lies before it is projected and what
came after is compared. MASE is relative: the mean absolute error over that of saying the last value, and over that of
saying what was a season (a week, else a day) earlier; below 1 is better than these.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from domstat.capacity.forecasting.projecting import project_many
from domstat.capacity.forecasting.rhythm import rhythm_of
from domstat.capacity.forecasting.series import FloatArray, Refused, Series

LEARNT = 3
"""Origins are in the later part of so many of the series."""


class Backtest(Struct, frozen=True):
    """What a backtest found.

    *mase_last* and *mase_seasonal* are the mean absolute error relative to that of the last value and that of the
    value a season earlier. *inside* is the share of the truths within the interval, of *count* truths at *origins*
    origins.
    """

    mase_last: float
    mase_seasonal: float
    inside: float
    count: int
    origins: int


def backtest(series: Series, horizon_steps: int, origins: int, level: float = 0.8) -> Backtest | Refused:
    """Project from *origins* earlier points of a series, *horizon_steps* ahead each."""
    values = np.where(np.isfinite(series.values), series.values, np.nan)
    last = len(values) - horizon_steps
    first = max(len(values) // LEARNT, 1)
    if last < 1 or origins < 1:
        return Refused(f"not enough history: {len(values)} of {horizon_steps + 1} steps")
    places = sorted({int(place) for place in np.linspace(last, min(first, last), origins)})
    period = _period(series, places[0])
    ours, of_last, of_season, inside, count, done = 0.0, 0.0, 0.0, 0, 0, 0
    for place in places:
        past = Series(series.start_ms, series.step_ms, values[:place])
        said = project_many([past], horizon_steps, level)[0]
        if isinstance(said, Refused):
            continue
        truth = values[place : place + horizon_steps]
        known = np.isfinite(truth)
        if not known.any():
            continue
        filled = _filled(values[:place])
        seasonal = np.resize(filled[-period:], horizon_steps)
        ours += float(np.abs(truth - said.middle)[known].sum())
        of_last += float(np.abs(truth - filled[-1])[known].sum())
        of_season += float(np.abs(truth - seasonal)[known].sum())
        inside += int(((truth >= said.low) & (truth <= said.high))[known].sum())
        count += int(known.sum())
        done += 1
    if not done:
        return Refused("not enough history before any origin")
    return Backtest(_ratio(ours, of_last), _ratio(ours, of_season), inside / count, count, done)


def _period(series: Series, length: int) -> int:
    rhythm = rhythm_of(series.step_ms)
    for period in (rhythm.week, rhythm.day):
        if period and length >= 2 * period:
            return period
    return 1


def _filled(values: FloatArray) -> FloatArray:
    """Carry the last known value over holes."""
    places = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), 0))
    return np.asarray(values[places])


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs > 0 else 1.0 if ours == 0 else float("inf")
