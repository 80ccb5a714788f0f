"""How large a history is, and what takes the room."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from domstat.history import Coverage, Info, Span, Tier
from domstat_sinks.sqlite import schema

_HEAD = "ticks of the head"
_LEVELS = {0: "ticks by minutes", 1: "ticks by hours", 2: "ticks by days"}
"""What segments of a level are called, after what they have at most."""
_TIERS = {1: "five minutes", 2: "hours"}
_SKETCHES = "sketches"
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
    (sealed,) = connection.execute(
        "SELECT sum(g.samples) FROM stream s CROSS JOIN segment g ON g.stream = s.id WHERE s.tier = 0"
    ).fetchone()
    (unsealed,) = connection.execute(
        "SELECT sum(h.ticks * r.columns) FROM (SELECT layout, count(*) AS ticks FROM stream s"
        "  CROSS JOIN head ON head.stream = s.id AND head.id > s.sealed WHERE s.tier = 0 GROUP BY layout) h"
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
    found = [
        (_HEAD, _bytes_in_head(connection, 0)),
        *((name, _bytes_in_segments(connection, 0, level)) for level, name in _LEVELS.items()),
        *(
            (name, _bytes_in_head(connection, tier) + _bytes_in_segments(connection, tier))
            for tier, name in _TIERS.items()
        ),
        (_SKETCHES, _bytes_in_sketches(connection)),
    ]
    used = (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * page_bytes
    tiers = [Tier(name, stored) for name, stored in found if stored]
    return (*tiers, Tier(_REST, used - sum(tier.stored_bytes for tier in tiers)))


def _bytes_in_head(connection: sqlite3.Connection, tier: int) -> int:
    (stored,) = connection.execute(
        "SELECT total(length(h.blob)) FROM stream s CROSS JOIN head h ON h.stream = s.id WHERE s.tier = ?", (tier,)
    ).fetchone()
    return int(stored)


def _bytes_in_segments(connection: sqlite3.Connection, tier: int, level: int | None = None) -> int:
    (stored,) = connection.execute(
        "SELECT total(length(g.directory)) + total((SELECT total(length(blob)) FROM chunk"
        "  WHERE chunk.id BETWEEN g.id << ?1 AND (g.id + 1 << ?1) - 1))"
        " FROM stream s CROSS JOIN segment g ON g.stream = s.id WHERE s.tier = ?2 AND ifnull(g.level = ?3, 1)",
        (schema.chunk_id(1, 0, 0).bit_length() - 1, tier, level),
    ).fetchone()
    return int(stored)


def _bytes_in_sketches(connection: sqlite3.Connection) -> int:
    (stored,) = connection.execute(
        "SELECT (SELECT total(length(blob)) FROM sketch_hour) + (SELECT total(length(blob)) FROM sketch_day)"
        " + (SELECT total(length(blob)) FROM sketch_sum)"
    ).fetchone()
    return int(stored)
