"""Reading: any sqlite3 connection with the functions that the views ``samples`` and ``rates`` need."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from domstat import history
from domstat.history import Answer, HistoryError
from domstat.model import Batch, Value
from domstat_sinks.sqlite import schema, snapshot, upgrade
from domstat_sinks.sqlite.answers import info
from domstat_sinks.sqlite.answers.query import Query
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.layout import I64_MAX
from domstat_sinks.sqlite.heads.stored import Store
from domstat_sinks.sqlite.packed.unrolled import Unrolled
from domstat_sinks.sqlite.rollups.bucketviews import BucketViews
from domstat_sinks.sqlite.sharing import explained

BUSY_TIMEOUT_S = 5.0
"""Readers wait for nobody in WAL mode, except for a moment while the writer folds its WAL at a clean stop."""

ALL = history.Span()


def connect(path: Path | str, span: history.Span = ALL) -> sqlite3.Connection:
    """Open a history for reading, with its functions: ``connect("history.db").execute("SELECT … FROM rates …")``.

    The connection is read-only and can be used while an agent writes. ``samples`` and ``rates`` show what is in *span*;
    less of it is quicker. Raises sqlite3.Error, FileNotFoundError, PermissionError
    with what would help, and ValueError for a file that is not a history.
    """
    with explained(Path(path)):
        return _connect(path, span)


def _connect(path: Path | str, span: history.Span) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:  # a file is there before its tables, which come in one transaction
            raise ValueError("nothing is stored in it yet: an agent is just making it, or it was left empty")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != schema.APPLICATION_ID:
            raise ValueError("this is not a history written by domstat")
        if version > schema.SCHEMA_VERSION:
            raise ValueError(f"written by a newer domstat (schema {version}); upgrade domstat to read it")
        upgrade.dress_up(connection, version)
        connection.execute("PRAGMA query_only = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # attaching a file that is not there would make it
        register(connection, span)
    except BaseException:
        connection.close()
        raise
    return connection


def register(connection: sqlite3.Connection, span: history.Span = ALL) -> list[Exception]:
    """Register the functions of the views on *connection*, which may be anybody's; they show what is in *span*.

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
    connection.create_function("domstat_since", 0, lambda: span.since_ms, deterministic=True)
    connection.create_function("domstat_until", 0, lambda: span.until_ms, deterministic=True)
    unrolled = Unrolled(connection, span)
    connection.create_function("domstat_devices", 3, guarded(unrolled.devices), deterministic=True)
    connection.create_function("domstat_samples", 4, guarded(unrolled.samples), deterministic=True)
    connection.create_function("domstat_rates", 4, guarded(unrolled.rates), deterministic=True)
    connection.create_function("domstat_buckets", 3, guarded(BucketViews(connection, span).buckets), deterministic=True)
    return errors


def _native(value: Value | None) -> Value | None:
    """Make of a value what SQLite can hold: integers beyond its 63 bits become their digits."""
    return str(value) if isinstance(value, int) and value > I64_MAX else value


class SqlHistory:
    """A history opened for reading.

    Meets :class:`domstat.history.History`, :class:`domstat.history.HasBatches` and
    :class:`domstat.history.HasSnapshots`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._query = Query(connection)
        self._shown = ALL
        self._errors = register(connection)

    def hosts(self) -> tuple[history.Host, ...]:
        """Return all hosts. Raises HistoryError."""
        with self._explained():
            return self._query.hosts()

    def guests(self, span: history.Span, on_damaged: history.OnDamaged | None = None) -> tuple[history.Guest, ...]:
        """Return the guests that were seen in a span, by name. Raises HistoryError."""
        with self._explained():
            return self._query.guests(span, on_damaged)

    def events(self, span: history.Span) -> Iterator[history.Happening]:
        """Give what happened in a span, in the order of time. Raises HistoryError."""
        with self._explained():
            yield from self._query.events(span)

    def coverage(self, span: history.Span, on_damaged: history.OnDamaged | None = None) -> tuple[history.Coverage, ...]:
        """Say how much of a span each stream has seen. Raises HistoryError."""
        with self._explained():
            return self._query.coverage(span, on_damaged)

    def fields(self) -> tuple[history.StoredField, ...]:
        """Return all fields, by name. Raises HistoryError."""
        with self._explained():
            return self._query.fields()

    def read(self, select: history.Select, on_damaged: history.OnDamaged | None = None) -> Iterator[history.Series]:
        """Give the series that are wanted. Raises HistoryError."""
        with self._explained():
            yield from self._query.read(select, on_damaged)

    def quantiles(
        self, select: history.Select, shares: tuple[float, ...], on_damaged: history.OnDamaged | None = None
    ) -> Iterator[history.Quantiles]:
        """Give quantiles of each series. Raises HistoryError."""
        with self._explained():
            yield from self._query.quantiles(select, shares, on_damaged)

    def sql(self, text: str, span: history.Span = ALL) -> Answer:
        """Answer one query, of what is in *span*. Raises HistoryError, also while its rows are read."""
        with self._explained():
            if span != self._shown:
                self._errors, self._shown = register(self._connection, span), span
            cursor = self._connection.execute(text)
        columns = tuple(column[0] for column in cursor.description or ())
        return Answer(columns, self._rows(cursor))

    def info(self) -> history.Info:
        """Say what the history has, and how large it is. Raises HistoryError."""
        with self._explained():
            span = self._query.span()
            return info.describe(self._connection, self._path, span, self._query.coverage(span))

    def snapshot(self, target: Path) -> int:
        """Copy the history into a new file and return its bytes. Raises HistoryError, and leaves no file then."""
        try:
            return snapshot.take(self._connection, target)
        except FileExistsError as error:
            raise HistoryError(f"{target} is there already; name a file that is not") from error
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"{target}: {getattr(error, 'strerror', None) or error}") from error

    def verify(self, on_damaged: history.OnDamaged) -> history.Verified:
        """Unpack and count everything. Raises HistoryError."""
        from domstat_sinks.sqlite.rescue.verification import verify

        with self._explained():
            return verify(self._connection, on_damaged)

    def count(self, since_ms: int, until_ms: int) -> int:
        """Return how many ticks, events and gaps there are in a span. Raises HistoryError."""
        from domstat_sinks.sqlite.answers.export import Exporter

        with self._explained():
            return Exporter(self._connection).count(since_ms, until_ms)

    def batches(self, since_ms: int, until_ms: int, on_damaged: Callable[[str], None]) -> Iterator[Batch]:
        """Give these as batches, and *on_damaged* told of what cannot be read. Raises HistoryError."""
        from domstat_sinks.sqlite.answers.export import Exporter

        with self._explained():
            yield from Exporter(self._connection).batches(since_ms, until_ms, on_damaged)

    def _rows(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        with self._explained():
            for row_ in cursor:  # noqa: UP028 - "yield from" would close the cursor, after its connection
                yield row_

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Make one error of all that reading can come to, which names the file."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, row.DamagedError, OSError) as error:
            cause = self._errors.pop() if self._errors else error
            known = isinstance(cause, (row.DamagedError, sqlite3.Error, sqlite3.Warning, OSError))
            raise HistoryError(f"{self._path}: {cause if known else repr(cause)}") from error
