"""A world that is being changed, where it is not a matter of one question: pools, placing, names."""

from __future__ import annotations

import numpy as np

from capacity.fleets import asked, two_hosts
from capacity.made import GIB, Made
from domstat.capacity import world
from domstat.capacity.loads import Loads
from domstat.capacity.would import Would


def would(made: Made) -> Would:
    figures = asked(made)
    return Would(world.observe(figures), Loads(figures, tuple(guest.uuid for guest in figures.fleet.guests)))


def allocated(changed: Would) -> dict[str, float]:
    return {pool.name: round((pool.allocation or 0) / GIB) for pool in changed.world().fleet.pools}


def test_a_disk_that_comes_goes_into_the_pool_with_most_room_and_that_is_said() -> None:
    made = two_hosts()
    made.pool("small", {"pool.capacity": 100.0 * GIB, "pool.allocation": 20.0 * GIB})
    changed = would(made)
    changed.add(changed.called("db-1")[0], 1, "kvm1")
    assert allocated(changed) == {"images": 550, "small": 20}
    assert changed.notes == ["which pool a disk is in is not known: those of kvm1 are counted in images"]


def test_a_disk_that_goes_comes_out_of_the_fullest_pool() -> None:
    made = two_hosts()
    made.pool("small", {"pool.capacity": 100.0 * GIB, "pool.allocation": 60.0 * GIB})
    changed = would(made)
    changed.remove(changed.called("db-1")[0])
    assert allocated(changed) == {"images": 500, "small": 10}


def test_a_host_without_pools_takes_a_guest_without_its_disks() -> None:
    changed = would(two_hosts())
    changed.move(changed.called("web-1")[0], "kvm2")
    assert allocated(changed) == {"images": 490}


def test_guests_that_are_added_can_be_changed_as_any_other() -> None:
    changed = would(two_hosts())
    changed.add(changed.called("web-1")[0], 2, "kvm1")
    changed.resize(changed.called("web-1 +2")[0], 8, None)
    changed.remove(changed.called("web-1 +1")[0])
    found = {guest.name: guest.vcpus for guest in changed.world().fleet.guests}
    assert found == {"db-1": 8, "old": 2, "web-1": 4, "web-1 +2": 8, "web-2": 2}


def test_the_world_that_is_does_not_change() -> None:
    figures = asked(two_hosts())
    seen = world.observe(figures)
    before = {at: one.values.copy() for at, one in seen.window.items()}
    changed = Would(seen, Loads(figures, tuple(guest.uuid for guest in figures.fleet.guests)))
    changed.remove(changed.called("web-1")[0])
    changed.lose("kvm2")
    assert all(np.array_equal(seen.window[at].values, values, equal_nan=True) for at, values in before.items())
    assert len(seen.fleet.guests) == 4
