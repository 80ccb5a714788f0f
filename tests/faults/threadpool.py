"""How many calls a libvirtd is in the middle of: ``python -I threadpool.py ADMIN-SOCKET`` prints it.

What ``virt-admin srv-threadpool-info`` tells, for machines that lack it. In a process of its own, since libvirt's
library cannot be loaded beside the Python binding, which brings one with it.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys

from domstat_lab.libvirtd import PrivateLibvirtd


class Parameter(ctypes.Structure):
    """libvirt's virTypedParameter, of which only unsigned integers are met here."""

    _fields_ = (("field", ctypes.c_char * 80), ("type", ctypes.c_int), ("value", ctypes.c_uint64))


def busy_workers(lab: PrivateLibvirtd) -> int:
    """Count the threads of a libvirtd that are in a call; one that hangs in a guest is in it still."""
    command = [sys.executable, __file__, str(lab.socket_ro.with_name("libvirt-admin-sock"))]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout)


def _ask(socket: str) -> int:
    admin = ctypes.CDLL("libvirt-admin.so.0")
    admin.virAdmConnectOpen.restype = admin.virAdmConnectLookupServer.restype = ctypes.c_void_p
    if admin.virAdmInitialize() < 0:
        raise SystemExit("libvirt-admin does not start")
    connection = ctypes.c_void_p(admin.virAdmConnectOpen(f"libvirtd:///system?socket={socket}".encode(), 0))
    if not connection:
        raise SystemExit(f"cannot connect to {socket}")
    server = ctypes.c_void_p(admin.virAdmConnectLookupServer(connection, b"libvirtd", 0))
    parameters, count = ctypes.POINTER(Parameter)(), ctypes.c_int()
    asked = (server, ctypes.byref(parameters), ctypes.byref(count), 0)
    if admin.virAdmServerGetThreadPoolParameters(*asked) < 0:
        raise SystemExit(f"no thread pool behind {socket}")
    pool = {parameters[i].field.decode(): parameters[i].value & 0xFFFFFFFF for i in range(count.value)}
    return int(pool["nWorkers"] - pool["freeWorkers"])


if __name__ == "__main__":
    sys.stdout.write(f"{_ask(sys.argv[1])}\n")
