"""What this sink knows it has sent: which samples that a store calls late are there all the same. Pure.

A request that is sent again finds its samples as the newest of their series as a rule, and they are taken once more.
Where others were sent after them (an agent was killed in the middle of a backlog) they are refused as late. Such a
sample counts as stored where it is known to be, or where nothing else can have made it late:

* nothing newer of its stream has been stored since the sink was opened (else the clock was set back, or somebody else
  writes the same series), and
* it was collected before the sink was opened: an agent before this one may have sent it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from domstat_sinks.prometheus.subjects import StreamName

STREAMS_MAX = 4_096
"""Streams remembered, one or two a host; beyond it all are forgotten once."""

TICKS_MAX = 64
"""Ticks of a stream remembered as stored: several times what an agent hands over at once."""

Tick: TypeAlias = tuple[StreamName, int]
"""A stream's name and the time of one of its calls, in milliseconds since 1970."""


class Sent:
    """See the module's text."""

    def __init__(self, opened_ms: int) -> None:
        """Begin with nothing; *opened_ms* is when the sink was opened."""
        self._opened_ms = opened_ms
        self._stored: dict[StreamName, dict[int, None]] = {}
        """By stream, the times of the last ticks that were stored, in the order of storing."""

    def stored(self, ticks: Iterable[Tick]) -> None:
        """Take note that these are stored."""
        for stream, time_ms in ticks:
            if len(self._stored) >= STREAMS_MAX and stream not in self._stored:
                self._stored.clear()
            times = self._stored.setdefault(stream, {})
            times[time_ms] = None
            if len(times) > TICKS_MAX:
                del times[next(iter(times))]

    def has(self, tick: Tick) -> bool:
        """Whether a sample of *tick* that is called late is there."""
        stream, time_ms = tick
        times = self._stored.get(stream, {})
        if time_ms in times:
            return True
        return time_ms < self._opened_ms and not (times and time_ms < max(times))
