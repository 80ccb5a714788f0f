"""What cannot be rolled up is sealed all the same, and said once; later buckets are as they should be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat_sinks.sqlite import writer
from domstat_sinks.sqlite.keeping import merging, sealing, upkeep
from domstat_sinks.sqlite.rollups import careful, roller
from domstat_sinks.sqlite.rollups.days import Days
from domstat_sinks.sqlite.rollups.rollup import HOUR_MS
from domstat_sinks.sqlite.writer import Writer
from heard import Log

from .conftest import History
from .histories import Tick
from .sealings import make_small
from .tierdata import assert_same, batches, expected, some_history, stored, tail

SLICE = 5
WHERE = ("begin", "step", "finish", "publish")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch, SLICE)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(upkeep, "TIER_SLICES_MS", {1: 1_800_000, 2: sealing.DAY_MS})
    monkeypatch.setattr(merging, "TIER_LEVELS", {1: {}, 2: {}})
    monkeypatch.setattr(writer, "UPKEEP_AGAIN_S", 0.0)


@pytest.fixture
def ticks() -> list[Tick]:
    return some_history(3, length=40, step_ms=100_000)


def write(path: Path, ticks: list[Tick], log: Log) -> None:
    to = Writer(path, log=log)
    for batch in batches([*ticks, *tail(ticks, 2 * SLICE + 1)]):
        to.write([batch])
    while to.settle():
        pass
    to.close()


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


SEALED = "SELECT sum(ticks) FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = 0"


def fail(patch: pytest.MonkeyPatch, where: str, is_due: Callable[[int], bool], error: Exception) -> None:
    """Have a method of a slice's rolling fail, after it has done its work, whenever its call is one that is due."""
    done, calls = getattr(roller.Rolling, where), 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if is_due(calls):
            raise error

    def fails(self: roller.Rolling, *given: object) -> None:
        done(self, *given)
        count()

    def fails_at_last(self: roller.Rolling) -> Iterator[None]:
        yield from done(self)
        count()

    patch.setattr(roller.Rolling, where, fails_at_last if where in {"begin", "finish"} else fails)


@pytest.mark.parametrize("where", WHERE)
def test_a_mistake_in_every_slice_stops_no_sealing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: list[Tick], where: str
) -> None:
    log = Log()
    fail(monkeypatch, where, lambda _: True, ZeroDivisionError("of a mistake"))
    write(tmp_path / "history.db", ticks, log)
    assert ask(tmp_path / "history.db", SEALED)[0][0] >= len(ticks)  # type: ignore[operator]
    assert ask(tmp_path / "history.db", "SELECT count(*) FROM damaged") == [(0,)]
    assert stored(tmp_path / "history.db", 1) == {}
    assert log.events("warning") == ["history_not_rolled_up"]
    facts = log.facts("history_not_rolled_up")
    assert (facts["host"], facts["collect"], facts["error"]) == ("h", "c", "ZeroDivisionError('of a mistake')")
    assert "report" in facts["advice"]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("error", [ValueError("no number"), sqlite3.IntegrityError("NOT NULL constraint failed")])
def test_after_a_mistake_in_one_slice_later_buckets_are_what_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: list[Tick], where: str, error: Exception
) -> None:
    fail(monkeypatch, where, lambda call: call == 1, error)
    path, log = tmp_path / "history.db", Log()
    write(path, ticks, log)
    assert log.events("warning") == ["history_not_rolled_up"]
    later_ms = (max(tick.stamp.time_ms for tick in ticks[:SLICE]) // HOUR_MS + 1) * HOUR_MS
    for tier in (1, 2):
        found, wanted = stored(path, tier), expected(ticks, tier)
        assert found != wanted
        found, wanted = ({at: its for at, its in of.items() if at[0] >= later_ms} for of in (found, wanted))
        assert wanted
        assert_same(found, wanted, with_last=False)
    assert ask(path, "SELECT count(*) FROM damaged") == [(0,)]


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), MemoryError()])
def test_what_may_pass_is_tried_again_and_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: list[Tick], error: Exception
) -> None:
    log = Log()
    with monkeypatch.context() as patch:
        fail(patch, "publish", lambda call: call % 2 == 1, error)
        to = Writer(tmp_path / "history.db", log=log)
        for batch in batches(ticks):
            to.write([batch])
    to.close()
    assert set(log.events("warning")) == {"history_upkeep_failed"}
    write(tmp_path / "history.db", ticks, log)
    assert_same(stored(tmp_path / "history.db", 1), expected(ticks, 1), with_last=False)


def test_days_that_cannot_be_made_are_said_once_and_all_else_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: list[Tick]
) -> None:
    log = Log()
    monkeypatch.setattr(Days, "step", lambda _: 1 / 0)
    write(tmp_path / "history.db", ticks, log)
    assert log.events("warning") == ["history_days_not_made"]
    assert_same(stored(tmp_path / "history.db", 1), expected(ticks, 1), with_last=False)
    assert ask(tmp_path / "history.db", "SELECT count(*) FROM doomed") == [(0,)]


def test_what_was_done_before_a_mistake_is_taken_back(history: History) -> None:
    assert history.sink._writer is not None
    connection, mistakes = history.sink._writer._connection, list[Exception]()
    connection.execute("BEGIN")
    connection.execute("INSERT INTO boot VALUES (7, 'kept')")
    with careful.carefully(connection, mistakes.append):
        connection.execute("INSERT INTO boot VALUES (8, 'taken back')")
        connection.execute("INSERT INTO boot VALUES (7, 'twice')")
    connection.execute("COMMIT")
    assert [type(error) for error in mistakes] == [sqlite3.IntegrityError]
    assert history.ask("SELECT id FROM boot WHERE id IN (7, 8)") == [(7,)]
