"""Runs a command as systemd would under a unit's restrictions, without systemd: for tests, as root.

``unshare --mount --ipc python confined.py UNIT UID SOCKET STATE -- COMMAND`` puts the read-only socket and the state
directory where the command finds them (:data:`SOCKET`, :data:`STATE`), and makes everything else read-only or empty;
then ``setpriv`` takes all rights, and this program, called again with ``--filter``, the system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from unit_file import allowed_calls, settings_of

PLACE = Path("/mnt")
SOCKET, STATE = PLACE / "libvirt-sock-ro", PLACE / "state"

ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EQUAL, _MASKED = 4, 7
"""libseccomp's numbers."""

_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
_FAMILIES_END = 46
_WRITE_AND_EXECUTE, _EXECUTE, _SHM_EXECUTE = 6, 4, 0o100000
_SET_ID_BITS = (0o4000, 0o2000)
_NAMESPACES = (0x00000080, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """A seccomp filter in the making."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(otherwise)))

    def add(self, action: int, call: str, *when: tuple[int, int, int, int]) -> None:
        """Have a call lead to *action*; *when* its arguments compare so: (which, how, with, and with)."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number == -1:
            return  # of another architecture
        compared = (_Comparison * len(when))(*(_Comparison(*one) for one in when))
        added = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(when), compared
        )
        # Of the calls that x86-64 does not have libseccomp knows the names, and takes no conditions.
        assert added in {0, -errno.EDOM, -errno.EOPNOTSUPP, -errno.EACCES}, (call, added)

    def load(self) -> None:
        """Be under it from now on."""
        assert self._library.seccomp_load(self._context) == 0


def refused(settings: dict[str, list[str]]) -> Iterator[tuple[int, str, tuple[tuple[int, int, int, int], ...]]]:
    """Give what the unit's other lines refuse by their arguments, as systemd does it: (error, call, conditions)."""
    if settings["MemoryDenyWriteExecute"] == ["yes"]:
        yield errno.EPERM, "mmap", ((2, _MASKED, _WRITE_AND_EXECUTE, _WRITE_AND_EXECUTE),)
        yield errno.EPERM, "mprotect", ((2, _MASKED, _EXECUTE, _EXECUTE),)
        yield errno.EPERM, "pkey_mprotect", ((2, _MASKED, _EXECUTE, _EXECUTE),)
        yield errno.EPERM, "shmat", ((2, _MASKED, _SHM_EXECUTE, _SHM_EXECUTE),)
    if settings["RestrictNamespaces"] == ["yes"]:
        yield errno.EPERM, "unshare", ()
        yield errno.EPERM, "setns", ()
        yield errno.ENOSYS, "clone3", ()
        for flag in _NAMESPACES:
            yield errno.EPERM, "clone", ((0, _MASKED, flag, flag),)
    if settings["RestrictSUIDSGID"] == ["yes"]:
        for bit in _SET_ID_BITS:
            for call, position in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2)):
                yield errno.EPERM, call, ((position, _MASKED, bit, bit),)
    (families,) = settings["RestrictAddressFamilies"]
    allowed = {_FAMILIES[name] for name in families.split()}
    for family in set(range(_FAMILIES_END)) - allowed:
        yield errno.EAFNOSUPPORT, "socket", ((0, _EQUAL, family, 0),)


def confine_calls(settings: dict[str, list[str]]) -> None:
    """Let this process, and what it becomes, make no other system calls than the unit allows."""
    calls = allowed_calls(settings["SystemCallFilter"])
    by_argument = Filter(ALLOW)
    for error, call, when in refused(settings):
        by_argument.add(_ERRNO | error, call, *when)
    by_name = Filter(_ERRNO | getattr(errno, settings["SystemCallErrorNumber"][0]))
    for call in calls:
        by_name.add(ALLOW, call)
    by_argument.load()
    by_name.load()


def confine_files(socket: str, state: str) -> None:
    """Have nothing writable but the state directory, in this mount namespace."""
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(PLACE))
    STATE.mkdir()
    SOCKET.touch()
    mount("--bind", state, str(STATE))
    mount("--bind", socket, str(SOCKET))
    here = str(Path(__file__).resolve())
    for hidden in ("/home", "/root"):
        if not here.startswith(f"{hidden}/"):
            mount("-t", "tmpfs", "-o", "mode=0000,ro", "tmpfs", hidden)
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    for point in mount_points():
        if not point.startswith(("/dev", "/tmp", str(STATE))):
            # What is mounted over is not to be had any more.
            subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, stderr=subprocess.DEVNULL)


def mount_points() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main(arguments: list[str]) -> None:
    if arguments[0] == "--filter":
        settings = settings_of(Path(arguments[1]))
        os.umask(int(settings["UMask"][0], 8))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        confine_calls(settings)
        os.execv(arguments[2], arguments[2:])
    unit, uid, socket, state, _, *command = arguments
    confine_files(socket, state)
    rights = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--clear-groups"]
    again = [sys.executable, "-B", __file__, "--filter", unit, *command]
    os.chdir("/")
    os.execvp("setpriv", ["setpriv", f"--reuid={uid}", f"--regid={uid}", *rights, "--", *again])


if __name__ == "__main__":
    main(sys.argv[1:])
