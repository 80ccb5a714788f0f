"""Room for new days, and what is too old let go: partitions, or a hypertable's chunks.

Days are UTC's. Making and dropping one is quick and has the parent table's lock for a moment; where somebody holds that
too long (a question that runs for minutes) it is tried again later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

DAY_S = 86_400
DAY_MS = DAY_S * 1000

DAYS_MAX = 4_000
"""Days that may have a partition: ten years. PostgreSQL plans slowly with more, and a clock that jumps makes many."""

DROPPED_AT_ONCE_MAX = 8
"""Days that one look lets go of: a write waits for it."""

DELETED_AT_ONCE_MAX = 2_000
"""Rows of a small table that one look deletes, for the same reason."""

UNUSED_DAYS_MIN = 2
"""Days for which names stay that nobody uses any more, at least: sinks look at theirs once a day."""

LOCK_KEY = 0x646F6D73
"""``doms``: the first half of the advisory locks that agents who share a database hold against each other."""

_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'record'::regclass
"""
_OLD_OF = {
    table: f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE time < %s LIMIT %s))"  # noqa: S608
    for table in ("event", "gap", "detail")
}
_UNUSED = {
    table: f"DELETE FROM {table} WHERE id = ANY (ARRAY(SELECT id FROM {table} WHERE seen < %s LIMIT %s))"  # noqa: S608
    for table in ("subject", "domain")
}
_UNUSED_LAYOUTS = """
WITH gone AS (DELETE FROM layout WHERE id = ANY (ARRAY(SELECT id FROM layout WHERE seen < %s LIMIT %s)) RETURNING id)
DELETE FROM layout_key WHERE layout = ANY (ARRAY(SELECT id FROM gone))
"""


class TooManyDays(Exception):
    """There are as many partitions as there may be."""


class Days:
    """Knows for which days ``record`` has partitions."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def forget(self) -> None:
        """Look again."""
        self._known.clear()

    def make_room(self, connection: Connection[Any], days: Iterable[int]) -> None:
        """Have a partition for each of *days* (since 1970). Raises TooManyDays."""
        if self._known.issuperset(days := set(days)):
            return
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, 'record'::regclass::oid::int)", [LOCK_KEY])
            self._known = there = _days_there(connection)
            missing = sorted(days - there)
            if len(there) + len(missing) > DAYS_MAX:
                raise TooManyDays(f"there would be {len(there) + len(missing)} days, more than {DAYS_MAX}")
            for day in missing:
                _add(connection, day)
        self._known |= days

    def let_go(self, connection: Connection[Any], before: int) -> bool:
        """Drop days before *before*; say whether all of them."""
        old = sorted(day for day in _days_there(connection) if day < before)
        for day in old[:DROPPED_AT_ONCE_MAX]:
            with connection.transaction():
                connection.execute(_sql("DROP TABLE IF EXISTS {}", _name(day)))
            self._known.discard(day)
        return len(old) <= DROPPED_AT_ONCE_MAX


def oldest_kept(now_s: float, keep_s: float) -> int | None:
    """Return the first day, since 1970, that is kept, None where all are; *now_s* is Unix time."""
    return None if math.isinf(keep_s) else max(0, math.floor((now_s - keep_s) / DAY_S))


def drop_chunks(connection: Connection[Any], extension: str, before: int) -> None:
    """Have TimescaleDB drop what is before day *before*."""
    connection.execute(
        _sql("SELECT {}.drop_chunks('record'::regclass, older_than => %s::timestamptz)", extension), [_start(before)]
    )


def delete_old(connection: Connection[Any], before: int, today: int) -> bool:
    """Delete events, gaps and details before day *before*, and names unused since then; say whether all of them."""
    oldest = _start(before)
    unused = min(before, today - UNUSED_DAYS_MIN)
    counts = [connection.execute(old, [oldest, DELETED_AT_ONCE_MAX]).rowcount for old in _OLD_OF.values()]
    for of_names in (*_UNUSED.values(), _UNUSED_LAYOUTS):
        connection.execute(of_names, [date(1970, 1, 1) + timedelta(days=unused), DELETED_AT_ONCE_MAX])
    return max(counts) < DELETED_AT_ONCE_MAX


def _days_there(connection: Connection[Any]) -> set[int]:
    found = set()
    for (name,) in connection.execute(_PARTITIONS):
        try:
            day = datetime.strptime(name, "record_%Y%m%d").replace(tzinfo=UTC)
        except ValueError:  # somebody else's
            continue
        found.add(round(day.timestamp()) // DAY_S)
    return found


def _add(connection: Connection[Any], day: int) -> None:
    """Make a partition by itself and then attach it: that keeps nobody from reading or writing the others."""
    name = _name(day)
    connection.execute(_sql("CREATE TABLE {} (LIKE record INCLUDING ALL)", name))
    connection.execute(
        _sql("ALTER TABLE record ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})", name, _start(day), _start(day + 1))
    )


def _name(day: int) -> str:
    return f"record_{_start(day):%Y%m%d}"


def _start(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _sql(text: str, *parts: str | datetime) -> Any:
    """Write a statement with names (texts) and times in it."""
    from psycopg import sql

    return sql.SQL(text).format(
        *(sql.Identifier(part) if isinstance(part, str) else sql.Literal(part) for part in parts)
    )
