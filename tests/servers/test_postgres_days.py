"""The postgres sink over time: days and what is too old of them, earlier and later versions, TimescaleDB."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domstat.model import Event, Gap, Kind, Record
from domstat.sink import Fatal
from domstat_lab.postgres import Postgres, copied, extensions
from domstat_sinks.postgres import days, schema, session
from postgresql import Database, started
from records import TIME_MS, batch, guest_record
from told import Told

DAY_S = 86_400
NOW_S = TIME_MS / 1000

CONTROL = "default_version = '2.0'\nrelocatable = true\n"
FAKE = """
CREATE TABLE timescaledb_calls (number serial, said text);
CREATE FUNCTION create_hypertable(relation regclass, time_column_name name,
    chunk_time_interval interval DEFAULT NULL, if_not_exists boolean DEFAULT false, migrate_data boolean DEFAULT false)
    RETURNS boolean LANGUAGE sql BEGIN ATOMIC
    INSERT INTO timescaledb_calls (said)
    VALUES (format('create_hypertable %s %s %s', relation, time_column_name, chunk_time_interval));
    SELECT true; END;
CREATE FUNCTION drop_chunks(relation regclass, older_than timestamptz DEFAULT NULL)
    RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC
    INSERT INTO timescaledb_calls (said) VALUES (format('drop_chunks %s %s', relation, older_than::date));
    SELECT NULL::text WHERE false; END;
"""
"""What the sink calls of TimescaleDB, which Debian does not have: it remembers what it was asked."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with started() as one:
        yield one


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Iterator[Database]:
    one = Database(server, tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def timescale() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="domstat-") as folder:
        Path(folder).chmod(0o755)
        where = copied(Path(folder))
        (extensions(where) / "timescaledb.control").write_text(CONTROL)
        (extensions(where) / "timescaledb--2.0.sql").write_text(FAKE)
        with started(where) as one:
            yield one


@pytest.fixture
def with_timescale(timescale: Postgres, tmp_path: Path) -> Iterator[Database]:
    one = Database(timescale, tmp_path)
    yield one
    one.close()


def on(*ago: int) -> Any:
    """Make a batch of one record on each day that many days ago."""
    times = [TIME_MS - days_ago * days.DAY_MS for days_ago in ago]
    return batch(*(guest_record(time_ms=time_ms, first=True) for time_ms in times))


def partitions(database: Database) -> list[str]:
    return sorted(
        name
        for (name,) in database.rows(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'domstat.record'::regclass"
        )
    )


def name_of(ago: int) -> str:
    return f"domstat.record_{datetime.fromtimestamp(NOW_S, UTC) - timedelta(days=ago):%Y%m%d}"


def have_upkeep(told: Told) -> None:
    """Have the next write look at what is too old."""
    sink: Any = told.sink
    sink._upkeep_due_s = 0.0


def test_every_day_of_utc_has_its_partition(database: Database) -> None:
    one = database.open()
    midnight_ms = TIME_MS // days.DAY_MS * days.DAY_MS
    one.write(batch(*(guest_record(time_ms=midnight_ms + at) for at in (-1, 0, days.DAY_MS - 1))))
    one.write(on(0, 3))
    assert partitions(database) == [name_of(3), name_of(1), name_of(0)]
    assert database.rows(f"SELECT count(*) FROM {name_of(0)}") == [(3,)]


def test_arrays_stay_in_their_rows_in_every_partition(database: Database) -> None:
    database.open().write(on(0))
    storage = database.rows(
        "SELECT DISTINCT attstorage FROM pg_attribute WHERE attname IN ('ints', 'rates') "
        f"AND attrelid IN ('{name_of(0)}'::regclass, 'domstat.record'::regclass)"
    )
    assert storage == [("m",)], "which is MAIN"


def test_days_that_are_too_old_go_as_a_whole_and_no_others(database: Database) -> None:
    one = database.open_at(NOW_S, keep=10.0 * DAY_S)
    one.write(on(0, 9, 10, 11, 12))
    assert partitions(database) == [name_of(10), name_of(9), name_of(0)]


