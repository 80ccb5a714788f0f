"""Starting guests on a private libvirtd, awaiting them, ending them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domstat_lab import connection, processes
from domstat_lab.bootsector import boot_sector
from domstat_lab.connection import for_all
from domstat_lab.domain_xml import disk_file, disk_target, domain_xml, serial_file
from domstat_lab.image import GuestImage
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.serial import BOOTED, Written, all_written, last_written, read_console
from domstat_lab.spec import DiskSpec, GuestSpec

BOOT_TIMEOUT_S = 180.0  # seconds until a Linux guest has booted: 2-4 without KVM, more when several boot at once
QEMU_IMG_TIMEOUT_S = 60.0  # it writes a few kilobytes
MIB = 2**20


def guest_folder(lab: PrivateLibvirtd, name: str) -> Path:
    """Name the folder of a guest's disks and its serial console."""
    return lab.folder / "guests" / name


def start(lab: PrivateLibvirtd, specs: Sequence[GuestSpec], image: GuestImage | None = None) -> None:
    """Start guests side by side; return when their machines run. Linux guests need the image."""
    libvirt = lab.connect()
    try:
        for_all(specs, lambda spec: _start(libvirt, lab, spec, image))
    finally:
        libvirt.close()


def wait_booted(lab: PrivateLibvirtd, specs: Sequence[GuestSpec]) -> None:
    """Return when all Linux guests have booted and begun their work."""
    for spec in specs:
        if spec.kind == "linux":
            console = serial_file(guest_folder(lab, spec.name))
            processes.wait_until(
                lambda console=console: BOOTED in read_console(console),  # type: ignore[misc]
                timeout_s=BOOT_TIMEOUT_S,
                otherwise=f"the guest {spec.name} has not booted, see {console}",
            )


def define(lab: PrivateLibvirtd, spec: GuestSpec, image: GuestImage | None = None) -> None:
    """Describe a guest to libvirt for good, its disks made and empty; it stays off until life.create()."""
    libvirt = lab.connect()
    try:
        connection.define(libvirt, spec.name, _prepare(lab, spec, image))
    finally:
        libvirt.close()


def destroy(lab: PrivateLibvirtd, names: Sequence[str]) -> None:
    """End guests side by side, as pulling their plug would."""
    libvirt = lab.connect()
    try:
        for_all(names, lambda name: connection.destroy(libvirt, name))
    finally:
        libvirt.close()


def add_disk(folder: Path, disk: DiskSpec, target: str, content: bytes = b"") -> Path:
    """Make a disk's file, sparse, with some content at its beginning."""
    file = disk_file(folder, disk, target)
    raw = file if disk.format == "raw" else file.with_suffix(".backing")
    with raw.open("wb") as handle:
        handle.write(content)
        handle.truncate(disk.size_mib * MIB)
    if disk.format == "qcow2":
        command = ("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", file)
        processes.run(*command, timeout_s=QEMU_IMG_TIMEOUT_S)
    return file


def _start(libvirt: Any, lab: PrivateLibvirtd, spec: GuestSpec, image: GuestImage | None) -> None:
    connection.create(libvirt, spec.name, _prepare(lab, spec, image))


def _prepare(lab: PrivateLibvirtd, spec: GuestSpec, image: GuestImage | None) -> str:
    """Make a guest's files; return its XML."""
    folder = guest_folder(lab, spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    serial_file(folder).unlink(missing_ok=True)
    for index, disk in enumerate(spec.disks):
        content = boot_sector() if spec.kind == "tiny" and index == 0 else b""
        add_disk(folder, disk, disk_target(index), content)
    return domain_xml(spec, folder, lab.next_number(), image)


def written_bytes(lab: PrivateLibvirtd, name: str) -> Written:
    """Read how much a guest with the workload `writer` says it has written since it booted, and when."""
    return last_written(serial_file(guest_folder(lab, name)))


def written_in_all_boots(lab: PrivateLibvirtd, name: str) -> Written:
    """Read how much a `writer` says it has written since it was started, through all its reboots, and when.

    Short by at most serial.PIECE bytes a reboot. After a migration ask the lab where the guest was started.
    """
    return all_written(serial_file(guest_folder(lab, name)))


def boots(lab: PrivateLibvirtd, name: str) -> int:
    """Count how often a Linux guest has booted since it was started."""
    return read_console(serial_file(guest_folder(lab, name))).count(BOOTED)
