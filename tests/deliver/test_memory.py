"""What is in memory: everything from a number on, bounded, and known by whether the disk has it."""

from __future__ import annotations

import pytest

from domstat.deliver import memory
from domstat.deliver.journal import Entry
from domstat.deliver.memory import TAIL_BATCHES_MIN, Memory, Parcel
from domstat.deliver.position import Position
from records import batch, guest_record


def parcel(number: int, records: int = 2) -> Parcel:
    return Parcel(number, batch(*[guest_record(str(i)) for i in range(records)], time_ms=number))


def entry(one: Parcel, size: int = 10) -> Entry:
    return Entry(one.number, one.batch.stream, 0, len(one.batch.records), bytes(size))


def filled(count: int, first: int = 1) -> tuple[Memory, list[Parcel]]:
    held = Memory()
    parcels = [parcel(number) for number in range(first, first + count)]
    assert [lost for one in parcels for lost in held.add(one)] == []
    return held, parcels


def numbers(found: list[Parcel]) -> list[int]:
    return [one.number for one in found]


def test_what_came_is_there_in_order_between_two_numbers() -> None:
    held, _ = filled(10)
    assert held.begin == 1
    assert numbers(held.parcels(3, 8, 100)) == [4, 5, 6, 7]
    assert numbers(held.parcels(3, 8, 2)) == [4, 5]
    assert numbers(held.parcels(10, 99, 5)) == []


def test_nothing_begins_nowhere() -> None:
    assert Memory().begin is None


def test_the_tail_is_bounded_by_records_and_keeps_some_batches_at_any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TAIL_RECORDS_MAX", 3)
    held, parcels = filled(20)
    for one in parcels:
        held.note_packed(one, entry(one))
    held.note_committed(20)
    assert held.begin == 20 - TAIL_BATCHES_MIN + 1


def test_what_is_not_packed_yet_is_there_although_the_tail_has_let_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TAIL_RECORDS_MAX", 3)
    held, _ = filled(20)
    assert held.begin == 1
    assert numbers(held.parcels(0, 99, 100)) == list(range(1, 21))


def test_what_is_packed_is_given_as_rows_until_it_is_committed() -> None:
    held, parcels = filled(5)
    for one in parcels[:3]:
        assert held.note_packed(one, entry(one))
    assert [row[0] for row in held.rows(1, 99)] == [2, 3]
    held.note_committed(2)
    assert [row[0] for row in held.rows(0, 99)] == [3]


def test_a_batch_that_cannot_be_packed_is_nowhere_any_more() -> None:
    held, parcels = filled(3)
    assert held.note_packed(parcels[0], None)
    assert numbers(held.parcels(0, 99, 9)) == [2, 3]


def test_packing_something_that_was_let_go_meanwhile_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "INCOMING_RECORDS_MAX", 4)
    held, first = Memory(), parcel(1)
    held.add(first)
    lost = [row for number in (2, 3) for row in held.add(parcel(number))]
    assert [(row.number, row.records) for row in lost] == [(1, 2)]
    assert not held.note_packed(first, entry(first))
    assert held.rows(0, 99) == []


def test_what_waits_for_the_disk_is_bounded_packed_too_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PACKED_BYTES_MAX", 25)
    held, parcels = filled(3)
    for one in parcels:
        held.note_packed(one, entry(one, size=10))
    assert [row.number for row in held.add(parcel(4))] == [1]
    assert [row[0] for row in held.rows(0, 99)] == [2, 3]
    assert numbers(held.parcels(0, 99, 9)) == [2, 3, 4], "what is counted as gone is given to nobody"


def test_records_are_counted_that_a_sink_has_neither_done_nor_in_hand() -> None:
    held, parcels = filled(6)
    held.note_packed(parcels[0], entry(parcels[0]))
    assert held.records_for(Position(1), in_flight=(3, 4)) == 2 * 3
    assert held.records_for(Position(1).done(6, 6), in_flight=(0, 0)) == 2 * 4
    assert held.uncommitted_records(Position(1)) == 2 * 5
    assert held.uncommitted_records(Position(0)) == 2 * 6


def committed(count: int) -> Memory:
    held, parcels = filled(count)
    for one in parcels:
        held.note_packed(one, entry(one))
    held.note_committed(count)
    return held


def test_what_is_gone_from_the_file_is_neither_in_the_tail_nor_kept() -> None:
    held = committed(5)
    held.forget(3)
    assert held.begin == 4
    assert held.restore(5) == 3
    assert [row[0] for row in held.rows(0, 99)] == [4, 5]


def test_what_every_courier_has_is_kept_packed_and_not_as_it_came() -> None:
    held = committed(5)
    held.release(4)
    assert numbers(held.parcels(0, 99, 9)) == [5]
    assert held.records_for(Position(2), in_flight=(0, 0)) == 2 * 3
    assert held.restore(5) == 0


def test_what_is_kept_is_bounded_as_the_tail_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TAIL_RECORDS_MAX", 3)
    held = committed(20)
    assert [one.number for one in held.kept] == list(range(20 - TAIL_BATCHES_MIN + 1, 21))
    assert held.restore(20) == 20 - TAIL_BATCHES_MIN


def test_what_is_on_its_way_to_the_disk_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PACKED_BYTES_MAX", 25)
    held, parcels = filled(3)
    for one in parcels:
        held.note_packed(one, entry(one, size=10))
    held.committing = 2
    assert [row.number for row in held.add(parcel(4))] == [3]
    assert [row[0] for row in held.rows(0, 99)] == [1, 2]


def test_what_is_kept_waits_for_the_disk_again_before_what_waits_already() -> None:
    held, parcels = filled(4)
    for one in parcels:
        held.note_packed(one, entry(one))
    held.note_committed(3)
    assert held.restore(3) == 0
    assert [row[0] for row in held.rows(0, 99)] == [1, 2, 3, 4]
    assert list(held.kept) == []


def test_what_has_to_go_before_it_was_on_the_disk_takes_nothing_along_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    held = committed(1)
    monkeypatch.setattr(memory, "PACKED_BYTES_MAX", 5)
    held.add(late := parcel(2))
    held.note_packed(late, entry(late))
    assert [row.number for row in held.add(parcel(3))] == [2]
    assert [one.number for one in held.kept] == [1]


def test_where_nothing_is_kept_nothing_waits_again() -> None:
    assert Memory().restore(7) == 7
