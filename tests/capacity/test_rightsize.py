"""Which guests are too big or too small, and what fits them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import arithmetic
from capacity.made import DAY_MS, GIB, GIB_KIB, MINUTE_MS, START_MS, Figures, Made
from domstat.capacity.demand import Resource
from domstat.capacity.gather import Figures as Asked
from domstat.capacity.rightsize import Sizing, Verdict, rightsize
from domstat.capacity.settings import Capacity
from domstat.settings import Duration

STEP_MS = 5 * MINUTE_MS
PER_DAY = DAY_MS // STEP_MS
DAYS = 10
STEPS = DAYS * PER_DAY
NOTHING: Mapping[str, Figures] = {}
Row = npt.NDArray[np.float64]


def made(days: int = DAYS, threads: int = 16) -> Made:
    one = Made(START_MS, STEP_MS, days * PER_DAY)
    one.host("kvm1", {"host.cpus": threads, "host.memory.total": 64 * GIB_KIB})
    return one


def spoken(history: Made, until: int | None = None) -> Row:
    """Return when a balloon driver had spoken last, in each step; it falls silent at a step."""
    seconds = (history.since_ms + np.arange(history.count) * history.step_ms) / 1000.0
    return seconds if until is None else np.minimum(seconds, seconds[until])


def guest(
    history: Made,
    name: str = "web-1",
    cores: Figures = 1.0,
    *,
    vcpus: int = 4,
    memory: float = 8,
    used: Figures = 4.0 * GIB,
    steal: Figures = 0.0,
    first: int = 0,
    more: Mapping[str, Figures] = NOTHING,
) -> str:
    figures: dict[str, Figures] = {
        "vcpu.current": vcpus,
        "cpu.cores": cores,
        "balloon.current": memory * GIB_KIB,
        "balloon.maximum": memory * GIB_KIB,
        "balloon.rss": 6 * GIB_KIB,
        "memory.used": used,
        "balloon.last-update": spoken(history)[first:],
        **{f"vcpu.steal[{vcpu}]": steal for vcpu in range(vcpus)},
        **more,
    }
    return history.guest(name, figures, first=first)


def answer(history: Made, **changed: object) -> dict[tuple[str, Resource], Sizing]:
    base = msgspec.structs.replace(Capacity(), **changed)
    found = rightsize(Asked(history, history.until_ms, base))
    return {(one.name, one.resource): one for one in found.sizings}


def cpu(history: Made, name: str = "web-1", **changed: object) -> Sizing:
    return answer(history, **changed)[name, Resource.CPU]


def memory(history: Made, name: str = "web-1", **changed: object) -> Sizing:
    return answer(history, **changed)[name, Resource.MEMORY]


@pytest.mark.parametrize(
    ("cores", "vcpus", "verdict", "fits"),
    [
        (1.0, 8, Verdict.OVERSIZED, 2),  # 1.25 are needed
        (0.1, 2, Verdict.OVERSIZED, 1),
        (0.0, 1, Verdict.FITS, 1),  # never less than one
        (1.5, 2, Verdict.FITS, 2),
        (1.7, 2, Verdict.UNDERSIZED, 4),  # 2.125: three, and so four
        (3.2, 4, Verdict.FITS, 4),  # exactly four
        (2.0, 3, Verdict.FITS, 3),  # three fit, though even it would be four
        (2.0, 4, Verdict.FITS, 4),
        (2.0, 6, Verdict.OVERSIZED, 4),
        (7.9, 8, Verdict.UNDERSIZED, 10),
    ],
)
def test_vcpus_are_recommended_from_the_peak_with_a_fifth_to_spare(
    cores: float, vcpus: int, verdict: Verdict, fits: int
) -> None:
    history = made()
    guest(history, cores=cores, vcpus=vcpus)
    found = cpu(history)
    assert (found.verdict, found.recommended.value) == (verdict, fits)


def test_what_a_division_adds_in_its_last_digit_is_no_vcpu() -> None:
    assert 2.1 / (1 - 0.3) > 3
    history = made()
    guest(history, cores=2.1, vcpus=3)
    assert cpu(history, cpu_headroom=0.3).verdict is Verdict.FITS


def test_odd_numbers_are_recommended_where_that_is_wanted() -> None:
    history = made()
    guest(history, cores=2.0, vcpus=8)
    assert cpu(history).recommended.value == 4
    assert cpu(history, size_even=False).recommended.value == 3


def test_the_peak_is_a_sustained_one_and_the_highest_is_said_beside_it() -> None:
    history = made()
    spikes = np.full(STEPS, 0.5)
    spikes[::40] = 3.9  # 2.5 % of the time
    guest(history, cores=spikes)
    found = cpu(history)
    assert (found.demand.value, found.p99.value, found.peak.value) == (0.5, 3.9, 3.9)
    assert (found.verdict, found.recommended.value) == (Verdict.OVERSIZED, 1)
    assert "highest" in found.note


def test_who_uses_all_it_has_may_want_more_than_that_says() -> None:
    history = made()
    guest(history, cores=2.0, vcpus=2)
    found = cpu(history)
    assert found.verdict is Verdict.UNDERSIZED
    assert "may want more" in found.note


def test_nobody_is_recommended_more_vcpus_than_its_host_has_threads() -> None:
    history = made(threads=4)
    guest(history, cores=3.9, vcpus=4)
    found = cpu(history)
    assert (found.verdict, found.recommended.value) == (Verdict.UNDERSIZED, 4)
    assert found.note == "its host has no more threads"


def test_a_guest_that_waits_for_cpus_is_not_called_oversized() -> None:
    history = made()
    guest(history, cores=1.4, vcpus=4, steal=0.5)  # two would do, and four might not
    found = cpu(history)
    assert found.verdict is Verdict.WAITS
    assert found.recommended.value is None
    assert found.evidence.value == pytest.approx(0.5), "of each vCPU, not of all four together"


def test_unless_what_it_waits_would_fit_as_well() -> None:
    history = made()
    guest(history, cores=0.5, vcpus=8, steal=0.2)  # 0.5 and 1.6, and a fifth to spare
    found = cpu(history)
    assert (found.verdict, found.recommended.value) == (Verdict.OVERSIZED, 4)
    assert arithmetic.check([found.recommended]) == 3


def test_what_grows_is_sized_for_what_is_to_come() -> None:
    history = made(days=30)
    growing = np.linspace(0.6, 1.2, history.count)
    guest(history, "grows-1", cores=growing, vcpus=2)
    guest(history, "flat-1", cores=np.full(history.count, 1.2), vcpus=2)
    found = answer(history)
    grows, flat = found["grows-1", Resource.CPU], found["flat-1", Resource.CPU]
    assert flat.verdict is Verdict.FITS
    assert grows.verdict is Verdict.UNDERSIZED
    assert grows.note == "not yet: it grows"
    assert (grows.projected.value or 0) > 1.6
    assert (grows.recommended.value or 0) >= 4


def test_a_level_shift_is_no_growth() -> None:
    history = made(days=30)
    shifted = np.full(history.count, 0.5)
    shifted[history.count // 2 :] = 1.4
    guest(history, cores=shifted, vcpus=2)
    found = cpu(history)
    assert (found.verdict, found.recommended.value) == (Verdict.FITS, 2)


@pytest.mark.parametrize(
    ("used", "has", "verdict", "fits"),
    [
        (1.0, 8, Verdict.OVERSIZED, 2),
        (4.0, 8, Verdict.OVERSIZED, 5),
        (6.0, 8, Verdict.FITS, 8),
        (7.0, 8, Verdict.UNDERSIZED, 9),
        (0.3, 2, Verdict.OVERSIZED, 0.5),  # below a step by quarters of it
        (0.3, 0.5, Verdict.FITS, 0.5),
        (0.5, 0.5, Verdict.UNDERSIZED, 0.75),
    ],
)
def test_memory_is_recommended_in_whole_steps(used: float, has: float, verdict: Verdict, fits: float) -> None:
    history = made()
    guest(history, used=used * GIB, memory=has)
    found = memory(history)
    assert found.verdict is verdict
    assert found.recommended.value == fits * GIB


def test_of_a_smaller_memory_the_host_gets_back_what_is_resident_beyond_it() -> None:
    history = made()
    guest(history, used=1.0 * GIB, cores=0.1)
    found = answer(history)
    assert found["web-1", Resource.MEMORY].back.value == (6 - 2) * GIB
    assert found["web-1", Resource.CPU].back.value == 0, "fewer vCPUs give nothing back"


def test_what_is_not_resident_does_not_come_back() -> None:
    history = made()
    guest(history, used=1.0 * GIB, more={"balloon.rss": 1 * GIB_KIB})
    assert memory(history).back.value == 0


def test_memory_peaks_are_those_of_hours_as_a_minute_without_memory_is_missed() -> None:
    history = made()
    peaks = np.full(STEPS, 1.0 * GIB)
    peaks[::12] = 6.0 * GIB  # five minutes of each hour
    guest(history, used=peaks)
    assert memory(history).demand.value == 6 * GIB


def test_there_is_no_word_on_memory_where_the_balloon_driver_has_died() -> None:
    history = made()
    guest(history, more={"balloon.last-update": spoken(history, until=STEPS - PER_DAY * 3)})
    found = memory(history)
    assert found.verdict is Verdict.STALE
    assert found.recommended.value is None
    assert found.note == "its balloon driver spoke 3.0 days ago"
    assert found.evidence.value == pytest.approx(3, abs=STEP_MS / DAY_MS)
    assert cpu(history).verdict is not Verdict.STALE, "which says nothing of its CPUs"


def test_nor_where_it_never_spoke() -> None:
    history = made()
    history.guest("mute-1", {"vcpu.current": 1, "cpu.cores": 0.1, "balloon.current": GIB_KIB, "balloon.last-update": 0})
    history.guest("bare-1", {"vcpu.current": 1, "cpu.cores": 0.1, "balloon.current": GIB_KIB})
    for name in ("mute-1", "bare-1"):
        found = memory(history, name)
        assert (found.verdict, found.note) == (Verdict.STALE, "its balloon driver never spoke")


def test_nor_where_it_has_only_just_begun_to_speak_again() -> None:
    history = made()
    seconds = spoken(history)
    seconds[PER_DAY : STEPS - PER_DAY] = seconds[PER_DAY]
    guest(history, more={"balloon.last-update": seconds})
    found = memory(history)
    assert (found.verdict, found.note) == (Verdict.STALE, "its balloon driver was silent for most of the time")


def test_figures_from_while_it_was_silent_do_not_count() -> None:
    history = made()
    seconds, used = spoken(history), np.full(STEPS, 2.0 * GIB)
    seconds[: PER_DAY * 3] = seconds[0]
    used[: PER_DAY * 3] = 7.5 * GIB  # what it said last, for three days
    guest(history, used=used, more={"balloon.last-update": seconds})
    found = memory(history)
    assert found.peak.value == 2 * GIB
    assert found.recommended.value == 3 * GIB


def test_a_guest_that_lacks_memory_which_was_ballooned_away_is_told_so() -> None:
    history = made()
    guest(history, used=3.9 * GIB, memory=4, more={"balloon.maximum": 8 * GIB_KIB})
    found = memory(history)
    assert found.verdict is Verdict.UNDERSIZED
    assert "ballooned away" in found.note


def test_there_is_no_recommendation_from_an_hour() -> None:
    history = made()
    guest(history, first=STEPS - 12)
    for found in answer(history).values():
        assert found.verdict is Verdict.YOUNG
        assert found.recommended.value is None
        assert found.note == "1.0 hours of the 30h that it takes"


def test_nor_from_a_third_of_the_time() -> None:
    history = made()
    holes = np.where(np.arange(STEPS) % 3 == 0, 1.0, np.nan)
    guest(history, cores=holes)
    assert cpu(history).note == "only 33 % of the time was seen"


def test_two_thirds_of_the_time_are_enough() -> None:
    history = made()
    holes = np.where(np.arange(STEPS) % 3 == 0, np.nan, 1.0)
    guest(history, cores=holes, vcpus=8)
    assert cpu(history).verdict is Verdict.OVERSIZED


def test_a_history_of_an_hour_has_an_answer() -> None:
    history = Made(START_MS, STEP_MS, 12)
    history.host("kvm1", {"host.cpus": 4, "host.memory.total": GIB_KIB})
    guest(history)
    assert {one.verdict for one in answer(history).values()} == {Verdict.YOUNG}
    assert {one.verdict for one in answer(history, size_after=Duration(1800)).values()} == {
        Verdict.OVERSIZED,
    }


def test_nobody_running_is_an_answer_too() -> None:
    history = made()
    history.off("old-1", {"vcpu.maximum": 1})
    assert answer(history) == {}


def test_a_guest_whose_host_has_vanished_is_left_out() -> None:
    history = made()
    half = STEPS // 2
    history.host("kvm2", {"host.cpus": np.full(half, 4.0)})
    history.guest("lost-1", {"vcpu.current": 2, "cpu.cores": np.full(half, 0.1)}, host="kvm2")
    assert answer(history) == {}


def test_those_that_are_too_small_come_first_and_then_where_there_is_most_to_gain() -> None:
    history = made()
    guest(history, "small-1", cores=1.9, vcpus=2, used=6.0 * GIB)
    guest(history, "large-1", cores=0.5, vcpus=16, used=6.0 * GIB)
    guest(history, "larger-1", cores=0.5, vcpus=8, used=6.0 * GIB)
    found = rightsize(Asked(history, history.until_ms))
    assert [one.name for one in found.sizings][:3] == ["small-1", "large-1", "larger-1"]


def test_every_formula_comes_to_its_figure() -> None:
    history = made(days=20)
    guest(history, "large-1", cores=np.linspace(0.2, 0.3, history.count), vcpus=8, used=2.0 * GIB)
    guest(history, "small-1", cores=1.95, vcpus=2, used=7.5 * GIB)
    for one in answer(history).values():
        assert arithmetic.check([one.recommended, one.back]) >= 1


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 6.0), st.integers(1, 12), st.floats(0, 0.4))
def test_the_recommendation_is_that_of_the_plain_arithmetic(seed: int, level: float, vcpus: int, holes: float) -> None:
    draw = np.random.default_rng(seed)
    days = 5  # fewer than it takes for growth to count
    history = made(days=days)
    cores = level * draw.lognormal(0, 0.4, days * PER_DAY)
    cores[draw.random(len(cores)) < holes] = np.nan
    guest(history, cores=cores, vcpus=vcpus)
    found = cpu(history)
    known = sorted(value for value in cores.tolist() if not math.isnan(value))
    p95 = known[math.ceil(0.95 * len(known)) - 1]
    least = math.ceil(round(p95 / 0.8, 9))
    even = least if least <= 2 else least + least % 2
    assert found.demand.value == pytest.approx(p95)
    if least > vcpus:
        assert (found.verdict, found.recommended.value) == (Verdict.UNDERSIZED, min(even, 16))
    elif even < vcpus:
        assert (found.verdict, found.recommended.value) == (Verdict.OVERSIZED, even)
    else:
        assert (found.verdict, found.recommended.value) == (Verdict.FITS, vcpus)
