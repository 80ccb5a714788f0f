"""What is in the file.

*One row per tick.* ``head`` has a row per tick and stream; its blob holds every value of the tick, in the order that
its *layout* says. A layout names, per record, its kind, its uuid or name, its incarnation and its *shape*; a shape
names, per column, field, device and type. Both are shared by all the ticks that look alike, so that a tick costs its
values and nothing else. What is missing from a record is missing from its shape.

*The blob* (:mod:`.row`) is compressed and carries a checksum. Its values are differences to those of a *base* row of
the same stream and layout, at most ``KEYFRAME_EVERY`` rows before it, or plain if it is itself such a base: so any
row needs at most one other to be read, and a damaged row takes no other with it unless it is a base.

*Types.* ``i64``, ``u64``, ``f64``, ``bool``, and ``text``, a reference into the table ``text``. Values above 2^63-1,
which SQLite's integers cannot hold, come out of the views as text, all digits there.

*Events and gaps* are not values: a row carries them as they are (:class:`.row.Extra`, and ``others``).

*Labels and devices* are in ``detail``, a row for each change.

Invariants: exactly one process writes (a lock beside the file); (stream, time_ms) is unique, a batch that comes again
replaces itself; every commit is durable (WAL, synchronous=FULL).
"""

from __future__ import annotations

APPLICATION_ID = 0x646F6D73
"""``doms``, by which file(1) and this module know the file."""

SCHEMA_VERSION = 1

KEYFRAME_EVERY = 60
"""Rows from one base to the next: far enough that bases weigh little, near enough that differences stay small."""

TABLES = """
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    collect TEXT NOT NULL,
    UNIQUE (host, collect)
);
CREATE TABLE boot (
    id INTEGER PRIMARY KEY,
    boot_id TEXT NOT NULL UNIQUE
);
CREATE TABLE field (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    scale REAL NOT NULL
);
CREATE TABLE text (
    id INTEGER PRIMARY KEY,
    value TEXT NOT NULL UNIQUE
);
CREATE TABLE shape (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
);
CREATE TABLE shape_column (
    shape INTEGER NOT NULL,
    position INTEGER NOT NULL,
    field INTEGER NOT NULL,
    device TEXT,
    type TEXT NOT NULL,
    PRIMARY KEY (shape, field, position)
) WITHOUT ROWID;
CREATE TABLE layout (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
);
CREATE TABLE layout_record (
    layout INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    uuid TEXT,
    name TEXT,
    incarnation INTEGER,
    shape INTEGER NOT NULL,
    PRIMARY KEY (layout, position)
) WITHOUT ROWID;
CREATE INDEX layout_record_uuid ON layout_record (layout, uuid);
CREATE TABLE head (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    boot_ns INTEGER NOT NULL,
    boot_id INTEGER NOT NULL,
    call_ns INTEGER NOT NULL,
    layout INTEGER NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (stream, time_ms)
);
CREATE TABLE detail (
    stream INTEGER NOT NULL,
    uuid TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    labels TEXT NOT NULL,
    devices TEXT NOT NULL,
    PRIMARY KEY (stream, uuid, time_ms)
) WITHOUT ROWID;
"""

# CROSS JOIN fixes the order of the loops: ticks outside, in time order, so that a row is decoded once; only what
# follows the records is SQLite's to order, so that a condition on a field is met by an index.
_VIEW = """
CREATE VIEW {name} AS
SELECT * FROM (
    SELECT h.time_ms AS time_ms, s.host AS host, r.uuid AS uuid,
        CASE r.kind WHEN 'guest' THEN r.name END AS domain,
        f.name AS field, c.device AS device,
        {function}(h.id, r.position, c.position) AS value
    FROM stream s
    CROSS JOIN head h ON h.stream = s.id
    CROSS JOIN layout_record r ON r.layout = h.layout
    CROSS JOIN (shape_column c JOIN field f ON f.id = c.field) ON c.shape = r.shape
    {where}
)
{filter};
"""

VIEWS = _VIEW.format(name="samples", function="domstat_value", where="", filter="") + _VIEW.format(
    name="rates",
    function="domstat_rate",
    where="WHERE f.kind = 'counter'",
    filter="WHERE value IS NOT NULL",
)
"""The views need the functions that :func:`.reader.register` registers."""

OPEN_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 16777216;
PRAGMA cell_size_check = ON;
"""
