"""A copy of the history as it is at one moment, made while it is written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

PAGES_AT_ONCE = 2_048
"""Pages copied in one step, 8 MiB: a few milliseconds, between which a signal is heard."""


def take(connection: sqlite3.Connection, target: Path) -> int:
    """Copy the history that *connection* reads into a new file, and return its bytes.

    The copy is of one moment: it is made within one read, which in WAL mode holds no writer up; only that the WAL
    grows until it ends. It is its owner's alone, and whole on the disk when this returns; it has no WAL, so that it
    can be read where nobody may write. Raises sqlite3.Error and OSError, FileExistsError for a file that is there, and
    leaves no file then.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        _copy(connection, target)
        sync(target)
        sync(target.parent)
        return target.stat().st_size
    except BaseException:
        for path in (target, target.with_name(target.name + "-journal")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        raise


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        copy.execute("PRAGMA synchronous = OFF")  # synced once, when it is whole
        connection.execute("BEGIN")
        try:
            # The first look takes the moment: a backup within a read does not begin anew when somebody writes.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.backup(copy, pages=PAGES_AT_ONCE, sleep=0, progress=_hear_signals)
        finally:
            connection.execute("COMMIT")
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()


def _hear_signals(_status: int, _remaining: int, _total: int) -> None:
    """Let the interpreter run: copying is C from its first page to its last."""


def sync(path: Path) -> None:
    """Have a file or a folder on the disk when this returns. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
