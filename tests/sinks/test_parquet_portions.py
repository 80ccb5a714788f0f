"""Portions: of a write what belongs to one hour of one host, in tables that are not too large."""

from __future__ import annotations

import pytest

from domstat_sinks.parquet import portions as module
from domstat_sinks.parquet.layout import slot_of
from domstat_sinks.parquet.portions import Faults, portions
from parquet_folder import HOUR_MS, tick
from records import TIME_MS


def test_each_hour_of_each_host_is_a_portion_of_all_its_ticks() -> None:
    batches = [tick(0), tick(1), tick(0, host="kvm2"), tick(time_ms=TIME_MS + HOUR_MS)]
    found = {portion.slot: portion.ticks for portion in portions(batches, Faults())}
    assert found == {
        slot_of("kvm1", TIME_MS): {("default", TIME_MS), ("default", TIME_MS + 10_000)},
        slot_of("kvm2", TIME_MS): {("default", TIME_MS)},
        slot_of("kvm1", TIME_MS + HOUR_MS): {("default", TIME_MS + HOUR_MS)},
    }


def test_many_guests_are_several_tables_of_about_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 100)
    names = [f"web-{number}" for number in range(300)]
    found = list(portions([tick(0, *names)], Faults()))
    assert max(len(portion.table) for portion in found) <= 110
    assert [name for portion in found for name in portion.table["domain"].unique().to_pylist()] == names


def test_of_a_record_twice_the_last_counts() -> None:
    (portion,) = portions([tick(0, params={"x": 1}), tick(0, params={"x": 2})], Faults())
    assert portion.table["value"].to_pylist() == [2.0]


def test_the_faulty_are_told_apart_and_the_others_come_in_one_table() -> None:
    faults = Faults()
    batches = [tick(0, "a", "b"), tick(1, "c", params={"x": float("nan"), "y": 1}), tick(2, "\udc80")]
    (portion,) = portions(batches, faults)
    assert portion.table["domain"].unique().to_pylist() == ["a", "b", "c"]
    assert [(record.domain.name, why) for record, why in faults.left_out if record.domain] == [("c", "x is nan")]
    assert [record.time_ms for _, record, _ in faults.rejected] == [TIME_MS + 20_000]
