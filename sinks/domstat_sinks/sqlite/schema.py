"""What is in the file.

*One row per tick.* ``head`` has a row per tick and stream; its blob holds every value of the tick, in the order that
its *layout* says. A layout names, per record, its kind, its uuid or name, its incarnation and its *shape*; a shape
names, per column, field, device and type. Both are shared by all the ticks that look alike, so that a tick costs its
values and nothing else. What is missing from a record is missing from its shape.

*The blob* (:mod:`.heads.row`) is compressed and carries a checksum. Its values are differences to those of a *base* row
of the same stream and layout, at most ``KEYFRAME_EVERY`` such rows before it, or plain if it is itself such a base: so
any row needs at most one other to be read, and a damaged row takes no other with it unless it is a base. A large host's
tick comes in chunks, each a row with a stamp and a layout of its own; between them lie those of the others.

*Segments.* Head rows are the newest ticks only. Every few minutes those of a stream are *sealed*
(:mod:`.keeping.sealing`): a row of ``segment``, whose *directory* says which ticks it has and whose values they are,
and for each field and 64 of its members a ``chunk`` with their series. The stream's ``sealed`` is the last tick that
is; a head row up to it is only there because the next ones follow on from it. Segments of minutes are merged to hours
and these to days. A chunk whose segment is not there is nobody's, and its segment is in ``doomed``. ``segment_member``
says for SQL what directories say: whose series there are. A head row that could not be read when its turn came is in
``damaged``.

*Types.* ``i64``, ``u64``, ``f64``, ``bool``, and ``text``, a reference into the table ``text``. Values above 2^63-1,
which SQLite's integers cannot hold, come out of the views as text, all digits there.

*Events and gaps* are rows of ``event`` and ``gap``, and make no row in ``head``.

*Labels and devices* of guests are in ``detail``, a row for each change.

Invariants: exactly one process writes (a lock beside the file); no tick's number is ever another's; a stream's tick is
in one segment, or is a head row after ``sealed``; (stream, time_ms) is unique, and so are an event's and a gap's keys,
so that a batch that comes again replaces itself; every commit is durable (WAL, synchronous=FULL).

*Tiers.* What the ticks of five minutes and of an hour come to are ticks of streams of their own, whose *tier* is 1 and
2, and which are sealed and merged in the same way; a bucket's ``time_ms`` is when it begins, its ``boot_ns`` the number
of the last tick in it, and its fields are those of :mod:`.rollups.rollrecord`. Ticks that come for a bucket later make
a further row, a millisecond on. Which buckets are open says ``rolled``, and what is in them, where the writer was
closed or guests come and go, ``unfinished``. Days and sketches are rows (:mod:`.rollups.days`).

*Boots.* ``boot_id`` is empty for a tick of which only the wall time is known, since it was read from JSON lines: rates
to and from it are by wall time, and any tick of its stream that comes with the same time is taken for it.

*Versions.* 2 brought the tables ``event`` and ``gap`` and the views' columns ``kind``, ``pool`` and ``collect``;
3 brought segments, and tiers of streams. See :mod:`.upgrade` for files of earlier versions.
"""

from __future__ import annotations

APPLICATION_ID = 0x646F6D73
"""``doms``, by which file(1) and this module know the file."""

SCHEMA_VERSION = 3

KEYFRAME_EVERY = 60
"""Rows of one layout from a base to the next: far enough that bases weigh little, near enough that differences stay
small."""

STREAM = """
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    collect TEXT NOT NULL,
    tier INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (host, collect, tier)
);
"""

TABLES = """
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

SEGMENTS = """
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    level INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    day TEXT NOT NULL,
    ticks INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    directory BLOB NOT NULL
);
CREATE TABLE segment_member (
    segment INTEGER NOT NULL,
    place INTEGER NOT NULL,
    kind TEXT NOT NULL,
    uuid TEXT,
    name TEXT,
    PRIMARY KEY (segment, place)
) WITHOUT ROWID;
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    blob BLOB NOT NULL
);
CREATE TABLE doomed (
    segment INTEGER PRIMARY KEY AUTOINCREMENT
);
CREATE TABLE damaged (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    layout INTEGER NOT NULL,
    reason TEXT NOT NULL,
    blob BLOB NOT NULL
);
"""

ROLLED = """
CREATE TABLE rolled (
    stream INTEGER PRIMARY KEY,
    open_ms INTEGER NOT NULL,
    minutes_from INTEGER NOT NULL,
    hour_from INTEGER NOT NULL
);
"""
"""How far a stream's ticks are rolled up: the five minutes that are open, since which tick they and their hour are."""

