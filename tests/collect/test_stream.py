"""One stream: from answers to batches, and what it remembers in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import (
    KVM,
    MAC,
    UUID,
    Guest,
    S,
    Telling,
    Told,
    answer,
    disk_xml,
    domain_xml,
    guests_of,
    nic_xml,
    record_of,
    sample,
    spare,
    stamp,
    stuck,
)
from domstat import clock
from domstat.catalog import GROUPS
from domstat.collect import stream as stream_module
from domstat.collect import wire
from domstat.collect.errors import OverdueError, RefusedError, UnreachableError
from domstat.collect.stream import CHUNK_MIN
from domstat.jsonlines import encode
from domstat.model import Batch, Domain, Kind, Partial, Record, Value

HOUR_S = 3600

At = Callable[[float], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Set the boot-time clock to so many seconds, which is when the next tick begins."""
    now = [0.0]
    monkeypatch.setattr(clock, "boot_ns", lambda: round(now[0] * S))
    return lambda seconds: now.__setitem__(0, seconds)


# --- records


def test_a_guests_first_record_has_everything_but_rates() -> None:
    told = Telling(KVM)
    batch = told.batch(0, Guest(params=sample()))
    assert (batch.host, batch.collect, batch.stamp) == ("kvm1", "default", stamp(0))
    (record,) = guests_of(batch)
    assert (record.host, record.collect, record.time_ms) == ("kvm1", "default", stamp(0).time_ms)
    assert record.domain == Domain(UUID, "web-1", 3)
    assert (record.interval_s, record.rates, record.partial, record.anew) == (None, {}, None, None)
    assert record.params[f"net.rx.bytes[{MAC}]"] == 0
    assert "net.name" not in {key.partition("[")[0] for key in record.params}


def test_the_second_record_has_rates_and_derived_values() -> None:
    told = Telling(KVM)
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


def test_a_records_rates_are_those_of_its_tick_whenever_they_are_looked_at() -> None:
    told = Telling(KVM)
    records = [told.record(10 * tick, sample(10 * tick * tick)) for tick in range(5)]
    assert [record.rates.get("cpu.time") for record in reversed(records)] == [3.5, 2.5, 1.5, 0.5, None]


def test_for_as_long_as_a_guest_is_as_it_was_its_records_share_their_keys() -> None:
    told = Telling(KVM)
    first, second, third = (told.record(seconds, sample(seconds)).figures for seconds in (0, 10, 20))
    assert third.keys is second.keys
    assert tuple(third.values) == tuple(third.params.values())
    assert third.keys == tuple(third.params) == tuple(first.params)


def test_a_guests_moment_is_estimated_within_a_long_call() -> None:
    told = Telling({"a": domain_xml(), "b": domain_xml()})
    guests = [Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "ab"]
    told.batch(0, *guests, call_ms=0)
    later = [Guest(uuid=uuid, params={"cpu.time": S}) for uuid in "ab"]
    first, second = guests_of(told.batch(10, *later, call_ms=4000))
    assert (first.interval_s, second.interval_s) == (11.0, 13.0)
    assert second.rates == {"cpu.time": pytest.approx(1 / 13)}
    assert first.time_ms == second.time_ms == stamp(10).time_ms


def test_records_come_in_the_order_of_the_answer() -> None:
    told = Telling({uuid: domain_xml() for uuid in "cab"})
    batch = told.batch(0, *[Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "cab"])
    assert [record.subject for record in guests_of(batch)] == list("cab")


def test_a_host_without_guests_has_only_the_agents_record() -> None:
    batch = Telling().batch(0)
    assert [record.kind for record in batch.records] == [Kind.AGENT]


def test_a_guest_that_is_renamed_keeps_its_rates() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    record = told.record(10, sample(10), name="web-2")
    assert record.domain == Domain(UUID, "web-2", 3)
    assert record.rates["cpu.time"] == 0.5


def test_a_guest_that_is_off_has_no_id() -> None:
    record = Telling(domain_xml(id=None)).record(0, {"state.state": 5}, id=-1)
    assert record.domain == Domain(UUID, "web-1", None)


