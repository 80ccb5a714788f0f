"""What passes between the spool and a courier."""

from __future__ import annotations

import msgspec

from domstat.deliver.codec import Unpacker, pack
from domstat.deliver.memory import Parcel
from domstat.deliver.parcels import packed, unpacked
from records import batch, gap_record, guest_record, host_record


def test_a_batch_is_packed_with_what_the_journal_asks_for() -> None:
    devices = {"vda": {"path": "/x"}}
    one = batch(host_record(), guest_record(devices=devices, labels={}), guest_record("b", uuid="u2"))
    entry = packed(Parcel(7, one))
    assert (entry.number, entry.stream, entry.time_ms, entry.records) == (7, one.stream, one.stamp.time_ms, 3)
    ((uuid, stored),) = entry.devices
    assert (uuid, msgspec.msgpack.decode(stored)) == (one.records[1].subject, devices)


def test_a_gap_says_until_when_a_stream_was_seen_to() -> None:
    gap = gap_record(time_ms=60_000, lasted_ms=30_000)
    assert packed(Parcel(1, batch(gap, time_ms=30_000))).time_ms == 59_999


def test_rows_are_unpacked_and_damaged_ones_are_named() -> None:
    one = batch(guest_record(rates={}, derived={}))
    rows = [(4, 1, pack(one)), (5, 3, b"nothing"), (9, 1, pack(one))]
    taken = unpacked(rows, Unpacker(), 2, 11)
    assert [(parcel.number, parcel.batch) for parcel in taken.parcels] == [(4, one), (9, one)]
    assert [(row.number, row.records) for row in taken.damaged] == [(5, 3)]
    assert (taken.first, taken.last, taken.records) == (2, 11, 5)
