"""Who else could change what is at a path: by its owner, its mode, and those of every folder above it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from domstat.whose import intruder

STRANGER = 65_534
"""Nobody's number."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)
    path = folder / "code.py"
    path.write_text("")
    path.chmod(0o644)
    return path


def test_what_is_our_own_all_the_way_up_is_nobody_elses(file: Path) -> None:
    assert intruder(file) is None


def test_what_is_roots_is_nobody_elses() -> None:
    assert intruder(Path("/usr/bin/env")) is None


@pytest.mark.parametrize("up", [0, 1, 2])
def test_what_everybody_may_write_is_everybodys_however_far_above(file: Path, up: int) -> None:
    place = (file, *file.parents)[up]
    place.chmod(place.stat().st_mode | 0o002)
    assert intruder(file) == f"everybody may write {place} (mode {place.stat().st_mode & 0o7777:04o})"


def test_a_folder_in_which_nobody_takes_away_what_is_anothers_is_no_danger(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert intruder(file) is None


@pytest.fixture
def group() -> int:
    groups = [one.gr_gid for one in grp.getgrall() if one.gr_gid not in {0, os.getgid()}]
    return groups[0]


@as_root
def test_a_group_may_not_write_either(file: Path, group: int) -> None:
    os.chown(file, -1, group)
    file.chmod(0o664)
    assert intruder(file) == f"a group (gid {group}) may write {file} (mode 0664)"


@as_root
@pytest.mark.parametrize(("name", "members", "is_alone"), [("me", [], True), ("me", ["you"], False), ("we", [], False)])
def test_a_group_that_is_its_users_alone_is_that_user(
    file: Path, group: int, monkeypatch: pytest.MonkeyPatch, name: str, members: list[str], is_alone: bool
) -> None:
    os.chown(file, -1, group)
    file.chmod(0o664)
    user = pwd.struct_passwd(("me", "x", os.geteuid(), group, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((name, "x", gid, members)))
    assert (intruder(file) is None) == is_alone


@as_root
@pytest.mark.parametrize("up", [0, 1, 2])
def test_what_is_somebody_elses_is_theirs_however_far_above(file: Path, up: int) -> None:
    place = (file, *file.parents)[up]
    os.chown(place, STRANGER, -1)
    assert intruder(file) == f"{place} is uid {STRANGER}'s"


@pytest.mark.parametrize("open_folder", ["of the link", "of what it leads to"])
def test_a_link_is_as_good_as_its_folder_and_as_what_it_leads_to(file: Path, tmp_path: Path, open_folder: str) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    link = folder / "code.py"
    link.symlink_to(file)
    assert intruder(link) is None
    place = folder if open_folder == "of the link" else file.parent
    place.chmod(0o777)
    assert intruder(link) == f"everybody may write {place} (mode 0777)"


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        intruder(tmp_path / "none")
