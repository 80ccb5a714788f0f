"""libvirt's events by the names that people use, as records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from answers import UUID, disk_xml, domain_xml, nic_xml
from domstat.collect.events import STREAM, Events, event_of
from domstat.collect.inventory import Inventory
from domstat.collect.wire import ALL, Change, Description, Globs, Happened
from domstat.jsonlines import encode
from domstat.model import Batch, Domain, Event, Kind, Stamp

MAC = "52:54:00:aa:bb:cc"
XML = domain_xml(nic_xml(MAC, "vnet0", "net0"), disk_xml("vda"), disk_xml("vdb"))


def change(event: str, *detail: int, **more: Any) -> Change:
    about: dict[str, Any] = {"uuid": UUID, "name": "web-1", "id": 3, "detail": detail, "time_ms": 1000, "boot_ns": 5}
    return Change(event, **(about | more))


def events(domains: Globs = ALL, inventory: Inventory | None = None) -> Events:
    return Events("kvm1", (inventory or Inventory()).last_known, domains)


def batches(of: Events, *changes: Change) -> list[Batch]:
    return list(of.batches(Happened(list(changes), boot_id="boot")))


# --- the table


@pytest.mark.parametrize(
    ("detail", "event"),
    [
        ((0, 0), Event("defined", "added")),
        ((0, 1), Event("defined", "updated")),
        ((0, 2), Event("renamed")),
        ((0, 3), Event("defined", "from-snapshot")),
        ((1, 0), Event("undefined", "removed")),
        ((1, 1), Event("undefined", "renamed")),
        ((2, 0), Event("started", "booted")),
        ((2, 1), Event("migrated", "in")),
        ((2, 2), Event("started", "restored")),
        ((2, 3), Event("started", "from-snapshot")),
        ((2, 4), Event("started", "wakeup")),
        ((3, 0), Event("paused", "paused")),
        ((3, 1), Event("paused", "migrated")),
        ((3, 2), Event("paused", "ioerror")),
        ((3, 3), Event("paused", "watchdog")),
        ((3, 4), Event("paused", "restored")),
        ((3, 5), Event("paused", "from-snapshot")),
        ((3, 6), Event("paused", "api-error")),
        ((3, 7), Event("paused", "postcopy")),
        ((3, 8), Event("paused", "postcopy-failed")),
        ((4, 0), Event("resumed", "unpaused")),
        ((4, 1), Event("resumed", "migrated")),
        ((4, 2), Event("resumed", "from-snapshot")),
        ((4, 3), Event("resumed", "postcopy")),
        ((4, 4), Event("resumed", "postcopy-failed")),
        ((5, 0), Event("stopped", "shutdown")),
        ((5, 1), Event("stopped", "destroyed")),
        ((5, 2), Event("crashed")),
        ((5, 3), Event("migrated", "out")),
        ((5, 4), Event("stopped", "saved")),
        ((5, 5), Event("stopped", "failed")),
        ((5, 6), Event("stopped", "from-snapshot")),
        ((6, 0), Event("shutdown", "finished")),
        ((6, 1), Event("shutdown", "guest")),
        ((6, 2), Event("shutdown", "host")),
        ((7, 0), Event("pmsuspended", "memory")),
        ((7, 1), Event("pmsuspended", "disk")),
        ((8, 0), Event("crashed", "panicked")),
        ((8, 1), Event("crashed", "crashloaded")),
    ],
)
def test_a_lifecycle_event_is_called_as_people_call_it(detail: tuple[int, int], event: Event) -> None:
    assert event_of(change("lifecycle", *detail)) == event


@pytest.mark.parametrize(
    ("detail", "event"),
    [
        ((2, 99), Event("started", "detail-99")),
        ((2, -1), Event("started", "detail--1")),
        ((42, 7), Event("event-42", "detail-7")),
    ],
)
def test_what_a_newer_libvirt_says_goes_by_its_number(detail: tuple[int, int], event: Event) -> None:
    assert event_of(change("lifecycle", *detail)) == event


@pytest.mark.parametrize(
    ("said", "device", "event"),
    [
        (change("reboot"), None, Event("rebooted")),
        (change("device-added", device="virtio-disk1"), None, Event("device-added", None, "virtio-disk1")),
        (change("device-added", device="virtio-disk1"), "vdb", Event("device-added", None, "vdb")),
        (change("device-removed", device="net0"), MAC, Event("device-removed", None, MAC)),
    ],
)
def test_other_events_of_a_guests_life_have_names_of_their_own(said: Change, device: str | None, event: Event) -> None:
    assert event_of(said, device) == event


@pytest.mark.parametrize("said", ["metadata", "agent-lifecycle", "something-new"])
def test_what_is_no_event_in_a_guests_life_is_none(said: str) -> None:
    assert event_of(change(said)) is None


# --- batches


def test_an_event_is_a_batch_of_its_own_with_the_time_at_which_it_came() -> None:
    (batch,) = batches(events(), change("lifecycle", 2, 0))
    assert (batch.host, batch.collect) == ("kvm1", STREAM)
    assert batch.stamp == Stamp(1000, 5, "boot", 0)
    (record,) = batch.records
    assert (record.kind, record.host, record.collect, record.time_ms) == (Kind.EVENT, "kvm1", STREAM, 1000)
    assert record.domain == Domain(UUID, "web-1", 3)
    assert record.event == Event("started", "booted")
    assert (record.params, record.rates, record.derived) == ({}, {}, {})
    assert json.loads(encode([record]))["event"]["type"] == "started"


def test_a_guest_that_is_off_has_no_id() -> None:
    (batch,) = batches(events(), change("lifecycle", 5, 1, id=-1))
    assert batch.records[0].domain == Domain(UUID, "web-1")


def test_events_come_in_their_order_and_no_two_have_one_time() -> None:
    of = events()
    first = batches(of, change("lifecycle", 2, 0), change("lifecycle", 4, 0), change("reboot", uuid="other"))
    later = batches(of, change("lifecycle", 5, 0, time_ms=900), change("lifecycle", 2, 0, time_ms=1001))
    assert [batch.stamp.time_ms for batch in (*first, *later)] == [1000, 1001, 1002, 900, 1003]
    assert [batch.records[0].time_ms for batch in first] == [1000, 1001, 1002]
    assert [batch.records[0].event for batch in later] == [Event("stopped", "shutdown"), Event("started", "booted")]


def test_only_guests_that_were_chosen_have_events() -> None:
    of = events(Globs(("web-*",), ("*-2",)))
    said = [change("reboot", name=name) for name in ("web-1", "web-2", "db")]
    assert [batch.records[0].domain for batch in batches(of, *said)] == [Domain(UUID, "web-1", 3)]


def test_an_event_that_nobody_heard_is_a_batch_like_those_that_were() -> None:
    of = events()
    (heard,) = batches(of, change("reboot"))
    unheard = of.batch(Domain("other", "web-2", 4), Event("stopped", "unseen"), Stamp(1000, 7, "boot", 900))
    assert (heard.stamp, unheard.stamp) == (Stamp(1000, 5, "boot", 0), Stamp(1001, 7, "boot", 0))
    (record,) = unheard.records
    assert (record.kind, record.collect, record.time_ms) == (Kind.EVENT, STREAM, 1001)
    assert (record.domain, record.event) == (Domain("other", "web-2", 4), Event("stopped", "unseen"))


def test_what_is_no_event_takes_up_no_time() -> None:
    said = batches(events(), change("metadata"), change("reboot"))
    assert [batch.stamp.time_ms for batch in said] == [1000]


def test_a_new_connection_alone_is_no_event() -> None:
    assert list(events().batches(Happened([], missed=True))) == []


# --- devices


def knowing(xml: str, id: int | None = 3) -> Inventory:  # noqa: A002 - libvirt's word
    inventory = Inventory()
    inventory.learn(Description(UUID, xml, None), id)
    return inventory


def device(inventory: Inventory, alias: str, event: str = "device-removed", **more: Any) -> str | None:
    (batch,) = batches(events(inventory=inventory), change(event, device=alias, **more))
    event_ = batch.records[0].event
    assert event_ is not None
    return event_.device


@pytest.mark.parametrize(("alias", "name"), [("virtio-vda", "vda"), ("virtio-vdb", "vdb"), ("net0", MAC)])
def test_a_device_is_called_as_its_series_are(alias: str, name: str) -> None:
    assert device(knowing(XML), alias) == name


def test_a_device_that_is_not_known_yet_goes_by_its_alias() -> None:
    assert device(knowing(XML), "virtio-vdc", "device-added") == "virtio-vdc"
    assert device(Inventory(), "virtio-vda") == "virtio-vda"


def test_the_devices_of_another_incarnation_are_not_taken_for_these() -> None:
    assert device(knowing(XML), "virtio-vda", id=4) == "virtio-vda"
    assert device(knowing(domain_xml(disk_xml("vda"), id=None), None), "virtio-vda", id=-1) == "vda"


def test_an_event_without_a_device_names_none_though_devices_are_known() -> None:
    (batch,) = batches(events(inventory=knowing(XML)), change("reboot"))
    assert batch.records[0].event == Event("rebooted")
    assert device(knowing(domain_xml(disk_xml("vda").replace("<alias name='virtio-vda'/>", ""))), "") is None


def test_of_two_nics_with_one_mac_each_is_called_as_its_series_are() -> None:
    twins = domain_xml(nic_xml(MAC, "vnet0", "net0"), nic_xml(MAC, "vnet1", "net1"))
    assert device(knowing(twins), "net1") == f"{MAC}@vnet1"
