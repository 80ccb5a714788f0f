"""Verification: every row that carries a checksum is opened, unpacked and counted.

What is wrong is named by the row it is in; what is right is counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeAlias

from domstat.history import Verified
from domstat_sinks.sqlite.directory import Directory
from domstat_sinks.sqlite.row import DamagedError
from domstat_sinks.sqlite.rows import Rows
from domstat_sinks.sqlite.segments import Segments

OnDamaged: TypeAlias = Callable[[str], None]

FINDINGS_MAX = 100
"""What SQLite itself finds wrong is told no further: whoever has so much to tell is beyond a list."""


def verify(connection: sqlite3.Connection, on_damaged: OnDamaged) -> Verified:
    """Look at everything, as of one moment; *on_damaged* is told of what is wrong. Raises sqlite3.Error."""
    connection.execute("BEGIN")
    try:
        for finding in _sqlite_findings(connection):
            on_damaged(finding)
        for head_id, reason in connection.execute("SELECT id, reason FROM damaged ORDER BY id"):
            on_damaged(f"head row {head_id} was damaged when it was sealed, and set aside: {reason}")
        head = _verify_head(connection, on_damaged)
        sealed = [_verify_segment(connection, segment, on_damaged) for segment in _segments(connection)]
    finally:
        connection.execute("COMMIT")
    counts = [head, *sealed]
    return Verified(*(sum(count[i] for count in counts) for i in range(3)))


def _sqlite_findings(connection: sqlite3.Connection) -> Iterator[str]:
    """Give what SQLite finds wrong with the pages of the file."""
    found = connection.execute(f"PRAGMA integrity_check({FINDINGS_MAX})").fetchall()
    return (f"SQLite: {finding}" for (finding,) in found if finding != "ok")


def _segments(connection: sqlite3.Connection) -> list[int]:
    return [segment for (segment,) in connection.execute("SELECT id FROM segment ORDER BY id")]


def _verify_head(connection: sqlite3.Connection, on_damaged: OnDamaged) -> tuple[int, int, int]:
    """Unpack all head rows; return how many ticks and values are right, and how many rows."""
    rows = Rows(connection)
    ticks = samples = 0
    found = connection.execute(
        "SELECT h.id FROM stream s CROSS JOIN head h ON h.stream = s.id AND h.id > s.sealed ORDER BY h.id"
    ).fetchall()
    for (head_id,) in found:
        try:
            at = rows.row(head_id)
            parts = [rows.words(at, part) for part in range(len(at.layout.bounds))]
        except DamagedError as error:
            on_damaged(str(error))
            continue
        ticks += 1
        samples += sum(len(words) for words in parts)
    return ticks, samples, ticks


def _verify_segment(connection: sqlite3.Connection, segment: int, on_damaged: OnDamaged) -> tuple[int, int, int]:
    """Unpack all of a segment; return its ticks and values, as many as are right, and its chunks."""
    segments = Segments(connection)
    try:
        directory = segments.directory(segment)
    except DamagedError as error:
        on_damaged(str(error))
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
            except DamagedError as error:
                on_damaged(str(error))
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