def test_only_chosen_fields_are_kept() -> None:
    told = Telling(KVM, fields=wire.Globs(("block.*", "cpu.time"), ("block.count",)))
    record = told.record(0, sample())
    assert set(record.params) == {"cpu.time", "block.rd.bytes[vda]", "block.rd.bytes[vdb]"}


def test_a_guest_of_whose_disks_nothing_is_kept_is_whole_all_the_same() -> None:
    told = Telling(KVM, fields=wire.Globs(("cpu.*",)))
    assert told.record(0, sample()).partial is None
    assert told.record(10, sample(10)).partial is None


# --- the host and the agent


def test_the_hosts_record_comes_first_and_the_agents_last() -> None:
    told = Telling(KVM)
    host: dict[str, Value] = {"host.cpu.user": 0, "host.cpu.idle": 0, "host.cpus": 2}
    assert [record.kind for record in told.batch(0, Guest(params=sample()), host=host).records] == [
        Kind.HOST,
        Kind.GUEST,
        Kind.AGENT,
    ]
    host |= {"host.cpu.user": 5 * S, "host.cpu.idle": 15 * S}
    record = record_of(Kind.HOST, told.batch(10, Guest(params=sample(10)), host=host))
    assert (record.params, record.domain, record.interval_s) == (host, None, 10.0)
    assert record.derived == {"host.cpu.utilization": 0.25}


def test_the_host_is_asked_for_as_the_block_says() -> None:
    told = Telling(KVM, host=True)
    told.batch(0)
    assert told.hypervisor.asked[0].host
    assert not Telling().block.ask().host


