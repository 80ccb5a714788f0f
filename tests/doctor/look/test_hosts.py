"""Looking at hosts: what a worker says of them, and what becomes of that."""

from __future__ import annotations

from typing import Any

import pytest

from domstat.collect import wire
from domstat.collect.definition import parse as parse_xml
from domstat.collect.errors import CollectError
from domstat.config import parse
from domstat.doctor.look.hosts import _read as read_xml
from domstat.doctor.look.hosts import guest_of, see_hosts, with_xml
from domstat.doctor.scene import GuestSeen

GUEST = GuestSeen("u", "web-1")


def explained(error: CollectError) -> tuple[str, str]:
    return str(error), "do something"


def answered(**values: Any) -> GuestSeen:
    names = {name.replace("_", ".").replace("last.update", "last-update"): value for name, value in values.items()}
    return guest_of(wire.Guest("u", "web-1", 1, 7, list(names.values())), {7: tuple(names)})


def test_of_an_answer_the_balloon_and_the_vcpus_are_of_interest() -> None:
    seen = answered(balloon_last_update=5, vcpu_0_time=3, vcpu_1_time=4, vcpu_0_wait=1, vcpu_1_wait=0, net_0_name="x")
    assert seen == GuestSeen("u", "web-1", updated=5, vcpu_ns=7, waited_ns=1)


def test_what_an_answer_does_not_have_is_not_zero() -> None:
    assert answered(state_state=1) == GuestSeen("u", "web-1", updated=None, vcpu_ns=0, waited_ns=None)


@pytest.mark.parametrize(
    ("xml", "balloon", "period_s"),
    [
        ("<memballoon model='virtio'><stats period='5'/></memballoon>", "virtio", 5),
        ("<memballoon model='virtio'/>", "virtio", None),
        ("<memballoon model='none'/>", "none", None),
        ("", "none", None),
        ("<memballoon model='virtio'><stats period='soon'/></memballoon>", "virtio", None),
    ],
)
def test_the_xml_says_whether_there_is_a_balloon_and_how_often_it_is_asked(
    xml: str, balloon: str, period_s: int | None
) -> None:
    seen = with_xml(GUEST, read_xml(f"<domain><devices>{xml}</devices></domain>"))
    assert (seen.balloon, seen.period_s) == (balloon, period_s)


def test_what_a_user_wrote_into_the_metadata_is_no_balloon() -> None:
    xml = "<domain><metadata><devices><memballoon model='virtio'/></devices></metadata><devices/></domain>"
    assert with_xml(GUEST, read_xml(xml)).balloon == "none"
    assert parse_xml(xml, None).labels == {}


def test_xml_that_cannot_be_read_says_nothing() -> None:
    assert read_xml("<!DOCTYPE x>") is None
    assert with_xml(GUEST, None) == GUEST


def test_hosts_are_looked_at_in_their_order_and_one_that_is_gone_is_explained() -> None:
    hosts = parse(
        "[[hosts]]\nname = 'gone'\nuri = 'qemu+unix:///system?socket=/nonexistent'\n"
        "[[hosts]]\nname = 'here'\nuri = 'test:///default'\n[hosts.survey]\nrefresh = true\n"
    ).hosts
    gone, here = see_hosts(hosts, explained)
    assert (gone.name, here.name) == ("gone", "here")
    assert gone.failure is not None
    assert "No such file" in gone.failure[0]
    assert gone.failure[1] == "do something"
    assert here.failure is None
    assert here.examined is not None
    assert here.examined.driver.upper() == "TEST"
    assert here.not_writable is None
    assert here.call_s is not None
    assert [guest.name for guest in here.guests] == ["test"]
    assert here.guests[0].balloon == "virtio"


def test_guests_that_are_not_collected_are_not_looked_at() -> None:
    hosts = parse("[[hosts]]\nuri = 'test:///default'\n[hosts.domains]\nexclude = ['test']\n").hosts
    (seen,) = see_hosts(hosts, explained)
    assert seen.guests == ()