UNFINISHED = """
CREATE TABLE IF NOT EXISTS unfinished (
    stream INTEGER PRIMARY KEY,
    sealed INTEGER NOT NULL,
    blob BLOB NOT NULL
);
"""
"""What was open of streams when the last writer was closed, or after a slice in which guests came and went
(:mod:`.rollups.unfinishedblob`); right as long as the stream's last sealed tick is this. Whoever opens a file of before
there was such a table makes one."""

DAYS = """
CREATE TABLE guest (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    uuid TEXT,
    domain TEXT,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL
);
CREATE TABLE day (
    field INTEGER NOT NULL,
    day TEXT NOT NULL,
    stream INTEGER NOT NULL,
    guest INTEGER NOT NULL,
    n INTEGER NOT NULL,
    increase REAL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    mean REAL NOT NULL,
    p50 REAL NOT NULL,
    p95 REAL NOT NULL,
    p99 REAL NOT NULL,
    coverage REAL NOT NULL,
    PRIMARY KEY (field, day, stream, guest)
) WITHOUT ROWID;
CREATE TABLE sketch_hour (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    field INTEGER NOT NULL,
    block INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    is_added INTEGER NOT NULL DEFAULT 0,
    blob BLOB NOT NULL,
    UNIQUE (stream, field, block, start_ms)
);
CREATE TABLE sketch_day (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    field INTEGER NOT NULL,
    block INTEGER NOT NULL,
    day INTEGER NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (stream, field, block, day)
);
CREATE TABLE sketch_sum (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    field INTEGER NOT NULL,
    block INTEGER NOT NULL,
    day INTEGER NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (stream, field, block, day)
);
"""
"""Guests, their days, and what these are made of (:mod:`.rollups.days`); ``sketch_sum`` is of all days before its day.

Several rows of one hour, some of them milliseconds later, add up."""

DAY_INDEXES = """
CREATE UNIQUE INDEX guest_key ON guest (host, ifnull(uuid, ''));
CREATE INDEX sketch_hour_added ON sketch_hour (is_added, stream, start_ms);
"""
"""What makes a guest itself; hours that are to be added to their days, and those that were."""

SEGMENT_INDEXES = """
CREATE INDEX segment_order ON segment (stream, first_id);
CREATE INDEX segment_time ON segment (stream, end_ms);
"""
"""The segments of a stream in the order of their ticks; those of a time."""