def test_the_agent_says_how_the_tick_went() -> None:
    told = Telling({"a": KVM, "b": KVM})
    told.stream.tally.skipped, told.stream.tally.failed, told.stream.tally.clock_steps = 1, 2, 3
    told.hypervisor.workers_killed, told.hypervisor.reconnects = 4, 5
    told.hypervisor.quarantine.abandon([wire.Occupied("b", "b", 9000)])
    told.batch(0, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    guests = [Guest(uuid="a", params=sample(10)), Guest(uuid="b", params=stuck(sample(10)))]
    due_ms = stamp(10).time_ms - 7
    (batch,) = told.tick(answer(stamp(10, 40), *guests, cost=wire.Cost(30_000_000, None, 1_000_000)), due_ms=due_ms)
    record = record_of(Kind.AGENT, batch)
    assert record.params == {
        "agent.call.time": 40_000_000, "agent.lateness": 7_000_000, "agent.calls": 1, "agent.guests": 2,
        "agent.partial": 1, "agent.quarantined": 1, "agent.workers_killed": 4, "agent.reconnects": 5,
        "agent.clock_steps": 3, "agent.skipped": 1, "agent.failed": 2, "agent.cost.libvirtd": 30_000_000,
        "agent.cost.worker": 1_000_000,
    }  # fmt: skip
    assert record.interval_s == pytest.approx(10.05)
    assert told.stream.tick is not None
    assert (told.stream.tick.guests, told.stream.tick.lateness_ms) == (2, 7)


# --- changes of a guest


def test_a_restart_is_a_new_guest_even_where_counters_rose() -> None:
    told = Telling(KVM)
    told.record(0, sample(1))
    told.hypervisor.xml[UUID] = domain_xml(nic_xml(MAC, "vnet1"), disk_xml("vda"), disk_xml("vdb"), id=4)
    record = told.record(10, sample(1000, tap="vnet1"), id=4)
    assert (record.rates, record.interval_s, record.partial) == ({}, None, None)
    assert f"net.rx.bytes[{MAC}]" in record.params, "a series survives a restart although its tap does not"
    assert record.devices is not None
    assert record.devices[MAC]["tap"] == "vnet1"
    assert told.record(20, sample(1010, tap="vnet1"), id=4).rates["cpu.time"] == 0.5


def test_another_incarnation_under_the_same_number_begins_anew_with_everything() -> None:
    told = Telling(KVM)
    told.record(0, sample(1000))
    record = told.record(10, sample(10) | {"net.0.rx.bytes": 999_999})
    assert record.rates == {}
    assert told.record(20, sample(20) | {"net.0.rx.bytes": 1_000_999}).rates[f"net.rx.bytes[{MAC}]"] == 100.0


def test_a_hot_unplug_renumbers_and_the_other_disks_go_on() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    record = told.record(10, sample(10, disks=("vdb",)))
    assert record.rates["block.rd.bytes[vdb]"] == 1000.0
    assert "block.rd.bytes[vda]" not in record.params
    assert (record.partial, record.anew) == (None, None)


def test_a_disk_that_comes_back_under_its_name_begins_anew() -> None:
    told = Telling(KVM)
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
    told = Telling(KVM)
    told.record(0, sample(0))
    told.hypervisor.xml[UUID] = domain_xml(nic_xml(MAC, "vnet5"), disk_xml("vda"), disk_xml("vdb"))
    record = told.record(10, sample(10, **changed))
    assert record.anew is not None
    assert device in record.anew
    assert key in record.params
    assert key not in record.rates
    assert record.rates["cpu.time"] == 0.5
    assert key in told.record(20, sample(20, **changed)).rates


# --- devices that were plugged, as libvirt's events tell


def plugged(alias: str, seconds: float, event: str = "device-added") -> wire.Change:
    return wire.Change(event, UUID, "web-1", 3, (), alias, 0, stamp(seconds).boot_ns)


def rates_of_vdb(told: Telling, seconds: float, busy: int, call_ms: int = 0) -> tuple[bool, tuple[str, ...] | None]:
    """Collect a tick; return whether vdb has a rate, and what is said to be plugged anew."""
    record = told.record(seconds, sample(busy), call_ms=call_ms)
    assert record.rates["block.rd.bytes[vda]"] > 0
    return "block.rd.bytes[vdb]" in record.rates, record.anew


@pytest.mark.parametrize(("alias", "device"), [("virtio-vdb", "vdb"), ("net0", MAC)])
def test_a_device_plugged_anew_under_its_name_and_path_has_no_rate_though_nothing_fell(alias: str, device: str) -> None:
    told = Telling(KVM)
    told.record(0, sample(10))
    told.happens(plugged(alias, 4, "device-removed"), plugged(alias, 5))
    record = told.record(10, sample(20))
    assert record.anew == (device,)
    assert not [key for key in record.rates if f"[{device}]" in key]
    assert record.rates["block.rd.bytes[vda]"] == 1000.0
    later = told.record(20, sample(30))
    assert (later.anew, len(later.rates)) == (None, 5)


def test_a_device_plugged_during_a_call_is_anew_in_that_records_answer_and_the_next() -> None:
    told = Telling(KVM)
    told.record(0, sample(10))
    told.happens(plugged("virtio-vdb", 12))
    assert rates_of_vdb(told, 10, 20, call_ms=4000) == (False, ("vdb",))
    assert rates_of_vdb(told, 20, 30) == (False, ("vdb",)), "the call before may have read the old one or the new"
    assert rates_of_vdb(told, 30, 40) == (True, None)


def test_an_event_that_comes_after_the_answer_counts_for_the_next() -> None:
    told = Telling(KVM)
    told.record(0, sample(10), call_ms=4000)
    told.happens(plugged("virtio-vdb", 2))
    assert rates_of_vdb(told, 10, 20) == (False, ("vdb",))
    assert rates_of_vdb(told, 20, 30) == (True, None)


def test_a_device_plugged_before_the_call_of_the_record_before_is_an_old_one() -> None:
    told = Telling(KVM)
    told.happens(plugged("virtio-vdb", 5))
    first = told.record(10, sample(10))
    assert first.anew is None
    assert rates_of_vdb(told, 20, 20) == (True, None)


def test_a_device_that_is_only_removed_is_not_anew() -> None:
    told = Telling(KVM)
    told.record(0, sample(10))
    told.happens(plugged("virtio-vdz", 5), plugged("virtio-vdb", 6, "device-removed"))
    assert told.record(10, sample(20, disks=("vda",))).anew is None


def test_the_series_and_the_history_see_the_same_border() -> None:
    """What is plugged anew is anew for every record until its call began after it, whatever was spared in between."""
    told = Telling(KVM)
    told.record(0, sample(10))
    told.happens(plugged("virtio-vdb", 5))
    told.record(10, spare(sample(20)), spared=True)
    assert rates_of_vdb(told, 20, 30) == (False, ("vdb",))


# --- guests that do not answer


def test_a_stuck_guests_record_says_what_is_missing_and_since_when() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    record = told.record(10, stuck(sample(10)))
    assert record.partial == Partial(("balloon", "block"), 10.0)
    assert record.rates == {"cpu.time": 0.5, "vcpu.time[0]": 0.25, f"net.rx.bytes[{MAC}]": 100.0}
    assert record.params["balloon.current"] == 4096
    assert told.record(20, stuck(sample(20))).partial == Partial(("balloon", "block"), 20.0)


def test_after_a_stuck_time_rates_are_over_their_own_elapsed_time() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    told.record(10, stuck(sample(10)))
    told.record(20, stuck(sample(20)))
    record = told.record(30, sample(60))
    assert record.partial is None
    assert record.interval_s == 10.0
    assert record.rates["block.rd.bytes[vda]"] == 2000.0
    assert record.rates["cpu.time"] == 2.0
    assert told.record(40, sample(70)).rates["block.rd.bytes[vda]"] == 1000.0


def test_a_guest_that_is_stuck_when_it_is_first_seen_is_partial_until_it_answers() -> None:
    told = Telling(KVM)
    assert told.record(0, stuck(sample(0))).partial == Partial(("block",))
    assert told.record(10, stuck(sample(10))).partial == Partial(("block",))
    assert told.record(20, sample(20)).partial is None


def test_a_guest_without_a_balloon_driver_any_more_is_whole() -> None:
    told = Telling(KVM)
    told.record(0, sample() | {"balloon.usable": 5})
    assert told.record(10, sample()).partial is None


def test_what_is_no_number_is_left_out_and_said_to_be_missing() -> None:
    told = Telling(domain_xml())
    energy = "cpu.energy.monitor.0.pkg.0.core_energy"
    told.record(0, {"cpu.time": 0, energy: 1.0})
    record = told.record(10, {"cpu.time": 0, energy: float("nan")})
    assert record.params == {"cpu.time": 0}
    assert record.partial == Partial(("cpu-total",), 10.0)
    assert told.log.facts("no_number") == {"uuid": UUID, "params": [energy]}
    assert told.record(20, {"cpu.time": 0, energy: 21.0}).rates == {
        "cpu.time": 0.0,
        "cpu.energy.monitor.pkg.core_energy[0/0]": 1.0,
    }


def test_what_is_no_number_from_the_start_is_missing_from_the_start() -> None:
    told = Telling(domain_xml())
    params: dict[str, Value] = {"cpu.time": 0, "perf.cpu_cycles": "n/a"}
    for seconds in (0, 10, 20):
        record = told.record(seconds, params)
        assert (record.params, record.partial) == ({"cpu.time": 0}, Partial(("perf",)))
    assert told.record(30, {"cpu.time": 0, "perf.cpu_cycles": 5}).partial is None


# --- answers that spare the guests


MISSING = ("balloon", "block", "cpu-total", "vcpu")


def test_a_spared_guests_record_lacks_what_only_the_guest_knows() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    record = told.record(10, spare(sample(10)), spared=True)
    assert record.params == {"state.state": 1, "net.count": 1, f"net.rx.bytes[{MAC}]": 1000}
    assert record.rates == {f"net.rx.bytes[{MAC}]": 100.0}
    assert record.partial == Partial(MISSING, 10.0)
    assert record.interval_s == 10.0
    assert told.record(20, spare(sample(20)), spared=True).partial == Partial(MISSING, 20.0)


def test_what_was_known_of_a_spared_guest_stays_known() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    told.record(10, spare(sample(10)), spared=True)
    told.record(20, spare(sample(20)), spared=True)
    record = told.record(30, sample(30))
    assert (record.partial, record.labels, record.devices, record.anew) == (None, None, None, None)
    assert record.rates == {
        "cpu.time": 0.5, "vcpu.time[0]": 0.25, f"net.rx.bytes[{MAC}]": 100.0, "block.rd.bytes[vda]": 1000.0,
        "block.rd.bytes[vdb]": 1000.0,
    }  # fmt: skip
    assert told.record(40, sample(60)).rates["cpu.time"] == 1.5


def test_a_spared_record_carries_no_details_though_these_are_due() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    assert told.record(HOUR_S, spare(sample()), spared=True).devices is None
    assert told.record(HOUR_S + 10, sample()).devices is not None


def test_a_spared_answer_reads_no_xml() -> None:
    told = Telling(KVM)
    told.record(0, spare(sample()), spared=True)
    assert told.hypervisor.described == []


def test_a_guest_first_seen_in_a_spared_answer_is_a_guest_like_any_other_later() -> None:
    told = Telling(KVM)
    first = told.record(0, spare(sample(0)), spared=True)
    assert first.partial == Partial(tuple(sorted((*MISSING, "interface"))))
    assert (first.interval_s, first.rates) == (None, {})
    assert not any(key.startswith("net.rx") for key in first.params), "its NICs cannot be named yet"
    second = told.record(10, sample(10))
    assert (second.partial, second.interval_s) == (None, 10.0)
    assert second.devices is not None
    assert told.record(20, sample(20)).rates["block.rd.bytes[vda]"] == 1000.0


def test_a_guest_that_was_started_anew_while_it_is_spared_begins_anew() -> None:
    told = Telling(KVM)
    told.record(0, sample(100))
    record = told.record(10, spare(sample(200)), id=4, spared=True)
    assert (record.domain, record.rates, record.interval_s) == (Domain(UUID, "web-1", 4), {}, None)
    told.hypervisor.xml[UUID] = KVM.replace("id='3'", "id='4'")
    assert "cpu.time" not in told.record(20, sample(300), id=4).rates
    assert told.record(30, sample(310), id=4).rates["cpu.time"] == 0.5


def test_a_nic_plugged_into_a_spared_guest_waits_for_its_name() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    params = spare(sample(10)) | {"net.1.name": "vnet7", "net.1.rx.bytes": 5}
    record = told.record(10, params, spared=True)
    assert not any(key.startswith("net.rx") for key in record.params)
    assert record.partial == Partial(tuple(sorted((*MISSING, "interface"))), 10.0)
    assert told.record(20, sample(20)).rates[f"net.rx.bytes[{MAC}]"] == 100.0


def test_a_spared_guest_is_not_forgotten_however_long_it_takes() -> None:
    told = Telling({"a": KVM, "b": KVM})
    told.batch(0, *[Guest(uuid=uuid, params=sample(0)) for uuid in "ab"])
    for seconds in range(1800, 3 * HOUR_S + 1, 1800):
        told.batch(seconds, Guest(uuid="a", params=spare(sample(seconds))), spared=True)
    (record,) = guests_of(told.batch(3 * HOUR_S + 10, Guest(uuid="a", params=sample(3 * HOUR_S + 10))))
    assert record.rates["cpu.time"] == 0.5
    assert set(told.stream._known) == {"a"}


def test_a_block_that_asks_the_guests_for_nothing_lacks_nothing_when_they_are_spared() -> None:
    told = Telling(KVM, groups=("state", "interface"))
    assert told.record(0, spare(sample(0)), spared=True).partial is None
    record = told.record(10, spare(sample(10)), spared=True)
    assert (record.partial, record.rates) == (None, {f"net.rx.bytes[{MAC}]": 100.0})
    assert told.hypervisor.described == [(UUID,)]


def test_a_tick_in_which_a_guest_got_stuck_is_whole_but_for_that_guest() -> None:
    told = Telling(dict.fromkeys("abc", KVM))

    def tick(seconds: int) -> list[Told]:
        whole = [Guest(uuid=uuid, params=sample(seconds)) for uuid in "ab"]
        return [
            answer(stamp(seconds), *whole, more=True),
            answer(stamp(seconds + 1), Guest(uuid="c", params=spare(sample(seconds))), spared=True),
        ]

    told.batch(0, *[Guest(uuid=uuid, params=sample()) for uuid in "abc"])
    batches = told.tick(*tick(10))
    records = {record.subject: record for record in guests_of(*batches)}
    assert [len(record.rates) for record in records.values()] == [5, 5, 1]
    assert [record.partial is None for record in records.values()] == [True, True, False]
    assert [[record.kind for record in batch.records] for batch in batches] == [
        [Kind.GUEST, Kind.GUEST],
        [Kind.GUEST, Kind.AGENT],
    ]
    assert record_of(Kind.AGENT, batches[1]).params["agent.partial"] == 1


# --- answers in parts


def hundred(seconds: int, more: bool, call_ms: int, start: int = 0) -> Told:
    guests = [Guest(uuid=str(number), params={"cpu.time": 0}) for number in range(start, start + 100)]
    return answer(stamp(seconds, call_ms), *guests, more=more)


def test_parts_are_batches_with_stamps_of_their_own_and_the_agent_speaks_at_the_end() -> None:
    told = Telling({str(number): domain_xml() for number in range(200)})
    first, second = told.tick(hundred(0, True, 30), hundred(0, False, 40, start=100))
    assert (first.stamp.time_ms, second.stamp.time_ms) == (stamp(0).time_ms, stamp(0).time_ms + 1)
    assert {record.time_ms for record in first.records} == {first.stamp.time_ms}
    assert (len(guests_of(first)), len(first.records)) == (100, 100)
    agent = record_of(Kind.AGENT, second)
    assert (agent.params["agent.calls"], agent.params["agent.guests"]) == (2, 200)
    assert agent.params["agent.call.time"] == 70_000_000


def test_a_host_whose_call_takes_longer_than_the_deadline_is_asked_in_parts() -> None:
    told = Telling({str(number): domain_xml() for number in range(100)})
    told.tick(hundred(0, False, 5000), deadline_s=4.0)
    assert told.log.facts("asked_in_parts") == {"guests": 100, "call_s": 5.0, "part": 40}
    told.tick(hundred(10, False, 8000), deadline_s=4.0)
    told.tick(hundred(20, False, 3000), deadline_s=4.0)
    told.tick(hundred(30, False, 1900), deadline_s=4.0)
    told.tick(hundred(40, False, 1900), deadline_s=4.0)
    assert [ask.chunk for ask in told.hypervisor.asked] == [0, 40, 25, 25, 0]
    assert told.log.events("info") == ["asked_in_parts"]


def test_a_part_is_never_so_small_that_the_calls_themselves_weigh() -> None:
    told = Telling({str(number): domain_xml() for number in range(100)})
    told.tick(hundred(0, False, 60_000), deadline_s=4.0)
    told.tick(hundred(100, False, 60_000), deadline_s=4.0)
    assert told.hypervisor.asked[-1].chunk == CHUNK_MIN


def test_few_guests_are_never_asked_in_parts() -> None:
    told = Telling(KVM)
    told.record(0, sample(), call_ms=60_000, deadline_s=4.0)
    told.record(100, sample(), deadline_s=4.0)
    assert told.hypervisor.asked[-1].chunk == 0


def test_what_came_before_a_tick_failed_is_given_and_counts_for_the_next() -> None:
    told = Telling(dict.fromkeys("ab", KVM))
    told.batch(0, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    part = answer(stamp(10), Guest(uuid="a", params=sample(10)), more=True)
    given: list[Batch] = []
    told.hypervisor.ticks.append((part, OverdueError("stalled")))
    with pytest.raises(OverdueError):
        given.extend(told.stream.collect(4.0))
    assert [record.subject for record in guests_of(*given)] == ["a"]
    assert [record.kind for batch in given for record in batch.records] == [Kind.GUEST], (
        "the tick has no end to speak of"
    )
    after = guests_of(told.batch(30, *[Guest(uuid=uuid, params=sample(30)) for uuid in "ab"]))
    assert [(record.interval_s, record.rates["cpu.time"]) for record in after] == [(20.0, 0.5), (30.0, 0.5)]


# --- what is done once an hour


def test_once_an_hour_the_xml_of_all_is_read_again_whatever_events_there_were(at: At) -> None:
    told = Telling(KVM, host=True)
    for seconds in (0, HOUR_S - 1, HOUR_S, HOUR_S + 10, 2 * HOUR_S):
        at(seconds)
        told.record(seconds, sample())
    assert len(told.hypervisor.described) == 3


def test_of_a_hosts_streams_one_sees_to_that(at: At) -> None:
    told = Telling(KVM)
    for seconds in (0, HOUR_S, 2 * HOUR_S):
        at(seconds)
        told.record(seconds, sample())
    assert len(told.hypervisor.described) == 1


# --- groups that are asked for rarely


RARE = ("perf", "iothread", "dirtyrate")
PROBED: dict[str, Value] = {
    "iothread.count": 1,
    "iothread.1.poll-max-ns": 32768,
    "perf.cpu_cycles": 0,
    "dirtyrate.calc_status": 0,
}


def probed_in(told: Telling) -> list[set[str]]:
    """Say which rare groups each tick so far asked for."""
    return [{group for group in RARE if ask.stats & GROUPS[group]} for ask in told.hypervisor.asked]


def test_groups_that_have_nothing_to_say_are_asked_for_once_an_hour(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    for seconds in (0, 10, 20, HOUR_S, HOUR_S + 10):
        at(seconds)
        told.record(seconds, sample() | PROBED)
    assert probed_in(told) == [set(RARE), {"iothread"}, {"iothread"}, set(RARE), {"iothread"}]


def test_a_new_guest_has_them_asked_for_with_the_next_tick(at: At) -> None:
    told = Telling({"a": KVM, "b": KVM}, probe=RARE)
    at(0)
    told.batch(0, Guest(uuid="a", params=sample()))
    at(10)
    told.batch(10, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    for seconds in (20, 30):
        at(seconds)
        told.batch(seconds, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    assert probed_in(told) == [set(RARE), set(), set(RARE), set()]


def test_so_has_one_that_is_first_seen_in_a_spared_answer(at: At) -> None:
    told = Telling({"a": KVM, "b": KVM}, probe=RARE)
    at(0)
    told.batch(0, Guest(uuid="a", params=sample()))
    at(10)
    told.batch(10, *[Guest(uuid=uuid, params=spare(sample())) for uuid in "ab"], spared=True)
    at(20)
    told.batch(20)
    assert probed_in(told) == [set(RARE), set(), set(RARE)]


def test_a_guest_started_anew_has_them_asked_for_too(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    for seconds, incarnation in ((0, 3), (10, 3), (20, 4), (30, 4), (40, 4)):
        at(seconds)
        told.record(seconds, sample(seconds), id=incarnation)
    assert probed_in(told) == [set(RARE), set(), set(), set(RARE), set()]


def test_a_host_that_was_down_at_first_is_asked_for_them_once_it_is_back(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    at(0)
    with pytest.raises(UnreachableError):
        told.tick(UnreachableError("down"))
    for seconds in (10, 20, 30):
        at(seconds)
        told.record(seconds, sample(seconds))
    assert probed_in(told) == [set(RARE), set(), set(RARE), set()]


def test_what_was_not_asked_for_is_not_missing(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    silent: dict[str, Value] = {"dirtyrate.calc_status": 0, "iothread.count": 0}
    for seconds in (0, 10, HOUR_S, HOUR_S + 10):
        at(seconds)
        record = told.record(seconds, sample(seconds) | (silent if seconds % HOUR_S == 0 else {}))
        assert record.partial is None
        assert record.interval_s is None or record.rates["cpu.time"] == 0.5


def test_what_was_asked_for_and_did_not_come_from_a_stuck_guest_is(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    at(0)
    told.record(0, sample() | PROBED)
    at(10)
    assert told.record(10, stuck(sample(10))).partial == Partial(("balloon", "block", "iothread"), 10.0)


def test_a_spared_guest_lacks_of_these_only_what_has_something_to_say(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    at(0)
    assert told.record(0, spare(sample()), spared=True).partial == Partial(tuple(sorted((*MISSING, "interface"))))
    at(10)
    told.record(10, sample() | PROBED)
    at(20)
    assert told.record(20, spare(sample()), spared=True).partial == Partial(tuple(sorted((*MISSING, "iothread"))), 10.0)


# --- cost


def test_the_cost_is_asked_for_with_the_second_tick_and_then_every_five_minutes(at: At) -> None:
    told = Telling(KVM)
    for seconds in (0, 10, 20, 300, 310, 320, 610):
        at(seconds)
        told.record(seconds, sample())
    assert [ask.cost for ask in told.hypervisor.asked] == [False, True, False, False, True, False, True]


# --- times


def test_a_clock_set_back_by_a_tick_does_not_make_two_records_share_a_key() -> None:
    told = Telling(KVM)
    times = [told.record(wall, sample()).time_ms for wall in (10, 20, 30, 10, 20, 30, 40)]
    assert len(set(times)) == 7
    assert times[3] - times[0] == 1


def test_rates_are_of_the_boot_time_clock_whatever_the_wall_clock_did() -> None:
    told = Telling(KVM)
    told.record(100, sample(100))
    taken = stamp(110)
    set_back = type(taken)(taken.time_ms - 3_600_000, taken.boot_ns, taken.boot_id, 0)
    (batch,) = told.tick(answer(set_back, Guest(params=sample(110))))
    (record,) = guests_of(batch)
    assert (record.rates["cpu.time"], record.interval_s) == (0.5, 10.0)


# --- what fails, and what is forgotten


@pytest.mark.parametrize("error", [OverdueError("late"), RefusedError("no"), UnreachableError("down")])
def test_a_tick_that_fails_changes_nothing_of_what_is_known(error: Exception) -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    with pytest.raises(type(error)):
        told.tick(error)  # type: ignore[arg-type]
    record = told.record(20, sample(20))
    assert (record.rates["cpu.time"], record.interval_s, record.devices) == (0.5, 20.0, None)


def test_guests_long_gone_are_forgotten_and_others_are_not() -> None:
    told = Telling({"a": domain_xml(), "b": domain_xml()})
    a, b = (Guest(uuid=uuid, params={"cpu.time": 0}) for uuid in "ab")
    told.batch(0, a, b)
    told.batch(3000, a)
    assert set(told.stream._known) == {"a", "b"}
    told.batch(3700, a)
    assert set(told.stream._known) == {"a"}


def test_of_too_many_guests_some_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "GUESTS_MAX", 2)
    told = Telling({uuid: domain_xml() for uuid in "abcd"})
    for i, uuid in enumerate("abcd"):
        told.batch(i, Guest(uuid=uuid, params={"cpu.time": 0}))
    assert len(told.stream._known) == 2


# --- whatever a guest goes through


moments = ("whole", "stuck", "spared", "unplug", "restart", "replug", "rename", "reconnect", "fail")


def check(record: Record) -> None:
    assert all(rate >= 0 for rate in record.rates.values())
    assert record.rates.get("cpu.time", 0.5) == 0.5
    assert record.rates.get("block.rd.bytes[vdb]", 1000.0) == 1000.0
    assert set(record.rates) <= set(record.params)
    json.loads(encode([record]))


@given(st.lists(st.tuples(st.sampled_from(moments), st.integers(1, 100), st.booleans()), max_size=12))
def test_whatever_a_guest_goes_through_no_rate_is_wrong_and_every_record_is_json(
    life: list[tuple[str, int, bool]],
) -> None:
    """*vda* is plugged anew now and then, with counters that began again; *vdb* and the guest's time go on steadily."""
    told = Telling(KVM)
    seconds = busy = since = 0
    incarnation = 3
    records = []
    for what, passed, looked_at_once in life:
        seconds, busy = seconds + passed, busy + passed
        match what:
            case "restart":
                incarnation, busy, since = incarnation + 1, 0, 0
                told.hypervisor.xml[UUID] = KVM.replace("id='3'", f"id='{incarnation}'")
            case "replug":
                since = busy
                told.happens(plugged("virtio-vda", seconds - 0.5))
            case "reconnect":
                told.happens(missed=True)
            case "fail":
                with pytest.raises(OverdueError):
                    told.tick(OverdueError("late"))
                continue
        params = sample(busy, disks=("vdb",) if what == "unplug" else ("vda", "vdb"))
        if what != "unplug":
            params["block.0.rd.bytes"] = (busy - since) * 1000
        more = {"id": incarnation, "name": "new" if what == "rename" else "web-1"}
        if what == "spared":
            record = told.record(seconds, spare(params), spared=True, **more)
        else:
            record = told.record(seconds, stuck(params) if what == "stuck" else params, **more)
        records.append(record)
        if looked_at_once:
            check(record)
    for record in records:
        check(record)
        assert record.rates.get("block.rd.bytes[vda]", 1000.0) == 1000.0
