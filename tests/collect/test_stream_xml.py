"""One stream: when it reads guests' XML, what it does meanwhile, and when labels and devices travel."""

from __future__ import annotations

import pytest

from answers import (
    KVM,
    MAC,
    UUID,
    Guest,
    Telling,
    disk_xml,
    domain_xml,
    guests_of,
    nic_xml,
    sample,
)
from domstat.collect import stream as stream_module
from domstat.collect import wire
from domstat.collect.errors import ClosedError, OverdueError
from domstat.model import Partial, Value

HOUR_S = 3600


# --- labels and devices


def test_labels_and_devices_travel_first_and_then_when_they_change() -> None:
    told = Telling(domain_xml(disk_xml("vda"), title="Web"))
    params: dict[str, Value] = {"block.0.name": "vda", "block.0.path": "/a", "block.0.rd.bytes": 1}
    first = told.record(0, params)
    assert first.labels == {"title": "Web"}
    assert first.devices == {
        "vda": {"bus": "virtio", "format": "qcow2", "alias": "virtio-vda", "type": "file", "path": "/a"}
    }
    second = told.record(10, params)
    assert (second.labels, second.devices) == (None, None)
    told.hypervisor.xml[UUID] = domain_xml(disk_xml("vda"), title="Shop")
    told.happens(wire.Change("metadata", UUID, "web-1", 3))
    third = told.record(20, params)
    assert third.labels == {"title": "Shop"}
    assert told.record(30, params).labels is None


def test_xml_read_again_that_says_the_same_does_not_travel() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.happens(missed=True)
    record = told.record(10, sample(10))
    assert told.hypervisor.described == [(UUID,), (UUID,)]
    assert (record.labels, record.devices) == (None, None)
    assert record.rates["cpu.time"] == 0.5


def test_labels_and_devices_travel_once_an_hour_anyway() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    assert told.record(HOUR_S - 1, sample()).devices is None
    assert told.record(HOUR_S, sample()).devices is not None
    assert told.record(HOUR_S + 10, sample()).devices is None


def test_whoever_wants_details_with_every_record_has_them() -> None:
    told = Telling(KVM)
    told.stream = told.new_stream(details_every_ns=0)
    assert all(told.record(seconds, sample()).devices for seconds in (0, 1, 2))


# --- reading XML


def test_an_ordinary_tick_reads_no_xml() -> None:
    told = Telling(KVM)
    for seconds in range(0, 50, 10):
        told.record(seconds, sample(seconds))
    assert told.hypervisor.described == [(UUID,)]


def test_a_device_nobody_announced_has_the_xml_read_once_more_and_no_oftener() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    for seconds in range(10, 60, 10):
        told.record(seconds, sample(disks=("vda", "vdb", "vdz")))
    assert told.hypervisor.described == [(UUID,), (UUID,)]


def test_what_one_stream_had_read_again_the_other_does_not_read_once_more() -> None:
    told = Telling(KVM)
    first = told.stream
    told.record(0, sample())
    second = told.stream = told.new_stream()
    told.record(0, sample())
    told.hypervisor.xml[UUID] = domain_xml(nic_xml(MAC, "vnet0"), disk_xml("vda"), disk_xml("vdz"))
    for told.stream in (first, second):
        assert told.record(10, sample(disks=("vda", "vdz"))).devices is not None
    assert told.hypervisor.described == [(UUID,), (UUID,)]


def test_two_streams_of_a_host_share_what_they_know() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.stream = told.new_stream()
    told.record(0, sample())
    assert told.hypervisor.described == [(UUID,)]


def test_a_guest_that_vanished_before_it_was_described_keeps_its_nics_to_itself() -> None:
    record = Telling({}).record(0, sample())
    assert record.partial == Partial(("interface",))
    assert not any(key.startswith("net.rx") for key in record.params)


def test_xml_that_cannot_be_trusted_is_said_once_and_the_guest_goes_without_labels() -> None:
    told = Telling("<domain")
    record = told.record(0, sample())
    told.record(10, sample(10))
    assert "net.rx.bytes[vnet0]" in record.params
    assert record.labels == {}
    assert told.log.events("warning") == ["guest_xml_unreadable"]


def test_an_answer_is_not_thrown_away_because_the_xml_is_late() -> None:
    told = Telling(KVM)
    told.hypervisor.trouble = OverdueError("too late")
    first = told.record(0, sample())
    assert first.partial == Partial(("interface",))
    assert first.params["cpu.time"] == 0
    told.hypervisor.trouble = None
    second = told.record(10, sample(10))
    assert second.partial is None
    assert second.rates["cpu.time"] == 0.5
    assert f"net.rx.bytes[{MAC}]" in second.params
    assert told.log.events("warning") == ["guest_xml_late"]
    assert told.log.facts("guest_xml_late") == {"guests": 1, "reason": "deadline", "error": "too late"}


def test_known_guests_keep_their_names_while_their_xml_is_late() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.hypervisor.trouble = OverdueError("too late")
    told.happens(missed=True)
    record = told.record(10, sample(10))
    assert record.partial is None
    assert record.rates[f"net.rx.bytes[{MAC}]"] == 100.0


