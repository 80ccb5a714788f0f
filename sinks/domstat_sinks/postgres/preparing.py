"""The tables made, looked at, or brought to this version, whoever else is doing the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domstat_sinks.postgres import schema
from domstat_sinks.postgres.days import LOCK_KEY
from domstat_sinks.postgres.session import Unsuited

if TYPE_CHECKING:
    from psycopg import Connection

_EXTENSION_SCHEMA = """
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'
"""


def prepare(connection: Connection[Any], schema_name: str, *, may_use_timescaledb: bool) -> str:
    """Have the schema as it must be, and say what ``record`` is: a hypertable, or partitioned by days.

    Raises Unsuited if it is of a newer version, and psycopg's errors.
    """
    from psycopg import sql

    with connection.transaction():
        # Two agents that start at once would both make it.
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK_KEY, schema_name])
        if not _one(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", schema_name):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema_name)))
        version = _version(connection, schema_name)
        if version is None:
            return _make(connection, may_use_timescaledb=may_use_timescaledb)
        _bring_up(connection, version, schema_name)
        return str(_one(connection, "SELECT kind FROM about"))


def extension_schema(connection: Connection[Any]) -> str | None:
    """Return the schema that TimescaleDB's functions are in, None where it is not installed."""
    row = connection.execute(_EXTENSION_SCHEMA).fetchone()
    return row[0] if row else None


def _version(connection: Connection[Any], schema_name: str) -> int | None:
    from psycopg import sql

    there = "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = 'about'"
    if not _one(connection, there, schema_name):
        return None
    # By its whole name: where we may not look into the schema, that is said.
    row = connection.execute(sql.SQL("SELECT version FROM {}").format(sql.Identifier(schema_name, "about"))).fetchone()
    return int(row[0]) if row else None


def _bring_up(connection: Connection[Any], version: int, schema_name: str) -> None:
    if version > schema.SCHEMA_VERSION:
        raise Unsuited(
            f"schema {schema_name} is of version {version}, and this domstat knows {schema.SCHEMA_VERSION}: "
            "use the newer domstat, or another schema"
        )
    for before in range(version, schema.SCHEMA_VERSION):
        connection.execute(schema.UPGRADES[before])
        connection.execute("UPDATE about SET version = %s", [before + 1])


def _make(connection: Connection[Any], *, may_use_timescaledb: bool) -> str:
    extension = _have_extension(connection) if may_use_timescaledb else None
    kind = schema.DAYS if extension is None else schema.HYPERTABLE
    connection.execute(schema.TABLES)
    connection.execute(schema.RECORD + (schema.BY_DAYS if extension is None else ""))
    connection.execute(schema.INDEXES)
    connection.execute(schema.IN_THE_ROW)
    if _has_lz4(connection):
        connection.execute(schema.LZ4)
    if extension is not None:
        _make_hypertable(connection, extension)
    connection.execute(schema.VIEWS)
    connection.execute("INSERT INTO about (version, kind) VALUES (%s, %s)", [schema.SCHEMA_VERSION, kind])
    return kind


def _have_extension(connection: Connection[Any]) -> str | None:
    """Have TimescaleDB, if this database can."""
    import psycopg

    if not _one(connection, "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"):
        return None
    if extension_schema(connection) is None:
        try:
            with connection.transaction():  # which is undone by itself
                connection.execute("CREATE EXTENSION timescaledb SCHEMA public")
        except psycopg.Error:  # not preloaded, not allowed: then without
            return None
    return extension_schema(connection)


def _make_hypertable(connection: Connection[Any], extension: str) -> None:
    from psycopg import sql

    connection.execute(
        sql.SQL(
            "SELECT {}.create_hypertable('record'::regclass, 'time'::name, chunk_time_interval => interval '1 day', "
            "if_not_exists => true, migrate_data => true)"
        ).format(sql.Identifier(extension))
    )


def _has_lz4(connection: Connection[Any]) -> bool:
    known = "SELECT count(*) FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)"
    return bool(_one(connection, known))


def _one(connection: Connection[Any], question: str, *values: Any) -> Any:
    row = connection.execute(question, values).fetchone()
    return row[0] if row else None
