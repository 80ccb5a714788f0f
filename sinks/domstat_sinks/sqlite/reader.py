"""Reading: any sqlite3 connection with the functions that the views ``samples`` and ``rates`` need."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from domstat.history import Answer, HistoryError
from domstat.model import Batch, Value
from domstat_sinks.sqlite import row, schema, upgrade
from domstat_sinks.sqlite.export import Exporter
from domstat_sinks.sqlite.layout import I64_MAX
from domstat_sinks.sqlite.stored import Store

BUSY_TIMEOUT_S = 5.0
"""Readers wait for nobody in WAL mode, except for a moment while the writer folds its WAL at a clean stop."""


def connect(path: Path | str) -> sqlite3.Connection:
    """Open a history for reading, with its functions: ``connect("history.db").execute("SELECT … FROM rates …")``.

    The connection is read-only and can be used while an agent writes. Raises sqlite3.Error, FileNotFoundError, and
    ValueError for a file that is not a history.
    """
    if not Path(path).exists():
        raise FileNotFoundError(2, "there is no history yet", str(path))
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != schema.APPLICATION_ID:
            raise ValueError("this is not a history written by domstat")
        if version > schema.SCHEMA_VERSION:
            raise ValueError(f"written by a newer domstat (schema {version}); upgrade domstat to read it")
        upgrade.dress_up(connection, version)
        connection.execute("PRAGMA query_only = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # attaching a file that is not there would make it
        register(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def register(connection: sqlite3.Connection) -> list[Exception]:
    """Register the functions of the views on *connection*, which may be anybody's.

    SQLite tells a caller only that "user-defined function raised exception"; the exceptions themselves are appended
    to the list that is returned.
    """
    store = Store(connection)
    errors: list[Exception] = []

    def guarded(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            try:
                return _native(function(*arguments))
            except Exception as error:
                errors[:] = [error]
                raise

        return call

    connection.create_function("domstat_value", 3, guarded(store.value), deterministic=True)
    connection.create_function("domstat_rate", 3, guarded(store.rate), deterministic=True)
    return errors


def _native(value: Value | None) -> Value | None:
    """Make of a value what SQLite can hold: integers beyond its 63 bits become their digits."""
    return str(value) if isinstance(value, int) and value > I64_MAX else value


class SqlHistory:
    """A history opened for reading; meets :class:`domstat.history.History` and :class:`domstat.history.HasBatches`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._errors = register(connection)

    def sql(self, text: str) -> Answer:
        """Answer one query. Raises HistoryError, also while its rows are read."""
        try:
            cursor = self._connection.execute(text)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._explain(error) from error
        columns = tuple(column[0] for column in cursor.description or ())
        return Answer(columns, self._rows(cursor))

    def count(self, since_ms: int, until_ms: int) -> int:
        """Return how many ticks, events and gaps there are in a span. Raises HistoryError."""
        try:
            return Exporter(self._connection).count(since_ms, until_ms)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def batches(self, since_ms: int, until_ms: int, on_damaged: Callable[[str], None]) -> Iterator[Batch]:
        """Give these as batches, and *on_damaged* told of what cannot be read. Raises HistoryError."""
        try:
            yield from Exporter(self._connection).batches(since_ms, until_ms, on_damaged)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _rows(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        try:
            for row_ in cursor:  # noqa: UP028 - "yield from" would close the cursor, after its connection
                yield row_
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> HistoryError:
        cause = self._errors.pop() if self._errors else error
        known = isinstance(cause, (row.DamagedError, sqlite3.Error, sqlite3.Warning))
        return HistoryError(f"{self._path}: {cause if known else repr(cause)}")
