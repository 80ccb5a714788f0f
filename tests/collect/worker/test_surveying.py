"""The survey as the worker makes it: pools, guests that are off, and all that may go wrong with one of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import libvirt
import pytest

from domstat import clock
from domstat.collect import wire
from domstat.collect.worker import surveying
from domstat.collect.worker.files import Files, Mounts
from domstat.collect.worker.surveying import NOTE_CHARACTERS_MAX, NOTES_MAX, XML_BYTES_MAX, Notes, Surveyor, survey

RUNNING_POOL = libvirt.VIR_STORAGE_POOL_RUNNING
OFF = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED)
ELSEWHERE = Files(None, None)


class FakeError(libvirt.libvirtError):  # type: ignore[misc]
    def __init__(self, code: int = libvirt.VIR_ERR_INTERNAL_ERROR) -> None:
        Exception.__init__(self, f"error {code}")
        self.err = (code, 18, "", 2, "", "", "", -1, -1)


class Pool:
    def __init__(self, name: str = "images", kind: str = "logical", path: str = "/dev/vg", **trouble: int) -> None:
        self._name = name
        self.xml = f"<pool type='{kind}'><name>{name}</name><target><path>{path}</path></target></pool>"
        self.figures = [RUNNING_POOL, 1000, 600, 400]
        self.refreshed = 0
        self._trouble = trouble

    def _check(self, call: str) -> None:
        if call in self._trouble:
            raise FakeError(self._trouble[call])

    def name(self) -> str:
        return self._name

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's
        self._check("xml")
        return self.xml

    def info(self) -> list[int]:
        self._check("info")
        return self.figures

    def refresh(self, _flags: int) -> int:
        self._check("refresh")
        self.refreshed += 1
        return 0


class Guest:
    def __init__(self, name: str = "web-1", *disks: str, state: tuple[int, int] = OFF, trouble: int = 0) -> None:
        self._name, self._state, self._trouble = name, state, trouble
        self.xml = f"<domain><name>{name}</name><devices>{''.join(disks)}</devices></domain>"

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return f"uuid of {self._name}"

    def state(self) -> list[int]:
        if self._trouble:
            raise FakeError(self._trouble)
        return list(self._state)

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return self.xml


class Volume:
    def info(self) -> list[int]:
        return [0, 300, 200]


class Connection:
    """A hypervisor of pools and guests; what is in *trouble* fails with its error number."""

    def __init__(
        self, pools: list[Pool] | None = None, guests: list[Guest] | None = None, trouble: dict[str, int] | None = None
    ) -> None:
        self._pools, self._guests, self._trouble = pools or [], guests or [], trouble or {}
        self.alive = True

    def isAlive(self) -> bool:  # noqa: N802
        return self.alive

    def listAllStoragePools(self, flags: int) -> list[Pool]:  # noqa: N802
        assert flags == libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        if "pools" in self._trouble:
            raise FakeError(self._trouble["pools"])
        return self._pools

    def listAllDomains(self, flags: int) -> list[Guest]:  # noqa: N802
        assert flags == libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE
        if "guests" in self._trouble:
            raise FakeError(self._trouble["guests"])
        return self._guests

    def storageVolLookupByPath(self, path: str) -> Volume:  # noqa: N802
        if path == "/broken":
            raise FakeError
        if path != "/a":
            raise FakeError(libvirt.VIR_ERR_NO_STORAGE_VOL)
        return Volume()


def disk(target: str, file: str) -> str:
    return f"<disk type='file'><driver type='qcow2'/><source file='{file}'/><target dev='{target}'/></disk>"


def look(connection: Connection, files: Files = ELSEWHERE, **question: Any) -> wire.Surveyed:
    return Surveyor(connection, wire.Survey(**question), files).survey()


@pytest.fixture
def local() -> Files:
    seen = Mounts(Path("/proc/self/mountinfo").read_text())
    return Files(seen, seen, answer_s=0.1)


# --- pools


def test_a_pool_of_another_host_has_libvirts_figures_which_may_be_old() -> None:
    surveyed = look(Connection([Pool(kind="netfs", path="/mnt/images")]))
    assert surveyed.pools == [
        wire.PoolFigures("images", "netfs", RUNNING_POOL, 1000, 600, 400, fresh=False, path="/mnt/images")
    ]
    assert surveyed.notes == []


def test_a_pool_in_a_directory_of_this_machine_is_asked_itself(local: Files, tmp_path: Path) -> None:
    (pool,) = look(Connection([Pool(kind="dir", path=str(tmp_path))]), local).pools
    space = os.statvfs(tmp_path)
    assert pool.fresh
    assert pool.capacity == space.f_frsize * space.f_blocks
    assert pool.allocation + pool.available == pool.capacity
    assert abs(pool.available - space.f_frsize * space.f_bfree) < pool.capacity / 100, "others write too"


@pytest.mark.parametrize("kind", ["logical", "disk", "iscsi", "scsi", "mpath", "rbd", "gluster", "zfs", "sheepdog"])
def test_the_directory_of_a_pool_that_is_none_of_files_is_not_asked(local: Files, kind: str, tmp_path: Path) -> None:
    (pool,) = look(Connection([Pool(kind=kind, path=str(tmp_path))]), local).pools
    assert (pool.fresh, pool.capacity) == (False, 1000)


@pytest.mark.parametrize("kind", ["fs", "netfs", "vstorage"])
def test_a_pool_whose_file_system_somebody_unmounted_is_not_the_directory_below(
    local: Files, kind: str, tmp_path: Path
) -> None:
    surveyed = look(Connection([Pool(kind=kind, path=str(tmp_path))]), local)
    assert (surveyed.pools[0].fresh, surveyed.pools[0].capacity) == (False, 1000)
    assert surveyed.notes == [f"the storage pool images is active, but nothing is mounted at {tmp_path}"]


def test_a_mounted_pool_is_asked_itself(local: Files) -> None:
    (pool,) = look(Connection([Pool(kind="netfs", path="/")]), local).pools
    assert pool.fresh


def test_a_pool_that_the_daemon_sees_elsewhere_has_libvirts_figures(tmp_path: Path) -> None:
    text = Path("/proc/self/mountinfo").read_text()
    root = next(line.split()[0] for line in text.splitlines() if line.split()[4] == "/")
    theirs = text + f"9999 {root} 0:9999 / {tmp_path} rw - nfs4 server:/x rw\n"
    surveyed = look(Connection([Pool(kind="dir", path=str(tmp_path))]), Files(Mounts(text), Mounts(theirs)))
    assert (surveyed.pools[0].fresh, surveyed.pools[0].capacity) == (False, 1000)
    assert "sees other files" in surveyed.notes[0]


def test_it_is_said_when_nobody_can_tell_what_the_daemon_sees() -> None:
    hidden = Files(Mounts(Path("/proc/self/mountinfo").read_text()), None)
    surveyed = look(Connection([Pool(kind="dir", path="/")]), hidden)
    assert not surveyed.pools[0].fresh
    assert len(surveyed.notes) == 1
    assert "cannot be seen" in surveyed.notes[0]


def test_a_pool_that_fails_keeps_no_other_from_being_told() -> None:
    surveyed = look(Connection([Pool("a", info=libvirt.VIR_ERR_INTERNAL_ERROR), Pool("b")]))
    assert [pool.name for pool in surveyed.pools] == ["b"]
    assert surveyed.notes == ["the storage pool a: error 1"]


def test_a_pool_that_is_gone_since_it_was_listed_is_no_trouble() -> None:
    stopped = Pool("b")
    stopped.figures = [libvirt.VIR_STORAGE_POOL_INACTIVE, 0, 0, 0]
    surveyed = look(Connection([Pool("a", xml=libvirt.VIR_ERR_NO_STORAGE_POOL), stopped, Pool("c")]))
    assert [pool.name for pool in surveyed.pools] == ["c"]
    assert surveyed.notes == []


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<pool>" + " " * XML_BYTES_MAX + "</pool>", "bytes"),
        ("<pool>" + "\u20ac" * (XML_BYTES_MAX // 2) + "</pool>", "bytes"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><pool type='&a;'/>", "entities"),
        ("<pool", "cannot be parsed"),
    ],
)
def test_a_pool_whose_xml_is_not_to_be_trusted_still_has_figures(local: Files, xml: str, reason: str) -> None:
    pool = Pool()
    pool.xml = xml
    surveyed = look(Connection([pool]), local)
    assert (surveyed.pools[0].type, surveyed.pools[0].path, surveyed.pools[0].capacity) == ("", "", 1000)
    assert reason in surveyed.notes[0]


def test_a_driver_without_storage_has_guests_all_the_same() -> None:
    surveyed = look(Connection(guests=[Guest()], trouble={"pools": libvirt.VIR_ERR_NO_SUPPORT}))
    assert (surveyed.pools, len(surveyed.sleepers)) == ([], 1)
    assert surveyed.notes == ["storage pools: error 3"]


def test_a_connection_that_ends_ends_the_survey() -> None:
    connection = Connection([Pool(info=libvirt.VIR_ERR_INTERNAL_ERROR)])
    connection.alive = False
    with pytest.raises(libvirt.libvirtError):
        look(connection)


def test_a_dead_file_system_costs_its_own_pool_the_figures_and_no_other(
    local: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = local.statvfs

    def statvfs(path: str) -> os.statvfs_result:
        if path == "/dead":
            raise TimeoutError("the file system at /dead does not answer")
        return real(path)

    monkeypatch.setattr(local, "statvfs", statvfs)
    dead, alive = Pool("nfs", "dir", "/dead"), Pool("images", "dir", str(tmp_path))
    surveyed = look(Connection([dead, alive]), local, refresh=True)
    assert [(pool.name, pool.fresh) for pool in surveyed.pools] == [("nfs", False), ("images", True)]
    assert surveyed.notes == ["the storage pool nfs: the file system at /dead does not answer"]
    assert dead.refreshed == 0, "libvirt would hang there too, and stop the pool"


# --- refreshing


def test_pools_are_refreshed_only_when_asked_for() -> None:
    pool = Pool()
    assert not look(Connection([pool])).pools[0].fresh
    assert pool.refreshed == 0
    assert look(Connection([pool]), refresh=True).pools[0].fresh
    assert pool.refreshed == 1


def test_a_pool_that_can_be_asked_itself_is_not_refreshed(local: Files, tmp_path: Path) -> None:
    pool = Pool(kind="dir", path=str(tmp_path))
    assert look(Connection([pool]), local, refresh=True).pools[0].fresh
    assert pool.refreshed == 0


def test_a_pool_that_cannot_be_refreshed_has_its_old_figures() -> None:
    surveyed = look(Connection([Pool(refresh=libvirt.VIR_ERR_OPERATION_DENIED)]), refresh=True)
    assert (surveyed.pools[0].fresh, surveyed.pools[0].capacity) == (False, 1000)
    assert surveyed.notes == ["the storage pool images could not be refreshed: error 29"]


def test_a_pool_that_vanishes_while_it_is_refreshed_is_gone() -> None:
    surveyed = look(Connection([Pool(refresh=libvirt.VIR_ERR_NO_STORAGE_POOL)]), refresh=True)
    assert (surveyed.pools, surveyed.notes) == ([], [])


# --- guests


def test_a_guest_that_is_off_has_state_xml_and_the_sizes_of_its_disks() -> None:
    guest = Guest("web-1", disk("vda", "/a"), disk("vdb", "/other"))
    assert look(Connection(guests=[guest])).sleepers == [
        wire.Sleeper("uuid of web-1", "web-1", OFF, guest.xml, {"vda": (300, 200)})
    ]


def test_a_guest_that_is_started_meanwhile_is_not_off() -> None:
    running = Guest("web-1", state=(libvirt.VIR_DOMAIN_RUNNING, 1))
    assert look(Connection(guests=[running, Guest("web-2")])).sleepers[0].name == "web-2"


def test_guests_are_chosen_by_name() -> None:
    connection = Connection(guests=[Guest("web-1"), Guest("test-1"), Guest("web-2")])
    surveyed = look(connection, domains=wire.Globs(("web-*",), ("*-2",)))
    assert [sleeper.name for sleeper in surveyed.sleepers] == ["web-1"]


def test_a_guest_that_fails_keeps_no_other_from_being_told() -> None:
    gone = Guest("a", trouble=libvirt.VIR_ERR_NO_DOMAIN)
    broken = Guest("b", trouble=libvirt.VIR_ERR_INTERNAL_ERROR)
    surveyed = look(Connection(guests=[gone, broken, Guest("c")]))
    assert [sleeper.name for sleeper in surveyed.sleepers] == ["c"]
    assert surveyed.notes == ["the guest b: error 1"]


def test_a_disk_that_fails_keeps_no_other_from_being_told() -> None:
    surveyed = look(Connection(guests=[Guest("web-1", disk("vda", "/broken"), disk("vdb", "/a"))]))
    assert surveyed.sleepers[0].volumes == {"vdb": (300, 200)}
    assert surveyed.notes == ["the disk vda of the guest web-1: error 1"]


def test_a_guest_whose_xml_is_too_large_still_has_a_state() -> None:
    large = Guest("web-1")
    large.xml = "<domain>" + "x" * XML_BYTES_MAX + "</domain>"
    surveyed = look(Connection(guests=[large]))
    assert surveyed.sleepers == [wire.Sleeper("uuid of web-1", "web-1", OFF, None, {})]
    assert "its XML has more" in surveyed.notes[0]


def test_a_guest_whose_xml_declares_entities_has_no_disks() -> None:
    hostile = Guest("web-1")
    hostile.xml = "<!DOCTYPE x [<!ENTITY a '/a'>]>" + Guest("web-1", disk("vda", "&a;")).xml
    surveyed = look(Connection(guests=[hostile]))
    assert surveyed.sleepers[0].volumes == {}
    assert "entities" in surveyed.notes[0]


def test_a_driver_that_cannot_list_guests_has_pools_all_the_same() -> None:
    surveyed = look(Connection([Pool()], trouble={"guests": libvirt.VIR_ERR_RPC}))
    assert (len(surveyed.pools), surveyed.sleepers) == (1, [])


# --- limits


def test_too_many_pools_and_guests_are_cut_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "POOLS_MAX", 2)
    monkeypatch.setattr(surveying, "GUESTS_MAX", 1)
    surveyed = look(Connection([Pool(str(n)) for n in range(3)], [Guest(str(n)) for n in range(3)]))
    assert (len(surveyed.pools), len(surveyed.sleepers)) == (2, 1)
    assert surveyed.notes == [
        "of 3 storage pools only 2 were looked at",
        "of 3 guests that are off only 1 were looked at",
    ]


def test_a_slow_survey_tells_what_it_has_found_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "TIME_MAX_S", -1.0)
    surveyed = look(Connection([Pool()], [Guest("a"), Guest("b")]))
    assert (surveyed.pools, surveyed.sleepers) == ([], [])
    assert [note.replace(",", ":").split(":")[::2] for note in surveyed.notes] == [
        ["storage pools not looked at", " 1"],
        ["guests that are off not looked at", " 2"],
    ]


def test_the_xml_of_all_guests_together_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    guests = [Guest("a", disk("vda", "/a")), Guest("b", disk("vda", "/a"))]
    monkeypatch.setattr(surveying, "XML_ALL_BYTES_MAX", len(guests[0].xml))
    surveyed = look(Connection(guests=guests))
    assert [sleeper.xml for sleeper in surveyed.sleepers] == [guests[0].xml, None]
    assert [sleeper.volumes for sleeper in surveyed.sleepers] == [{"vda": (300, 200)}] * 2
    assert len(surveyed.notes) == 1


def test_notes_are_made_once_and_not_without_end() -> None:
    notes = Notes()
    notes.add("x" * 10_000)
    notes.add("x" * 10_000)
    for number in range(NOTES_MAX + 1):
        notes.add(str(number))
    assert notes.list()[0] == "x" * NOTE_CHARACTERS_MAX
    assert len(notes.list()) == NOTES_MAX + 1
    assert notes.list()[-1] == "and 2 notes more"


# --- a real driver


def test_a_survey_of_a_real_driver() -> None:
    connection = libvirt.openReadOnly("test:///default")
    try:
        surveyed = survey(connection, wire.Survey(), local=False)
    finally:
        connection.close()
    (pool,) = surveyed.pools
    assert (pool.name, pool.type, pool.path, pool.fresh) == ("default-pool", "dir", "/default-pool", False)
    assert pool.capacity == pool.allocation + pool.available > 0
    assert surveyed.sleepers == []
    assert surveyed.stamp.boot_id == clock.BOOT_ID
    assert 0 < surveyed.stamp.call_ns < 10**10
    assert surveyed.notes == []
