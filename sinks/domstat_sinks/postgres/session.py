"""One connection to PostgreSQL, with an end to whatever is done over it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domstat_sinks.postgres.settings import PostgresSettings, where_to

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_TIMEOUT_MAX_S = 10
"""Seconds until a server must have let us in: one is much around the world. PostgreSQL's clients count whole ones."""

LOCK_TIMEOUT_S = 5
"""Seconds that a lock may be waited for: whoever alters a table of ours must not make everybody queue behind us."""

SERVER_MIN = 130_000
"""PostgreSQL 13, the oldest that is looked after by its makers or a distribution."""


class Unsuited(Exception):
    """The server or the database is none that can be written to; says what to do."""


def connect(settings: PostgresSettings, password: str | None) -> Connection[Any]:
    """Connect and set up the session. Raises Unsuited or psycopg's errors."""
    import psycopg
    from psycopg import sql

    told: dict[str, Any] = {**where_to(settings), "application_name": "domstat", "client_encoding": "utf8"}
    if password is not None:
        told["password"] = password
    connection: Connection[Any] = psycopg.connect(
        settings.dsn or "",
        autocommit=True,
        connect_timeout=_connect_timeout_s(settings),
        tcp_user_timeout=round(settings.timeout * 1000),
        **told,
    )
    try:
        with deadline(connection, settings.timeout):
            _look_at(connection)
            for name, value in {
                "statement_timeout": f"{round(settings.timeout * 1000)}ms",
                "lock_timeout": f"{LOCK_TIMEOUT_S}s",
                "idle_in_transaction_session_timeout": f"{round(settings.timeout * 1000)}ms",
                "timezone": "UTC",
                "datestyle": "ISO",
                "search_path": sql.Identifier(settings.schema).as_string(connection),
            }.items():
                connection.execute("SELECT set_config(%s, %s, false)", [name, value])
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_timeout_s(settings: PostgresSettings) -> int:
    return max(2, min(CONNECT_TIMEOUT_MAX_S, round(settings.timeout)))


def _look_at(connection: Connection[Any]) -> None:
    version = connection.info.server_version
    if version < SERVER_MIN:
        raise Unsuited(f"the server is PostgreSQL {version // 10_000}: it takes {SERVER_MIN // 10_000} or later")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Unsuited(
            f"the database's encoding is {encoding}, which does not hold every name: "
            "create one WITH ENCODING 'UTF8' TEMPLATE template0"
        )


@contextlib.contextmanager
def deadline(connection: Connection[Any], seconds: float) -> Iterator[None]:
    """Shut the connection down if what is done within takes longer than *seconds*.

    The server's own statement_timeout ends a statement; it does not help against a server that has stopped, or a
    machine that has gone from the network. What waits for it then gets psycopg's OperationalError.
    """
    line = socket.socket(fileno=os.dup(connection.fileno()))
    timer = threading.Timer(seconds, _shut_down, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        line.close()


def _shut_down(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
