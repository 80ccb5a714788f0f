"""Tables: rows in their order, packed and unpacked, and known by their records."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from domstat.forms import rows
from domstat.model import Record
from domstat_sinks.parquet import tables
from records import TIME_MS, event_record, guest_record, one_of_each, pool_record


def table(*records: Record) -> Any:
    return tables.table_of([row for record in records for row in rows(record)])


def test_what_is_packed_comes_back() -> None:
    made = table(*one_of_each().values())
    assert tables.unpacked(tables.packed(made)).to_pylist() == made.to_pylist()


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_what_is_cut_off_is_seen_to_be(cut: int) -> None:
    data = tables.packed(table(guest_record())).to_pybytes()[:cut]
    with pytest.raises((pa.ArrowException, OSError)):
        tables.unpacked(data)


def test_rows_of_a_series_are_beside_each_other_and_otherwise_as_they_came() -> None:
    ticks = [table(guest_record("b", uuid="2", time_ms=t), guest_record("a", uuid="1", time_ms=t)) for t in (30, 10)]
    made = tables.together(ticks)
    series = [(row["field"], row["uuid"], row["device"]) for row in made.to_pylist()]
    assert series == sorted(series, key=lambda one: (one[0], one[1], one[2] or ""))
    times = made["time"].cast(pa.int64()).to_pylist()
    assert set(zip(times[::2], times[1::2], strict=True)) == {(30, 10)}


def test_the_order_is_the_same_where_words_are_too_many_for_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    one = table(guest_record("b", uuid="2"), pool_record(), guest_record("a", uuid="1"))
    expected = tables.together([one]).to_pylist()
    ranks = tables._ranks
    monkeypatch.setattr(tables, "_ranks", lambda column: (ranks(column)[0], 1 << 20))
    assert tables.together([one]).to_pylist() == expected


def test_ticks_are_streams_at_times() -> None:
    made = table(guest_record(time_ms=1), guest_record(time_ms=1, collect="slow"), guest_record("b", time_ms=2))
    assert tables.ticks_of(made) == {("default", 1), ("slow", 1), ("default", 2)}


def test_a_record_has_one_key_and_no_two_have_the_same() -> None:
    hostile = ["", " ", "a b", "a", "b", "1 a"]
    records = [
        guest_record(uuid=uuid, collect=collect, time_ms=t) for uuid in hostile for collect in hostile for t in (1, 2)
    ]
    records += [pool_record(name, time_ms=1) for name in hostile]
    records += [event_record(kind, device=device, time_ms=1) for kind in hostile for device in [*hostile[1:], None]]
    keys = [tables.keys_of(table(record)).unique().to_pylist() for record in records]
    assert all(len(of_one) == 1 for of_one in keys)
    assert len({of_one[0] for of_one in keys}) == len(records)


def test_rows_of_given_records_go() -> None:
    made = table(guest_record("a", uuid="1"), guest_record("b", uuid="2"))
    keys = tables.keys_of(table(guest_record("a", uuid="1", params={"other": 1}))).unique()
    assert set(tables.without(made, keys)["domain"].to_pylist()) == {"b"}


def test_columns_that_are_not_ours_are_refused() -> None:
    with pytest.raises((pa.ArrowException, KeyError)):
        tables.as_ours(pa.table({"time": [TIME_MS]}))
