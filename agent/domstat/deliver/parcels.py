"""What passes between the spool and a courier, and what one is to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import Struct

from domstat.deliver.bounds import Why
from domstat.deliver.codec import DamagedRowError, Unpacker, pack
from domstat.deliver.journal import Entry, Removed
from domstat.deliver.memory import Parcel


class Taken(Struct, frozen=True):
    """What a courier was given: *parcels*, and the span of numbers that is done once these are stored.

    *damaged* rows could not be unpacked.
    """

    parcels: tuple[Parcel, ...]
    first: int
    last: int
    damaged: tuple[Removed, ...] = ()

    @property
    def records(self) -> int:
        """How many records there are, the damaged ones included."""
        return sum(len(one.batch.records) for one in self.parcels) + sum(row.records for row in self.damaged)


class Lag(Struct, frozen=True):
    """How far a sink is behind: batches, seconds since the oldest of them came, bytes the journal keeps for it."""

    batches: int
    seconds: float
    bytes: int


class Figures(Struct, frozen=True):
    """How the journal is: bytes used, seconds of the last commit, commits that failed, records it never had.

    *committed* is the newest number that is in it. *failing* says why it cannot be written, None while it can.
    """

    bytes: int
    commit_s: float
    failed: int
    lost: int
    failing: str | None
    committed: int


class Reader(Protocol):
    """What a courier is to the spool. Called with the spool's lock held: quick, and calling nothing back."""

    name: str
    in_flight: tuple[int, int]
    """The numbers it has in its hands; (0, 0) for none."""

    def note_taken(self, first: int, last: int, records: int) -> None:
        """Have the numbers from *first* to *last* in its hands, so many records."""

    def note_done(self) -> None:
        """Have nothing in its hands any more: all of it is done."""

    def note_received(self, records: int) -> None:
        """Count what has come for the sink."""

    def note_dropped(self, records: int, why: Why) -> None:
        """Count what has gone and never will reach the sink."""

    def note_left(self, records: int, why: Why) -> None:
        """All that still waits, beside what is in its hands, is so many records; the rest has gone."""


def packed(parcel: Parcel) -> Entry:
    """Pack a batch for the journal."""
    batch = parcel.batch
    devices = tuple(
        (record.domain.uuid, msgspec.msgpack.encode(record.devices))
        for record in batch.records
        if record.devices is not None and record.domain is not None
    )
    # A gap says of the time until its end that it was seen to; so does a tick until the next is due.
    seen_ms = max([batch.stamp.time_ms, *(record.gap.end - 1 for record in batch.records if record.gap is not None)])
    return Entry(parcel.number, batch.stream, seen_ms, len(batch.records), pack(batch), devices)


def unpacked(rows: Sequence[tuple[int, int, bytes]], unpacker: Unpacker, first: int, last: int) -> Taken:
    """Unpack rows of the journal, each (number, records, blob)."""
    parcels: list[Parcel] = []
    damaged: list[Removed] = []
    for number, records, blob in rows:
        try:
            parcels.append(Parcel(number, unpacker.unpack(number, blob)))
        except DamagedRowError:
            damaged.append(Removed(number, records))
    return Taken(tuple(parcels), first, last, tuple(damaged))


@dataclass
class Counts:
    """What became of a sink's records: received = written + rejected + dropped + pending."""

    received: int = 0
    written: int = 0
    rejected: int = 0
    retries: int = 0
    parts_rejected: int = 0
    dropped_by: dict[Why, int] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Records dropped, for whatever reason."""
        return sum(self.dropped_by.values())
