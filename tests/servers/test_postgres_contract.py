"""The postgres sink keeps the contract, at a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from domstat.model import Value, key_of
from domstat.testing import Keeps, SinkContract, Store, Stored, subject
from domstat_lab.postgres import Postgres
from domstat_sinks.postgres import PostgresSink
from postgresql import Database, started

TIME_MS = "(extract(epoch FROM time) * 1000)::bigint"

SAMPLES = f"""
SELECT {TIME_MS}, host, collect, kind, uuid, domain, pool, field, device, value, value_int, text, rate
FROM domstat.samples
"""
EVENTS = f"SELECT {TIME_MS}, host, collect, uuid, domain, type, device, reason FROM domstat.events"
GAPS = f"SELECT {TIME_MS}, host, collect, uuid, since, until, reason FROM domstat.gaps"
DETAILS = """
SELECT (extract(epoch FROM d.time) * 1000)::bigint, s.host, s.collect, s.uuid, d.labels
FROM domstat.detail d JOIN domstat.subject s ON s.id = d.subject WHERE d.labels IS NOT NULL
"""


class Tables:
    """A database that is empty, and what is in it later."""

    sink: ClassVar[type[Any]] = PostgresSink

    def __init__(self, database: Database) -> None:
        self._database = database
        self.settings = {**database.settings(), "keep": "forever", "timeout": "1s"}

    def read(self) -> Iterator[Stored]:
        if self._database.rows("SELECT to_regclass('domstat.record')") == [(None,)]:
            return
        for time_ms, host, collect, kind, uuid, domain, pool, *of_value in self._database.rows(SAMPLES):
            yield Stored(
                host=host,
                kind=kind,
                subject=subject(uuid, pool),
                time_ms=time_ms,
                collect=collect,
                name=domain,
                values=values(*of_value),
            )
        yield from self._events()
        yield from self._gaps()
        for time_ms, host, collect, uuid, labels in self._database.rows(DETAILS):
            said = {f"label.{name}": value for name, value in labels.items()}
            yield Stored(host=host, kind="guest", subject=uuid, time_ms=time_ms, collect=collect, values=said)

    def _events(self) -> Iterator[Stored]:
        for time_ms, host, collect, uuid, domain, kind, device, reason in self._database.rows(EVENTS):
            said = {"event.type": kind, "event.device": device, "event.reason": reason}
            yield Stored(
                host=host,
                kind="event",
                subject=subject(uuid, event=kind, device=device),
                time_ms=time_ms,
                collect=collect,
                name=domain,
                values={name: value for name, value in said.items() if value is not None},
            )

    def _gaps(self) -> Iterator[Stored]:
        for time_ms, host, collect, uuid, since, until, reason in self._database.rows(GAPS):
            bounds = {name: round(at.timestamp() * 1000) for name, at in (("from_ms", since), ("to_ms", until))}
            yield Stored(
                host=host,
                kind="gap",
                subject=subject(uuid),
                time_ms=time_ms,
                collect=collect,
                values={f"gap.{name}": value for name, value in (bounds | {"reason": reason}).items()},
            )

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have nobody let in, and throw out who is."""
        server, name = self._database.server, self._database.name
        server.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
        try:
            yield
        finally:
            server.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Have the server stand still for longer than anybody waits."""
        self._database.server.hang()
        try:
            yield
        finally:
            self._database.server.resume()

    @contextmanager
    def refusing(self, uuid: str) -> Iterator[None]:
        """Have a trigger of somebody's own that wants nothing of one guest."""
        self._database.rows(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF EXISTS (SELECT FROM domstat.subject WHERE id = NEW.subject AND uuid = TG_ARGV[0]) THEN "
            "RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$"
        )
        quoted = uuid.replace("'", "''")
        self._database.rows(
            f"CREATE TRIGGER refuse BEFORE INSERT ON domstat.record FOR EACH ROW EXECUTE FUNCTION refuse('{quoted}')"
        )
        try:
            yield
        finally:
            self._database.rows("DROP FUNCTION refuse CASCADE")

    def hopeless(self) -> Mapping[str, Any]:
        return {**self.settings, "password_file": "/nowhere/password"}


def values(
    field: str,
    device: str | None,
    value: float | None,
    whole: int | None,
    text: str | None,
    rate: float | None,
) -> dict[str, Value]:
    """Read a row's values, by key."""
    if field == "partial":
        said: dict[str, Value] = {"partial.missing": text or ""}
        return said if value is None else {**said, "partial.age_s": value}
    if text is not None and value is not None:  # a whole number of more than 63 bits
        given: Value = int(text)
    else:
        given = next(one for one in (whole, text, value) if one is not None)
    found: dict[str, Value] = {key_of(field, device): given}
    return found if rate is None else {**found, key_of(f"{field}.rate", device): rate}


def text_of(text: str) -> str:
    """Write a text as PostgreSQL holds it."""
    return text.replace("\0", "\u2400")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with started() as one:
        yield one


class TestPostgresSink(SinkContract):
    keeps = Keeps(text=text_of)

    @pytest.fixture
    def store(self, server: Postgres, tmp_path: Path) -> Iterator[Store]:
        database = Database(server, tmp_path)
        yield Tables(database)
        database.close()
