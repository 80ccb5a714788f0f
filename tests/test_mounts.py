"""A network file system is told from a local one by what the kernel says of its mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domstat import mounts
from domstat.mounts import network_file_system


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the kernel's list."""
    listed = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTS", listed)
    return listed


def line(path: Path, kind: str) -> str:
    device = path.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    return f"36 35 {place} / /srv/a\\040b rw,relatime shared:1 - {kind} server:/export rw,vers=4.2\n"


OTHER = "22 1 0:99999 / /proc rw,nosuid - proc proc rw\n"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_named(say: Path, tmp_path: Path, kind: str) -> None:
    say.write_text(OTHER + line(tmp_path, kind) + OTHER)
    assert network_file_system(tmp_path) == kind


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "fuse.gocryptfs"])
def test_a_local_one_is_none(say: Path, tmp_path: Path, kind: str) -> None:
    say.write_text(OTHER + line(tmp_path, kind))
    assert network_file_system(tmp_path) is None


def test_of_what_is_not_there_yet_the_folder_above_counts(say: Path, tmp_path: Path) -> None:
    say.write_text(line(tmp_path, "nfs"))
    assert network_file_system(tmp_path / "new" / "history.db") == "nfs"


def test_what_was_mounted_over_it_last_counts(say: Path, tmp_path: Path) -> None:
    say.write_text(line(tmp_path, "nfs") + line(tmp_path, "ext4"))
    assert network_file_system(tmp_path) is None


def test_without_a_list_nothing_is_claimed(say: Path, tmp_path: Path) -> None:
    assert not say.exists()
    assert network_file_system(tmp_path) is None


def test_this_machines_own_list_can_be_read(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) is None
    assert network_file_system(Path("/proc/self")) is None
