"""Scenarios: what is said to be true of them is what a history of them says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
from msgspec.structs import replace

from domstat.history import Aggregate, History, Select, Span
from domstat_bench import scenarios
from domstat_bench.scenario_courses import DAY_MS, HOUR_MS
from domstat_bench.scenario_truth import (
    Bully,
    Gone,
    Idle,
    Moved,
    Newcomer,
    Off,
    Restarted,
    Scenario,
    Shift,
    Silent,
    Trend,
    Unseen,
)  # fmt: skip
from domstat_bench.scenario_writer import write
from domstat_bench.scenarios import END_MS, FULL_IN_DAYS, HOSTILE, SCENARIOS
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

Opened = Callable[[Scenario], AbstractContextManager[History]]


@pytest.fixture
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Write a scenario, of hours alone, and open it."""

    @contextmanager
    def made(scenario: Scenario) -> Iterator[History]:
        folder = tmp_path_factory.mktemp(scenario.name)
        world = scenario.world
        is_long = world.end_ms - world.begin_ms > HOUR_MS
        write(replace(world, step_ms=HOUR_MS) if is_long else world, folder, sketched_ms=0)
        with SqliteSink.history(SqliteSettings(), folder) as history:
            yield history

    return made


def hours(history: History, field: str, since_ms: int, until_ms: int = END_MS, **how: object) -> dict[str, np.ndarray]:
    """Return a field by the hour, by guest, or host where there is none, and device."""
    select = Select(
        span=Span(since_ms, until_ms), fields=(field,), step_ms=HOUR_MS, tolerance=0.01, **how  # type: ignore[arg-type]
    )  # fmt: skip
    found: dict[str, np.ndarray] = {}
    for one in history.read(select):
        whose = one.subject.name or one.subject.pool or one.subject.host
        found[whose if one.device is None else f"{whose}/{one.device}"] = np.asarray(one.values, float)
    return found


