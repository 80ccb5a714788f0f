"""Rows into the database: copied into tables of the connection's own, and from there to where they belong, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from domstat_sinks.postgres.numbers import Numbers
from domstat_sinks.postgres.rows import Row, digest, shown

if TYPE_CHECKING:
    from psycopg import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_NULL = r"\N"


class _Table(Struct, frozen=True):
    """One table: how rows are copied into the connection's own and from there upserted into it."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    condition: str = ""

    @property
    def stage(self) -> str:
        return f"CREATE TEMPORARY TABLE stage_{self.name} (LIKE {self.name}) ON COMMIT DELETE ROWS"

    @property
    def copy(self) -> str:
        return f"COPY stage_{self.name} ({', '.join(self.columns)}) FROM STDIN"

    @property
    def count_stale(self) -> str:
        """Count rows whose names have gone from the database."""
        layouts = "OR NOT EXISTS (SELECT FROM layout WHERE id = s.layout) " if "layout" in self.columns else ""
        return (
            f"SELECT count(*) FROM stage_{self.name} s "  # noqa: S608 - names of our own
            f"WHERE NOT EXISTS (SELECT FROM subject WHERE id = s.subject) {layouts}"
        )

    @property
    def upsert(self) -> str:
        columns = ", ".join(self.columns)
        others = ", ".join(f"{one} = EXCLUDED.{one}" for one in self.columns if one not in self.key)
        return (
            f"INSERT INTO {self.name} ({columns}) SELECT {columns} FROM stage_{self.name} s {self.condition} "  # noqa: S608
            f"ORDER BY {', '.join(self.key)} ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {others}"
        )


RECORD = _Table(
    "record", ("time", "subject", "layout", "domain", "ints", "floats", "texts", "rates"), ("subject", "time")
)
EVENT = _Table("event", ("time", "subject", "key", "domain", "type", "device", "reason"), ("subject", "time", "key"))
GAP = _Table("gap", ("time", "subject", "since", "until", "reason"), ("subject", "time"))
DETAIL = _Table(
    "detail",
    ("time", "subject", "labels", "devices"),
    ("subject", "time"),
    # What is said once an hour without having changed is there already.
    condition="WHERE (labels, devices) IS DISTINCT FROM (SELECT (d.labels, d.devices) FROM detail d "
    "WHERE d.subject = s.subject AND d.time < s.time ORDER BY d.time DESC LIMIT 1)",
)
TABLES = (RECORD, EVENT, GAP, DETAIL)


class NamesGone(Exception):
    """Names that this sink remembers have gone from the database."""


def make_stages(connection: Connection[Any]) -> None:
    """Make the tables that are this connection's own."""
    with connection.transaction():
        for table in TABLES:
            connection.execute(table.stage)


def write(connection: Connection[Any], rows: Sequence[Row], numbers: Numbers) -> None:
    """Store *rows*, whose names *numbers* knows, in one transaction. Raises NamesGone."""
    lines = _lines(rows, numbers)
    with connection.transaction(), connection.cursor() as cursor:
        for table in TABLES:
            if not (of_table := lines[table.name]):
                continue
            with cursor.copy(table.copy) as copy:
                copy.write("".join(of_table))
            cursor.execute(table.count_stale)
            ((stale,),) = cursor.fetchall()
            if stale:
                raise NamesGone
            cursor.execute(table.upsert)


def _lines(rows: Iterable[Row], numbers: Numbers) -> Mapping[str, list[str]]:
    """Write rows in COPY's text format, by table."""
    lines: dict[str, list[str]] = {table.name: [] for table in TABLES}
    for row in rows:
        subject = numbers.subjects[row.subject]
        whose = f"{_time(row.time_ms)}\t{subject}"
        domain = numbers.domains[row.domain] if row.domain is not None else _NULL
        if row.arrays is not None:
            arrays = row.arrays
            texts = _escaped(arrays.texts)
            lines["record"].append(
                f"{whose}\t{numbers.layouts[row.keys]}\t{domain}\t{arrays.ints or _NULL}\t{arrays.floats or _NULL}"
                f"\t{texts}\t{arrays.rates or _NULL}\n"
            )
        if row.event is not None:
            kind, device, reason = row.event
            key = digest(kind, device).hex()
            said = f"{_escaped(kind)}\t{_escaped(device)}\t{_escaped(reason)}"
            lines["event"].append(f"{whose}\t\\\\x{key}\t{domain}\t{said}\n")
        if row.gap is not None:
            since, until, why = row.gap
            lines["gap"].append(f"{whose}\t{_time(since)}\t{_time(until)}\t{_escaped(why)}\n")
        if row.detail is not None:
            labels, devices = row.detail
            lines["detail"].append(f"{whose}\t{_escaped(labels)}\t{_escaped(devices)}\n")
    return lines


def _escaped(text: str | None) -> str:
    return _NULL if text is None else shown(text).translate(_ESCAPES)


@lru_cache(maxsize=1024)
def _time(time_ms: int) -> str:
    """Write a time as PostgreSQL reads it; a tick's records share a few."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat()
