"""Reading: by the command line's way and by anybody's own sqlite3."""

from __future__ import annotations

import re
import sqlite3
import time

import pytest

from domstat.history import HistoryError, Span
from domstat.model import Batch, Stamp
from domstat_sinks.sqlite import SqliteSink, connect, register
from domstat_sinks.sqlite.keeping import upkeep
from domstat_sinks.sqlite.sink import SqliteSettings
from questions import queries
from records import (
    TIME_MS,
    agent_record,
    batch,
    event_record,
    gap_record,
    guest_record,
    host_record,
    pool_record,
    sleeper_record,
)

from .conftest import History


def test_anybodys_connection_can_be_given_the_functions(history: History) -> None:
    history.write(batch())
    own = sqlite3.connect(history.path)
    register(own)
    assert own.execute("SELECT value FROM samples WHERE field = 'vcpu.current'").fetchall() == [(2,)]
    own.close()


def test_a_reader_cannot_write(history: History) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        history.reader().execute("DELETE FROM head")


def test_a_query_makes_no_file(history: History) -> None:
    with pytest.raises(sqlite3.OperationalError, match="too many attached"):
        history.reader().execute("ATTACH ? AS other", (str(history.folder / "new.db"),))
    assert not (history.folder / "new.db").exists()


def test_a_reader_sees_new_ticks_without_opening_again(history: History) -> None:
    reader = history.reader()
    query = "SELECT count(*) FROM samples WHERE field = 'cpu.time'"
    for i in range(3):
        assert reader.execute(query).fetchone() == (i,)
        history.write(batch(guest_record(time_ms=i), time_ms=i))


def test_a_history_that_is_not_there_is_said_to_be_so(history: History) -> None:
    with pytest.raises(FileNotFoundError, match="no history yet"):
        connect(history.folder / "other.db")
    missing = SqliteSink.history(SqliteSettings("other.db"), history.folder)
    with pytest.raises(HistoryError, match="no history yet"), missing:
        pass


def test_a_file_without_anything_in_it_yet_is_not_taken_for_somebody_elses(history: History) -> None:
    path = history.folder / "other.db"
    path.touch()
    with pytest.raises(ValueError, match="nothing is stored in it yet"):
        connect(path)


def test_wrong_sql_is_told_in_sqlites_words(history: History) -> None:
    reading = SqliteSink.history(SqliteSettings(), history.folder)
    with reading as opened, pytest.raises(HistoryError, match="no such column: nonsense"):
        opened.sql("SELECT nonsense FROM samples")


def test_a_query_without_rows_has_columns(history: History) -> None:
    with SqliteSink.history(SqliteSettings(), history.folder) as opened:
        answer = opened.sql("SELECT time_ms AS t, value FROM samples")
        assert (answer.columns, list(answer.rows)) == (("t", "value"), [])


def test_a_damaged_row_is_named_and_the_others_are_read(history: History) -> None:
    history.write(*(batch(guest_record(time_ms=i, extra={"cpu.time": i}, first=True), time_ms=i) for i in range(1, 4)))
    vandal = sqlite3.connect(history.path)
    vandal.execute(
        "UPDATE head SET blob = CAST(substr(blob, 1, 20) || x'00' || substr(blob, 22) AS BLOB) WHERE time_ms = 2"
    )
    vandal.commit()
    vandal.close()
    with SqliteSink.history(SqliteSettings(), history.folder) as opened:
        with pytest.raises(HistoryError, match="head row 2 is damaged"):
            list(opened.sql("SELECT value FROM samples WHERE field = 'cpu.time'").rows)
        rest = opened.sql("SELECT value FROM samples WHERE field = 'cpu.time' AND time_ms <> 2")
        assert list(rest.rows) == [(1,), (3,)]


def plan_of(history: History, query: str) -> str:
    return " ".join(str(step[3]) for step in history.ask("EXPLAIN QUERY PLAN " + query))


