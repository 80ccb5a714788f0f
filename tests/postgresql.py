"""A database of a test's own in a real PostgreSQL, sinks that write to it, and what it holds."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from domstat.model import Value, key_of
from domstat_lab.errors import LabError
from domstat_lab.postgres import SUPERUSER, Postgres, home
from domstat_sinks.postgres import PostgresSink
from domstat_sinks.postgres.settings import PostgresSettings
from told import Told

_numbers = itertools.count()

FOREVER = float("inf")


@contextmanager
def started(where: Path | None = None, settings: Sequence[str] = ("fsync = off",)) -> Iterator[Postgres]:
    """Start a server; it writes through to no disk, since a process that is killed loses nothing of what it wrote."""
    try:
        home()
    except LabError as error:
        pytest.skip(str(error))
    # Not below pytest's own folder, which is its user's alone: PostgreSQL runs as another.
    with tempfile.TemporaryDirectory(prefix="domstat-") as folder:
        Path(folder).chmod(0o755)
        with Postgres(Path(folder) / "server", where=where, settings=settings) as server:
            yield server


class Database:
    """One database, made for a test."""

    def __init__(self, server: Postgres, folder: Path, encoding: str = "UTF8") -> None:
        self.server = server
        self.name = f"test{next(_numbers)}"
        self._folder = folder
        self.opened: list[Told] = []
        server.query(
            f"CREATE DATABASE {self.name} TEMPLATE template0 ENCODING '{encoding}'"
            + ("" if encoding == "UTF8" else " LOCALE 'C'")
        )

    def settings(self, **changed: Any) -> dict[str, Any]:
        usual = {
            "host": "127.0.0.1",
            "port": self.server.port,
            "dbname": self.name,
            "user": SUPERUSER,
            "keep": FOREVER,  # the records of these tests have a time of their own
        }
        return usual | changed

    def make(self, **changed: Any) -> Told:
        """Make a sink that is not open yet."""
        sink = PostgresSink(PostgresSettings(**self.settings(**changed)))
        self.opened.append(Told(sink, self._folder))
        return self.opened[-1]

    def open(self, **changed: Any) -> Told:
        """Make and open a sink."""
        told = self.make(**changed)
        told.open()
        return told

    def open_at(self, now_s: float, **changed: Any) -> Told:
        """Make and open a sink for which it is that Unix time."""
        self.opened.append(
            Told(PostgresSink(PostgresSettings(**self.settings(**changed)), lambda: now_s), self._folder)
        )
        self.opened[-1].open()
        return self.opened[-1]

    def count(self, table: str) -> int:
        ((count,),) = self.rows(f"SELECT count(*) FROM domstat.{table}")
        return int(count)

    def rows(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.server.query(question, *values, database=self.name)

    def values(self, uuid: str | None, view: str = "samples", **where: Any) -> Mapping[str, Value]:
        """Return one subject's values by key, as exactly as they are stored."""
        found = self.rows(
            f"SELECT field, device, {'value_int, text,' if view == 'samples' else 'NULL, NULL,'} value "
            f"FROM domstat.{view} WHERE uuid IS NOT DISTINCT FROM %s" + "".join(f" AND {name} = %s" for name in where),
            uuid,
            *where.values(),
        )
        return {
            key_of(field, device): next(value for value in values if value is not None)
            for field, device, *values in found
        }

    def close(self) -> None:
        for told in self.opened:
            told.sink.close()
        self.server.query(f"DROP DATABASE {self.name} WITH (FORCE)")
