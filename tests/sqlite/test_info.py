"""What a history says of its size."""

from __future__ import annotations

import sqlite3
from typing import Any

from domstat.history import Info, Span
from domstat_sinks.sqlite import SqliteSink, info, schema
from domstat_sinks.sqlite.sink import SqliteSettings
from records import TIME_MS, batch, guest_params, guest_record

from .conftest import History


def info_of(history: History) -> Info:
    with SqliteSink.history(SqliteSettings(), history.folder) as opened:
        return opened.info()


def test_all_values_are_counted_also_of_guests_that_come_and_go(history: History) -> None:
    later_ms = TIME_MS + 10_000
    both = (guest_record(time_ms=later_ms), guest_record("b", uuid="u2", time_ms=later_ms))
    history.write(batch(), batch(*both, time_ms=later_ms))
    found = info_of(history)
    assert (found.ticks, found.values) == (2, 3 * len(guest_params()))
    assert (found.span, found.schema) == (Span(TIME_MS, later_ms + 1), schema.SCHEMA_VERSION)
    assert [(stream.host, stream.collect) for stream in found.streams] == [("kvm1", "default")]


def test_the_tiers_take_all_of_the_file_that_is_used(history: History) -> None:
    history.write(batch())
    history.sink.close()
    found = info_of(history)
    assert found.path == str(history.path)
    assert (found.wal_bytes, found.free_bytes) == (0, 0)
    assert sum(tier.stored_bytes for tier in found.tiers) == found.file_bytes == history.path.stat().st_size
    assert {tier.name for tier in found.tiers} >= {"raw"}


def test_what_is_not_folded_into_the_file_yet_is_told(history: History) -> None:
    history.write(batch())
    assert info_of(history).wal_bytes > 0


def test_an_empty_history_is_empty(history: History) -> None:
    found = info_of(history)
    assert (found.ticks, found.values, found.streams, found.span) == (0, 0, (), Span(0, 1))


def test_where_sqlite_cannot_tell_pages_apart_there_is_one_sum(history: History) -> None:
    history.write(batch())

    class WithoutDbstat:
        def execute(self, text: str) -> Any:
            if "dbstat" in text:
                raise sqlite3.OperationalError("no such table: dbstat")
            return reader.execute(text)

    reader = history.reader()
    (tier,) = info._tiers(WithoutDbstat(), 4096)  # type: ignore[arg-type]
    assert (tier.name, tier.stored_bytes) == ("all", reader.execute("PRAGMA page_count").fetchone()[0] * 4096)
