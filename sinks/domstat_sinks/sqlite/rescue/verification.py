"""Verification: every row that carries a checksum is opened, unpacked and counted.

What is wrong is named by the row it is in; what is right is counted. Pages that SQLite cannot read are told of, and
what is not on them is looked at all the same.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from domstat.history import Verified
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.heads.rows import Rows
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.rollups import keyfigures, sketchblob, unfinishedblob

OnDamaged: TypeAlias = Callable[[str], None]

FINDINGS_MAX = 100
"""What SQLite itself finds wrong is told no further: whoever has so much to tell is beyond a list."""


def verify(connection: sqlite3.Connection, on_damaged: OnDamaged) -> Verified:
    """Look at everything, as of one moment; *on_damaged* is told of what is wrong. Raises sqlite3.Error."""
    with _reading(connection):
        for finding in _sqlite_findings(connection):
            on_damaged(finding)
        for head_id, reason in _rows(connection, "SELECT id, reason FROM damaged ORDER BY id", on_damaged):
            on_damaged(f"head row {head_id} was damaged when it was sealed, and set aside: {reason}")
        head = _verify_head(connection, on_damaged)
        segments = [segment for (segment,) in _rows(connection, "SELECT id FROM segment ORDER BY id", on_damaged)]
        sealed = [_verify_segment(connection, segment, on_damaged) for segment in segments]
        sketches = (0, 0, sum(_verify_sketches(connection, table, on_damaged) for table in _SKETCHES))
        unfinished = (0, 0, _verify_unfinished(connection, on_damaged))
    counts = [head, *sealed, sketches, unfinished]
    return Verified(*(sum(count[i] for count in counts) for i in range(3)))


@contextlib.contextmanager
def _reading(connection: sqlite3.Connection) -> Iterator[None]:
    """Read as of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        with contextlib.suppress(sqlite3.DatabaseError):  # so it ends where a page of the schema is damaged
            connection.execute("COMMIT")


def _sqlite_findings(connection: sqlite3.Connection) -> Iterator[str]:
    """Give what SQLite finds wrong with the pages of the file."""
    try:
        for (finding,) in connection.execute(f"PRAGMA integrity_check({FINDINGS_MAX})"):
            if finding != "ok":
                yield f"SQLite: {finding}"
    except sqlite3.DatabaseError as error:
        yield f'SQLite: {error}; "domstat history recover" saves what can be read'


def _rows(connection: sqlite3.Connection, query: str, on_damaged: OnDamaged) -> list[tuple[Any, ...]]:
    """Return the rows of a query up to one that is on a page that cannot be read."""
    found: list[tuple[Any, ...]] = []
    try:
        found.extend(connection.execute(query))
    except sqlite3.DatabaseError as error:
        on_damaged(f"SQLite: {error}: {query}")
    return found


def _verify_head(connection: sqlite3.Connection, on_damaged: OnDamaged) -> tuple[int, int, int]:
    """Unpack all head rows; return how many ticks and values are right, and how many rows."""
    rows = Rows(connection)
    ticks = samples = 0
    query = "SELECT h.id FROM stream s CROSS JOIN head h ON h.stream = s.id AND h.id > s.sealed ORDER BY h.id"
    for (head_id,) in _rows(connection, query, on_damaged):
        try:
            at = rows.row(head_id)
            parts = [rows.words(at, part) for part in range(len(at.layout.bounds))]
        except (DamagedError, sqlite3.DatabaseError) as error:
            on_damaged(_said(f"head row {head_id}", error))
            continue
        ticks += 1
        samples += sum(len(words) for words in parts)
    return ticks, samples, ticks


def _verify_segment(connection: sqlite3.Connection, segment: int, on_damaged: OnDamaged) -> tuple[int, int, int]:
    """Unpack all of a segment; return its ticks and values, as many as are right, and its chunks."""
    segments = Segments(connection)
    try:
        directory = segments.directory(segment)
    except (DamagedError, sqlite3.DatabaseError) as error:
        on_damaged(_said(f"segment {segment}", error))
        return 0, 0, 0
    (ticks, samples) = connection.execute("SELECT ticks, samples FROM segment WHERE id = ?", (segment,)).fetchone()
    if ticks != len(directory.own):
        on_damaged(f"segment {segment} has {len(directory.own)} ticks, not the {ticks} that its row says")
    right = chunks = 0
    for field in directory.fields:
        for group in range(directory.groups):
            if not directory.series(field, group):
                continue
            try:
                right += _verify_chunk(segments, directory, segment, field, group)
                chunks += 1
            except (DamagedError, sqlite3.DatabaseError) as error:
                on_damaged(_said(f"chunk {field}/{group} of segment {segment}", error))
    if chunks and right > samples:
        on_damaged(f"segment {segment} has {right} values, more than the {samples} that its row says")
    return len(directory.own), right, chunks


