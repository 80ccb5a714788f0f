"""The sink: a connection held while it works, and what its errors mean for the agent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from domstat.model import Batch, Record
from domstat.sink import Fatal, Reject, Retry, SinkContext, SinkError
from domstat.text import printable
from domstat_sinks.postgres import days, preparing, schema
from domstat_sinks.postgres.meanings import MENDED_AFTER_S, Meaning, meaning_of
from domstat_sinks.postgres.numbers import Numbers
from domstat_sinks.postgres.rows import Row, Source, rows_of
from domstat_sinks.postgres.session import Unsuited, connect, deadline
from domstat_sinks.postgres.settings import PostgresSettings, is_readable_on_the_way
from domstat_sinks.postgres.writing import NamesGone, make_stages, write
from domstat_sinks.token import TokenError, read_token

if TYPE_CHECKING:
    import psycopg
    from psycopg import Connection

UPKEEP_EVERY_S = 3600.0
"""Seconds between two looks at what is too old; days end once a day."""

UPKEEP_AGAIN_S = 60.0
"""Seconds until the next look where the last one left something."""

WORDS_MAX = 300
"""Characters of PostgreSQL's message that are kept."""


class PostgresSink:
    """Writes to PostgreSQL."""

    Settings: ClassVar[type[Struct]] = PostgresSettings

    any_order: ClassVar[bool] = True
    """Rows carry their time: what is fresh may come before what waited."""

    def __init__(self, settings: PostgresSettings, now_s: Callable[[], float] = time.time) -> None:
        """Keep *settings*; *now_s* gives Unix time in seconds."""
        self._settings = settings
        self._now_s = now_s
        self._numbers = Numbers()
        self._days = days.Days()
        self._connection: Connection[Any] | None = None
        self._context: SinkContext | None = None
        self._kind = schema.DAYS
        self._upkeep_due_s = 0.0
        """When to look next at what is too old, on the monotonic clock."""

    def open(self, context: SinkContext) -> None:
        """Connect, and have the tables. Raises Retry or Fatal."""
        if find_spec("psycopg") is None:
            raise Fatal("psycopg is not installed, which this sink needs: pip install 'domstat[postgres]'")
        self._context = context
        self._check(context)
        self._guarded(self._connect)

    def write(self, batches: Sequence[Batch]) -> None:
        """Store *batches*, durably. Raises Retry, Reject or Fatal."""
        if self._context is None:
            raise Retry("the sink is not open")
        made = rows_of(batches)
        rejected = list(made.rejected)
        if made.rows:
            self._guarded(lambda: rejected.extend(self._store(made.rows)))
        # Only now is it sure that nothing of this comes again, and is said twice.
        for record, reason in made.left_out:
            self._context.reject_part(record, reason)
        self._keep_up(self._context)
        if rejected:
            raise Reject(rejected)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _check(self, context: SinkContext) -> None:
        """Read the password and the DSN once, to say at once what is wrong with them."""
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        try:
            password = read_token(self._settings.password_file, self._settings.password_credential, "password")
        except TokenError as error:
            raise Fatal(str(error)) from None
        try:
            said = conninfo_to_dict(self._settings.dsn or "")
        except psycopg.ProgrammingError:  # whose words quote it
            raise Fatal("dsn is none that libpq understands: see its manual, 34.1.1 Connection Strings") from None
        host = str(said.get("host") or self._settings.host or "")
        sslmode = str(said.get("sslmode") or self._settings.sslmode or "")
        if password is not None and is_readable_on_the_way(host, sslmode):
            context.log.warning(
                "password_unencrypted", host=host, hint='whoever is on the way can read it: set sslmode = "verify-full"'
            )

    def _connect(self) -> Connection[Any]:
        self.close()
        settings = self._settings
        password = read_token(settings.password_file, settings.password_credential, "password")
        connection = connect(settings, password)
        try:
            with deadline(connection, settings.timeout):
                self._kind = preparing.prepare(
                    connection, settings.schema, may_use_timescaledb=settings.timescaledb == "auto"
                )
                make_stages(connection)
        except BaseException:
            connection.close()
            raise
        self._numbers.forget()
        self._days.forget()
        self._connection = connection
        return connection

    def _guarded(self, work: Callable[[], Any]) -> None:
        """Do *work*; whatever goes wrong ends the connection, and is said in the agent's words."""
        import psycopg

        try:
            work()
        except BaseException as error:
            self.close()
            if isinstance(error, psycopg.Error):
                raise _said(error) from error
            if isinstance(error, Unsuited):
                raise Fatal(str(error)) from None
            if isinstance(error, NamesGone):
                raise Retry("names that were in the database have gone from it: they are put there again") from None
            if isinstance(error, TokenError):  # it was there when the sink was opened: it is being replaced, perhaps
                raise Retry(str(error), MENDED_AFTER_S) from None
            raise

    def _store(self, rows: Sequence[tuple[Row, Source]]) -> Iterator[tuple[Batch, Record, str]]:
        """Store *rows*; give those that the database will never take, each with the reason."""
        connection = self._connection or self._connect()
        with deadline(connection, self._settings.timeout):
            self._numbers.learn(connection, (row for row, _ in rows), int(self._now_s()) // days.DAY_S)
        waiting = deque([rows])
        has_looked_again = False
        while waiting:
            part = waiting.popleft()
            reason = self._refusal(connection, [row for row, _ in part])
            if reason and not has_looked_again:  # a day may have gone since: that refuses rows in the same words
                has_looked_again = True
                self._days.forget()
                waiting.append(part)
            elif reason and len(part) == 1:
                yield *part[0][1], reason
            elif reason:
                waiting.extend((part[: len(part) // 2], part[len(part) // 2 :]))

    def _refusal(self, connection: Connection[Any], rows: Sequence[Row]) -> str:
        """Store *rows*, or none of them and say why the database will never take them all."""
        import psycopg

        try:
            with deadline(connection, self._settings.timeout):
                if self._kind == schema.DAYS:
                    self._days.make_room(connection, {row.time_ms // days.DAY_MS for row in rows})
                write(connection, rows, self._numbers)
        except psycopg.Error as error:
            if meaning_of(error.sqlstate) is not Meaning.REFUSED:
                raise
            return _words(error)
        except days.TooManyDays as error:
            return str(error)
        return ""

    def _keep_up(self, context: SinkContext) -> None:
        """Let go what is too old, now and then. What is written is written, whatever becomes of this."""
        import psycopg

        connection, now_s = self._connection, self._now_s()
        before = days.oldest_kept(now_s, self._settings.keep)
        if connection is None or before is None or time.monotonic() < self._upkeep_due_s:
            return
        is_done = False
        try:
            with deadline(connection, self._settings.timeout):
                is_done = self._let_go(connection, before, int(now_s) // days.DAY_S)
        except psycopg.Error as error:
            self.close()
            context.log.warning("retention_delayed", error=_words(error), again_in_s=UPKEEP_AGAIN_S)
        self._upkeep_due_s = time.monotonic() + (UPKEEP_EVERY_S if is_done else UPKEEP_AGAIN_S)

    def _let_go(self, connection: Connection[Any], before: int, today: int) -> bool:
        """Let go some of what is before day *before*; say whether all of it."""
        is_done = days.delete_old(connection, before, today)
        if self._kind == schema.DAYS:
            return self._days.let_go(connection, before) and is_done
        extension = preparing.extension_schema(connection)
        if extension is not None:
            days.drop_chunks(connection, extension, before)
        return is_done


def _said(error: psycopg.Error) -> SinkError:
    meaning = meaning_of(error.sqlstate)
    if meaning is Meaning.STOP:
        return Fatal(f"PostgreSQL refuses: {_words(error)}")
    return Retry(_words(error), None if meaning is Meaning.LATER else MENDED_AFTER_S)


def _words(error: psycopg.Error) -> str:
    """Return PostgreSQL's message on one line, or the client's own."""
    return printable(" ".join((error.diag.message_primary or str(error) or type(error).__name__).split()), WORDS_MAX)
