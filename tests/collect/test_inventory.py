"""Labels and devices from domain XML."""

from __future__ import annotations

import pytest

from answers import UUID, disk_xml, domain_xml, nic_xml
from domstat.collect import inventory
from domstat.collect.inventory import XML_BYTES_MAX, Entry, Inventory, Nic, parse
from domstat.collect.wire import Change, Description

MAC = "52:54:00:aa:bb:01"


def learned(*xml: str, incarnation: int | None = 3) -> Inventory:
    known = Inventory()
    for text in xml:
        known.learn(Description(UUID, text, None), incarnation)
    return known


def test_the_xml_tells_title_nics_and_disks() -> None:
    entry = parse(domain_xml(nic_xml("52:54:00:AA:BB:01", "vnet0"), disk_xml("vda"), title="Web"), 3)
    details = {"mac": MAC, "tap": "vnet0", "bridge": "br0", "model": "virtio", "alias": "net0"}
    disk = {"bus": "virtio", "format": "qcow2", "alias": "virtio-vda", "type": "file"}
    assert entry == Entry(3, {"title": "Web"}, {"vnet0": Nic("vnet0", MAC, details)}, {"vda": disk})


def test_a_nic_without_a_host_device_is_none_that_answers_name() -> None:
    xml = domain_xml(f"<interface type='user'><mac address='{MAC}'/></interface>", "<interface type='hostdev'/>")
    assert parse(xml, 3).taps == {}


def test_a_network_disk_tells_its_protocol_source_and_serial() -> None:
    xml = domain_xml(
        "<disk type='network'><source protocol='rbd' name='pool/image'/><target dev='vdb' bus='scsi'/>"
        "<serial>s-1</serial></disk>",
        "<disk type='file'/>",
    )
    assert parse(xml, 3).disks == {
        "vdb": {"bus": "scsi", "protocol": "rbd", "source": "pool/image", "type": "network", "serial": "s-1"}
    }


def test_the_xml_knows_best_of_which_incarnation_it_is() -> None:
    assert parse(domain_xml(id=4), 3).id == 4
    assert parse(domain_xml(id=None), 3).id == 3


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<domain>" + " " * XML_BYTES_MAX + "</domain>", "characters"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><domain>&a;</domain>", "entities"),
        ("<domain>", "cannot be parsed"),
        ("", "cannot be parsed"),
    ],
)
def test_xml_that_is_too_large_or_not_to_be_trusted_is_refused(xml: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(xml, 3)


def test_a_guest_is_known_once_it_is_learned() -> None:
    known = Inventory()
    assert known.get(UUID, 3) is None
    assert known.learn(Description(UUID, domain_xml(), None), 3) is None
    assert known.get(UUID, 3) is not None


def test_another_incarnation_is_another_guest() -> None:
    known = learned(domain_xml())
    assert known.get(UUID, 4) is None
    assert known.last_known(UUID, 4) is None


@pytest.mark.parametrize("event", ["lifecycle", "device-added", "device-removed", "metadata"])
def test_an_event_has_the_xml_read_again_while_the_old_still_serves(event: str) -> None:
    known = learned(domain_xml())
    known.note([Change(event, UUID, "web-1")], missed=False)
    assert known.get(UUID, 3) is None
    assert known.last_known(UUID, 3) is not None
    known.learn(Description(UUID, domain_xml(title="new"), None), 3)
    entry = known.get(UUID, 3)
    assert entry is not None
    assert entry.labels == {"title": "new"}


def test_after_missed_events_what_is_known_is_used_and_read_again_in_passing() -> None:
    known = learned(domain_xml())
    known.note([], missed=True)
    assert known.get(UUID, 3) is not None
    assert known.oldest(10) == [UUID]
    known.learn(Description(UUID, domain_xml(), None), 3)
    assert known.oldest(10) == []


def test_an_event_about_a_stranger_changes_nothing() -> None:
    known = learned(domain_xml())
    known.note([Change("lifecycle", "another", "x")], missed=False)
    assert known.get(UUID, 3) is not None


def test_a_guest_that_is_gone_is_forgotten() -> None:
    known = learned(domain_xml())
    assert known.learn(Description(UUID, None, None), 3) is None
    assert known.last_known(UUID, 3) is None


@pytest.mark.parametrize(
    ("xml", "error", "trouble"),
    [(None, "access denied", "access denied"), ("<domain", None, "its XML cannot be parsed")],
)
def test_a_guest_whose_xml_cannot_be_read_is_not_asked_for_every_tick(
    xml: str | None, error: str | None, trouble: str
) -> None:
    known = Inventory()
    said = known.learn(Description(UUID, xml, error), 3)
    assert said is not None
    assert said.startswith(trouble)
    assert known.get(UUID, 3) == Entry(3, {}, {}, {})


def test_of_too_many_guests_the_one_read_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "GUESTS_MAX", 2)
    known = Inventory()
    for uuid in ("a", "b", "a", "c"):
        known.learn(Description(uuid, domain_xml(), None), 3)
    assert [uuid for uuid in ("a", "b", "c") if known.get(uuid, 3)] == ["a", "c"]
