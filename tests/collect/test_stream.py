"""One stream: from answers to batches, and what it remembers in between."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import UUID, Guest, Told, disk_xml, domain_xml, nic_xml, stamp
from domstat.collect import stream as stream_module
from domstat.collect import wire
from domstat.collect.hypervisor import ClosedError, OverdueError
from domstat.collect.stream import ACTIVE, BACKING, NOWAIT, Block
from domstat.jsonlines import encode
from domstat.model import Domain, Kind, Partial, Value

S = 1_000_000_000
MAC = "52:54:00:aa:bb:cc"
KVM = domain_xml(nic_xml(MAC, "vnet0"), disk_xml("vda"), disk_xml("vdb"))


def sample(
    busy: int = 0, disks: tuple[str, ...] = ("vda", "vdb"), tap: str = "vnet0", path: str = "/images/"
) -> dict[str, Value]:
    """Make what a guest's counters are after *busy* seconds."""
    params: dict[str, Value] = {
        "state.state": 1, "cpu.time": busy * S // 2, "balloon.current": 4096, "balloon.rss": 9, "vcpu.current": 4,
        "vcpu.0.time": busy * S // 4, "net.count": 1, "net.0.name": tap, "net.0.rx.bytes": busy * 100,
        "block.count": len(disks),
    }  # fmt: skip
    for i, disk in enumerate(disks):
        params |= {f"block.{i}.name": disk, f"block.{i}.path": path + disk, f"block.{i}.rd.bytes": busy * 1000}
    return params


def stuck(params: dict[str, Value]) -> dict[str, Value]:
    """Leave out what libvirt leaves out when the guest's monitor does not answer."""
    return {key: value for key, value in params.items() if not key.endswith((".rss", "rd.bytes"))}


def test_a_guests_first_record_has_everything_but_rates() -> None:
    told = Told(KVM)
    batch = told.batch(0, Guest(params=sample()))
    assert (batch.host, batch.collect, batch.stamp) == ("kvm1", "default", stamp(0))
    (record,) = batch.records
    assert record.kind is Kind.GUEST
    assert record.domain == Domain(UUID, "web-1", 3)
    assert record.time_ms == stamp(0).time_ms
    assert (record.interval_s, record.rates, record.partial, record.anew) == (None, {}, None, None)
    assert record.params[f"net.rx.bytes[{MAC}]"] == 0
    assert "net.name" not in {key.partition("[")[0] for key in record.params}


def test_the_second_record_has_rates_and_derived_values() -> None:
    told = Told(KVM)
    told.record(0, sample(0))
    record = told.record(10, sample(10))
    assert record.interval_s == 10.0
    assert record.rates == {
        "cpu.time": 0.5,
        "vcpu.time[0]": 0.25,
        f"net.rx.bytes[{MAC}]": 100.0,
        "block.rd.bytes[vda]": 1000.0,
        "block.rd.bytes[vdb]": 1000.0,
    }
    assert record.derived == {"cpu.cores": 0.5, "cpu.utilization": 0.125}


def test_a_guests_moment_is_estimated_within_a_long_call() -> None:
    told = Told({"a": domain_xml(), "b": domain_xml()})
    guests = [Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "ab"]
    told.batch(0, *guests, call_ms=0)
    later = [Guest(uuid=uuid, params={"cpu.time": S}) for uuid in "ab"]
    first, second = told.batch(10, *later, call_ms=4000).records
    assert (first.interval_s, second.interval_s) == (11.0, 13.0)
    assert second.rates == {"cpu.time": pytest.approx(1 / 13)}
    assert first.time_ms == second.time_ms == stamp(10).time_ms


def test_records_come_in_the_order_of_the_answer() -> None:
    told = Told({uuid: domain_xml() for uuid in "cab"})
    batch = told.batch(0, *[Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "cab"])
    assert [record.subject for record in batch.records] == list("cab")


def test_a_host_without_guests_gives_an_empty_batch() -> None:
    assert Told().batch(0).records == ()


