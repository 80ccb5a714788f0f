"""The state directory: what the agent keeps, for itself alone, where nobody else can read or replace it."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

from domstat.mounts import network_file_system

LOCK = "agent.lock"
"""In the state directory; its text is the process id of the agent that holds it."""

_OTHERS_MAY_NOT = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""A group may read, which is how a history in it is shared. Who may only pass through finds files closed to them."""

_ROOT = 0


class StateError(Exception):
    """The state directory cannot be used; the message says what to do."""


class HeldError(StateError):
    """Another agent uses it; *holder* is its process id, as text."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(
            f"{folder} is used by another agent (process {holder}); stop it, or give this one its own state_dir"
        )
        self.holder = holder


class StateLock:
    """One agent at a time, however many are started: two that write one journal would lose what both collect."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LOCK
        self._file: IO[str] | None = None

    def take(self, *, root_may: bool = False) -> None:
        """Make the directory if it is not there, and lock it. Raises StateError; HeldError if somebody has it.

        *root_may*: root may take what is another user's, as where it mends something that the agent is to go on with.
        """
        folder = self._path.parent
        try:
            file = _open_lock(folder, root_may=root_may)
        except OSError as error:
            reason = f"{folder} cannot be used: {error.strerror}"
            raise StateError(f"{reason}; set agent.state_dir to a directory of your own") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(20).strip() or "unknown"
            file.close()
            raise HeldError(folder, holder) from None
        self._file = file
        self._write_pid(file)

    @staticmethod
    def _write_pid(file: IO[str]) -> None:
        """Write who holds the lock, for error messages; a full disk is no reason not to run."""
        try:
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
        except OSError:
            return

    def let_go(self) -> None:
        """Let the next agent have it."""
        if self._file is not None:
            with suppress(OSError):
                # Closed alone it would stay held for as long as anybody lives whom a sink forked meanwhile.
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None


def _open_lock(folder: Path, *, root_may: bool) -> IO[str]:
    """Open the lock's file in the very folder that was looked at. Raises OSError, and StateError if it is none."""
    if folder.is_symlink():
        real = Path(os.path.realpath(folder))
        raise StateError(
            f"{folder} is a symbolic link, and whoever may turn it could have the state elsewhere; "
            f'set agent.state_dir = "{real}", if that is where it leads'
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if fault := _fault(os.fstat(there), folder, root_may=root_may):
            raise StateError(f"{folder} {fault}")
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(LOCK, flags, 0o600, dir_fd=there), "r+")
    finally:
        os.close(there)


def _fault(found: os.stat_result, folder: Path, *, root_may: bool) -> str:
    """Say why a folder is none to keep anything in, and what to do; empty where it is one."""
    uid = os.geteuid()
    if found.st_uid != uid and not (root_may and uid == _ROOT):
        return f"is uid {found.st_uid}'s, and this is uid {uid}: chown {uid} {folder}, or start it as that user"
    if found.st_mode & _OTHERS_MAY_NOT:
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}): chmod 0700 {folder}"
    if (kind := network_file_system(folder)) is not None:
        return f"is on {kind}, where a database is lost; set agent.state_dir to a directory on a local disk"
    return ""
