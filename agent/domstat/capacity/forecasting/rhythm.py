"""What days and weeks are, counted in steps of a series."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from domstat.capacity.forecasting.series import DAY_MS, WEEK_MS

DAYS_OF_WINDOWS = (0.125, 1, 3, 7)
"""Over how many days a level is taken, besides the last value alone."""
STEPS_OF_WINDOWS = (3, 7, 14, 28)
"""The same in steps, for series of a value a day or rarer."""


class Rhythm(Struct, frozen=True):
    """How many steps a day, a week and a block have, 0 where a day or a week is no pattern of steps.

    A *block* is what trend and shifts are looked at in: a day, or a step where steps are longer. *windows* are the
    lengths, in steps, over which the present level may be taken.
    """

    day: int
    week: int
    block: int
    windows: tuple[int, ...]

    @property
    def seasons(self) -> tuple[str, ...]:
        """The names of what is a pattern of steps."""
        return tuple(name for name, period in (("day", self.day), ("week", self.week)) if period)

    @property
    def week_blocks(self) -> int:
        """How many blocks a week has, 0 where it is no whole number."""
        return self.week // self.block


@lru_cache(maxsize=16)
def rhythm_of(step_ms: int) -> Rhythm:
    """Return the rhythm of a series with that step."""
    day = DAY_MS // step_ms if DAY_MS % step_ms == 0 and step_ms < DAY_MS else 0
    week = WEEK_MS // step_ms if WEEK_MS % step_ms == 0 and step_ms < WEEK_MS and (day or step_ms >= DAY_MS) else 0
    windows = {round(days * day) for days in DAYS_OF_WINDOWS} if day else set(STEPS_OF_WINDOWS)
    return Rhythm(day, week, day or 1, (1, *sorted(windows - {0, 1})))
