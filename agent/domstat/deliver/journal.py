"""The journal: the file between collecting and sinks, in which every batch is before any sink sees it.

One row a batch (:mod:`.codec`), numbered in the order of collecting, and one row a sink saying how far it has come
(:mod:`.position`). SQLite in WAL mode with ``synchronous=FULL``: what :meth:`Journal.append` has returned from survives
a killed process and a power cut. There is exactly one writing connection, this one, and it alone checkpoints; whoever
only looks (:func:`look`) opens the file read-only.

Invariants: a row is removed only when every sink has it or a bound asks for it; the numbers grow and are never given
twice within one journal; nobody outside depends on them, since a journal that was damaged is begun anew (with another
``id``) and old ones are restored from backups.

A full disk: SQLite needs room even to delete. So a file beside it, the *reserve*, is given up first; with that room
the WAL is folded into the file, which from then on grows no more: rows that every sink has are deleted, and new ones
take their place, until there is room for the reserve again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from domstat.deliver import position
from domstat.deliver.codec import Stream
from domstat.deliver.files import create_private, identity_of, is_damage, set_aside
from domstat.deliver.position import Position

FILE = "journal.db"

APPLICATION_ID = 0x646F6D6A
"""``domj``, by which file(1) and this module know the file."""

SCHEMA_VERSION = 1

RESERVE_BYTES = 4 << 20
"""What is kept free for the day the disk is full: the WAL at its limit, and what deleting some thousand rows writes."""

WAL_BYTES_MAX = 4 << 20
"""The WAL is cut down to this after a checkpoint: a few hundred ticks of 200 guests between two of them."""

CACHE_KIB = 512
"""Pages kept, a quarter of SQLite's default: rows are written once, and read in order or not at all."""

CHECK_BYTES_MAX = 256 << 20
"""A journal larger than this is not read through at the start, which would take seconds; its rows have checksums."""

PAGES_MAX = 1 << 30
"""No limit: the file's pages otherwise, 4 TiB."""

TRIM_ROWS = 256
"""Rows deleted in one transaction, about 20 ms, so that no tick waits longer for its commit."""

VACUUM_PAGES = 1024
"""Free pages given back to the disk in one go, 4 MiB."""

ROW_BYTES = 2048
"""What a row takes beside its blob: its head, its place in an index, half a page at its end."""

_SCHEMA = """
CREATE TABLE journal (id TEXT NOT NULL);
CREATE TABLE batch (
    number INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    records INTEGER NOT NULL,
    blob BLOB NOT NULL
);
CREATE INDEX batch_stream ON batch (stream, number);
CREATE TABLE stream (id INTEGER PRIMARY KEY, host TEXT NOT NULL, collect TEXT NOT NULL, UNIQUE (host, collect));
CREATE TABLE cursor (sink TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE device (stream INTEGER NOT NULL, uuid TEXT NOT NULL, time_ms INTEGER NOT NULL, devices BLOB NOT NULL,
    PRIMARY KEY (stream, uuid)) WITHOUT ROWID;
"""

# Debian's SQLite overwrites what is deleted, page by page: on a full disk there would be no room for that.
_OPEN = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = {WAL_BYTES_MAX};
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
PRAGMA secure_delete = OFF;
PRAGMA cache_size = -{CACHE_KIB};
PRAGMA temp_store = MEMORY;
"""


class DamagedError(Exception):
    """The journal cannot be used any more and was set aside; the message says where and why."""


class Entry(Struct, frozen=True, gc=False):
    """One batch as the journal keeps it. *devices*: what guests' devices are, by uuid, where the batch says so."""

    number: int
    stream: Stream
    time_ms: int
    records: int
    blob: bytes
    devices: tuple[tuple[str, bytes], ...] = ()


class Removed(Struct, frozen=True, gc=False):
    """One row that was removed: its number and how many records it had."""

    number: int
    records: int


