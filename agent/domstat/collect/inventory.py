"""Labels and devices from domain XML: read at a guest's first sight and after events, kept on the agent's side.

A series must have one name from its first record on, and a NIC is named by its MAC, which only the XML has. So a
guest's XML is read before its first record is made, and again before the next one when libvirt reports a change of
its devices or its definition; never on the way of an ordinary tick.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from domstat.collect.wire import Change, Description

XML_BYTES_MAX = 256 * 1024
"""Larger domain XML is not parsed (4 MiB of metadata costs 0.8 s and 86 MiB); its guest goes without labels."""

GUESTS_MAX = 50_000
"""Guests remembered, three times what one answer of libvirt can hold; beyond that the oldest is forgotten."""


class Nic(Struct, frozen=True, gc=False):
    """A network interface: the tap by which answers name it, its MAC, and what is known of it."""

    tap: str
    mac: str
    details: dict[str, str]


class Entry(Struct, frozen=True):
    """What a guest's XML says. *id* is the incarnation it was read of; *taps* and *disks* are by libvirt's names."""

    id: int | None
    labels: dict[str, str]
    taps: dict[str, Nic]
    disks: dict[str, dict[str, str]]


def parse(xml: str, incarnation: int | None) -> Entry:
    """Read a domain's XML. Raises ValueError, saying why, for XML that is too large or not to be trusted."""
    if len(xml) > XML_BYTES_MAX:
        raise ValueError(f"its XML has {len(xml)} characters, more than the {XML_BYTES_MAX} that are read")
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("its XML declares entities, which libvirt never does")
    try:
        root = ET.fromstring(xml)  # noqa: S314 - size and entities were checked above
    except ET.ParseError as error:
        raise ValueError(f"its XML cannot be parsed: {error}") from error
    own_id = root.get("id", "")
    if own_id.isdecimal():  # the XML knows best: the guest may have been started anew since its answer
        incarnation = int(own_id)
    title = root.findtext("title")
    nics = [nic for element in root.iterfind("devices/interface") if (nic := _parse_nic(element))]
    disks = {target: details for element in root.iterfind("devices/disk") for target, details in _parse_disk(element)}
    return Entry(incarnation, {"title": title} if title else {}, {nic.tap: nic for nic in nics}, disks)


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
        ("model", "model", "type"),
        ("alias", "alias", "name"),
    )
    return Nic(tap["tap"], mac["mac"], mac | tap | more)


def _parse_disk(element: ET.Element) -> Iterable[tuple[str, dict[str, str]]]:
    target = element.find("target")
    name = target.get("dev") if target is not None else None
    if not name:
        return
    details = _attributes(
        element,
        ("bus", "target", "bus"),
        ("format", "driver", "type"),
        ("protocol", "source", "protocol"),
        ("source", "source", "name"),
        ("alias", "alias", "name"),
    )
    serial = element.findtext("serial")
    yield name, details | {"type": element.get("type", "")} | ({"serial": serial} if serial else {})


class Inventory:
    """What is known of one host's guests, by uuid."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.version = 0
        """Grows with every change of what is known, so that nobody need look who has looked already."""
        self._stale: set[str] = set()
        """Guests that something has happened to: read again before anything of theirs is named."""
        self._old: dict[str, None] = {}
        """Guests that something may have happened to unseen: read again in passing."""

    def get(self, uuid: str, incarnation: int | None) -> Entry | None:
        """Return what is known of this incarnation, None if its XML must be read first."""
        entry = self._entries.get(uuid)
        return entry if entry is not None and entry.id == incarnation and uuid not in self._stale else None

    def last_known(self, uuid: str, incarnation: int | None) -> Entry | None:
        """Return what is known of this incarnation even if it may be out of date."""
        entry = self._entries.get(uuid)
        return entry if entry is not None and entry.id == incarnation else None

    def note(self, changes: Iterable[Change], *, missed: bool) -> None:
        """Take libvirt's events: what they touch is read again before it is used again.

        *missed* says that events may have been lost, as with every new worker. New devices show in the answers
        themselves, so what is known stays in use meanwhile: a respawn does not cost the XML of every guest at once.
        """
        if missed:
            self._old.update(dict.fromkeys(self._entries))
        for change in changes:
            if change.uuid in self._entries:
                self._stale.add(change.uuid)
                self.version += 1

    def oldest(self, most: int) -> list[str]:
        """Name at most so many guests that are to be read again in passing."""
        return list(islice(self._old, most))

    def learn(self, description: Description, incarnation: int | None) -> str | None:
        """Take a guest's XML; return what was wrong with it, if anything.

        A guest whose XML libvirt refuses or that cannot be trusted gets an empty entry, so that it is not asked for
        again every tick; a guest that is gone is forgotten.
        """
        uuid = description.uuid
        self.version += 1
        self._stale.discard(uuid)
        self._old.pop(uuid, None)
        if description.xml is None and description.error is None:
            self._entries.pop(uuid, None)
            return None
        trouble = description.error
        entry = Entry(incarnation, {}, {}, {})
        if description.xml is not None:
            try:
                entry = parse(description.xml, incarnation)
            except ValueError as error:
                trouble = str(error)
        self._entries.pop(uuid, None)  # so that re-reading also makes it the youngest
        self._entries[uuid] = entry
        while len(self._entries) > GUESTS_MAX:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._stale.discard(oldest)
            self._old.pop(oldest, None)
        return trouble
