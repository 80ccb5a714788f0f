"""Mending: rows that were saved from a damaged file become a history again, which can be read and gone on with.

What belongs to nothing goes: chunks of no segment, segments without a directory, head rows that nobody can unpack. What
follows from the rest is made anew: members of segments, how far streams are sealed and rolled up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from domstat.jsonlines import write_time
from domstat_sinks.sqlite.heads.layout import digest
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.heads.rows import Rows
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.rollups import keyfigures, sketchblob, unfinishedblob
from domstat_sinks.sqlite.rollups.guests import Guests
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS
from domstat_sinks.sqlite.schema import SEGMENT_SHIFT, chunk_id

OnLost: TypeAlias = Callable[[str], None]

NOBODY = "unknown"
"""The host of a stream of which no more than its number is known."""

_BLOBS: dict[str, Callable[[bytes], object]] = {
    "sketch_hour": lambda blob: keyfigures.total([blob]),
    "sketch_day": lambda blob: keyfigures.total([blob]),
    "sketch_sum": sketchblob.open_blob,
    "unfinished": unfinishedblob.decode,
}
"""Tables of what is made of ticks, and what reads theirs, or raises DamagedError."""


def mend(connection: sqlite3.Connection, on_lost: OnLost) -> None:
    """Make a history of rows, in one transaction; *on_lost* is told of what goes. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    Mending(connection, on_lost).mend()
    connection.execute("COMMIT")