def the(kind: type, scenario: Scenario) -> list[object]:
    return [truth for truth in scenario.truths if isinstance(truth, kind)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_scenario_comes_every_time(name: str) -> None:
    assert scenarios.named(name) == scenarios.named(name)
    assert scenarios.named(name).name == name
    assert scenarios.named(name).world.end_ms == END_MS


def test_what_is_not_there_has_no_name() -> None:
    with pytest.raises(KeyError):
        scenarios.named("nothing")


@pytest.mark.parametrize("name", ["cpu-growth", "memory-growth", "pool-growth", "disk-growth"])
def test_what_grows_is_full_when_it_is_said_to_be(name: str) -> None:
    (truth,) = scenarios.named(name).truths
    assert isinstance(truth, Trend)
    assert truth.full_ms is not None
    assert (truth.full_ms - END_MS) / DAY_MS == pytest.approx(FULL_IN_DAYS, abs=1)


@pytest.mark.parametrize(
    ("name", "field", "series", "scale"),
    [
        ("cpu-growth", "host.cpu.utilization", "kvm1", 16.0),
        ("memory-growth", "host.memory.used", "kvm1", 1.0),
        ("pool-growth", "pool.allocation", "images", 1.0),
        ("disk-growth", "block.allocation", "web-0/vda", 1.0),
        ("weekly", "host.cpu.utilization", "kvm1", 16.0),
    ],
)
def test_a_history_says_what_its_trend_is(opened: Opened, name: str, field: str, series: str, scale: float) -> None:
    scenario = scenarios.named(name, days=28)
    truth = scenario.truths[0]
    assert isinstance(truth, Trend)
    with opened(scenario) as history:
        values = hours(history, field, END_MS - 28 * DAY_MS)[series] * scale
    weeks = values.reshape(4, -1).mean(axis=1)
    assert (weeks[3] - weeks[0]) / 21 == pytest.approx(truth.per_day, abs=0.01 * truth.at_end / 7)
    assert weeks[3] == pytest.approx(truth.at_end - 3.5 * truth.per_day, rel=0.02)


def test_a_level_shift_is_where_it_is_said_to_be(opened: Opened) -> None:
    scenario = scenarios.level_shift(days=30)
    (shift,) = the(Shift, scenario)
    assert isinstance(shift, Shift)
    with opened(scenario) as history:
        before = hours(history, "cpu.cores", shift.at_ms - DAY_MS, shift.at_ms)[shift.guest]
        after = hours(history, "cpu.cores", shift.at_ms, shift.at_ms + DAY_MS)[shift.guest]
    assert before.mean() == pytest.approx(shift.before, rel=0.1)
    assert after.mean() == pytest.approx(shift.after, rel=0.1)
    assert after.min() > 3 * before.max()


def test_a_new_guest_and_one_that_moved_are_where_and_when_they_are_said_to_be(opened: Opened) -> None:
    with opened(scenarios.new_guest(days=20)) as history:
        (guest,) = [guest for guest in history.guests(Span()) if guest.name == "new-1"]
        (truth,) = the(Newcomer, scenarios.new_guest())
        assert isinstance(truth, Newcomer)
        assert guest.first_ms == truth.since_ms
    scenario = scenarios.moved(days=30)
    (where,) = the(Moved, scenario)
    assert isinstance(where, Moved)
    with opened(scenario) as history:
        (guest,) = [guest for guest in history.guests(Span()) if guest.uuid == where.uuid]
        assert set(guest.hosts) == {"kvm1", "kvm2"}
        for host, span in (("kvm1", (END_MS - 30 * DAY_MS, where.at_ms)), ("kvm2", (where.at_ms, END_MS))):
            cores = hours(history, "cpu.cores", 0, hosts=(host,))["moving-1"]
            assert len(cores) == (span[1] - span[0]) // HOUR_MS


def test_of_gaps_a_third_was_not_seen(opened: Opened) -> None:
    scenario = scenarios.gaps(days=12)
    (unseen,) = the(Unseen, scenario)
    assert isinstance(unseen, Unseen)
    assert unseen.share == pytest.approx(1 / 3, abs=0.03)
    with opened(scenario) as history:
        seen = len(hours(history, "host.memory.used", END_MS - 12 * DAY_MS)["kvm1"])
    assert seen == round((1 - unseen.share) * 12 * 24)


def test_a_dead_balloon_driver_stands_still_and_one_that_never_spoke_says_nothing(opened: Opened) -> None:
    scenario = scenarios.dead_balloon(days=25)
    silent, mute = the(Silent, scenario)
    assert isinstance(silent, Silent)
    assert isinstance(mute, Silent)
    with opened(scenario) as history:
        spoken = hours(history, "balloon.last-update", silent.since_ms, aggregate=Aggregate.LAST)
        used = hours(history, "memory.used", silent.since_ms + HOUR_MS)
    assert set(spoken[silent.guest]) == {silent.since_ms // 1000}
    assert np.ptp(used[silent.guest]) == 0
    assert mute.guest not in used
    assert len(used) == 3


def test_a_guest_that_is_off_holds_what_it_is_said_to_hold(opened: Opened) -> None:
    scenario = scenarios.powered_off(days=40)
    with opened(scenario) as history:
        held = hours(history, "volume.allocation", 0)
        ran = hours(history, "cpu.cores", 0)
        states = hours(history, "state.state", 0, collects=("survey",))
    off, always = the(Off, scenario)
    assert isinstance(off, Off)
    assert isinstance(always, Off)
    assert held["web-0/vda"][-1] + held["web-0/vdb"][-1] == off.held_bytes
    assert held["old-1/vda"][-1] == always.held_bytes
    assert len(ran["web-0"]) == 5 * 24
    assert len(states["web-0"]) == 35 * 24
    assert set(states["old-1"]) == {5}


def test_a_guest_that_is_started_anew_each_week_is_as_busy_as_ever(opened: Opened) -> None:
    scenario = scenarios.resets(days=22)
    (restarted,) = the(Restarted, scenario)
    assert isinstance(restarted, Restarted)
    assert len(restarted.at_ms) == 4
    with opened(scenario) as history:
        rates = hours(history, "cpu.time", 0, guests=(restarted.guest,), rate=True)[restarted.guest]
        raw = Select(span=Span(END_MS - HOUR_MS, END_MS), fields=("cpu.time",), guests=(restarted.guest,))
        counted = [np.asarray(series.values, float) for series in history.read(raw)]
    assert rates.min() > 0.7 * restarted.per_second
    assert rates.max() < 1.3 * restarted.per_second
    assert (np.diff(np.concatenate(counted)) < 0).sum() == 1


def test_a_nightly_backup_is_an_hour_of_each_day(opened: Opened) -> None:
    scenario = scenarios.nightly_backup(days=10)
    (idle,) = the(Idle, scenario)
    assert isinstance(idle, Idle)
    with opened(scenario) as history:
        cores = hours(history, "cpu.cores", END_MS - 10 * DAY_MS)
    assert np.count_nonzero(cores["backup-1"] > 0.5) == 10
    assert cores["backup-1"].reshape(10, 24)[:, 2].min() > 0.5
    assert all(cores[name].max() < 0.05 for name in idle.idle)
    assert all(cores[name].max() > 0.3 for name in idle.busy)


def test_victims_wait_while_the_bully_is_at_the_top_and_bystanders_do_not(opened: Opened) -> None:
    scenario = scenarios.bully(days=8)
    (truth,) = the(Bully, scenario)
    assert isinstance(truth, Bully)
    with opened(scenario) as history:
        for since_ms, until_ms in truth.windows_ms:
            steal = hours(history, "vcpu.steal", since_ms, until_ms)
            cores = hours(history, "cpu.cores", since_ms, until_ms, hosts=(truth.host,))
            assert max(cores, key=lambda name: cores[name].mean()) == truth.bully
            assert all(steal[f"{name}/0"].mean() == pytest.approx(truth.noisy, rel=0.3) for name in truth.victims)
            assert all(steal[f"{name}/0"].mean() < 2 * truth.quiet for name in truth.bystanders)
        calm = hours(history, "vcpu.steal", truth.windows_ms[0][0] - DAY_MS, truth.windows_ms[0][0])
    assert all(calm[f"{name}/0"].mean() < 2 * truth.quiet for name in truth.victims)


def test_one_hour_is_all_there_is(opened: Opened) -> None:
    with opened(scenarios.one_hour()) as history:
        (host,) = history.hosts()
        assert host.first_ms // 1000 == (END_MS - HOUR_MS) // 1000
        assert len(hours(history, "cpu.cores", 0)) == 3


def test_of_a_host_that_vanished_nothing_is_newer(opened: Opened) -> None:
    scenario = scenarios.vanished_host(days=45)
    (gone,) = the(Gone, scenario)
    assert isinstance(gone, Gone)
    with opened(scenario) as history:
        last = {host.name: host.last_ms for host in history.hosts()}
        cores = hours(history, "cpu.cores", 0, hosts=(gone.host,))
        assert hours(history, "cpu.cores", gone.last_ms, hosts=(gone.host,)) == {}
    assert gone.last_ms - 120_000 < last[gone.host] < gone.last_ms
    assert {len(values) for values in cores.values()} == {5 * 24}


def test_hostile_names_come_back_as_they_are(opened: Opened) -> None:
    with opened(scenarios.hostile_names(days=2)) as history:
        names = {guest.name for guest in history.guests(Span())}
        pools = hours(history, "pool.capacity", 0)
    assert names == {*HOSTILE, HOSTILE[1] + " off"}
    assert list(pools) == ["<b>pool</b>"]
