"""What was stored comes back as the batches it came in, for another sink."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat.history import HasBatches, HistoryError
from domstat.model import Batch, Kind, Record, Stamp
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.answers import export
from domstat_sinks.sqlite.answers.export import Exporter
from domstat_sinks.sqlite.keeping import merging
from domstat_sinks.sqlite.packed import sealed, segments
from domstat_sinks.sqlite.sink import SqliteSettings
from records import INTERVAL_MS, TIME_MS, UUID, batch, event_record, gap_record, guest_record, host_record

from . import sealings
from .conftest import History
from .test_stored import Life

EVER_MS = 1 << 62


def at(time_ms: int, *records: Record) -> Batch:
    """Make a tick at a time, by both clocks."""
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
    return Batch(host="kvm1", collect="default", stamp=stamp, records=records)


def exported(history: History, since_ms: int = 0, until_ms: int = EVER_MS) -> list[Batch]:
    damaged: list[str] = []
    found = list(Exporter(history.reader()).batches(since_ms, until_ms, damaged.append))
    assert damaged == []
    return found


def times(batches: list[Batch]) -> list[int]:
    return [batch.stamp.time_ms for batch in batches]


def without_intervals(batches: list[Batch]) -> list[Batch]:
    return [replace(one, records=tuple(replace(record, interval_s=None) for record in one.records)) for one in batches]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_batches_come_back_with_their_stamps_and_the_streams_rates(
    make_history: Callable[[], History], seed: int, chunks: int
) -> None:
    history = make_history()
    life = Life(seed, chunks)
    written = [batch for _ in range(24 // chunks) for batch in life.tick()]
    history.write(*written)
    for one, other in zip(without_intervals(exported(history)), written, strict=True):
        assert one.stamp == other.stamp
        for record, original in zip(one.records, other.records, strict=True):
            assert (record.params, record.rates) == (original.params, original.rates)
            assert replace(record, figures=original.figures) == original
    history.close()


def test_what_the_row_does_not_keep_is_worked_out_again(history: History) -> None:
    times_ms = (TIME_MS - INTERVAL_MS, TIME_MS)
    original = guest_record(labels={}, devices={})
    counters = {key: value for key, value in original.params.items() if key in original.rates}
    grown = {
        key: value - round(original.rates[key] * INTERVAL_MS / 1000)
        for key, value in counters.items()
        if isinstance(value, int) and key.endswith(("reqs", "bytes", "pkts"))
    }
    before = guest_record(extra={**grown, "cpu.time": int(original.params["cpu.time"]) - 5 * 10**9})
    history.write(at(times_ms[0], before, host_record()), at(times_ms[1], original, host_record()))
    first, second = exported(history)
    assert [record.interval_s for record in first.records] == [None, None]
    assert [record.interval_s for record in second.records] == [10.0, 10.0]
    guest, host = second.records
    assert guest.derived["cpu.utilization"] == original.derived["cpu.utilization"] == 0.25
    assert guest.derived["memory.used"] == original.derived["memory.used"]
    assert host.derived["host.memory.used"] == host_record().derived["host.memory.used"]


def test_another_incarnation_has_no_interval(history: History) -> None:
    history.write(at(1000, guest_record(id=3)), at(2000, guest_record(id=4)), at(3000, guest_record(id=4)))
    assert [one.records[0].interval_s for one in exported(history)] == [None, None, 1.0]


def test_labels_and_devices_come_with_the_first_record_and_when_they_change(history: History) -> None:
    def tick(time_ms: int, **details: Any) -> Batch:
        return at(time_ms, guest_record(time_ms=time_ms, **details))

    said: dict[str, Any] = {"labels": {"title": "x"}, "devices": {"vda": {"path": "/a"}}}
    history.write(tick(1000, **said), tick(2000), tick(3000), tick(4000, labels={"title": "y"}, devices={}), tick(5000))
    titles = [(record.labels or {}).get("title") for one in exported(history) for record in one.records]
    assert titles == ["x", None, None, "y", None]
    (first, *_) = exported(history, since_ms=3000)
    assert first.records[0].labels == {"title": "x"}
    assert first.records[0].devices == {"vda": {"path": "/a"}}


def test_events_and_gaps_come_at_their_time_and_are_no_ticks(history: History) -> None:
    event, gap = event_record(time_ms=1500, collect="events"), gap_record(time_ms=2500, lasted_ms=0)
    ticks = [at(time_ms, guest_record(time_ms=time_ms)) for time_ms in (1000, 2000, 3000)]
    history.write(*ticks, batch(event, collect="events", time_ms=1500), batch(gap, time_ms=2500))
    found = exported(history)
    assert [one.records[0].kind for one in found] == [Kind.GUEST, Kind.EVENT, Kind.GUEST, Kind.GAP, Kind.GUEST]
    assert [one.records[0] for one in found if one.records[0].kind in {Kind.EVENT, Kind.GAP}] == [event, gap]
    assert found[1].stream == ("kvm1", "events")
    assert found[1].stamp.boot_id == ""


def test_a_span_has_what_begins_in_it(history: History) -> None:
    for time_ms in (1000, 2000, 3000, 4000):
        gap = gap_record(time_ms=time_ms + 500, lasted_ms=0)
        event = event_record(time_ms=time_ms + 500)
        history.write(at(time_ms, guest_record(time_ms=time_ms)), batch(gap, event, time_ms=time_ms + 500))
    assert times(exported(history, 2000, 3500)) == [2000, 2500, 2500, 3000]
    assert Exporter(history.reader()).count(2000, 3500) == 4
    assert Exporter(history.reader()).count(0, EVER_MS) == len(exported(history)) == 12
    assert exported(history, 9000) == []


@pytest.mark.parametrize("page", [1, 3, 4, 1000])
def test_it_is_all_there_however_small_the_pages(history: History, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(export, "PAGE", page)
    monkeypatch.setattr(export, "TICKS", page)
    for i in range(8):
        time_ms = 1000 * i
        occurred = (event_record(time_ms=time_ms), event_record("paused", time_ms=time_ms))
        history.write(at(time_ms, guest_record(time_ms=time_ms), *occurred, gap_record(time_ms=time_ms, lasted_ms=0)))
    assert len(exported(history)) == 8 * 4
    assert times(exported(history)) == sorted(times(exported(history)))


def test_a_row_that_is_damaged_is_said_and_the_others_come(history: History) -> None:
    history.write(*(at(1000 * i, guest_record(time_ms=1000 * i, extra={"cpu.time": i})) for i in range(1, 5)))
    plain = sqlite3.connect(history.path)
    plain.execute("UPDATE head SET blob = zeroblob(length(blob)) WHERE time_ms = 2000")
    plain.commit()
    plain.close()
    damaged: list[str] = []
    found = list(Exporter(history.reader()).batches(0, EVER_MS, damaged.append))
    assert times(found) == [1000, 3000, 4000]
    assert damaged == ["head row 2 is damaged: its checksum is wrong"]
    assert [one.records[0].interval_s for one in found] == [None, None, 1.0]


def test_a_history_says_that_it_can_give_back_what_it_has(history: History) -> None:
    history.write(at(1000, guest_record(time_ms=1000)))
    with SqliteSink.history(SqliteSettings(), history.folder) as opened:
        assert isinstance(opened, HasBatches)
        assert opened.count(0, EVER_MS) == 1
        assert [record.subject for one in opened.batches(0, EVER_MS, print) for record in one.records] == [UUID]


def test_a_history_that_cannot_be_read_says_so(history: History) -> None:
    history.write(at(1000, guest_record(time_ms=1000)))
    with SqliteSink.history(SqliteSettings(), history.folder) as opened:
        assert isinstance(opened, HasBatches)
        plain = sqlite3.connect(history.path)
        plain.execute("DROP TABLE gap")
        plain.commit()
        plain.close()
        with pytest.raises(HistoryError, match=r"history\.db: no such table"):
            opened.count(0, EVER_MS)
        with pytest.raises(HistoryError, match=r"history\.db: no such table"):
            list(opened.batches(0, EVER_MS, print))


def test_a_clock_that_was_set_back_takes_nothing_into_a_span_that_is_not_in_it(history: History) -> None:
    history.write(*(at(time_ms, guest_record(time_ms=time_ms)) for time_ms in (1000, 9000, 2000)))
    assert times(exported(history, 0, 5000)) == [1000, 2000]


# While a history is being sealed.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of five ticks, windows of two, and no chunk that is remembered."""
    sealings.make_small(monkeypatch)
    monkeypatch.setattr(sealed, "WINDOW_VALUES", 4)
    monkeypatch.setattr(segments.Segments.__init__, "__defaults__", (1,))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("taken", range(12))
