"""The journal as a file among files: made for its owner alone, looked at, set aside; and what SQLite's errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from pathlib import Path
from urllib.parse import quote

DAMAGED_KEPT = 3
"""Damaged journals set aside and kept for whoever wants to look; the oldest goes."""


def set_aside(path: Path) -> Path:
    """Rename a damaged journal with what belongs to it, and return its new name."""
    olds = {str(old).removesuffix("-wal").removesuffix("-shm") for old in path.parent.glob(f"{path.name}.damaged-*")}
    for old in sorted(olds)[: max(0, len(olds) - DAMAGED_KEPT + 1)]:
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{old}{ending}")  # noqa: PTH108 - names, not paths
    stamp = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    # The WAL first: a journal without its WAL is found damaged again, a WAL without its journal would be taken for the
    # new one's.
    for ending in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{aside}{ending}")  # noqa: PTH105 - names, not paths
    return aside


def look(path: Path) -> sqlite3.Connection:
    """Open a journal for looking only, also while an agent writes it. Raises sqlite3.Error or FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(2, "there is no journal yet", str(path))
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
    connection.execute("PRAGMA query_only = ON")
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is damaged, or none of SQLite's."""
    if _is_coded(error):
        return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    return type(error) is sqlite3.DatabaseError  # what a check has found


def is_full(error: sqlite3.Error) -> bool:
    """Whether an error says that the disk is full."""
    return _is_coded(error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL


def _is_coded(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) is not None


def identity_of(path: Path) -> tuple[int, int]:
    """Return which file a path leads to. Raises FileNotFoundError."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def create_private(path: Path) -> None:
    """Make the file, readable by its owner alone, before SQLite would make it readable by all."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags | os.O_EXCL, 0o600))
