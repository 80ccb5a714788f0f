"""Who may read a history: its owner, and a group that is given it. Who may not is told what would help.

Who only reads needs no right to write, nor to make files: SQLite is content with reading the WAL and its index, so long
as these are there. So a writer that ends leaves both behind (:func:`kept_beside`), and a group is given all three files
for reading. What readers lock is the index, which they may read; a writer waits for none of them.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file, by what is added to its name."""

_FILE_MODE, _FOLDER_MODE = 0o640, 0o750
_ASK = "ask for a snapshot: domstat history snapshot FILE"

_NOT_READY = frozenset({"SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY", "SQLITE_READONLY_CANTINIT"})
"""What SQLite says where it lacks a file beside the history, and may not make it."""


class UnsharedError(Exception):
    """The history is not as readable as it is to be; the message says why."""


def make_folder(folder: Path, group: str | None) -> None:
    """Make a history's folder where there is none, its owner's and the group's. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    if group is not None:
        with contextlib.suppress(UnsharedError, OSError):  # share() says so
            os.chown(folder, -1, _number_of(group))
            folder.chmod(_FOLDER_MODE)


def share(path: Path, group: str) -> None:
    """Let a group read the history that is open for writing, and all that is beside it.

    Nothing is opened here: closing a second handle on any of these files would drop SQLite's own locks. Raises
    UnsharedError.
    """
    number = _number_of(group)
    for file in _files(path):
        try:
            os.chown(file, -1, number)
            file.chmod(_FILE_MODE)
        except FileNotFoundError:
            continue
        except PermissionError:
            raise UnsharedError(f"the agent's user is not of the group {group}, and cannot give it {file}") from None
        except OSError as error:
            raise UnsharedError(f"{file}: {error.strerror}") from error
    for folder in path.parents:
        if not _lets_in(folder, number):
            raise UnsharedError(f"the group {group} may not enter {folder}; choose a path in another folder")


def _number_of(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UnsharedError(f"there is no group {group}") from None


def _lets_in(folder: Path, group: int) -> bool:
    found = folder.stat()
    return bool(found.st_mode & stat.S_IXOTH or (found.st_gid == group and found.st_mode & stat.S_IXGRP))


def _files(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + ending) for ending in BESIDE)]


@contextlib.contextmanager
def kept_beside(path: Path) -> Iterator[None]:
    """Keep what is beside a history while its writer closes it: the last one to leave would remove it.

    By a connection that only reads, and so can neither remove anything nor take the lock that this needs.
    """
    try:
        keeper = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    except sqlite3.Error:
        yield
        return
    try:
        with contextlib.suppress(sqlite3.Error):
            keeper.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
    finally:
        keeper.close()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Make PermissionError, with a message that helps, of what SQLite says to those who may not read a history.

    Other errors pass.
    """
    try:
        if not path.exists():
            raise FileNotFoundError(2, "there is no history yet", str(path))
        yield
    except PermissionError as error:
        raise PermissionError(error.errno, f"you may not enter its folder; {_ASK}", str(path)) from None
    except sqlite3.OperationalError as error:
        closed = next((file for file in _files(path) if file.exists() and not os.access(file, os.R_OK)), None)
        if closed is not None:
            message = f"{_readers(closed)} may read it; {_ASK}"
        elif error.sqlite_errorname in _NOT_READY:
            message = f"nobody has made it ready for those who only read; start the agent on it, or {_ASK}"
        else:
            raise
        raise PermissionError(13, message, str(path)) from error


def _readers(file: Path) -> str:
    """Say who may read a file."""
    found = file.stat()
    owner = str(found.st_uid)
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(found.st_uid).pw_name
    if not found.st_mode & stat.S_IRGRP:
        return f"only {owner}"
    group = str(found.st_gid)
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return f"only {owner} and the group {group}"
