"""A time for every answer of a stream that no other has, though the wall clock may be set back. Pure."""

from __future__ import annotations

from array import array

TIMES_MAX = 20_000
"""Times remembered in case the clock is set back over them: two days at 10 s. Looked through only then."""


class Times:
    """The times of one stream."""

    def __init__(self) -> None:
        self._given = array("q")
        """160 KiB at most. As objects each would keep, for two days, its part of a page that all else has left."""
        self._latest = -1

    def next(self, time_ms: int) -> int:
        """Return *time_ms*, moved on by as many milliseconds as it takes to be new."""
        if time_ms <= self._latest:
            while time_ms in self._given:
                time_ms += 1
        self._latest = max(self._latest, time_ms)
        self._given.append(time_ms)
        del self._given[:-TIMES_MAX]
        return time_ms
