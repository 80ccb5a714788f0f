"""Plugging disks and interfaces into running guests, and pulling them out."""

import xml.etree.ElementTree as ET

from domstat_lab import connection, processes
from domstat_lab.domain_xml import disk_xml, nic_xml
from domstat_lab.guests import add_disk, guest_folder
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec

RELEASE_TIMEOUT_S = 20.0  # seconds a Linux guest may take to let go of a device; a tiny guest never does


def attach_disk(lab: PrivateLibvirtd, name: str, disk: DiskSpec, target: str) -> None:
    """Give a guest one more disk."""
    file = add_disk(guest_folder(lab, name), disk, target)
    with connection.guest(lab.uri_rw, name) as guest:
        guest.attachDevice(disk_xml(disk, file, target))


def detach_disk(lab: PrivateLibvirtd, name: str, target: str) -> None:
    """Take a disk from a Linux guest; return when it is gone."""
    _detach(lab, name, f"./devices/disk/target[@dev='{target}']/..")


def attach_nic(lab: PrivateLibvirtd, name: str, mac: str) -> None:
    """Give a guest one more interface."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.attachDevice(nic_xml(mac))


def detach_nic(lab: PrivateLibvirtd, name: str, mac: str) -> None:
    """Take an interface from a Linux guest; return when it is gone."""
    _detach(lab, name, f"./devices/interface/mac[@address='{mac}']/..")


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
