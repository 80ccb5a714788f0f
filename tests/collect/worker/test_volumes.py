"""The disks of guests that are off, and their sizes."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import libvirt
import pytest

from domstat.collect.worker import volumes
from domstat.collect.worker.files import Files, Mounts
from domstat.collect.worker.volumes import Disk, Volumes, disks_of

MIB = 1 << 20


class FakeError(libvirt.libvirtError):  # type: ignore[misc]
    def __init__(self, code: int) -> None:
        Exception.__init__(self, f"error {code}")
        self.err = (code, 18, "", 2, "", "", "", -1, -1)


class Volume:
    def __init__(self, path: str, size: tuple[int, int], trouble: int = 0) -> None:
        self._path, self._size, self._trouble = path, size, trouble
        self.asked = 0

    def path(self) -> str:
        return self._path

    def info(self) -> list[int]:
        self.asked += 1
        if self._trouble:
            raise FakeError(self._trouble)
        return [0, *self._size]


class Storage:
    """A connection with volumes, by path and by pool and name."""

    def __init__(self, *found: Volume, pools: dict[str, dict[str, Volume]] | None = None) -> None:
        self._found = {volume.path(): volume for volume in found}
        self._pools = pools or {}
        self._pool: dict[str, Volume] = {}
        self.looked_up: list[str] = []
        self.trouble = libvirt.VIR_ERR_NO_STORAGE_VOL

    def storageVolLookupByPath(self, path: str) -> Volume:  # noqa: N802 - libvirt's
        self.looked_up.append(path)
        return self._known(self._found, path)

    def storagePoolLookupByName(self, name: str) -> Storage:  # noqa: N802
        if name not in self._pools:
            raise FakeError(libvirt.VIR_ERR_NO_STORAGE_POOL)
        self._pool = self._pools[name]
        return self

    def storageVolLookupByName(self, name: str) -> Volume:  # noqa: N802
        return self._known(self._pool, name)

    def _known(self, among: dict[str, Volume], name: str) -> Volume:
        if name not in among:
            raise FakeError(self.trouble)
        return among[name]


@pytest.fixture
def local() -> Files:
    seen = Mounts(Path("/proc/self/mountinfo").read_text())
    return Files(seen, seen)


@pytest.fixture
def notes() -> list[str]:
    return []


ELSEWHERE = Files(None, None)


def found(*disks: str) -> list[Disk]:
    return disks_of(ET.fromstring(f"<domain><devices>{''.join(disks)}</devices></domain>"))


# --- what the XML says


def test_files_and_devices_are_disks_with_a_path() -> None:
    assert found(
        "<disk type='file' device='disk'><driver type='raw'/><source file='/a.raw'/><target dev='vda'/></disk>",
        "<disk type='file'><driver type='qcow2'/><source file='/b.qcow2'/><target dev='vdb'/></disk>",
        "<disk type='block' device='lun'><driver type='raw'/><source dev='/dev/sdb'/><target dev='sda'/></disk>",
    ) == [
        Disk("vda", "/a.raw", raw=True),
        Disk("vdb", "/b.qcow2"),
        Disk("sda", "/dev/sdb", raw=True),
    ]


def test_a_volume_is_a_disk_with_a_pool_and_a_name() -> None:
    (disk,) = found("<disk type='volume'><source pool='images' volume='a'/><target dev='vda'/></disk>")
    assert disk == Disk("vda", "", "images", "a")


def test_an_rbd_image_is_a_disk_with_libvirts_path_of_it() -> None:
    (disk,) = found("<disk type='network'><source protocol='rbd' name='vms/a'/><target dev='vda'/></disk>")
    assert disk == Disk("vda", "vms/a")


@pytest.mark.parametrize(
    "disk",
    [
        "<disk type='file' device='cdrom'><source file='/a.iso'/><target dev='hda'/></disk>",
        "<disk type='file' device='floppy'><source file='/a.img'/><target dev='fda'/></disk>",
        "<disk type='file'><target dev='vda'/></disk>",
        "<disk type='file'><source/><target dev='vda'/></disk>",
        "<disk type='file'><source file='/a'/></disk>",
        "<disk type='volume'><source pool='images'/><target dev='vda'/></disk>",
        "<disk type='network'><source protocol='nbd' name='vms/a'/><target dev='vda'/></disk>",
        "<disk type='nvme'><source type='pci'/><target dev='vda'/></disk>",
        "<disk><source file='/a'/><target dev='vda'/></disk>",
    ],
)
def test_a_medium_and_what_libvirt_has_no_volumes_of_are_no_disks(disk: str) -> None:
    assert found(disk) == []


@pytest.mark.parametrize(
    "disk",
    [
        "<driver type='raw'/><source file='/a'/><encryption format='luks'/>",
        "<driver type='raw'/><source file='/a'><encryption format='luks'/></source>",
        "<driver type='raw'/><source file='/a'><slices><slice type='storage' offset='1' size='2'/></slices></source>",
        "<source file='/a'/>",
    ],
)
def test_a_file_that_the_guest_does_not_see_byte_for_byte_is_not_raw(disk: str) -> None:
    assert [disk.raw for disk in found(f"<disk type='file'>{disk}<target dev='vda'/></disk>")] == [False]


# --- sizes


def test_a_raw_file_is_looked_at_and_libvirt_is_not_asked(local: Files, notes: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.raw"
    with file.open("wb") as handle:
        handle.write(b"x" * 100_000)
        handle.truncate(10 * MIB)
    storage = Storage(Volume(str(file), (1, 1)))
    size = Volumes(storage, local, notes.append).size(Disk("vda", str(file), raw=True))
    assert size == (10 * MIB, file.stat().st_blocks * 512)
    assert 100_000 <= file.stat().st_blocks * 512 < MIB
    assert storage.looked_up == []


def test_an_image_in_a_pool_is_as_libvirt_says(local: Files, notes: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.qcow2"
    file.touch()
    volume = Volume(str(file), (20 * MIB, 4096))
    assert Volumes(Storage(volume), local, notes.append).size(Disk("vda", str(file))) == (20 * MIB, 4096)


def test_of_an_image_in_no_pool_only_the_allocation_is_known(local: Files, notes: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.qcow2"
    file.write_bytes(b"x" * 5000)
    size = Volumes(Storage(), local, notes.append).size(Disk("vda", str(file)))
    assert size == (None, file.stat().st_blocks * 512)
    assert notes == []


def test_the_volume_of_a_pool_is_found_by_name_and_looked_at_by_path(
    local: Files, notes: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.raw"
    file.write_bytes(b"x" * 4096)
    image = Volume(str(tmp_path / "b.qcow2"), (7, 8))
    (tmp_path / "b.qcow2").touch()
    storage = Storage(pools={"images": {"a": Volume(str(file), (1, 1)), "b": image}})
    sizes = Volumes(storage, local, notes.append)
    assert sizes.size(Disk("vda", pool="images", volume="a", raw=True)) == (4096, 4096)
    assert sizes.size(Disk("vdb", pool="images", volume="b")) == (7, 8)
    assert sizes.size(Disk("vdc", pool="images", volume="c")) is None
    assert sizes.size(Disk("vdd", pool="other", volume="a")) is None
    assert storage.looked_up == []


def test_on_another_host_libvirt_alone_is_asked(notes: list[str], tmp_path: Path) -> None:
    file = tmp_path / "a.raw"
    file.write_bytes(b"x" * 4096)
    sizes = Volumes(Storage(Volume(str(file), (7, 8)), Volume("vms/a", (9, 10))), ELSEWHERE, notes.append)
    assert sizes.size(Disk("vda", str(file), raw=True)) == (7, 8)
    assert sizes.size(Disk("vdb", "vms/a")) == (9, 10)
    assert sizes.size(Disk("vdc", "/other", raw=True)) is None


@pytest.mark.parametrize(
    "code",
    [
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_NO_SUPPORT,
    ],
)
def test_no_such_volume_is_no_error(notes: list[str], code: int) -> None:
    storage = Storage()
    storage.trouble = code
    assert Volumes(storage, ELSEWHERE, notes.append).size(Disk("vda", "/a")) is None


def test_what_libvirt_fails_at_is_an_error(notes: list[str]) -> None:
    storage = Storage()
    storage.trouble = libvirt.VIR_ERR_INTERNAL_ERROR
    with pytest.raises(libvirt.libvirtError):
        Volumes(storage, ELSEWHERE, notes.append).size(Disk("vda", "/a"))
    broken = Volume("/b", (1, 1), libvirt.VIR_ERR_SYSTEM_ERROR)
    with pytest.raises(libvirt.libvirtError):
        Volumes(Storage(broken), ELSEWHERE, notes.append).size(Disk("vda", "/b"))


def test_a_file_that_is_gone_has_no_size(local: Files, notes: list[str], tmp_path: Path) -> None:
    volume = Volume(str(tmp_path / "gone"), (1, 1))
    assert Volumes(Storage(volume), local, notes.append).size(Disk("vda", str(tmp_path / "gone"))) is None
    assert (volume.asked, notes) == (0, [])


def test_a_directory_has_no_size(local: Files, notes: list[str], tmp_path: Path) -> None:
    assert Volumes(Storage(), local, notes.append).size(Disk("vda", str(tmp_path), raw=True)) is None


def refusing(files: Files, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise error

    monkeypatch.setattr(files, "stat", refuse)


def test_what_the_agent_may_not_see_libvirt_is_asked_for(
    local: Files, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(local, PermissionError("no"), monkeypatch)
    assert Volumes(Storage(Volume("/a", (7, 8))), local, notes.append).size(Disk("vda", "/a", raw=True)) == (7, 8)


def test_libvirt_is_not_asked_for_what_is_on_a_dead_file_system(
    local: Files, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(local, TimeoutError("the file system at /nfs does not answer"), monkeypatch)
    volume = Volume("/nfs/a", (7, 8))
    assert Volumes(Storage(volume), local, notes.append).size(Disk("vda", "/nfs/a")) is None
    assert volume.asked == 0
    assert notes == ["the file system at /nfs does not answer"]


def test_with_a_dead_file_system_about_libvirt_opens_no_image_whose_backing_file_may_be_there(
    local: Files, notes: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.qcow2"
    file.write_bytes(b"x" * 5000)
    local.dead.append("/nfs")
    volume = Volume(str(file), (7, 8))
    size = Volumes(Storage(volume), local, notes.append).size(Disk("vda", str(file)))
    assert size == (None, file.stat().st_blocks * 512)
    assert volume.asked == 0


@pytest.fixture
def device() -> Path:
    """Any block device there is."""
    found = next((path for path in Path("/dev").iterdir() if path.is_block_device()), None)
    if found is None:
        pytest.skip("this machine has no block device")
    return found


def test_a_block_device_is_as_large_as_the_kernel_says(local: Files, notes: list[str], device: Path) -> None:
    sizes = Volumes(Storage(), local, notes.append)
    size = sizes.size(Disk("vda", str(device), raw=True))
    said = subprocess.run(["blockdev", "--getsize64", device], capture_output=True, text=True, check=False)
    if said.returncode:
        pytest.skip("this machine's devices may not be opened")
    assert size == (int(said.stdout), int(said.stdout))
    assert sizes.size(Disk("vda", str(device))) == (None, int(said.stdout))


def test_a_device_that_has_just_gone_has_no_size() -> None:
    assert volumes._device_size(os.makedev(4000, 1)) is None
