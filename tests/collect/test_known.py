"""What is known of a guest between ticks, and inherited from the agent before."""

from __future__ import annotations

from domstat.collect.known import Known, Past
from domstat.collect.naming import Plan
from domstat.collect.wire import ALL
from domstat.model import Domain, Moment
from domstat.rates import Baseline, shape_of

RAW = ("cpu.time", "block.0.name", "block.0.path", "block.0.rd.bytes")


def plan(path: str) -> Plan:
    return Plan(RAW, [1, "vda", path, 5], None, ALL)


def past(devices: dict[str, dict[str, str]] | None, id: int = 3) -> Past:  # noqa: A002
    shape = shape_of(("cpu.time",))
    return Past(Domain("u", "web-1", id), Baseline(id, Moment(0, 0, "b"), shape, (1,), {}), devices)


def known(path: str = "/a") -> Known:
    return Known(Domain("u", "web-1", 3), plan(path))


def test_a_guest_goes_on_from_its_past() -> None:
    guest, before = known(), past({"vda": {"path": "/a"}})
    assert guest.inherit(before) == ()
    assert guest.baseline is before.baseline


def test_a_device_that_is_not_what_it_was_is_named() -> None:
    assert known("/b").inherit(past({"vda": {"path": "/a"}})) == ("vda",)


def test_devices_of_which_nobody_knows_are_taken_for_what_they_were() -> None:
    assert known().inherit(past(None)) == ()


def test_another_incarnation_inherits_nothing() -> None:
    guest = known()
    assert guest.inherit(past({"vda": {"path": "/b"}}, id=2)) == ()
    assert guest.baseline is None


def test_a_guest_without_a_past_begins_by_itself() -> None:
    guest = known()
    assert guest.inherit(None) == ()
    assert guest.baseline is None
