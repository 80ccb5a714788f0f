"""The survey: storage pools, and guests that are off.

None of this is part of a tick, for all of it may hang: a pool on a dead NFS server, an image on one. The survey has a
worker process of its own, which its agent kills when it takes too long; see :mod:`domstat.collect.worker.files` for
how it keeps from hanging in the first place. The stats group BLOCK is never asked for guests that are off, because
the daemon would open all their images for it, whatever these are on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import libvirt

from domstat import clock
from domstat.collect import wire
from domstat.collect.worker.files import Files, look_around
from domstat.collect.worker.volumes import Size, Volumes, disks_of
from domstat.model import Stamp

POOLS_MAX = 10_000
"""Pools looked at; hosts have a handful."""

GUESTS_MAX = 50_000
"""Guests that are off, looked at: three times what libvirt lists at once."""

XML_BYTES_MAX = 256 * 1024
"""Larger XML is neither parsed nor passed on: 4 MiB of metadata cost 0.8 s and 86 MiB to parse."""

XML_ALL_BYTES_MAX = 64 * 1024 * 1024
"""XML of all guests together that travels to the agent: 10,000 guests of a usual 6 KiB, and far from the limit of a
message. Guests beyond it are told of by state and volumes only."""

NOTES_MAX = 100
"""Things that could not be looked at and are told one by one; the rest is counted."""

NOTE_CHARACTERS_MAX = 500
"""Length of a note; what libvirt and file names put into it has no other limit."""

TIME_MAX_S = 45.0
"""After so long no further pool or guest is begun, and what has been found is told: a far host is slow, not stuck. Less
than the agent's deadline, which kills. On this machine a guest with two disks takes 2 ms."""

ON_A_FILE_SYSTEM = frozenset({"dir", "fs", "netfs", "vstorage"})
"""Types of pools whose figures libvirt has from statvfs of the target directory (virStorageBackendRefreshLocal)."""

MOUNTED_BY_LIBVIRT = ON_A_FILE_SYSTEM - {"dir"}
"""Those of them for which it mounts a file system there; one that somebody else unmounted leaves the directory."""

_OFF = frozenset({libvirt.VIR_DOMAIN_NOSTATE, libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED})


