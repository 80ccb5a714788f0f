"""The planner's questions, asked of histories of which it is known what ought to be found (bench/scenarios)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from capacity.told import Tell, Told, answers, assert_each_is_a_number_or_a_sentence, opened, teller
from domstat.capacity import reclaim as reclaiming
from domstat.capacity import rightsize as sizing
from domstat.capacity.contention import contention
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.fleet import State
from domstat.capacity.gather import Figures
from domstat.capacity.reclaim import reclaim
from domstat.capacity.rightsize import Sizing, Verdict, rightsize
from domstat.capacity.runway import Runway, Status, runway
from domstat.capacity.standing import Standing
from domstat.capacity.summary import Summary, summary
from domstat.capacity.top import How, Top, top
from domstat.sink import SinkContext
from domstat_bench.scenario_courses import DAY_MS
from domstat_bench.scenario_peaks import peaks_cross_ms
from domstat_bench.scenario_truth import (
    Bully,
    Gone,
    Idle,
    Moved,
    Newcomer,
    Off,
    Restarted,
    Shift,
    Silent,
    Trend,
    Unseen,
)  # fmt: skip
from domstat_bench.scenarios import END_MS, HOSTILE
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

FIVE_MINUTES_MS = 300_000
HORIZON_DAYS = 365
BUFFERS: dict[str, Any] = {"cpu_buffer": 0.1, "memory_buffer": 0.1, "storage_buffer": 0.1}
"""Less than usual, so that what grows is full weeks from now, and not days."""

GROWING = {"cpu-growth": 60, "weekly-growth": 90, "memory-growth": 60, "pool-growth": 60, "disk-growth": 60, "gaps": 60}
"""What grows, and of how many days the history is."""

NO_CHANCE = 0.05


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tell]:
    """Write scenarios, each once."""
    with ExitStack() as stack:
        yield teller(tmp_path_factory, stack)


def runway_of(told: Told, resource: str, *, host: str = "kvm1", **settings: Any) -> Runway:
    wanted = {"pool": "storage"}.get(resource, resource)
    (found,) = (one for one in runway(told.figures(**settings)) if (one.host, one.resource) == (host, wanted))
    return found


def summary_of(told: Told, host: str = "kvm1") -> Summary:
    (found,) = (one for one in summary(told.figures()) if one.host == host)
    return found


def standing_of(told: Told, resource: Resource, host: str = "kvm1") -> Standing:
    return next(one for one in summary_of(told, host).standings if one.resource is resource)


def sizing_of(told: Told, guest: str, resource: Resource) -> Sizing:
    (found,) = (one for one in rightsize(told.figures()).sizings if (one.name, one.resource) == (guest, resource))
    return found


def values_of(found: Top) -> dict[str, float | None]:
    return {one.name: one.value.value for one in found.ranked}


def days_until_full(told: Told, limit: float) -> float:
    """Return the day, counted from now, on which what grows is at a limit."""
    truth = told.truth(Trend)
    if truth.resource in {"cpu", "memory"}:
        crosses_ms = peaks_cross_ms(told.world, told.world.hosts[0], truth.resource, limit, within_days=120)
    else:
        crosses_ms = truth.crosses_ms(limit)
    assert crosses_ms is not None
    return (crosses_ms - told.now_ms) / DAY_MS


def assert_no_growth(found: Runway) -> None:
    assert found.status is Status.BEYOND
    assert found.expected.note == found.conservative.note == "not within the horizon: 365d"
    assert all((chance.value or 0.0) < NO_CHANCE for chance in found.chances)
    assert abs(found.growth.value or 0.0) * 30 < 0.02 * (found.demand.value or 0.0), "in a month"


# What grows.


@pytest.mark.parametrize("name", GROWING)
def test_what_grows_is_full_on_the_day_that_is_known_within_a_twentieth_of_the_horizon(tell: Tell, name: str) -> None:
    told = tell(name, GROWING[name])
    found = runway_of(told, told.truth(Trend).resource, **BUFFERS)
    days = days_until_full(told, found.usable.value or 0.0)
    assert 25 < days < 90
    assert found.expected.value == pytest.approx(days, abs=0.05 * HORIZON_DAYS)
    assert found.status is Status.SHORT


@pytest.mark.parametrize("name", GROWING)
def test_the_known_day_is_inside_the_interval(tell: Tell, name: str) -> None:
    told = tell(name, GROWING[name])
    found = runway_of(told, told.truth(Trend).resource, **BUFFERS)
    days = days_until_full(told, found.usable.value or 0.0)
    earliest, latest = found.earliest.value, found.latest.value
    assert earliest is not None
    assert latest is not None
    # There is one figure a day, so that nobody can tell what happens within it.
    assert earliest - 1 <= days <= latest + 1
    assert found.conservative.value == earliest
    assert latest - earliest < HORIZON_DAYS / 8


@pytest.mark.parametrize("name", [name for name in GROWING if name != "weekly-growth"])
def test_what_grows_steadily_is_known_within_a_twentieth_of_the_time_that_is_left(tell: Tell, name: str) -> None:
    told = tell(name, GROWING[name])
    found = runway_of(told, told.truth(Trend).resource, **BUFFERS)
    days = days_until_full(told, found.usable.value or 0.0)
    assert found.expected.value == pytest.approx(days, abs=0.05 * days + 1)
    # Peaks grow as means do, but for what chance adds to them.
    assert found.growth.value == pytest.approx(told.truth(Trend).per_day, rel=0.1)


@pytest.mark.parametrize("name", GROWING)
def test_it_is_as_probable_as_the_interval_says_that_it_is_full_by_then(tell: Tell, name: str) -> None:
    told = tell(name, GROWING[name])
    found = runway_of(told, told.truth(Trend).resource, **BUFFERS)
    soon, later, latest = (chance.value or 0.0 for chance in found.chances)
    assert soon < 0.5 < later <= latest, "full between 30 and 90 days from now"
    assert latest > 0.99


@pytest.mark.parametrize("name", [name for name in GROWING if name != "disk-growth"])
def test_what_grows_is_what_presses_the_host_hardest(tell: Tell, name: str) -> None:
    told = tell(name, GROWING[name])
    wanted = told.truth(Trend).resource
    assert summary_of(told).constrained == {"pool": "storage"}.get(wanted, wanted)


# What does not.


def test_a_week_that_is_like_the_one_before_is_not_within_the_horizon(tell: Tell) -> None:
    told = tell("weekly", 40)
    assert_no_growth(runway_of(told, "cpu"))
    assert_no_growth(runway_of(told, "memory"))
    # Nor is it when a quiet weekend has just begun, or is just over.
    peak = standing_of(told, Resource.CPU).peak.value or 0.0
    trend = told.truth(Trend)
    assert peak == pytest.approx(trend.at_end * trend.peak, rel=0.05)


def test_a_level_shift_is_not_read_as_growth(tell: Tell) -> None:
    told = tell("level-shift", 60)
    shift = told.truth(Shift)
    found = runway_of(told, "cpu")
    assert_no_growth(found)
    assert found.projection is not None
    assert found.projection.shifts_ms == (shift.at_ms,)
    # But what is left is counted from where it went to.
    remaining = standing_of(told, Resource.CPU).remaining.value or 0.0
    assert 12.8 - 1.15 * told.truth(Trend).at_end < remaining < 12.8 - told.truth(Trend).at_end


def test_a_new_guest_is_not_read_as_growth(tell: Tell) -> None:
    told = tell("new-guest", 40)
    newcomer = told.truth(Newcomer)
    for resource in ("cpu", "memory"):
        found = runway_of(told, resource)
        assert_no_growth(found)
        assert found.projection is not None
        assert found.projection.shifts_ms == (newcomer.since_ms,)
    assert summary_of(told).running == 4
    ranked = top(told.figures(), "cpu.cores").ranked
    assert ranked[0].name == newcomer.guest
    assert ranked[0].value.value == pytest.approx(3.0, rel=0.05), "while it was there"
    assert ranked[0].coverage.value == pytest.approx(12 / 30, abs=0.01)


def test_a_guest_that_is_started_anew_every_week_does_what_it_always_did(tell: Tell) -> None:
    told = tell("resets", 22)
    restarted = told.truth(Restarted)
    assert len(restarted.at_ms) == 4
    for how, least, most in ((How.MEAN, 0.97, 1.03), (How.MAX, 1.0, 1.3), (How.MIN, 0.7, 1.0)):
        value = values_of(top(told.figures(), restarted.field, how))[restarted.guest]
        assert least * restarted.per_second < (value or 0.0) < most * restarted.per_second, how
    (increase,) = [
        one.value.value
        for one in top(told.figures(), restarted.field, How.INCREASE).ranked
        if one.name == restarted.guest
    ]
    assert increase == pytest.approx(22 * 86_400 * restarted.per_second, rel=0.03)
    assert_no_growth(runway_of(told, "cpu"))


def test_a_guest_that_moved_is_counted_once_where_it_is_and_its_hosts_do_not_grow(tell: Tell) -> None:
    told = tell("moved", 40)
    moved = told.truth(Moved)
    (guest,) = told.figures().fleet.called(moved.guest)
    assert (guest.host, guest.state, set(guest.hosts)) == (moved.to_host, State.RUNNING, {"kvm1", "kvm2"})
    assert {host: summary_of(told, host).running for host in (ALL, "kvm1", "kvm2")} == {ALL: 4, "kvm1": 2, "kvm2": 2}
    assert standing_of(told, Resource.CPU, "kvm1").allocated.value == 4
    assert standing_of(told, Resource.CPU, "kvm2").allocated.value == 6
    for host in (ALL, moved.from_host, moved.to_host):
        assert_no_growth(runway_of(told, "cpu", host=host))
    found = [one for one in top(told.figures(), "cpu.cores").ranked if one.name == moved.guest]
    assert [(one.host, one.coverage.value) for one in found] == [(moved.to_host, 1.0)]
    assert found[0].value.value == pytest.approx(1.5, rel=0.05)


# What was not seen.


def test_of_gaps_it_is_said_how_much_was_seen(tell: Tell) -> None:
    told = tell("gaps", 60)
    seen = 1 - told.truth(Unseen).share
    assert standing_of(told, Resource.CPU).coverage.value == pytest.approx(seen, abs=0.03)
    assert standing_of(told, Resource.CPU).peak.note == "", "it is more than half"
    careful = runway_of(told, "cpu", coverage=0.9)
    assert careful.note.endswith("% of the time was seen")
    assert careful.expected.note == careful.note
    assert careful.expected.value == runway_of(told, "cpu").expected.value


def test_while_a_balloon_driver_is_silent_nothing_is_advised_of_memory(tell: Tell) -> None:
    told = tell("dead-balloon", 25)
    silent, mute = told.truths(Silent)
    for guest, why in ((silent.guest, "spoke 20.0 days ago"), (mute.guest, "never spoke")):
        found = sizing_of(told, guest, Resource.MEMORY)
        assert (found.verdict, found.recommended.value) == (Verdict.STALE, None)
        assert found.recommended.note == "stale figures"
        assert found.note == f"its balloon driver {why}"
    others = [sizing_of(told, name, Resource.MEMORY) for name in ("web-2", "web-3")]
    assert {one.verdict for one in others} == {Verdict.OVERSIZED}
    assert all((one.recommended.value or 0.0) >= 1.25 * (one.demand.value or 0.0) for one in others)


def test_a_host_that_vanished_has_stale_figures_and_is_not_counted(tell: Tell) -> None:
    told = tell("vanished-host", 60)
    gone = told.truth(Gone)
    found = summary_of(told, gone.host)
    assert found.note == "stale figures: not seen for 40.0 days"
    assert found.constrained is None
    assert all(one.remaining.value is None for one in found.standings)
    for resource in ("cpu", "memory", "storage"):
        one = runway_of(told, resource, host=gone.host)
        assert (one.status, one.expected.value) == (Status.STALE, None)
        assert one.note == "stale figures: the newest is 40.0 days old"
    assert ALL not in {one.host for one in summary(told.figures())}, "of all there is only one left"
    assert {one.host for one in rightsize(told.figures()).sizings} == {"kvm1"}
    assert {one.reason for one in reclaim(told.figures()).unjudged} == {"its host is not seen any more"}
    assert_no_growth(runway_of(told, "cpu", host="kvm1"))


# Who can go.


def test_a_guest_that_is_off_gives_back_its_disks_and_it_is_said_since_when(tell: Tell) -> None:
    told = tell("powered-off", 40)
    found = {one.name: one for one in reclaim(told.figures()).candidates}
    for off in told.truths(Off):
        candidate = found.pop(off.guest)
        assert candidate.kind is reclaiming.Kind.OFF
        assert candidate.disk.value == off.held_bytes
        assert candidate.off_days.value == pytest.approx((told.now_ms - off.since_ms) / DAY_MS, abs=0.01)
        assert (candidate.cores.value, candidate.memory.value) == (0, 0)
    assert found == {}
    assert "perhaps" in next(one for one in reclaim(told.figures()).candidates if one.name == "old-1").note
    assert summary_of(told).reclaimable[Resource.STORAGE].value == sum(off.held_bytes for off in told.truths(Off))
    assert (summary_of(told).running, summary_of(told).off) == (3, 2)
    assert_no_growth(runway_of(told, "cpu"))


def test_a_guest_off_for_less_than_it_takes_is_no_candidate_yet(tell: Tell) -> None:
    told = tell("powered-off", 40)
    found = reclaim(told.figures(off_after=36 * 86_400))
    assert [one.name for one in found.candidates] == ["old-1"]
    assert found.lately_off == 1


def test_who_does_nothing_is_idle_and_who_makes_a_backup_each_night_is_told_apart(tell: Tell) -> None:
    told = tell("nightly-backup", 14)
    idle = told.truth(Idle)
    found = reclaim(told.figures())
    assert tuple(one.name for one in found.candidates) == idle.idle
    assert [(one.name, one.busy_hours) for one in found.regular] == [("backup-1", "02:00-03:00 UTC")]
    assert {"backup-1", "web-0"} == set(idle.busy)
    assert not found.unjudged
    (candidate,) = found.candidates
    assert candidate.kind is reclaiming.Kind.IDLE
    assert candidate.share.value == 1
    assert candidate.cores.value == pytest.approx(0.004, rel=0.05), "idle vCPUs give nothing back"


# Who waits.


def test_who_takes_most_while_others_wait_is_found_with_its_victims(tell: Tell) -> None:
    told = tell("bully", 10, FIVE_MINUTES_MS)
    truth = told.truth(Bully)
    found = contention(told.figures())
    (bully,) = found.bullies
    assert (bully.host, bully.name, bully.victims) == (truth.host, truth.bully, truth.victims)
    assert (bully.resource, bully.times) == (Resource.CPU, len(truth.windows_ms))
    hours = sum(until_ms - since_ms for since_ms, until_ms in truth.windows_ms) / 3_600_000
    assert bully.hours.value == pytest.approx(hours, abs=0.25)
    waits = {one.name: one for one in found.waits}
    assert waits.keys() == set(truth.victims), "no bystander, and nobody elsewhere"
    for one in waits.values():
        assert one.is_unusual
        assert one.typical.value == pytest.approx(truth.noisy, rel=0.1)
        assert one.usual.value == pytest.approx(truth.quiet, rel=0.2)
        assert one.last_ms == truth.windows_ms[-1][1]
        assert one.share.value == pytest.approx(hours / (5 * 24), rel=0.03), "of the later half of ten days"
    assert found.notes == ()


def test_who_waits_for_cpus_is_not_made_smaller_and_whose_peaks_are_rare_is_warned_of(tell: Tell) -> None:
    told = tell("bully", 10, FIVE_MINUTES_MS)
    truth = told.truth(Bully)
    for victim in truth.victims:
        found = sizing_of(told, victim, Resource.CPU)
        assert found.verdict in {Verdict.FITS, Verdict.WAITS}
        assert found.evidence.value == pytest.approx(truth.noisy, rel=0.15)
    bully = sizing_of(told, truth.bully, Resource.CPU)
    assert bully.verdict is Verdict.OVERSIZED
    assert bully.demand.value == pytest.approx(1.15, rel=0.1), "12 hours of 240 are a twentieth"
    assert bully.peak.value == pytest.approx(12, rel=0.2)
    assert bully.note == "its highest would not have fitted"


# Little, strange, nothing.


LITTLE = {"one-hour": 0, "one-guest": 14, "vanished-host": 60, "hostile-names": 9, "gaps": 60, "dead-balloon": 25}


@pytest.mark.parametrize("name", LITTLE)
def test_every_figure_is_a_number_or_a_sentence(tell: Tell, name: str) -> None:
    step = {"step_ms": FIVE_MINUTES_MS} if name == "one-hour" else {}
    assert_each_is_a_number_or_a_sentence(tell(name, LITTLE[name], **step).figures())


def test_of_one_hour_there_are_figures_and_neither_runway_nor_advice(tell: Tell) -> None:
    told = tell("one-hour", 0, FIVE_MINUTES_MS)
    assert {one.status for one in runway(told.figures())} == {Status.YOUNG}
    assert {one.verdict for one in rightsize(told.figures()).sizings} == {Verdict.YOUNG}
    found = reclaim(told.figures())
    assert (found.candidates, found.regular, len(found.unjudged)) == ((), (), 3)
    assert {one.reason.partition(":")[0] for one in found.unjudged} == {"not enough history"}
    cpu = standing_of(told, Resource.CPU)
    assert cpu.now.value == pytest.approx(1.8, rel=0.15)
    assert cpu.remaining.note == "from the peak there was: nothing can be projected yet"
    (note,) = contention(told.figures()).notes
    assert note.startswith("nothing was seen before")


def test_one_guest_is_all_of_its_host(tell: Tell) -> None:
    told = tell("one-guest", 14)
    found = summary_of(told)
    assert (found.running, found.off) == (1, 0)
    assert [one.name for one in top(told.figures(), "cpu.cores").ranked] == ["web-0"]
    assert_no_growth(runway_of(told, "cpu"))
    assert contention(told.figures()).waits == ()


def test_hostile_names_are_only_names(tell: Tell) -> None:
    told = tell("hostile-names", 9)
    figures = told.figures()
    assert {guest.name for guest in figures.fleet.guests} == {*HOSTILE, HOSTILE[1] + " off"}
    assert {one.name for one in rightsize(figures).sizings} == set(HOSTILE)
    assert [one.name for one in reclaim(figures).candidates] == [HOSTILE[0]]
    assert [one.name for one in runway(figures) if one.resource is Resource.STORAGE] == ["<b>pool</b>"]
    assert {one.name for one in top(figures, "cpu.cores", count=20).ranked} == set(HOSTILE)
    for name in HOSTILE:
        (guest,) = figures.fleet.called(name)
        assert guest.name == name


def test_of_nothing_nothing_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    sink.close()
    with opened(folder) as history:
        figures = Figures(history, END_MS)
        told = answers(figures)
        assert_each_is_a_number_or_a_sentence(figures)
    assert told["summary"] == told["runway"] == ()
    assert isinstance(told["reclaim"], reclaiming.Reclaim)
    assert isinstance(told["rightsize"], sizing.Rightsize)
    assert (told["reclaim"].candidates, told["rightsize"].sizings) == ((), ())
    assert isinstance(told["top"], Top)
    assert told["top"].note == "nothing is known of it in this span"