def test_conditions_are_met_by_indexes(history: History) -> None:
    history.write(batch())
    plan = plan_of(history, "SELECT value FROM samples WHERE field = 'cpu.time' AND host = 'kvm1' AND time_ms > 5")
    assert "time_ms>?" in plan
    assert "(shape=? AND field=?)" in plan
    assert "segment_time (stream=? AND end_ms>?)" in plan
    scanned = re.findall(r"SCAN (\S+)", plan)
    assert set(scanned) <= {"d", "j", "(subquery-3)"}, "what functions give and what comes of both halves, no table"


@pytest.mark.parametrize("view", ["samples", "rates"])
def test_neither_a_guest_nor_the_host_is_looked_for_among_all_records_of_a_tick(history: History, view: str) -> None:
    history.write(batch())
    for condition in ("time_ms > 5", "kind = 'guest'"):
        plan = plan_of(history, f"SELECT value FROM {view} WHERE uuid = 'x' AND {condition}")
        assert "layout_record_uuid (uuid=? AND layout=?)" in plan
        assert "m USING PRIMARY KEY (segment=?)" in plan
    kinds = "layout_record_kind (kind=? AND layout=?)"
    assert kinds in plan_of(history, f"SELECT value FROM {view} WHERE kind = 'host' AND field = 'host.cpus'")
    assert kinds in plan_of(history, f"SELECT value FROM {view} WHERE kind = 'pool' AND pool = 'x'")


@pytest.mark.parametrize("view", ["samples", "rates"])
def test_whatever_is_asked_ticks_are_gone_through_in_their_order(history: History, view: str) -> None:
    history.write(batch())
    for condition in ("1", "uuid = 'x'", "kind = 'host'", "field = 'cpu.time'", "host = 'kvm1' AND device = 'vda'"):
        assert "h USING INDEX sqlite_autoindex_head_1" in plan_of(history, f"SELECT * FROM {view} WHERE {condition}")


@pytest.mark.parametrize("view", ["samples", "rates"])
def test_new_columns_stand_behind_the_old_ones(history: History, view: str) -> None:
    columns = [row[1] for row in history.ask(f"PRAGMA table_info({view})")]
    old = ["time_ms", "host", "uuid", "domain", "field", "device", "value", "kind", "pool", "collect"]
    assert columns == [*old, "day"]


def write_a_day(history: History) -> None:
    """Write two ticks with everything in them, a survey, an event and a gap that has only just ended."""
    for tick, time_ms in enumerate((TIME_MS, TIME_MS + 10_000)):
        stamp = Stamp(time_ms, 10**15 + tick * 10**10, "boot", 0)
        host = host_record(params={"host.cpu.user": tick * 10**10, "host.cpu.kernel": 0}, time_ms=time_ms)
        records = (host, guest_record(time_ms=time_ms), agent_record(time_ms=time_ms))
        history.write(Batch(host="kvm1", collect="default", stamp=stamp, records=records))
    now_ms = int(time.time() * 1000)
    history.write(batch(pool_record(), sleeper_record(), collect="survey"))
    history.write(batch(event_record(), collect="events"), batch(gap_record(time_ms=now_ms)))


@pytest.mark.parametrize("number", range(1, 11))
def test_every_question_of_the_documentation_can_be_asked(history: History, number: int) -> None:
    """The answers are held to real guests in tests/real/test_questions.py."""
    write_a_day(history)
    found = history.ask(queries()[number])
    assert found or number not in {1, 7, 10}, "these need no bucket that is over, and not to be of these days"


def test_a_connection_may_show_a_span_only_sealed_or_not(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SLICE_TICKS", 5)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    for tick in range(13):
        time_ms = TIME_MS + 1_000 * tick
        history.write(batch(guest_record(time_ms=time_ms, extra={"cpu.time": tick}), time_ms=time_ms))
    for first, last in ((0, 12), (3, 4), (4, 7), (9, 12), (11, 12), (12, 12)):
        span = Span(TIME_MS + 1_000 * first, TIME_MS + 1_000 * last)
        connection = connect(history.path, span)
        found = connection.execute("SELECT value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms").fetchall()
        assert found == [(tick,) for tick in range(first, last)]
        connection.close()
