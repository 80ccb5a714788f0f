"""What guests go through, as the records tell it: plugging, restarting, vanishing, hanging."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest

from domstat.catalog import GROUPS
from domstat.collect.block import ACTIVE
from domstat.collect.wire import Globs
from domstat.model import Event, Kind, Record
from domstat_lab import guests, hotplug, life
from domstat_lab.hang import hung
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec, GuestSpec, tiny

from .conftest import BURNER, NAUGHTY, PATIENCE_S, SLEEPER, WRITER, Collector

A_MOMENT_S = 0.5
"""So that there is time between two samples."""

ONSET_S = 20.0
"""The tick in which a guest hangs: the deadline, a look, a new worker, and half the deadline for who is stuck. That is
2 s, and some more on a busy machine; whoever waits for the guest waits for ever."""

CLOCK_S = 10.0
"""What happened just now is stamped with a time no further from the wall clock than this."""


def until(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


def disks_of(params: Mapping[str, object]) -> set[str]:
    return {key.partition("[")[2][:-1] for key in params if key.startswith("block.capacity[")}


def test_a_nic_has_its_mac_from_the_first_record_on(collect: Callable[..., Collector]) -> None:
    record = collect().guest(WRITER.name)
    macs = [key for key in record.params if key.startswith("net.rx.bytes[")]
    assert macs
    assert all(key.count(":") == 5 for key in macs)
    assert record.labels == {"title": WRITER.title}
    assert record.partial is None


def test_details_travel_once_and_then_only_when_they_change(collect: Callable[..., Collector]) -> None:
    collector = collect()
    first, second = collector.guest(WRITER.name), collector.guest(WRITER.name)
    assert first.devices
    assert first.devices["vda"]["path"]
    assert second.labels is None
    assert second.devices is None


def test_unplugging_a_disk_renames_no_other(
    lab: PrivateLibvirtd, victim: GuestSpec, collect: Callable[..., Collector]
) -> None:
    collector = collect()
    before = collector.guest(victim.name)
    hotplug.attach_disk(lab, victim.name, DiskSpec(3), "vdd")
    with_it = collector.guest(victim.name)
    assert disks_of(with_it.params) == {"vda", "vdb", "vdc", "vdd"}
    assert with_it.params["block.capacity[vdd]"] == 3 << 20
    for disk in disks_of(before.params):
        capacity, reads = f"block.capacity[{disk}]", f"block.rd.reqs[{disk}]"
        assert with_it.params[capacity] == before.params[capacity]
        # Not the same: firmware that is still looking for what it boots from reads on.
        assert int(with_it.params[reads]) >= int(before.params[reads])


def test_a_restarted_guest_begins_a_new_epoch(lab: PrivateLibvirtd, collect: Callable[..., Collector]) -> None:
    spec = GuestSpec("phoenix", kind="tiny", memory_mib=4)
    collector = collect()
    guests.start(lab, [spec])
    old = collector.guest(spec.name)
    guests.destroy(lab, [spec.name])
    assert spec.name not in collector.tick()
    guests.start(lab, [spec])
    new, next_one = collector.guest(spec.name), collector.guest(spec.name)
    guests.destroy(lab, [spec.name])
    assert old.domain
    assert new.domain
    assert (new.domain.uuid, new.domain.name) == (old.domain.uuid, old.domain.name)
    assert new.domain.id != old.domain.id
    assert new.rates == {}
    assert new.interval_s is None
    assert next_one.rates["cpu.time"] >= 0


def test_chosen_guests_come_by_the_list_call(collect: Callable[..., Collector]) -> None:
    assert set(collect(domains=Globs(include=("*e*",), exclude=("sl*", "a*"))).tick()) == {"burner", "writer"}


def test_no_guest_chosen_is_an_empty_tick(collect: Callable[..., Collector]) -> None:
    (batch,) = collect(domains=Globs(include=("nobody",))).batches()
    assert [record.kind for record in batch.records] == [Kind.AGENT]


def test_backing_layers_are_devices_of_their_own(collect: Callable[..., Collector]) -> None:
    record = collect(backing=True).guest(SLEEPER.name)
    layers = disks_of(record.params)
    assert {"vda", "vdb"} < layers
    assert any(layer.startswith("vdb#") for layer in layers)


def test_a_hostile_name_is_just_a_name(collect: Callable[..., Collector]) -> None:
    assert collect().guest(NAUGHTY.name).params["state.state"] == 1


# --- a guest that hangs


def test_the_tick_in_which_a_guest_hangs_has_all_others_whole_and_it_is_whole_in_the_next_after_it_goes_on(
    lab: PrivateLibvirtd, victim: GuestSpec, collect: Callable[..., Collector]
) -> None:
    collector = collect(host=True)
    assert collector.guest(victim.name).partial is None
    whole = collector.guest(victim.name)
    with hung(lab, [victim.name]):
        began = time.monotonic()
        onset = collector.tick(deadline_s=1.0)
        assert time.monotonic() - began < ONSET_S
        assert (collector.hypervisor.workers_killed, len(collector.hypervisor.quarantine)) == (1, 1)
        assert_alone_is_partial(onset, victim.name)
        began = time.monotonic()
        during = collector.tick(deadline_s=5.0)
        assert time.monotonic() - began < 5.0, "a guest that is known to be stuck is not waited for"
        assert_alone_is_partial(during, victim.name)
        assert during[WRITER.name].rates["block.wr.bytes[vda]"] >= 0
        assert during[victim.name].rates.keys().isdisjoint({"block.rd.reqs[vda]", "block.wr.bytes[vda]"})
    wait_for_answer(lab, victim.name)
    after = collector.tick(deadline_s=5.0)
    assert {name: record.partial for name, record in after.items() if record.partial} == {}
    assert len(collector.hypervisor.quarantine) == 0
    spans = [record.interval_s or 0 for record in (onset[victim.name], during[victim.name], after[victim.name])]
    read = int(after[victim.name].params["block.rd.reqs[vda]"]) - int(whole.params["block.rd.reqs[vda]"])
    assert after[victim.name].rates["block.rd.reqs[vda]"] == pytest.approx(read / sum(spans))


def wait_for_answer(lab: PrivateLibvirtd, name: str) -> None:
    """Return when a guest has answered somebody who waits for it, in line behind those who hung in it."""
    with closing(lab.connect()) as connection:
        connection.domainListGetStats([connection.lookupByName(name)], GROUPS["block"])


def is_running(lab: PrivateLibvirtd, name: str) -> bool:
    with closing(lab.connect()) as connection:
        return name in {domain.name() for domain in connection.listAllDomains(ACTIVE)}


def assert_alone_is_partial(records: Mapping[str, Record], name: str) -> None:
    assert set(records) >= {WRITER.name, BURNER.name, SLEEPER.name, NAUGHTY.name, name}
    assert {known for known, record in records.items() if record.partial} == {name}
    partial = records[name].partial
    assert partial
    assert set(partial.missing) >= {"balloon", "block", "cpu-total"}
    assert partial.age_s
    assert records[name].params["state.state"] == 1
    assert not any(key.startswith("block.wr.bytes") for key in records[name].params)


def test_a_guest_that_is_destroyed_while_it_hangs_is_gone_and_no_more(
    lab: PrivateLibvirtd, victim: GuestSpec, collect: Callable[..., Collector]
) -> None:
    collector = collect()
    collector.tick()
    with hung(lab, [victim.name]):
        collector.tick(deadline_s=1.0)
        os.kill(lab.qemu_pid(victim.name), signal.SIGKILL)
        until(lambda: not is_running(lab, victim.name), "its end is not seen")
        records = collector.tick(deadline_s=5.0)
    assert victim.name not in records
    assert {name for name, record in records.items() if record.partial} == set()
    assert len(collector.hypervisor.quarantine) == 0


# --- what happens to guests


def test_what_happens_to_a_guest_is_told_as_it_happens(lab: PrivateLibvirtd, collect: Callable[..., Collector]) -> None:
    spec = GuestSpec("newborn", kind="tiny", memory_mib=4)
    collector = collect()
    collector.tick()
    guests.start(lab, [spec])
    collector.tick()
    life.suspend(lab, spec.name)
    life.resume(lab, spec.name)
    life.reset(lab, spec.name)
    guests.destroy(lab, [spec.name])
    until(lambda: Event("stopped", "destroyed") in collector.events(spec.name), "no such event came")
    told = [event for event in collector.events(spec.name) if event.type != "shutdown"]  # QEMU's word, if it has time
    # A firmware that has time resets the machine once more, to begin anew.
    in_turn = [event_type for event_type, _ in groupby(event.type for event in told)]
    assert in_turn == ["resumed", "started", "paused", "resumed", "rebooted", "stopped"]
    assert told[1:4] == [Event("started", "booted"), Event("paused", "paused"), Event("resumed", "unpaused")]
    times = [record.time_ms for record in collector.happened]
    assert times == sorted(set(times))
    assert abs(times[-1] / 1000 - time.time()) < CLOCK_S


def test_a_disk_replugged_under_its_old_name_is_told_and_begins_anew(
    lab: PrivateLibvirtd, collect: Callable[..., Collector]
) -> None:
    spec = tiny("swapper", scsi=True)
    guests.start(lab, [spec])
    try:
        hotplug.attach_disk(lab, spec.name, DiskSpec(2), "sda")
        collector = collect()
        before = collector.guest(spec.name)
        assert before.anew is None
        hotplug.replug_disk(lab, spec.name, DiskSpec(2), "sda")
        after = collector.guest(spec.name)
        again = collector.guest(spec.name)
    finally:
        guests.destroy(lab, [spec.name])
    assert after.anew == ("sda",)
    assert after.partial is None
    assert not [key for key in after.rates if key.endswith("[sda]")]
    assert [key for key in after.rates if key.endswith("[vda]")]
    assert again.anew is None
    assert again.rates["block.rd.reqs[sda]"] >= 0
    plugs = [event for event in collector.events(spec.name) if event.type.startswith("device-")]
    assert plugs == [Event("device-removed", None, "sda"), Event("device-added", None, "sda")]


# --- what is no guest


def test_the_host_and_the_agent_have_a_record_each_a_tick(collect: Callable[..., Collector]) -> None:
    collector = collect(host=True)
    collector.batches()
    time.sleep(A_MOMENT_S)
    (batch,) = collector.batches()
    host, *others, agent = batch.records
    assert (host.kind, agent.kind) == (Kind.HOST, Kind.AGENT)
    assert {record.kind for record in others} == {Kind.GUEST}
    assert host.params["host.cpus"] == os.cpu_count()
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert host.params["host.memory.total"] == int(meminfo["MemTotal"].split()[0])
    assert 0 < host.derived["host.cpu.utilization"] <= 1
    assert 0 < host.derived["host.memory.used"] < int(host.params["host.memory.total"]) * 1024
    assert agent.params["agent.guests"] == len(others)
    assert agent.params["agent.calls"] == 1
    assert int(agent.params["agent.cost.libvirtd"]) > 0