EVENTS_AND_GAPS = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    uuid TEXT,
    name TEXT,
    incarnation INTEGER,
    type TEXT NOT NULL,
    reason TEXT,
    device TEXT
);
CREATE TABLE gap (
    stream INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (stream, start_ms)
) WITHOUT ROWID;
"""

# Rows are in the order of their ticks by id, which no clock that is set back can change: so the row before is found by
# id. ``stream + 0`` is a column that the views do not have, so that its index cannot tempt them either.
# An index that begins with what the views only look up (guest, kind, layout) cannot tempt SQLite away from time order.
# The statistics are made up: without any, SQLite takes ten records a layout for granted and goes through them all.
# ANALYZE sqlite_master makes their table and analyzes nothing.
INDEXES = """
CREATE INDEX layout_record_uuid ON layout_record (uuid, layout);
CREATE INDEX layout_record_kind ON layout_record (kind, layout);
CREATE INDEX head_layout ON head (layout, stream);
CREATE INDEX head_order ON head (stream + 0);
CREATE UNIQUE INDEX event_key ON event (stream, time_ms, ifnull(uuid, ''), type, ifnull(device, ''));
CREATE INDEX event_time ON event (time_ms);
CREATE INDEX event_uuid ON event (uuid, time_ms);
CREATE INDEX gap_end ON gap (end_ms);
ANALYZE sqlite_master;
INSERT INTO sqlite_stat1 VALUES ('layout_record', 'layout_record', '100000000 500 1');
INSERT INTO sqlite_stat1 VALUES ('layout_record', 'layout_record_uuid', '100000000 200 1');
INSERT INTO sqlite_stat1 VALUES ('layout_record', 'layout_record_kind', '100000000 5000 2');
"""
"""A guest's layouts; the host and its pools, without a search among all guests; a layout's ticks, a stream's; what
makes an event itself; events and gaps by time and by guest."""

# CROSS JOIN fixes the order of the loops: ticks outside, in time order, so that a row is decoded once; only what
# follows the records is SQLite's to order, so that a condition on a field is met by an index.
_VIEW = """
CREATE VIEW {name} AS
SELECT * FROM (
    SELECT CAST(j.key AS INTEGER) AS time_ms, s.host AS host, m.uuid AS uuid,
        CASE m.kind WHEN 'guest' THEN m.name END AS domain,
        f.name AS field, d.value AS device,
        j.value AS value,
        m.kind AS kind, CASE m.kind WHEN 'pool' THEN m.name END AS pool, s.collect AS collect,
        g.day AS day
    FROM stream s
    CROSS JOIN segment g ON g.stream = s.id AND g.end_ms >= domstat_since() AND g.start_ms < domstat_until()
    CROSS JOIN segment_member m ON m.segment = g.id
    CROSS JOIN field f
    CROSS JOIN json_each(domstat_devices(g.id, m.place, f.id)) d
    CROSS JOIN json_each({sealed}(g.id, m.place, f.id, d.key)) j
    WHERE s.tier = 0 {where}
    UNION ALL
    SELECT h.time_ms AS time_ms, s.host AS host, r.uuid AS uuid,
        CASE r.kind WHEN 'guest' THEN r.name END AS domain,
        f.name AS field, c.device AS device,
        {function}(h.id, r.position, c.position) AS value,
        r.kind AS kind, CASE r.kind WHEN 'pool' THEN r.name END AS pool, s.collect AS collect,
        strftime('%Y-%m-%d', h.time_ms / 1000, 'unixepoch') AS day
    FROM stream s
    CROSS JOIN head h ON h.stream = s.id AND h.id > s.sealed
        AND h.time_ms >= domstat_since() AND h.time_ms < domstat_until()
    CROSS JOIN layout_record r ON r.layout = h.layout
    CROSS JOIN (shape_column c JOIN field f ON f.id = c.field) ON c.shape = r.shape
    WHERE s.tier = 0 {where}
)
{filter};
"""

# Every series of buckets has one of these two; what is derived of them comes with it.
_BUCKETS = """
CREATE VIEW {name} AS
SELECT j.value ->> 0 AS time_ms, s.host AS host, j.value ->> 2 AS uuid,
    CASE j.value ->> 1 WHEN 'guest' THEN j.value ->> 3 END AS domain,
    f.field AS field, j.value ->> 4 AS device,
    j.value ->> 5 AS increase, j.value ->> 6 AS max_rate, j.value ->> 7 AS min, j.value ->> 8 AS max,
    j.value ->> 9 AS mean, j.value ->> 10 AS last, j.value ->> 11 AS coverage,
    j.value ->> 1 AS kind, CASE j.value ->> 1 WHEN 'pool' THEN j.value ->> 3 END AS pool, s.collect AS collect
