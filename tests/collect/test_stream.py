"""One stream: from answers to batches, and what it remembers in between."""

from __future__ import annotations

import json
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
from domstat.collect import stream as stream_module
from domstat.collect import wire
from domstat.collect.errors import OverdueError, RefusedError, UnreachableError
from domstat.collect.stream import CHUNK_MIN
from domstat.jsonlines import encode
from domstat.model import Batch, Domain, Kind, Record, Value

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
