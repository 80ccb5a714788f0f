"""Courses: what a quantity does over a year, as people would tell it. Pure.

A course has a level and a slope, the shape of a day and of a week, times at which it changes for good or for a while,
and noise. What is expected of it is known exactly, so whoever is to find it out again can be told whether it did.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from msgspec import Struct

Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
EVER_MS = 1 << 61
"""Later than any time of a scenario."""

_THURSDAY = 3
"""1970-01-01 was one, Mondays being 0."""
_SATURDAY = 5
_DRIFT_MS = DAY_MS // 2
"""From one knot of a drift to the next."""


class Change(Struct, frozen=True):
    """From one time on and before another *add* is added, after all has been taken *times*."""

    from_ms: int
    until_ms: int = EVER_MS
    add: float = 0.0
    times: float = 1.0


class Course(Struct, frozen=True, kw_only=True):
    """One quantity over time; never below 0.

    *level* is what it is at a scenario's beginning, and *growth* is added every day. Of a day it goes by
    ``exp(swing)`` either way, most at *peak_h* (UTC); *weekend* is what is left of it on Saturdays and Sundays.
    Outside *hours* (of the day, UTC) only the part *rest* is left. *noise* is how far one step differs from the next,
    *drift* how far one day does from another, both relatively.
    """

    level: float = 0.0
    growth: float = 0.0
    swing: float = 0.0
    peak_h: float = 14.0
    weekend: float = 1.0
    hours: tuple[float, float] | None = None
    rest: float = 0.0
    noise: float = 0.0
    drift: float = 0.0
    changes: tuple[Change, ...] = ()

    def trend(self, times_ms: Ints, begin_ms: int) -> Floats:
        """Return level and slope alone."""
        trend: Floats = self.level + self.growth * (times_ms - begin_ms) / DAY_MS
        return trend

    def expected(self, times_ms: Ints, begin_ms: int) -> Floats:
        """Return what is expected, without noise, of a scenario that begins at *begin_ms*."""
        values = self.trend(times_ms, begin_ms) * self._rhythm(times_ms)
        for change in self.changes:
            inside = (times_ms >= change.from_ms) & (times_ms < change.until_ms)
            if inside.any():
                values = np.where(inside, values * change.times + change.add, values)
        return np.maximum(values, 0.0)

    def values(self, times_ms: Ints, begin_ms: int, whose: str, seed: int) -> Floats:
        """Return what happens: the same every time for the same *whose*, *seed* and first of *times_ms*."""
        values = self.expected(times_ms, begin_ms)
        if self.drift and len(times_ms):
            values = values * np.maximum(1 + self.drift * _drift(times_ms, whose, seed), 0.0)
        if self.noise and len(times_ms):
            rng = _generator(whose, seed, int(times_ms[0]) // HOUR_MS)
            values = values * np.maximum(1 + self.noise * rng.standard_normal(len(times_ms), dtype=np.float32), 0.0)
        return values

    def _rhythm(self, times_ms: Ints) -> Floats:
        """Return the factor that day and week make."""
        factor: Floats = np.ones(len(times_ms))
        of_day = times_ms % DAY_MS / HOUR_MS
        if self.swing:
            factor *= np.exp(self.swing * np.cos((of_day - self.peak_h) * (2 * np.pi / 24)))
        if self.hours is not None:
            begin, end = self.hours
            factor *= np.where((of_day >= begin) & (of_day < end), 1.0, self.rest)
        if self.weekend != 1.0:
            factor *= np.where((times_ms // DAY_MS + _THURSDAY) % 7 >= _SATURDAY, self.weekend, 1.0)
        return factor


NOTHING = Course()


def _generator(whose: str, seed: int, window: int) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(whose.encode()), window])


def _drift(times_ms: Ints, whose: str, seed: int) -> Floats:
    """Return what wanders from one half of a day to the next: straight lines between knots, each drawn by itself.

    Times are in their order. A knot is the same in whatever window it is asked for.
    """
    first, last = int(times_ms[0]) // _DRIFT_MS, int(times_ms[-1]) // _DRIFT_MS + 1
    per_block = 64
    blocks = range(first // per_block, last // per_block + 1)
    drawn = [_generator(whose, seed, -block - 1 + (1 << 40)).standard_normal(per_block) for block in blocks]
    knots = np.concatenate(drawn)[first - blocks[0] * per_block : last - blocks[0] * per_block + 1]
    return np.interp(times_ms / _DRIFT_MS, np.arange(first, last + 1), knots)
