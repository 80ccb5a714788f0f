"""The fleet as of a moment: who runs, who is off and since when, who is gone, who moved."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from capacity.made import DAY_MS, GIB, GIB_KIB, HOUR_MS, START_MS, Made
from domstat.capacity.census import Chosen, take
from domstat.capacity.fleet import Disk, Fleet, State
from domstat.history import Coverage, Host, OnDamaged, Span

RUNS = {"vcpu.current": 4, "vcpu.maximum": 8, "balloon.current": 4 * GIB_KIB, "balloon.maximum": 8 * GIB_KIB}
OFF = {
    "vcpu.maximum": 2,
    "balloon.maximum": 4 * GIB_KIB,
    "volume.capacity[vda]": 40 * GIB,
    "volume.allocation[vda]": GIB,
}
STALE_MS = 86_400_000
DAYS = 10


def made() -> Made:
    found = Made(count=24 * DAYS)
    found.host("kvm1", {"host.cpus": 16, "host.memory.total": 64 * GIB_KIB})
    return found


def taken(history: Made, chosen: Chosen | None = None, now_ms: int | None = None) -> Fleet:
    return take(history, history.until_ms if now_ms is None else now_ms, STALE_MS, chosen or Chosen())


def test_a_host_has_its_threads_and_its_memory_in_bytes() -> None:
    (host,) = taken(made()).hosts
    assert (host.name, host.threads, host.memory, host.is_stale) == ("kvm1", 16, 64 * GIB, False)


def test_a_guest_that_runs_has_what_it_has_now() -> None:
    history = made()
    disks = {"block.capacity[vda]": 40 * GIB, "block.allocation[vda]": 9 * GIB, "block.physical[vda]": 10 * GIB}
    below = {"block.capacity[vda#2]": 40 * GIB}
    uuid = history.guest("web-1", {**RUNS, **disks, **below})
    (guest,) = taken(history).guests
    assert (guest.name, guest.host, guest.state) == ("web-1", "kvm1", State.RUNNING)
    assert (guest.vcpus, guest.memory, guest.vcpus_maximum, guest.memory_maximum) == (4, 4 * GIB, 8, 8 * GIB)
    assert guest.disks == (Disk(uuid, "vda", 40 * GIB, 9 * GIB, 10 * GIB),)
    assert (guest.disk_capacity, guest.disk_held) == (40 * GIB, 9 * GIB)


def test_who_does_not_ask_for_disks_is_told_of_none_and_of_all_else() -> None:
    history = made()
    history.guest("web-1", {**RUNS, "block.capacity[vda]": 40 * GIB, "block.allocation[vda]": 9 * GIB})
    history.off("db-old", OFF)
    every, none = taken(history), taken(history, Chosen(disks=False))
    assert all(guest.disks for guest in every.guests)
    assert none.guests == tuple(replace(guest, disks=()) for guest in every.guests)
    assert (none.hosts, none.pools) == (every.hosts, every.pools)


def test_a_guest_that_is_off_has_what_it_would_have_and_the_disks_it_holds() -> None:
    history = made()
    history.off("db-old", OFF)
    (guest,) = taken(history).guests
    assert (guest.state, guest.vcpus, guest.memory) == (State.OFF, 2, 4 * GIB)
    assert (guest.disk_capacity, guest.disk_held) == (40 * GIB, GIB)


def test_off_is_since_the_event_that_says_so() -> None:
    history = made()
    history.guest("db", {**RUNS, "cpu.time": np.ones(24 * 3)})
    history.off("db", OFF, first=24 * 3)
    history.event(START_MS + DAY_MS, "db", "stopped")
    history.event(START_MS + DAY_MS + HOUR_MS, "db", "started")
    history.event(START_MS + 3 * DAY_MS, "db", "shutdown")
    (guest,) = taken(history).guests
    assert guest.off_since_ms == START_MS + 3 * DAY_MS


def test_off_is_since_the_guest_last_used_its_cpu_where_no_event_was_heard() -> None:
    history = made()
    history.guest("db", {**RUNS, "cpu.time": np.ones(24 * 3)})
    history.off("db", OFF, first=24 * 3)
    (guest,) = taken(history).guests
    assert guest.off_since_ms == START_MS + 3 * DAY_MS


def test_off_is_since_it_was_first_seen_where_it_never_ran() -> None:
    history = made()
    history.off("db", OFF, first=24)
    (guest,) = taken(history).guests
    assert guest.off_since_ms == START_MS + DAY_MS


def test_a_guest_that_its_host_no_longer_sees_is_gone() -> None:
    history = made()
    history.guest("old", {**RUNS, "cpu.cores": np.ones(24)})
    history.guest("just", {**RUNS, "cpu.cores": np.ones(24 * DAYS - 5)})
    assert {guest.name: guest.state for guest in taken(history).guests} == {"old": State.GONE, "just": State.GONE}


def test_a_guest_that_moved_is_where_it_was_seen_last() -> None:
    history = made()
    history.host("kvm0", {"host.cpus": 8})
    history.guest("web", {**RUNS, "cpu.cores": np.ones(24 * DAYS - 3)}, host="kvm1")
    history.guest("web", {**RUNS, "cpu.cores": np.ones(3)}, host="kvm0", first=24 * DAYS - 3)
    (guest,) = taken(history).guests
    assert (guest.host, guest.hosts, guest.state) == ("kvm0", ("kvm0", "kvm1"), State.RUNNING)


def test_a_guest_that_moved_within_the_last_hour_is_looked_at_closer() -> None:
    history = Made(step_ms=300_000, count=12 * 24)
    history.host("kvm0", {"host.cpus": 8})
    history.host("kvm1", {"host.cpus": 8})
    history.guest("web", {**RUNS, "cpu.cores": np.ones(12 * 24 - 3)}, host="kvm1")
    history.guest("web", {**RUNS, "cpu.cores": np.ones(3)}, host="kvm0", first=12 * 24 - 3)
    (guest,) = taken(history).guests
    assert guest.host == "kvm0"


def test_a_guest_that_went_off_within_the_last_hour_is_off() -> None:
    history = Made(step_ms=300_000, count=12 * 24)
    history.host("kvm1", {"host.cpus": 8})
    history.guest("web", {**RUNS, "cpu.cores": np.ones(12 * 24 - 3)})
    history.off("web", {"vcpu.maximum": 8}, first=12 * 24 - 2)
    (guest,) = taken(history).guests
    assert guest.state is State.OFF


def test_a_host_that_vanished_is_as_it_was_last() -> None:
    history = made()
    history.host("kvm0", {"host.cpus": np.full(48, 8.0)})
    history.guest("web", {**RUNS, "cpu.cores": np.ones(48)}, host="kvm0")
    fleet = taken(history)
    assert fleet.host_of["kvm0"].is_stale
    assert fleet.host_of["kvm0"].threads == 8
    (guest,) = fleet.guests
    assert (guest.host, guest.state, guest.vcpus) == ("kvm0", State.RUNNING, 4)


def test_pools_are_known_by_host_and_name_and_shared_ones_are_marked() -> None:
    history = made()
    history.host("kvm2", {"host.cpus": 8})
    shared = {"pool.capacity": 1000.0, "pool.allocation": 500.0, "pool.available": 500.0, "pool.age": 60.0}
    history.pool("nfs", shared, host="kvm1")
    history.pool("nfs", shared, host="kvm2")
    history.pool("own", {"pool.capacity": 10.0, "pool.allocation": 5.0}, host="kvm2")
    found = {(pool.host, pool.name): (pool.capacity, pool.age_s, pool.is_twin) for pool in taken(history).pools}
    assert found == {
        ("kvm1", "nfs"): (1000.0, 60.0, False),
        ("kvm2", "nfs"): (1000.0, 60.0, True),
        ("kvm2", "own"): (10.0, None, False),
    }


def test_hosts_and_guests_can_be_chosen() -> None:
    history = made()
    history.host("lab1", {"host.cpus": 8})
    history.guest("web-1", RUNS)
    uuid = history.guest("db-1", RUNS)
    history.guest("lab", RUNS, host="lab1")
    fleet = taken(history, Chosen(hosts=("kvm*",), guests=("web-*", uuid[:8] + "*")))
    assert [host.name for host in fleet.hosts] == ["kvm1"]
    assert [guest.name for guest in fleet.guests] == ["db-1", "web-1"]


def test_what_comes_after_the_moment_is_not_looked_at() -> None:
    history = made()
    history.guest("late", RUNS, first=24 * 5)
    assert taken(history, now_ms=START_MS + 4 * DAY_MS).guests == ()


def test_nothing_is_an_empty_fleet() -> None:
    fleet = taken(Made())
    assert (fleet.hosts, fleet.guests, fleet.pools) == ((), (), ())


class Delivering(Made):
    """Has an agent of its own, on a machine that is no host, and on kvm1, which go on when hosts are seen no more."""

    def hosts(self) -> tuple[Host, ...]:
        (seen,) = super().hosts()
        return (
            Host("agents-own", ("delivery",), self.since_ms, self.until_ms + 20 * DAY_MS),
            Host(seen.name, (*seen.collects, "delivery"), seen.first_ms, self.until_ms + 20 * DAY_MS),
        )

    def coverage(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Coverage, ...]:
        last_ms = min(span.until_ms, self.until_ms + 20 * DAY_MS)
        own = (
            Coverage(host, "delivery", self.since_ms, last_ms, 1, 1.0, DAY_MS, ()) for host in ("kvm1", "agents-own")
        )
        (seen,) = super().hosts()
        return (*own, Coverage("kvm1", "default", seen.first_ms, seen.last_ms, 1, 1.0, DAY_MS, ()))


def delivering() -> Made:
    found = Delivering(count=24 * DAYS)
    found.host("kvm1", {"host.cpus": 16, "host.memory.total": 64 * GIB_KIB})
    found.guest("web-1", RUNS)
    return found


def test_the_machine_of_an_agent_that_collects_from_others_is_no_host() -> None:
    assert [host.name for host in taken(delivering()).hosts] == ["kvm1"]


def test_what_an_agent_says_of_itself_makes_no_host_fresh_and_no_guest_gone() -> None:
    found = taken(delivering(), now_ms=START_MS + (DAYS + 5) * DAY_MS)
    (host,), (guest,) = found.hosts, found.guests
    assert host.is_stale
    assert host.last_ms < START_MS + DAYS * DAY_MS
    assert (guest.state, guest.vcpus) == (State.RUNNING, 4)