def test_nothing_goes_where_all_is_kept(database: Database) -> None:
    one = database.open_at(NOW_S)
    one.write(on(0, 3000))
    have_upkeep(one)
    one.write(on(0))
    assert len(partitions(database)) == 2


def test_one_look_lets_go_of_no_more_than_a_few_days(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "DROPPED_AT_ONCE_MAX", 2)
    one = database.open_at(NOW_S, keep=1.0 * DAY_S)
    one.write(on(0, 5, 6, 7))
    assert partitions(database) == [name_of(5), name_of(0)]
    have_upkeep(one)
    one.write(on(0))
    assert partitions(database) == [name_of(0)]


def test_events_gaps_and_labels_go_with_their_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "DELETED_AT_ONCE_MAX", 2)
    one = database.open_at(NOW_S, keep=10.0 * DAY_S)
    records = []
    for ago in (0, 20, 21, 22):
        at = TIME_MS - ago * days.DAY_MS
        about: dict[str, Any] = {"host": "h", "collect": "c", "time_ms": at}
        records += [
            Record(kind=Kind.EVENT, event=Event("started"), **about),
            Record(kind=Kind.GAP, gap=Gap(at - 1, at, "why"), **about),
            guest_record(time_ms=at, labels={"a": str(ago)}),
        ]
    one.write(batch(*records))
    assert [database.count(table) for table in ("event", "gap", "detail")] == [2, 2, 2]
    have_upkeep(one)
    one.write(on(0))
    assert [database.count(table) for table in ("event", "gap", "detail")] == [1, 1, 1]


def test_names_that_nobody_uses_go_and_those_in_use_stay(database: Database) -> None:
    one = database.open_at(NOW_S, keep=10.0 * DAY_S)
    one.write(on(0))
    one.write(batch(guest_record("gone", uuid="gone", params={"cpu.gone": 1}, derived={}, first=True)))
    for table, where in {"subject": "uuid = 'gone'", "domain": "name = 'gone'", "layout": "id = 2"}.items():
        database.rows(f"UPDATE domstat.{table} SET seen = '2020-01-01' WHERE {where}")
    have_upkeep(one)
    one.write(on(0))
    assert [database.count(table) for table in ("subject", "domain", "layout")] == [1, 1, 1]
    assert database.rows("SELECT DISTINCT layout FROM domstat.layout_key") == [(1,)]


def test_names_are_looked_at_once_a_day(database: Database) -> None:
    now = [NOW_S]
    one = database.open_at(NOW_S)
    sink: Any = one.sink
    sink._now_s = lambda: now[0]
    one.write(on(0))
    database.rows("UPDATE domstat.subject SET seen = '2020-01-01'")
    one.write(on(0))
    assert database.rows("SELECT seen < current_date FROM domstat.subject") == [(True,)]
    now[0] += DAY_S
    one.write(on(0))
    assert database.rows("SELECT seen = current_date FROM domstat.subject") == [(True,)]


def test_a_question_that_takes_long_delays_retention_and_no_write(
    server: Postgres, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_TIMEOUT_S", 0.05)
    one = database.open_at(NOW_S, keep=10.0 * DAY_S)
    one.write(on(0))
    one.write(on(20))
    have_upkeep(one)
    with server.connected(database.name) as other, other.transaction():
        other.execute("SELECT count(*) FROM domstat.record")
        assert one.write(on(1)) == []
    assert one.log.events("warning") == ["retention_delayed"]
    assert partitions(database) == [name_of(20), name_of(1), name_of(0)]
    have_upkeep(one)
    one.write(on(0))
    assert partitions(database) == [name_of(1), name_of(0)]


def test_a_day_that_somebody_else_has_dropped_is_made_again(database: Database) -> None:
    one = database.open()
    one.write(on(5))
    database.rows(f"DROP TABLE {name_of(5)}")
    assert one.write(on(5)) == []
    assert database.count("record") == 1


def test_days_beyond_all_reason_are_rejected_and_the_rest_is_stored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "DAYS_MAX", 2)
    one = database.open_at(NOW_S)
    one.write(on(0, 1))
    ((_, reason),) = one.write(on(0, 5))
    assert "3 days, more than 2" in reason
    assert partitions(database) == [name_of(1), name_of(0)]


