"""Files of earlier versions: brought up to date for whoever writes, dressed up for whoever only reads.

Version 1 kept events and gaps in the blobs of head rows, as the last part of :class:`.heads.row.Body`; whoever reads
such a blob today passes over them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from domstat.model import Domain, Event, Gap
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads import occurrences, row

_FROM_1_TO_2 = f"""
DROP INDEX layout_record_uuid;
{schema.EVENTS_AND_GAPS}
{schema.INDEXES}
"""

_COPY_STREAMS = "INSERT INTO stream (id, host, collect) SELECT id, host, collect FROM stream_2;\nDROP TABLE stream_2;\n"

_FROM_2_TO_3 = f"""
ALTER TABLE stream RENAME TO stream_2;
{schema.STREAM}
{_COPY_STREAMS}
{schema.SEGMENTS}
{schema.ROLLED}
{schema.DAYS}
{schema.SEGMENT_INDEXES}
{schema.DAY_INDEXES}
"""

_VIEWS = ("samples", "rates", "events", "gaps", "guests", "daily", "five_minutes", "hourly", "coverage")

_STREAM_TODAY = "CREATE VIEW stream AS SELECT id, host, collect, 0 AS tier, 0 AS sealed FROM main.stream;"

_LACKING_2 = f"{schema.SEGMENTS}{schema.DAYS}{_STREAM_TODAY}"
_LACKING = {1: f"{schema.EVENTS_AND_GAPS}{_LACKING_2}", 2: _LACKING_2}
"""By version, the tables that a file lacks and today's views need, there empty."""


class _Other(Struct, frozen=True):
    """What version 1 kept of a record without values."""

    kind: str
    uuid: str | None = None
    name: str | None = None
    incarnation: int | None = None
    event: Event | None = None
    gap: Gap | None = None


class _Body(Struct, frozen=True, array_like=True):
    """A blob of version 1, as far as it matters here."""

    codec: int
    base: int
    parts: Any
    extras: Any
    others: list[_Other]


_decoder = msgspec.msgpack.Decoder(_Body)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file of *version* up to date, in one transaction that a failure takes back. Raises sqlite3.Error."""
    if version >= schema.SCHEMA_VERSION:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        for view in _VIEWS:
            connection.execute(f"DROP VIEW IF EXISTS {view}")
        if version < 2:
            _from_1_to_2(connection)
        _run(connection, _FROM_2_TO_3)
        _run(connection, schema.VIEWS)
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _from_1_to_2(connection: sqlite3.Connection) -> None:
    _run(connection, _FROM_1_TO_2)
    for stream, time_ms, other in _others(connection):
        domain = Domain(other.uuid, other.name or "", other.incarnation) if other.uuid else None
        if other.event is not None:
            occurrences.store_event(connection, stream, time_ms, domain, other.event)
        if other.gap is not None:
            occurrences.store_gap(connection, stream, other.gap)


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run each statement of a script within the transaction, which executescript() would end."""
    for statement in script.split(";\n"):
        connection.execute(statement)


def dress_up(connection: sqlite3.Connection, version: int) -> None:
    """Give whoever reads a file of *version* the views of today, on this connection alone. Raises sqlite3.Error.

    They have the columns that queries expect. The events and gaps of such a file show once it has been upgraded.
    """
    if version < schema.SCHEMA_VERSION:
        today = f"{_LACKING[version]}{schema.VIEWS}"
        connection.executescript(today.replace("CREATE ", "CREATE TEMP "))


def _others(connection: sqlite3.Connection) -> Iterator[tuple[int, int, _Other]]:
    """Give the events and gaps that lie in head rows, each with its stream and time."""
    # They are a blob's end, and 0x90 is how msgpack writes that there are none: few rows need to be unpacked.
    found = connection.execute("SELECT stream, time_ms, blob FROM head WHERE substr(blob, -1) <> x'90'")
    for stream, time_ms, blob in found:
        with contextlib.suppress(row.DamagedError, msgspec.DecodeError):  # it stays as it is; who reads it is told
            yield from ((stream, time_ms, other) for other in _decoder.decode(row.checked(blob)).others)
