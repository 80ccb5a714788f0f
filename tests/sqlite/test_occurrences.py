"""Events and gaps: rows of their own, found by time, guest and host, and never twice."""

from __future__ import annotations

from domstat.model import Batch, Domain, Gap, Kind, Record
from records import TIME_MS, UUID, batch, event_record, gap_record, guest_record, other_record

from .conftest import History


def events(*records: Record, time_ms: int = TIME_MS) -> Batch:
    return batch(*records, collect="events", time_ms=time_ms)


def test_a_batch_of_events_makes_rows_of_events_and_no_tick(history: History) -> None:
    history.write(events(event_record(), event_record("device-added", None, device="vdb")))
    assert history.ask("SELECT * FROM events ORDER BY type") == [
        (TIME_MS, "kvm1", "events", UUID, "web-1", 3, "device-added", None, "vdb"),
        (TIME_MS, "kvm1", "events", UUID, "web-1", 3, "started", "booted", None),
    ]
    assert history.ask("SELECT count(*) FROM head") == [(0,)]


def test_an_event_is_of_its_own_time_and_not_of_its_batchs(history: History) -> None:
    history.write(events(event_record(time_ms=5000), event_record("stopped", time_ms=7000), time_ms=9000))
    assert history.ask("SELECT time_ms, type FROM events ORDER BY 1") == [(5000, "started"), (7000, "stopped")]


def test_a_gap_is_a_row_of_its_stream_and_no_tick(history: History) -> None:
    history.write(batch(gap_record("no answer", lasted_ms=30_000)))
    assert history.ask("SELECT * FROM gaps") == [(TIME_MS - 30_000, TIME_MS, "kvm1", "default", "no answer")]
    assert history.ask("SELECT count(*) FROM head") == [(0,)]


def test_events_and_gaps_that_come_again_replace_themselves(history: History) -> None:
    first = events(event_record(), event_record(device="vda"), event_record(domain=None), gap_record())
    history.write(first, first)
    history.write(first, events(event_record(reason="migrated"), gap_record("another reason")))
    assert history.ask("SELECT device, domain, reason FROM events ORDER BY 1, 2") == [
        (None, None, "booted"),
        (None, "web-1", "migrated"),
        ("vda", "web-1", "booted"),
    ]
    assert history.ask("SELECT reason FROM gaps") == [("another reason",)]


def test_what_happens_in_one_millisecond_to_several_is_several_events(history: History) -> None:
    others = [event_record(domain=Domain(f"{i}", "clone", i)) for i in range(3)]
    history.write(events(event_record(), event_record("paused"), *others), batch(event_record(host="b"), host="b"))
    assert history.ask("SELECT count(*) FROM events") == [(6,)]


def test_gaps_one_after_the_other_are_both_kept(history: History) -> None:
    for gap in (Gap(1000, 2000, "agent stopped"), Gap(2000, 5000, "host down")):
        history.write(batch(other_record(Kind.GAP, gap=gap)))
    assert history.ask("SELECT start_ms, end_ms, reason FROM gaps ORDER BY 1") == [
        (1000, 2000, "agent stopped"),
        (2000, 5000, "host down"),
    ]


def test_a_guests_figures_and_its_events_stand_side_by_side(history: History) -> None:
    history.write(batch(guest_record()), events(event_record()))
    query = "SELECT e.type, s.value FROM events e JOIN samples s USING (uuid) WHERE s.field = 'vcpu.current'"
    assert history.ask(query) == [("started", 2)]


def test_events_and_gaps_are_found_by_indexes(history: History) -> None:
    for query, index in (
        ("SELECT type FROM events WHERE time_ms > 5", "event_time (time_ms>?)"),
        ("SELECT type FROM events WHERE uuid = 'x' AND time_ms > 5", "event_uuid (uuid=? AND time_ms>?)"),
        ("SELECT type FROM events WHERE host = 'kvm1' AND time_ms > 5", "event_key (stream=? AND time_ms>?)"),
        ("SELECT reason FROM gaps WHERE end_ms > 5", "gap_end (end_ms>?)"),
    ):
        assert index in " ".join(str(row[3]) for row in history.ask("EXPLAIN QUERY PLAN " + query))
