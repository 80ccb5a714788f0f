"""What may happen to the chain of images below a guest's disk, and to the medium in its drive."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from domstat_lab import connection, processes
from domstat_lab.domain_xml import CDROM, cdrom_xml
from domstat_lab.guests import MIB, guest_folder
from domstat_lab.libvirtd import PrivateLibvirtd

COMMIT_TIMEOUT_S = 60.0  # seconds to copy one layer into the one below it: a disk here has a few MiB at most
TRAY_TIMEOUT_S = 60.0  # seconds until a drive can be opened, which the guest may have closed just before


def add_layer(lab: PrivateLibvirtd, name: str, target: str) -> Path:
    """Take a disk-only snapshot of one disk of a running guest: its image becomes the layer below a new one."""
    flags = connection.binding()
    with connection.guest(lab.uri_rw, name) as guest:
        depth = len(_layers(guest, target))
        layer = guest_folder(lab, name) / f"{target}.{depth}.qcow2"
        guest.snapshotCreateXML(
            _snapshot_xml(guest, target, layer),
            flags.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | flags.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA,
        )
    return layer


def commit_layer(lab: PrivateLibvirtd, name: str, target: str) -> None:
    """Copy a disk's top layer into the one below and go on with that; the top layer's file is deleted."""
    flags = connection.binding()
    with connection.guest(lab.uri_rw, name) as guest:
        top = _layers(guest, target)[0]
        guest.blockCommit(
            target, None, None, 0, flags.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | flags.VIR_DOMAIN_BLOCK_COMMIT_SHALLOW
        )
        processes.wait_until(
            lambda: _mirror_is_ready(guest, target),
            timeout_s=COMMIT_TIMEOUT_S,
            otherwise=f"{target} of the guest {name} is not committed",
        )
        guest.blockJobAbort(target, flags.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        processes.wait_until(
            lambda: not guest.blockJobInfo(target),
            timeout_s=COMMIT_TIMEOUT_S,
            otherwise=f"{target} of the guest {name} does not come to the layer below",
        )
    top.unlink()


def insert_medium(lab: PrivateLibvirtd, name: str, medium: str, size_mib: int = 1) -> Path:
    """Put a medium, an empty one, into the guest's drive, in place of what may be in it."""
    file = guest_folder(lab, name) / f"{medium}.iso"
    file.write_bytes(bytes(size_mib * MIB))
    _change_medium(lab, name, file)
    return file


def eject_medium(lab: PrivateLibvirtd, name: str) -> None:
    """Take the medium out of the guest's drive."""
    _change_medium(lab, name, None)


def _change_medium(lab: PrivateLibvirtd, name: str, file: Path | None) -> None:
    """Change the medium while the guest stands still: firmware that looks into the drive closes it again."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.suspend()
        try:
            processes.wait_until(
                lambda: _is_changed(guest, file),
                timeout_s=TRAY_TIMEOUT_S,
                otherwise=f"the drive of the guest {name} cannot be opened",
            )
        finally:
            guest.resume()


def _is_changed(guest: Any, file: Path | None) -> bool:
    libvirt = connection.binding()
    try:
        guest.updateDeviceFlags(cdrom_xml(file, CDROM), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if "is not open" in str(error):
            return False
        raise
    return True


def _layers(guest: Any, target: str) -> list[Path]:
    """Return the files of a disk's chain, the top one first."""
    disk = ET.fromstring(guest.XMLDesc()).find(f"./devices/disk/target[@dev='{target}']/..")
    files = [] if disk is None else [source.get("file", "") for source in disk.iterfind(".//source")]
    return [Path(file) for file in files]


def _snapshot_xml(guest: Any, target: str, layer: Path) -> str:
    """Describe a snapshot of one disk: libvirt takes one of every disk that is not named."""
    root = ET.Element("domainsnapshot")
    disks = ET.SubElement(root, "disks")
    for element in ET.fromstring(guest.XMLDesc()).iterfind("./devices/disk/target"):
        name = element.get("dev", "")
        disk = ET.SubElement(disks, "disk", name=name, snapshot="external" if name == target else "no")
        if name == target:
            ET.SubElement(disk, "source", file=str(layer))
    return ET.tostring(root, encoding="unicode")


def _mirror_is_ready(guest: Any, target: str) -> bool:
    disk = ET.fromstring(guest.XMLDesc()).find(f"./devices/disk/target[@dev='{target}']/..")
    mirror = None if disk is None else disk.find("mirror")
    return mirror is not None and mirror.get("ready") == "yes"
