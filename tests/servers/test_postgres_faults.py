"""The postgres sink when something is wrong: nothing is lost or doubled, nothing waits for ever, the agent is told."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from psycopg import OperationalError

from domstat.model import Batch
from domstat.settings import Duration
from domstat.sink import Fatal, Retry, SinkError
from domstat_lab import processes
from domstat_lab.postgres import Postgres
from domstat_sinks.postgres import session
from postgresql import Database, started
from records import TIME_MS, UUID, batch, guest_record
from told import Told

WAIT_S = 60.0  # seconds until a test gives up on what should happen at once


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with started() as one:
        yield one


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Iterator[Database]:
    one = Database(server, tmp_path)
    yield one
    one.close()


def tick(number: int) -> Batch:
    return batch(*(guest_record(uuid=f"u{i}", time_ms=TIME_MS + number) for i in range(5)), time_ms=TIME_MS + number)


class Writing:
    """A write that goes on in a thread of its own."""

    def __init__(self, told: Told, *batches: Batch) -> None:
        self._told = told
        self._batches = batches
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._told.sink.write(self._batches)
        except SinkError as error:
            self.error = error

    def end(self) -> Exception | None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.error


def wait_for_lock(server: Postgres) -> None:
    """Return as soon as somebody waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'domstat' AND wait_event_type = 'Lock'"
    processes.wait_until(
        lambda: server.query(waiting) == [(1,)], timeout_s=WAIT_S, otherwise="nobody waited for the lock"
    )


def test_a_server_that_is_killed_in_the_middle_of_a_write_has_it_once_in_the_end(
    server: Postgres, database: Database
) -> None:
    one = database.open()
    one.write(tick(0))
    with suppress(OperationalError), server.connected(database.name) as other, other.transaction():
        other.execute("LOCK TABLE domstat.record IN EXCLUSIVE MODE")
        writing = Writing(one, tick(0), tick(1))
        wait_for_lock(server)
        server.kill()
    assert isinstance(writing.end(), Retry)
    with pytest.raises(Retry):
        one.write(tick(1))
    server.start()
    assert database.count("record") == 5
    for _ in range(2):
        assert one.write(tick(0), tick(1)) == []
    assert database.count("record") == 10
    assert database.values("u3", time="2026-11-22T22:15:04.124Z")


def test_whatever_was_written_before_any_kill_is_there_once(server: Postgres, database: Database) -> None:
    chance = random.Random(7)
    one = database.open()
    done = 0
    for _ in range(4):
        killer = threading.Timer(chance.uniform(0.005, 0.05), server.kill)
        killer.start()
        try:
            while True:
                one.sink.write([tick(done)])
                done += 1
        except Retry:
            killer.join()
        server.start()
        assert database.count("record") in {5 * done, 5 * (done + 1)}, "the last may have come through unheard"
    one.write(*(tick(number) for number in range(done + 1)))
    assert database.count("record") == 5 * (done + 1)
    assert database.rows("SELECT count(*), max(count) FROM (SELECT count(*) FROM domstat.record GROUP BY time) t") == [
        (done + 1, 5)
    ]


def test_a_server_that_hangs_is_given_up_and_gone_on_with(server: Postgres, database: Database) -> None:
    one = database.open(timeout=Duration(0.5))
    one.write(tick(0))
    server.hang()
    try:
        with pytest.raises(Retry):
            one.write(tick(1))
    finally:
        server.resume()
    assert one.write(tick(1)) == []
    assert database.count("record") == 10


def test_a_server_that_is_not_there_is_tried_again(server: Postgres, database: Database) -> None:
    one = database.make()
    server.stop()
    with pytest.raises(Retry):
        one.open()
    with pytest.raises(Retry):
        one.write(tick(0))
    server.start()
    assert one.write(tick(0)) == []
    assert database.count("record") == 5


def test_a_connection_that_was_ended_is_made_anew(database: Database) -> None:
    one = database.open()
    database.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'domstat'")
    with pytest.raises(Retry):
        one.write(tick(0))
    assert one.write(tick(0)) == []


