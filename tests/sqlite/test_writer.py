"""Writing: one row a tick, replays, changes of form, and nothing half-written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domstat.model import Batch, Partial, Record, Stamp, Value, key_of, stamp_of
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.stored import Store
from domstat_sinks.sqlite.keeping import sealing
from records import (
    TIME_MS,
    UUID,
    agent_record,
    batch,
    event_record,
    guest_params,
    guest_record,
    host_record,
    pool_record,
    sleeper_record,
)

from . import sealings
from .conftest import History
from .sealings import make_small, write_each

OTHER = "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a12"


def samples(history: History, time_ms: int, uuid: str | None = UUID) -> dict[str, object]:
    query = "SELECT field, device, value FROM samples WHERE time_ms = ? AND uuid IS ?"
    return {key_of(str(f), None if d is None else str(d)): v for f, d, v in history.ask(query, time_ms, uuid)}


def at(time_ms: int, *records: Record) -> Batch:
    return batch(*records, time_ms=time_ms)


def test_a_tick_is_one_row_and_every_value_is_in_it(history: History) -> None:
    record = guest_record()
    history.write(batch(record))
    assert history.ask("SELECT count(*) FROM head") == [(1,)]
    assert samples(history, TIME_MS) == record.params


def test_few_of_the_files_pages_are_kept_in_memory(history: History) -> None:
    write_each(history, [])
    assert sealings.writer_of(history)._connection.execute("PRAGMA cache_size").fetchone() == (-schema.CACHE_KIB,)


def test_values_beyond_sqlites_integers_come_out_as_all_their_digits(history: History) -> None:
    history.write(batch(guest_record(extra={"block.wr.bytes[vda]": 2**64 - 1, "cpu.user": 2**63 - 1}, first=True)))
    stored = samples(history, TIME_MS)
    assert stored["block.wr.bytes[vda]"] == "18446744073709551615"
    assert stored["cpu.user"] == 2**63 - 1


def test_texts_booleans_and_reals_come_out_as_themselves(history: History) -> None:
    odd: dict[str, Value] = {
        "dirtyrate.calc_mode": "dirty-ring",
        "vcpu.halted[0]": True,
        "block.timed_group.rd_queue_depth_avg[vda/0]": 0.1,
    }
    history.write(batch(guest_record(params=odd, first=True)))
    assert samples(history, TIME_MS) == odd


def test_a_field_that_changes_its_type_keeps_every_value(history: History) -> None:
    values: list[Value] = [5, -5, 2**64 - 1, 0.5, "text", 2**60 + 1]
    for i, value in enumerate(values):
        history.write(at(TIME_MS + i, guest_record(params={"odd": value}, first=True, time_ms=TIME_MS + i)))
    stored = [samples(history, TIME_MS + i)["odd"] for i in range(len(values))]
    assert stored == [5, -5, "18446744073709551615", 0.5, "text", 2**60 + 1]


def test_a_row_is_a_difference_to_a_base_at_most_so_many_rows_back(history: History) -> None:
    rows = schema.KEYFRAME_EVERY * 2 + 5
    for i in range(rows):
        history.write(at(TIME_MS + i, guest_record(extra={"cpu.time": i}, first=True)))
    store = Store(history.reader())
    bases = [store.base_of(i) for i in range(1, rows + 1)]
    assert [i for i, base in enumerate(bases) if base == 0] == [0, schema.KEYFRAME_EVERY, schema.KEYFRAME_EVERY * 2]
    found = history.ask("SELECT value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms")
    assert [value for (value,) in found] == list(range(rows))


def test_ticks_that_look_alike_share_layout_and_shapes(history: History) -> None:
    for i in range(5):
        history.write(at(TIME_MS + i, guest_record("a"), guest_record("b", uuid=OTHER)))
    assert history.ask("SELECT (SELECT count(*) FROM layout), (SELECT count(*) FROM shape)") == [(1, 1)]


def test_a_guest_that_is_renamed_stays_itself(history: History) -> None:
    history.write(at(1000, guest_record("old")), at(2000, guest_record("new")))
    rows = history.ask("SELECT DISTINCT time_ms, uuid, domain FROM samples ORDER BY 1")
    assert rows == [(1000, UUID, "old"), (2000, UUID, "new")]


def test_the_same_batch_again_changes_nothing(history: History) -> None:
    ticks = [at(TIME_MS + i, guest_record(extra={"cpu.time": i}, first=True)) for i in range(5)]
    history.write(*ticks)
    before = history.ask("SELECT * FROM samples")
    history.write(ticks[0], ticks[3])
    history.write(*ticks)
    assert history.ask("SELECT count(*) FROM head") == [(5,)]
    assert sorted(map(repr, history.ask("SELECT * FROM samples"))) == sorted(map(repr, before))


def test_a_replaced_base_leaves_the_rows_that_were_differences_to_it_right(history: History) -> None:
    history.write(*(at(TIME_MS + i, guest_record(extra={"cpu.time": 100 + i}, first=True)) for i in range(4)))
    history.write(at(TIME_MS, guest_record(extra={"cpu.time": 7}, first=True)))
    found = history.ask("SELECT value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms")
    assert [value for (value,) in found] == [7, 101, 102, 103]


def test_half_a_tick_joins_the_other_half(history: History) -> None:
    history.write(at(TIME_MS, guest_record("a")))
    history.write(at(TIME_MS, guest_record("b", uuid=OTHER), event_record()))
    assert history.ask("SELECT DISTINCT domain FROM samples ORDER BY 1") == [("a",), ("b",)]
    assert history.ask("SELECT count(*) FROM head") == [(1,)]
    assert history.ask("SELECT domain, type FROM events") == [("web-1", "started")]


def test_every_kind_of_record_that_has_values_comes_back(history: History) -> None:
    records = (host_record(), guest_record(), sleeper_record(), pool_record(), pool_record("iso"), agent_record())
    history.write(batch(*records))
    back = Store(history.reader()).batch(1).records
    plain = [(r.kind, r.domain, r.pool, r.params) for r in records]
    assert [(r.kind, r.domain, r.pool, r.params) for r in back] == plain


def test_the_views_tell_the_kinds_apart(history: History) -> None:
    history.write(batch(host_record(), guest_record(), pool_record(), agent_record()))
    rows = history.ask("SELECT DISTINCT kind, uuid, domain, pool FROM samples ORDER BY kind")
    assert rows == [
        ("agent", None, None, None),
        ("guest", UUID, "web-1", None),
        ("host", None, None, None),
        ("pool", None, None, "images"),
    ]
    assert history.ask("SELECT value FROM samples WHERE kind = 'host' AND field = 'host.cpus'") == [(16,)]


def test_what_the_agent_says_of_one_stream_is_told_apart_from_another(history: History) -> None:
    for collect, skipped in (("default", 3), ("slow", 0)):
        history.write(batch(agent_record(collect=collect, extra={"agent.skipped": skipped}), collect=collect))
    rows = history.ask("SELECT collect, value FROM samples WHERE kind = 'agent' AND field = 'agent.skipped' ORDER BY 1")
    assert rows == [("default", 3), ("slow", 0)]


def test_only_guests_have_labels_and_devices(history: History) -> None:
    named: dict[str, Any] = {"labels": {"title": "x"}, "devices": {}}
    history.write(batch(host_record(**named), guest_record(**named), pool_record(**named), agent_record(**named)))
    assert history.ask("SELECT uuid FROM detail") == [(UUID,)]


def test_ticks_that_come_in_chunks_are_differences_to_their_own_bases(history: History) -> None:
    chunks, ticks = 5, 4
    for tick in range(ticks):
        for chunk in range(chunks):
            time_ms = TIME_MS + 1000 * tick + chunk
            record = guest_record(uuid=f"{chunk}", extra={"cpu.time": 100 * tick + chunk}, first=True)
            history.write(at(time_ms, record))
    store = Store(history.reader())
    assert [store.base_of(i) for i in range(1, chunks * ticks + 1)] == [0] * chunks + [*range(1, chunks + 1)] * 3
    found = history.ask("SELECT uuid, value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms")
    assert found == [(f"{chunk}", 100 * tick + chunk) for tick in range(ticks) for chunk in range(chunks)]


def test_a_replaced_base_leaves_what_other_chunks_lie_between_right(history: History) -> None:
    def chunk(tick: int, number: int, value: int) -> Batch:
        record = guest_record(uuid=f"{number}", extra={"cpu.time": value}, first=True)
        return at(TIME_MS + 1000 * tick + number, record)

    history.write(*(chunk(tick, number, 10 * tick + number) for tick in range(4) for number in range(3)))
    history.write(chunk(0, 1, 777))
    found = history.ask("SELECT value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms")
    assert [value for (value,) in found] == [0, 777, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]


def test_ticks_after_a_replaced_base_are_right(history: History) -> None:
    history.write(*(at(TIME_MS + i, guest_record(extra={"cpu.time": 100 + i}, first=True)) for i in range(2)))
    history.write(at(TIME_MS, guest_record(extra={"cpu.time": 7}, first=True)))
    history.write(at(TIME_MS + 2, guest_record(extra={"cpu.time": 102}, first=True)))
    found = history.ask("SELECT value FROM samples WHERE field = 'cpu.time' ORDER BY time_ms")
    assert [value for (value,) in found] == [7, 101, 102]


def test_a_batch_that_comes_again_as_it_was_is_not_written_again(history: History) -> None:
    ticks = [at(TIME_MS + i, guest_record(extra={"cpu.time": i}, first=True), event_record()) for i in range(3)]
    history.write(*ticks)
    blobs = history.ask("SELECT id, blob FROM head")
    history.write(*ticks)
    assert history.ask("SELECT id, blob FROM head") == blobs


def test_a_clock_set_back_to_a_stored_time_replaces_nothing(history: History) -> None:
    def tick(time_ms: int, boot_s: int) -> Batch:
        record = guest_record(extra={"cpu.time": boot_s * 10**9}, first=True, time_ms=time_ms)
        return Batch(host="kvm1", collect="default", stamp=Stamp(time_ms, boot_s * 10**9, "boot", 0), records=(record,))

    ticks = [tick(10_000, 100), tick(20_000, 110), tick(10_000, 120), tick(20_000, 130)]
    history.write(*ticks)
    history.write(*ticks)
    rows = history.ask("SELECT time_ms, value FROM samples WHERE field = 'cpu.time' ORDER BY value")
    assert rows == [(10_000, 100 * 10**9), (20_000, 110 * 10**9), (10_001, 120 * 10**9), (20_001, 130 * 10**9)]
    rates = history.ask("SELECT value FROM rates WHERE field = 'cpu.time'")
    assert {value for (value,) in rates} <= {1.0}


def test_a_record_without_values_keeps_its_place(history: History) -> None:
    empty = guest_record("b", uuid=OTHER, params={}, first=True, partial=Partial(("block",), 3.0))
    history.write(batch(guest_record("a"), empty))
    back = Store(history.reader()).batch(1).records
    assert [(record.subject, record.partial) for record in back] == [(UUID, None), (OTHER, Partial(("block",), 3.0))]


def test_an_empty_tick_is_a_tick(history: History) -> None:
    history.write(Batch(host="h", collect="c", stamp=batch().stamp, records=()))
    assert history.ask("SELECT count(*) FROM head") == [(1,)]
    assert history.ask("SELECT count(*) FROM samples") == [(0,)]


def test_two_streams_may_have_ticks_at_one_time(history: History) -> None:
    history.write(batch(guest_record(host="a"), host="a"), batch(guest_record(host="b"), host="b"))
    assert history.ask("SELECT DISTINCT host FROM samples ORDER BY 1") == [("a",), ("b",)]


def test_labels_and_devices_are_kept_when_they_change(history: History) -> None:
    for time_ms, title in ((1000, "x"), (2000, "x"), (3000, "y")):
        record = guest_record(labels={"title": title}, devices={"vda": {"path": "/a"}}, time_ms=time_ms)
        history.write(at(time_ms, record))
    rows = history.ask("SELECT time_ms, labels ->> 'title', devices ->> '$.vda.path' FROM detail ORDER BY 1")
    assert rows == [(1000, "x", "/a"), (3000, "y", "/a")]


def test_a_failed_write_leaves_nothing_behind_and_the_next_one_is_whole(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.write(at(1000, guest_record()))
    writer = history.sink._writer
    assert writer
    whole = writer._write_batch

    def fail_at_second(taken: Batch) -> None:
        whole(taken)
        if taken.stamp.time_ms == 3000:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(writer, "_write_batch", fail_at_second)
    new = [
        at(time_ms, guest_record("fresh", uuid=OTHER, extra={"new.field": 1}, first=True)) for time_ms in (2000, 3000)
    ]
    with pytest.raises(sqlite3.OperationalError):
        writer.write(new)
    assert history.ask("SELECT count(*) FROM head") == [(1,)]
    monkeypatch.undo()
    history.write(*new)
    assert history.ask("SELECT count(*) FROM samples WHERE field = 'new.field'") == [(2,)]


keys = st.sampled_from(["cpu.time", "block.wr.bytes[vda]", "net.rx.bytes[52:54:00:aa:bb:01]", "x.y[a]b[c]", "odd"])
values = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(keys, values, min_size=1), min_size=1, max_size=6))
def test_any_ticks_come_back_exactly(make_history: Callable[[], History], ticks: list[dict[str, int]]) -> None:
    history = make_history()
    history.write(
        *(at(1000 + i, guest_record(params=params, first=True, rates={}, derived={})) for i, params in enumerate(ticks))
    )
    store = Store(history.reader())
    assert [store.batch(i + 1).records[0].params for i in range(len(ticks))] == ticks
    history.close()


def test_plain_sqlite_sees_what_is_where(history: History) -> None:
    history.write(batch(guest_record()))
    plain = sqlite3.connect(history.path)
    (row,) = plain.execute("SELECT s.host, h.time_ms FROM head h JOIN stream s ON s.id = h.stream").fetchall()
    columns = plain.execute("SELECT count(*) FROM shape_column").fetchone()
    plain.close()
    assert row == ("kvm1", TIME_MS)
    assert columns == (len(guest_params()),)


# --- ticks of which only the wall time is known


def known(time_ms: int, *records: Record) -> Batch:
    """Make a tick whose boot is known."""
    return Batch(host="kvm1", collect="default", stamp=Stamp(time_ms, 5_000, "boot", 77), records=records)


def unknown(time_ms: int, *records: Record) -> Batch:
    """Make the same tick as somebody reads it from JSON lines."""
    return Batch(host="kvm1", collect="default", stamp=stamp_of(time_ms), records=records)


def stamps(history: History) -> list[tuple[object, ...]]:
    return history.ask("SELECT time_ms, boot_ns, b.boot_id, call_ns FROM head h JOIN boot b ON b.id = h.boot_id")


def test_a_tick_of_an_unknown_boot_that_comes_again_is_the_same(history: History) -> None:
    for _ in range(3):
        history.write(unknown(1000, guest_record(time_ms=1000)), unknown(2000, guest_record(time_ms=2000)))
    assert stamps(history) == [(1000, 0, "", 0), (2000, 0, "", 0)]


def test_a_tick_of_an_unknown_boot_joins_what_is_there_and_leaves_its_stamp(history: History) -> None:
    history.write(known(1000, guest_record("a", time_ms=1000, extra={"cpu.time": 1})))
    blob = history.ask("SELECT blob FROM head")
    history.write(unknown(1000, guest_record("a", time_ms=1000, extra={"cpu.time": 1})))
    assert history.ask("SELECT blob FROM head") == blob
    changed = guest_record("a", time_ms=1000, extra={"cpu.time": 2})
    history.write(unknown(1000, changed, guest_record("b", uuid=OTHER, time_ms=1000)))
    assert stamps(history) == [(1000, 5_000, "boot", 77)]
    assert samples(history, 1000) == changed.params
    assert history.ask("SELECT DISTINCT domain FROM samples ORDER BY 1") == [("a",), ("b",)]


@pytest.mark.parametrize("more", [(), (guest_record("b", uuid=OTHER, time_ms=1000),)], ids=["the same", "more"])
def test_a_tick_that_knows_its_boot_gives_it_to_the_row_that_did_not(
    history: History, more: tuple[Record, ...]
) -> None:
    history.write(unknown(1000, guest_record(time_ms=1000)))
    history.write(known(1000, guest_record(time_ms=1000), *more))
    assert stamps(history) == [(1000, 5_000, "boot", 77)]
    history.write(known(1000, guest_record(time_ms=1000)))
    assert history.ask("SELECT count(*) FROM head") == [(1,)]


def test_a_clock_that_was_set_back_does_not_take_the_tick_a_millisecond_later_for_its_own(history: History) -> None:
    history.write(known(1000, guest_record(time_ms=1000)), unknown(1001, guest_record(time_ms=1001)))
    other = Batch(host="kvm1", collect="default", stamp=Stamp(1000, 9, "boot", 0), records=(guest_record(),))
    history.write(other, other)
    assert [row[:3] for row in stamps(history)] == [(1000, 5000, "boot"), (1001, 0, ""), (1002, 9, "boot")]


def test_rates_between_ticks_of_an_unknown_boot_are_by_wall_time(history: History) -> None:
    ticks = [unknown(1000 * i, guest_record(time_ms=1000 * i, extra={"cpu.time": i * 10**9})) for i in (1, 2, 4)]
    history.write(*ticks)
    found = history.ask("SELECT time_ms, value FROM rates WHERE field = 'cpu.time' ORDER BY 1")
    assert found == [(2000, 1.0), (4000, 1.0)]


# --- labels of times gone by


def titled(time_ms: int, title: str) -> Batch:
    return at(time_ms, guest_record(time_ms=time_ms, labels={"title": title}, devices={}))


def test_labels_that_come_late_are_stored_at_their_time(history: History) -> None:
    history.write(titled(3000, "y"), titled(4000, "y"))
    history.write(titled(1000, "x"), titled(2000, "y"))
    history.write(titled(5000, "y"))
    rows = history.ask("SELECT time_ms, labels ->> 'title' FROM detail ORDER BY 1")
    assert rows == [(1000, "x"), (2000, "y"), (3000, "y")]


def test_labels_of_a_time_gone_by_are_not_taken_for_the_newest(history: History) -> None:
    history.write(titled(1000, "x"), titled(3000, "z"), titled(1500, "y"), titled(4000, "y"))
    rows = history.ask("SELECT time_ms, labels ->> 'title' FROM detail ORDER BY 1")
    assert rows == [(1000, "x"), (1500, "y"), (3000, "z"), (4000, "y")]


# --- ticks that come again when they are sealed


@pytest.fixture
def sealed(history: History, monkeypatch: pytest.MonkeyPatch) -> History:
    """A history of twelve steady ticks of two guests, ten of which are sealed and merged."""
    make_small(monkeypatch)
    write_each(history, sealings.numbers(0, 12))
    assert sealings.levels(history) == [1]
    return history


def test_what_is_sealed_and_comes_again_changes_nothing(sealed: History) -> None:
    before = sealings.said(sealed)
    rows = sealings.query(sealed, "SELECT id FROM head")
    for _ in range(2):
        write_each(sealed, sealings.numbers(0, 12))
        assert sealings.said(sealed) == before
        assert sealings.query(sealed, "SELECT id FROM head") == rows
        sealings.again(sealed)


def test_values_that_are_sealed_are_not_overwritten(sealed: History) -> None:
    before = sealings.said(sealed)
    other = [sealings.tick(number, sealings.guest("a", cpu_time=7, state_state=5)) for number in range(10)]
    write_each(sealed, other)
    assert sealings.said(sealed) == before


def test_somebody_new_at_a_time_that_is_sealed_is_added_a_millisecond_on_and_once(sealed: History) -> None:
    late = sealings.tick(3, sealings.guest("a", cpu_time=7), sealings.guest("late", cpu_time=5))
    for _ in range(3):
        write_each(sealed, [late])
    assert sealed.ask("SELECT time_ms, value FROM samples WHERE uuid = 'late'") == [(sealings.at_ms(3) + 1, 5)]
    assert sealed.ask("SELECT count(*) FROM samples WHERE uuid = 'a' AND field = 'cpu.time'") == [(12,)]
    write_each(sealed, sealings.numbers(12, 34))
    before = sealings.said(sealed)
    write_each(sealed, [late])
    assert sealings.said(sealed) == before, "when it is sealed itself too"
    later = sealings.tick(3, sealings.guest("later", cpu_time=6), *late.records)
    write_each(sealed, [later, later])
    found = sealed.ask("SELECT uuid, time_ms FROM samples WHERE uuid LIKE 'late%' ORDER BY 1")
    assert found == [("late", sealings.at_ms(3) + 1), ("later", sealings.at_ms(3) + 2)]


def test_a_clock_set_back_over_sealed_times_overwrites_nothing(sealed: History) -> None:
    back = [
        sealings.tick(number, sealings.guest("a", cpu_time=number), time_ms=sealings.at_ms(number - 12))
        for number in range(12, 34)
    ]
    write_each(sealed, back)
    write_each(sealed, back)
    found = [one.stamp.time_ms for one in sealings.exported(sealed.reader())]
    assert found == sorted(found[:12]) + [sealings.at_ms(number - 12) + (number < 24) for number in range(12, 34)]
    assert len({*found}) == 34


def test_a_tick_of_an_unknown_boot_is_the_sealed_one_of_its_time(sealed: History) -> None:
    before = sealings.said(sealed)
    write_each(sealed, (sealings.tick(n, sealings.guest("a", cpu_time=1), boot="") for n in range(10)))
    assert sealings.said(sealed) == before


def test_an_empty_tick_that_is_sealed_comes_again_as_itself(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    batches = [sealings.tick(number) for number in range(12)]
    write_each(history, batches)
    write_each(history, batches)
    assert len(sealings.exported(history.reader())) == 12


def test_the_first_row_of_a_slice_builds_on_none_of_the_slice_before(sealed: History) -> None:
    store = Store(sealed.reader())
    assert (store.base_of(11), store.base_of(12)) == (0, 11)


# --- damage in the way of ticks


def test_a_damaged_directory_holds_no_tick_up_and_what_comes_again_is_there_again(sealed: History) -> None:
    sealings.spoil(sealed, "segment", "directory", sealings.query(sealed, "SELECT id FROM segment")[0][0], -1)
    sealings.again(sealed)
    write_each(sealed, sealings.numbers(0, 34))
    found, damaged = sealings.readable(sealed)
    assert sorted(one.stamp.time_ms for one in found) == [sealings.at_ms(number) for number in range(34)]
    assert len(damaged) == 1


def test_a_row_that_cannot_be_read_is_written_anew_when_it_comes_again(history: History) -> None:
    write_each(history, sealings.numbers(0, 4))
    sealings.spoil(history, "head", "blob", 3, -1)
    sealings.again(history)
    write_each(history, sealings.numbers(0, 4))
    found = [one.stamp.time_ms for one in sealings.exported(history.reader())]
    assert sorted(found) == [sealings.at_ms(number) for number in range(4)]


def test_a_row_is_laid_over_though_one_after_it_cannot_be_read(history: History) -> None:
    write_each(history, sealings.numbers(0, 4))
    sealings.spoil(history, "head", "blob", 3, -1)
    sealings.again(history)
    write_each(history, [sealings.tick(0, sealings.guest("a", cpu_time=7))])
    found, damaged = sealings.readable(history)
    assert [one.stamp.time_ms for one in found] == [sealings.at_ms(number) for number in (0, 1, 3)]
    assert found[0].records[0].params == {"cpu.time": 7}
    assert len(damaged) == 1


def test_a_row_set_aside_is_written_anew_when_it_comes_again(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    monkeypatch.setattr(sealing, "BASES_SEARCHED", 0)
    sealings.write_alone(history, *sealings.numbers(0, 6))
    for number in range(1, 6):
        sealings.spoil(history, "head", "blob", number, -1)
    sealings.rest(history)
    assert sealings.count(history, "SELECT count(*) FROM damaged") == 5
    write_each(history, sealings.numbers(0, 23))
    found = sorted(one.stamp.time_ms for one in sealings.exported(history.reader()))
    assert found == [sealings.at_ms(number) for number in range(23)]


# --- values that are not what they were


@pytest.mark.parametrize(
    "values",
    [[True, 5, False, 2], [0.5, 2**60 + 1, True, -0.0], [1, True, "x", 2], [2**64 - 1, -1, True, 0.1]],
    ids=str,
)
def test_nothing_is_packed_as_what_it_is_not(history: History, values: list[Value]) -> None:
    for number, value in enumerate(values):
        history.write(sealings.tick(number, sealings.with_params(sealings.guest(), {"odd": value})))
    assert [one.records[0].params["odd"] for one in sealings.exported(history.reader())] == values


def test_what_is_no_number_is_a_double_too(history: History) -> None:
    history.write(sealings.tick(0, sealings.with_params(sealings.guest(), {"odd": float("nan"), "odder": 1})))
    (params,) = [one.records[0].params for one in sealings.exported(history.reader())]
    assert params["odd"] != params["odd"]
    assert params["odder"] == 1
