"""How large a history is, and what takes the room."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from domstat.history import Coverage, Info, Span, Tier
from domstat_sinks.sqlite.query import RAW

_TIERS = {"head": RAW, "head_layout": RAW, "head_order": RAW, "sqlite_autoindex_head_1": RAW}
"""What of the file is which tier's; all the rest says whose the values are, and what happened."""

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
    found = connection.execute(
        "SELECT sum(h.ticks * r.columns) FROM (SELECT layout, count(*) AS ticks FROM head"
        "  WHERE id > (SELECT sealed FROM stream WHERE stream.id = head.stream) GROUP BY layout) h"
        " CROSS JOIN (SELECT r.layout AS layout, sum(c.columns) AS columns FROM layout_record r"
        "  JOIN (SELECT shape, count(*) AS columns FROM shape_column GROUP BY shape) c ON c.shape = r.shape"
        "  GROUP BY r.layout) r ON r.layout = h.layout"
    ).fetchone()
    return found[0] or 0


def _tiers(connection: sqlite3.Connection, page_bytes: int) -> tuple[Tier, ...]:
    """Return the bytes of each tier; in one sum where this SQLite cannot tell which page is whose."""
    used = (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * page_bytes
    try:
        rows = connection.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = 1").fetchall()
    except sqlite3.OperationalError:  # not compiled in
        return (Tier("all", used),)
    bytes_: dict[str, int] = {}
    for name, taken in rows:
        tier = _TIERS.get(name, _REST)
        bytes_[tier] = bytes_.get(tier, 0) + taken
    return tuple(Tier(name, taken) for name, taken in bytes_.items())