def test_a_restart_is_a_new_guest_even_where_counters_rose() -> None:
    told = Told(KVM)
    told.record(0, sample(1))
    told.hypervisor.xml[UUID] = domain_xml(nic_xml(MAC, "vnet1"), disk_xml("vda"), disk_xml("vdb"), id=4)
    record = told.record(10, sample(1000, tap="vnet1"), id=4)
    assert (record.rates, record.interval_s, record.partial) == ({}, None, None)
    assert f"net.rx.bytes[{MAC}]" in record.params, "a series survives a restart although its tap does not"
    assert record.devices is not None
    assert record.devices[MAC]["tap"] == "vnet1"
    assert told.record(20, sample(1010, tap="vnet1"), id=4).rates["cpu.time"] == 0.5


def test_a_hot_unplug_renumbers_and_the_other_disks_go_on() -> None:
    told = Told(KVM)
    told.record(0, sample(0))
    record = told.record(10, sample(10, disks=("vdb",)))
    assert record.rates["block.rd.bytes[vdb]"] == 1000.0
    assert "block.rd.bytes[vda]" not in record.params
    assert (record.partial, record.anew) == (None, None)


def test_a_disk_that_comes_back_under_its_name_begins_anew() -> None:
    told = Told(KVM)
    told.record(0, sample(0))
    told.record(10, sample(10, disks=("vda",)))
    record = told.record(20, sample(20))
    assert "block.rd.bytes[vdb]" not in record.rates
    assert record.rates["block.rd.bytes[vda]"] == 1000.0


@pytest.mark.parametrize(
    ("changed", "device", "key"),
    [
        ({"path": "/other/"}, "vda", "block.rd.bytes[vda]"),
        ({"tap": "vnet5"}, MAC, f"net.rx.bytes[{MAC}]"),
    ],
)
def test_a_device_exchanged_between_two_ticks_begins_anew_though_nothing_fell(
    changed: dict[str, Any], device: str, key: str
) -> None:
    told = Told(KVM)
    told.record(0, sample(0))
    told.hypervisor.xml[UUID] = domain_xml(nic_xml(MAC, "vnet5"), disk_xml("vda"), disk_xml("vdb"))
    record = told.record(10, sample(10, **changed))
    assert record.anew is not None
    assert device in record.anew
    assert key in record.params
    assert key not in record.rates
    assert record.rates["cpu.time"] == 0.5
    assert key in told.record(20, sample(20, **changed)).rates


def test_a_stuck_guests_record_says_what_is_missing_and_since_when() -> None:
    told = Told(KVM)
    told.record(0, sample(0))
    record = told.record(10, stuck(sample(10)))
    assert record.partial == Partial(("balloon", "block"), 10.0)
    assert record.rates == {"cpu.time": 0.5, "vcpu.time[0]": 0.25, f"net.rx.bytes[{MAC}]": 100.0}
    assert record.params["balloon.current"] == 4096
    assert told.record(20, stuck(sample(20))).partial == Partial(("balloon", "block"), 20.0)


def test_after_a_stuck_time_rates_are_over_their_own_elapsed_time() -> None:
    told = Told(KVM)
    told.record(0, sample(0))
    told.record(10, stuck(sample(10)))
    told.record(20, stuck(sample(20)))
    record = told.record(30, sample(60))
    assert record.partial is None
    assert record.interval_s == 10.0
    assert record.rates["block.rd.bytes[vda]"] == 2000.0
    assert record.rates["cpu.time"] == 2.0


def test_a_guest_without_a_balloon_driver_any_more_is_whole() -> None:
    told = Told(KVM)
    told.record(0, sample() | {"balloon.usable": 5})
    assert told.record(10, sample()).partial is None


def test_what_is_no_number_is_left_out_and_said_to_be_missing() -> None:
    told = Told(domain_xml())
    energy = "cpu.energy.monitor.0.pkg.0.core_energy"
    told.record(0, {"cpu.time": 0, energy: 1.0})
    record = told.record(10, {"cpu.time": 0, energy: float("nan")})
    assert record.params == {"cpu.time": 0}
    assert record.partial == Partial(("cpu-total",), 10.0)
    assert told.record(20, {"cpu.time": 0, energy: 21.0}).rates == {
        "cpu.time": 0.0,
        "cpu.energy.monitor.pkg.core_energy[0/0]": 1.0,
    }


