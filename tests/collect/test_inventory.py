"""Labels and devices from domain XML."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import UUID, disk_xml, domain_xml, nic_xml
from domstat.collect import inventory
from domstat.collect.definition import ELEMENTS_MAX, XML_BYTES_MAX, Entry, Nic, parse
from domstat.collect.inventory import Inventory
from domstat.collect.labels import LabelRules
from domstat.collect.wire import Change, Description

MAC = "52:54:00:aa:bb:01"
DEFINED, UNDEFINED, STARTED, SUSPENDED, RESUMED, STOPPED, SHUTDOWN, PMSUSPENDED, CRASHED = range(9)


def learned(*xml: str, incarnation: int | None = 3) -> Inventory:
    known = Inventory()
    for text in xml:
        known.learn(Description(UUID, text, None), incarnation)
    return known


def relearn(known: Inventory, xml: str = "", *, asked: int | None = None) -> str | None:
    return known.learn(Description(UUID, xml or domain_xml(), None), 3, asked=asked)


def happened(event: str, *detail: int, device: str = "", boot_ns: int = 0, uuid: str = UUID) -> Change:
    return Change(event, uuid, "web-1", 3, detail, device, boot_ns=boot_ns)


def note(known: Inventory, *changes: Change) -> None:
    known.note(changes, missed=False)


# What the XML says


def test_the_xml_tells_title_nics_and_disks() -> None:
    entry = parse(domain_xml(nic_xml("52:54:00:AA:BB:01", "vnet0"), disk_xml("vda"), title="Web"), 3)
    details = {"mac": MAC, "tap": "vnet0", "bridge": "br0", "model": "virtio", "alias": "net0"}
    disk = {"bus": "virtio", "format": "qcow2", "alias": "virtio-vda", "type": "file"}
    assert entry == Entry(3, {"title": "Web"}, {"vnet0": Nic("vnet0", MAC, details)}, {"vda": disk})


def test_a_users_rule_gives_a_label() -> None:
    assert parse(domain_xml(), 3, LabelRules({"own": "name"})).labels == {"own": "web-1"}
    known = Inventory(LabelRules({"own": "name"}))
    relearn(known)
    entry = known.get(UUID, 3)
    assert entry is not None
    assert entry.labels == {"own": "web-1"}


def test_a_nic_without_a_host_device_is_none_that_answers_name() -> None:
    xml = domain_xml(f"<interface type='user'><mac address='{MAC}'/></interface>", "<interface type='hostdev'/>")
    assert parse(xml, 3).taps == {}


def test_a_nic_tells_its_network_bridge_and_vlans() -> None:
    xml = (
        f"<interface type='network'><mac address='{MAC}'/><source network='ovs' bridge='br1'/><target dev='vnet1'/>"
        "<vlan trunk='yes'><tag id='42'/><tag id='47' nativeMode='tagged'/></vlan></interface>"
    )
    about = {"mac": MAC, "tap": "vnet1", "network": "ovs", "bridge": "br1", "vlan": "42,47"}
    assert parse(domain_xml(xml), 3).taps["vnet1"].details == about


def test_a_macvtap_tells_the_hosts_device_below_it() -> None:
    xml = (
        f"<interface type='direct'><mac address='{MAC}'/><source dev='eth0' mode='bridge'/>"
        "<target dev='macvtap0'/></interface>"
    )
    assert parse(domain_xml(xml), 3).taps["macvtap0"].details == {"mac": MAC, "tap": "macvtap0", "source": "eth0"}


def test_a_network_disk_tells_its_protocol_source_and_serial() -> None:
    xml = domain_xml(
        "<disk type='network'><source protocol='rbd' name='pool/image'/><target dev='vdb' bus='scsi'/>"
        "<serial>s-1</serial></disk>",
        "<disk type='file'/>",
    )
    assert parse(xml, 3).disks == {
        "vdb": {"bus": "scsi", "protocol": "rbd", "source": "pool/image", "type": "network", "serial": "s-1"}
    }


@pytest.mark.parametrize(
    ("type_", "source", "told"),
    [
        ("file", "<source file='/images/a.qcow2'/>", None),
        ("block", "<source dev='/dev/vg/a'/>", None),
        ("volume", "<source pool='fast' volume='a.qcow2'/>", "fast/a.qcow2"),
        ("network", "<source protocol='iscsi' name='iqn.2026-01.example:a/1'/>", "iqn.2026-01.example:a/1"),
        ("vhostuser", "<source type='unix' path='/run/vhost.sock'/>", "/run/vhost.sock"),
        ("file", "", None),
    ],
)
def test_a_disk_tells_its_source_where_answers_do_not_tell_its_path(type_: str, source: str, told: str | None) -> None:
    xml = domain_xml(f"<disk type='{type_}' device='disk'>{source}<target dev='vdb' bus='virtio'/></disk>")
    about = parse(xml, 3).disks["vdb"]
    assert about["type"] == type_
    assert about.get("source") == told
    assert "device" not in about


@pytest.mark.parametrize("device", ["cdrom", "floppy"])
def test_a_drive_that_is_no_disk_says_so(device: str) -> None:
    xml = domain_xml(f"<disk type='file' device='{device}'><target dev='sdx' bus='sata'/></disk>")
    assert parse(xml, 3).disks["sdx"] == {"bus": "sata", "type": "file", "device": device}


@pytest.mark.parametrize(
    ("memory", "kib"),
    [
        ("<memory unit='KiB'>4194304</memory>", 4194304),
        ("<memory>4194304</memory>", 4194304),
        ("<memory unit=''>1</memory>", None),
        ("<memory unit='b'>1024</memory>", 1),
        ("<memory unit='bytes'>1025</memory>", 2),
        ("<memory unit='KB'>1024</memory>", 1000),
        ("<memory unit='k'>3</memory>", 3),
        ("<memory unit='MB'>1</memory>", 977),
        ("<memory unit='M'>2</memory>", 2048),
        ("<memory unit='MiB'>2</memory>", 2048),
        ("<memory unit='GB'>1</memory>", 976563),
        ("<memory unit='G'>2</memory>", 2 << 20),
        ("<memory unit='GiB'>2</memory>", 2 << 20),
        ("<memory unit='TiB'>1</memory>", 1 << 30),
        ("<memory unit='eib'>1</memory>", 1 << 50),
        ("<memory unit='EiB'>9</memory>", None),
        ("<memory unit='furlong'>1</memory>", None),
        ("<memory>much</memory>", None),
        ("<memory>-1</memory>", None),
        ("<memory/>", None),
        ("", None),
    ],
)
def test_configured_memory_is_in_kib_whatever_its_unit(memory: str, kib: int | None) -> None:
    assert parse(f"<domain>{memory}</domain>", 3).memory_kib == kib


@pytest.mark.parametrize(
    ("vcpu", "most", "current"),
    [
        ("<vcpu placement='static' current='2'>8</vcpu>", 8, 2),
        ("<vcpu placement='static'>4</vcpu>", 4, 4),
        ("<vcpu current='x'>4</vcpu>", 4, 4),
        ("<vcpu>many</vcpu>", None, None),
        ("", None, None),
    ],
)
def test_configured_vcpus_are_the_most_and_those_there_are(vcpu: str, most: int | None, current: int | None) -> None:
    entry = parse(f"<domain>{vcpu}</domain>", 3)
    assert (entry.vcpus, entry.vcpus_current) == (most, current)


def test_the_xml_knows_best_of_which_incarnation_it_is() -> None:
    assert parse(domain_xml(id=4), 3).id == 4
    assert parse(domain_xml(id=None), 3).id == 3


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<domain>" + " " * XML_BYTES_MAX + "</domain>", "262161 bytes"),
        ("<domain>" + "é" * (XML_BYTES_MAX // 2) + "</domain>", "262161 bytes"),
        ("<domain>" + "<a/>" * ELEMENTS_MAX + "</domain>", "8193 elements"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><domain>&a;</domain>", "entities"),
        ("<domain>", "cannot be parsed"),
        ("<domain>\ud800</domain>", "cannot be parsed"),
        ("", "cannot be parsed"),
    ],
)
def test_xml_that_is_too_large_or_not_to_be_trusted_is_refused(xml: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(xml, 3)


def test_xml_just_within_the_limit_is_read() -> None:
    padding = "é" * ((XML_BYTES_MAX - len("<domain></domain>")) // 2)
    assert parse(f"<domain>{padding}</domain>", 3).id == 3


ELEMENTS = (
    "domain devices interface disk mac target source vlan tag alias model driver serial vcpu memory title metadata"
)
NAMES = "dev address name type id bus bridge volume pool unit current device protocol"
PARTS = st.sampled_from(ELEMENTS.split())
ATTRIBUTES = st.dictionaries(
    st.sampled_from(NAMES.split()),
    st.sampled_from(["", "vda", "MiB", "7", "-1", "9" * 30, "²", "x" * 300]),
    max_size=3,
).map(lambda given: "".join(f" {name}='{value}'" for name, value in given.items()))
XML = st.recursive(
    st.sampled_from(["", "text", "7", " 12 "]),
    lambda inner: st.lists(
        st.tuples(PARTS, ATTRIBUTES, inner).map(lambda made: f"<{made[0]}{made[1]}>{made[2]}</{made[0]}>"), max_size=4
    ).map("".join),
    max_leaves=20,
)


@given(XML)
def test_any_xml_that_can_be_parsed_gives_an_entry(inner: str) -> None:
    for xml in (f"<domain>{inner}</domain>", f"<domain><devices>{inner}</devices></domain>"):
        assert parse(xml, 3).id == 3


# What is known


def test_a_guest_is_known_once_it_is_learned() -> None:
    known = Inventory()
    assert known.get(UUID, 3) is None
    assert relearn(known) is None
    assert known.get(UUID, 3) is not None


def test_another_incarnation_is_another_guest() -> None:
    known = learned(domain_xml())
    assert known.get(UUID, 4) is None
    assert known.last_known(UUID, 4) is None


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        ("lifecycle", (DEFINED, 1)),
        ("lifecycle", (STARTED, 0)),
        ("lifecycle", (SUSPENDED, 5)),
        ("lifecycle", (RESUMED, 2)),
        ("lifecycle", (99, 0)),
        ("lifecycle", ()),
        ("device-added", ()),
        ("device-removed", ()),
        ("metadata", ()),
    ],
)
def test_an_event_has_the_xml_read_again_while_the_old_still_serves(event: str, detail: tuple[int, ...]) -> None:
    known = learned(domain_xml())
    version = known.version
    note(known, happened(event, *detail))
    assert known.get(UUID, 3) is None
    assert known.last_known(UUID, 3) is not None
    assert known.version > version
    relearn(known, domain_xml(title="new"))
    entry = known.get(UUID, 3)
    assert entry is not None
    assert entry.labels == {"title": "new"}


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        ("lifecycle", (UNDEFINED, 0)),
        ("lifecycle", (SUSPENDED, 0)),
        ("lifecycle", (RESUMED, 0)),
        ("lifecycle", (STOPPED, 0)),
        ("lifecycle", (SHUTDOWN, 0)),
        ("lifecycle", (PMSUSPENDED, 0)),
        ("lifecycle", (CRASHED, 0)),
        ("reboot", ()),
        ("agent-started", ()),
    ],
)
def test_an_event_that_leaves_the_xml_as_it_is_costs_nobody_anything(event: str, detail: tuple[int, ...]) -> None:
    known = learned(domain_xml())
    version = known.version
    note(known, happened(event, *detail))
    assert known.get(UUID, 3) is not None
    assert known.version == version


def test_xml_that_says_the_same_as_before_leaves_the_entry_and_the_version_alone() -> None:
    known = learned(domain_xml(disk_xml("vda")))
    entry = known.get(UUID, 3)
    note(known, happened("metadata"))
    version = known.version
    relearn(known, domain_xml(disk_xml("vda")))
    assert known.get(UUID, 3) is entry
    assert known.version == version
    relearn(known, domain_xml(disk_xml("vdb")))
    assert known.get(UUID, 3) is not entry
    assert known.version > version


def test_after_missed_events_what_is_known_is_used_and_read_again_in_passing() -> None:
    known = learned(domain_xml())
    known.note([], missed=True)
    assert known.get(UUID, 3) is not None
    assert known.oldest(10) == [UUID]
    relearn(known)
    assert known.oldest(10) == []


def test_an_event_about_a_stranger_changes_nothing() -> None:
    known = learned(domain_xml())
    note(known, happened("metadata", uuid="another"))
    assert known.get(UUID, 3) is not None


@pytest.mark.parametrize("before", [True, False])
def test_what_happens_while_the_xml_is_on_its_way_has_it_read_once_more(before: bool) -> None:
    known = learned(domain_xml()) if before else Inventory()
    asked = known.version
    note(known, happened("device-added", device="net1"))
    known.note([], missed=True)
    relearn(known, asked=asked)
    assert known.get(UUID, 3) is None
    assert known.last_known(UUID, 3) is not None
    assert known.oldest(10) == ([UUID] if before else [])
    relearn(known, asked=known.version)
    assert known.get(UUID, 3) is not None
    assert known.oldest(10) == []


def test_xml_that_was_asked_for_before_another_streams_does_not_take_its_place() -> None:
    known = learned(domain_xml())
    early = known.version
    note(known, happened("metadata"))
    relearn(known, domain_xml(title="new"), asked=known.version)
    relearn(known, domain_xml(title="old"), asked=early)
    entry = known.get(UUID, 3)
    assert entry is not None
    assert entry.labels == {"title": "new"}


def test_a_guest_that_is_gone_is_forgotten() -> None:
    known = learned(domain_xml())
    version = known.version
    assert known.learn(Description(UUID, None, None), 3) is None
    assert known.last_known(UUID, 3) is None
    assert known.version > version


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


def test_a_guest_whose_xml_cannot_be_read_again_keeps_its_names() -> None:
    known = learned(domain_xml(nic_xml(MAC, "vnet0")))
    entry = known.get(UUID, 3)
    note(known, happened("metadata"))
    assert known.learn(Description(UUID, None, "timed out"), 3) == "timed out"
    assert known.get(UUID, 3) is entry


def test_the_xml_of_a_guest_that_has_ended_since_its_answer_takes_no_names_from_its_last_record() -> None:
    known = learned(domain_xml(nic_xml(MAC, "vnet0")))
    entry = known.get(UUID, 3)
    note(known, happened("lifecycle", DEFINED, 1))
    relearn(known, domain_xml("<interface/>", id=None))
    assert known.get(UUID, 3) is entry


def test_the_xml_of_a_guest_that_ended_at_first_sight_names_nothing() -> None:
    known = learned(domain_xml(id=None))
    assert known.last_known(UUID, 3) is None


def test_a_guest_that_is_off_is_known_by_no_incarnation() -> None:
    assert learned(domain_xml(id=None), incarnation=None).get(UUID, None) is not None


def test_of_too_many_guests_the_one_read_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "GUESTS_MAX", 2)
    known = Inventory()
    for uuid in ("a", "b", "a", "c"):
        known.learn(Description(uuid, domain_xml(), None), 3)
    assert [uuid for uuid in ("a", "b", "c") if known.get(uuid, 3)] == ["a", "c"]


def test_of_too_many_stopped_guests_the_one_that_stopped_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "STOPPED_MAX", 2)
    known = Inventory()
    for uuid in ("a", "b", "c", "d"):
        known.learn(Description(uuid, domain_xml(), None), 3)
    note(known, *(happened("lifecycle", STOPPED, 0, uuid=uuid) for uuid in ("a", "b", "stranger")))
    note(known, happened("lifecycle", STARTED, 0, uuid="a"), happened("lifecycle", STOPPED, 0, uuid="c"))
    note(known, happened("lifecycle", STOPPED, 0, uuid="d"))
    assert [uuid for uuid in ("a", "b", "c", "d") if known.last_known(uuid, 3)] == ["a", "c", "d"]


def test_marks_of_strangers_are_bounded_and_end_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "GUESTS_MAX", 2)
    known = learned(domain_xml())
    for uuid in ("a", "b", "c", "d"):
        note(known, happened("lifecycle", DEFINED, 0, uuid=uuid))
    assert list(known._stale) == ["a", "b"]
    note(known, happened("metadata"))
    assert known.get(UUID, 3) is None
    note(known, happened("lifecycle", STOPPED, 0, uuid="a"), happened("lifecycle", UNDEFINED, 0, uuid="b"))
    assert list(known._stale) == [UUID]


# What was plugged


def test_a_device_that_was_plugged_is_remembered_with_its_newest_time() -> None:
    known = learned(domain_xml())
    assert dict(known.plugged(UUID)) == {}
    note(known, happened("device-added", device="virtio-disk1", boot_ns=5))
    note(known, happened("device-added", device="net1", boot_ns=6))
    note(known, happened("device-removed", device="virtio-disk1", boot_ns=7))
    note(known, happened("device-added", device="virtio-disk1", boot_ns=8))
    assert dict(known.plugged(UUID)) == {"net1": 6, "virtio-disk1": 8}
    assert dict(known.plugged("another")) == {}


def test_a_device_that_was_unplugged_is_forgotten() -> None:
    known = learned(domain_xml())
    note(known, happened("device-added", device="net1", boot_ns=6), happened("device-removed", device="net1"))
    assert dict(known.plugged(UUID)) == {}
    assert known._plugged == {}


def test_what_somebody_is_looking_at_does_not_change_under_their_eyes() -> None:
    known = learned(domain_xml())
    note(known, happened("device-added", device="net1", boot_ns=6))
    seen = known.plugged(UUID)
    note(known, happened("device-added", device="net2", boot_ns=7))
    assert dict(seen) == {"net1": 6}


def test_reading_the_xml_again_does_not_forget_what_was_plugged() -> None:
    known = learned(domain_xml())
    note(known, happened("device-added", device="net1", boot_ns=6))
    relearn(known)
    assert dict(known.plugged(UUID)) == {"net1": 6}


@pytest.mark.parametrize(
    "end",
    [
        lambda known: note(known, happened("lifecycle", STOPPED, 1)),
        lambda known: known.learn(Description(UUID, None, None), 3),
    ],
    ids=["stopped", "gone"],
)
def test_with_a_guest_its_plugs_are_forgotten(end: Callable[[Inventory], None]) -> None:
    known = learned(domain_xml())
    note(known, happened("device-added", device="net1", boot_ns=6))
    end(known)
    assert dict(known.plugged(UUID)) == {}


def test_plugs_are_bounded_by_guest_and_in_a_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "PLUGS_MAX", 2)
    monkeypatch.setattr(inventory, "GUESTS_MAX", 2)
    known = Inventory()
    for at, device in enumerate(("a", "b", "a", "c")):
        note(known, happened("device-added", device=device, boot_ns=at))
    assert dict(known.plugged(UUID)) == {"a": 2, "c": 3}
    for uuid in ("x", "y"):
        note(known, happened("device-added", device="a", uuid=uuid))
    assert [uuid for uuid in (UUID, "x", "y") if known.plugged(uuid)] == ["x", "y"]


# Threads


def in_a_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_looking_things_up_waits_for_nobody() -> None:
    known = learned(domain_xml())

    def look_up() -> None:
        known.get(UUID, 3)
        known.last_known(UUID, 3)
        known.plugged(UUID)
        assert known.version >= 0

    with known._lock:
        thread = in_a_thread(look_up)
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "change",
    [
        lambda known: note(known, happened("metadata")),
        lambda known: known.oldest(1),
        relearn,
        lambda known: known.learn(Description(UUID, None, None), 3),
    ],
    ids=["note", "oldest", "learn", "forget"],
)
def test_whatever_changes_or_goes_through_what_is_known_goes_one_after_the_other(
    change: Callable[[Inventory], object],
) -> None:
    known = learned(domain_xml())
    with known._lock:
        thread = in_a_thread(lambda: change(known))
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(60)
    assert not thread.is_alive()


class Interrupted(dict[str, Entry]):
    """Looking something up in it is interrupted, once it is found, by whatever another thread does then."""

    def __init__(self, entries: dict[str, Entry], meanwhile: Callable[[], object]) -> None:
        super().__init__(entries)
        self.meanwhile: Callable[[], object] | None = meanwhile

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


def test_an_entry_that_an_event_has_overtaken_is_not_fresh_while_a_newer_one_is_taken() -> None:
    known = learned(domain_xml(title="old"))
    known._entries = Interrupted(known._entries, lambda: relearn(known, domain_xml(title="new")))
    note(known, happened("metadata"))
    entry = known.get(UUID, 3)
    assert entry is None or entry.labels == {"title": "new"}
