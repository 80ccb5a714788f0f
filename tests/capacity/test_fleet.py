"""The fleet's own questions."""

from __future__ import annotations

import pytest

from domstat.capacity.fleet import Disk, Fleet, Guest, Host, Pool, State


def guest(name: str, host: str = "kvm1", state: State = State.RUNNING, *disks: Disk) -> Guest:
    return Guest(f"uuid-of-{name}-{state}", name, host, (host,), state, 0, 1, disks=disks)


FLEET = Fleet(
    1,
    0,
    (Host("kvm1", 0, 1), Host("kvm2", 0, 1)),
    (
        guest("web", state=State.GONE),
        guest("web"),
        guest("db", "kvm2"),
        guest("old", "kvm2", State.OFF),
    ),
    (Pool("kvm1", "images", 1.0, 1.0, 1), Pool("kvm2", "images", 1.0, 1.0, 1)),
)


def test_guests_are_found_by_host_and_by_how_they_are() -> None:
    assert [one.name for one in FLEET.on("kvm2")] == ["db", "old"]
    assert [one.name for one in FLEET.on("kvm2", State.OFF)] == ["old"]
    assert [one.name for one in FLEET.on_any(State.RUNNING)] == ["web", "db"]


def test_of_guests_of_one_name_those_that_are_there_come_first() -> None:
    assert [one.state for one in FLEET.called("web")] == [State.RUNNING, State.GONE]
    assert [one.name for one in FLEET.called("uuid-of-db-running")] == ["db"]
    assert FLEET.called("nobody") == ()


def test_pools_are_a_host_s_own() -> None:
    assert [pool.host for pool in FLEET.pools_of("kvm2")] == ["kvm2"]


@pytest.mark.parametrize(
    ("allocation", "physical", "held"),
    [(5.0, None, 5.0), (5.0, 6.0, 5.0), (7.0, 6.0, 6.0), (None, 6.0, 6.0), (None, None, None)],
)
def test_a_disk_holds_no_more_than_was_written_or_than_its_file_takes(
    allocation: float | None, physical: float | None, held: float | None
) -> None:
    assert Disk("u", "vda", 10.0, allocation, physical).held == held


def test_what_is_not_known_of_disks_adds_nothing() -> None:
    one = guest("web", "kvm1", State.RUNNING, Disk("u", "vda", None, 3.0), Disk("u", "vdb", 10.0, None))
    assert (one.disk_capacity, one.disk_held) == (10.0, 3.0)
