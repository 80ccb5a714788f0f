"""Compressed hours: batches of real guests, collected within minutes, as if it had taken hours.

Everything takes *factor* times as long, and nothing else changes. Both clocks are stretched from where they stood at
the beginning, and so are calls and whatever else is a moment or a span. What counters count is multiplied by the same
factor, so that every rate, share and latency is what it was; a fall stays a fall, as a guest's counters are multiplied
from 0 on. Gauges, states and texts stay as they are, but for the time at which a balloon driver last spoke, which is a
moment too. The host's and the agent's own counters, which may be years old, begin with 0.

What this cannot give: a tick's increments are those of the short interval, in fewer distinct values than ten seconds
would bring, and what is rare in a guest's day is as rare as in the minutes that were recorded.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from domstat.catalog import FieldKind, look_up
from domstat.model import Batch, Figures, Gap, Kind, Record, Stamp, Value, split_key

_SPOKE = "balloon.last-update"
"""A moment in seconds since 1970, or 0."""


class Stretch:
    """Stretches the batches of one recording, in the order in which they were collected."""

    def __init__(self, factor: int, recorded_ms: int, begin_ms: int) -> None:
        """*recorded_ms* is when the recording began, *begin_ms* when it is to begin, in milliseconds since 1970."""
        self._factor = factor
        self._recorded_ms = recorded_ms
        self._begin_ms = begin_ms
        self._boots: dict[str, int] = {}
        """Where each boot's clock stood at first."""
        self._counted: dict[tuple[str, str, str, str], Value] = {}
        """Where the counters stood at first that are not a guest's."""

    def time_ms(self, time_ms: int) -> int:
        """Return when something is that was recorded at a time."""
        return self._begin_ms + (time_ms - self._recorded_ms) * self._factor

    def batch(self, batch: Batch) -> Batch:
        """Return a batch as it is to be stored; what is worked out of samples (rates and the like) is left out."""
        stamp, factor = batch.stamp, self._factor
        boot_ns = stamp.boot_ns
        if stamp.boot_id:
            since_ns = self._boots.setdefault(stamp.boot_id, boot_ns)
            boot_ns = since_ns + (boot_ns - since_ns) * factor
        stretched = Stamp(self.time_ms(stamp.time_ms), boot_ns, stamp.boot_id, stamp.call_ns * factor)
        return replace(batch, stamp=stretched, records=tuple([self._record(record) for record in batch.records]))

    def _record(self, record: Record) -> Record:
        gap = record.gap and Gap(self.time_ms(record.gap.start), self.time_ms(record.gap.end), record.gap.reason)
        params = {key: self._value(record, key, value) for key, value in record.params.items()}
        time_ms = self.time_ms(record.time_ms)
        return replace(record, time_ms=time_ms, interval_s=None, gap=gap, figures=Figures(params))

    def _value(self, record: Record, key: str, value: Value) -> Value:
        field = _field_of(key)
        if field == _SPOKE and isinstance(value, int) and value:
            return self.time_ms(value * 1000) // 1000
        if isinstance(value, str) or look_up(field).kind is not FieldKind.COUNTER:
            return value
        if record.kind is Kind.GUEST:
            return value * self._factor
        since = self._counted.setdefault((record.kind, record.collect, record.subject, key), value)
        assert not isinstance(since, str)
        return (value - since) * self._factor


@lru_cache(maxsize=4096)
def _field_of(key: str) -> str:
    return split_key(key)[0]
