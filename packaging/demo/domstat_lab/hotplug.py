"""Plugging disks and interfaces into running guests, and pulling them out."""

import xml.etree.ElementTree as ET

from domstat_lab import connection, processes
from domstat_lab.domain_xml import disk_target, disk_xml, nic_xml
from domstat_lab.guests import add_disk, guest_folder
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec

# Seconds a Linux guest may take to let go of a device. A tiny guest lets go of SCSI disks at once, and of nothing else.
RELEASE_TIMEOUT_S = 60.0


def attach_disk(lab: PrivateLibvirtd, name: str, disk: DiskSpec, target: str) -> None:
    """Give a guest one more disk: `vdb` is virtio, `sda` is SCSI (which the guest must have a controller for)."""
    file = add_disk(guest_folder(lab, name), disk, target)
    with connection.guest(lab.uri_rw, name) as guest:
        guest.attachDevice(disk_xml(disk, file, target))


def detach_disk(lab: PrivateLibvirtd, name: str, target: str) -> None:
    """Take a disk from a guest; return when it is gone."""
    _detach(lab, name, f"./devices/disk/target[@dev='{target}']/..")


def attach_disks(lab: PrivateLibvirtd, name: str, disk: DiskSpec, count: int) -> list[str]:
    """Give a guest many disks, sda and so on: SCSI, since virtio disks take a PCI slot each, and there are 28."""
    targets = [disk_target(index, "sd") for index in range(count)]
    for target in targets:
        attach_disk(lab, name, disk, target)
    return targets


def replug_disk(lab: PrivateLibvirtd, name: str, disk: DiskSpec, target: str) -> None:
    """Take a disk from a guest and give it another, empty one under the old name."""
    detach_disk(lab, name, target)
    attach_disk(lab, name, disk, target)


def attach_nic(lab: PrivateLibvirtd, name: str, mac: str, tap: str = "") -> None:
    """Give a guest one more interface; several may have one MAC. *tap* names its end on the machine."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.attachDevice(nic_xml(mac, tap))


def detach_nic(lab: PrivateLibvirtd, name: str, mac: str) -> None:
    """Take an interface from a Linux guest; return when it is gone."""
    _detach(lab, name, f"./devices/interface/mac[@address='{mac}']/..")


def set_vcpus(lab: PrivateLibvirtd, name: str, count: int) -> None:
    """Plug virtual CPUs in, up to the guest's vcpus_max. None can be taken out again: without KVM QEMU 7.2 breaks."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.setVcpusFlags(count, connection.binding().VIR_DOMAIN_AFFECT_LIVE)


def _detach(lab: PrivateLibvirtd, name: str, path: str) -> None:
    with connection.guest(lab.uri_rw, name) as guest:
        device = ET.fromstring(guest.XMLDesc()).find(path)
        if device is None:
            return
        guest.detachDevice(ET.tostring(device, encoding="unicode"))
        processes.wait_until(
            lambda: ET.fromstring(guest.XMLDesc()).find(path) is None,
            timeout_s=RELEASE_TIMEOUT_S,
            otherwise=f"the guest {name} does not let go of {path}",
        )
