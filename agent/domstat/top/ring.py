"""The last hour of one guest, in a bounded ring: means over half a minute. Pure.

A ring has a bin for every half minute of an hour and forgets what is older; its size never changes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TypeAlias

BIN_MS = 30_000
"""Half a minute: an hour is as many bins as a wide screen has columns for a sparkline."""

BINS = 120

_COUNT_MAX = 65_000
"""Values that a bin counts: beyond, its mean is as good as it gets, and the counter has 16 bits."""

Values: TypeAlias = Sequence[float | None]
"""A value for each of a ring's metrics; None where it is not known."""


class Ring:
    """Means of some metrics over the last hour: 6 bytes a bin and metric, 6 KB a guest."""

    __slots__ = ("_counts", "_means", "_newest")

    def __init__(self, metrics: int) -> None:
        self._means = [array("f", bytes(4 * BINS)) for _ in range(metrics)]
        self._counts = [array("H", bytes(2 * BINS)) for _ in range(metrics)]
        self._newest: int | None = None
        """The newest bin, counted since 1970."""

    def put(self, time_ms: int, values: Values) -> None:
        """Take what was read at a time; what is older than the hour is passed over, unless a clock was set back."""
        number = time_ms // BIN_MS
        self._turn_to(number)
        place = number % BINS
        for means, counts, value in zip(self._means, self._counts, values, strict=True):
            if value is not None and counts[place] < _COUNT_MAX:
                counts[place] += 1
                means[place] += (value - means[place]) / counts[place]

    def fill(self, past: Sequence[tuple[int, Values]]) -> None:
        """Take from elsewhere what bins of the hour have nothing of: times in milliseconds, and values then."""
        if self._newest is None and past:
            self._turn_to(past[-1][0] // BIN_MS)
        for time_ms, values in past:
            number = time_ms // BIN_MS
            if self._newest is None or not self._newest - BINS < number <= self._newest:
                continue
            place = number % BINS
            for means, counts, value in zip(self._means, self._counts, values, strict=True):
                if value is not None and not counts[place]:
                    means[place], counts[place] = value, 1

    def hour(self, metric: int, until_ms: int) -> list[float | None]:
        """Return the means of the hour that ends with the bin of a time, oldest first; None where nothing is known."""
        last = until_ms // BIN_MS
        newest = self._newest
        if newest is None:
            return [None] * BINS
        means, counts = self._means[metric], self._counts[metric]
        return [
            means[number % BINS] if newest - BINS < number <= newest and counts[number % BINS] else None
            for number in range(last - BINS + 1, last + 1)
        ]

    def _turn_to(self, number: int) -> None:
        """Make *number* a bin of the ring: those that it passes are empty."""
        newest = self._newest
        if newest is not None and newest - BINS < number <= newest:
            return
        first = number - BINS + 1 if newest is None or number < newest else max(newest + 1, number - BINS + 1)
        for emptied in range(first, number + 1):
            for means, counts in zip(self._means, self._counts, strict=True):
                means[emptied % BINS] = counts[emptied % BINS] = 0
        self._newest = number
