"""Whether a tick has the time it takes, and whether the clock is true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor.seen import HOST, host, hosts, only, verdicts
from domstat.config import parse
from domstat.doctor.finding import Verdict
from domstat.doctor.scene import ClockSeen
from domstat.doctor.timing import ROUND_S, clock, intervals, round_s

IN_TIME = ClockSeen(True, 0.004)


@pytest.mark.parametrize(
    ("call_s", "verdict", "fix"),
    [
        (0.02, Verdict.OK, ""),
        (4.0, Verdict.OK, ""),
        (5.0, Verdict.WARNING, 'interval = "15s" in [agent]'),
        (11.0, Verdict.TROUBLE, 'interval = "30s" in [agent]'),
    ],
)
def test_a_call_has_its_deadline_and_at_most_its_interval(call_s: float, verdict: Verdict, fix: str) -> None:
    found = only(intervals([host(call_s=call_s)], hosts(), {}))
    assert (found.verdict, found.fix) == (verdict, fix)
    assert f"{call_s * 1000:.0f} ms of the 10s" in found.found


def test_what_the_history_knows_counts_for_more_than_one_call() -> None:
    found = only(intervals([host(call_s=11.0)], hosts(), {("kvm1", "default"): 0.1}))
    assert (found.verdict, found.about) == (Verdict.OK, "kvm1/default")
    assert found.found.startswith("99 of 100 calls of the last day took up to 100 ms")


def test_a_block_of_its_own_has_its_interval_set_where_it_stands() -> None:
    own = hosts("[[hosts.collect]]\ngroups = ['state']\ninterval = '1s'")
    assert only(intervals([host(call_s=2.0)], own, {})).fix == 'interval = "5s" in [[hosts.collect]] of the host "kvm1"'


def test_where_the_interval_is_long_enough_it_is_the_deadline_that_is_too_short() -> None:
    found = only(
        intervals(
            [host(call_s=6.0)], hosts("deadline = '2s'\n[[hosts.collect]]\ngroups = ['state']\ninterval = '60s'"), {}
        )
    )
    assert (found.verdict, found.fix) == (Verdict.WARNING, 'deadline = "10s" in [[hosts]] of "kvm1"')


def test_without_any_call_nothing_can_be_said() -> None:
    assert only(intervals([host(call_s=None)], hosts(), {})).verdict is Verdict.UNKNOWN
    assert only(intervals([], hosts(), {})).verdict is Verdict.UNKNOWN


def test_every_block_is_judged_by_itself() -> None:
    light = parse('[[hosts]]\nname = "kvm1"\nplan = "light"\n').hosts
    assert [found.about for found in intervals([HOST], light, {})] == ["kvm1/default", "kvm1/slow"]


@given(st.floats(0, ROUND_S[-1]))
def test_what_is_proposed_is_round_and_long_enough(least_s: float) -> None:
    assert round_s(least_s) in ROUND_S
    assert round_s(least_s) >= least_s


def test_a_clock_that_is_kept_in_time_is_well() -> None:
    assert only(clock(IN_TIME, 0)).verdict is Verdict.OK


@pytest.mark.parametrize("seen", [ClockSeen(False, 0.004), ClockSeen(True, 16.0)])
def test_a_clock_that_nobody_keeps_or_that_may_be_far_off_is_a_warning(seen: ClockSeen) -> None:
    found = only(clock(seen, 0))
    assert found.verdict is Verdict.WARNING
    assert "timedatectl set-ntp true" in found.fix


def test_a_clock_of_which_the_kernel_says_nothing_is_not_judged() -> None:
    assert only(clock(None, 0)).verdict is Verdict.UNKNOWN


def test_a_clock_that_jumped_is_a_warning_however_well_it_goes_now() -> None:
    found = list(clock(IN_TIME, 3))
    assert verdicts(found) == [Verdict.OK, Verdict.WARNING]
    assert "jumped 3 times" in found[1].found
    assert "makestep" in found[1].fix
