"""Whether guests say how much memory they use, and whether the kernel says how long vCPUs wait."""

from __future__ import annotations

import shlex

import pytest

from doctor.seen import GUEST, HOST, NOW, examined, guest, host, hosts, only, verdicts
from domstat.doctor.finding import Verdict
from domstat.doctor.guests import NAMED_MAX, balloons, schedstats
from domstat.doctor.scene import HostSeen


def test_guests_that_report_their_memory_are_well() -> None:
    found = only(balloons([HOST], hosts()))
    assert (found.verdict, found.found) == (Verdict.OK, "1 guests report their memory")


@pytest.mark.parametrize("period_s", [None, 0])
def test_a_guest_without_a_period_is_named_with_the_command_that_sets_one(period_s: int | None) -> None:
    found = only(balloons([host(guest(period_s=period_s, updated=0))], hosts()))
    assert found.verdict is Verdict.WARNING
    assert found.found.endswith("stale: web-1")
    assert found.fix == "virsh dommemstat web-1 --period 10 --live --config"


def test_many_guests_without_a_period_are_one_loop_with_all_of_them() -> None:
    many = [guest(name=f"g{i}", period_s=None) for i in range(NAMED_MAX + 3)]
    found = only(balloons([host(*many)], hosts()))
    assert found.found.endswith("g9 and 3 more")
    assert found.fix.startswith("for guest in g0 g1 ")
    assert ' g12; do virsh dommemstat "$guest" --period 10 --live --config; done' in found.fix


def test_a_guest_whose_name_a_shell_would_mind_is_called_by_its_uuid() -> None:
    found = only(balloons([host(guest(name="$(reboot)", period_s=None))], hosts()))
    assert f"dommemstat {GUEST.uuid} " in found.fix
    assert "reboot" not in found.fix


def test_another_hosts_guest_is_reached_by_that_hosts_uri() -> None:
    uri = "qemu+ssh://me:s3cret@kvm7/system?keyfile=/a&b"
    found = only(balloons([host(guest(period_s=None), uri=uri)], hosts()))
    assert shlex.split(found.fix)[:3] == ["virsh", "-c", "qemu+ssh://me:***@kvm7/system?keyfile=/a&b"]


def test_a_guest_without_a_balloon_is_named_with_the_device_it_lacks() -> None:
    found = only(balloons([host(guest(balloon="none", period_s=None))], hosts()))
    assert found.verdict is Verdict.WARNING
    assert "virsh edit web-1: <memballoon model='virtio'>" in found.fix


@pytest.mark.parametrize("updated", [0, int(NOW) - 61])
def test_a_guest_whose_driver_is_silent_is_named_too(updated: int) -> None:
    found = only(balloons([host(guest(updated=updated))], hosts()))
    assert found.verdict is Verdict.WARNING
    assert "virtio_balloon" in found.fix


def test_a_driver_may_miss_a_period_or_two_and_one_that_the_answer_does_not_speak_of_any() -> None:
    patient = guest(period_s=100, updated=int(NOW) - 290)
    assert only(balloons([host(patient, guest(updated=None))], hosts())).verdict is Verdict.OK


def test_a_guest_whose_xml_could_not_be_read_is_not_judged() -> None:
    assert only(balloons([host(guest(balloon=None, period_s=None))], hosts())).found.startswith("0 guests")


def test_guests_of_each_kind_are_told_apart() -> None:
    mixed = host(guest(name="a", period_s=None), guest(name="b", balloon="none"), guest(name="c", updated=0))
    assert verdicts(balloons([mixed], hosts())) == [Verdict.WARNING] * 3


def test_balloons_are_looked_at_where_they_are_collected_and_are() -> None:
    bare = host(guest(period_s=None))
    assert not list(balloons([bare], hosts("[[hosts.collect]]\ngroups = ['state']")))
    assert only(balloons([examined(driver="LXC")], hosts())).verdict is Verdict.OK
    assert only(balloons([host(call_s=None)], hosts())).verdict is Verdict.UNKNOWN


IDLE = host(guest(waited_ns=0, vcpu_ns=10**9))
BUSY = host(guest(waited_ns=0))
NO_WAIT = host(guest(waited_ns=None))


@pytest.mark.parametrize(
    ("setting", "seen", "verdict"),
    [
        ("1", IDLE, Verdict.OK),
        ("0", IDLE, Verdict.WARNING),
        ("0", HOST, Verdict.OK),  # it has just been switched off: what is there was counted
        (None, HOST, Verdict.OK),
        (None, BUSY, Verdict.WARNING),
        (None, IDLE, Verdict.UNKNOWN),
        (None, NO_WAIT, Verdict.UNKNOWN),
        ("1", host(guest(waited_ns=0), is_local=False), Verdict.WARNING),  # the switch is another machine's
        ("0", host(guest(waited_ns=0, vcpu_ns=0), is_local=False), Verdict.UNKNOWN),
        ("0", examined(driver="LXC"), Verdict.OK),
    ],
)
def test_what_guests_have_waited_counts_for_more_than_this_machines_switch(
    setting: str | None, seen: HostSeen, verdict: Verdict
) -> None:
    found = only(schedstats(setting, [seen], hosts()))
    assert found.verdict is verdict
    assert ("sysctl -w kernel.sched_schedstats=1" in found.fix) == (verdict is Verdict.WARNING)


def test_who_does_not_collect_vcpus_needs_no_scheduler_statistics() -> None:
    assert not list(schedstats("0", [BUSY], hosts("[[hosts.collect]]\ngroups = ['state']")))