def test_labels_and_devices_travel_first_and_then_when_they_change() -> None:
    told = Told(domain_xml(disk_xml("vda"), title="Web"))
    told.stream = told.new_stream()
    params: dict[str, Value] = {"block.0.name": "vda", "block.0.path": "/a"}
    first = told.record(0, params)
    assert first.labels == {"title": "Web"}
    assert first.devices == {
        "vda": {"bus": "virtio", "format": "qcow2", "alias": "virtio-vda", "type": "file", "path": "/a"}
    }
    second = told.record(10, params)
    assert (second.labels, second.devices) == (None, None)
    told.hypervisor.xml[UUID] = domain_xml(disk_xml("vda"), title="Shop")
    third = told.record(20, params, changes=[wire.Change("metadata", UUID, "web-1")])
    assert third.labels == {"title": "Shop"}
    assert told.record(30, params).labels is None


def test_xml_read_again_that_says_the_same_does_not_travel() -> None:
    told = Told(KVM)
    told.record(0, sample())
    record = told.record(10, sample(10), missed=True)
    assert told.hypervisor.described == [(UUID,), (UUID,)]
    assert (record.labels, record.devices) == (None, None)
    assert record.rates["cpu.time"] == 0.5


def test_labels_and_devices_travel_once_an_hour_anyway() -> None:
    told = Told(KVM)
    told.record(0, sample())
    assert told.record(3599, sample()).devices is None
    assert told.record(3600, sample()).devices is not None
    assert told.record(3610, sample()).devices is None


def test_an_ordinary_tick_reads_no_xml() -> None:
    told = Told(KVM)
    for seconds in range(0, 50, 10):
        told.record(seconds, sample(seconds))
    assert told.hypervisor.described == [(UUID,)]


def test_a_device_nobody_announced_has_the_xml_read_once_more_and_no_oftener() -> None:
    told = Told(KVM)
    told.record(0, sample())
    for seconds in range(10, 60, 10):
        told.record(seconds, sample(disks=("vda", "vdb", "vdz")))
    assert told.hypervisor.described == [(UUID,), (UUID,)]


def test_what_one_stream_had_read_again_the_other_does_not_read_once_more() -> None:
    told = Told(KVM)
    first = told.stream
    told.record(0, sample())
    second = told.stream = told.new_stream()
    told.record(0, sample())
    for told.stream in (first, second):
        told.record(10, sample(disks=("vda", "vdz")))
    assert told.hypervisor.described == [(UUID,), (UUID,)]


def test_two_streams_of_a_host_share_what_they_know() -> None:
    told = Told(KVM)
    told.record(0, sample())
    told.stream = told.new_stream()
    told.record(0, sample())
    assert told.hypervisor.described == [(UUID,)]


def test_a_guest_that_vanished_before_it_was_described_keeps_its_nics_to_itself() -> None:
    record = Told({}).record(0, sample())
    assert record.partial == Partial(("interface",))
    assert not any(key.startswith("net.rx") for key in record.params)


def test_xml_that_cannot_be_trusted_is_said_once_and_the_guest_goes_without_labels() -> None:
    told = Told("<domain")
    record = told.record(0, sample())
    told.record(10, sample(10))
    assert "net.rx.bytes[vnet0]" in record.params
    assert record.labels == {}
    assert told.log.events("warning") == ["guest_xml_unreadable"]


def test_an_answer_is_not_thrown_away_because_the_xml_is_late() -> None:
    told = Told(KVM)
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


def test_known_guests_keep_their_names_while_their_xml_is_late() -> None:
    told = Told(KVM)
    told.record(0, sample())
    told.hypervisor.trouble = OverdueError("too late")
    record = told.record(10, sample(10), missed=True)
    assert record.partial is None
    assert record.rates[f"net.rx.bytes[{MAC}]"] == 100.0


def test_a_stopping_agent_makes_no_batch_of_a_torn_tick() -> None:
    told = Told(KVM)
    told.hypervisor.trouble = ClosedError("stopping")
    with pytest.raises(ClosedError):
        told.record(0, sample())


