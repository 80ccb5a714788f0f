"""Upkeep: whatever step it is at, and wherever it fails, everything is there once."""

from __future__ import annotations

import contextlib
import functools
import queue
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from domstat.model import Batch
from domstat_sinks.sqlite import connect, writer
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.keeping.sealing import DAY_MS, Sealing
from domstat_sinks.sqlite.keeping.turns import Turns

from .conftest import History
from .sealings import (
    again,
    ask,
    at_ms,
    count,
    exported,
    guest,
    levels,
    lives,
    make_small,
    numbers,
    query,
    rest,
    said,
    steady,
    step,
    steps,
    tick,
    times,
    with_params,
    write_alone,
    write_each,
    write_plain,
    writer_of,
)

LENGTH = 23
"""Batches in which all happens: slices of five, merged at ten and at twenty."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


class Expected:
    """What a history is to say when so many of its batches are written."""

    def __init__(self, plain: History, batches: list[Batch]) -> None:
        write_plain(plain, batches)
        self._batches = batches
        self._samples, self._rates, self._exported = said(plain)

    def judge(self, reader: sqlite3.Connection, written: int) -> None:
        until_ms = self._batches[written - 1].stamp.time_ms
        for view, rows in (("samples", self._samples), ("rates", self._rates)):
            assert ask(reader, view) == [row for row in rows if int(str(row[0])) <= until_ms]
        assert list(map(repr, exported(reader))) == self._exported[:written]


def test_at_every_step_a_reader_sees_every_tick_once(make_history: Callable[[], History]) -> None:
    batches = lives(1, 2, LENGTH)
    expected = Expected(make_history(), batches)
    history = make_history()
    lasting = history.reader()
    done = 0
    for written, one in enumerate(batches, 1):
        write_alone(history, one)
        with closing(connect(history.path)) as fresh:
            expected.judge(fresh, written)
        for _ in steps(history):
            done += 1
            expected.judge(lasting, written)
    assert done > 50
    assert max(levels(history)) == merging.LAST


def test_a_reader_in_a_transaction_sees_what_it_saw_whatever_upkeep_does(history: History) -> None:
    write_each(history, numbers(0, 12))
    write_alone(history, *numbers(12, 23))
    reader = history.reader()
    reader.execute("BEGIN")
    before = reader.execute("SELECT count(*) FROM samples").fetchall(), ask(reader, "rates")
    rest(history)
    write_each(history, numbers(23, 31))
    assert merging.LAST in levels(history)
    reader.execute("PRAGMA shrink_memory")
    assert (reader.execute("SELECT count(*) FROM samples").fetchall(), ask(reader, "rates")) == before
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM samples").fetchall() == [(31 * 4,)]


class Faulty(sqlite3.Connection):
    """A connection on which one statement fails, counted from when it is told so."""

    left = 0
    error: Exception = sqlite3.OperationalError("disk I/O error")

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._count()
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._count()
        return super().executemany(*arguments)

    def _count(self) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                raise self.error


@pytest.fixture
def faulty(make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch) -> History:
    history = make_history()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Faulty))
        again(history)
    return history


def connection_of(history: History) -> Faulty:
    connection = writer_of(history)._connection
    assert isinstance(connection, Faulty)
    return connection


APART = 3
"""Statements from one that fails to the next; all of them fail over a few ticks, which do much the same."""


def failures(history: History, first: int) -> Iterator[int]:
    """Have statements of what is due fail, the *first*, then later ones; at last do what is due."""
    for number in range(first, 2000, APART):
        connection = connection_of(history)
        connection.left = number
        connection.error = MemoryError() if number % 7 == 0 else sqlite3.OperationalError("disk I/O error")
        try:
            rest(history)
        except (MemoryError, sqlite3.OperationalError):
            assert not connection.in_transaction
            yield number
        else:
            connection.left = 0
            return


def test_whichever_statement_fails_nothing_is_lost_or_doubled_and_the_next_run_goes_on(
    make_history: Callable[[], History], faulty: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TICKS_MAX", 5)  # so that a slice is due again after each failure
    batches = lives(5, 1, 33)
    expected = Expected(make_history(), batches)
    failed = 0
    for written, one in enumerate(batches, 1):
        write_alone(faulty, one)
        for number in failures(faulty, 1 + written % APART):
            failed += 1
            if number % 11 == 0:
                with closing(connect(faulty.path)) as fresh:
                    expected.judge(fresh, written)
        with closing(connect(faulty.path)) as fresh:
            expected.judge(fresh, written)
    assert failed > 100
    assert levels(faulty)[0] == merging.LAST
    assert count(faulty, "SELECT count(*) FROM doomed") == 0
    chunks = {number >> 26 for (number,) in query(faulty, "SELECT id FROM chunk")}
    assert chunks == {segment for (segment,) in query(faulty, "SELECT id FROM segment")}


def test_ticks_that_come_between_failures_are_sealed_with_the_others(
    make_history: Callable[[], History], faulty: History
) -> None:
    batches = lives(6, 2, 41)
    plain = make_history()
    write_plain(plain, batches)
    for number, one in enumerate(batches[:-1]):
        write_alone(faulty, one)
        connection_of(faulty).left = 1 + number % 17
        with contextlib.suppress(sqlite3.OperationalError):
            step(faulty)
        connection_of(faulty).left = 0
    write_each(faulty, batches[-1:])
    with closing(connect(faulty.path)) as fresh:
        assert list(map(repr, exported(fresh))) == said(plain)[2]
    assert sum(ticks for (ticks,) in query(faulty, "SELECT ticks FROM segment")) >= 35


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), RuntimeError("a mistake")])
def test_a_failure_is_said_costs_no_tick_and_is_tried_again_after_a_while(
    history: History, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tried: list[int] = []

    def fail(_: upkeep.Upkeep) -> None:
        tried.append(1)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(upkeep.Upkeep, "_step", fail)
        history.write(steady(0))
        history.write(steady(1))
        assert history.log.events("warning") == ["history_upkeep_failed"]
        assert history.log.facts("history_upkeep_failed")["error"] == str(error)
        assert len(tried) == 1
        assert f"not kept in shape: {type(error).__name__}: {error}" in history.sink.health()
        patch.setattr(writer_of(history), "_upkeep_after", 0.0)
        history.write(steady(2))
        assert len(tried) == 2
    assert times(exported(history.reader())) == [at_ms(number) for number in range(3)]
    writer_of(history)._upkeep_after = 0.0
    write_each(history, numbers(3, 23))
    assert max(levels(history)) == merging.LAST
    assert history.sink.health() == ""


def test_a_disk_that_is_full_stops_sealing_and_no_tick_until_there_is_room(history: History) -> None:
    connection = writer_of(history)._connection
    noise = random.Random(1)
    failed = 0
    for number in range(20):
        counted = {f"vcpu.time[{vcpu}]": noise.getrandbits(40) for vcpu in range(300)}
        write_alone(history, tick(number, with_params(guest(), counted)))
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        try:
            rest(history)
        except sqlite3.OperationalError as error:
            failed += "full" in str(error)
        connection.execute("PRAGMA max_page_count = 1000000")
    assert failed > 0
    write_each(history, numbers(20, 46))
    assert times(exported(history.reader())) == [at_ms(number) for number in range(46)]
    assert count(history, "SELECT count(*) FROM doomed") == 0
    assert max(levels(history)) == merging.LAST


# What is due.


def due(history: History, stream: int = 1) -> int:
    return writer_of(history)._upkeep._streams[stream].due


def test_a_slice_ends_when_it_has_enough_ticks_and_a_roll_ups_span_is_over(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SLICE_MS", 300_000)
    ends = []
    for number in range(100):
        write_alone(history, steady(number))
        if due(history):
            ends.append(at_ms(number))
            rest(history)
    assert ends == [at_ms(30), at_ms(60), at_ms(90)]


def test_a_slice_ends_with_the_day_however_few_ticks_it_has(history: History) -> None:
    day = at_ms(0) // DAY_MS * DAY_MS + DAY_MS
    write_each(history, (tick(i, guest(cpu_time=i), time_ms=day + i) for i in (-2, -1, 0, 1)))
    assert query(history, "SELECT start_ms, end_ms, ticks FROM segment") == [(day - 2, day - 1, 2)]


def test_a_slice_ends_when_it_is_full_whatever_the_time(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SLICE_MS", DAY_MS)
    monkeypatch.setattr(upkeep, "TICKS_MAX", 7)
    write_each(history, numbers(0, 8))
    assert query(history, "SELECT ticks FROM segment") == [(7,)]


def test_a_backlog_is_sealed_at_once_until_little_of_it_waits(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TICKS_MAX", 5)
    monkeypatch.setattr(upkeep, "STEP_S", 0.0)
    history.write(*numbers(0, 60))
    waiting = count(history, "SELECT count(*) FROM head WHERE stream = 1 AND id > (SELECT sealed FROM stream)")
    assert waiting <= upkeep.BEHIND * 5 + 5
    rest(history)
    assert times(exported(history.reader())) == [at_ms(number) for number in range(60)]


def test_streams_are_sealed_each_by_itself(history: History) -> None:
    for number in range(30):
        write_each(history, [steady(number)])
        if number % 3 == 0:
            write_each(history, [steady(number, collect="slow")])
    found = query(history, "SELECT stream, sum(ticks), min(first_id) FROM segment GROUP BY stream ORDER BY stream")
    assert found == [(1, 25, 1), (2, 5, 2)]
    assert len(exported(history.reader())) == 40


def test_whoever_opens_a_file_seals_what_has_piled_up(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TICKS_MAX", 12)
    write_plain(history, numbers(0, 23))
    assert levels(history) == []
    again(history)
    write_each(history, [steady(23)])
    assert sum(ticks for (ticks,) in query(history, "SELECT ticks FROM segment")) == 23
    assert len(exported(history.reader())) == 24


def test_a_row_that_is_written_anew_while_it_is_being_sealed_is_sealed_as_it_is_then(history: History) -> None:
    write_alone(history, *numbers(0, 6))
    step(history)
    assert isinstance(writer_of(history)._upkeep._work, Sealing)
    write_alone(history, tick(3, guest("a", cpu_time=777, state_state=1)))
    assert writer_of(history)._upkeep._work is None
    rest(history)
    assert levels(history) == [0]
    found = history.ask("SELECT time_ms FROM samples WHERE value = 777")
    assert found == [(at_ms(3),)]
    assert count(history, "SELECT count(*) FROM doomed") == 0


def test_a_boot_that_is_told_while_its_tick_is_being_sealed_is_sealed_with_it(history: History) -> None:
    write_alone(history, *(tick(number, guest(cpu_time=number), boot="") for number in range(6)))
    step(history)
    write_alone(history, *(tick(number, guest(cpu_time=number)) for number in range(6)))
    rest(history)
    assert levels(history) == [0]
    assert {one.stamp.boot_id for one in exported(history.reader())} == {"boot"}


def test_the_same_again_does_not_begin_sealing_anew(history: History) -> None:
    write_alone(history, *numbers(0, 6))
    step(history)
    work = writer_of(history)._upkeep._work
    write_alone(history, *numbers(2, 6))
    assert writer_of(history)._upkeep._work is work is not None


def test_a_rolled_back_write_begins_the_work_anew(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    write_alone(history, *numbers(0, 6))
    step(history)
    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "_add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            history.write(steady(6))
    assert writer_of(history)._upkeep._work is None
    write_each(history, numbers(6, 23))
    assert times(exported(history.reader())) == [at_ms(number) for number in range(23)]
    assert count(history, "SELECT count(*) FROM doomed") == 0


def test_what_no_chunk_can_hold_is_given_up_and_the_rest_goes_on(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise ValueError("too much")

    write_alone(history, *numbers(0, 6))
    with monkeypatch.context() as patch:
        patch.setattr(Sealing, "step", refuse)
        rest(history)
    assert count(history, "SELECT count(*) FROM damaged") == 5
    write_each(history, numbers(6, 23))
    assert max(levels(history)) > 0
    assert times(exported(history.reader())) == [at_ms(number) for number in range(5, 23)]


# Bounds.


def test_a_host_whose_guests_come_and_go_leaves_little_behind(history: History) -> None:
    rows = []
    for number in range(120):
        write_each(history, [tick(number, guest("stays", cpu_time=number), guest(f"g{number // 2}", cpu_time=number))])
        rows.append(count(history, "SELECT count(*) FROM head"))
    assert max(rows) <= 5 + 2 * 64 + 2
    assert count(history, "SELECT count(*) FROM doomed") == 0
    assert len(writer_of(history)._upkeep._known._skeletons) == 1
    assert count(history, "SELECT count(*) FROM layout") <= 80


def test_nothing_is_left_to_do_when_all_is_done(history: History) -> None:
    write_each(history, numbers(0, 50))
    assert not step(history)
    assert writer_of(history)._upkeep._work is None


def test_in_bulk_slices_are_long_and_what_they_say_is_the_same(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BULK_TICKS", 9)
    batches = lives(4, 1, 30)
    usual, bulk = make_history(), make_history()
    bulk.sink.close()
    bulk.sink = bulk.another()
    bulk.sink.expect_bulk()
    bulk.open()
    write_each(usual, batches)
    for one in batches:
        bulk.write(one)
        while bulk.sink.settle():
            pass
    ticks = [int(str(ticks)) for (ticks,) in query(bulk, "SELECT ticks FROM segment WHERE level = 0")]
    assert ticks == [] or min(ticks) >= 9
    assert sum(levels(bulk)) < sum(levels(usual)) or len(levels(bulk)) < len(levels(usual))
    assert said(bulk) == said(usual)


# Beside other histories.


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    made = Turns()
    monkeypatch.setattr(upkeep, "TURNS", made)
    return made


@pytest.fixture
def others(turns: Turns) -> Iterator[Callable[[str], None]]:
    """Has another thread ask for a turn, or give it."""
    asked: queue.Queue[str] = queue.Queue()

    def work() -> None:
        for what in iter(asked.get, ""):
            getattr(turns, what)()
            asked.task_done()

    thread = threading.Thread(target=work)
    thread.start()

    def ask_for(what: str) -> None:
        asked.put(what)
        asked.join()

    yield ask_for
    asked.put("")
    thread.join()


def finish(history: History) -> None:
    """Finish the piece of work at hand, and begin none."""
    own = writer_of(history)._upkeep
    for _ in range(500):
        if own._work is None:
            return
        step(history)
    pytest.fail("it has no end")


def test_nothing_is_sealed_while_another_history_of_the_process_seals(
    history: History, others: Callable[[str], None]
) -> None:
    others("take")
    write_alone(history, *numbers(0, 7))
    for _ in range(50):
        step(history)
    assert levels(history) == []
    assert times(exported(history.reader())) == [at_ms(number) for number in range(7)]
    others("give")
    rest(history)
    assert levels(history) == [0]


def test_what_is_at_hand_is_gone_on_with_whoever_has_the_turn(
    history: History, turns: Turns, others: Callable[[str], None]
) -> None:
    write_each(history, numbers(0, 1))
    write_alone(history, *numbers(1, 6))
    step(history)
    turns.give()
    others("take")
    finish(history)
    assert levels(history) == [0]


def test_what_piles_up_is_sealed_whoever_has_the_turn(
    history: History, others: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TICKS_MAX", 3)
    monkeypatch.setattr(upkeep, "BEHIND", 2)
    others("take")
    history.write(*numbers(0, 5))
    assert levels(history) == []
    history.write(*numbers(5, 8))
    assert sum(ticks for (ticks,) in query(history, "SELECT ticks FROM segment")) >= 3


def close(history: History) -> None:
    history.sink.close()


@pytest.mark.parametrize("end", [finish, close])
def test_a_turn_ends_with_the_work(
    history: History, turns: Turns, others: Callable[[str], None], end: Callable[[History], None]
) -> None:
    write_alone(history, *numbers(0, 6))
    step(history)
    others("take")
    step(history)
    assert turns._holder == threading.get_ident()
    end(history)
    others("take")
    assert turns._holder not in {None, threading.get_ident()}
