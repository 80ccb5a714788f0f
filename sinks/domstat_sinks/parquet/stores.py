"""A folder, or an object store: where a file is there whole, or as it was before.

Names are relative, with slashes. Everything here raises OSError and nothing else, whatever a store's library raises.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from domstat.text import printable
from domstat_sinks.parquet.layout import LOCK

READ_AT_ONCE = 32
"""Small files that are fetched together: of an object store in the time of one."""

_NEW = ".new"
"""What ends the name of a file that is being written; it begins with a dot."""

_PRIVATE = 0o700
_WORDS_MAX = 300


class TakenError(Exception):
    """Another agent or sink writes there."""


class Store(Protocol):
    """What the sink needs of one."""

    writer: str
    """Which agent's files are ours; nothing where there is only one."""

    def names(self, folder: str) -> list[str]:
        """Name all files below a folder, relative to it, but those that are being written."""

    def folders(self, folder: str) -> list[str]:
        """Name the folders in a folder."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def making(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Give a file to write to, which is *name*, durably, when the block ends well, and never was if not."""

    def reading(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open a file."""

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """Give whole small files, one after the other."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, one after the other; one that is not there is none's fault."""

    def set_aside(self, name: str) -> None:
        """Give a file another name, by which nobody will look for it."""

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that is empty."""

    def close(self) -> None:
        """Let go of it."""


class Folder:
    """A folder of this machine, of one agent at a time. What is in it may be read by whom the folder itself is."""

    writer = ""

    def __init__(self, root: Path) -> None:
        """Make the folder where there is none, and lock it. Raises OSError or TakenError."""
        self._root = root
        if not root.is_dir():
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=_PRIVATE)
            _sync(root.parent)
        self._mode = root.stat().st_mode & 0o777
        self._make_folder(root / LOCK)
        self._lock = _locked(root / LOCK, str(root))
        for left in root.joinpath(LOCK).parent.rglob(f".*{_NEW}"):
            left.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """See Store."""
        below = self._root / folder
        return [
            path.relative_to(below).as_posix()
            for path in below.rglob("*")
            if path.is_file() and not path.name.endswith(_NEW)
        ]

    def folders(self, folder: str) -> list[str]:
        """See Store."""
        below = self._root / folder
        return [path.name for path in below.iterdir() if path.is_dir()]

    def has(self, name: str) -> bool:
        """See Store."""
        return self._root.joinpath(name).exists()

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[IO[bytes]]:
        """See Store. Written under another name, and to the disk, before it is called by its own."""
        path = self._root / name
        self._make_folder(path)
        begun = path.with_name(f".{path.name}{_NEW}")
        try:
            with begun.open("wb") as file:
                os.fchmod(file.fileno(), self._mode & 0o666)
                yield file
                file.flush()
                os.fsync(file.fileno())
            begun.replace(path)
            _sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                begun.unlink()
            raise

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """See Store."""
        with self._root.joinpath(name).open("rb") as file:
            yield file

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """See Store."""
        for name in names:
            yield self._root.joinpath(name).read_bytes()

    def remove(self, names: Sequence[str]) -> None:
        """See Store."""
        for name in names:
            self._root.joinpath(name).unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        """See Store."""
        path = self._root / name
        path.replace(path.with_name(f"{path.name}.damaged"))

    def remove_empty(self, folder: str) -> None:
        """See Store."""
        with contextlib.suppress(OSError):
            self._root.joinpath(folder).rmdir()

    def close(self) -> None:
        """See Store."""
        self._lock.close()

    def _make_folder(self, path: Path) -> None:
        """Make the folders that a file is to be in, durably."""
        missing = []
        folder = path.parent
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir()
            folder.chmod((folder.stat().st_mode & 0o7000) | self._mode)
            _sync(folder.parent)


class Objects:
    """An object store, in which several agents may write beside each other: each has files of its own.

    Which agent this is stands in a file in the state directory, which is locked: two that are one would undo each
    other's work.
    """

    def __init__(self, url: str, options: Mapping[str, Any], identity: Path) -> None:
        """Find the store, without meeting it. Raises TakenError, OSError, or what its library raises of options."""
        from fsspec.core import url_to_fs

        self._fs, root = url_to_fs(url, **options)
        self._root = root.rstrip("/")
        self._lock = _locked(identity, url)
        self.writer = _identity(self._lock)
        self._spool = identity.parent

    def names(self, folder: str) -> list[str]:
        """See Store."""
        below = self._at(folder)
        with _as_os_error(below):
            self._fs.invalidate_cache()
            return [name[len(below) + 1 :] for name in self._fs.find(below)]

    def folders(self, folder: str) -> list[str]:
        """See Store."""
        below = self._at(folder)
        with _as_os_error(below):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(below, detail=True)
            except FileNotFoundError:
                return []
            return [one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory"]

    def has(self, name: str) -> bool:
        """See Store."""
        with _as_os_error(name):
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._at(name)))

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[IO[bytes]]:
        """See Store. Written to a file of this machine that has no name, and then put there as one object.

        Writing to the store directly would leave half an object behind if something fails: its libraries finish what
        was begun when a file is closed.
        """
        with tempfile.TemporaryFile(dir=self._spool) as file:
            yield file
            file.flush()
            with _as_os_error(name):
                self._fs.put_file(f"/proc/self/fd/{file.fileno()}", self._at(name))

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """See Store. Fetched whole: it is read more than once."""
        with tempfile.TemporaryFile(dir=self._spool) as file:
            with _as_os_error(name), self._fs.open(self._at(name), "rb") as remote:
                shutil.copyfileobj(remote, file)
            file.seek(0)
            yield file

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """See Store."""
        for first in range(0, len(names), READ_AT_ONCE):
            paths = [self._at(name) for name in names[first : first + READ_AT_ONCE]]
            with _as_os_error(paths[0]):
                found = self._fs.cat(paths)
            by_name = {path.lstrip("/"): data for path, data in found.items()}
            yield from (by_name[path.lstrip("/")] for path in paths)

    def remove(self, names: Sequence[str]) -> None:
        """See Store."""
        for name in names:
            with _as_os_error(name), contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._at(name))

    def set_aside(self, name: str) -> None:
        """See Store."""
        with _as_os_error(name):
            self._fs.mv(self._at(name), f"{self._at(name)}.damaged")

    def remove_empty(self, folder: str) -> None:
        """See Store. There are no folders but those with something in them."""

    def close(self) -> None:
        """See Store."""
        self._lock.close()

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


@contextlib.contextmanager
def _as_os_error(what: str) -> Iterator[None]:
    """Make one kind of error of all that a store's library has; some have their own, some their network's."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        words = printable(f"{type(error).__name__}: {error}", _WORDS_MAX)
        raise OSError(f"{what}: {words}") from error


def _locked(path: Path, what: str) -> IO[bytes]:
    """Open and lock a file, which is made where there is none. Raises TakenError or OSError."""
    lock = path.open("a+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise TakenError(
            f"{what} is being written by another sink or agent; stop that one, or give each its own path"
        ) from None
    except BaseException:
        lock.close()
        raise
    return lock


def _identity(file: IO[bytes]) -> str:
    """Return who this agent is, from its file; decided once."""
    file.seek(0)
    known = file.read(64).decode("ascii", "replace").strip()
    if len(known) == 12 and all(digit in "0123456789abcdef" for digit in known):
        return known
    made = uuid4().hex[:12]
    file.truncate(0)
    file.write(made.encode())
    file.flush()
    os.fsync(file.fileno())
    return made


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
