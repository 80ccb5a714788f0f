"""How old rows of the journal are, whatever becomes of the wall clock. Pure.

A clock that is set forward by a month must not make everything that waits for a sink a month old. So rows of this run
of the agent are as old as the boot-time clock says; of earlier ones the wall clock is believed once, at the start.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TypeAlias

MARK_EVERY_S = 10.0
"""How exactly ages are known; a week's backlog has sixty thousand marks then, some 4 MiB."""

Seconds: TypeAlias = float


class Ages:
    """Remembers when rows came. Times in seconds of the boot-time clock, wall times in milliseconds since 1970."""

    def __init__(self, first: int, started_s: Seconds, started_wall_ms: int) -> None:
        """*first* is the first number that this run will give."""
        self._first = first
        self._started_s = started_s
        self._started_wall_ms = started_wall_ms
        self._times: list[Seconds] = []
        self._numbers: list[int] = []

    def note(self, number: int, now_s: Seconds) -> None:
        """Note that the row *number* came."""
        if not self._times or now_s - self._times[-1] >= MARK_EVERY_S:
            self._times.append(now_s)
            self._numbers.append(number)

    def forget(self, up_to: int) -> None:
        """Forget the rows up to a number."""
        gone = bisect_right(self._numbers, up_to) - 1
        if gone > 0:
            del self._times[:gone], self._numbers[:gone]

    def age_s(self, number: int, time_ms: int, now_s: Seconds) -> Seconds:
        """Return how old a row is, at the least; *time_ms* is its own wall time."""
        if number < self._first:
            return (self._started_wall_ms - time_ms) / 1000 + now_s - self._started_s
        at = bisect_right(self._numbers, number)
        return now_s - (self._times[at] if at < len(self._times) else now_s)
