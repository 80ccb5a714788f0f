"""More guests than fit a machine: libvirt's test driver, served by a real libvirtd.

The daemon keeps one state of ``test:///default`` for all its connections, as long as one of them is open; the context
here holds that one. Such guests have a name, a UUID and a state and answer to lifecycle calls; of the statistics
they have the group state alone. 16,385 of them, one more than a call of libvirt's may bring, take some 5 s and 60 MiB.
"""

import gc
import time
import urllib.parse
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from domstat_lab import connection
from domstat_lab.errors import LabError
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import UUIDS

DOMAINS_MAX = 16_384
"""Guests that one reply of libvirt's may list (REMOTE_DOMAIN_LIST_MAX): at one more the whole call fails."""

REPLY_BYTES_MAX = 32 * 1024 * 1024
"""A reply of libvirt's is no longer (VIR_NET_MESSAGE_MAX): long names reach it before DOMAINS_MAX."""

RELEASE_TIMEOUT_S = 60.0  # seconds the daemon may take to free a closed connection, and a crowd of thousands with it
RELEASE_POLL_S = 0.2  # seconds between two looks: each is a connection, which holds the state while it lasts
PREINSTALLED = "test"  # the one guest of test:///default


def uri_ro(lab: PrivateLibvirtd) -> str:
    """Return what an agent connects to."""
    return f"test+unix:///default?socket={urllib.parse.quote(str(lab.socket_ro))}"


def uri_rw(lab: PrivateLibvirtd) -> str:
    """Return what starts and ends the guests of the crowd."""
    return f"test+unix:///default?socket={urllib.parse.quote(str(lab.socket_rw))}"


def name(number: int, characters: int = 0) -> str:
    """Name a guest of the crowd by its number, filled up to so many characters."""
    return f"crowd-{number:06}".ljust(characters, "x")


def identity(number: int) -> str:
    """Return the UUID of a guest of the crowd."""
    return str(uuid.uuid5(UUIDS, name(number)))


@contextmanager
def crowd(lab: PrivateLibvirtd, count: int, *, name_characters: int = 0) -> Iterator[Any]:
    """Run *count* transient guests, numbered from 0; give the read-write connection that keeps them."""
    keeping = _open_afresh(lab)
    try:
        preinstalled = keeping.lookupByName(PREINSTALLED)
        preinstalled.destroy()
        preinstalled.undefine()
        for number in range(count):
            connection.create(keeping, name(number), _xml(number, name_characters))
        yield keeping
    finally:
        keeping.close()


def _open_afresh(lab: PrivateLibvirtd) -> Any:
    """Connect to a state that nobody has changed yet: the daemon may take a moment to let go of the last one."""
    until = time.monotonic() + RELEASE_TIMEOUT_S
    while time.monotonic() < until:
        keeping = connection.open_connection(uri_rw(lab))
        if keeping.numOfDomains() == 1 and keeping.listAllDomains()[0].name() == PREINSTALLED:
            return keeping
        keeping.close()
        gc.collect()  # a guest's object that waits for the collector holds its connection, closed or not
        time.sleep(RELEASE_POLL_S)
    raise LabError(f"another crowd is still held after {RELEASE_TIMEOUT_S:g} s: close all its connections first")


def _xml(number: int, name_characters: int) -> str:
    root = ET.Element("domain", type="test")
    ET.SubElement(root, "name").text = name(number, name_characters)
    ET.SubElement(root, "uuid").text = identity(number)
    ET.SubElement(root, "memory", unit="MiB").text = "8"
    ET.SubElement(ET.SubElement(root, "os"), "type").text = "hvm"
    return ET.tostring(root, encoding="unicode")
