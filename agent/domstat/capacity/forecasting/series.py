"""What is projected, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

FloatArray: TypeAlias = "NDArray[np.float64]"

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS


class Series(Struct, frozen=True):
    """Values one step apart; a hole is NaN. *start_ms* is the time of the first, in ms since 1970."""

    start_ms: int
    step_ms: int
    values: FloatArray


class Refused(Struct, frozen=True):
    """There is no projection, and *reason* is a sentence that says why."""

    reason: str


class Projection(Struct, frozen=True):
    """What is to be expected from *start_ms* on, a value each *step_ms*.

    The truth is below *low* and above *high* about equally often, and between them with the probability *level*.
    *middle* is the median: as often too high as too low. *season* names the patterns that recur in it (``day``,
    ``week``), *shifts_ms* are the times at which the past changed its level at a stroke, which is no growth;
    *slope_per_day* is the growth at the far end, in the series' own unit a day. *method* says how it was come by.
    """

    start_ms: int
    step_ms: int
    middle: FloatArray
    low: FloatArray
    high: FloatArray
    level: float
    method: str
    season: tuple[str, ...]
    shifts_ms: tuple[int, ...]
    slope_per_day: float
