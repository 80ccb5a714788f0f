"""Series projected: which can be, which go together, and what is told of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from sys import float_info
from typing import NamedTuple

import numpy as np

from domstat.capacity.forecasting.rhythm import rhythm_of
from domstat.capacity.forecasting.series import DAY_MS, FloatArray, Projection, Refused, Series
from domstat.capacity.forecasting.together import ORIGINS_MAX, Rows, project_rows

POINTS_MAX = 12_000
"""Older values are left out: 41 days of 5 minutes, 16 months of hours."""
POINTS_MIN = 8
"""With fewer values there is nothing to try a candidate against."""
AHEAD_MAX = 26
"""A projection reaches so many times as far as the history at the most: a year from two weeks, to the day."""
VALUES_AT_ONCE = 1 << 16
"""So many numbers are worked on at once, which a processor's cache holds; more are slower and take more memory."""
SEASON_TIMES = 2.0
"""A season that weighs so many times as much as the simpler ones (none, or the day's) is said to be there."""


class _Known(NamedTuple):
    """The part of a series that is looked at, from and to a known value, and how many steps there are after it."""

    values: FloatArray
    since: int


def project(series: Series, steps: int, level: float = 0.8) -> Projection | Refused:
    """Project a series *steps* ahead, with an interval that holds the truth with the probability *level*."""
    return project_many([series], steps, level)[0]


def project_many(series: Sequence[Series], steps: int, level: float = 0.8) -> list[Projection | Refused]:
    """Project several series, each as :func:`project` does; those of one step and length are worked out together."""
    answers: dict[int, Projection | Refused] = {}
    known = [_known(one.values) for one in series]
    alike: dict[tuple[int, int, int], list[int]] = {}
    for number, (one, part) in enumerate(zip(series, known, strict=True)):
        refused = _refusal(part, one.step_ms, steps)
        if refused is None:
            alike.setdefault((one.step_ms, len(part.values), part.since), []).append(number)
        else:
            answers[number] = refused
    for (step_ms, length, since), numbers in alike.items():
        for some in _portions(numbers, length):
            matrix = np.stack([known[number].values for number in some])
            rows = project_rows(matrix, rhythm_of(step_ms), since + steps, level)
            for row, number in enumerate(some):
                answers[number] = _projection(series[number], rows, row, since, level)
    return [answers[number] for number in range(len(series))]


def _known(values: FloatArray) -> _Known:
    places = np.flatnonzero(np.isfinite(values))
    if not len(places):
        return _Known(values[:0], 0)
    end = int(places[-1]) + 1
    return _Known(values[max(int(places[0]), end - POINTS_MAX) : end], len(values) - end)


def _refusal(part: _Known, step_ms: int, steps: int) -> Refused | None:
    count = int(np.isfinite(part.values).sum())
    if steps < 1:
        return Refused("nothing to project: no steps ahead were asked for")
    if count < POINTS_MIN:
        return Refused(f"not enough history: {count} of {POINTS_MIN} values" if count else "no history")
    least = (part.since + steps) // AHEAD_MAX
    if len(part.values) < least:
        days = step_ms / DAY_MS
        return Refused(f"not enough history: {len(part.values) * days:.3g} of {least * days:.3g} days")
    return None


def _portions(numbers: list[int], length: int) -> Iterator[list[int]]:
    size = max(VALUES_AT_ONCE // (length * (ORIGINS_MAX + 1)), 1)
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _projection(series: Series, rows: Rows, row: int, since: int, level: float) -> Projection:
    """Return one row as a projection, without the steps that are past already."""
    rhythm = rhythm_of(series.step_ms)
    start_ms = series.start_ms + len(series.values) * series.step_ms
    shifts = np.flatnonzero(rows.shifts[row])
    shifts_ms = start_ms - (since + (rows.shifts.shape[1] - shifts) * rhythm.block) * series.step_ms
    a_day = float(rows.slopes[row]) * (DAY_MS / series.step_ms)
    return Projection(
        start_ms=start_ms,
        step_ms=series.step_ms,
        middle=rows.middle[row, since:],
        low=rows.low[row, since:],
        high=rows.high[row, since:],
        level=level,
        method=f"mixture by errors at {rows.origins} earlier origins",
        season=tuple(_seasons(rhythm.seasons, rows.seasons[row].tolist())),
        shifts_ms=tuple(shifts_ms.tolist()),
        slope_per_day=min(max(a_day, -float_info.max), float_info.max),
    )


def _seasons(names: Sequence[str], weights: Sequence[float]) -> Iterator[str]:
    """Give the names of the seasons that are there; the first weight is that of none."""
    for number, (name, weight) in enumerate(zip(names, weights[1:], strict=False), 1):
        if weight > SEASON_TIMES * max(weights[:number]):
            yield name
