"""The connection to a hypervisor: how it is opened, kept alive, and which daemon is at its other end.

Who listens is libvirt's client to find out: for ``qemu:///system`` it takes the split daemon's socket
(``virtqemud-sock-ro``) if there is such a file and libvirtd's (``libvirt-sock-ro``) otherwise. It looks at files only,
so that one left behind by a daemon that is gone stands in the way of the other daemon; and ``remote_mode`` in
libvirt.conf may name the one that is not there. Then the other one is tried here, by the URI's ``mode``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import Any

import libvirt

KEEPALIVE_INTERVAL_S = 3
"""How often an idle connection is asked for a sign of life."""

KEEPALIVE_COUNT = 1
"""How many signs of life may be missing. A daemon that hangs is noticed after interval x (count + 1) = 6 s, or up to
9 s since libvirt counts whole seconds: soon enough for the next tick to be tried on a new connection, and long beyond
what a busy daemon's main loop takes to answer. A hung guest does not keep the daemon from answering."""

_MODES = ("direct", "legacy")
"""What the URI's ``mode`` calls a daemon per driver, and libvirtd (since libvirt 5.7)."""

_NOBODY_LISTENS = (errno.ENOENT, errno.ECONNREFUSED)
"""What a socket that is not there, and one whose daemon is gone, come to."""

_STANDARD_FDS = (0, 1, 2)
"""Given by whoever started the process, and nothing of libvirt's."""

_CREDENTIALS = struct.Struct("iII")
"""What SO_PEERCRED gives: pid, uid, gid."""


def open_connection(uri: str, writable: bool = False) -> tuple[Any, str]:  # noqa: FBT001, FBT002 - one of Open's fields
    """Connect to *uri*; return the connection, and a note, empty unless libvirt's own choice had to be overruled.

    The connection is read-only unless *writable*. May hang for as long as the other side does. Raises libvirtError.
    """
    first: libvirt.libvirtError | None = None
    for attempt in (uri, *_other_daemons(uri)):
        try:
            connection = libvirt.open(attempt) if writable else libvirt.openReadOnly(attempt)
        except libvirt.libvirtError as error:
            if not _found_nobody(error):
                raise
            first = first or error
        else:
            return connection, f"reached by {how_reached(uri)}, since: {first}" if first else ""
    assert first is not None  # noqa: S101 - there is at least one attempt
    raise first


def keep_alive(connection: Any) -> None:
    """Have *connection* end by itself when its daemon hangs or its network is gone, which needs a running event loop.

    A driver inside this process has nothing to keep alive. Raises libvirtError.
    """
    try:
        connection.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise


def is_local(uri: str) -> bool:
    """Whether the hypervisor at *uri* is this machine's own, so that its files and processes are met here too.

    The test driver's host is made up.
    """
    driver, transport, authority, _ = _parts(uri)
    return not authority and transport in {"", "unix"} and driver != "test"


def how_reached(uri: str) -> str:
    """Say in words where this process's connection to *uri* ends."""
    place, pid = socket_of_daemon()
    if place:
        return f"{place} ({_command(pid)}, pid {pid})" if pid else place
    transport = _parts(uri)[1]
    return f"through {transport}" if transport else "inside the worker: this driver has no daemon"


def daemon_pid() -> int | None:
    """Return the pid of the daemon that this process is connected to; None if it is not this machine's, or hidden.

    Behind virtproxyd, which only passes calls on, it is the proxy's.
    """
    return socket_of_daemon()[1]


def socket_of_daemon() -> tuple[str, int | None]:
    """Return where this process's connection ends, a socket's path or an address, and the pid of who listens there.

    The place is empty for a driver inside this process, and for a transport that is a process of its own (ssh).
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib costs memory
        fd = int(name)
        with suppress(OSError):  # no socket, not connected, or closed in the meantime
            if fd in _STANDARD_FDS or not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):  # noqa: PTH115 - ditto
                continue
            with socket.socket(fileno=os.dup(fd)) as end:
                if found := _other_end(end):
                    return found
    return "", None


def _other_end(end: socket.socket) -> tuple[str, int | None] | None:
    """Say what a socket leads to; None for what cannot be a daemon. Raises OSError for one that is not connected."""
    if end.type != socket.SOCK_STREAM:
        return None
    peer = end.getpeername()
    if end.family in {socket.AF_INET, socket.AF_INET6}:
        return f"{peer[0]} port {peer[1]}", None
    if end.family != socket.AF_UNIX or not peer:  # a socket pair's ends have no names
        return None
    path = os.fsdecode(peer)
    pid: int = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
    return path, pid if _is_daemon(_command(pid)) else _find_daemon(path)


def _find_daemon(path: str) -> int | None:
    """Find who serves the socket at *path* where the kernel names somebody else.

    systemd listens until the first connection wakes the daemon up, and is that connection's other end for good.
    """
    served_by = {"libvirtd", "virtproxyd"} if path.rpartition("/")[2].startswith("libvirt-") else set()
    served_by.add(path.rpartition("/")[2].partition("-sock")[0])
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - ditto
    found = [pid for pid in pids if _command(pid) in served_by]
    return found[0] if len(found) == 1 else None


def _is_daemon(command: str) -> bool:
    return command == "libvirtd" or (command.startswith("virt") and command.endswith("d"))


def _command(pid: int | None) -> str:
    """Return the name of the program that runs as *pid*; empty if there is none to be seen."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - ditto
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _found_nobody(error: libvirt.libvirtError) -> bool:
    """Whether a local socket could not be connected to, rather than that whoever listens there refused."""
    return error.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in _NOBODY_LISTENS


def _other_daemons(uri: str) -> tuple[str, ...]:
    """Return *uri* by each daemon's name, for a system's local URI that leaves the choice to libvirt."""
    _, transport, _, path = _parts(uri)
    if not is_local(uri) or transport or path.startswith("/session") or "?" in uri or "#" in uri:
        return ()
    return tuple(f"{uri}?mode={mode}" for mode in _MODES)


def _parts(uri: str) -> tuple[str, str, str, str]:
    """Take a URI apart into driver, transport, authority (user, host, port) and all that follows.

    By hand: nothing else in this process needs urllib, which would stand in its memory for years.
    """
    scheme, _, rest = uri.partition(":")
    driver, _, transport = scheme.lower().partition("+")
    rest = rest.removeprefix("//") if rest.startswith("//") else f"/{rest.lstrip('/')}"
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return driver, transport, authority, rest[len(authority) :]
