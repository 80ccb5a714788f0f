"""Whether hosts are reached, by whom, for reading only, and what their drivers know."""

from __future__ import annotations

from doctor.seen import HOST, examined, host, hosts, only
from domstat.catalog import GROUPS
from domstat.collect.wire import Examined
from domstat.doctor.finding import Verdict
from domstat.doctor.hosts import groups, reached, refreshed

GONE = host(examined=None, failure=("Failed to connect socket", "see that libvirt runs there"))
REFRESHING = "[hosts.survey]\nrefresh = true"


def without(*names: str) -> dict[str, bool]:
    return {group: group not in names for group in GROUPS}


def test_a_host_that_is_reached_says_by_which_socket_and_whose() -> None:
    found = only(reached([HOST]))
    assert found.verdict is Verdict.OK
    assert found.found == (
        "/run/libvirt/virtqemud-sock-ro (virtqemud, pid 812); read-only; QEMU 7.2.22, libvirt 9.0.0, 1 running"
    )


def test_a_host_that_is_not_reached_is_trouble_with_what_to_do() -> None:
    found = only(reached([GONE]))
    assert (found.verdict, found.about) == (Verdict.TROUBLE, "kvm1")
    assert (found.found, found.fix) == ("Failed to connect socket", "see that libvirt runs there")


def test_connections_are_read_only_unless_pools_are_refreshed() -> None:
    assert "every connection is read-only" in only(refreshed([HOST], hosts())).found
    assert "but for the refreshing of pools" in only(refreshed([HOST], hosts(REFRESHING))).found
    off = "[hosts.survey]\nrefresh = true\nenabled = false"
    assert "every connection is read-only" in only(refreshed([HOST], hosts(off))).found


def test_pools_that_cannot_be_refreshed_are_trouble() -> None:
    found = only(refreshed([host(not_writable=("Permission denied", "see the socket"))], hosts(REFRESHING)))
    assert found.verdict is Verdict.TROUBLE
    assert "Permission denied" in found.found
    assert found.fix == "see the socket; or refresh = false in [hosts.survey]"


def test_a_group_that_every_tick_asks_for_and_the_driver_lacks_is_trouble() -> None:
    found = only(groups([examined(groups=without("vcpu", "block"))], hosts()))
    assert found.verdict is Verdict.TROUBLE
    assert found.found == "the driver does not know vcpu, block"
    assert '[[hosts.collect]] with groups = ["state", "cpu-total", "balloon", "interface"' in found.fix


def test_a_group_that_a_plan_merely_tries_may_be_lacking() -> None:
    assert only(groups([examined(groups=without("dirtyrate"))], hosts())).verdict is Verdict.OK


def test_a_group_that_somebody_wrote_down_to_be_tried_is_missed() -> None:
    own = "[[hosts.collect]]\ngroups = ['state']\nprobe = ['dirtyrate']"
    found = only(groups([examined(groups=without("dirtyrate"))], hosts(own)))
    assert found.verdict is Verdict.WARNING
    assert "dirtyrate" in found.found


def test_a_driver_that_does_not_tell_its_groups_is_not_judged() -> None:
    assert only(groups([examined(groups={})], hosts())).verdict is Verdict.UNKNOWN


def test_of_a_host_that_is_not_reached_nothing_more_is_said() -> None:
    assert not list(groups([GONE], hosts()))
    assert not list(refreshed([GONE], hosts()))
    assert isinstance(HOST.examined, Examined)