def test_a_large_host_is_described_in_portions_and_new_guests_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "DESCRIBE_GUESTS_MAX", 2)
    told = Told({uuid: domain_xml() for uuid in "abcde"})
    guests = [Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "abcde"]
    told.batch(0, *guests[:3])
    assert told.hypervisor.described == [("a", "b"), ("c",)]
    told.batch(10, *guests, missed=True, deadline_at=time.monotonic() - 1)
    assert told.hypervisor.described[2:] == [("d", "e")], "past the deadline one portion is read, so that it ends"
    told.batch(20, *guests)
    assert told.hypervisor.described[3:] == [("a", "b"), ("c",)]


def test_a_guest_that_is_renamed_keeps_its_rates() -> None:
    told = Told(KVM)
    told.record(0, sample())
    record = told.record(10, sample(10), name="web-2")
    assert record.domain == Domain(UUID, "web-2", 3)
    assert record.rates["cpu.time"] == 0.5


def test_a_guest_that_is_off_has_no_id() -> None:
    record = Told(domain_xml(id=None)).record(0, {"state.state": 5}, id=-1)
    assert record.domain == Domain(UUID, "web-1", None)


def test_a_clock_set_back_by_a_tick_does_not_make_two_records_share_a_key() -> None:
    told = Told(KVM)
    times = {told.record(10, sample()).time_ms, told.record(10, sample()).time_ms}
    assert len(times) == 2


def test_only_chosen_fields_are_kept() -> None:
    told = Told(KVM, fields=wire.Globs(("block.*", "cpu.time"), ("block.count",)))
    assert set(told.record(0, sample()).params) == {"cpu.time", "block.rd.bytes[vda]", "block.rd.bytes[vdb]"}


def test_guests_long_gone_are_forgotten_and_others_are_not() -> None:
    told = Told({"a": domain_xml(), "b": domain_xml()})
    a, b = (Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "ab")
    told.batch(0, a, b)
    told.batch(3000, a)
    assert set(told.stream._known) == {"a", "b"}
    told.batch(3700, a)
    assert set(told.stream._known) == {"a"}


def test_of_too_many_guests_some_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "GUESTS_MAX", 2)
    told = Told({uuid: domain_xml() for uuid in "abcd"})
    for i, uuid in enumerate("abcd"):
        told.batch(i, Guest(uuid=uuid, params={"cpu.time": 0}))
    assert len(told.stream._known) == 2


@pytest.mark.parametrize(
    ("block", "stats", "flags"),
    [
        (Block("x", ("state",)), 1, ACTIVE | NOWAIT),
        (Block("x", ("state", "cpu-total", "balloon", "vcpu", "interface", "block")), 63, ACTIVE | NOWAIT),
        (Block("x", ("block", "vm"), backing=True), 32 | 1024, ACTIVE | NOWAIT | BACKING),
    ],
)
def test_a_block_asks_for_its_groups_of_active_guests_without_waiting(block: Block, stats: int, flags: int) -> None:
    assert (block.ask.stats, block.ask.flags) == (stats, flags)


@given(
    st.lists(
        st.tuples(st.sampled_from(["whole", "stuck", "unplug", "restart"]), st.integers(1, 100), st.booleans()),
        max_size=12,
    )
)
def test_whatever_a_guest_goes_through_no_rate_is_negative_and_every_record_is_json(
    life: list[tuple[str, int, bool]],
) -> None:
    told = Told(KVM)
    seconds = busy = 0
    incarnation = 3
    for what, passed, missed in life:
        seconds, busy = seconds + passed, busy + passed
        if what == "restart":
            incarnation, busy = incarnation + 1, 0
            told.hypervisor.xml[UUID] = KVM.replace("id='3'", f"id='{incarnation}'")
        params = sample(busy, disks=("vdb",) if what == "unplug" else ("vda", "vdb"))
        record = told.record(seconds, stuck(params) if what == "stuck" else params, id=incarnation, missed=missed)
        assert all(rate >= 0 for rate in record.rates.values())
        assert record.rates.get("cpu.time", 0.5) == 0.5
        assert set(record.rates) <= set(record.params)
        json.loads(encode([record]))
