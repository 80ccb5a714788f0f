"""Storage pools and guests that are off, against what libvirt, the kernel and qemu-img say of the same."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest

from domstat.collect.errors import OverdueError
from domstat.collect.process import WORKER_COMMAND
from domstat.collect.survey import Survey
from domstat.model import Record
from domstat_lab import guests, life
from domstat_lab.errors import LabError
from domstat_lab.fragile import FragileFileSystem
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.pools import inside, make_image, pool
from domstat_lab.spec import GuestSpec, tiny
from heard import Log

from .conftest import OWN_DISK, PATIENCE_S

MIB = 1 << 20
GROWTH = 64 * MIB

DEADLINE_S = 60.0
SOON_S = 15.0
"""What does not wait for storage that is dead is over within this, on a busy machine too; what does waits for ever."""

HANGS_S = 4.0
"""The deadline of a survey that hangs: by then its process, started within it, is sure to have asked libvirtd."""
OFF = tiny("off")


class Surveyed:
    """One survey's records, by what they are about."""

    def __init__(self, lab: PrivateLibvirtd, deadline_s: float = DEADLINE_S, **options: Any) -> None:
        self.log = Log()
        writable = options.get("refresh", False)
        self.survey = Survey("lab", lab.uri_rw if writable else lab.uri_ro, self.log, **options)
        (batch,) = self.survey.collect(deadline_s)
        self.pools = {record.pool.name: record for record in batch.records if record.pool}
        self.guests = {record.domain.name: record for record in batch.records if record.domain}
        self.notes = [facts["note"] for _, event, facts in self.log.said if event == "survey_note"]


@pytest.fixture
def images(lab: PrivateLibvirtd) -> Iterator[Path]:
    """A folder for a pool, seen by libvirtd as it is here, on a file system that nobody else writes to."""
    with tempfile.TemporaryDirectory(prefix="images-", dir=lab.folder / OWN_DISK) as folder:
        yield Path(folder)


@pytest.fixture
def off(lab: PrivateLibvirtd) -> Iterator[GuestSpec]:
    """A guest that is defined and not running; its disks are a raw file, and a qcow2 file on a backing file."""
    guests.define(lab, OFF)
    yield OFF
    life.undefine(lab, OFF.name)


def libvirts(handle: Any) -> dict[str, int]:
    """Say what libvirt says of a pool."""
    state, capacity, allocation, available = handle.info()
    return {"state": state, "capacity": capacity, "allocation": allocation, "available": available}


def told(record: Record) -> dict[str, Any]:
    return {key.removeprefix("pool."): value for key, value in record.params.items()}


# --- pools


def test_what_grows_behind_libvirts_back_is_seen_at_once(lab: PrivateLibvirtd, images: Path) -> None:
    with pool(lab, "images", images) as handle:
        before = libvirts(handle)
        (images / "grown.raw").write_bytes(os.urandom(GROWTH))
        os.sync()
        assert libvirts(handle) == before, "libvirt does not look by itself"
        seen = Surveyed(lab).pools["images"]
        truth = os.statvfs(images)
        handle.refresh(0)
        refreshed = libvirts(handle)
    assert seen.derived == {"pool.age": 0.0}
    assert seen.labels == {"type": "dir", "path": str(images)}
    assert told(seen)["capacity"] == refreshed["capacity"] == truth.f_frsize * truth.f_blocks
    assert told(seen)["available"] == refreshed["available"] == truth.f_frsize * truth.f_bfree
    assert told(seen)["allocation"] == refreshed["allocation"]
    assert before["available"] - told(seen)["available"] == GROWTH


@pytest.fixture
def covered(lab: PrivateLibvirtd) -> Iterator[Path]:
    """A folder that libvirtd has mounted elsewhere than where it is here: /var/lib/libvirt is the lab's there."""
    folder = lab.folder / "lib" / "images"
    folder.mkdir(exist_ok=True)
    with pool(lab, "covered", Path("/var/lib/libvirt/images")):
        yield folder


def test_a_folder_that_libvirtd_sees_elsewhere_is_not_looked_at_here(lab: PrivateLibvirtd, covered: Path) -> None:
    surveyed = Surveyed(lab)
    assert surveyed.pools["covered"].derived == {}
    assert surveyed.notes == [
        "the storage pool covered: the libvirt daemon sees other files at /var/lib/libvirt/images than the agent"
    ]


def test_an_agent_that_sees_what_libvirtd_sees_looks_at_it(lab: PrivateLibvirtd, covered: Path) -> None:
    surveyed = Surveyed(lab, command=(*inside(lab), *WORKER_COMMAND))
    assert surveyed.pools["covered"].derived == {"pool.age": 0.0}
    assert surveyed.notes == []


