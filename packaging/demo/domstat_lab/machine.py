"""Whether this machine is a hypervisor already: `python -m domstat_lab.machine` prints its URI, or fails silently."""

import sys
from pathlib import Path

from domstat_lab.connection import open_connection
from domstat_lab.errors import LabError

# Of the one daemon of old and of the QEMU daemon of the split set. Both sockets answer to everybody, and only read.
SOCKETS = (Path("/run/libvirt/libvirt-sock-ro"), Path("/run/libvirt/virtqemud-sock-ro"))


def own_uri() -> str | None:
    """Return the read-only URI of this machine's libvirt, provided it has a running guest."""
    for socket in SOCKETS:
        uri = f"qemu+unix:///system?socket={socket}"
        if socket.exists() and _has_guests(uri):
            return uri
    return None


def _has_guests(uri: str) -> bool:
    try:
        libvirt = open_connection(uri, readonly=True)
    except LabError:
        return False
    try:
        return int(libvirt.numOfDomains()) > 0
    finally:
        libvirt.close()


if __name__ == "__main__":
    found = own_uri()
    print(found or "", end="")
    sys.exit(0 if found else 1)
