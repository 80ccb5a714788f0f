"""What a live screen shows: of every stream its newest tick, and for a while what has happened. Pure.

A large host's tick comes in several batches, each with other guests. Until the tick is whole, those of its guests that
have not come yet are shown as they were in the tick before; so nobody flickers, and who has gone is away a tick later.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct
from msgspec.structs import replace

from domstat.model import Batch, Kind, Record
from domstat_sinks.lines import is_account, is_occurrence

SHOWN_FOR_S = 60.0
"""How long an event or a gap stays on the screen."""

OCCURRENCES_MAX = 100
"""Events and gaps remembered; a screen has room for a few."""

PARTS_MAX = 1_024
"""Batches of one tick: as many as the largest host is asked in, 16 of 16,384 guests at a time."""


class _Occurrence(Struct):
    """An event or a gap, and when it came, in seconds of the clock that :class:`Latest` is told."""

    record: Record
    at_s: float


class Latest:
    """Takes batches in, gives what is to be shown."""

    def __init__(self) -> None:
        self._ticks: dict[tuple[str, str], _Tick] = {}
        self._occurrences: deque[_Occurrence] = deque(maxlen=OCCURRENCES_MAX)

    def add(self, batch: Batch, now_s: float) -> None:
        """Take one batch, which came at *now_s* of any clock that is never set back."""
        if is_account(batch):
            return
        records = [record for record in batch.records if not is_occurrence(record)]
        for record in batch.records:
            if is_occurrence(record):
                self._add_occurrence(record, now_s)
        if records or not batch.records:
            self._ticks.setdefault(batch.stream, _Tick()).add(batch, records)

    def batches(self) -> list[Batch]:
        """Return the newest tick of every stream, each as one batch."""
        return [tick.whole() for tick in self._ticks.values()]

    def occurrences(self, now_s: float) -> list[Record]:
        """Return the events and gaps of the last minute, the newest last."""
        while self._occurrences and now_s - self._occurrences[0].at_s >= SHOWN_FOR_S:
            self._occurrences.popleft()
        return [occurrence.record for occurrence in self._occurrences]

    def _add_occurrence(self, record: Record, now_s: float) -> None:
        """Take an event or a gap; a gap that goes on from tick to tick is one."""
        for before in list(self._occurrences):
            longer = _joined(before.record, record)
            if longer is not None:
                self._occurrences.remove(before)
                record = longer
        self._occurrences.append(_Occurrence(record, now_s))


class _Tick:
    """A stream's tick in the making, over the one before if that came in parts."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._records: dict[tuple[Kind, str], Record] = {}
        self._before: dict[tuple[Kind, str], Record] = {}

    def add(self, batch: Batch, records: list[Record]) -> None:
        """Add a batch of *records*; it belongs to the next tick if somebody in it has been here already."""
        subjects = {(record.kind, record.subject): record for record in records}
        seen = not self._records.keys().isdisjoint(subjects)
        if seen or not subjects or len(self._batches) >= PARTS_MAX:
            self._before = self._records if len(self._batches) > 1 else {}
            self._batches, self._records = [], {}
        self._batches.append(replace(batch, records=()))
        self._records |= subjects

    def whole(self) -> Batch:
        """Return the tick as one batch with the newest stamp; its call took as long as all of its calls."""
        newest = self._batches[-1]
        call_ns = sum(batch.stamp.call_ns for batch in self._batches)
        records = tuple((self._before | self._records).values())
        return replace(newest, stamp=replace(newest.stamp, call_ns=call_ns), records=records)


def _joined(before: Record, record: Record) -> Record | None:
    """Make one of two gaps of a stream, of which the second begins where the first ends; None of anything else."""
    first, second = before.gap, record.gap
    if first is None or second is None or (before.host, before.collect) != (record.host, record.collect):
        return None
    if (first.end, first.reason) != (second.start, second.reason):
        return None
    return replace(record, gap=replace(second, start=first.start))
