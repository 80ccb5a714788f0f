"""What guests go through, as the records tell it: plugging, restarting, vanishing, hanging."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

import pytest

from domstat.collect.hypervisor import OverdueError
from domstat.collect.stream import deadline_in
from domstat.collect.wire import Globs
from domstat_lab import guests, hotplug
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec, GuestSpec

from .conftest import NAUGHTY, SLEEPER, WRITER, Collector


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
    for key in before.params:
        if key.startswith(("block.rd.reqs", "block.capacity")):
            assert with_it.params[key] == before.params[key]


def test_a_restarted_guest_begins_a_new_epoch(lab: PrivateLibvirtd, collect: Callable[..., Collector]) -> None:
    spec = GuestSpec("phoenix", kind="tiny", memory_mib=4)
    collector = collect()
    guests.start(lab, [spec])
    old = collector.guest(spec.name)
    guests.destroy(lab, [spec.name])
    assert all(record.domain and record.domain.name != spec.name for record in collector.tick().records)
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
    batch = collect(domains=Globs(include=("*e*",), exclude=("sl*", "a*"))).tick()
    assert sorted(record.domain.name for record in batch.records if record.domain) == ["burner", "writer"]


def test_no_guest_chosen_is_an_empty_tick(collect: Callable[..., Collector]) -> None:
    assert collect(domains=Globs(include=("nobody",))).tick().records == ()


def test_backing_layers_are_devices_of_their_own(collect: Callable[..., Collector]) -> None:
    record = collect(backing=True).guest(SLEEPER.name)
    layers = disks_of(record.params)
    assert {"vda", "vdb"} < layers
    assert any(layer.startswith("vdb#") for layer in layers)


def test_a_hostile_name_is_just_a_name(collect: Callable[..., Collector]) -> None:
    assert collect().guest(NAUGHTY.name).params["state.state"] == 1


def test_a_hung_guest_costs_its_worker_and_the_others_go_on(
    lab: PrivateLibvirtd, victim: GuestSpec, collect: Callable[..., Collector]
) -> None:
    collector = collect()
    whole = collector.guest(victim.name)
    assert whole.partial is None
    hung = lab.qemu_pid(victim.name)
    os.kill(hung, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(OverdueError):
            collector.stream.collect(deadline_in(2))
        assert 1.9 < time.monotonic() - began < 4
        assert collector.hypervisor.workers_killed == 1
        batch = collector.stream.collect(deadline_in(5))
        records = {record.domain.name: record for record in batch.records if record.domain}
        assert records[WRITER.name].partial is None
        assert records[WRITER.name].rates["block.wr.bytes[vda]"] > 0
        partial = records[victim.name].partial
        assert partial
        assert "block" in partial.missing
        assert partial.age_s
        assert partial.age_s > 1
        assert not any(key.startswith("block.wr.bytes") for key in records[victim.name].params)
    finally:
        os.kill(hung, signal.SIGCONT)
    time.sleep(0.5)
    recovered = collector.guest(victim.name)
    assert recovered.partial is None
    own_elapsed = (records[victim.name].interval_s or 0) + (recovered.interval_s or 0)
    read = int(recovered.params["block.rd.reqs[vda]"]) - int(whole.params["block.rd.reqs[vda]"])
    assert recovered.rates["block.rd.reqs[vda]"] == pytest.approx(read / own_elapsed)
