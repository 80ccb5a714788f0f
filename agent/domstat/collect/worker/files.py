"""The machine's file systems: asked without being held up by a dead one, and only where libvirt sees the same.

A call on a network file system whose server is gone does not return and cannot be given up. It is made in a thread of
its own, which is left behind then; it goes with the process, which does nothing but one survey, and which the agent
can kill whatever it hangs in. Whoever has been asked here first is safe to be asked for by libvirt: a call that hangs
*there* occupies one of the daemon's workers, and the lock of a whole pool, for as long as the server is gone.

A path means something only within one mount namespace. An agent in a container, or a daemon in a private namespace,
has other file systems under the same paths; ``/proc/PID/mountinfo`` tells, to everybody and without touching any.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from domstat.collect.worker.connection import socket_of_daemon

ANSWER_S = 2.0
"""A file system that has not answered after so long is dead to a survey: a busy NFS server takes tenths of that."""

DEAD_MAX = 4
"""Dead places after which nothing is asked any more: each costs a survey ``ANSWER_S`` and leaves a thread behind."""

STEPS_MAX = 4096
"""Directories and links on the way along one path; as many as a path can have characters."""

MOUNTINFO_BYTES_MAX = 4 * 1024 * 1024
"""Larger lists of mounts are not read; 10,000 mounts of containers take 2 MiB."""

_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\"))
"""How the kernel writes what would end a field. The backslash comes last, so that none is made that is read again."""

_Mount: TypeAlias = tuple[str, str, str, str]
"""A mount's id, device (``major:minor``), which directory of it is mounted, and where."""

T = TypeVar("T")


class ElsewhereError(OSError):
    """A path leads to another place here than where libvirt's daemon runs."""


class Mounts:
    """What one process sees mounted where."""

    def __init__(self, mountinfo: str) -> None:
        """*mountinfo* is the text of ``/proc/PID/mountinfo``; lines that are none are passed over."""
        self._children: dict[tuple[str, str], _Mount] = {}
        """Mounts by the id of the mount they cover a directory of, and that directory."""
        roots = []
        for line in mountinfo.split("\n"):
            words = line.split(" ")
            if len(words) < 6:
                continue
            number, parent, device, root, point = words[:5]
            mount = (number, device, _unescaped(root), _unescaped(point))
            self._children[parent, mount[3]] = mount
            if mount[3] == "/":
                roots.append((parent, mount))
        numbers = {mount[0] for _, mount in roots}
        outermost = [mount for parent, mount in roots if parent not in numbers or parent == mount[0]]
        self._root = outermost[0] if outermost else None

    def place(self, path: str) -> tuple[str, str] | None:
        """Return which device *path* is on, and its path within that; None where there is no telling."""
        mount = self._mount(path)
        return mount and (mount[1], _joined(mount[2], path[len(mount[3].rstrip("/")) :]))

    def point(self, path: str) -> str:
        """Return where the file system that *path* is on is mounted; empty where there is no telling."""
        mount = self._mount(path)
        return mount[3] if mount else ""

    def _mount(self, path: str) -> _Mount | None:
        """Walk along *path* as the kernel does: what is mounted on the way covers what was mounted there before."""
        mount = self._root
        if mount is None or not path.startswith("/"):
            return None
        for prefix in _prefixes(path):
            for _ in self._children:  # one on top of the other, but never more than there are
                child = self._children.get((mount[0], prefix))
                if child is None:
                    break
                mount = child
        return mount