def test_whoever_is_at_it_when_ticks_are_sealed_and_merged_has_each_once(history: History, taken: int) -> None:
    sealings.write_each(history, sealings.numbers(0, 12))
    begun = Exporter(history.reader()).batches(0, EVER_MS, pytest.fail)
    found = [next(begun) for _ in range(taken)]
    sealings.write_each(history, sealings.numbers(12, 43))
    assert merging.LAST in sealings.levels(history)
    found += begun
    assert times(found) == [sealings.at_ms(number) for number in range(len(found))]
    assert len(found) >= 12


@pytest.mark.usefixtures("small")
def test_whoever_is_at_it_while_ticks_are_sealed_step_by_step_has_each_once(history: History) -> None:
    sealings.write_alone(history, *sealings.numbers(0, 12))
    begun = Exporter(history.reader()).batches(0, EVER_MS, pytest.fail)
    found = [next(begun)]
    for number in range(12, 60):
        sealings.write_alone(history, sealings.steady(number))
        for _ in range(3):
            sealings.step(history)
        found.append(next(begun))
    found += begun
    assert times(found) == [sealings.at_ms(number) for number in range(60)]


@pytest.mark.usefixtures("small")
def test_ticks_that_are_sealed_between_two_looks_are_not_passed_over(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealings.write_alone(history, *sealings.numbers(0, 12))
    whole = Exporter._page

    def page(exporter: Exporter, *arguments: Any) -> Any:
        sealings.rest(history)
        return whole(exporter, *arguments)

    monkeypatch.setattr(Exporter, "_page", page)
    assert times(exported(history)) == [sealings.at_ms(number) for number in range(12)]


@pytest.mark.usefixtures("small")
def test_a_segment_that_is_gone_with_its_ticks_is_no_damage(history: History) -> None:
    sealings.write_each(history, sealings.numbers(0, 23))
    begun = Exporter(history.reader()).batches(0, EVER_MS, pytest.fail)
    found = [next(begun) for _ in range(3)]
    plain = sqlite3.connect(history.path)
    plain.executescript("DELETE FROM segment; DELETE FROM chunk")
    plain.close()
    found += begun
    assert times(found)[:3] == [sealings.at_ms(number) for number in range(3)]
    assert times(found)[-3:] == [sealings.at_ms(number) for number in range(20, 23)]


@pytest.mark.usefixtures("small")
def test_ticks_are_counted_whether_sealed_or_not(history: History) -> None:
    sealings.write_each(history, sealings.numbers(0, 23))
    exporter = Exporter(history.reader())
    assert exporter.count(0, EVER_MS) == 23
    assert exporter.count(sealings.at_ms(21), EVER_MS) == 2
    assert exporter.count(0, sealings.at_ms(0)) == 0


@pytest.mark.usefixtures("small")
def test_a_span_of_what_is_sealed_has_what_is_in_it(history: History) -> None:
    sealings.write_each(history, sealings.numbers(0, 23))
    span = (sealings.at_ms(7), sealings.at_ms(13))
    assert times(exported(history, *span)) == [sealings.at_ms(number) for number in range(7, 13)]
