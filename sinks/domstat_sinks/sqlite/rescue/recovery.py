"""Recovery: what a damaged file still holds, in a new one.

Every page that is a table's is read without SQLite, and every row on it that can be one of that table is copied into a
new file of today's schema. What the tables have lost is looked for in their indexes. What is left is then made a
history again (:mod:`.mending`). The damaged file is only read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from domstat.catalog import look_up
from domstat.history import HistoryError, Recovered, Saved
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.rescue.cells import Sql, payload_of, record_of, rows_on
from domstat_sinks.sqlite.rescue.mending import mend, span
from domstat_sinks.sqlite.rescue.pages import Forest, Pages
from domstat_sinks.sqlite.rescue.tables import Known, Table, known_by, tables_of
from domstat_sinks.sqlite.rescue.verification import verify
from domstat_sinks.sqlite.snapshot import sync

OnLost: TypeAlias = Callable[[str], None]

ROWS_AT_ONCE = 256
"""Rows handed to SQLite in one call: a few MB where they are chunks."""

NEVER_MS = 1 << 62
"""What a guest that has been seen in no tick yet was first seen at."""

_NOT_COPIED = frozenset({"doomed"})
"""Tables of work in progress, which nobody goes on with."""


def recover(source: Path, target: Path, on_lost: OnLost) -> Recovered:
    """Save what *source* holds into *target*, a new file that only its owner can read; say what was saved.

    *on_lost* is told of all that is known to be lost. Raises HistoryError, and leaves no file then.
    """
    try:
        with _unwritten(source), contextlib.closing(Pages(source)) as pages:
            if pages.version > schema.SCHEMA_VERSION:
                raise HistoryError(f"{source}: written by a newer domstat (schema {pages.version}); upgrade domstat")
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            try:
                found = _recover(pages, target, on_lost)
                sync(target)
                sync(target.parent)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    target.unlink()
                raise
            return found
    except FileExistsError as error:
        raise HistoryError(f"{target} is there already; name a file that is not") from error
    except (sqlite3.Error, OSError, ValueError) as error:
        named = getattr(error, "filename", None) or source
        raise HistoryError(f"{named}: {getattr(error, 'strerror', None) or error}") from error


@contextlib.contextmanager
def _unwritten(source: Path) -> Iterator[None]:
    """Make sure that nobody writes the file meanwhile. Raises HistoryError."""
    try:
        lock = source.with_name(source.name + ".lock").open("rb")
    except FileNotFoundError:
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HistoryError(f"{source} is being written by an agent; stop it first") from None
        yield


def _recover(pages: Pages, target: Path, on_lost: OnLost) -> Recovered:
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.executescript(
            f"{schema.NEW_PRAGMAS} PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; BEGIN; {schema.NEW}"
            f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {schema.SCHEMA_VERSION}; COMMIT"
        )
        copying = _Copying(pages, connection, on_lost)
        copying.copy()
        copied = copying.counts()
        mend(connection, on_lost)
        if not connection.execute("SELECT count(*) FROM stream").fetchone()[0]:
            raise ValueError("nothing of a history is left in it")
        kept = copying.counts()
        tables = tuple(Saved(name, kept[name], copied[name] - kept[name]) for name in kept)
        unsound: list[str] = []
        verified = verify(connection, unsound.append)
        connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()
    return Recovered(tables, verified, tuple(unsound))


class _Copying:
    """Rows on their way from the damaged file's pages into the new one."""

    def __init__(self, pages: Pages, connection: sqlite3.Connection, on_lost: OnLost) -> None:
        self._pages = pages
        self._connection = connection
        self._on_lost = on_lost
        self._forest = Forest(pages)
        self._tables = [table for table in tables_of(connection) if table.name not in _NOT_COPIED]
        self._roots = self._find_roots()

    def counts(self) -> dict[str, int]:
        """Return how many rows each table has."""
        return {
            table.name: int(self._connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608
            for table in self._tables
        }

    def copy(self) -> None:
        """Copy all rows that can be read. Raises sqlite3.Error."""
        for table in self._tables:
            self._insert(table, self._rows(table, self._forest.pages_of(self._root(table.name))))
        for table in self._tables:
            self._insert(table, self._rows(table, self._forest.strays_of(self._root(table.name))))
        for table in self._tables:
            self._complete(table)

    def _find_roots(self) -> dict[str, int]:
        """Find out which tree is which, by the file's own schema, and by the new one's where that cannot be read.

        All files of one version were made by the same statements, and their trees begin at the same pages.
        """
        made = dict(self._connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0"))
        told: dict[str, int] = {}
        for number in [*self._forest.pages_of(1), *self._forest.strays_of(1)]:
            for _, values in self._records(number):
                if len(values) == 5 and isinstance(values[1], str) and isinstance(values[3], int) and values[3] > 1:
                    told[values[1]] = values[3]
        self._forest = Forest(self._pages)  # what strays there are is asked again when all trees are known
        taken = set(told.values())
        return {**{name: root for name, root in made.items() if root not in taken}, **told}

    def _root(self, name: str) -> int:
        return self._roots.get(name, 0)

    def _records(self, number: int) -> Iterator[tuple[int | None, tuple[Sql, ...]]]:
        """Give the rows of a page that can be read."""
        page, tree = self._pages.read(number), self._pages.tree(number)
        if page is None or tree is None:
            return
        for cell in rows_on(page, tree):
            payload = payload_of(cell, self._pages.read)
            values = record_of(payload) if payload is not None else None
            if values is not None:
                yield cell.rowid, values

    def _rows(self, table: Table, numbers: Iterator[int]) -> Iterator[tuple[Sql, ...]]:
        unreadable = 0
        for number in numbers:
            if self._pages.tree(number) is None:
                unreadable += 1
            for rowid, values in self._records(number):
                row = table.row(rowid, values)
                if row is not None:
                    yield row
        if unreadable:
            self._on_lost(f"{table.name}: {unreadable} pages cannot be read")

    def _insert(self, table: Table, rows: Iterator[tuple[Sql, ...]]) -> None:
        statement = table.insertion()
        self._connection.execute("BEGIN")
        self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")

    def _complete(self, table: Table) -> None:
        """Make rows that are lost of what indexes say, where that is enough; say what is lost where it is not."""
        lost: dict[tuple[Sql, ...], Known] = {}
        for index in table.indexes:
            root = self._root(index.name)
            for number in [*self._forest.pages_of(root), *self._forest.strays_of(root)]:
                for _, values in self._records(number):
                    known = known_by(index, values)
                    if known is not None and not self._has(table, known):
                        lost.setdefault(tuple(known[column] for column in table.key), {}).update(known)
        made = {key: row for key, known in lost.items() if (row := _row_of(table, known)) is not None}
        self._insert(table, iter(made.values()))
        gone = [known for key, known in lost.items() if key not in made]
        if gone:
            self._on_lost(f"{table.name}: {len(gone)} rows{_span_of(gone)}")
        if made:
            self._on_lost(f"{table.name}: {len(made)} rows are made of what its indexes say")

    def _has(self, table: Table, known: Known) -> bool:
        where = " AND ".join(f"{column} IS ?" for column in table.key)
        found = self._connection.execute(
            f"SELECT 1 FROM {table.name} WHERE {where}",  # noqa: S608 - our own names
            [known[column] for column in table.key],
        )
        return found.fetchone() is not None


_LACKING: dict[str, Known] = {
    "stream": {"sealed": 0},
    "guest": {"first_ms": NEVER_MS, "last_ms": 0},
    "gap": {"reason": "unknown"},
}
"""What no index says, and what stands in for it: the first two are found out again when segments are looked at."""


def _row_of(table: Table, known: Known) -> tuple[Sql, ...] | None:
    """Make a row of what is known of it; None if that is not enough."""
    if table.name == "field" and isinstance(name := known.get("name"), str):
        field = look_up(name)
        known = {**known, "kind": str(field.kind), "unit": field.unit.base, "scale": field.unit.scale}
    known = {**_LACKING.get(table.name, {}), **known}
    rowid = known.get(table.rowid) if table.rowid else None
    if table.rowid and not isinstance(rowid, int):
        return None
    values = [None if column.name == table.rowid else known.get(column.name) for column in table.columns]
    return table.row(rowid if isinstance(rowid, int) else None, values)


def _span_of(gone: list[Known]) -> str:
    """Say from when to when the rows were, if that is known."""
    times = [
        value for known in gone for name, value in known.items() if name.endswith("_ms") and isinstance(value, int)
    ]
    return span(min(times), max(times)) if times else ""