def test_refreshing_is_for_pools_that_cannot_be_looked_at(lab: PrivateLibvirtd, covered: Path, images: Path) -> None:
    with pool(lab, "images", images) as handle:
        make_image(images / "new.raw", 1, "raw")
        make_image(covered / "new.raw", 1, "raw")
        surveyed = Surveyed(lab, refresh=True)
        elsewhere = handle.connect().storagePoolLookupByName("covered")
        assert [volume.name() for volume in elsewhere.listAllVolumes()] == ["new.raw"]
        assert handle.listAllVolumes() == []
    assert surveyed.pools["covered"].derived == surveyed.pools["images"].derived == {"pool.age": 0.0}


def test_a_read_only_socket_refreshes_nothing_and_that_is_said(lab: PrivateLibvirtd, covered: Path) -> None:
    log = Log()
    survey = Survey("lab", lab.uri_ro, log, refresh=True)
    (batch,) = survey.collect(DEADLINE_S)
    assert [record.derived for record in batch.records if record.pool] == [{}]
    notes = [facts["note"] for _, event, facts in log.said if event == "survey_note"]
    assert any("could not be refreshed" in note for note in notes)


# --- guests


def test_a_guest_that_is_off_is_told_of_with_the_sizes_that_libvirt_has(lab: PrivateLibvirtd, off: GuestSpec) -> None:
    folder = guests.guest_folder(lab, off.name)
    subprocess.run(["qemu-img", "resize", "-q", str(folder / "vdb.qcow2"), "7M"], check=True)
    with pool(lab, "guests", folder) as handle:
        record = Surveyed(lab).guests[off.name]
        for target, file in (("vda", "vda.raw"), ("vdb", "vdb.qcow2")):
            _, capacity, allocation = handle.storageVolLookupByName(file).info()
            assert record.params[f"volume.capacity[{target}]"] == capacity
            assert record.params[f"volume.allocation[{target}]"] == allocation
    assert record.params["volume.capacity[vdb]"] == 7 * MIB
    assert record.params["state.state"] == libvirt.VIR_DOMAIN_SHUTOFF
    assert record.params["vcpu.maximum"] == off.vcpus
    assert record.params["balloon.maximum"] == off.memory_mib * 1024
    assert record.domain
    assert (record.domain.uuid, record.domain.id) == (off.identity, None)
    assert record.devices
    assert record.devices["vdb"]["format"] == "qcow2"


def test_the_files_of_a_guest_in_no_pool_are_looked_at_and_not_into(lab: PrivateLibvirtd, off: GuestSpec) -> None:
    folder = guests.guest_folder(lab, off.name)
    record = Surveyed(lab).guests[off.name]
    assert {key: value for key, value in record.params.items() if key.startswith("volume.")} == {
        "volume.capacity[vda]": (folder / "vda.raw").stat().st_size,
        "volume.allocation[vda]": (folder / "vda.raw").stat().st_blocks * 512,
        "volume.allocation[vdb]": (folder / "vdb.qcow2").stat().st_blocks * 512,
    }


def test_a_guest_that_runs_is_in_no_survey(lab: PrivateLibvirtd, off: GuestSpec) -> None:
    assert set(Surveyed(lab).guests) == {off.name}
    life.create(lab, off.name)
    assert Surveyed(lab).guests == {}
    guests.destroy(lab, [off.name])
    assert set(Surveyed(lab).guests) == {off.name}


def test_libvirtd_opens_no_image_for_a_raw_disk(lab: PrivateLibvirtd, off: GuestSpec) -> None:
    folder = guests.guest_folder(lab, off.name)
    raw, image = folder / "vda.raw", folder / "vdb.qcow2"
    with pool(lab, "guests", folder) as handle:

        def read_by_somebody() -> set[Path]:
            return {file for file in (raw, image) if file.stat().st_atime_ns}

        for file in (raw, image):
            os.utime(file, ns=(0, file.stat().st_mtime_ns))
        handle.storageVolLookupByName(raw.name).info()
        if not read_by_somebody():
            pytest.skip("this file system does not note when a file is read")
        os.utime(raw, ns=(0, raw.stat().st_mtime_ns))
        assert "volume.capacity[vda]" in Surveyed(lab).guests[off.name].params
        assert read_by_somebody() == {image}


# --- storage that dies


@pytest.fixture(scope="module")
def fragile() -> Iterator[tuple[PrivateLibvirtd, FragileFileSystem]]:
    """A lab of its own, since its libvirtd shall hang: with a file system that can die."""
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root: run ./dev test as root or with sudo")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="domstat-lab-"))
        lab = stack.enter_context(PrivateLibvirtd(Path(folder)))
        image = make_image(lab.folder / "template.qcow2", 5, "qcow2").read_bytes()
        files = FragileFileSystem(lab, lab.folder / "nfs", {"a.qcow2": image, "base.raw": bytes(MIB)})
        try:
            stack.enter_context(files)
        except LabError as error:
            pytest.skip(str(error))
        yield lab, files


