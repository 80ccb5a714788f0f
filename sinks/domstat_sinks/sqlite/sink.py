"""The sink: settings, the one lock, and what SQLite's errors mean to the agent."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar

from msgspec import Meta, Struct

from domstat.history import History, HistoryError
from domstat.model import Batch, Record
from domstat.mounts import network_file_system
from domstat.settings import Retention, Size
from domstat.sink import Fatal, Reject, Retry, SinkContext
from domstat_sinks.sqlite import reader, writer
from domstat_sinks.sqlite.retention import Bounds

_DAY_S = 86_400


class SqliteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything that is collected in one SQLite file: the history that questions are asked of."""

    path: Annotated[str, Meta(description="The file; a relative path is below the state directory.", min_length=1)] = (
        "history.db"
    )
    raw: Annotated[
        Retention,
        Meta(description='How long every sample is kept, such as "30d". 200 guests at 10 s take 60 MB a day.'),
    ] = Retention(math.inf)
    five_minutes: Annotated[
        Retention, Meta(description="How long roll-ups of five minutes are kept. 200 guests take 7 MB a day.")
    ] = Retention(180 * _DAY_S)
    hours: Annotated[
        Retention, Meta(description="How long roll-ups of an hour are kept. 200 guests take 1 MB a day.")
    ] = Retention(5 * 365 * _DAY_S)
    days: Annotated[Retention, Meta(description="How long daily figures are kept. 200 guests take 0.5 MB a day.")] = (
        Retention(math.inf)
    )
    max_bytes: Annotated[
        Size | None,
        Meta(
            description="How large the file may become; then the oldest samples go, however young, then roll-ups. "
            "Default: no bound.",
            examples=["20GiB"],
        ),
    ] = None


class SqliteSink:
    """Writes the history. See :mod:`.schema` for the file."""

    Settings: ClassVar[type[Struct]] = SqliteSettings

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        self._bounds = Bounds(
            raw_s=float(settings.raw),
            max_bytes=settings.max_bytes,
            five_minutes_s=float(settings.five_minutes),
            hours_s=float(settings.hours),
            days_s=float(settings.days),
        )
        self._path: Path | None = None
        self._lock: IO[bytes] | None = None
        self._writer: writer.Writer | None = None
        self._log: Any = None

    @staticmethod
    def claims(settings: SqliteSettings, state_dir: Path) -> Iterable[Path]:
        """Name the file, so that two sinks never write one."""
        return [state_dir / settings.path]

    @staticmethod
    @contextlib.contextmanager
    def history(settings: SqliteSettings, state_dir: Path) -> Iterator[History]:
        """Open the file for reading. Raises HistoryError."""
        path = state_dir / settings.path
        try:
            connection = reader.connect(path)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise HistoryError(f"{path}: {_cause(error)}") from error
        try:
            yield reader.SqlHistory(connection, path)
        finally:
            connection.close()

    def open(self, context: SinkContext) -> None:
        """Open or make the file. Raises Fatal for what no waiting mends, Retry for the rest."""
        try:
            self._log = context.log
            # Resolved, so that the lock is beside the file itself and not beside a link to it.
            self._path = (context.state_dir / self._settings.path).resolve()
            _refuse_network(self._path)
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock(self._path)
            _create_private(self._path)
            self._writer = writer.Writer(self._path, self._bounds, self._log)
        except (writer.ForeignFileError, ValueError) as error:
            raise Fatal(f"{self._path or self._settings.path}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise Retry(f"{self._path} cannot be opened: {_cause(error)}") from error

    def write(self, batches: Sequence[Batch]) -> None:
        """Store *batches* in one transaction. Raises Retry, and nothing is stored then.

        Raises Reject for batches that no retry would store, since a value in them fits into no file; the others are
        stored.
        """
        if self._lock is None or self._path is None:
            raise Retry("the file is not open")
        try:
            if self._writer is not None and not self._writer.is_in_place():
                self._writer.close()
                self._writer = None  # should the next line fail, it is tried again with the next write
            if self._writer is None:
                _create_private(self._path)
                self._writer = writer.Writer(self._path, self._bounds, self._log)
            self._write(self._writer, batches)
        except writer.ForeignFileError as error:
            raise Fatal(f"{self._path}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise Retry(f"{self._path} cannot be written: {_cause(error)}") from error

    def _write(self, to: writer.Writer, batches: Sequence[Batch]) -> None:
        """Store *batches*; if a value stands in the way, one by one."""
        try:
            to.write(batches)
        except _OF_A_VALUE:
            rejected: list[tuple[Batch, Record, str]] = []
            for batch in batches:
                try:
                    to.write([batch])
                except _OF_A_VALUE as error:
                    rejected += [(batch, record, f"{type(error).__name__}: {error}") for record in batch.records]
            raise Reject(rejected) from None

    def close(self) -> None:
        """Close the file and let go of its lock."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self, path: Path) -> None:
        """Lock the file against other writers.

        By a file beside it: closing a second handle on the database itself would drop SQLite's own locks.
        """
        if self._lock is not None:
            return
        beside = path.with_name(path.name + ".lock")
        _create_private(beside)
        lock = beside.open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise Fatal(f"{path} is being written by another sink or agent; give each its own path") from None
        self._lock = lock


_OF_A_VALUE = (OverflowError, UnicodeEncodeError, struct.error, sqlite3.DataError)
"""What comes of values that are too large, or of text that is none; the same every time."""


def _refuse_network(path: Path) -> None:
    """Refuse a file that other machines may have open too: SQLite's WAL is shared by memory, which they do not see."""
    kind = network_file_system(path)
    if kind is not None:
        raise Fatal(f"{path} is on a network file system ({kind}); choose a path on a disk of this machine")


def _create_private(path: Path) -> None:
    """Make the file, readable by its owner alone, before SQLite would make it readable by all."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags | os.O_EXCL, 0o600))


def _cause(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
