"""Who waits, and who makes others wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import arithmetic
from capacity.made import DAY_MS, GIB_KIB, MINUTE_MS, START_MS, Figures, Made
from domstat.capacity.contention import Contention, contention
from domstat.capacity.demand import Resource
from domstat.capacity.gather import Figures as Asked
from domstat.capacity.gather import Selection
from domstat.capacity.settings import Capacity

STEP_MS = 5 * MINUTE_MS
PER_DAY = DAY_MS // STEP_MS
DAYS = 12
STEPS = DAYS * PER_DAY
HOUR = 12
SPAN = 6 * PER_DAY
"""Half of such a short history is looked at; the other half is what is usual."""

Row = npt.NDArray[np.float64]
NOTHING: Mapping[str, Figures] = {}
AFTERNOONS = tuple(STEPS - day * PER_DAY + 13 * HOUR for day in (4, 3, 2))


def made(busy: Figures = 0.5, host: str = "kvm1") -> Made:
    one = Made(START_MS, STEP_MS, STEPS)
    one.host(host, {"host.cpus": 16, "host.memory.total": 64 * GIB_KIB, "host.cpu.utilization": busy})
    return one


def row(level: float, then: float, at: Sequence[int] = AFTERNOONS, steps: int = 4 * HOUR) -> Row:
    """Return what is usual, and for some hours something else."""
    values = np.full(STEPS, level)
    for begin in at:
        values[begin : begin + steps] = then
    return values


def guest(
    history: Made,
    name: str,
    cores: Figures = 1.0,
    steal: Figures = 0.004,
    host: str = "kvm1",
    more: Mapping[str, Figures] = NOTHING,
) -> None:
    figures: dict[str, Figures] = {
        "vcpu.current": 2,
        "cpu.cores": cores,
        "vcpu.steal[0]": steal,
        "vcpu.steal[1]": steal,
        "balloon.current": 4 * GIB_KIB,
        "balloon.maximum": 4 * GIB_KIB,
        **more,
    }
    history.guest(name, figures, host=host)


def disk(read_s: Figures = 0.002, requests: Figures = 50.0, size: float = 8192.0) -> dict[str, Figures]:
    return {
        "block.rd.latency[vda]": read_s,
        "block.rd.reqs[vda]": requests,
        "block.rd.bytes[vda]": np.multiply(requests, size),
        "block.wr.reqs[vda]": 1.0,
        "block.wr.bytes[vda]": 4096.0,
    }


def answer(history: Made, selection: Selection | None = None, **changed: object) -> Contention:
    base = msgspec.structs.replace(Capacity(), **changed)
    return contention(Asked(history, history.until_ms, base, selection))


def waits(found: Contention) -> set[tuple[str, Resource, bool]]:
    return {(one.name, one.resource, one.is_unusual) for one in found.waits}


def bullied(takes: Row | float = 1.0, suffers: Row | float = 0.004) -> Made:
    """Return a host with one that takes, two that suffer, and one that does neither."""
    history = made()
    guest(history, "bully-1", cores=takes)
    guest(history, "victim-0", steal=suffers)
    guest(history, "victim-1", steal=suffers)
    guest(history, "bystander-1", cores=0.8)
    return history


def test_a_bully_and_its_victims_are_told_apart() -> None:
    found = answer(bullied(row(1.0, 12.0), row(0.004, 0.25)))
    assert waits(found) == {("victim-0", Resource.CPU, True), ("victim-1", Resource.CPU, True)}
    (bully,) = found.bullies
    assert (bully.name, bully.resource, bully.victims) == ("bully-1", Resource.CPU, ("victim-0", "victim-1"))
    assert bully.times == 3
    assert bully.hours.value == pytest.approx(12.0)
    assert bully.share.value == pytest.approx(12 / (12 + 1 + 1 + 0.8))
    assert bully.use.value == 12
    assert bully.usual.value == 1
    assert bully.coincidence.value == 1
    assert bully.lift.note == "others never wait otherwise"
    assert not found.notes


def test_how_long_a_guest_waits_is_of_each_vcpu_and_beside_what_is_usual() -> None:
    found = answer(bullied(row(1.0, 12.0), row(0.004, 0.25))).waits[0]
    assert found.typical.value == pytest.approx(0.25), "of each of its two vCPUs"
    assert found.usual.value == pytest.approx(0.004)
    assert found.share.value == pytest.approx(3 * 4 * HOUR / SPAN)
    assert found.last_ms == START_MS + (AFTERNOONS[-1] + 4 * HOUR) * STEP_MS


def test_nobody_waits_on_a_host_that_is_merely_busy() -> None:
    history = made(busy=0.95)
    for number in range(8):
        guest(history, f"web-{number}", cores=1.9, steal=0.03)
    found = answer(history)
    assert (found.waits, found.bullies, found.notes) == ((), (), ())


def test_who_always_uses_much_is_no_bully() -> None:
    found = answer(bullied(12.0, row(0.004, 0.25)))
    assert not found.bullies
    assert found.notes[0].startswith("kvm1: victim-0, victim-1 waited for cpu more than usually, and no one guest")


def test_who_is_busy_at_other_times_than_those_in_which_others_wait_is_no_bully() -> None:
    mornings = [at - 6 * HOUR for at in AFTERNOONS]
    assert not answer(bullied(row(1.0, 12.0, mornings), row(0.004, 0.25))).bullies


def test_who_is_busy_all_the_week_is_not_the_cause_of_what_comes_and_goes() -> None:
    always = np.full(STEPS, 1.0)
    always[STEPS - SPAN : -HOUR] = 12.0
    now_and_then = row(0.004, 0.25, range(STEPS - SPAN + HOUR, STEPS, 4 * HOUR), HOUR)
    now_and_then[-HOUR:] = 0.25  # and while it is quiet, too
    assert not answer(bullied(always, now_and_then)).bullies


def test_who_waits_every_afternoon_is_told_and_waits_no_more_than_usually() -> None:
    daily = [day * PER_DAY + 13 * HOUR for day in range(DAYS)]
    found = answer(bullied(row(1.0, 12.0, daily), row(0.004, 0.25, daily)))
    assert waits(found) == {("victim-0", Resource.CPU, False), ("victim-1", Resource.CPU, False)}
    assert not found.bullies, "as it was always so, and everybody is used to it"


def test_many_that_are_busy_together_have_no_bully_among_them() -> None:
    history = made()
    for number in range(6):
        guest(history, f"web-{number}", cores=row(0.5, 1.8), steal=row(0.004, 0.2))
    found = answer(history)
    assert len(found.waits) == 6
    assert not found.bullies
    assert "no one guest stands out" in found.notes[0]


def test_a_victim_is_not_its_own_bully() -> None:
    history = made()
    guest(history, "alone-1", cores=row(1.0, 12.0), steal=row(0.004, 0.25))
    guest(history, "other-1", cores=0.1)
    found = answer(history)
    assert waits(found) == {("alone-1", Resource.CPU, True)}
    assert not found.bullies


def test_a_bully_that_waits_itself_is_one_all_the_same() -> None:
    history = bullied(row(1.0, 12.0), row(0.004, 0.25))
    guest(history, "big-1", cores=row(1.0, 9.0), steal=row(0.004, 0.3))
    assert {one.name for one in answer(history).bullies} == {"bully-1", "big-1"}


def test_a_newcomer_may_be_the_bully() -> None:
    history = bullied(1.0, row(0.004, 0.25))
    since = AFTERNOONS[0]
    history.guest("new-1", {"vcpu.current": 14, "cpu.cores": row(0.2, 12.0)[since:]}, first=since)
    assert [one.name for one in answer(history).bullies] == ["new-1"]


def test_a_bully_on_one_host_does_not_make_those_on_another_wait() -> None:
    history = bullied(row(1.0, 12.0), 0.004)
    history.host("kvm2", {"host.cpus": 16, "host.cpu.utilization": 0.9})
    guest(history, "elsewhere-1", steal=row(0.004, 0.25), host="kvm2")
    found = answer(history)
    assert waits(found) == {("elsewhere-1", Resource.CPU, True)}
    assert not found.bullies


def test_who_waits_while_its_host_has_idle_cpus_may_have_a_quota() -> None:
    history = made(busy=0.2)
    guest(history, "capped-1", steal=row(0.004, 0.4))
    guest(history, "other-1")
    assert "20 % of its CPUs were busy meanwhile: is there a quota, or pinning?" in answer(history).notes[0]


@pytest.mark.parametrize(("steps", "counts"), [(3, False), (4, True)])
def test_waiting_counts_once_it_lasts_for_twenty_minutes(steps: int, counts: bool) -> None:
    found = answer(bullied(1.0, row(0.004, 0.5, steps=steps)))
    assert bool(found.waits) is counts


def test_waiting_that_began_before_the_full_hour_is_found_too() -> None:
    edges = [at - 2 for at in AFTERNOONS]  # ten minutes on either side
    assert len(answer(bullied(1.0, row(0.0, 0.1, edges, 4))).waits) == 2


def test_a_disk_is_slow_when_it_takes_longer_than_it_usually_does() -> None:
    history = made()
    guest(history, "slow-1", more=disk(row(0.006, 0.03)))
    guest(history, "always-1", more=disk(0.03))
    guest(history, "quick-1", more=disk(row(0.0005, 0.004)))
    found = answer(history)
    assert waits(found) == {("slow-1", Resource.DISK, True)}
    assert found.waits[0].what == "block.rd.latency[vda]"
    assert found.waits[0].typical.value == pytest.approx(0.03)
    assert found.waits[0].usual.value == pytest.approx(0.006)


def test_a_quick_disk_that_becomes_less_quick_is_not_slow_though_it_was_for_a_moment() -> None:
    history = made()
    less_quick = row(0.0005, 0.004)
    less_quick[AFTERNOONS[0] + 5] = 0.05
    guest(history, "quick-1", more=disk(less_quick))
    assert not answer(history).waits


def test_a_few_requests_say_nothing_of_a_disk() -> None:
    history = made()
    guest(history, "idle-1", more=disk(row(0.006, 0.03), requests=0.5))
    assert not answer(history).waits


@pytest.mark.parametrize(("requests", "size"), [(row(10.0, 4000.0), 512.0), (row(1.0, 300.0), 1e6)])
def test_who_fills_the_disks_is_found_by_bytes_or_by_requests(requests: Row, size: float) -> None:
    history = made()
    guest(history, "bully-1", more=disk(0.006, requests, size))
    guest(history, "victim-1", more=disk(row(0.006, 0.03), 200.0))
    (bully,) = answer(history).bullies
    assert (bully.name, bully.resource, bully.victims) == ("bully-1", Resource.DISK, ("victim-1",))


def test_a_guest_that_swaps_lacks_memory_and_nobody_else_is_blamed() -> None:
    history = made()
    guest(history, "small-1", more={"balloon.swap_in": row(0.0, 2e6), "balloon.swap_out": row(0.0, 1e6)})
    guest(history, "robbed-1", more={"balloon.major_fault": row(1.0, 3000.0), "balloon.maximum": 8 * GIB_KIB})
    found = answer(history)
    notes = {one.name: one.note for one in found.waits}
    assert notes == {
        "small-1": "it has all of its memory: that is too little",
        "robbed-1": "50 % of its memory is ballooned away",
    }
    assert {one.resource for one in found.waits} == {Resource.MEMORY}
    assert not found.bullies


def test_of_a_guest_whose_host_does_not_say_how_long_vcpus_wait_that_is_said() -> None:
    history = made()
    history.guest("old-1", {"vcpu.current": 1, "cpu.cores": 0.5})
    (note,) = answer(history).notes
    assert note.startswith("of old-1 nobody knows how long its vCPUs wait")


def test_of_an_hour_nobody_is_accused() -> None:
    history = Made(START_MS, STEP_MS, 12)
    history.host("kvm1", {"host.cpus": 4})
    for name, cores in (("a", 4.0), ("b", 0.1)):
        history.guest(name, {"vcpu.current": 2, "cpu.cores": cores, "vcpu.steal[0]": 0.3})
    found = answer(history)
    assert not found.bullies
    assert waits(found) == {("a", Resource.CPU, False), ("b", Resource.CPU, False)}
    assert "nothing was seen before" in found.notes[0]


def test_holes_make_nobody_wait() -> None:
    history = bullied(row(1.0, 12.0), row(0.004, np.nan))
    assert not answer(history).waits


def test_only_those_that_are_meant_are_told_and_all_are_looked_at() -> None:
    history = bullied(row(1.0, 12.0), row(0.004, 0.25))
    found = answer(history, Selection(guests=("victim-0",)))
    assert {one.name for one in found.waits} == {"victim-0"}
    assert [one.name for one in found.bullies] == ["bully-1"], "who is not among them"
    assert not answer(history, Selection(guests=("bystander-1",))).waits


def test_an_empty_history_is_an_answer_too() -> None:
    found = answer(made())
    assert (found.waits, found.bullies) == ((), ())


def test_every_formula_comes_to_its_figure() -> None:
    takes = row(1.0, 12.0)
    takes[AFTERNOONS[0] + 4 * HOUR - 6 : AFTERNOONS[0] + 4 * HOUR] = 1.0  # the others wait on for half an hour
    found = answer(bullied(takes, row(0.004, 0.25)))
    (bully,) = found.bullies
    assert arithmetic.check([bully.share, bully.coincidence, bully.lift]) == 3
    assert arithmetic.check(one.share for one in found.waits) == 2


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_what_comes_and_goes_by_chance_makes_nobody_a_bully(seed: int) -> None:
    """Guests work, and wait, in hours of their own that have nothing to do with each other."""
    draw = np.random.default_rng(seed)
    history = made()
    for number in range(4):
        cores, steal = np.full(STEPS, 0.5), np.full(STEPS, 0.004)
        for hour in range(0, STEPS, HOUR):
            cores[hour : hour + HOUR] = draw.lognormal(0, 0.7)
            if draw.random() < 0.08:
                steal[hour : hour + HOUR] = 0.2
        guest(history, f"web-{number}", cores=cores, steal=steal)
    assert not answer(history).bullies


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3))
def test_a_bully_is_found_through_noise_and_holes(seed: int, holes: float) -> None:
    draw = np.random.default_rng(seed)
    takes = row(1.0, 10.0) * draw.lognormal(0, 0.2, STEPS)
    suffers = row(0.004, 0.3) * draw.lognormal(0, 0.2, STEPS)
    missing = np.repeat(draw.random(STEPS // HOUR) < holes, HOUR)
    takes[missing], suffers[missing] = np.nan, np.nan
    if missing.reshape(-1, HOUR)[[at // HOUR for at in AFTERNOONS]].all():
        return  # nobody saw it
    found = answer(bullied(takes, suffers))
    assert [one.name for one in found.bullies] in (["bully-1"], [])
    if found.waits:
        assert [one.name for one in found.bullies] == ["bully-1"]
