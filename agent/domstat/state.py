"""The state directory: what the agent keeps, for itself alone."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

LOCK = "agent.lock"
"""In the state directory; its text is the process id of the agent that holds it."""


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

    def take(self) -> None:
        """Make the directory if it is not there, and lock it. Raises StateError; HeldError if somebody has it."""
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.fdopen(os.open(self._path, flags, 0o600), "r+")
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
