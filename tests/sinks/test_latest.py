"""What a live screen shows, put together from batches."""

from __future__ import annotations

import pytest

from domstat.model import Batch, Gap, Kind, Record
from domstat_sinks import latest
from domstat_sinks.latest import OCCURRENCES_MAX, SHOWN_FOR_S, Latest
from records import (
    agent_record,
    batch,
    event_record,
    gap_record,
    guest_record,
    host_record,
    other_record,
    pool_record,
    sleeper_record,
)


def guests(*names: str) -> list[Record]:
    return [guest_record(name, uuid=name, params={"cpu.time": 1}, first=True) for name in names]


def shown(screen: Latest) -> list[str]:
    """The names of the guests of the one stream there is, in their order."""
    (whole,) = screen.batches()
    return [record.domain.name for record in whole.records if record.domain]


def add(screen: Latest, *batches: Batch) -> None:
    for each in batches:
        screen.add(each, 0.0)


def test_a_tick_that_comes_in_one_batch_is_shown_as_it_is() -> None:
    screen = Latest()
    first = batch(host_record(), *guests("a", "b"), agent_record(), time_ms=1000)
    second = batch(host_record(), *guests("b"), agent_record(), time_ms=2000)
    for tick in (first, second):
        add(screen, tick)
        assert screen.batches() == [tick]


def test_parts_of_a_tick_are_one_and_its_calls_take_as_long_as_all_of_them() -> None:
    screen = Latest()
    add(screen, batch(host_record(), *guests("a"), call_ms=10, time_ms=1000))
    add(screen, batch(*guests("b"), agent_record(), call_ms=20, time_ms=1010))
    (whole,) = screen.batches()
    assert [record.kind for record in whole.records] == [Kind.HOST, Kind.GUEST, Kind.GUEST, Kind.AGENT]
    assert (whole.stamp.time_ms, whole.stamp.call_ns) == (1010, 30_000_000)


def test_nobody_flickers_while_a_tick_in_parts_comes_in() -> None:
    screen = Latest()
    parts = [("a", "b"), ("c", "d"), ("e",)]
    for tick in range(3):
        for part, names in enumerate(parts):
            add(screen, batch(*guests(*names), time_ms=1000 * tick + part))
            if tick:
                assert shown(screen) == ["a", "b", "c", "d", "e"]


def test_the_newest_record_of_a_guest_is_shown() -> None:
    screen = Latest()
    for tick in range(3):
        for name in ("a", "b"):
            record = guest_record(name, uuid=name, params={"cpu.time": tick}, first=True)
            add(screen, batch(record, time_ms=1000 * tick))
    (whole,) = screen.batches()
    assert [record.params["cpu.time"] for record in whole.records] == [2, 2]


def test_a_guest_that_has_gone_from_a_tick_in_parts_is_away_a_tick_later() -> None:
    screen = Latest()
    add(screen, batch(*guests("a", "b")), batch(*guests("c")))
    add(screen, batch(*guests("a")), batch(*guests("c")))
    assert shown(screen) == ["a", "b", "c"]
    add(screen, batch(*guests("a")))
    assert shown(screen) == ["a", "c"]


def test_a_host_that_is_not_asked_in_parts_any_more_is_shown_as_it_is() -> None:
    screen = Latest()
    add(screen, batch(*guests("a")), batch(*guests("b")))
    for _ in range(2):
        add(screen, batch(*guests("a", "c")))
    assert shown(screen) == ["a", "c"]


def test_the_last_guest_to_go_leaves_nothing() -> None:
    screen = Latest()
    nobody = Batch(host="kvm1", collect="default", stamp=batch().stamp, records=())
    add(screen, batch(*guests("a")), nobody)
    assert screen.batches() == [nobody]


def test_a_guest_that_was_switched_on_is_no_longer_among_those_that_are_off() -> None:
    screen = Latest()
    add(screen, batch(pool_record(), sleeper_record("a", uuid="a"), sleeper_record("b", uuid="b"), collect="survey"))
    add(screen, batch(pool_record(), sleeper_record("b", uuid="b"), collect="survey"))
    assert shown(screen) == ["b"]


def test_every_stream_has_its_own_tick_and_its_place() -> None:
    screen = Latest()
    add(screen, batch(*guests("a")), batch(*guests("a"), collect="slow"), batch(*guests("b"), host="kvm2"))
    add(screen, batch(*guests("a")))
    assert [whole.stream for whole in screen.batches()] == [("kvm1", "default"), ("kvm1", "slow"), ("kvm2", "default")]


def test_a_tick_has_so_many_parts_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest, "PARTS_MAX", 3)
    screen = Latest()
    for number in range(100):
        add(screen, batch(*guests(f"{number}")))
    assert len(shown(screen)) <= 6


def test_events_and_gaps_are_no_ticks_and_stay_for_a_minute() -> None:
    screen = Latest()
    screen.add(batch(event_record(), collect="events"), 0.0)
    screen.add(batch(gap_record()), 30.0)
    assert screen.batches() == []
    assert [record.kind for record in screen.occurrences(SHOWN_FOR_S - 0.1)] == [Kind.EVENT, Kind.GAP]
    assert [record.kind for record in screen.occurrences(SHOWN_FOR_S)] == [Kind.GAP]
    assert screen.occurrences(SHOWN_FOR_S + 30.0) == []


def test_an_event_among_guests_is_shown_once() -> None:
    screen = Latest()
    add(screen, batch(*guests("a"), event_record()))
    assert [len(whole.records) for whole in screen.batches()] == [1]
    assert len(screen.occurrences(0.0)) == 1


def test_only_so_many_events_are_remembered() -> None:
    screen = Latest()
    for i in range(OCCURRENCES_MAX + 5):
        add(screen, batch(event_record(time_ms=i), collect="events"))
    assert [record.time_ms for record in screen.occurrences(0.0)] == list(range(5, OCCURRENCES_MAX + 5))


def gap(start: int, end: int, reason: str = "host-down", host: str = "kvm1") -> Batch:
    return batch(other_record(Kind.GAP, gap=Gap(start, end, reason), host=host, time_ms=start), host=host)


def test_a_gap_that_goes_on_from_tick_to_tick_is_one() -> None:
    screen = Latest()
    for tick in range(5):
        add(screen, gap(10 * tick, 10 * tick + 10))
        screen.add(batch(event_record(), collect="events"), float(tick))
    assert [record.gap for record in screen.occurrences(5.0) if record.gap] == [Gap(0, 50, "host-down")]


def test_gaps_of_different_streams_reasons_and_times_are_several() -> None:
    screen = Latest()
    add(screen, gap(0, 10), gap(10, 20, "deadline"), gap(10, 20, host="kvm2"), gap(50, 60))
    assert len(screen.occurrences(0.0)) == 4