class Journal:
    """The one writing connection. Its methods may be called from any thread, one at a time."""

    def __init__(self, path: Path, connect: Callable[..., sqlite3.Connection] = sqlite3.connect) -> None:
        """Open or make the journal. Raises DamagedError (call again for a fresh one), sqlite3.Error or OSError.

        *connect* is called as :func:`sqlite3.connect` is; tests put something of theirs under it.
        """
        self.path = path
        self._reserve = path.with_name(path.name + ".reserve")
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_private(path)
        self._connection = connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
        try:
            self._prepare()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._connection.close()
            if isinstance(error, UnicodeDecodeError) or is_damage(error):  # SQLite's message quotes what is damaged
                raise DamagedError(f"set aside as {set_aside(path).name}: {error}") from error
            raise
        except BaseException:
            self._connection.close()
            raise
        self._streams: dict[Stream, int] = {}
        self.damaged: list[tuple[object, object]] = []
        """Positions that were found to be damaged, and whose."""
        self._file = identity_of(path)
        self.is_tight = False
        """Whether the file may not grow, since there is no reserve."""
        if not self.keep_reserve():
            self.give_up_reserve()

    def _prepare(self) -> None:
        connection = self._connection
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and (application != APPLICATION_ID or version != SCHEMA_VERSION):
            raise sqlite3.NotSupportedError(f"{self.path} is no journal of this domstat; move it away")
        if not tables:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.executescript(_OPEN)
        if not tables:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION}; INSERT INTO journal SELECT lower(hex(randomblob(16))); COMMIT"
            )
        elif self.path.stat().st_size <= CHECK_BYTES_MAX:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        if _tables_of(connection) != _tables_as_made():
            raise sqlite3.DatabaseError("its tables are not those that were made")
        (self.id,) = connection.execute("SELECT id FROM journal").fetchone()

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # Writing.

    def append(self, entries: Sequence[Entry], positions: Mapping[str, Position]) -> None:
        """Store *entries* and *positions* in one durable transaction. Raises sqlite3.Error; nothing is stored then."""
        with self._transaction() as connection:
            for entry in entries:
                stream = self._stream(connection, entry.stream)
                connection.execute(
                    "INSERT INTO batch VALUES (?, ?, ?, ?, ?)",
                    (entry.number, stream, entry.time_ms, entry.records, entry.blob),
                )
                if entry.devices:
                    connection.executemany(
                        "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?)",
                        [(stream, guest, entry.time_ms, devices) for guest, devices in entry.devices],
                    )
            connection.executemany(
                "INSERT OR REPLACE INTO cursor VALUES (?, ?)",
                [(sink, position.seal(sink.encode(), at).decode()) for sink, at in positions.items()],
            )

    def forget(self, sink: str) -> bool:
        """Remove a sink's position; return whether there was one."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM cursor WHERE sink = ?", (sink,)).rowcount > 0

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove rows."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM batch WHERE number = ?", ((number,) for number in numbers))

    def forget_devices(self, before_ms: int) -> None:
        """Forget what the devices of guests were that nothing was heard of since *before_ms*."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM device WHERE time_ms < ?", (before_ms,))

    def shrink(self) -> None:
        """Give some of the free pages back to the disk."""
        with self._lock:
            # A script, since of a single statement without columns Python takes one step, which frees one page.
            self._connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")

    def checkpoint(self) -> None:
        """Fold the WAL into the file and empty it, as far as nobody reads it."""
        with self._lock:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._streams.clear()  # a transaction that was rolled back took its numbers with it
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    def _stream(self, connection: sqlite3.Connection, stream: Stream) -> int:
        number = self._streams.get(stream)
        if number is None:
            connection.execute("INSERT OR IGNORE INTO stream (host, collect) VALUES (?, ?)", stream)
            found = connection.execute("SELECT id FROM stream WHERE host = ? AND collect = ?", stream).fetchone()
            number = self._streams[stream] = int(found[0])
        return number

    # The reserve.

    def keep_reserve(self) -> bool:
        """Have the reserve in place if the disk has room for it; return whether it is. Raises sqlite3.Error."""
        if not self._has_reserve() and not self._make_reserve():
            return False
        if self.is_tight:
            self._limit(PAGES_MAX)
            self.is_tight = False
        return True

    def _has_reserve(self) -> bool:
        try:
            if self._reserve.stat().st_size >= RESERVE_BYTES:
                return True
            self._reserve.unlink()  # whoever made it was killed at it
        except OSError:
            pass
        return False

    def _make_reserve(self) -> bool:
        try:
            descriptor = os.open(self._reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError:
            self._reserve.unlink()
            return False
        finally:
            os.close(descriptor)
        return True

    def give_up_reserve(self) -> None:
        """Give the room back that was kept for a full disk, for the WAL to be folded, and have the file grow no more.

        So the WAL can be folded, and rows be deleted, however full the disk becomes. Raises sqlite3.Error.
        """
        with contextlib.suppress(OSError):
            self._reserve.unlink()
        self.is_tight = True
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        self._limit(0)

    def _limit(self, pages: int) -> None:
        """Have the file not grow beyond so many pages, or beyond those it has, if that is more."""
        with self._lock:
            (now,) = self._connection.execute("PRAGMA page_count").fetchone()
            self._connection.execute(f"PRAGMA max_page_count = {max(int(now), pages)}").fetchall()

    # Reading. Of what type a value is says the row: a flipped bit may make a text of a blob, or of a number. Hence the
    # casts: a blob's bytes have a checksum, and a number that is none any more is 0.

    def positions(self) -> dict[str, Position]:
        """Return how far every sink has come, but for those whose position is damaged: see *damaged*."""
        found = {}
        self.damaged = []
        for sink, sealed in self._all("SELECT CAST(sink AS BLOB), CAST(position AS BLOB) FROM cursor"):
            try:
                found[sink.decode()] = position.unseal(sink, sealed)  # type: ignore[attr-defined, arg-type]
            except ValueError:
                self.damaged.append((sink, sealed))
        return found

    def forget_damaged(self) -> None:
        """Remove the positions that are damaged. Raises sqlite3.Error."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM cursor WHERE CAST(sink AS BLOB) = ? AND CAST(position AS BLOB) = ?", self.damaged
            )

    def newest(self) -> int:
        """Return the last number that was given: of a row, or of one that a sink has come to."""
        ((number,),) = self._all("SELECT ifnull(max(number), 0) FROM batch")
        return max([int(str(number)), *(at.high for at in self.positions().values())])

    def oldest(self) -> int | None:
        """Return the number of the oldest row, None where there is none."""
        ((number,),) = self._all("SELECT min(number) FROM batch")
        return None if number is None else int(str(number))

    def read(self, after: int, before: int | None, rows: int) -> list[tuple[int, int, bytes]]:
        """Return up to *rows* rows with numbers beyond *after* and below *before*: (number, records, blob)."""
        return self._all(  # type: ignore[return-value]
            "SELECT number, CAST(records AS INTEGER), CAST(blob AS BLOB) FROM batch"
            " WHERE number > ? AND number < ? ORDER BY number LIMIT ?",
            (after, before if before is not None else 1 << 62, rows),
        )

    def before(self, stream: Stream, number: int, rows: int) -> list[bytes]:
        """Return up to *rows* of a stream's rows before the one numbered so, the newest first."""
        found = self._all(
            "SELECT CAST(blob AS BLOB) FROM batch WHERE stream = (SELECT id FROM stream WHERE host = ? AND collect = ?)"
            " AND number < ? ORDER BY number DESC LIMIT ?",
            (*stream, number, rows),
        )
        return [blob for (blob,) in found]  # type: ignore[misc]

    def devices(self, stream: Stream) -> dict[str, bytes]:
        """Return what the devices of a stream's guests were when they last were said, by uuid."""
        found = self._all(
            "SELECT uuid, CAST(devices AS BLOB) FROM device"
            " WHERE stream = (SELECT id FROM stream WHERE host = ? AND collect = ?)",
            stream,
        )
        return {str(guest): devices for guest, devices in found}  # type: ignore[misc]

    def last_times(self) -> dict[Stream, int]:
        """Return the time of every stream's newest row, in milliseconds since 1970."""
        found = self._all(
            "SELECT s.host, s.collect, CAST(b.time_ms AS INTEGER) FROM stream s JOIN batch b ON b.number ="
            " (SELECT max(number) FROM batch WHERE stream = s.id)"
        )
        return {(str(host), str(collect)): int(str(time_ms)) for host, collect, time_ms in found}

    def rows(self, after: int, up_to: int, limit: int) -> list[tuple[int, int, int, bool]]:
        """Return the oldest rows beyond one number and up to another.

        Each as (number, time_ms, records, whether it is its stream's newest).
        """
        return self._all(  # type: ignore[return-value]
            "SELECT number, CAST(time_ms AS INTEGER), CAST(records AS INTEGER),"
            " number = (SELECT max(number) FROM batch n WHERE n.stream = b.stream)"
            " FROM batch b WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
            (after, up_to, limit),
        )

    def sizes(self, numbers: Sequence[int]) -> dict[int, int]:
        """Return about how many bytes rows take in the file."""
        found = self._all(
            "SELECT number, length(blob) FROM batch WHERE number BETWEEN ? AND ?",
            (numbers[0], numbers[-1]) if numbers else (0, 0),
        )
        return {int(str(number)): int(str(length)) + ROW_BYTES for number, length in found}

    def bytes_after(self, number: int) -> int:
        """Return about how many bytes the rows beyond a number take: their share, as if all were alike."""
        ((oldest, newest),) = self._all("SELECT min(number), max(number) FROM batch")
        if oldest is None or int(str(newest)) <= number:
            return 0
        first, last = int(str(oldest)), int(str(newest))
        return self.bytes_used() * min(last - number, last - first + 1) // (last - first + 1)

    def is_in_place(self) -> bool:
        """Whether the path still leads to the open file; one that was removed takes everything written with it."""
        try:
            return identity_of(self.path) == self._file
        except FileNotFoundError:
            return False

    def waiting(self, at: Position, up_to: int) -> int:
        """Return how many records of the rows up to a number a sink at this position has not come to."""
        sql = "SELECT ifnull(sum(CAST(records AS INTEGER)), 0) FROM batch WHERE number BETWEEN ? AND ?"
        spans = [(at.low + 1, up_to), *((first, min(last, up_to)) for first, last in at.spans)]
        beyond, *done = [int(str(self._all(sql, span)[0][0])) for span in spans]
        return beyond - sum(done)

    def bytes_used(self) -> int:
        """Return how many bytes of the file and its WAL are in use: free pages within it do not count."""
        with self._lock:
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def bytes_free(self) -> int:
        """Return how many bytes of the file are free pages."""
        with self._lock:
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(free * size)


def _tables_of(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def _tables_as_made() -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _tables_of(connection)