def test_a_schema_of_a_newer_version_is_refused_untouched(database: Database) -> None:
    database.open()
    database.rows(f"UPDATE domstat.about SET version = {schema.SCHEMA_VERSION + 1}")
    with pytest.raises(Fatal, match="use the newer domstat, or another schema"):
        database.open()
    assert database.count("record") == 0


def test_a_schema_of_an_older_version_is_brought_up_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.open().write(on(0))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 2)
    monkeypatch.setattr(schema, "UPGRADES", {1: "CREATE TABLE two ()", 2: "ALTER TABLE two ADD three int"})
    for _ in range(2):
        assert database.open().write(on(0)) == []
    assert database.rows("SELECT version FROM domstat.about") == [(3,)]
    assert database.count("two") == 0


def test_an_upgrade_that_fails_changes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.open().write(on(0))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    monkeypatch.setattr(schema, "UPGRADES", {1: "CREATE TABLE two (); SELECT 1/0"})
    with pytest.raises(Exception, match="division by zero"):
        database.open()
    assert database.rows("SELECT version, to_regclass('domstat.two') FROM domstat.about") == [(1, None)]


def test_timescaledb_is_had_and_asked_for_a_hypertable_once(with_timescale: Database) -> None:
    for _ in range(2):
        assert with_timescale.open().write(on(0, 5)) == []
    calls = with_timescale.rows("SELECT said FROM timescaledb_calls")
    assert calls == [("create_hypertable record time 1 day",)]
    assert partitions(with_timescale) == []
    assert with_timescale.count("record") == 2


def test_timescaledb_that_is_in_another_schema_is_found_there(with_timescale: Database) -> None:
    with_timescale.rows('CREATE SCHEMA "odd one"; CREATE EXTENSION timescaledb SCHEMA "odd one"')
    with_timescale.rows('ALTER ROLE postgres SET search_path TO "odd one", public')
    with_timescale.open()
    with_timescale.rows("ALTER ROLE postgres RESET search_path")
    assert with_timescale.rows("SELECT kind FROM domstat.about") == [("hypertable",)]


def test_timescaledb_drops_what_is_too_old(with_timescale: Database) -> None:
    with_timescale.open_at(NOW_S, keep=10.0 * DAY_S).write(on(0))
    oldest = datetime.fromtimestamp(NOW_S, UTC).date() - timedelta(days=10)
    assert with_timescale.rows("SELECT said FROM timescaledb_calls ORDER BY number") == [
        ("create_hypertable record time 1 day",),
        (f"drop_chunks record {oldest}",),
    ]


def test_timescaledb_is_left_alone_where_that_is_wanted(with_timescale: Database) -> None:
    with_timescale.open(timescaledb="off").write(on(0))
    assert partitions(with_timescale) == [name_of(0)]
    assert with_timescale.rows("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == [(0,)]


def test_a_schema_stays_what_it_was_made_as(with_timescale: Database) -> None:
    with_timescale.open(timescaledb="off").write(on(0))
    with_timescale.open(timescaledb="auto").write(on(1))
    assert partitions(with_timescale) == [name_of(1), name_of(0)]


def test_timescaledb_that_cannot_be_had_is_done_without(with_timescale: Database) -> None:
    with_timescale.rows("CREATE TABLE public.timescaledb_calls ()")  # so that creating it fails, as without preloading
    with_timescale.open().write(on(0))
    assert partitions(with_timescale) == [name_of(0)]
