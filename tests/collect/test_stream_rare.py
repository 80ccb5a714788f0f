"""What a stream does rarely: XML read again, groups that have nothing to say, the cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from answers import (
    KVM,
    Guest,
    S,
    Telling,
    sample,
    spare,
    stuck,
)
from collect.test_stream_spared import HOUR_S, MISSING
from domstat import clock
from domstat.catalog import GROUPS
from domstat.collect.errors import UnreachableError
from domstat.model import Partial, Value

At = Callable[[float], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Set the boot-time clock to so many seconds, which is when the next tick begins."""
    now = [0.0]
    monkeypatch.setattr(clock, "boot_ns", lambda: round(now[0] * S))
    return lambda seconds: now.__setitem__(0, seconds)


# --- what is done once an hour


def test_once_an_hour_the_xml_of_all_is_read_again_whatever_events_there_were(at: At) -> None:
    told = Telling(KVM, host=True)
    for seconds in (0, HOUR_S - 1, HOUR_S, HOUR_S + 10, 2 * HOUR_S):
        at(seconds)
        told.record(seconds, sample())
    assert len(told.hypervisor.described) == 3


def test_of_a_hosts_streams_one_sees_to_that(at: At) -> None:
    told = Telling(KVM)
    for seconds in (0, HOUR_S, 2 * HOUR_S):
        at(seconds)
        told.record(seconds, sample())
    assert len(told.hypervisor.described) == 1


# --- groups that are asked for rarely


RARE = ("perf", "iothread", "dirtyrate")
PROBED: dict[str, Value] = {
    "iothread.count": 1,
    "iothread.1.poll-max-ns": 32768,
    "perf.cpu_cycles": 0,
    "dirtyrate.calc_status": 0,
}


def probed_in(told: Telling) -> list[set[str]]:
    """Say which rare groups each tick so far asked for."""
    return [{group for group in RARE if ask.stats & GROUPS[group]} for ask in told.hypervisor.asked]


def test_groups_that_have_nothing_to_say_are_asked_for_once_an_hour(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    for seconds in (0, 10, 20, HOUR_S, HOUR_S + 10):
        at(seconds)
        told.record(seconds, sample() | PROBED)
    assert probed_in(told) == [set(RARE), {"iothread"}, {"iothread"}, set(RARE), {"iothread"}]


def test_a_new_guest_has_them_asked_for_with_the_next_tick(at: At) -> None:
    told = Telling({"a": KVM, "b": KVM}, probe=RARE)
    at(0)
    told.batch(0, Guest(uuid="a", params=sample()))
    at(10)
    told.batch(10, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    for seconds in (20, 30):
        at(seconds)
        told.batch(seconds, *[Guest(uuid=uuid, params=sample()) for uuid in "ab"])
    assert probed_in(told) == [set(RARE), set(), set(RARE), set()]


def test_so_has_one_that_is_first_seen_in_a_spared_answer(at: At) -> None:
    told = Telling({"a": KVM, "b": KVM}, probe=RARE)
    at(0)
    told.batch(0, Guest(uuid="a", params=sample()))
    at(10)
    told.batch(10, *[Guest(uuid=uuid, params=spare(sample())) for uuid in "ab"], spared=True)
    at(20)
    told.batch(20)
    assert probed_in(told) == [set(RARE), set(), set(RARE)]


def test_a_guest_started_anew_has_them_asked_for_too(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    for seconds, incarnation in ((0, 3), (10, 3), (20, 4), (30, 4), (40, 4)):
        at(seconds)
        told.record(seconds, sample(seconds), id=incarnation)
    assert probed_in(told) == [set(RARE), set(), set(), set(RARE), set()]


def test_a_host_that_was_down_at_first_is_asked_for_them_once_it_is_back(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    at(0)
    with pytest.raises(UnreachableError):
        told.tick(UnreachableError("down"))
    for seconds in (10, 20, 30):
        at(seconds)
        told.record(seconds, sample(seconds))
    assert probed_in(told) == [set(RARE), set(), set(RARE), set()]


def test_what_was_not_asked_for_is_not_missing(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    silent: dict[str, Value] = {"dirtyrate.calc_status": 0, "iothread.count": 0}
    for seconds in (0, 10, HOUR_S, HOUR_S + 10):
        at(seconds)
        record = told.record(seconds, sample(seconds) | (silent if seconds % HOUR_S == 0 else {}))
        assert record.partial is None
        assert record.interval_s is None or record.rates["cpu.time"] == 0.5


def test_what_was_asked_for_and_did_not_come_from_a_stuck_guest_is(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    at(0)
    told.record(0, sample() | PROBED)
    at(10)
    assert told.record(10, stuck(sample(10))).partial == Partial(("balloon", "block", "iothread"), 10.0)


def test_a_spared_guest_lacks_of_these_only_what_has_something_to_say(at: At) -> None:
    told = Telling(KVM, probe=RARE)
    at(0)
    assert told.record(0, spare(sample()), spared=True).partial == Partial(tuple(sorted((*MISSING, "interface"))))
    at(10)
    told.record(10, sample() | PROBED)
    at(20)
    assert told.record(20, spare(sample()), spared=True).partial == Partial(tuple(sorted((*MISSING, "iothread"))), 10.0)


# --- cost


def test_the_cost_is_asked_for_with_the_second_tick_and_then_every_five_minutes(at: At) -> None:
    told = Telling(KVM)
    for seconds in (0, 10, 20, 300, 310, 320, 610):
        at(seconds)
        told.record(seconds, sample())
    assert [ask.cost for ask in told.hypervisor.asked] == [False, True, False, False, True, False, True]