class Mending:
    """One file being mended."""

    def __init__(self, connection: sqlite3.Connection, on_lost: OnLost) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._segments = Segments(connection)

    def mend(self) -> None:
        """Do all of it. Raises sqlite3.Error."""
        self._drop_segments()
        self._connection.execute(
            f"DELETE FROM chunk WHERE id >> {SEGMENT_SHIFT} NOT IN (SELECT id FROM segment)"  # noqa: S608 - a number
        )
        self._name_members()
        self._name_streams()
        self._drop_layouts()
        self._drop_head_rows()
        self._drop_blobs()
        self._note_what_is_sealed()
        self._note_what_is_rolled_up()
        self._note_guests()
        self._number_on()

    # What goes.

    def _drop_segments(self) -> None:
        """Drop segments that cannot be read, and of two that have the same ticks the one that was merged less."""
        last: dict[int, tuple[int, int, int]] = {}
        found = self._connection.execute(
            "SELECT id, stream, level, first_id, last_id, start_ms, end_ms FROM segment ORDER BY stream, first_id"
        ).fetchall()
        for segment, stream, level, first_id, last_id, start_ms, end_ms in found:
            try:
                directory = self._segments.directory(segment)
            except DamagedError as error:
                self._drop_segment(segment)
                self._on_lost(f"segment {segment}{span(start_ms, end_ms)}: {error}")
                continue
            before = last.get(stream)
            if before is not None and first_id <= before[2]:
                self._drop_segment(segment if level <= before[1] else before[0])
                if level <= before[1]:
                    continue
            last[stream] = (segment, level, last_id)
            self._say_missing_chunks(segment, directory, span(start_ms, end_ms))

    def _drop_segment(self, segment: int) -> None:
        self._connection.execute("DELETE FROM segment WHERE id = ?", (segment,))

    def _say_missing_chunks(self, segment: int, directory: Directory, when: str) -> None:
        first, end = segment << SEGMENT_SHIFT, (segment + 1) << SEGMENT_SHIFT
        there = {
            number
            for (number,) in self._connection.execute("SELECT id FROM chunk WHERE id >= ? AND id < ?", (first, end))
        }
        wanted = {
            chunk_id(segment, field, group)
            for field in directory.fields
            for group in range(directory.groups)
            if directory.series(field, group)
        }
        if missing := len(wanted - there):
            self._on_lost(f"segment {segment}{when}: {missing} of {len(wanted)} chunks")

    def _drop_layouts(self) -> None:
        """Drop shapes and layouts of which something is missing: their digests tell."""
        self._drop_unlike("shape", "SELECT field, device, type FROM shape_column WHERE shape = ? ORDER BY position")
        self._drop_unlike(
            "layout",
            "SELECT kind, uuid, name, incarnation, shape FROM layout_record WHERE layout = ? ORDER BY position",
        )
        for owner, rows in (("shape", "shape_column"), ("layout", "layout_record")):
            self._connection.execute(
                f"DELETE FROM {rows} WHERE {owner} NOT IN (SELECT id FROM {owner})"  # noqa: S608 - our own names
            )

    def _drop_unlike(self, table: str, rows: str) -> None:
        gone = [
            (number,)
            for number, told in self._connection.execute(f"SELECT id, digest FROM {table}").fetchall()  # noqa: S608
            if digest(self._connection.execute(rows, (number,)).fetchall()) != told
        ]
        self._connection.executemany(f"DELETE FROM {table} WHERE id = ?", gone)  # noqa: S608 - one of two names

    def _drop_head_rows(self) -> None:
        """Drop head rows that cannot be unpacked. Those that are differences to one of these cannot be either."""
        rows = Rows(self._connection)
        found = self._connection.execute(
            "SELECT h.id, h.time_ms, h.id > s.sealed, h.layout IN (SELECT id FROM layout), s.host, s.collect"
            " FROM head h LEFT JOIN stream s ON s.id = h.stream ORDER BY h.id"
        ).fetchall()
        gone: list[int] = []
        lost: dict[str, list[int]] = {}
        for head_id, time_ms, counts, has_layout, host, collect in found:
            if host is not None and has_layout and _is_readable(rows, head_id):
                continue
            gone.append(head_id)
            if counts:
                lost.setdefault(f"{host}/{collect}", []).append(time_ms)
        self._connection.executemany("DELETE FROM head WHERE id = ?", [(head_id,) for head_id in gone])
        for stream, times in lost.items():
            self._on_lost(f"head: {len(times)} ticks of {stream}{span(min(times), max(times))}")

    def _drop_blobs(self) -> None:
        for table, read in _BLOBS.items():
            gone = []
            found = self._connection.execute(f"SELECT rowid, blob FROM {table}")  # noqa: S608 - our own names
            for number, blob in found:
                try:
                    read(blob)
                except DamagedError:
                    gone.append((number,))
            self._connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", gone)  # noqa: S608
            if gone:
                self._on_lost(f"{table}: {len(gone)} rows")

    # What follows from the rest.

    def _name_members(self) -> None:
        self._connection.execute("DELETE FROM segment_member")
        for (segment,) in self._connection.execute("SELECT id FROM segment").fetchall():
            subjects = self._segments.directory(segment).subjects
            self._connection.executemany(
                "INSERT INTO segment_member VALUES (?, ?, ?, ?, ?)",
                [(segment, place, *subject) for place, subject in enumerate(subjects)],
            )

    def _name_streams(self) -> None:
        """Give streams of which only the ticks are left a name, so that these can be read."""
        nameless = self._connection.execute(
            "SELECT stream, min(id) FROM segment WHERE stream NOT IN (SELECT id FROM stream) GROUP BY stream"
        ).fetchall()
        for stream, segment in nameless:
            directory = self._segments.directory(segment)
            is_tier = any(":" in self._segments.field(field) for field in directory.fields)
            tier = 0 if not is_tier else 2 if _step_ms(directory) >= HOUR_MS else 1
            self._connection.execute(
                "INSERT INTO stream VALUES (?, ?, ?, ?, 0)", (stream, NOBODY, f"stream-{stream}", tier)
            )
            self._on_lost(f"stream {stream}: which host's it is; its ticks are {NOBODY}/stream-{stream} now")

    def _note_what_is_sealed(self) -> None:
        self._connection.execute(
            "UPDATE stream SET sealed = max(sealed, ifnull("
            "(SELECT max(g.last_id) FROM segment g WHERE g.stream = stream.id), 0))"
        )

    def _note_what_is_rolled_up(self) -> None:
        """Say of a stream what buckets are open, where that is lost: those that its last sealed tick is in."""
        found = self._connection.execute(
            "SELECT s.id, g.id, max(g.last_id) FROM stream s JOIN segment g ON g.stream = s.id"
            " WHERE s.tier = 0 AND s.id NOT IN (SELECT stream FROM rolled) GROUP BY s.id"
        ).fetchall()
        for stream, segment, _ in found:
            directory = self._segments.directory(segment)
            ids, times_ms = directory.ids[directory.own], directory.time_ms[directory.own]
            open_ms = int(times_ms[-1]) // FIVE_MINUTES_MS * FIVE_MINUTES_MS
            minutes_from, hour_from = (
                int(ids[times_ms // width_ms == open_ms // width_ms][0]) for width_ms in (FIVE_MINUTES_MS, HOUR_MS)
            )
            self._connection.execute(
                "INSERT INTO rolled VALUES (?, ?, ?, ?)", (stream, open_ms, minutes_from, hour_from)
            )

    def _note_guests(self) -> None:
        """Find out again when guests were seen of whom only the number is left."""
        (unseen,) = self._connection.execute("SELECT count(*) FROM guest WHERE last_ms = 0").fetchone()
        if not unseen:
            return
        guests = Guests(self._connection)
        sealed = self._connection.execute(
            "SELECT g.id, s.host FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = 0"
        ).fetchall()
        for segment, host in sealed:
            guests.seen(host, self._segments.directory(segment))

    def _number_on(self) -> None:
        """Have no segment get a number that another had."""
        self._connection.execute("DELETE FROM sqlite_sequence WHERE name = 'doomed'")
        self._connection.execute("INSERT INTO sqlite_sequence SELECT 'doomed', ifnull(max(id), 0) FROM segment")


def _is_readable(rows: Rows, head_id: int) -> bool:
    try:
        at = rows.row(head_id)
        return all(
            len(rows.words(at, part)) == end - start for part, (start, end) in enumerate(at.layout.bounds)
        ) and len(at.body.parts) == len(at.layout.bounds)
    except (DamagedError, ValueError, IndexError, KeyError):
        return False


def _step_ms(directory: Directory) -> int:
    """Return the shortest time from one tick to the next."""
    times_ms: Any = np.unique(directory.time_ms)
    return int(np.diff(times_ms).min()) if len(times_ms) > 1 else 0


def span(start_ms: int, end_ms: int) -> str:
    """Say from when to when, if these are times that a calendar has."""
    try:
        return f", from {write_time(start_ms)} to {write_time(end_ms)}"
    except (ValueError, OverflowError, OSError):
        return ""