def test_a_nic_that_was_plugged_while_the_xml_is_late_is_not_named_twice() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.hypervisor.trouble = OverdueError("too late")
    new = "52:54:00:aa:bb:dd"
    params: dict[str, Value] = {"net.1.name": "vnet7", "net.1.rx.bytes": 5}
    record = told.record(10, sample(10) | params)
    assert not any(key.startswith("net.rx") for key in record.params)
    assert record.partial == Partial(("interface",), 10.0)
    assert record.rates["block.rd.bytes[vda]"] == 1000.0
    told.hypervisor.trouble = None
    told.hypervisor.xml[UUID] = KVM.replace("<disk", nic_xml(new, "vnet7", "net1") + "<disk", 1)
    record = told.record(20, sample(20) | params)
    assert record.params[f"net.rx.bytes[{new}]"] == 5
    assert record.rates[f"net.rx.bytes[{MAC}]"] == 100.0
    assert record.partial is None


def test_a_nic_that_the_xml_does_not_have_although_it_was_read_goes_by_its_tap() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.hypervisor.trouble = OverdueError("too late")
    params: dict[str, Value] = {"net.1.name": "vnet7", "net.1.rx.bytes": 5}
    told.record(10, sample(10) | params)
    told.hypervisor.trouble = None
    for seconds in (20, 30):
        record = told.record(seconds, sample(seconds) | params)
        assert (record.partial, record.params["net.rx.bytes[vnet7]"]) == (None, 5)
    assert len(told.hypervisor.described) == 3


def test_a_nic_that_was_gone_when_the_xml_was_read_is_not_named_by_its_tap() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.hypervisor.xml[UUID] = domain_xml(disk_xml("vda"), disk_xml("vdb"))
    told.happens(wire.Change("device-removed", UUID, "", 3, (), "net0"))
    record = told.record(10, sample(10))
    assert record.partial == Partial(("interface",), 10.0)
    assert not any(key.startswith("net.rx.bytes") for key in record.params)
    after = {key: value for key, value in sample(20).items() if not key.startswith("net.0.")}
    assert told.record(20, after).partial is None


def test_nics_keep_their_names_while_a_disk_was_plugged_and_the_xml_is_late() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    told.hypervisor.trouble = OverdueError("too late")
    record = told.record(10, sample(10, disks=("vda", "vdb", "vdc")))
    assert record.partial is None
    assert record.rates[f"net.rx.bytes[{MAC}]"] == 100.0


def test_a_nic_that_was_plugged_waits_too_where_there_was_no_time_for_all_the_xml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "DESCRIBE_GUESTS_MAX", 1)
    told = Telling({"a": KVM, "b": KVM})
    told.batch(0, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    more: dict[str, Value] = {"net.1.name": "vnet7", "net.1.rx.bytes": 5}
    guests = [Guest(uuid=uuid, params=sample(10) | more) for uuid in "ab"]
    first, second = guests_of(told.batch(10, *guests, deadline_s=-2.0))
    assert told.hypervisor.described[-1] == ("a",)
    assert first.partial == second.partial == Partial(("interface",), 10.0)


def test_a_stopping_agent_makes_no_batch_of_a_torn_tick() -> None:
    told = Telling(KVM)
    told.hypervisor.trouble = ClosedError("stopping")
    with pytest.raises(ClosedError):
        told.record(0, sample())


def test_a_large_host_is_described_in_portions_and_new_guests_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "DESCRIBE_GUESTS_MAX", 2)
    told = Telling({uuid: domain_xml() for uuid in "abcde"})
    guests = [Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "abcde"]
    told.batch(0, *guests[:3])
    assert told.hypervisor.described == [("a", "b"), ("c",)]
    told.happens(*[wire.Change("metadata", uuid, "", 3) for uuid in "abc"])
    told.batch(10, *guests, deadline_s=-2.0)
    assert told.hypervisor.described[2:] == [("d", "e")], "past the deadline one portion is read, so that it ends"
    assert told.log.facts("guest_xml_later") == {"guests": 3}
    told.batch(20, *guests)
    assert told.hypervisor.described[3:] == [("a", "b"), ("c",)]


def test_after_a_new_connection_the_xml_of_all_is_read_again_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "DESCRIBE_AGAIN_MAX", 2)
    told = Telling({uuid: domain_xml() for uuid in "abcde"})
    guests = [Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "abcde"]
    told.batch(0, *guests)
    told.happens(missed=True)
    for seconds in range(10, 60, 10):
        told.batch(seconds, *guests)
    assert [len(uuids) for uuids in told.hypervisor.described] == [5, 2, 2, 1]
    assert {uuid for uuids in told.hypervisor.described[1:] for uuid in uuids} == set("abcde")


def test_whoever_is_read_because_something_happened_is_not_read_in_passing_as_well() -> None:
    told = Telling({"a": domain_xml(), "b": domain_xml()})
    guests = [Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "ab"]
    told.batch(0, *guests)
    told.happens(wire.Change("metadata", "a", "", 3), missed=True)
    told.batch(10, *guests)
    told.batch(20, *guests)
    assert [sorted(uuids) for uuids in told.hypervisor.described] == [["a", "b"], ["a", "b"]]
