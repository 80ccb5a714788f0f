"""What is in the database.

*One row per record.* A row of ``record`` is a guest, host, pool or agent at one tick. Its values are arrays, and what
stands at which place of them says its *layout*, which records alike share: a tick costs its values, and not 24 bytes
of a row's head and an index entry for each of them. A row per value takes five times the bytes and eight times the
server's time. It also makes a record that comes again replace itself as a whole.

*Which array.* Whole numbers of 64 bits are in ``ints``, true is 1; others in ``floats``; texts in ``texts``. A whole
number that is larger is in ``texts`` with all its digits, and rounded in ``floats``. A counter's rate, per second and
in base units, is in ``rates`` at the counter's place. What is not there is NULL, or behind the array's end.

*Names are numbers.* ``subject`` is whom a record is about (without the guest's name, which may change, and is the
record's own: ``domain``), ``field`` what a value is, ``layout_key`` field and device at a place. Each has in ``key`` 16
bytes of a hash of what it stands for: texts may be longer than an index takes. ``seen`` is a day on which it was in
use; a sink in use looks once a day.

*Views* are for asking: ``samples``, ``rates``, ``events``, ``gaps``, ``guests``. What is in the tables may change with
the version, the views' columns only grow.

Invariants: (subject, time) is unique; whoever adds names commits them before the records that use them. Several agents
may write into one schema.

*Where.* ``record`` is partitioned by days of UTC, or a hypertable of TimescaleDB; which it is, was decided when it was
made, and is in ``about`` beside the version.
"""

from __future__ import annotations

SCHEMA_VERSION = 1

HYPERTABLE = "hypertable"
DAYS = "days"

TABLES = """
CREATE TABLE about (
    version integer NOT NULL,
    kind text NOT NULL
);
CREATE TABLE subject (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    host text NOT NULL,
    collect text NOT NULL,
    kind text NOT NULL,
    uuid text,
    pool text,
    seen date NOT NULL
);
CREATE TABLE domain (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    name text NOT NULL,
    seen date NOT NULL
);
CREATE TABLE field (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    name text NOT NULL,
    kind text NOT NULL,
    unit text NOT NULL,
    scale double precision NOT NULL,
    help text NOT NULL,
    seen date NOT NULL
);
CREATE TABLE layout (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    seen date NOT NULL
);
CREATE TABLE layout_key (
    layout integer NOT NULL,
    place integer NOT NULL,
    field integer NOT NULL,
    device text,
    PRIMARY KEY (layout, place)
);
CREATE INDEX ON layout_key (field);
CREATE TABLE event (
    subject integer NOT NULL,
    time timestamptz NOT NULL,
    key bytea NOT NULL,
    domain integer,
    type text NOT NULL,
    device text,
    reason text,
    PRIMARY KEY (subject, time, key)
);
CREATE INDEX ON event (time);
CREATE TABLE gap (
    subject integer NOT NULL,
    time timestamptz NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (subject, time)
);
CREATE INDEX ON gap (time);
CREATE TABLE detail (
    subject integer NOT NULL,
    time timestamptz NOT NULL,
    labels jsonb,
    devices jsonb,
    PRIMARY KEY (subject, time)
);
CREATE INDEX ON detail (time);
"""

RECORD = """
CREATE TABLE record (
    time timestamptz NOT NULL,
    subject integer NOT NULL,
    layout integer NOT NULL,
    domain integer,
    ints bigint[],
    floats double precision[],
    texts text[],
    rates double precision[],
    PRIMARY KEY (subject, time)
)"""

BY_DAYS = " PARTITION BY RANGE (time)"

INDEXES = """
CREATE INDEX ON record (domain, time);
CREATE INDEX ON record USING brin (time) WITH (pages_per_range = 32);
"""
"""For questions by a guest's name, and for all guests of a span: rows lie in the order they came in."""

IN_THE_ROW = "".join(
    f"ALTER TABLE record ALTER COLUMN {column} SET STORAGE MAIN;\n" for column in ("ints", "floats", "texts", "rates")
)
"""Rows of more than 2 kB are compressed, and stay where they are: an array that was moved out of its row would cost
another look for each row. PostgreSQL compresses no smaller ones, whatever it is told."""

LZ4 = "".join(
    f"ALTER TABLE record ALTER COLUMN {column} SET COMPRESSION lz4;\n"
    for column in ("ints", "floats", "texts", "rates")
)
"""Where the server has it (14 and later, as a rule): quicker than its own, and no larger."""

VIEWS = """
CREATE VIEW samples AS
SELECT r.time, s.host, s.collect, s.kind, s.uuid, d.name AS domain, s.pool, f.name AS field, k.device,
       coalesce(r.floats[k.place], r.ints[k.place]) AS value, r.ints[k.place] AS value_int,
       r.texts[k.place] AS text, r.rates[k.place] AS rate, f.unit, f.scale
  FROM record r
  JOIN subject s ON s.id = r.subject
  JOIN layout_key k ON k.layout = r.layout
  JOIN field f ON f.id = k.field
  LEFT JOIN domain d ON d.id = r.domain
 WHERE coalesce(r.floats[k.place], r.ints[k.place]) IS NOT NULL OR r.texts[k.place] IS NOT NULL;
CREATE VIEW rates AS
SELECT r.time, s.host, s.collect, s.kind, s.uuid, d.name AS domain, s.pool, f.name AS field, k.device,
       r.rates[k.place] AS value, f.unit
  FROM record r
  JOIN subject s ON s.id = r.subject
  JOIN layout_key k ON k.layout = r.layout
  JOIN field f ON f.id = k.field
  LEFT JOIN domain d ON d.id = r.domain
 WHERE r.rates[k.place] IS NOT NULL;
CREATE VIEW events AS
SELECT e.time, s.host, s.collect, s.uuid, d.name AS domain, e.type, e.device, e.reason
  FROM event e JOIN subject s ON s.id = e.subject LEFT JOIN domain d ON d.id = e.domain;
CREATE VIEW gaps AS
SELECT g.time, s.host, s.collect, s.uuid, g.since, g.until, g.reason
  FROM gap g JOIN subject s ON s.id = g.subject;
CREATE VIEW guests AS
SELECT s.host, s.uuid, (array_agg(d.name ORDER BY last.time DESC))[1] AS domain,
       min(first.time) AS first_seen, max(last.time) AS last_seen,
       (array_agg(l.labels ORDER BY l.time DESC NULLS LAST))[1] AS labels,
       (array_agg(l.devices ORDER BY l.time DESC NULLS LAST))[1] AS devices
  FROM subject s
  JOIN LATERAL (SELECT r.time FROM record r WHERE r.subject = s.id ORDER BY r.time LIMIT 1) first ON true
  JOIN LATERAL (SELECT r.time, r.domain FROM record r WHERE r.subject = s.id ORDER BY r.time DESC LIMIT 1) last ON true
  LEFT JOIN domain d ON d.id = last.domain
  LEFT JOIN LATERAL (
      SELECT t.time, t.labels, t.devices FROM detail t WHERE t.subject = s.id ORDER BY t.time DESC LIMIT 1
  ) l ON true
 WHERE s.kind = 'guest'
 GROUP BY s.host, s.uuid;
"""

UPGRADES: dict[int, str] = {}
"""By the version it is applied to: the SQL that makes the next version of it."""
