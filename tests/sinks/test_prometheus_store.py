"""The latest of everything: whole ticks, ticks in parts, and what gets stale."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest

from domstat.model import Batch, Record
from domstat_sinks.prometheus import store as store_module
from domstat_sinks.prometheus.store import AGENT_SAYS_FOR_MS, PARTS_MAX, Store
from records import TIME_MS, agent_record, batch, event_record, gap_record, guest_record, host_record, pool_record

STALE_AFTER_S = 60.0
INTERVAL_MS = 10_000


def guests(*names: str) -> list[Record]:
    return [guest_record(name, uuid=name, params={"cpu.time": 1}, first=True) for name in names]


def tick(number: int, *records: Record, **more: Any) -> Batch:
    """A tick in one batch, or the last part of one."""
    return batch(*records, agent_record(time_ms=time_of(number)), time_ms=time_of(number), **more)


def part(number: int, *records: Record, **more: Any) -> Batch:
    return batch(*records, time_ms=time_of(number), **more)


def time_of(number: float) -> int:
    return TIME_MS + round(number * INTERVAL_MS)


class Shown:
    """A store that takes batches at the very time of their stamps."""

    def __init__(self, stale_after_s: float = STALE_AFTER_S) -> None:
        self.store = Store(stale_after_s)

    def add(self, *batches: Batch) -> Shown:
        for each in batches:
            self.store.add([each], (each.stamp.time_ms - TIME_MS) / 1000, each.stamp.time_ms)
        return self

    def names(self, at: float = 0.0) -> list[str]:
        """The guests shown at the time of tick *at*, which may be between two."""
        snapshot = self.store.snapshot(at * INTERVAL_MS / 1000)
        found = {
            record.domain.name
            for stream in snapshot.streams
            for each in stream.batches
            for record in each.records
            if record.domain
        }
        return sorted(found)


def test_who_is_not_in_the_newest_whole_tick_is_gone() -> None:
    shown = Shown().add(tick(0, *guests("a", "b")))
    assert shown.names() == ["a", "b"]
    assert shown.add(tick(1, *guests("b"))).names(1) == ["b"]
    assert shown.add(tick(2)).names(2) == []


def test_nobody_flickers_while_a_tick_in_parts_comes_in_and_who_is_gone_is_away_with_its_last_part() -> None:
    shown = Shown()
    for number in range(3):
        shown.add(part(number, *guests("a", "b")))
        assert shown.names(number) == (["a", "b"] if number == 0 else ["a", "b", "c", "d"])
        shown.add(part(number, *guests("c")))
        shown.add(tick(number, *guests("d")))
        assert shown.names(number) == ["a", "b", "c", "d"]
    shown.add(part(3, *guests("a")), part(3, *guests("c")))
    assert shown.names(3) == ["a", "b", "c", "d"]
    assert shown.add(tick(3, *guests("d"))).names(3) == ["a", "c", "d"]


def test_a_host_that_is_asked_in_parts_from_now_on_loses_nobody_meanwhile() -> None:
    shown = Shown().add(tick(0, *guests("a", "b")), part(1, *guests("a")))
    assert shown.names(1) == ["a", "b"]


def test_a_tick_that_was_cut_off_takes_nobody_away() -> None:
    shown = Shown().add(part(0, *guests("a")), tick(0, *guests("b")))
    shown.add(part(1, *guests("a")), part(1, *guests("new")))  # and then the host was lost
    assert shown.add(part(2, *guests("a"))).names(2) == ["a", "b", "new"]
    assert shown.add(tick(2, *guests("c"))).names(2) == ["a", "c"]


def test_ticks_that_are_always_cut_off_do_not_keep_the_last_whole_one_for_ever() -> None:
    shown = Shown().add(part(0, *guests("a")), tick(0, *guests("b")))
    for number in range(1, 10):
        shown.add(part(number, *guests("a")))
    assert shown.names(9) == ["a"]


def test_a_part_that_comes_twice_takes_nobody_away() -> None:
    shown = Shown().add(part(0, *guests("a")), part(0, *guests("a")))
    assert shown.add(tick(0, *guests("b"))).names() == ["a", "b"]


def test_a_survey_is_whole_in_one_batch_even_if_everybody_in_it_is_another() -> None:
    shown = Shown().add(part(0, *guests("a"), collect="survey"), part(1, *guests("b"), collect="survey"))
    assert shown.names(1) == ["b"]
    assert shown.add(part(2, pool_record(), collect="survey")).names(2) == []


def test_a_tick_that_never_ends_has_a_limit() -> None:
    shown = Shown()
    for number in range(PARTS_MAX + 5):
        shown.add(part(0, *guests(str(number))))
    assert len(shown.names()) <= 2 * PARTS_MAX
    assert len(shown.store._streams["kvm1", "default"]._parts) <= PARTS_MAX


def test_streams_of_several_hosts_and_blocks_are_beside_each_other() -> None:
    shown = Shown().add(
        tick(0, *guests("a")), tick(0, *guests("b"), collect="slow"), tick(0, *guests("c"), host="kvm2")
    )
    assert shown.names() == ["a", "b", "c"]


def test_events_and_gaps_are_no_ticks() -> None:
    shown = Shown().add(tick(0, *guests("a")), batch(gap_record()), batch(event_record()))
    assert shown.names() == ["a"]
    assert [stream.time_ms for stream in shown.store.snapshot(0).streams] == [TIME_MS]


def test_a_stream_without_ticks_is_shown_as_long_as_it_is_not_stale_and_its_last_time_for_ever() -> None:
    shown = Shown(60.0).add(tick(0, *guests("a")), tick(1, *guests("a")))
    assert shown.names(6.9) == ["a"]
    assert shown.names(7.0) == []
    assert [stream.time_ms for stream in shown.store.snapshot(1e6).streams] == [time_of(1)]
    assert shown.add(tick(100, *guests("a"))).names(100) == ["a"]


def test_a_slow_stream_is_shown_for_three_of_its_intervals() -> None:
    shown = Shown(60.0).add(part(0, *guests("a"), collect="survey"), part(30, *guests("a"), collect="survey"))
    assert shown.names(30 + 89) == ["a"]
    assert shown.names(30 + 90) == []


def test_a_first_tick_is_shown_longer_since_nobody_knows_when_the_next_is_due() -> None:
    shown = Shown(60.0).add(tick(0, *guests("a")))
    assert shown.names(17.9) == ["a"]
    assert shown.names(18.0) == []


def test_an_outage_is_not_taken_for_an_interval() -> None:
    shown = Shown(60.0).add(*(tick(number, *guests("a")) for number in (0, 1, 2, 1000)))
    assert shown.names(1005.9) == ["a"]
    assert shown.names(1006.0) == []


def test_a_tick_that_waited_in_a_journal_is_as_old_as_its_stamp_says() -> None:
    store = Store(60.0)
    for number in (0, 1):
        store.add([tick(number, *guests("a"))], 5000.0, time_of(1) + 50_000)
    shown = [len(store.snapshot(now_s).streams[0].batches) for now_s in (5000.0, 5009.0, 5010.0)]
    assert shown == [1, 1, 0]


def test_a_wall_clock_that_is_set_back_makes_nothing_live_longer() -> None:
    store = Store(60.0)
    for number in (0, 1):
        store.add([tick(number, *guests("a"))], 100.0, time_of(1) - 3_600_000)
    shown = [len(store.snapshot(now_s).streams[0].batches) for now_s in (159.0, 160.0)]
    assert shown == [1, 0]


def test_a_snapshot_says_when_the_first_of_it_gets_stale() -> None:
    store = Store(60.0)
    assert store.snapshot(0.0).fresh_until_s == math.inf
    for number in (0, 1):
        store.add([tick(number, *guests("a"))], 10.0 * number, time_of(number))
    assert store.snapshot(20.0).fresh_until_s == 70.0
    assert store.snapshot(70.0).fresh_until_s == math.inf


def test_the_version_grows_with_all_that_comes_and_with_nothing_else() -> None:
    store = Store(60.0)
    versions = [store.version]
    for each in (tick(0, *guests("a")), batch(event_record())):
        store.add([each], 0.0, TIME_MS)
        assert store.snapshot(0.0).version == store.snapshot(1.0).version == store.version
        versions.append(store.version)
    assert versions == sorted(set(versions))


def test_what_the_agent_says_now_and_then_stays_for_a_while() -> None:
    def says(at_ms: int, **more: Any) -> Batch:
        return batch(agent_record(time_ms=TIME_MS + at_ms, **more), time_ms=TIME_MS + at_ms)

    store = Store(1e6)
    seen = []
    for at_ms in (0, INTERVAL_MS, AGENT_SAYS_FOR_MS, AGENT_SAYS_FOR_MS + 1):
        store.add([says(at_ms, extra={} if at_ms else {"agent.cost.qemu": 5})], at_ms / 1000, TIME_MS + at_ms)
        seen.append("agent.cost.qemu" in store.snapshot(at_ms / 1000).streams[0].agent)
    assert seen == [True, True, True, False]


def test_nothing_but_the_newest_tick_is_held() -> None:
    shown = Shown()
    gc.collect()
    before = sum(type(each) is Record for each in gc.get_objects())
    for number in range(50):
        shown.add(tick(number, host_record(), *guests("a", "b")))
        shown.names(number)
    gc.collect()
    held = sum(type(each) is Record for each in gc.get_objects()) - before
    assert held == 4, "the host, two guests, the agent"


def test_a_stale_tick_is_not_held_either() -> None:
    shown = Shown().add(tick(0, *guests("a", "b")))
    gc.collect()
    before = sum(type(each) is Record for each in gc.get_objects())
    shown.names(1e6)
    gc.collect()
    assert before - sum(type(each) is Record for each in gc.get_objects()) == 3


def test_labels_of_guests_that_are_gone_are_forgotten_once_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ABOUTS_MIN", 10)
    shown = Shown()
    for number in range(100):
        stays, comes = (guest_record(name, uuid=name, labels={"title": name}) for name in ("stays", str(number)))
        shown.add(tick(number, stays if number == 0 else guest_record("stays", uuid="stays"), comes))
        assert len(shown.store._abouts) <= 12
    labels = {about.labels["title"] for about in shown.store.snapshot(990.0).abouts.values() if about.labels}
    assert labels >= {"stays", "99"}


def test_streams_and_counts_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("STREAMS_MAX", "COUNTS_MAX"):
        monkeypatch.setattr(store_module, limit, 3)
    shown = Shown()
    for number in range(10):
        shown.add(tick(number, *guests("a"), host=f"kvm{number}"))
        shown.add(batch(event_record(f"type-{number}")), batch(gap_record(f"reason-{number}")))
        shown.add(batch(event_record("type-1")))
    snapshot = shown.store.snapshot(90.0)
    assert [stream.name[0] for stream in snapshot.streams] == ["kvm7", "kvm8", "kvm9"]
    assert snapshot.counts.events == {("kvm1", "type-0"): 1, ("kvm1", "type-1"): 11, ("kvm1", "type-2"): 1}
    assert len(snapshot.counts.gaps) == 3


def test_a_snapshot_does_not_change_any_more() -> None:
    shown = Shown().add(tick(0, *guests("a")), batch(event_record()))
    snapshot = shown.store.snapshot(0.0)
    shown.add(tick(1, *guests("b")), batch(event_record()), batch(guest_record(labels={}), collect="other"))
    assert [each.records[0].domain.name for each in snapshot.streams[0].batches if each.records[0].domain] == ["a"]
    assert (snapshot.counts.events, len(snapshot.abouts)) == ({("kvm1", "started"): 1}, 0)
