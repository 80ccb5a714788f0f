"""How large a history is, and what takes the room."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from domstat.history import Coverage, Info, Span, Tier
from domstat_sinks.sqlite import schema

_HEAD = "head"
_LEVELS = {0: "minutes", 1: "hours", 2: "days"}
"""What segments of a level are called, after what they have at most."""
_REST = "names and events"


def describe(connection: sqlite3.Connection, path: Path, span: Span, streams: tuple[Coverage, ...]) -> Info:
    """Describe a history, of which its span and its streams are known already. Raises sqlite3.Error, OSError."""
    wal = path.with_name(path.name + "-wal")
    page_bytes = _pragma(connection, "page_size")
    return Info(
        path=str(path),
        schema=_pragma(connection, "user_version"),
        span=span,
        streams=streams,
        ticks=sum(stream.ticks for stream in streams),
        values=_values(connection),
        file_bytes=path.stat().st_size,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        free_bytes=_pragma(connection, "freelist_count") * page_bytes,
        tiers=_tiers(connection, page_bytes),
    )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _values(connection: sqlite3.Connection) -> int:
    """Count all values, without a look at any of them."""
    (sealed,) = connection.execute("SELECT sum(samples) FROM segment").fetchone()
    (unsealed,) = connection.execute(
        "SELECT sum(h.ticks * r.columns) FROM (SELECT layout, count(*) AS ticks FROM head"
        "  WHERE id > (SELECT sealed FROM stream WHERE stream.id = head.stream) GROUP BY layout) h"
        " CROSS JOIN (SELECT r.layout AS layout, sum(c.columns) AS columns FROM layout_record r"
        "  JOIN (SELECT shape, count(*) AS columns FROM shape_column GROUP BY shape) c ON c.shape = r.shape"
        "  GROUP BY r.layout) r ON r.layout = h.layout"
    ).fetchone()
    return (sealed or 0) + (unsealed or 0)


def _tiers(connection: sqlite3.Connection, page_bytes: int) -> tuple[Tier, ...]:
    """Return the bytes of each tier; what is left over of the pages in use is the rest's.

    SQLite could tell of each page whose it is, but only by reading all of them. How long a blob is stands where it
    begins.
    """
    found = connection.execute("SELECT ?, total(length(blob)) FROM head", (_HEAD,)).fetchall()
    for level, name in _LEVELS.items():
        of_level = connection.execute(
            "SELECT ?1, total(length(directory)) + total((SELECT total(length(blob)) FROM chunk"
            "  WHERE chunk.id BETWEEN segment.id << ?2 AND (segment.id + 1 << ?2) - 1))"
            " FROM segment WHERE level = ?3",
            (name, schema.chunk_id(1, 0, 0).bit_length() - 1, level),
        )
        found += of_level.fetchall()
    used = (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * page_bytes
    tiers = [Tier(name, int(stored)) for name, stored in found if stored]
    return (*tiers, Tier(_REST, used - sum(tier.stored_bytes for tier in tiers)))
