"""What of the journal is in memory: the newest batches as they came, and what is not in the file yet. Not locked.

Four queues of numbered batches, each without holes at its end: *incoming* ones are not packed yet, *packed* ones not
committed; the *tail* holds the newest as they came for as long as a courier that keeps up may want them, so that it
never has to read or unpack anything; and *kept* ones are in the file, for the day it breaks. A batch as it came is
a hundred objects for a few guests, and packed it is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from domstat.deliver.journal import Entry, Removed
from domstat.deliver.position import Position
from domstat.model import Batch

TAIL_RECORDS_MAX = 1_000
"""Records in the tail, and kept: some ticks of an ordinary host; the newest batches at any rate."""

TAIL_BATCHES_MIN = 4
TAIL_BATCHES_MAX = 1_000
"""Batches in the tail, and kept: a tick of a few streams at least, and no more than this however small they are."""

PACKED_BYTES_MAX = 64 << 20
INCOMING_RECORDS_MAX = 20_000
"""What waits for a disk that cannot be written, packed; and for one that hangs, as it came, some 5 KiB a record."""


class Parcel(Struct, frozen=True, gc=False):
    """One batch, with its number."""

    number: int
    batch: Batch


class Memory:
    """The batches in memory, by number."""

    def __init__(self) -> None:
        self.incoming: deque[Parcel] = deque()
        self.packed: deque[Entry] = deque()
        self.kept: deque[Entry] = deque()
        self.tail: deque[Parcel] = deque()
        self.committing = 0
        """So many of the packed ones are on their way to the disk."""
        self._incoming_records = 0
        self._packed_bytes = 0
        self._kept_records = 0
        self._tail_records = 0

    def add(self, parcel: Parcel) -> list[Removed]:
        """Add the newest batch; return what had to go for it, the oldest of what the disk has not taken."""
        records = len(parcel.batch.records)
        self.incoming.append(parcel)
        self.tail.append(parcel)
        self._incoming_records += records
        self._tail_records += records
        while _is_full(len(self.tail), self._tail_records):
            self._tail_records -= len(self.tail.popleft().batch.records)
        return list(self._overflow())

    def _overflow(self) -> Iterator[Removed]:
        while len(self.packed) > self.committing and self._packed_bytes > PACKED_BYTES_MAX:
            entry = self.packed[self.committing]  # those before it will be in the file, or stay
            del self.packed[self.committing]
            self._packed_bytes -= len(entry.blob)
            self.release(entry.number)
            yield Removed(entry.number, entry.records)
        while len(self.incoming) > 1 and self._incoming_records > INCOMING_RECORDS_MAX:
            # The thread that packs is stuck: what is packed is older, and may be on its way to the disk.
            parcel = self.incoming.popleft()
            self._incoming_records -= len(parcel.batch.records)
            self.release(parcel.number)
            yield Removed(parcel.number, len(parcel.batch.records))

    def note_packed(self, parcel: Parcel, entry: Entry | None) -> bool:
        """Take the oldest incoming batch's packed form (None: it has none); return whether it was still wanted."""
        if not self.incoming or self.incoming[0] is not parcel:
            return False
        self.incoming.popleft()
        self._incoming_records -= len(parcel.batch.records)
        if entry is not None:
            self.packed.append(entry)
            self._packed_bytes += len(entry.blob)
        else:
            self.tail = deque(other for other in self.tail if other is not parcel)
            self._tail_records = sum(len(other.batch.records) for other in self.tail)
        return True

    def note_committed(self, number: int) -> None:
        """Keep what is packed up to a number apart: it is in the file."""
        while self.packed and self.packed[0].number <= number:
            entry = self.packed.popleft()
            self._packed_bytes -= len(entry.blob)
            self.kept.append(entry)
            self._kept_records += entry.records
        while _is_full(len(self.kept), self._kept_records):
            self._kept_records -= self.kept.popleft().records

    def restore(self, committed: int) -> int:
        """Have what is kept wait for the disk again; return the number before it, *committed* where nothing is kept."""
        before = self.kept[0].number - 1 if self.kept else committed
        self.packed.extendleft(reversed(self.kept))
        self._packed_bytes += sum(len(entry.blob) for entry in self.kept)
        self.kept.clear()
        self._kept_records = 0
        return before

    def release(self, number: int) -> None:
        """Let go of what came up to a number: every courier that is here has it, or nobody gets it any more."""
        while self.tail and self.tail[0].number <= number:
            self._tail_records -= len(self.tail.popleft().batch.records)

    def forget(self, number: int) -> None:
        """Forget everything up to a number: every sink has it, or it is gone from the file and counted as gone."""
        self.release(number)
        while self.kept and self.kept[0].number <= number:
            self._kept_records -= self.kept.popleft().records

    @property
    def begin(self) -> int | None:
        """Everything from this number on is here as it came; None if nothing is."""
        return min((queue[0].number for queue in (self.tail, self.incoming) if queue), default=None)

    def parcels(self, after: int, before: int, limit: int) -> list[Parcel]:
        """Return the first batches between two numbers, as they came."""
        longer = self.tail
        if self.incoming and (not self.tail or self.incoming[0].number < self.tail[0].number):
            longer = self.incoming
        found: list[Parcel] = []
        for parcel in reversed(longer):
            if parcel.number <= after:
                break
            if parcel.number < before:
                found.append(parcel)
        return found[::-1][:limit]

    def rows(self, after: int, before: int) -> list[tuple[int, int, bytes]]:
        """Return what is packed and not committed between two numbers: (number, records, blob)."""
        return [(entry.number, entry.records, entry.blob) for entry in self.packed if after < entry.number < before]

    def uncommitted_records(self, at: Position) -> int:
        """Count the records that are not in the file and that a sink has not done."""
        packed = sum(entry.records for entry in self.packed if not at.has(entry.number))
        return packed + sum(len(one.batch.records) for one in self.incoming if not at.has(one.number))

    def records_for(self, at: Position, in_flight: tuple[int, int]) -> int:
        """Count the records here that a sink has neither done nor in its hands."""
        known = {entry.number: entry.records for queue in (self.kept, self.packed) for entry in queue}
        for queue in (self.tail, self.incoming):
            known.update((parcel.number, len(parcel.batch.records)) for parcel in queue)
        first, last = in_flight
        return sum(records for number, records in known.items() if not at.has(number) and not first <= number <= last)


def _is_full(batches: int, records: int) -> bool:
    return batches > TAIL_BATCHES_MAX or (batches > TAIL_BATCHES_MIN and records > TAIL_RECORDS_MAX)
