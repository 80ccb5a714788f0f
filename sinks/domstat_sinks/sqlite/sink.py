"""The sink: settings, the one lock, and what SQLite's errors mean to the agent."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from domstat.history import History, HistoryError, Recovered
from domstat.model import Batch, Kind, Record
from domstat.mounts import network_file_system
from domstat.settings import Retention, Size
from domstat.sink import Fatal, Reject, Retry, SinkContext
from domstat_sinks.sqlite import reader, sharing

if TYPE_CHECKING:
    from domstat_sinks.sqlite import writer  # imported where it is needed, which is nowhere for who only reads

_DAY_S = 86_400


class SqliteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything that is collected in one SQLite file: the history that questions are asked of."""

    path: Annotated[str, Meta(description="The file; a relative path is below the state directory.", min_length=1)] = (
        "history.db"
    )
    group: Annotated[
        str | None,
        Meta(
            description="Group whose members may read the history too; they must be able to enter its folder. Default: "
            "the agent's own user alone.",
            examples=["domstat-history"],
        ),
    ] = None
    raw: Annotated[
        Retention,
        Meta(description='How long every sample is kept, or "forever". 200 guests at 10 s take 60 MB a day.'),
    ] = Retention(30 * _DAY_S)
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
        self._path: Path | None = None
        self._lock: IO[bytes] | None = None
        self._writer: writer.Writer | None = None
        self._log: Any = None
        self._in_bulk = False

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

    @staticmethod
    def recover(source: Path, target: Path, on_lost: Callable[[str], None]) -> Recovered:
        """Save what a damaged file still holds. Raises HistoryError."""
        from domstat_sinks.sqlite.rescue import recovery  # which an agent never needs

        return recovery.recover(source, target, on_lost)

    def open(self, context: SinkContext) -> None:
        """Open or make the file. Raises Fatal for what no waiting mends, Retry for the rest."""
        from domstat_sinks.sqlite import writer

        try:
            self._log = context.log
            # Resolved, so that the lock is beside the file itself and not beside a link to it.
            self._path = (context.state_dir / self._settings.path).resolve()
            _refuse_network(self._path)
            sharing.make_folder(self._path.parent, self._settings.group)
            self._take_lock(self._path)
            _create_private(self._path)
            self._writer = self._make_writer(self._path)
        except (writer.ForeignFileError, ValueError) as error:
            raise Fatal(f"{self._path or self._settings.path}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise Retry(f"{self._path} cannot be opened: {_cause(error)}") from error

    def write(self, batches: Sequence[Batch]) -> None:
        """Store *batches* in one transaction. Raises Retry, and nothing is stored then.

        Raises Reject for batches that no retry would store, since a value in them fits into no file; the others are
        stored.
        """
        from domstat_sinks.sqlite import writer

        if self._lock is None or self._path is None:
            raise Retry("the file is not open")
        try:
            if self._writer is not None and not self._writer.is_in_place():
                self._writer.close()
                self._writer = None  # should the next line fail, it is tried again with the next write
            if self._writer is None:
                _create_private(self._path)
                self._writer = self._make_writer(self._path)
            self._write(self._writer, batches)
        except writer.ForeignFileError as error:
            raise Fatal(f"{self._path}: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise Retry(f"{self._path} cannot be written: {_cause(error)}") from error

    def health(self) -> str:
        """Say that the file is not kept in shape: all that comes is stored, and takes more room than it should."""
        trouble = self._writer.trouble if self._writer is not None else ""
        return f"{self._path} is not kept in shape: {trouble}" if trouble else ""

    def expect_bulk(self) -> None:
        """Make ready for much; called before the file is opened."""
        self._in_bulk = True

    def settle(self) -> bool:
        """Do some of the upkeep that is due; return whether there is more. Raises Retry."""
        if self._writer is None:
            raise Retry("the file is not open")
        try:
            return self._writer.settle()
        except (sqlite3.Error, OSError) as error:
            raise Retry(f"{self._path} cannot be written: {_cause(error)}") from error

    def _make_writer(self, path: Path) -> writer.Writer:
        from domstat_sinks.sqlite import writer
        from domstat_sinks.sqlite.keeping.retention import Bounds

        settings = self._settings
        bounds = Bounds(
            raw_s=float(settings.raw),
            max_bytes=settings.max_bytes,
            five_minutes_s=float(settings.five_minutes),
            hours_s=float(settings.hours),
            days_s=float(settings.days),
        )
        made = writer.Writer(path, bounds, self._log, in_bulk=self._in_bulk)
        if self._settings.group is not None:
            try:
                sharing.share(path, self._settings.group)
            except sharing.UnsharedError as error:  # what is collected counts for more than who reads it
                if self._log is not None:
                    self._log.warning("history_not_shared", error=str(error), path=str(path))
        return made

    def _write(self, to: writer.Writer, batches: Sequence[Batch]) -> None:
        """Store *batches*; if a value stands in the way, one by one."""
        batches, rejected = _of_known_kinds(batches)
        try:
            to.write(batches)
        except _OF_A_VALUE:
            for batch in batches:
                try:
                    to.write([batch])
                except _OF_A_VALUE as error:
                    rejected += [(batch, record, f"{type(error).__name__}: {error}") for record in batch.records]
        if rejected:
            raise Reject(rejected)

    def close(self) -> None:
        """Close the file and let go of its lock."""
        made, self._writer = self._writer, None
        lock, self._lock = self._lock, None
        try:
            if made is not None:
                made.close()
        finally:  # whatever is wrong with the file, another may be given it
            if lock is not None:
                lock.close()

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
            raise Fatal(
                f"{path} is being written by another sink or agent; stop that one, or give each its own path"
            ) from None
        self._lock = lock


_KINDS = frozenset(Kind)

_OF_A_VALUE = (OverflowError, UnicodeEncodeError, struct.error, sqlite3.DataError)
"""What comes of values that are too large, or of text that is none; the same every time."""


def _of_known_kinds(batches: Sequence[Batch]) -> tuple[Sequence[Batch], list[tuple[Batch, Record, str]]]:
    """Take out the records of a kind that no reader of this version would know: they would be in all readers' way."""
    strange = [
        (batch, record, f"the history has no place for a record of the kind {str(record.kind)!r}")
        for batch in batches
        for record in batch.records
        if record.kind not in _KINDS
    ]
    if not strange:
        return batches, strange
    return [
        replace(batch, records=tuple([record for record in batch.records if record.kind in _KINDS]))
        for batch in batches
    ], strange


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
