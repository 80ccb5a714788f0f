"""Numbers of head rows are given once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.headids import HeadIds


def test_a_number_is_above_all_that_rows_segments_and_streams_know_of(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "history.db")
    connection.executescript(schema.NEW)
    ids = HeadIds(connection)
    assert [ids.take(), ids.take()] == [1, 2]
    for statement, number in (
        ("INSERT INTO head VALUES (10, 1, 1, 1, 1, 1, 1, x'')", 11),
        ("INSERT INTO segment VALUES (1, 1, 0, 1, 20, 1, 1, '', 1, 1, x'')", 21),
        ("INSERT INTO stream (host, collect, sealed) VALUES ('h', 'c', 30)", 31),
    ):
        connection.execute(statement)
        ids.forget()
        assert ids.take() == number
    connection.close()