def _verify_chunk(segments: Segments, directory: Directory, segment: int, field: int, group: int) -> int:
    """Unpack all series of a chunk; return how many values are the segment's own. Raises DamagedError."""
    opened = segments.chunk(segment, field, group)
    series = directory.series(field, group)
    what = f"chunk {field}/{group} of segment {segment} ({segments.field(field)})"
    if len(opened) != len(series):
        raise DamagedError(f"{what} has {len(opened)} series, not {len(series)}")
    own = 0
    for member, column in series:
        words = segments.words(segment, member, column)
        ticks = directory.ticks_of(member, column)
        if len(words) != len(ticks):
            raise DamagedError(f"{what} has {len(words)} values in a series, not {len(ticks)}")
        own += int((directory.lead[ticks] == 0).sum())
    return own


def _open_figures(blob: bytes) -> object:
    return keyfigures.total([blob])


_SKETCHES: dict[str, tuple[str, Callable[[bytes], object]]] = {
    "sketch_hour": ("strftime('%Y-%m-%dT%H:00Z', t.start_ms / 1000, 'unixepoch')", _open_figures),
    "sketch_day": ("date(t.day * 86400, 'unixepoch')", _open_figures),
    "sketch_sum": ("'before ' || date(t.day * 86400, 'unixepoch')", sketchblob.decode),
}
"""The tables of sketches, each with what a row is of, and what unpacks it."""


def _verify_sketches(connection: sqlite3.Connection, table: str, on_damaged: OnDamaged) -> int:
    """Unpack all rows of a table of sketches; return how many are right."""
    of, unpack = _SKETCHES[table]
    right = 0
    for (number,) in _rows(connection, f"SELECT id FROM {table} ORDER BY id", on_damaged):  # noqa: S608 - from above
        try:
            (blob,) = connection.execute(f"SELECT blob FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
            unpack(blob)
        except (DamagedError, sqlite3.DatabaseError) as error:
            on_damaged(f"row {number} of {table}, {_whose(connection, table, of, number)}, is damaged: {error}")
            continue
        right += 1
    return right


def _verify_unfinished(connection: sqlite3.Connection, on_damaged: OnDamaged) -> int:
    """Unpack what was open when the last writer was closed; return how many streams' is right.

    A file that nobody has written since there is such a table has none.
    """
    if not _rows(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'unfinished'", on_damaged):
        return 0
    right = 0
    for (stream,) in _rows(connection, "SELECT stream FROM unfinished ORDER BY stream", on_damaged):
        try:
            (blob,) = connection.execute("SELECT blob FROM unfinished WHERE stream = ?", (stream,)).fetchone()
            unfinishedblob.decode(blob)
        except (DamagedError, sqlite3.DatabaseError) as error:
            on_damaged(f"row {stream} of unfinished, the open hour of stream {stream}, is damaged: {error}")
            continue
        right += 1
    return right


def _whose(connection: sqlite3.Connection, table: str, of: str, number: int) -> str:
    """Say what a row of a table of sketches is of."""
    query = (
        f"SELECT ifnull(f.name, t.field) || ' of ' || s.host || '/' || s.collect || ', ' || ifnull({of}, '')"  # noqa: S608
        f" FROM {table} t JOIN stream s ON s.id = t.stream LEFT JOIN field f ON f.id = t.field WHERE t.id = ?"
    )
    with contextlib.suppress(sqlite3.DatabaseError):
        found = connection.execute(query, (number,)).fetchone()
        return str(found[0]) if found else "of a stream that is not there"
    return "on a page that cannot be read"


def _said(what: str, error: Exception) -> str:
    """Say what cannot be read: SQLite's own errors do not."""
    return str(error) if isinstance(error, DamagedError) else f"{what}: {error}"
