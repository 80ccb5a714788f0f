"""The last ticks and what happened, as an agent's batches."""

from __future__ import annotations

from msgspec.structs import replace

from domstat.model import Batch, Kind
from domstat_bench import scenarios
from domstat_bench.scenario_courses import DAY_MS, HOUR_MS
from domstat_bench.scenario_stretches import Stretches
from domstat_bench.scenario_ticks import LATE_MS, batches, happenings
from domstat_bench.scenario_truth import Scenario
from domstat_bench.scenario_values import streams_of
from domstat_bench.scenarios import END_MS


def last_hour(scenario: Scenario, number: int = 0) -> list[Batch]:
    world = scenario.world
    host = world.hosts[0]
    stream = streams_of(world, host)[number]
    made = Stretches(stream, host.gaps, world.step_ms, 60_000, END_MS - HOUR_MS)
    return list(batches(host, stream, made, END_MS - HOUR_MS, END_MS))


def test_a_tick_has_the_host_first_and_then_its_guests_each_with_all_its_keys() -> None:
    found = last_hour(scenarios.one_hour())
    assert len(found) == 60
    assert found[1].stamp.time_ms == END_MS - 59 * 60_000 + LATE_MS
    assert found[1].stamp.boot_ns == (END_MS - 59 * 60_000) * 1_000_000
    assert [record.kind for record in found[0].records] == [Kind.HOST, Kind.GUEST, Kind.GUEST, Kind.GUEST]
    assert found[0].records[1].params["state.state"] == 1
    assert all(type(value) is int for value in found[0].records[1].params.values())


def test_labels_and_devices_travel_once_an_hour() -> None:
    first, second, *_ = last_hour(scenarios.one_hour())
    assert first.records[1].labels == {"title": "plain 0"}
    assert first.records[1].devices is not None
    assert "vda" in first.records[1].devices
    assert second.records[1].labels is None


def test_a_guest_that_was_started_anew_has_another_id() -> None:
    ids = [batch.records[1].domain.id for batch in last_hour(scenarios.resets()) if batch.records[1].domain]
    assert len(set(ids)) == 2
    assert ids.index(ids[-1]) == 30


def test_a_survey_has_the_pool_with_its_labels_and_guests_that_are_off_without_an_id() -> None:
    first, *_ = last_hour(scenarios.powered_off(), 1)
    assert first.collect == "survey"
    assert [record.kind for record in first.records] == [Kind.POOL, Kind.GUEST, Kind.GUEST]
    assert first.records[0].labels == {"type": "dir", "path": "/var/lib/libvirt/images"}
    assert first.records[1].domain is not None
    assert first.records[1].domain.id is None


def happened(scenario: Scenario) -> list[tuple[str, int, str, str | None]]:
    found = [
        record
        for host in scenario.world.hosts
        for batch in happenings(scenario.world, host)
        for record in batch.records
    ]
    return [(r.host, r.time_ms, r.event.type, r.event.reason) for r in found if r.event]


def test_what_moved_stopped_here_and_started_there() -> None:
    at_ms = END_MS - 25 * DAY_MS
    assert happened(scenarios.moved()) == [
        ("kvm1", at_ms, "stopped", "migrated"),
        ("kvm2", at_ms, "started", "migrated"),
    ]


def test_a_shutdown_a_new_guest_and_a_restart_are_events() -> None:
    assert happened(scenarios.powered_off()) == [("kvm1", END_MS - 35 * DAY_MS, "stopped", "shutdown")]
    assert happened(scenarios.new_guest()) == [("kvm1", END_MS - 12 * DAY_MS, "started", "booted")]
    restarts = happened(scenarios.resets())
    assert {kind for _, _, kind, _ in restarts} == {"stopped", "started"}
    assert len(restarts) == 2 * 18


def test_nothing_happens_to_guests_of_a_host_that_vanished() -> None:
    assert happened(scenarios.vanished_host()) == []


def test_a_gap_says_when_nobody_looked() -> None:
    world = scenarios.gaps().world
    found = [record.gap for batch in happenings(world, world.hosts[0]) for record in batch.records]
    assert len(found) == 119
    assert found[0] is not None
    assert found[0].end - found[0].start == 8 * HOUR_MS
    without = replace(world.hosts[0], gaps=())
    assert list(happenings(world, without)) == []