def test_a_lock_is_not_waited_for_for_ever(
    server: Postgres, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_TIMEOUT_S", 0.05)
    one = database.open()
    one.write(tick(0))
    with server.connected(database.name) as other, other.transaction():
        other.execute("LOCK TABLE domstat.record IN EXCLUSIVE MODE")
        with pytest.raises(Retry, match="lock timeout"):
            one.write(tick(1))
    assert one.write(tick(1)) == []


@pytest.mark.parametrize(
    ("state", "error", "after"),
    [
        ("53100", Retry, 30.0),
        ("40001", Retry, None),
        ("40P01", Retry, None),
        ("57014", Retry, None),
        ("42501", Fatal, None),
        ("0A000", Fatal, None),
    ],
)
def test_what_the_server_says_becomes_what_the_agent_is_told(
    database: Database, state: str, error: type[SinkError], after: float | None
) -> None:
    one = database.open()
    one.write(tick(0))
    raise_it(database, state)
    with pytest.raises(error, match="no room") as caught:
        one.write(tick(1))
    assert getattr(caught.value, "after", None) == after
    database.rows("DROP FUNCTION domstat.fail CASCADE")
    assert one.write(tick(1)) == []
    assert database.count("record") == 10


def raise_it(database: Database, state: str) -> None:
    """Have every change of records end in an error."""
    database.rows(
        "CREATE FUNCTION domstat.fail() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{state}'; END $$"
    )
    database.rows("CREATE TRIGGER fail BEFORE INSERT ON domstat.record FOR EACH ROW EXECUTE FUNCTION domstat.fail()")


def test_a_server_that_takes_no_writes_just_now_is_tried_again(database: Database) -> None:
    database.open().write(tick(0))
    database.rows(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    one = database.make()
    with pytest.raises(Retry, match="read-only"):
        one.open()
    database.server.query(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
    assert one.write(tick(1)) == []


class Role:
    """Somebody who may log in with a password, and no more."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.name = f"{database.name}_user"
        self.file = folder / "password"
        self.file.touch(mode=0o600)
        database.rows(f"CREATE ROLE {self.name} LOGIN PASSWORD 'right'")

    def settings(self, password: str) -> dict[str, Any]:
        self.file.write_text(password + "\n")
        return {"user": self.name, "password_file": str(self.file)}


@pytest.fixture
def role(database: Database, tmp_path: Path) -> Iterator[Role]:
    one = Role(database, tmp_path)
    yield one
    database.rows(f"DROP OWNED BY {one.name}; DROP ROLE {one.name}")


def test_a_wrong_password_is_read_again_until_it_is_right(database: Database, role: Role) -> None:
    database.rows(f"GRANT CREATE ON DATABASE {database.name} TO {role.name}")
    one = database.make(**role.settings("wrong"))
    with pytest.raises(Retry, match="authentication failed") as caught:
        one.open()
    assert "wrong" not in str(caught.value)
    role.settings("right")
    assert one.write(tick(0)) == []
    role.file.unlink()
    one.sink.close()
    with pytest.raises(Retry, match="cannot be read"):
        one.write(tick(1))


def test_who_may_not_make_a_schema_or_write_into_it_is_told_what_is_denied(database: Database, role: Role) -> None:
    settings = role.settings("right")
    with pytest.raises(Fatal, match="permission denied for database"):
        database.open(**settings)
    database.open().write(tick(0))
    with pytest.raises(Fatal, match="permission denied for"):
        database.open(**settings)


def test_a_database_that_is_not_there_yet_is_tried_again(database: Database) -> None:
    with pytest.raises(Retry, match='"nowhere" does not exist'):
        database.open(dbname="nowhere")


def test_two_agents_that_start_at_once_share_an_empty_database(database: Database) -> None:
    first, second = database.make(), database.make()
    together = threading.Barrier(2)
    failed: list[BaseException] = []

    def run(told: Told, offset: int) -> None:
        try:
            together.wait(WAIT_S)
            told.open()
            for number in range(10):
                told.write(batch(*(guest_record(uuid=f"u{i}", time_ms=TIME_MS + offset + number) for i in range(9))))
        except BaseException as error:  # noqa: BLE001 - it is shown below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(told, at)) for told, at in ((first, 0), (second, 5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert failed == []
    assert (database.count("record"), database.count("subject")) == (15 * 9, 9)


def test_closing_twice_and_opening_again_is_no_fault(database: Database) -> None:
    one = database.open()
    one.sink.close()
    one.sink.close()
    one.open()
    assert one.write(batch(guest_record())) == []
    assert database.values(UUID)