@pytest.fixture
def nfs(fragile: tuple[PrivateLibvirtd, FragileFileSystem]) -> Iterator[FragileFileSystem]:
    lab, files = fragile
    yield files
    with closing(lab.connect()) as connection:
        for domain in connection.listAllDomains():
            domain.undefine()


@contextmanager
def dead(files: FragileFileSystem) -> Iterator[None]:
    """Let storage be dead for a while. Not longer than that: libvirtd could not even stop a pool on it."""
    files.die()
    try:
        yield
    finally:
        files.revive()


def define(lab: PrivateLibvirtd, name: str, file: Path) -> None:
    """Define a guest that is off, with one qcow2 disk."""
    disk = f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{file}'/><target dev='vda'/></disk>"
    with closing(lab.connect()) as connection:
        connection.defineXML(
            f"<domain type='qemu'><name>{name}</name><memory>4096</memory><os><type arch='x86_64'>hvm</type></os>"
            f"<devices>{disk}</devices></domain>"
        )


@pytest.fixture
def from_within(fragile: tuple[PrivateLibvirtd, FragileFileSystem]) -> Callable[..., Surveyed]:
    """Survey as an agent that sees what libvirtd sees: the file system is mounted for it alone."""
    lab, _ = fragile
    return lambda **options: Surveyed(lab, command=(*inside(lab), *WORKER_COMMAND), **options)


def test_storage_that_dies_costs_its_own_figures_and_neither_the_survey_nor_libvirtd(
    fragile: tuple[PrivateLibvirtd, FragileFileSystem], nfs: FragileFileSystem, from_within: Callable[..., Surveyed]
) -> None:
    lab, _ = fragile
    local = lab.folder / "local"
    local.mkdir(exist_ok=True)
    image = make_image(local / "b.qcow2", 9, "qcow2")
    define(lab, "on-nfs", nfs.point / "a.qcow2")
    define(lab, "on-local", image)
    with pool(lab, "nfs", nfs.point), pool(lab, "local", local):
        well = from_within()
        assert well.pools["nfs"].derived == {"pool.age": 0.0}
        assert told(well.pools["nfs"])["available"] == 4096 * nfs.free
        assert well.guests["on-nfs"].params["volume.capacity[vda]"] == 5 * MIB
        with dead(nfs):
            began = time.monotonic()
            ill = from_within()
            took_s = time.monotonic() - began
            assert stuck_threads(lab) == 0, "libvirtd was not asked for anything that hangs"
        assert took_s < SOON_S
        assert ill.notes == [
            f"the storage pool nfs: the file system at {nfs.point} does not answer",
            f"the file system at {nfs.point} does not answer",
        ]
        assert ill.pools["local"].derived == {"pool.age": 0.0}
        assert ill.pools["nfs"].derived == {}
        assert "volume.allocation[vda]" not in ill.guests["on-nfs"].params
        assert ill.guests["on-local"].params["volume.allocation[vda]"] == image.stat().st_blocks * 512
        assert from_within().guests["on-nfs"].params == well.guests["on-nfs"].params


def test_a_survey_that_hangs_in_libvirtd_is_killed_at_its_deadline(
    fragile: tuple[PrivateLibvirtd, FragileFileSystem], nfs: FragileFileSystem
) -> None:
    """No pool is on the dead file system here, only the backing file of an image that is elsewhere."""
    lab, _ = fragile
    local = lab.folder / "layered"
    local.mkdir(exist_ok=True)
    define(lab, "layered", make_image(local / "c.qcow2", 9, "qcow2", backing=nfs.point / "base.raw"))
    with pool(lab, "layered", local):
        with dead(nfs):
            survey = Survey("lab", lab.uri_ro, Log())
            began = time.monotonic()
            with pytest.raises(OverdueError, match="the survey hangs"):
                list(survey.collect(HANGS_S))
            assert HANGS_S <= time.monotonic() - began < SOON_S
            assert survey.tally.workers_killed == 1
            assert stuck_threads(lab) == 1
            began = time.monotonic()
            with pytest.raises(OverdueError, match="tried in 15 min"):
                list(survey.collect(HANGS_S))
            assert time.monotonic() - began < HANGS_S / 2, "nothing is waited for"
            assert stuck_threads(lab) == 1, "no further worker of libvirtd's is lost"
        assert Surveyed(lab).guests["layered"].params["volume.capacity[vda]"] == 9 * MIB


def stuck_threads(lab: PrivateLibvirtd) -> int:
    """Count libvirtd's threads that wait for the file system that is dead."""
    count = 0
    for task in Path(f"/proc/{lab.pid}/task").iterdir():
        with suppress(OSError):  # one that has just ended waits for nothing
            count += "fuse" in (task / "stack").read_text()
    return count


def test_threads_of_the_agent_do_not_pile_up(lab: PrivateLibvirtd) -> None:
    before = threading.active_count()
    for _ in range(5):
        Surveyed(lab)
    until = time.monotonic() + PATIENCE_S
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before
