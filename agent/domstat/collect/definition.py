"""What a guest's definition says, libvirt's domain XML: its labels, its devices, its size. Pure.

The XML comes from the hypervisor, but parts of it were written by whoever made the guest: it is neither trusted in size
nor in form.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from msgspec import Struct

from domstat.collect.labels import NO_RULES, LabelRules, read_labels

XML_BYTES_MAX = 256 * 1024
"""Larger domain XML is not parsed (4 MiB of metadata costs 0.8 s and 86 MiB); its guest goes without labels."""

ELEMENTS_MAX = 8192
"""XML of more elements is not read, though it be small: the time of a user's XPath can grow with their square (0.5 s
for so many). libvirt's own elements take some 50 bytes each, so 256 KiB have no more."""

MEMORY_KIB_MAX = 2**53
"""More memory (8 EiB) is no size that any guest has."""

_UNITS = {"b": 1, "byte": 1, "bytes": 1} | {
    f"{letter}{rest}": base**power
    for power, letter in enumerate("kmgtpe", start=1)
    for rest, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
"""Bytes of libvirt's units of size (virScaleInteger), which it takes in upper and lower case."""


class Nic(Struct, frozen=True, gc=False):
    """A network interface: the tap by which answers name it, its MAC, and what is known of it."""

    tap: str
    mac: str
    details: dict[str, str]


class Entry(Struct, frozen=True):
    """What a guest's XML says. *id* is the incarnation it was read of; *taps* and *disks* are by libvirt's names.

    *vcpus* (the most it can have), *vcpus_current* and *memory_kib* are what is configured, None where the XML does
    not tell. No event says that vCPUs were plugged: of a guest that runs, the answers know better.
    """

    id: int | None
    labels: dict[str, str]
    taps: dict[str, Nic]
    disks: dict[str, dict[str, str]]
    vcpus: int | None = None
    vcpus_current: int | None = None
    memory_kib: int | None = None


def parse(xml: str, incarnation: int | None, rules: LabelRules = NO_RULES) -> Entry:
    """Read a domain's XML; *incarnation* is whose it is where it does not tell itself, as of a guest that is off.

    Raises ValueError, saying why, for XML that is too large or not to be trusted.
    """
    root = _read(xml)
    own_id = _whole(root.get("id"))
    vcpu = root.find("vcpu")
    vcpus = _whole(vcpu.text) if vcpu is not None else None
    current = _whole(vcpu.get("current")) if vcpu is not None else None
    return Entry(
        id=incarnation if own_id is None else own_id,  # the guest may have been started anew since its answer
        labels=read_labels(root, rules),
        taps={nic.tap: nic for element in root.iterfind("devices/interface") if (nic := _parse_nic(element))},
        disks={target: about for element in root.iterfind("devices/disk") for target, about in _parse_disk(element)},
        vcpus=vcpus,
        vcpus_current=vcpus if current is None else current,
        memory_kib=_kib(root.find("memory")),
    )


def _read(xml: str) -> ET.Element:
    size = len(xml) if xml.isascii() else len(xml.encode(errors="surrogatepass"))
    if size > XML_BYTES_MAX:
        raise ValueError(f"its XML has {size} bytes, more than the {XML_BYTES_MAX} that are read")
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("its XML declares entities, which libvirt never does")
    try:
        root = ET.fromstring(xml)  # noqa: S314 - size and entities were checked above
    except (ET.ParseError, UnicodeError) as error:
        raise ValueError(f"its XML cannot be parsed: {error}") from error
    if (count := sum(1 for _ in root.iter())) > ELEMENTS_MAX:
        raise ValueError(f"its XML has {count} elements, more than the {ELEMENTS_MAX} that are read")
    return root


def _whole(text: str | None) -> int | None:
    """Return the number that *text* is, None if it is none that libvirt would write."""
    digits = text.strip() if text else ""
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None


def _kib(element: ET.Element | None) -> int | None:
    """Return a size in KiB, rounded up as libvirt does; its unit is KiB unless it has one of its own."""
    amount = _whole(element.text) if element is not None else None
    scale = _UNITS.get(element.get("unit", "KiB").lower()) if element is not None else None
    if amount is None or scale is None:
        return None
    kib = -(-amount * scale // 1024)
    return kib if kib <= MEMORY_KIB_MAX else None


def _attributes(element: ET.Element, *wanted: tuple[str, str, str]) -> dict[str, str]:
    """Collect (name, path, attribute) of what stands below *element*, as far as it is there."""
    found = ((name, element.find(path), attribute) for name, path, attribute in wanted)
    return {name: value for name, node, attribute in found if node is not None and (value := node.get(attribute))}


def _parse_nic(element: ET.Element) -> Nic | None:
    tap = _attributes(element, ("tap", "target", "dev"))
    mac = _attributes(element, ("mac", "mac", "address"))
    mac = {name: text.lower() for name, text in mac.items()}
    if not tap or not mac:
        return None  # a NIC without a host device (user, hostdev) has no statistics to be named
    more = _attributes(
        element,
        ("bridge", "source", "bridge"),
        ("network", "source", "network"),
        ("source", "source", "dev"),  # the host's device below a macvtap
        ("model", "model", "type"),
        ("alias", "alias", "name"),
    )
    if vlans := [number for tag in element.iterfind("vlan/tag") if (number := tag.get("id"))]:
        more["vlan"] = ",".join(vlans)
    return Nic(tap["tap"], mac["mac"], mac | tap | more)


def _parse_disk(element: ET.Element) -> Iterator[tuple[str, dict[str, str]]]:
    target = element.find("target")
    name = target.get("dev") if target is not None else None
    if not name:
        return
    details = _attributes(
        element,
        ("bus", "target", "bus"),
        ("format", "driver", "type"),
        ("protocol", "source", "protocol"),
        ("alias", "alias", "name"),
    )
    if source := _source(element.find("source")):
        details["source"] = source
    if serial := element.findtext("serial"):
        details["serial"] = serial
    if (device := element.get("device", "disk")) != "disk":
        details["device"] = device  # cdrom, floppy, lun
    yield name, details | {"type": element.get("type", "")}


def _source(source: ET.Element | None) -> str:
    """Say what a disk is made of, where answers do not: a file or a block device has its path in every one of them."""
    if source is None:
        return ""
    if volume := source.get("volume"):
        return f"{source.get('pool', '')}/{volume}"
    return source.get("name", source.get("path", ""))  # of a network's disk; the socket of a vhost-user one
