"""Storage pools on a private libvirtd: directories with volumes in them."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from domstat_lab import processes
from domstat_lab.connection import binding, open_connection
from domstat_lab.errors import LabError
from domstat_lab.libvirtd import PrivateLibvirtd

QEMU_IMG_TIMEOUT_S = 60.0  # it writes a few hundred kilobytes
MIB = 2**20


@contextmanager
def pool(lab: PrivateLibvirtd, name: str, folder: Path, kind: str = "dir") -> Iterator[Any]:
    """Start a pool on a folder as libvirtd sees it, for a while; what libvirt refuses is an error of the lab.

    libvirt looks into the folder now, and from then on only when it is asked to.
    """
    libvirt = binding()
    connection = open_connection(lab.uri_rw)
    started = None
    try:
        started = connection.storagePoolCreateXML(pool_xml(name, folder, kind))
        yield started
    except libvirt.libvirtError as error:
        raise LabError(f"the pool {name}: {error}") from error
    finally:
        if started is not None and started.isActive():
            started.destroy()
        connection.close()


def pool_xml(name: str, folder: Path, kind: str) -> str:
    """Describe a pool."""
    root = ET.Element("pool", type=kind)
    ET.SubElement(root, "name").text = name
    ET.SubElement(ET.SubElement(root, "target"), "path").text = str(folder)
    return ET.tostring(root, encoding="unicode")


def make_image(file: Path, size_mib: int, kind: Literal["raw", "qcow2"], backing: Path | None = None) -> Path:
    """Make a disk's file behind libvirt's back, empty or on a raw backing file."""
    layered = () if backing is None else ("-b", backing, "-F", "raw", "-u")  # -u: it need not be there yet
    processes.run("qemu-img", "create", "-q", "-f", kind, *layered, file, f"{size_mib}M", timeout_s=QEMU_IMG_TIMEOUT_S)
    return file


def inside(lab: PrivateLibvirtd) -> tuple[str, ...]:
    """Return the words before a command that have it see files and processes as libvirtd does."""
    return ("nsenter", f"--target={lab.pid}", "--mount", "--pid", "--root", "--")  # the root too: it may be a chroot
