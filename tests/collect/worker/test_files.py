"""What is mounted where, and file systems that do not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.collect.worker import files
from domstat.collect.worker.files import ElsewhereError, Files, Mounts, look_around

ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"
IMAGES = "30 27 253:3 / /var/lib/libvirt/images rw shared:5 - xfs /dev/mapper/vg-images rw"
ANSWER_S = 0.5
"""Waited for where a file system hangs; one that does not answers within it on a busy machine too."""


def mounts(*lines: str) -> Mounts:
    return Mounts("\n".join(lines) + "\n")


def here() -> Mounts:
    return Mounts(Path("/proc/self/mountinfo").read_text())


@pytest.fixture
def asked() -> Files:
    return Files(here(), here(), ANSWER_S)


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Path], None]]:
    """Have one system call hang for everything in one folder, until the test is over."""
    over = threading.Event()

    def hang(name: str, folder: Path) -> None:
        real = getattr(os, name)

        def call(path: str) -> object:
            if str(path).startswith(str(folder)):
                over.wait(60)
            return real(path)

        monkeypatch.setattr(os, name, call)

    yield hang
    over.set()


# --- what is mounted where


def test_a_path_is_on_the_mount_that_is_nearest_above_it() -> None:
    seen = mounts(ROOT, IMAGES)
    assert seen.place("/var/lib/libvirt/images/a.qcow2") == ("253:3", "/a.qcow2")
    assert seen.place("/var/lib/libvirt/imagesque") == ("254:0", "/var/lib/libvirt/imagesque")
    assert seen.place("/") == ("254:0", "/")


def test_a_bind_mount_is_the_place_that_it_shows() -> None:
    seen = mounts(ROOT, "31 27 254:0 /srv/images /mnt/images rw - ext4 /dev/vda rw")
    assert seen.place("/mnt/images/a") == seen.place("/srv/images/a") == ("254:0", "/srv/images/a")


def test_the_mount_on_top_is_the_one_that_is_seen() -> None:
    seen = mounts(ROOT, IMAGES, "40 30 0:99 / /var/lib/libvirt/images rw - tmpfs none rw")
    assert seen.place("/var/lib/libvirt/images/a") == ("0:99", "/a")


def test_what_is_mounted_below_a_covered_directory_is_not_seen() -> None:
    seen = mounts(ROOT, IMAGES, "41 27 0:98 / /var/lib rw - tmpfs none rw")
    assert seen.place("/var/lib/libvirt/images/a") == ("0:98", "/libvirt/images/a")


def test_a_root_that_covers_another_is_the_root() -> None:
    seen = mounts("1 1 0:2 / / rw - rootfs rootfs rw", "27 1 254:0 / / rw - ext4 /dev/vda rw")
    assert seen.place("/a") == ("254:0", "/a")


def test_blanks_and_backslashes_in_a_mount_point_are_read_back() -> None:
    seen = mounts(ROOT, r"32 27 0:50 / /mnt/a\040b\134040c rw - nfs4 server:/x rw")
    assert seen.place("/mnt/a b\\040c/d") == ("0:50", "/d")


def test_lines_that_are_no_mounts_are_passed_over() -> None:
    assert mounts("", "rubbish", ROOT).place("/a") == ("254:0", "/a")


@pytest.mark.parametrize("path", ["", "images/a", "rbd/volume"])
def test_what_is_no_path_is_nowhere(path: str) -> None:
    assert mounts(ROOT).place(path) is None


def test_nothing_is_anywhere_when_nothing_is_mounted() -> None:
    assert mounts().place("/") is None


def test_the_place_of_a_file_is_on_the_device_that_the_kernel_says(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    place = here().place(str(tmp_path))
    assert place is not None
    assert place[0] == f"{os.major(device)}:{os.minor(device)}"


# --- seen by both


def test_a_path_is_shared_where_the_daemon_sees_the_same_place() -> None:
    both = Files(mounts(ROOT, IMAGES), mounts(ROOT, IMAGES))
    assert both.shares("/var/lib/libvirt/images/a")
    container = Files(mounts("99 1 0:77 / / rw - overlay overlay rw"), mounts(ROOT, IMAGES))
    assert not container.shares("/var/lib/libvirt/images/a")
    assert container.differs("/var/lib/libvirt/images/a")


@pytest.mark.parametrize(("one", "other"), [(None, None), (ROOT, None)])
def test_nothing_is_known_to_be_shared_while_the_daemons_mounts_are_not_seen(
    one: str | None, other: str | None
) -> None:
    unsure = Files(mounts(one) if one else None, mounts(other) if other else None)
    assert not unsure.shares("/")
    assert not unsure.differs("/")
    assert unsure.hidden is (one is not None)


def test_a_path_is_a_mount_point_or_only_below_one() -> None:
    both = Files(mounts(ROOT, IMAGES), mounts(ROOT, IMAGES))
    assert both.is_mounted("/var/lib/libvirt/images")
    assert both.is_mounted("/var/lib/libvirt/images/")
    assert both.is_mounted("/")
    assert not both.is_mounted("/var/lib/libvirt")


def test_a_remote_hosts_files_are_not_looked_for() -> None:
    assert not look_around(local=False).shares("/")
    assert not look_around(local=False).hidden


def test_a_driver_within_the_process_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "socket_of_daemon", lambda: ("", None))
    assert look_around(local=True).shares("/")


def test_a_daemon_of_this_machine_is_asked_what_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "socket_of_daemon", lambda: ("/run/libvirt/libvirt-sock-ro", os.getppid()))
    assert look_around(local=True).shares("/")


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_a_daemon_that_cannot_be_seen_shares_nothing(monkeypatch: pytest.MonkeyPatch, pid: int | None) -> None:
    monkeypatch.setattr(files, "socket_of_daemon", lambda: ("/run/libvirt/libvirt-sock-ro", pid))
    assert look_around(local=True).hidden


def test_a_list_of_mounts_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOUNTINFO_BYTES_MAX", 10)
    assert not look_around(local=True).shares("/")


# --- asking


def test_a_file_system_and_a_file_are_asked(asked: Files, tmp_path: Path) -> None:
    file = tmp_path / "a.raw"
    file.write_bytes(b"x" * 5000)
    assert asked.statvfs(str(tmp_path)).f_blocks == os.statvfs(tmp_path).f_blocks
    assert asked.stat(str(file)).st_size == 5000


def test_a_link_is_followed(asked: Files, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"123")
    (tmp_path / "relative").symlink_to("a/../a")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")
    assert asked.stat(f"{tmp_path}/absolute/./file").st_size == 3


def test_links_without_end_are_an_error(asked: Files, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a/a")
    with pytest.raises(OSError, match="symbolic links"):
        asked.stat(str(tmp_path / "a"))
    assert asked.dead == []


def test_what_is_not_there_is_an_error_and_not_dead(asked: Files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asked.stat(str(tmp_path / "nothing"))
    with pytest.raises(OSError, match="null byte"):
        asked.stat("/a\0b")
    assert asked.dead == []


def test_a_link_to_what_the_daemon_sees_differently_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    text = Path("/proc/self/mountinfo").read_text()
    without_proc = "\n".join(line for line in text.split("\n") if " /proc " not in line)
    with pytest.raises(ElsewhereError):
        Files(Mounts(text), Mounts(without_proc)).stat(str(tmp_path / "link"))


def test_a_file_system_that_does_not_answer_is_left_alone_from_then_on(
    asked: Files, tmp_path: Path, hang: Callable[[str, Path], None]
) -> None:
    dead = tmp_path / "dead"
    dead.mkdir()
    (tmp_path / "file").touch()
    hang("statvfs", dead)
    with pytest.raises(TimeoutError, match=f"{dead} does not answer"):
        asked.statvfs(str(dead))
    assert asked.dead == [str(dead)]
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="does not answer"):
        asked.stat(str(dead / "a"))
    assert time.monotonic() - began < ANSWER_S
    assert asked.stat(str(tmp_path / "file")).st_size == 0


def test_a_file_whose_file_system_is_dead_is_not_asked_for_though_it_is_remembered(
    asked: Files, tmp_path: Path, hang: Callable[[str, Path], None]
) -> None:
    (tmp_path / "file").touch()
    hang("statvfs", tmp_path)
    with pytest.raises(TimeoutError):
        asked.stat(str(tmp_path / "file"))


def test_a_link_into_a_dead_file_system_does_not_condemn_the_one_it_is_on(
    asked: Files, tmp_path: Path, hang: Callable[[str, Path], None]
) -> None:
    (tmp_path / "dead").mkdir()
    (tmp_path / "link").symlink_to("dead")
    (tmp_path / "file").touch()
    hang("readlink", tmp_path / "dead")
    with pytest.raises(TimeoutError):
        asked.stat(str(tmp_path / "link" / "a"))
    assert asked.dead == [str(tmp_path / "dead")]
    asked.stat(str(tmp_path / "file"))


def test_a_link_into_what_is_known_to_be_dead_is_not_waited_for(
    asked: Files, tmp_path: Path, hang: Callable[[str, Path], None]
) -> None:
    (tmp_path / "dead").mkdir()
    (tmp_path / "link").symlink_to("dead")
    hang("statvfs", tmp_path / "dead")
    asked.dead.append(str(tmp_path / "dead"))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=f"{tmp_path}/dead does not answer"):
        asked.statvfs(str(tmp_path / "link"))
    assert time.monotonic() - began < ANSWER_S


def test_after_some_dead_file_systems_no_further_one_is_asked(
    asked: Files, tmp_path: Path, hang: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DEAD_MAX", 2)
    hang("statvfs", tmp_path / "dead")
    for number in range(2):
        with pytest.raises(TimeoutError, match="does not answer"):
            asked.statvfs(f"{tmp_path}/dead{number}")
    with pytest.raises(TimeoutError, match="no further one"):
        asked.statvfs(str(tmp_path))


def test_a_whole_file_system_of_its_own_is_dead_when_anything_on_it_is(
    tmp_path: Path, hang: Callable[[str, Path], None]
) -> None:
    point = tmp_path / "nfs"
    (point / "below").mkdir(parents=True)
    seen = mounts(ROOT, f"50 27 0:60 / {point} rw - nfs4 server:/x rw")
    asked = Files(seen, seen, ANSWER_S)
    hang("statvfs", point / "below")
    with pytest.raises(TimeoutError):
        asked.statvfs(str(point / "below"))
    assert asked.dead == [str(point)]
