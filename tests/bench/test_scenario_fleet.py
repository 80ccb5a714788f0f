"""A made-up fleet: the same every time, of every kind, and with the oddities that fleets have."""

from __future__ import annotations

from itertools import pairwise

import pytest

from domstat_bench.scenario_courses import DAY_MS, EVER_MS, HOUR_MS
from domstat_bench.scenario_fleet import fleet_world
from domstat_bench.scenario_truth import cpu_trend, pool_trend
from domstat_bench.scenario_world import World
from domstat_bench.scenarios import END_MS
from domstat_bench.workload_kinds import KINDS

BEGIN_MS = END_MS - 365 * DAY_MS


@pytest.fixture(scope="module")
def world() -> World:
    return fleet_world(10, 200, BEGIN_MS, END_MS)


def test_the_same_fleet_comes_every_time(world: World) -> None:
    assert fleet_world(10, 200, BEGIN_MS, END_MS) == world


def test_every_guest_is_somewhere_and_of_one_of_the_kinds(world: World) -> None:
    guests = {guest.uuid for host in world.hosts for guest in host.guests}
    assert len(guests) == 200
    names = {guest.name.partition("-")[0] for host in world.hosts for guest in host.guests}
    assert names == set(KINDS)


@pytest.mark.parametrize(("hosts", "guests"), [(1, 1), (3, 2), (20, 2000)])
def test_a_fleet_may_be_of_any_size(hosts: int, guests: int) -> None:
    made = fleet_world(hosts, guests, BEGIN_MS, END_MS)
    assert len(made.hosts) == hosts
    assert len({guest.uuid for host in made.hosts for guest in host.guests}) == guests


def test_no_two_hosts_have_one_guest_at_once_and_none_runs_while_it_is_off(world: World) -> None:
    spans: dict[str, list[tuple[int, int]]] = {}
    for host in world.hosts:
        every = [(guest.uuid, guest.from_ms, guest.until_ms) for guest in host.guests]
        every += [(sleeper.uuid, sleeper.from_ms, sleeper.until_ms) for sleeper in host.sleepers]
        for uuid, from_ms, until_ms in every:
            spans.setdefault(uuid, []).append((from_ms, until_ms))
    for its in spans.values():
        assert all(ends <= begins for (_, ends), (begins, _) in pairwise(sorted(its)))


def test_some_are_off_new_moved_growing_or_silent(world: World) -> None:
    guests = [guest for host in world.hosts for guest in host.guests]
    assert sum(len(host.sleepers) for host in world.hosts) == 10
    assert any(guest.from_ms > BEGIN_MS for guest in guests)
    assert len(guests) > len({guest.uuid for guest in guests})
    assert any(guest.cores.growth > 0 for guest in guests)
    assert any(guest.speaks_until_ms < EVER_MS for guest in guests)
    assert any(guest.resets for guest in guests)


def test_all_that_begins_or_ends_does_so_at_a_full_hour(world: World) -> None:
    times = {at for host in world.hosts for guest in host.guests for at in (guest.from_ms, guest.until_ms)}
    assert {at % HOUR_MS for at in times - {EVER_MS}} == {0}


def test_hosts_are_not_full_and_one_pool_soon_will_be(world: World) -> None:
    assert all(cpu_trend(world, host).at_end < host.cpus for host in world.hosts)
    days = [((pool_trend(world, host).full_ms or EVER_MS) - END_MS) / DAY_MS for host in world.hosts]
    assert 20 < min(days) < 60
    assert max(days) > 365
