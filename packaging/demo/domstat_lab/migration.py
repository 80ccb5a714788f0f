"""Live migration between two private libvirtds of one machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domstat_lab import connection
from domstat_lab.libvirtd import PrivateLibvirtd

# In the folder of libvirtd's own sockets, and no longer than their names, whose length has been checked.
SOCKET = "migration"


@contextmanager
def pair(folder: Path) -> Iterator[tuple[PrivateLibvirtd, PrivateLibvirtd]]:
    """Run two libvirtds, in namespaces of their own each, that can migrate guests to one another."""
    with PrivateLibvirtd(folder / "a") as first, PrivateLibvirtd(folder / "b") as second:
        yield first, second


def migrate(source: PrivateLibvirtd, target: PrivateLibvirtd, name: str) -> None:
    """Move a running guest to another libvirtd, live, with its QEMU's memory sent over a Unix socket.

    One at a time to the same target. The guest's files stay in the folder of the lab it was started in, which both
    see: disks are shared, as on a cluster's storage.
    """
    flags = connection.binding()
    socket = target.socket_rw.with_name(SOCKET)
    socket.unlink(missing_ok=True)
    try:
        with connection.guest(source.uri_rw, name) as guest:
            guest.migrateToURI3(
                target.uri_rw,
                {flags.VIR_MIGRATE_PARAM_URI: f"unix://{socket}"},
                # UNSAFE: libvirt cannot see that a folder of one machine is shared storage for both.
                flags.VIR_MIGRATE_LIVE | flags.VIR_MIGRATE_PEER2PEER | flags.VIR_MIGRATE_UNSAFE,
            )
    finally:
        socket.unlink(missing_ok=True)
