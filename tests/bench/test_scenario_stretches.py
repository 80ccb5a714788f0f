"""Stretches: steps as the sink's own roll-ups, over gaps and restarts, and ticks that follow on them."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, Course
from domstat_bench.scenario_stretches import PEAK, Stretch, Stretches
from domstat_bench.scenario_values import Ticks
from domstat_bench.scenario_world import GIB, Disk, Guest, Host, World
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, Sort

BEGIN_MS, STEP_MS, TICK_MS = 1_795_392_000_000, 300_000, 60_000
END_MS = BEGIN_MS + DAY_MS


def guest(number: int = 1, **changes: object) -> Guest:
    disk = Disk(reads=Course(level=10.0), latency=Course(level=0.002))
    about = {"uuid": f"u{number}", "name": f"web-{number}", "cores": Course(level=1.5), "disks": (disk,)}
    return Guest(**{**about, **changes})  # type: ignore[arg-type]


def stretches(*guests: Guest, gaps: tuple[tuple[int, int], ...] = ()) -> Stretches:
    host = Host(name="kvm1", own_cores=Course(level=0.3), guests=guests, gaps=gaps)
    world = World(begin_ms=BEGIN_MS, end_ms=END_MS, hosts=(host,))
    return Stretches(Ticks(world, host), gaps, STEP_MS, TICK_MS, BEGIN_MS)


def day(made: Stretches) -> list[Stretch]:
    return [*made.window(BEGIN_MS, BEGIN_MS + DAY_MS // 2), *made.window(BEGIN_MS + DAY_MS // 2, END_MS)]


def counter(stretch: Stretch, record: int, field: str) -> int:
    series = [stretch.rollup.scope.series[sort] for sort in COUNTERS]
    records = np.concatenate([of.records for of in series]).tolist()
    return list(zip(records, [name for of in series for name, _ in of.names], strict=True)).index((record, field))


def derived(stretch: Stretch, record: int, field: str) -> np.ndarray:
    of = stretch.rollup.scope.series[Sort.REAL]
    place = list(zip(of.records.tolist(), [name for name, _ in of.names], strict=True)).index((record, field))
    return np.asarray(stretch.rollup.levels[Sort.REAL].mins[:, place])


def test_every_step_is_a_bucket_of_as_many_ticks_as_it_would_have() -> None:
    first, second = day(stretches(guest()))
    assert first.rollup.starts_ms.tolist() == list(range(BEGIN_MS, BEGIN_MS + DAY_MS // 2, STEP_MS))
    assert set(np.unique(second.rollup.ticks)) == {5}


def test_counters_go_on_from_window_to_window() -> None:
    for stretch in day(stretches(guest())):
        place = counter(stretch, 1, "cpu.time")
        assert set(stretch.rollup.counters.increments[:, place].tolist()) == {450 * 10**9}
        assert set(stretch.rollup.counters.covered_ns[:, place].tolist()) == {300 * 10**9}
        assert np.allclose(stretch.rollup.counters.max_rates[:, place], 1.5 * PEAK)


def test_what_is_derived_is_what_the_courses_said() -> None:
    (stretch, _) = day(stretches(guest(memory=Course(level=1.0 * GIB))))
    assert np.allclose(derived(stretch, 1, "cpu.cores"), 1.5)
    assert np.allclose(derived(stretch, 1, "cpu.utilization"), 0.75)
    assert np.allclose(derived(stretch, 1, "memory.used"), GIB, rtol=1e-5)
    assert np.allclose(derived(stretch, 1, "block.rd.latency"), 0.002)
    assert np.allclose(derived(stretch, 0, "host.cpu.utilization"), 1.8 / 32)


def test_the_values_for_sketches_are_those_of_the_key_fields() -> None:
    (stretch, _) = day(stretches(guest()))
    cores = stretch.keyed.index("cpu.cores") * 2 + 1
    assert np.allclose(stretch.values[:, cores], 1.5)


def test_a_window_is_cut_where_a_guest_comes_and_where_one_goes() -> None:
    coming, going = guest(2, from_ms=BEGIN_MS + HOUR_MS), guest(3, until_ms=BEGIN_MS + 2 * HOUR_MS)
    found = list(stretches(guest(), coming, going).window(BEGIN_MS, BEGIN_MS + 4 * HOUR_MS))
    names = [[entry.name for entry in stretch.rollup.scope.entries] for stretch in found]
    assert names == [[None, "web-1", "web-3"], [None, "web-1", "web-2", "web-3"], [None, "web-1", "web-2"]]
    assert [len(stretch.rollup.starts_ms) for stretch in found] == [12, 12, 24]
    cpu = counter(found[1], 2, "cpu.time")
    assert found[1].rollup.counters.increments[0, cpu] == 450 * 10**9


def test_after_a_gap_a_counter_has_grown_for_as_long_as_nobody_looked() -> None:
    gap = (BEGIN_MS + HOUR_MS, BEGIN_MS + 3 * HOUR_MS)
    (stretch, _) = day(stretches(guest(), gaps=(gap,)))
    starts = stretch.rollup.starts_ms
    assert not ((starts >= gap[0]) & (starts < gap[1])).any()
    after = starts.tolist().index(gap[1])
    cpu = counter(stretch, 1, "cpu.time")
    assert stretch.rollup.counters.covered_ns[after, cpu] == (2 * 3600 + 300) * 10**9
    assert stretch.rollup.counters.increments[after, cpu] == 1.5 * (2 * 3600 + 300) * 10**9
    assert derived(stretch, 1, "cpu.cores")[after] == pytest.approx(1.5)


def test_a_gap_over_the_end_of_a_window_is_no_less_covered() -> None:
    noon = BEGIN_MS + DAY_MS // 2
    first, second = day(stretches(guest(), gaps=((noon - HOUR_MS, noon + HOUR_MS),)))
    assert len(first.rollup.starts_ms) == len(second.rollup.starts_ms) == 132
    cpu = counter(second, 1, "cpu.time")
    assert second.rollup.counters.covered_ns[0, cpu] == (2 * 3600 + 300) * 10**9


def test_a_restart_costs_a_tick_of_that_guest_alone() -> None:
    (stretch, _) = day(stretches(guest(resets=(BEGIN_MS + HOUR_MS + 1,)), guest(2)))
    covered = stretch.rollup.counters.covered_ns
    of_first, of_second = counter(stretch, 1, "cpu.time"), counter(stretch, 2, "cpu.time")
    assert covered[12, of_first] == 240 * 10**9
    assert stretch.rollup.counters.increments[12, of_first] == 360 * 10**9
    assert set(covered[:, of_second].tolist()) == {300 * 10**9}
    assert np.count_nonzero(covered[:, of_first] != 300 * 10**9) == 1


def test_ticks_follow_on_what_windows_made() -> None:
    made, other = stretches(guest()), stretches(guest())
    list(made.window(BEGIN_MS, END_MS))
    list(other.window(BEGIN_MS, END_MS - STEP_MS))
    (time_ms, said), *more = made.ticks(END_MS, END_MS + HOUR_MS)
    assert time_ms == END_MS
    assert len(more) == 59
    assert [number for number, _ in said] == [0, 1]
    (_, before), *_ = other.ticks(END_MS - STEP_MS, END_MS)
    assert said[1][1][1] - before[1][1][1] == 450 * 10**9


def test_counters_of_ticks_begin_at_zero_where_a_guest_is_started_anew() -> None:
    made = stretches(guest(resets=(BEGIN_MS + 10 * TICK_MS,)))
    times = [said[1][1][1] for _, said in made.ticks(BEGIN_MS, BEGIN_MS + HOUR_MS)]
    assert times[10] == 0
    assert times[9] > 0
    assert np.diff(times)[10:].tolist() == [90 * 10**9] * 49
