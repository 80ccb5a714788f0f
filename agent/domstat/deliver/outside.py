"""The journal for whoever is not the agent: read for a replay, also while an agent writes it; freed of sinks gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from domstat.deliver.codec import DamagedRowError, Stream, Unpacker
from domstat.deliver.files import look
from domstat.deliver.journal import APPLICATION_ID, SCHEMA_VERSION, DamagedError, Journal
from domstat.model import Batch

PAGE = 64
"""Rows read at once: so the agent is never kept from folding its WAL, and memory is a few ticks."""

LOOK_BACK_ROWS = 64
"""Rows searched for the sample before the first one that is wanted."""


class UnusableError(Exception):
    """The journal cannot be read, or not changed; the message says why."""


class Reader:
    """Reads batches out of a journal. Made by :func:`reading`. Times are milliseconds since 1970."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def count(self, since_ms: int) -> int:
        """Return about how many batches there are from a time on. Raises sqlite3.Error."""
        found = self._connection.execute("SELECT count(*) FROM batch WHERE time_ms >= ?", (since_ms,)).fetchone()
        return int(found[0])

    def batches(self, since_ms: int, until_ms: int, on_damaged: Callable[[str], None]) -> Iterator[Batch]:
        """Give the batches from one time on and before another as they were collected, with their rates.

        *on_damaged* is told of rows that cannot be read. Raises sqlite3.Error.
        """
        unpacker = Unpacker(self._look_back)
        number = 0
        while True:
            # A row's own time is that of its batch or later, so none that is wanted is left out here.
            page = self._connection.execute(
                "SELECT number, CAST(blob AS BLOB) FROM batch"
                " WHERE number > ? AND time_ms >= ? ORDER BY number LIMIT ?",
                (number, since_ms, PAGE),
            ).fetchall()
            for number, blob in page:
                try:
                    batch = unpacker.unpack(number, blob)
                except DamagedRowError as error:
                    on_damaged(f"row {number} is damaged: {error}")
                    continue
                if since_ms <= batch.stamp.time_ms < until_ms:
                    yield batch
            if len(page) < PAGE:
                return

    def _look_back(self, stream: Stream, number: int) -> Iterable[bytes]:
        found = self._connection.execute(
            "SELECT CAST(blob AS BLOB) FROM batch WHERE stream = (SELECT id FROM stream WHERE host = ? AND collect = ?)"
            " AND number < ? ORDER BY number DESC LIMIT ?",
            (*stream, number, LOOK_BACK_ROWS),
        )
        for (blob,) in found.fetchall():
            yield blob


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a journal for looking only. Raises UnusableError, also for what goes wrong while it is read."""
    try:
        connection = look(path)
        try:
            _check(connection)
            yield Reader(connection)
        finally:
            connection.close()
    except (sqlite3.Error, FileNotFoundError) as error:
        raise UnusableError(f"{path}: {_cause(error)}") from error


def kept_for_sinks(path: Path) -> dict[str, int]:
    """Return the sinks that have a position in a journal that no agent uses, and how many records wait for each.

    Raises UnusableError.
    """
    with _using(path) as journal:
        newest = journal.newest()
        return {name: journal.waiting(at, newest) for name, at in sorted(journal.positions().items())}


def forget(path: Path, sink: str) -> None:
    """Remove a sink's position from a journal that no agent uses. Raises UnusableError."""
    with _using(path) as journal:
        journal.forget(sink)


@contextmanager
def _using(path: Path) -> Iterator[Journal]:
    if not path.exists():
        raise UnusableError(f"{path}: there is no journal yet")
    try:
        journal = Journal(path)
        try:
            yield journal
        finally:
            journal.close()
    except (sqlite3.Error, OSError, DamagedError) as error:
        raise UnusableError(f"{path}: {_cause(error)}") from error


def _check(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise sqlite3.NotSupportedError("it is no journal of this domstat")


def _cause(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
