"""Losing power under a journal: everything its SQLite does to its files is recorded, and what could be left is built.

What was written and not yet synced may be there, be missing, or be there in part, each 512-byte sector by itself and
in any order; what was done to the directory holds up to some point. What was synced is there.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import apsw
from msgspec import Struct

SECTOR = 512
"""What a disk writes as a whole or not at all."""

VFS = "recording"


class Write(Struct, frozen=True):
    """Bytes written to a file."""

    inode: int
    offset: int
    data: bytes


class Truncate(Struct, frozen=True):
    """A file cut or grown to a size."""

    inode: int
    size: int


class Sync(Struct, frozen=True):
    """All of a file is on the disk; with *directory* so is what was done to its directory."""

    inode: int
    directory: bool


class Link(Struct, frozen=True):
    """A name leads to a file; without one (None) it leads nowhere."""

    name: str
    inode: int | None


class Acknowledged(Struct, frozen=True):
    """The caller was told that so many of its steps are done."""

    steps: int


Deed: TypeAlias = Write | Truncate | Sync | Link | Acknowledged


class Recorder(apsw.VFS):
    """SQLite's own file system, which takes down what is done to the files in it."""

    def __init__(self, folder: Path) -> None:
        self.deeds: list[Deed] = []
        self.inodes: dict[str, int] = {}
        self._folder = folder
        self._made = 0
        super().__init__(VFS, "")

    def note_made(self, name: str) -> int:
        """Take down that a file was made; return its number."""
        self._made += 1
        self.inodes[name] = self._made
        self.deeds.append(Link(name, self._made))
        return self._made

    def acknowledge(self, steps: int) -> None:
        """Take down that the caller was told so many steps are done."""
        self.deeds.append(Acknowledged(steps))

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's names, here and below
        """Open a file, and record it if it is one of the journal's."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or Path(path).parent != self._folder:
            return apsw.VFSFile("", name, flags)
        return RecordedFile(self, Path(path).name, name, flags)

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802
        """Delete a file."""
        super().xDelete(path, sync)
        name = Path(path).name
        if self.inodes.pop(name, None) is not None:
            self.deeds.append(Link(name, None))


class RecordedFile(apsw.VFSFile):
    """A file whose every change is taken down."""

    def __init__(self, recorder: Recorder, name: str, path: Any, flags: list[int]) -> None:
        super().__init__("", path, flags)
        self._deeds = recorder.deeds
        self._inode = recorder.inodes.get(name) or recorder.note_made(name)
        self._is_new = name.endswith(("-wal", "-journal"))
        """SQLite syncs the directory of these when it first syncs them."""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write."""
        super().xWrite(data, offset)
        self._deeds.append(Write(self._inode, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """Truncate."""
        super().xTruncate(size)
        self._deeds.append(Truncate(self._inode, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Sync."""
        super().xSync(flags)
        self._deeds.append(Sync(self._inode, self._is_new))
        self._is_new = False


class Connection:
    """An apsw connection, used as one of the sqlite3 module's is. *synchronous* is put in the place of FULL."""

    def __init__(self, path: Path, wal_pages: int, synchronous: str) -> None:
        self._connection = apsw.Connection(str(path), vfs=VFS)
        self._synchronous = synchronous
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Cursor:
        """Execute a statement."""
        with _as_sqlite3():
            return _Cursor(self._connection, self._connection.execute(sql, tuple(values)))

    def executescript(self, sql: str) -> None:
        """Execute statements."""
        with _as_sqlite3():
            self._connection.execute(sql.replace("synchronous = FULL", f"synchronous = {self._synchronous}")).fetchall()

    def executemany(self, sql: str, rows: Any) -> None:
        """Execute a statement for every row."""
        with _as_sqlite3():
            self._connection.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class _Cursor:
    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._connection = connection
        self._cursor = cursor

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> Any:
        return self._cursor.fetchall()

    @property
    def rowcount(self) -> int:
        return self._connection.changes()


class _as_sqlite3:  # noqa: N801 - used as a function is
    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, apsw.Error):
            raise sqlite3.OperationalError(str(error)) from error


class _File:
    """What of one file is on the disk, and what is on its way there."""

    def __init__(self) -> None:
        self.there = bytearray()
        self.pending: list[Write | Truncate] = []

    def sync(self) -> None:
        for deed in self.pending:
            _apply(self.there, deed)
        self.pending.clear()

    def left(self, chance: random.Random, luck: float) -> bytes:
        """Build what could be left; each deed is there as *luck* (0 to 1) has it."""
        there = bytearray(self.there)
        for deed in self.pending:
            if isinstance(deed, Write) and 0 < luck < 1 and chance.random() < 0.5:
                for part in _sectors(deed):
                    if chance.random() < luck:
                        _apply(there, part)
            elif chance.random() < luck:
                _apply(there, deed)
        return bytes(there)


def _apply(there: bytearray, deed: Write | Truncate) -> None:
    size = deed.size if isinstance(deed, Truncate) else deed.offset + len(deed.data)
    if len(there) < size:
        there.extend(bytes(size - len(there)))
    if isinstance(deed, Truncate):
        del there[size:]
    else:
        there[deed.offset : size] = deed.data


def _sectors(deed: Write) -> Iterator[Write]:
    begin, end = deed.offset, deed.offset + len(deed.data)
    while begin < end:
        until = min(end, (begin // SECTOR + 1) * SECTOR)
        yield Write(deed.inode, begin, deed.data[begin - deed.offset : until - deed.offset])
        begin = until


class Remains(Struct, frozen=True):
    """What could be left of the files after a loss of power: by name; and how many steps had been acknowledged."""

    files: dict[str, bytes]
    acknowledged: int


class Disk:
    """Follows what was recorded, and says what could be left after any of it."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int | None] = {}
        self._links: list[Link] = []
        self._acknowledged = 0

    def do(self, deed: Deed) -> None:
        """Go on by one deed."""
        match deed:
            case Write() | Truncate():
                self._file(deed.inode).pending.append(deed)
            case Sync():
                self._file(deed.inode).sync()
                if deed.directory:
                    self._names.update((link.name, link.inode) for link in self._links)
                    self._links.clear()
            case Link():
                self._links.append(deed)
            case Acknowledged():
                self._acknowledged = deed.steps

    def left(self, chance: random.Random, luck: float) -> Remains:
        """Build what could be left if the power went now."""
        names = dict(self._names)
        kept = round(luck * len(self._links)) if luck in {0, 1} else chance.randint(0, len(self._links))
        names.update((link.name, link.inode) for link in self._links[:kept])
        files = {name: self._file(inode).left(chance, luck) for name, inode in names.items() if inode is not None}
        return Remains(files, self._acknowledged)

    def _file(self, inode: int) -> _File:
        return self._files.setdefault(inode, _File())


def remains(deeds: Sequence[Deed], per_deed: int, chance: random.Random) -> Iterator[Remains]:
    """Give what could be left after every single deed: all that is pending lost, all of it there, and by chance."""
    disk = Disk()
    for deed in deeds:
        disk.do(deed)
        for number in range(per_deed):
            yield disk.left(chance, number if number < 2 else chance.random())
