"""The replayed guests look like the recorded ones, and move as guests do."""

import random
from pathlib import Path

import pytest

from domstat.catalog import FieldKind, look_up
from domstat.collect import wire
from domstat.collect.definition import parse
from domstat.collect.naming import Plan, has_stranger, parse_name
from domstat.collect.wire import ALL
from domstat.collect.worker.__main__ import Worker
from domstat.model import Value
from domstat_bench.replay import Double, FakeConnection, Guest, Recording, read_meter

XML = """\
<domain type='qemu' id='7'>
  <name>tiny-1</name>
  <uuid>6f0e1d8e-24f0-5b0e-8a57-0d2a0f6f3c01</uuid>
  <devices>
    <disk type='file' device='disk'><source file='/lab/tiny-1/vda.raw'/><target dev='vda' bus='virtio'/></disk>
    <interface type='ethernet'><mac address='52:54:00:98:eb:da'/><target dev='vnet4'/></interface>
    <interface type='ethernet'><mac address='52:54:00:98:eb:db'/><target dev='vnet16'/></interface>
  </devices>
</domain>
"""

PARAMS: dict[str, Value] = {
    "state.state": 1,
    "cpu.time": 2**63 + 5,
    "balloon.rss": 42_000,
    "vcpu.current": 2,
    "vcpu.0.time": 100,
    "vcpu.0.halted": True,
    "net.count": 2,
    "net.0.name": "vnet4",
    "net.0.rx.bytes": 10,
    "net.0.rx.errs": 0,
    "net.1.name": "vnet16",
    "net.1.rx.bytes": 11,
    "block.count": 1,
    "block.0.name": "vda",
    "block.0.path": "/lab/tiny-1/vda.raw",
    "block.0.rd.times": 12,
    "block.0.capacity": 1048576,
}

RECORDED = Recording([Guest("6f0e1d8e-24f0-5b0e-8a57-0d2a0f6f3c01", "tiny-1", 7, PARAMS, XML)])


def test_a_recording_comes_back_from_its_file(tmp_path: Path) -> None:
    RECORDED.save(tmp_path / "recording.json")
    assert Recording.load(tmp_path / "recording.json") == RECORDED


def test_an_answer_looks_like_the_recorded_one() -> None:
    answer = FakeConnection(RECORDED, 3).getAllDomainStats(0, 0)
    assert len(answer) == 3
    for _, params in answer:
        assert list(params) == list(PARAMS)
        assert [type(value) for value in params.values()] == [type(value) for value in PARAMS.values()]


def test_every_answer_has_fresh_dictionaries_and_fresh_keys() -> None:
    connection = FakeConnection(RECORDED, 1)
    (_, first), (_, second) = *connection.getAllDomainStats(0, 0), *connection.getAllDomainStats(0, 0)
    assert first is not second
    assert not set(map(id, first)) & set(map(id, second))


def test_guests_share_nothing() -> None:
    connection = FakeConnection(RECORDED, 40)
    answer = connection.getAllDomainStats(0, 0)
    assert len({domain.UUIDString() for domain, _ in answer}) == 40
    assert len({domain.name() for domain, _ in answer}) == 40
    assert len({domain.ID() for domain, _ in answer}) == 40
    entries = [parse(domain.XMLDesc(0), domain.ID()) for domain, _ in answer]
    assert len({nic.mac for entry in entries for nic in entry.taps.values()}) == 80
    assert len({tap for entry in entries for tap in entry.taps}) == 80


def test_a_guests_xml_and_its_answer_speak_of_the_same_devices() -> None:
    for domain, params in FakeConnection(RECORDED, 40).getAllDomainStats(0, 0):
        entry = parse(domain.XMLDesc(0), domain.ID())
        assert entry.id == domain.ID()
        raw, values = tuple(params), list(params.values())
        assert not has_stranger(raw, values, entry)
        plan = Plan(raw, values, entry, ALL)
        assert not plan.withheld
        assert len(plan.keys) == len(params) - 4  # the names of two NICs and a disk, and its path


def test_counters_only_grow_and_nothing_but_counters_and_memory_moves() -> None:
    double = Double(RECORDED.guests[0], 1, random.Random(3))
    before, after = double.stats(), double.stats()
    moved = {key for key in before if before[key] != after[key]}
    assert "cpu.time" in moved
    for key in moved - {"balloon.rss"}:
        assert look_up(parse_name(key)[0]).kind is FieldKind.COUNTER
        assert float(after[key]) > float(before[key])


def test_the_meter_counts_what_the_fake_burns(tmp_path: Path) -> None:
    connection = FakeConnection(RECORDED, 50, tmp_path / "meter")
    connection.getAllDomainStats(0, 0)
    once = read_meter(tmp_path / "meter")
    connection.getAllDomainStats(0, 0)
    assert 0 < once < read_meter(tmp_path / "meter")


def test_it_knows_no_guest_that_it_did_not_make() -> None:
    with pytest.raises(KeyError):
        FakeConnection(RECORDED, 1).lookupByUUIDString(RECORDED.guests[0].uuid)


def test_a_worker_finds_all_that_it_asks_of_a_connection() -> None:
    connection = FakeConnection(RECORDED, 3)
    worker = Worker(wire.Open("replay:///"), lambda _uri, _writable: (connection, ""), [].append)
    ask = wire.Ask(1, 1, chunk=2, host=True, cost=True, watch=(next(iter(connection._by_uuid)),))
    first, second = worker.replies(ask)
    assert isinstance(first, wire.Answer)
    assert isinstance(second, wire.Answer)
    assert [len(answer.guests) for answer in (first, second)] == [2, 1]
    assert first.host is not None
    assert first.host["host.version.hypervisor"] == "REPLAY 1.0.0"
    assert list(worker.replies(wire.Look())) == [wire.Looked([], connected=True)]
    (described,) = worker.replies(wire.Describe((first.guests[0].uuid,)))
    assert isinstance(described, wire.Descriptions)
    assert described.items[0].xml
