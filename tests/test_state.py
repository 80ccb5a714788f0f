"""The state directory is one agent's at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domstat.state import LOCK, StateError, StateLock


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
