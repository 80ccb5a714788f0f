"""When daily peaks reach a limit: later than nothing, sooner than means, and on the day that courses say."""

from __future__ import annotations

from msgspec.structs import replace

from domstat_bench import scenarios
from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, Course
from domstat_bench.scenario_peaks import peaks_cross_ms
from domstat_bench.scenario_truth import Trend
from domstat_bench.scenario_world import GIB, Guest, Host, World
from domstat_bench.scenarios import END_MS

QUIET = Course()


def world(course: Course, memory: Course = QUIET) -> World:
    guest = Guest(uuid="u", name="web", vcpus=8, memory_kib=64 << 20, cores=course, memory=memory)
    host = Host(name="kvm1", own_cores=QUIET, own_memory=QUIET, guests=(guest,))
    return World(begin_ms=END_MS - 10 * DAY_MS, end_ms=END_MS, hosts=(host,), step_ms=HOUR_MS)


def days(of: World, resource: str, limit: float, within: int = 30) -> int | None:
    crosses_ms = peaks_cross_ms(of, of.hosts[0], resource, limit, within)
    return None if crosses_ms is None else (crosses_ms - END_MS) // DAY_MS


def test_without_chance_it_is_the_day_on_which_the_line_is_there() -> None:
    steady = world(Course(level=1.0, growth=0.1))  # 2 at the end
    assert days(steady, "cpu", 2.49) == 4, "in its last hours but one"
    assert days(steady, "cpu", 2.5) == 5
    assert days(steady, "cpu", 6.0) is None
    assert days(steady, "cpu", 1.0) == 0


def test_a_guest_uses_no_more_than_it_has() -> None:
    assert days(world(Course(level=7.0, growth=0.1)), "cpu", 8.5) is None


def test_a_quiet_weekend_is_no_day_on_which_a_limit_is_reached() -> None:
    weekly = world(Course(level=1.0, growth=0.1, weekend=0.5))  # it ends on a Monday; 2.5 is Friday's end
    assert days(weekly, "cpu", 2.49) == 4
    assert days(weekly, "cpu", 2.55) == 7


def test_memory_is_what_is_resident_on_the_host() -> None:
    growing = world(QUIET, Course(level=2.0 * GIB, growth=0.1 * GIB))
    assert days(growing, "memory", 3.0 * GIB) == 0
    assert days(growing, "memory", 1.15 * 3.65 * GIB + (200 << 20)) == 6


def test_what_chance_adds_makes_it_sooner_and_more_so_the_coarser_steps_are() -> None:
    scenario = scenarios.cpu_growth(days=60)
    (truth,) = scenario.truths
    assert isinstance(truth, Trend)
    by_means = truth.crosses_ms(14.0)
    fine, coarse = (
        peaks_cross_ms(replace(scenario.world, step_ms=step_ms), scenario.world.hosts[0], "cpu", 14.0, 60)
        for step_ms in (HOUR_MS // 2, HOUR_MS)
    )
    assert by_means is not None
    assert fine is not None
    assert coarse is not None
    assert coarse < fine < by_means
