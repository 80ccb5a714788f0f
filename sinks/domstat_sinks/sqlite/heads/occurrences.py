"""What happens between ticks, as rows of its own: events and gaps.

Each has a key that a record which comes again shares, so that it replaces itself: an event its stream, time, guest,
type and device, a gap its stream and beginning.
"""

from __future__ import annotations

import sqlite3

from domstat.model import Domain, Event, Gap, Record


def store(connection: sqlite3.Connection, stream: int, record: Record) -> None:
    """Store the event or gap that *record* is, if it is one. Raises sqlite3.Error."""
    if record.event is not None:
        store_event(connection, stream, record.time_ms, record.domain, record.event)
    if record.gap is not None:
        store_gap(connection, stream, record.gap)


def store_event(connection: sqlite3.Connection, stream: int, time_ms: int, domain: Domain | None, event: Event) -> None:
    """Store an event of *stream*. Raises sqlite3.Error."""
    guest = (domain.uuid, domain.name, domain.id) if domain else (None, None, None)
    connection.execute(
        "INSERT OR REPLACE INTO event (stream, time_ms, uuid, name, incarnation, type, reason, device)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (stream, time_ms, *guest, event.type, event.reason, event.device),
    )


def store_gap(connection: sqlite3.Connection, stream: int, gap: Gap) -> None:
    """Store a gap of *stream*. Raises sqlite3.Error."""
    connection.execute(
        "INSERT OR REPLACE INTO gap (stream, start_ms, end_ms, reason) VALUES (?, ?, ?, ?)",
        (stream, gap.start, gap.end, gap.reason),
    )
