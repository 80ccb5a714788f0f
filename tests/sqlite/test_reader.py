"""Reading: by the command line's way and by anybody's own sqlite3."""

from __future__ import annotations

import sqlite3

import pytest

from domstat.history import HistoryError
from domstat_sinks.sqlite import SqliteSink, connect, register
from domstat_sinks.sqlite.sink import SqliteSettings
from records import TIME_MS, batch, guest_record

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


def test_conditions_are_met_by_indexes(history: History) -> None:
    history.write(batch())
    query = "SELECT value FROM samples WHERE field = 'cpu.time' AND host = 'kvm1' AND time_ms > ?"
    plan = " ".join(str(row[3]) for row in history.reader().execute("EXPLAIN QUERY PLAN " + query, (TIME_MS,)))
    assert "time_ms>?" in plan
    assert "(shape=? AND field=?)" in plan
    assert "SCAN" not in plan
