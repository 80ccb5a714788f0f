"""What the disks of a guest that is off hold: how large each is, and what it takes.

libvirt's own way is a volume's ``info()``. What that costs was seen with strace: the daemon opens the image *and its
backing file*, reads the first 32 KiB of each, and holds the lock of the pool meanwhile. So a raw image or a block
device that can be seen from here is looked at here, by stat; libvirt is asked for what only an image's header tells,
and only when the file system has answered just now. What is not on this machine libvirt alone can tell.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, TypeAlias

import libvirt
from msgspec import Struct

from domstat.collect.worker.files import Files

BLOCK_BYTES = 512
"""What ``st_blocks`` and sysfs count in, whatever a file system's or a disk's own blocks are."""

_HOLD_SOMETHING = frozenset({"disk", "lun"})
"""Kinds of disks that are the guest's own; what lies in a cdrom or floppy drive is a medium that others use too."""

_NOT_THERE = frozenset(
    {
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_OPERATION_INVALID,  # the pool is not active
        libvirt.VIR_ERR_NO_SUPPORT,
    }
)
"""What libvirt answers where there is no such volume, as far as it knows."""

Size: TypeAlias = tuple[int | None, int | None]
"""Capacity and allocation in bytes, each None where nobody can tell."""


class Disk(Struct, frozen=True):
    """A disk as a domain's XML has it: *target* is its name, *path* or *pool* and *volume* say where it is.

    *raw*: the guest sees the file or device byte for byte.
    """

    target: str
    path: str = ""
    pool: str = ""
    volume: str = ""
    raw: bool = False


def disks_of(domain: Any) -> list[Disk]:
    """Find the disks in a domain's XML (an ElementTree element) whose sizes can be asked for."""
    disks = []
    for element in domain.iterfind("devices/disk"):
        source, target, driver = element.find("source"), element.find("target"), element.find("driver")
        name = target.get("dev") if target is not None else None
        if source is None or not name or element.get("device", "disk") not in _HOLD_SOMETHING:
            continue
        place = _place(element.get("type", ""), source)
        if place is not None:
            odd = any(part.find(tag) is not None for part in (element, source) for tag in ("encryption", "slices"))
            raw = driver is not None and driver.get("type") == "raw" and not odd
            disks.append(Disk(name, *place, raw=raw))
    return disks


def _place(kind: str, source: Any) -> tuple[str, str, str] | None:
    """Say where a disk is: path, or pool and volume; None for what libvirt has no volumes of."""
    path = {"file": "file", "block": "dev"}.get(kind)
    if path:
        return (source.get(path), "", "") if source.get(path) else None
    if kind == "volume" and source.get("pool") and source.get("volume"):
        return "", source.get("pool"), source.get("volume")
    if kind == "network" and source.get("protocol") == "rbd" and source.get("name"):
        return source.get("name"), "", ""  # libvirt's path of a volume in an rbd pool: pool/image
    return None


class Volumes:
    """Finds out the sizes of disks on one connection."""

    def __init__(self, connection: Any, files: Files, note: Callable[[str], None]) -> None:
        """*note* is told what could not be looked at."""
        self._connection = connection
        self._files = files
        self._note = note

    def size(self, disk: Disk) -> Size | None:
        """Find out the size of *disk*; None where nobody can tell. Raises libvirtError."""
        volume = self._by_name(disk) if disk.pool else None
        if disk.pool and volume is None:
            return None
        path = disk.path if volume is None else volume.path()
        seen: Size | None = None
        if self._files.shares(path):
            try:
                seen = _size(self._files.stat(path), raw=disk.raw)
            except FileNotFoundError:
                return None
            except TimeoutError as error:
                self._note(str(error))
                return None
            except OSError:
                pass  # not for the agent to see, but it has answered
        # With a dead file system about, an image's backing file may be on it, where libvirt would hang.
        if seen is not None and (seen[0] is not None or self._files.dead):
            return seen
        volume = volume or self._by_path(path)
        if volume is None:
            return seen
        _, capacity, allocation = volume.info()
        return capacity, allocation

    def _by_name(self, disk: Disk) -> Any:
        pools = self._connection
        return _unless_absent(lambda: pools.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume))

    def _by_path(self, path: str) -> Any:
        return _unless_absent(lambda: self._connection.storageVolLookupByPath(path))


def _unless_absent(look_up: Callable[[], Any]) -> Any:
    try:
        return look_up()
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NOT_THERE:
            return None
        raise


def _size(status: os.stat_result, *, raw: bool) -> Size | None:
    """Tell the size of a file or block device by its status, without opening it.

    The capacity of an image that is not raw is written inside it. A block device is taken whole.
    """
    if stat.S_ISREG(status.st_mode):
        return status.st_size if raw else None, status.st_blocks * BLOCK_BYTES
    if stat.S_ISBLK(status.st_mode):
        size = _device_size(status.st_rdev)
        return (size if raw else None, size) if size is not None else None
    return None


def _device_size(device: int) -> int | None:
    try:
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/size", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read()) * BLOCK_BYTES
    except (OSError, ValueError):
        return None
