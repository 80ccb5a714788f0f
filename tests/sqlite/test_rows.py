"""Finding a subject's record before, and keeping what is read within bounds."""

from __future__ import annotations

import pytest

from domstat.model import Batch, Pool, Record, Stamp
from domstat_sinks.sqlite.heads import rows
from domstat_sinks.sqlite.heads.rows import LEAST_KEPT, Rows
from records import agent_record, batch, guest_record, host_record, pool_record

from .conftest import History


def chunk(time_ms: int, *records: Record) -> Batch:
    return Batch(host="kvm1", collect="default", stamp=Stamp(time_ms, time_ms * 10**6, "boot", 0), records=records)


def guest(uuid: str) -> Record:
    return guest_record(uuid, uuid=uuid, params={"cpu.time": 1}, first=True)


def write_chunks(history: History, ticks: int, chunks: int) -> None:
    """Write ticks of so many chunks; each has the host first, one guest of its own, the agent last."""
    for tick in range(ticks):
        for number in range(chunks):
            ends = ([host_record()] if number == 0 else [], [agent_record()] if number == chunks - 1 else [])
            history.write(chunk(1000 * (tick + 1) + number, *ends[0], guest(f"g{number}"), *ends[1]))


def test_the_record_before_is_as_many_rows_back_as_a_tick_has_chunks(history: History) -> None:
    write_chunks(history, ticks=3, chunks=20)
    read = Rows(history.reader())
    last_tick = range(41, 61)
    assert [read.record_before(read.row(head_id), 0) for head_id in last_tick] == [(i - 20, 0) for i in last_tick]
    assert read.record_before(read.row(60), 1) == (40, 1)
    assert read.record_before(read.row(41), 1) == (21, 1)


def test_who_was_never_there_has_no_record_before(history: History) -> None:
    write_chunks(history, ticks=2, chunks=3)
    history.write(chunk(9000, guest("new"), guest("g1")))
    read = Rows(history.reader())
    assert [read.record_before(read.row(7), position) for position in (0, 1)] == [None, (5, 0)]


def test_one_search_serves_all_records_of_a_row(history: History) -> None:
    write_chunks(history, ticks=2, chunks=20)
    history.write(chunk(9000, *(guest(f"g{number}") for number in range(20))))
    asked: list[str] = []
    reader = history.reader()
    read = Rows(reader)
    at = read.row(41)
    reader.set_trace_callback(asked.append)
    expected = [(21, 1), *((21 + i, 0) for i in range(1, 20))]
    assert [read.record_before(at, position) for position in range(20)] == expected
    assert len([query for query in asked if "ORDER BY id DESC" in query]) == 20
    del asked[:]
    assert [read.record_before(at, position) for position in range(20)] == expected
    assert asked == []


def test_somebody_away_for_long_is_found_by_index_however_many_rows_lie_between(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS_SEARCHED_MAX", 5)
    pools = [pool_record(name) for name in ("images", "iso")]
    history.write(chunk(1000, guest("back"), *pools, host_record()))
    history.write(chunk(1001, guest("back"), *pools, host_record()))
    for i in range(30):
        history.write(chunk(2000 + i, guest(f"other{i % 3}")))
    history.write(chunk(9000, *pools[::-1], host_record(), guest("back"), guest("new")))
    reader = history.reader()
    read = Rows(reader)
    found = [read.record_before(read.row(33), position) for position in range(5)]
    assert found == [(2, 2), (2, 1), (2, 3), (2, 0), None]
    asked: list[str] = []
    reader.set_trace_callback(asked.append)
    read.record_before(read.row(33), 4)
    reader.set_trace_callback(None)
    plan = " ".join(str(step[3]) for step in reader.execute("EXPLAIN QUERY PLAN " + asked[-1]))
    assert "layout_record_uuid (uuid=?)" in plan
    assert "head_layout (layout=? AND stream=? AND rowid<?)" in plan


def test_another_streams_records_are_not_before(history: History) -> None:
    history.write(batch(guest("a"), collect="slow", time_ms=1000), batch(guest("a"), time_ms=2000))
    read = Rows(history.reader())
    assert read.record_before(read.row(2), 0) is None


def test_pools_are_told_apart_by_their_names(history: History) -> None:
    history.write(chunk(1000, pool_record("a"), pool_record("b")), chunk(2000, pool_record("b"), pool_record("c")))
    read = Rows(history.reader())
    assert [read.record_before(read.row(2), position) for position in (0, 1)] == [(1, 1), None]
    assert read.row(2).layout.subjects[0] == ("pool", None, Pool("b").name)


def test_rows_are_kept_by_how_many_records_they_have(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_KEPT", 30)
    for i in range(40):
        history.write(chunk(1000 + i, guest("a"), guest("b")))
    read = Rows(history.reader())
    kept = [read.row(i) for i in range(1, 41)]
    assert read.row(40) is kept[-1]
    assert read.row(26) is kept[25]
    assert read.row(25) is not kept[24]
    monkeypatch.setattr(rows, "ROWS_KEPT", 1)
    few = Rows(history.reader())
    kept = [few.row(i) for i in range(1, 41)]
    assert few.row(41 - LEAST_KEPT) is kept[40 - LEAST_KEPT]


def test_the_row_before_is_the_tick_before_even_if_the_clock_was_set_back_between_them(history: History) -> None:
    history.write(chunk(9000, guest("g")))
    history.write(chunk(5000, guest("g")))
    history.write(chunk(6000, guest("g")))
    read = Rows(history.reader())
    assert [read.record_before(read.row(number), 0) for number in (2, 3)] == [(1, 0), (2, 0)]


def test_shapes_that_are_read_share_the_columns_that_they_have_in_common(history: History) -> None:
    for number in range(2):
        params = {"cpu.time": 1, f"net.rx.bytes[m{number}]": 1}
        history.write(chunk(1000 * number, guest_record(f"g{number}", uuid=f"g{number}", params=params, first=True)))
    read = Rows(history.reader())
    one, other = (read.row(head_id).layout.shapes[0].columns for head_id in (1, 2))
    assert [column.field for column in one] == ["cpu.time", "net.rx.bytes"]
    assert one[0] is other[0]
    assert one[1] != other[1]