class Notes:
    """Gathers what could not be looked at, each thing once."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}
        self._more = 0

    def add(self, note: str) -> None:
        """Take a note."""
        note = note[:NOTE_CHARACTERS_MAX]
        if note in self._notes:
            return
        if len(self._notes) < NOTES_MAX:
            self._notes[note] = None
        else:
            self._more += 1

    def list(self) -> list[str]:
        """Return the notes in their order."""
        return [*self._notes, *([f"and {self._more} notes more"] if self._more else [])]


def survey(connection: Any, question: wire.Survey, local: bool) -> wire.Surveyed:  # noqa: FBT001 - is_local's answer
    """Look at pools and guests. What fails by itself is noted; raises libvirtError if the connection fails.

    *local*: whether the hypervisor is this machine's, so that its file systems may be asked directly.
    """
    return Surveyor(connection, question, look_around(local=local)).survey()


class Surveyor:
    """One survey."""

    def __init__(self, connection: Any, question: wire.Survey, files: Files) -> None:
        self._connection = connection
        self._question = question
        self._files = files
        self._notes = Notes()
        self._volumes = Volumes(connection, files, self._notes.add)
        self._until = time.monotonic() + TIME_MAX_S
        self._xml_bytes_left = XML_ALL_BYTES_MAX
        if files.hidden:
            self._notes.add("what the libvirt daemon has mounted cannot be seen: its figures of pools may be old")

    def survey(self) -> wire.Surveyed:
        """Look at everything. Raises libvirtError if the connection fails."""
        began, stamp = time.monotonic_ns(), clock.now()
        pools = list(self._each("storage pools", self._list_pools, self._pool, POOLS_MAX))
        sleepers = list(self._each("guests that are off", self._list_guests, self._sleeper, GUESTS_MAX))
        stamp = Stamp(stamp.time_ms, stamp.boot_ns, stamp.boot_id, time.monotonic_ns() - began)
        return wire.Surveyed(stamp, pools, sleepers, self._notes.list())

    def _each(
        self, what: str, listing: Callable[[], list[Any]], look: Callable[[Any], Any], most: int
    ) -> Iterator[Any]:
        """Look at each of what is listed, within the limits; a note says where these cut."""
        try:
            handles = listing()
        except libvirt.libvirtError as error:
            self._take_note(what, error)
            return
        if len(handles) > most:
            self._notes.add(f"of {len(handles)} {what} only {most} were looked at")
        for position, handle in enumerate(handles[:most]):
            if time.monotonic() > self._until:
                left = len(handles) - position
                self._notes.add(f"{what} not looked at, since the survey took longer than {TIME_MAX_S:g} s: {left}")
                return
            found = look(handle)
            if found is not None:
                yield found

    def _take_note(self, what: str, error: libvirt.libvirtError) -> None:
        """Note that something failed by itself; raise *error* again if it is the connection that failed."""
        if not self._connection.isAlive():
            raise error
        self._notes.add(f"{what}: {error}")

    # Pools.

    def _list_pools(self) -> list[Any]:
        return self._connection.listAllStoragePools(  # type: ignore[no-any-return]
            libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        )

    def _pool(self, pool: Any) -> wire.PoolFigures | None:
        name = pool.name()
        try:
            kind, path = self._type_and_path(name, pool)
            space = self._space(name, kind, path)
            fresh = space is not None or self._refresh(name, kind, path, pool)
            state, *figures = pool.info()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:  # it has gone since the list was made
                self._take_note(f"the storage pool {name}", error)
            return None
        if state == libvirt.VIR_STORAGE_POOL_INACTIVE:
            return None
        capacity, allocation, available = space or figures
        return wire.PoolFigures(name, kind, state, capacity, allocation, available, fresh, path)

    def _type_and_path(self, name: str, pool: Any) -> tuple[str, str]:
        try:
            root = parsed(pool.XMLDesc(0))
        except ValueError as error:
            self._notes.add(f"the storage pool {name}: {error}")
            return "", ""
        return root.get("type") or "", root.findtext("target/path") or ""

    def _space(self, name: str, kind: str, path: str) -> tuple[int, int, int] | None:
        """Ask the file system of a pool itself for capacity, allocation and what is available, as libvirt does.

        Libvirt's figures are as old as the pool's last refresh. What is reserved for root counts as available.
        """
        if kind not in ON_A_FILE_SYSTEM:
            return None
        if not self._files.shares(path):
            if self._files.differs(path):
                self._notes.add(
                    f"the storage pool {name}: the libvirt daemon sees other files at {path} than the agent"
                )
            return None
        if kind in MOUNTED_BY_LIBVIRT and not self._files.is_mounted(path):
            self._notes.add(f"the storage pool {name} is active, but nothing is mounted at {path}")
            return None
        try:
            space = self._files.statvfs(path)
        except OSError as error:
            self._notes.add(f"the storage pool {name}: {error}")
            return None
        capacity, available = space.f_frsize * space.f_blocks, space.f_frsize * space.f_bfree
        return capacity, capacity - available, available

    def _refresh(self, name: str, kind: str, path: str, pool: Any) -> bool:
        """Have libvirt look at a pool anew, if that is asked for; say whether it did.

        Only where its figures are to be had in no other way, and never where it would hang: when a refresh fails
        libvirt takes the pool out of service, which unmounts it and makes a transient one vanish.
        """
        if not self._question.refresh or (kind in ON_A_FILE_SYSTEM and self._files.shares(path)):
            return False
        try:
            pool.refresh(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            self._take_note(f"the storage pool {name} could not be refreshed", error)
            return False
        return True

    # Guests.

    def _list_guests(self) -> list[Any]:
        found = self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)
        domains = self._question.domains
        return found if domains.everything else [domain for domain in found if domains.choose(domain.name())]

    def _sleeper(self, domain: Any) -> wire.Sleeper | None:
        name = domain.name()
        try:
            state, reason = domain.state()
            if state not in _OFF:  # it has been started since the list was made
                return None
            xml = self._xml(name, domain)
            volumes = self._sizes(name, xml) if xml else {}
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                self._take_note(f"the guest {name}", error)
            return None
        return wire.Sleeper(domain.UUIDString(), name, (state, reason), self._within_all(xml), volumes)

    def _within_all(self, xml: str | None) -> str | None:
        """Let *xml* pass while that of all guests together is within its limit."""
        self._xml_bytes_left -= _size(xml or "")
        if self._xml_bytes_left >= 0:
            return xml
        self._notes.add(f"some guests come without labels: the XML of all has more than {XML_ALL_BYTES_MAX} bytes")
        return None

    def _xml(self, name: str, domain: Any) -> str | None:
        xml: str = domain.XMLDesc(0)
        if _size(xml) > XML_BYTES_MAX:
            self._notes.add(f"the guest {name}: its XML has more than the {XML_BYTES_MAX} bytes that are read")
            return None
        return xml

    def _sizes(self, name: str, xml: str) -> dict[str, Size]:
        """Find out the sizes of a guest's disks, those that can be told."""
        try:
            disks = disks_of(parsed(xml))
        except ValueError as error:
            self._notes.add(f"the guest {name}: {error}")
            return {}
        sizes = {}
        for disk in disks:
            try:
                size = self._volumes.size(disk)
            except libvirt.libvirtError as error:
                self._take_note(f"the disk {disk.target} of the guest {name}", error)
                continue
            if size is not None:
                sizes[disk.target] = size
        return sizes


def parsed(xml: str) -> Any:
    """Read libvirt's XML. Raises ValueError, saying why, for XML that is too large or not to be trusted."""
    import xml.etree.ElementTree as ET

    if _size(xml) > XML_BYTES_MAX:
        raise ValueError(f"its XML has more than the {XML_BYTES_MAX} bytes that are read")
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("its XML declares entities, which libvirt never does")
    try:
        return ET.fromstring(xml)  # noqa: S314 - size and entities were checked above
    except ET.ParseError as error:
        raise ValueError(f"its XML cannot be parsed: {error}") from error


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
