"""Devices that come and go, under names old and new, as libvirt's statistics show them."""

from __future__ import annotations

from collections.abc import Callable

from domstat_lab import blocks, hotplug
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec

from .conftest import Stats, named

SMALL = DiskSpec(1)
MAC = "52:54:00:0a:0b:0c"

Ask = Callable[[PrivateLibvirtd, str], Stats]


def row(stats: Stats, target: str) -> str:
    (index,) = [index for index, name in named(stats, "block").items() if name == target]
    return index


def test_a_guest_may_have_more_than_ten_disks(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    targets = hotplug.attach_disks(lab, versatile, SMALL, 12)
    after = stats(lab, versatile)
    assert set(targets) <= set(named(after, "block").values())
    assert after["block.count"] == 3 + 12


def test_a_scsi_disk_is_released_at_once_and_the_rows_behind_it_move(
    lab: PrivateLibvirtd, versatile: str, stats: Ask
) -> None:
    hotplug.attach_disks(lab, versatile, SMALL, 3)
    before = stats(lab, versatile)
    hotplug.detach_disk(lab, versatile, "sda")
    after = stats(lab, versatile)
    assert row(after, "sdb") == row(before, "sda")


def test_a_disk_replugged_under_its_old_name_stands_in_the_old_ones_row(
    lab: PrivateLibvirtd, versatile: str, stats: Ask
) -> None:
    hotplug.attach_disks(lab, versatile, SMALL, 2)
    before = stats(lab, versatile)
    hotplug.replug_disk(lab, versatile, DiskSpec(2), "sda")
    after = stats(lab, versatile)
    assert row(after, "sda") == row(before, "sda")
    assert after[f"block.{row(after, 'sda')}.capacity"] == 2 * before[f"block.{row(before, 'sda')}.capacity"]


def test_two_nics_may_have_one_mac_and_a_tap_a_dot(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    hotplug.attach_nic(lab, versatile, MAC)
    hotplug.attach_nic(lab, versatile, MAC, tap="eth0.100")
    after = stats(lab, versatile)
    assert after["net.count"] == 2 + 2
    assert "eth0.100" in named(after, "net").values()
    assert "net.3.rx.bytes" in after


def test_virtual_cpus_can_be_plugged_in(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    assert stats(lab, versatile)["vcpu.current"] == 1
    hotplug.set_vcpus(lab, versatile, 3)
    after = stats(lab, versatile)
    assert (after["vcpu.current"], after["vcpu.maximum"]) == (3, 4)
    assert "vcpu.2.time" in after


def test_a_layer_comes_and_goes_below_a_disk(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    before = stats(lab, versatile)
    index = row(before, "vda")
    layer = blocks.add_layer(lab, versatile, "vda")
    assert stats(lab, versatile)[f"block.{index}.path"] == str(layer)
    blocks.commit_layer(lab, versatile, "vda")
    after = stats(lab, versatile)
    assert after[f"block.{index}.path"] == before[f"block.{index}.path"]
    assert named(after, "block") == named(before, "block")
    assert not layer.exists()


def test_a_medium_is_inserted_changed_and_ejected(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    path = f"block.{row(stats(lab, versatile), 'hda')}.path"
    assert path not in stats(lab, versatile)
    first = blocks.insert_medium(lab, versatile, "first")
    assert stats(lab, versatile)[path] == str(first)
    second = blocks.insert_medium(lab, versatile, "second", size_mib=2)
    assert stats(lab, versatile)[path] == str(second)
    blocks.eject_medium(lab, versatile)
    assert path not in stats(lab, versatile)
