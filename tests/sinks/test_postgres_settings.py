"""The postgres sink's settings: what is refused before anything is touched, and what libpq is told."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from domstat.settings import SettingsError, decode
from domstat_sinks.postgres.settings import PostgresSettings, is_readable_on_the_way, where_to


def refusal(**raw: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        decode(raw, PostgresSettings)
    return str(caught.value)


def test_defaults_are_a_server_here() -> None:
    assert where_to(decode({}, PostgresSettings)) == {"host": "localhost", "dbname": "domstat"}


def test_what_is_set_is_told_in_libpqs_words() -> None:
    raw = {"host": "db", "port": 5433, "dbname": "d", "user": "u", "sslmode": "verify-full"}
    assert where_to(decode(raw, PostgresSettings)) == {**raw, "port": "5433"}


def test_a_dsn_stands_for_itself() -> None:
    assert where_to(decode({"dsn": "host=db"}, PostgresSettings)) == {}


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db password=geheim",
        "host=db PASSWORD = geheim",
        "postgresql://me:geheim@db/domstat",
        "postgres://me:geheim%40@db1:5432,db2/domstat",
        "postgresql://db/domstat?user=me&password=geheim",
        "postgresql://db/domstat?pass%77ord=geheim",
        "host=db sslpassword=geheim",
    ],
)
def test_a_password_in_a_dsn_is_refused_and_not_shown(dsn: str) -> None:
    text = refusal(dsn=dsn)
    assert "dsn has a password in it: put it into password_file" in text
    assert "geheim" not in text


@pytest.mark.parametrize(
    "dsn", ["postgresql://me@db1:5432,db2:5433/domstat", "service=domstat", "postgresql:///d?host=/run/postgresql"]
)
def test_a_dsn_without_one_is_taken(dsn: str) -> None:
    assert decode({"dsn": dsn}, PostgresSettings).dsn == dsn


def test_what_contradicts_itself_is_refused() -> None:
    assert "dsn and host, port are both given" in refusal(dsn="dbname=d", host="h", port=1)
    assert "only one password" in refusal(password_file="a", password_credential="b")
    assert "pg_" in refusal(schema="pg_mine")
    assert "schema" in refusal(schema="x" * 64)
    assert "port" in refusal(port=0)


@pytest.mark.parametrize(
    ("host", "sslmode", "is_readable"),
    [
        ("localhost", "", False),
        ("/run/postgresql", "", False),
        ("127.0.0.1,::1", "disable", False),
        ("db.example", "", True),
        ("localhost,db.example", "prefer", True),
        ("db.example", "require", False),
        ("db.example", "verify-full", False),
    ],
)
def test_a_password_on_its_way_is_readable_without_tls_to_elsewhere(host: str, sslmode: str, is_readable: bool) -> None:
    assert is_readable_on_the_way(host, sslmode) is is_readable


def test_the_sink_is_loaded_without_psycopg() -> None:
    code = "import sys; import domstat_sinks.postgres; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