class Files:
    """Asks for file systems and files; what is dead is remembered, and not asked again."""

    def __init__(self, here: Mounts | None, there: Mounts | None, answer_s: float = ANSWER_S) -> None:
        """Know what this process sees mounted, and what libvirt's daemon does; None where nobody can tell."""
        self._here = here
        self._there = there
        self._answer_s = answer_s
        self.dead: list[str] = []
        """Directories below which something did not answer."""

    @property
    def hidden(self) -> bool:
        """Whether the daemon is on this machine, but what it has mounted is not to be seen."""
        return self._here is not None and self._there is None

    def shares(self, path: str) -> bool:
        """Whether *path*, its links not followed, is surely the same place here as where libvirt's daemon runs."""
        if self._here is None or self._there is None:
            return False
        place = self._here.place(path)
        return place is not None and place == self._there.place(path)

    def differs(self, path: str) -> bool:
        """Whether *path* is surely another place here than where libvirt's daemon runs."""
        return self._here is not None and self._there is not None and not self.shares(path)

    def is_mounted(self, path: str) -> bool:
        """Whether a file system of its own is mounted at *path*, as seen from here."""
        return self._here is not None and self._here.point(path) == (path.rstrip("/") or "/")

    def statvfs(self, path: str) -> os.statvfs_result:
        """Ask the file system that *path* is on. Raises OSError, of which TimeoutError if it does not answer."""
        return self._ask(path, os.statvfs)

    def stat(self, path: str) -> os.stat_result:
        """Ask for a file without opening it. Raises OSError, of which TimeoutError if its file system does not answer.

        The file system is asked first: a network file system answers for a file from memory, even long dead, but not
        for itself.
        """
        return self._ask(path, _status)

    def _ask(self, path: str, call: Callable[[str], T]) -> T:
        self._refuse_the_dead(path)
        steps = ["/"]

        def ask() -> T:
            real = _resolved(path, steps)
            if not self.shares(real):
                raise ElsewhereError(f"{path} is a link to what libvirt's daemon sees differently: {real}")
            self._refuse_the_dead(real)
            return call(real)

        try:
            return _within(self._answer_s, ask)
        except _OverdueError:
            dead = self._whole(steps[-1])
            self.dead.append(dead)
            raise _no_answer(dead) from None

    def _whole(self, step: str) -> str:
        """Return what is dead if *step* is: the file system it is on, unless that is the one everything is on."""
        point = self._here.point(step) if self._here else ""
        return step if point in {"", "/"} else point

    def _refuse_the_dead(self, path: str) -> None:
        for dead in self.dead:
            if path == dead or path.startswith(dead + "/"):
                raise _no_answer(dead)
        if len(self.dead) >= DEAD_MAX:
            raise TimeoutError(f"with {DEAD_MAX} file systems that do not answer no further one is asked")


def _no_answer(dead: str) -> TimeoutError:
    return TimeoutError(f"the file system at {dead} does not answer")


class _OverdueError(Exception):
    """A call has not returned in time."""


def look_around(*, local: bool) -> Files:
    """Find out which file systems libvirt's daemon sees as this process does.

    *local*: whether it runs on this machine at all. To be called when there is a connection.
    """
    if not local:
        return Files(None, None)
    here = _read_mounts("self")
    place, pid = socket_of_daemon()
    if not place:  # a driver within this process
        return Files(here, here)
    return Files(here, _read_mounts(str(pid)) if pid else None)


def _read_mounts(pid: str) -> Mounts | None:
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:  # noqa: PTH123 - pathlib costs memory
            text = file.read(MOUNTINFO_BYTES_MAX + 1)
    except OSError:
        return None
    return Mounts(os.fsdecode(text)) if len(text) <= MOUNTINFO_BYTES_MAX else None


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Make a call that may never return. Raises what it raises if that is an OSError, _OverdueError if it is late."""
    results: list[T] = []
    errors: list[OSError] = []

    def run() -> None:
        try:
            results.append(call())
        except OSError as error:
            errors.append(error)
        except ValueError as error:  # a path that no system call takes
            errors.append(OSError(errno.EINVAL, str(error)))

    thread = threading.Thread(target=run, name="files", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise _OverdueError
    return results[0]


def _status(path: str) -> os.stat_result:
    os.statvfs(path)
    return os.stat(path)  # noqa: PTH116 - pathlib costs memory


def _resolved(path: str, steps: list[str]) -> str:
    """Follow the links in *path*; *steps* grows before each step, so that it says where this hangs.

    What does not exist is no link. Raises OSError for links without end.
    """
    real = "/"
    words = path.split("/")[::-1]
    for _ in range(STEPS_MAX):
        if not words:
            return real
        word = words.pop()
        if word == "..":
            real = _joined(real, "..")
        elif word not in {"", "."}:
            step = _joined(real, word)
            steps.append(step)
            try:
                target = os.readlink(step)  # noqa: PTH115 - ditto
            except OSError:
                real = step
                continue
            words += target.split("/")[::-1]
            real = "/" if target.startswith("/") else real
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _unescaped(text: str) -> str:
    if "\\" in text:
        for escape, character in _ESCAPES:
            text = text.replace(escape, character)
    return text


def _prefixes(path: str) -> list[str]:
    """Write out ``/a/b`` as ``/``, ``/a`` and ``/a/b``."""
    words = [word for word in path.split("/") if word]
    return ["/", *("/" + "/".join(words[: count + 1]) for count in range(len(words)))]


def _joined(directory: str, rest: str) -> str:
    return os.path.normpath("/" + f"{directory}/{rest}".lstrip("/"))  # POSIX lets two slashes mean something else
