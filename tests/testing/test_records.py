"""The makers of records: what they make is what a host gives, and the same every time."""

from __future__ import annotations

import pytest

from domstat import jsonlines
from domstat.model import Kind, Partial, Record, split_key
from domstat.testing.records import (
    FIELDS,
    HOSTILE,
    INTERVAL_MS,
    START_MS,
    agent,
    batch,
    empty,
    event,
    gap,
    guest,
    hypervisor,
    one_of_each,
    partial_guest,
    pool,
    ticks,
    uuid_of,
)

MADE = [guest(), hypervisor(), pool(), agent(), event(), gap(), partial_guest()]


@pytest.mark.parametrize("record", MADE, ids=lambda record: f"{record.kind}-{record.partial is None}")
def test_every_record_survives_as_a_line(record: Record) -> None:
    assert jsonlines.decode(jsonlines.encode([record]).strip()) == record


def test_what_is_asked_for_twice_is_equal() -> None:
    assert guest(3, time_ms=5_000) == guest(3, time_ms=5_000)
    assert ticks(3) == ticks(3)


def test_there_is_one_of_every_kind_in_one_stream() -> None:
    made = one_of_each()
    assert {kind: record.kind for kind, record in made.items()} == {kind: kind for kind in Kind}
    assert {(record.host, record.collect, record.time_ms) for record in made.values()} == {
        ("kvm1", "default", START_MS)
    }


def test_counters_grow_and_rates_are_what_they_grew_by() -> None:
    one, two = guest(), guest(time_ms=START_MS + INTERVAL_MS)
    assert two.params["cpu.time"] == int(one.params["cpu.time"]) + 5_000_000_000
    assert two.rates["cpu.time"] == 0.5
    assert two.derived["cpu.utilization"] == 0.25
    assert two.params["block.rd.bytes[vda]"] == int(one.params["block.rd.bytes[vda]"]) + 10 * 2_097_152
    assert two.params["balloon.current"] == one.params["balloon.current"]


def test_guests_differ_by_their_number() -> None:
    assert guest(1).subject == uuid_of(1) != uuid_of(2) == guest(2).subject
    assert guest(1).params["cpu.time"] != guest(2).params["cpu.time"]


def test_what_a_test_wants_otherwise_is_otherwise() -> None:
    record = guest(name="x", uuid="u", extra={"cpu.time": 1}, without=("block.", "net."), labels={"a": "b"})
    assert record.domain is not None
    assert (record.domain.name, record.domain.uuid, record.labels) == ("x", "u", {"a": "b"})
    assert record.params["cpu.time"] == 1
    assert not any(key.startswith(("block.", "net.")) for key in [*record.params, *record.rates])
    assert guest(params={"cpu.time": 1}).params == {"cpu.time": 1}


def test_a_partial_guest_says_what_it_lacks() -> None:
    record = partial_guest()
    assert record.partial == Partial(("block",))
    assert not any(key.startswith("block.") for key in record.params)


def test_a_gap_is_at_the_time_it_began() -> None:
    record = gap(lasted_ms=5_000)
    assert record.gap is not None
    assert (record.time_ms, record.gap.start, record.gap.end) == (START_MS, START_MS, START_MS + 5_000)


def test_a_batch_is_of_its_first_record() -> None:
    one = batch(guest(host="h", collect="c", time_ms=7), agent())
    assert (one.stream, one.stamp.time_ms, len(one.records)) == (("h", "c"), 7, 2)
    assert batch().records == (guest(),)
    assert empty().records == ()


def test_ticks_follow_each_other() -> None:
    made = ticks(3, guests=4)
    assert [one.stamp.time_ms - START_MS for one in made] == [0, INTERVAL_MS, 2 * INTERVAL_MS]
    assert [record.kind for record in made[0].records] == [Kind.HOST, *[Kind.GUEST] * 4, Kind.AGENT]
    stamps = [one.stamp.boot_ns for one in made]
    assert stamps == sorted(set(stamps))


def test_the_list_of_fields_is_all_that_the_makers_use() -> None:
    used = {split_key(key)[0] for record in MADE for key in record.params}
    assert used <= set(FIELDS)


def test_hostile_names_differ() -> None:
    assert len(set(HOSTILE.values())) == len(HOSTILE)
