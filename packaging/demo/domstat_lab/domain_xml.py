"""A guest's description in libvirt's XML."""

import string
import xml.etree.ElementTree as ET
from pathlib import Path

from domstat_lab.errors import LabError
from domstat_lab.image import GuestImage
from domstat_lab.spec import DiskSpec, GuestSpec, addresses

KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=1 random.trust_cpu=on"
# QEMU's cache of translated code: its default is a share of the machine's memory, far more than these guests run.
TRANSLATION_CACHE_MIB = {"linux": 64, "tiny": 1}
# Each virtual CPU takes a region of the cache when it is plugged in; QEMU aborts where none is left.
TRANSLATION_CACHE_TO_GROW_MIB = 32
CDROM = "hda"
BUSES = {"vd": "virtio", "sd": "scsi", "hd": "ide"}


def domain_xml(spec: GuestSpec, folder: Path, number: int, image: GuestImage | None) -> str:
    """Describe a guest whose files are in `folder`; a Linux guest needs the image."""
    root = ET.Element("domain", type="qemu")
    _text(root, "name", spec.name)
    _text(root, "uuid", spec.identity)
    if spec.title:
        _text(root, "title", spec.title)
    _text(root, "memory", str(spec.memory_mib), unit="MiB")
    _text(root, "vcpu", str(max(spec.vcpus, spec.vcpus_max)), current=str(spec.vcpus))
    machine = ET.SubElement(root, "os")
    _text(machine, "type", "hvm", arch="x86_64", machine="pc")
    if spec.kind == "linux":
        if image is None:
            raise LabError(f"the guest {spec.name} boots Linux: make the image with image.ensure() and pass it")
        _text(machine, "kernel", str(image.kernel))
        _text(machine, "initrd", str(image.initramfs))
        _text(machine, "cmdline", _kernel_command_line(spec, number))
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")  # plugging devices in and out goes by it
    cache = ET.SubElement(features, "tcg")
    _text(cache, "tb-cache", str(_translation_cache_mib(spec)), unit="MiB")
    _text(root, "on_crash", "destroy")
    _devices(ET.SubElement(root, "devices"), spec, folder, number)
    return ET.tostring(root, encoding="unicode")


def disk_xml(disk: DiskSpec, file: Path, target: str) -> str:
    """Describe a disk as hotplug takes it."""
    return ET.tostring(_disk(disk, file, target), encoding="unicode")


def cdrom_xml(file: Path | None, target: str = CDROM) -> str:
    """Describe a drive with a medium, or without."""
    return ET.tostring(_cdrom(file, target), encoding="unicode")


def nic_xml(mac: str = "", tap: str = "") -> str:
    """Describe an interface as hotplug takes it; without a name libvirt chooses one for the tap."""
    return ET.tostring(_nic(mac, tap), encoding="unicode")


def disk_target(index: int, prefix: str = "vd") -> str:
    """Name a disk as the guest does: vda, vdb and so on, and vdaa after vdz."""
    letters = string.ascii_lowercase
    first = letters[index // len(letters) - 1] if index >= len(letters) else ""
    return f"{prefix}{first}{letters[index % len(letters)]}"


def disk_file(folder: Path, disk: DiskSpec, target: str) -> Path:
    """Name the file of a guest's disk."""
    return folder / f"{target}.{disk.format}"


def serial_file(folder: Path) -> Path:
    """Name the file a guest's serial console is written to."""
    return folder / "serial.log"


def _translation_cache_mib(spec: GuestSpec) -> int:
    least = TRANSLATION_CACHE_MIB[spec.kind]
    return max(least, TRANSLATION_CACHE_TO_GROW_MIB) if spec.vcpus_max > spec.vcpus else least


def _devices(devices: ET.Element, spec: GuestSpec, folder: Path, number: int) -> None:
    ET.SubElement(devices, "controller", type="usb", model="none")
    for index, disk in enumerate(spec.disks):
        target = disk_target(index)
        element = _disk(disk, disk_file(folder, disk, target), target)
        ET.SubElement(element, "boot", order=str(index + 1))
        devices.append(element)
    if spec.scsi:
        ET.SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    if spec.cdrom:
        devices.append(_cdrom(None, CDROM))
    for index in range(spec.nics):
        nic = _nic()
        if index == 0 and spec.kind == "linux":
            ET.SubElement(ET.SubElement(nic, "source"), "ip", address=addresses(number)[0], prefix="30")
        devices.append(nic)
    if spec.kind == "linux":
        serial = ET.SubElement(devices, "serial", type="file")
        # What the guest has said stays when another QEMU goes on writing, after a migration for one.
        ET.SubElement(serial, "source", path=str(serial_file(folder)), append="on")
    _text(ET.SubElement(devices, "video"), "model", "", type="none")
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    if spec.balloon_period_s is not None:
        ET.SubElement(balloon, "stats", period=str(spec.balloon_period_s))


def _disk(disk: DiskSpec, file: Path, target: str) -> ET.Element:
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type=disk.format)
    ET.SubElement(element, "source", file=str(file))
    ET.SubElement(element, "target", dev=target, bus=BUSES[target[:2]])
    return element


def _cdrom(file: Path | None, target: str) -> ET.Element:
    element = ET.Element("disk", type="file", device="cdrom")
    if file is not None:
        ET.SubElement(element, "source", file=str(file))
    ET.SubElement(element, "target", dev=target, bus=BUSES[target[:2]])
    ET.SubElement(element, "readonly")
    return element


def _nic(mac: str = "", tap: str = "") -> ET.Element:
    """Describe a tap that libvirt makes and takes away."""
    element = ET.Element("interface", type="ethernet")
    if tap:
        ET.SubElement(element, "target", dev=tap)
    if mac:
        ET.SubElement(element, "mac", address=mac)
    ET.SubElement(element, "model", type="virtio")
    ET.SubElement(element, "rom", enabled="no")  # nothing boots from the network, and the image costs memory
    return element


def _kernel_command_line(spec: GuestSpec, number: int) -> str:
    words = [KERNEL_ARGUMENTS, f"lab.work={','.join(spec.workloads)}"]
    if spec.reboot_s:
        words.append(f"lab.reboot={spec.reboot_s}")
    if spec.nics:
        host, guest = addresses(number)
        words += [f"lab.ip={guest}", f"lab.peer={host}"]
    return " ".join(words)


def _text(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text