FROM stream s
CROSS JOIN (
    SELECT stream, id FROM segment WHERE end_ms >= domstat_since() AND start_ms < domstat_until()
    UNION ALL SELECT id, 0 FROM stream
) g ON g.stream = s.id
CROSS JOIN (
    SELECT substr(name, 1, instr(name, ':') - 1) AS field FROM field
    WHERE name LIKE '%:last' OR name LIKE '%:increment'
    UNION SELECT 'cpu.utilization'
) f
CROSS JOIN json_each(domstat_buckets(s.id, g.id, f.field)) j
WHERE s.tier = {tier};
"""

_TIER_VIEWS = _BUCKETS.format(name="five_minutes", tier=1) + _BUCKETS.format(name="hourly", tier=2)

_PLAIN_VIEWS = """
CREATE VIEW events AS
SELECT e.time_ms, s.host, s.collect, e.uuid, e.name AS domain, e.incarnation, e.type, e.reason, e.device
FROM event e JOIN stream s ON s.id = e.stream;
CREATE VIEW gaps AS
SELECT g.start_ms, g.end_ms, s.host, s.collect, g.reason
FROM gap g JOIN stream s ON s.id = g.stream;
CREATE VIEW coverage AS
SELECT s.host, s.collect, min(first_ms) AS first_ms, max(last_ms) AS last_ms, sum(ticks) AS ticks,
    (SELECT ifnull(sum(g.end_ms - g.start_ms), 0) FROM gap g WHERE g.stream = s.id) AS lost_ms
FROM stream s JOIN (
    SELECT stream, min(start_ms) AS first_ms, max(end_ms) AS last_ms, sum(ticks) AS ticks FROM segment GROUP BY stream
    UNION ALL
    SELECT h.stream, min(h.time_ms), max(h.time_ms), count(*) FROM stream o
    JOIN head h ON h.stream = o.id AND h.id > o.sealed GROUP BY h.stream
) t ON t.stream = s.id
WHERE s.tier = 0 GROUP BY s.id;
CREATE VIEW guests AS
SELECT uuid, domain, host, first_ms, last_ms FROM guest WHERE uuid IS NOT NULL AND last_ms > 0;
CREATE VIEW daily AS
SELECT d.day, s.host, s.collect, g.uuid, g.domain, f.name AS field, d.n, d.increase, d.min, d.max, d.mean,
    d.p50, d.p95, d.p99, d.coverage
FROM field f JOIN day d ON d.field = f.id JOIN stream s ON s.id = d.stream JOIN guest g ON g.id = d.guest;
"""

VIEWS = (
    _VIEW.format(name="samples", function="domstat_value", sealed="domstat_samples", where="", filter="")
    + _VIEW.format(
        name="rates",
        function="domstat_rate",
        sealed="domstat_rates",
        where="AND f.kind = 'counter'",
        filter="WHERE value IS NOT NULL",
    )
    + _PLAIN_VIEWS
    + _TIER_VIEWS
)
"""All but the plain ones, of events, gaps, guests, days and coverage, need what :func:`.reader.register` registers."""

NEW = (
    f"{STREAM}{TABLES}{SEGMENTS}{ROLLED}{DAYS}{EVENTS_AND_GAPS}"
    f"{INDEXES}{SEGMENT_INDEXES}{DAY_INDEXES}{UNFINISHED}{VIEWS}"
)
"""All of a new file."""

_FIELD_BITS, _GROUP_BITS = 16, 10

SEGMENT_SHIFT = _FIELD_BITS + _GROUP_BITS
"""A chunk's number, shifted so far to the right, is that of its segment."""


def chunk_id(segment: int, field: int, group: int) -> int:
    """Return the number of a chunk: those of one segment are neighbours, and in it those of one field.

    Raises ValueError for a field or a group beyond those that have numbers.
    """
    if field >> _FIELD_BITS or group >> _GROUP_BITS:
        raise ValueError(f"there is no number for a chunk of field {field} and group {group}")
    return (segment << _FIELD_BITS | field) << _GROUP_BITS | group


def chunks_of(segment: int) -> tuple[int, int]:
    """Return the numbers between which a segment's chunks lie, both ends included."""
    return chunk_id(segment, 0, 0), chunk_id(segment + 1, 0, 0) - 1


NEW_PRAGMAS = "PRAGMA auto_vacuum = INCREMENTAL;"
"""What only a file that has nothing in it yet takes: free pages can be given back (:mod:`.keeping.retention`)."""

CACHE_KIB = 512
"""Pages of a file that its writer keeps, a quarter of SQLite's default: it writes what it has just made, and the system
has the rest at hand. Each lies by itself among all else that is allocated, so that its neighbours cannot be given
back."""

OPEN_PRAGMAS = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 16777216;
PRAGMA cell_size_check = ON;
PRAGMA secure_delete = OFF;
PRAGMA cache_size = -{CACHE_KIB};
"""
