"""The state directory is one agent's at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from domstat import mounts
from domstat.state import LOCK, StateError, StateLock

STRANGER = 65_534
"""Nobody's number."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "deep" / "state")
    lock.take()
    assert (tmp_path / "deep" / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep" / "state" / LOCK).stat().st_mode & 0o777 == 0o600
    lock.let_go()


def test_a_second_agent_is_told_who_has_it(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.take()
    with pytest.raises(StateError, match=rf"used by another agent \(process {os.getpid()}\); stop it"):
        second.take()
    first.let_go()
    second.take()
    second.let_go()


def test_letting_go_of_what_was_never_taken_is_nothing(tmp_path: Path) -> None:
    StateLock(tmp_path).let_go()


def test_a_place_that_cannot_be_used_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file cannot be used: .*; set agent\.state_dir"):
        StateLock(tmp_path / "file").take()


def test_a_link_in_the_locks_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="cannot be used"):
        StateLock(tmp_path).take()
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def test_a_folder_that_is_a_link_is_refused_with_where_it_leads(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(StateError, match=rf'is a symbolic link.* set agent\.state_dir = "{folder}"'):
        StateLock(link).take()
    folder.rmdir()
    with pytest.raises(StateError, match="is a symbolic link"):
        StateLock(link).take()
    assert not folder.exists(), "nothing is made at the other end"


@pytest.mark.parametrize("mode", [0o755, 0o704, 0o702, 0o720, 0o770, 0o777, 0o1777])
def test_a_folder_that_others_may_read_or_write_is_refused_and_left_as_it_is(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(StateError, match=rf"open to others \(mode {mode:04o}\): chmod 0700 {folder}"):
        StateLock(folder).take()
    assert folder.stat().st_mode & 0o7777 == mode
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o710, 0o711])
def test_a_group_may_read_what_is_shared_with_it_and_anybody_may_pass_through(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    lock = StateLock(folder)
    lock.take()
    lock.let_go()


@as_root
def test_a_folder_of_somebody_elses_is_refused_also_to_root(folder: Path) -> None:
    os.chown(folder, STRANGER, -1)
    with pytest.raises(StateError, match=rf"is uid {STRANGER}'s, and this is uid 0: chown 0 "):
        StateLock(folder).take()
    assert list(folder.iterdir()) == []


@as_root
def test_root_may_mend_what_is_anothers(folder: Path) -> None:
    os.chown(folder, STRANGER, -1)
    lock = StateLock(folder)
    lock.take(root_may=True)
    lock.let_go()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_folder_on_another_machine_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    device = folder.stat().st_dev
    listed = tmp_path / "mountinfo"
    listed.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / / rw shared:1 - {kind} server:/export rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", listed)
    with pytest.raises(StateError, match=rf"is on {kind}, where .* set agent\.state_dir"):
        StateLock(folder).take()


def test_a_link_that_takes_the_folders_place_meanwhile_is_not_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    mkdir = Path.mkdir

    def and_turn(self: Path, *arguments: Any, **more: Any) -> None:
        mkdir(self, *arguments, **more)
        self.rmdir()
        self.symlink_to(elsewhere)

    monkeypatch.setattr(Path, "mkdir", and_turn)
    with pytest.raises(StateError, match="cannot be used"):
        StateLock(folder).take()
    assert list(elsewhere.iterdir()) == []
