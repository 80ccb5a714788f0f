"""What a history says of its size."""

from __future__ import annotations

import pytest

from domstat.history import Info, Span
from domstat_sinks.sqlite import SqliteSink, schema
from domstat_sinks.sqlite.sink import SqliteSettings
from records import TIME_MS, batch, guest_params, guest_record

from .conftest import History
from .sealings import make_small, write_each


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
    assert [tier.name for tier in found.tiers] == ["ticks of the head", "names and events"]


def test_what_is_not_folded_into_the_file_yet_is_told(history: History) -> None:
    history.write(batch())
    assert info_of(history).wal_bytes > 0


def test_an_empty_history_is_empty(history: History) -> None:
    found = info_of(history)
    assert (found.ticks, found.values, found.streams, found.span) == (0, 0, (), Span(0, 1))


def test_what_is_sealed_counts_and_has_tiers_of_its_own(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    write_each(history, (batch(guest_record(time_ms=at), time_ms=at) for at in range(TIME_MS, TIME_MS + 38)))
    found = info_of(history)
    assert (found.ticks, found.values) == (38, 38 * len(guest_params()))
    stored = {tier.name: tier.stored_bytes for tier in found.tiers}
    assert list(stored) == [
        "ticks of the head",
        "ticks by minutes",
        "ticks by hours",
        "ticks by days",
        "names and events",
    ]
    (level, blobs), *_ = history.ask(
        "SELECT level, sum(length(blob)) FROM chunk JOIN segment ON segment.id = chunk.id >> 26"
        " WHERE level = 2 GROUP BY level"
    )
    assert level == 2
    assert 0 < stored["ticks by days"] - int(str(blobs)) < 2_000, "its chunks and its directory"
