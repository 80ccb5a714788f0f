"""The journal as a file among files; most of it is met where the journal itself is, in test_journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domstat.deliver.files import create_private, identity_of, set_aside


def test_a_file_is_made_for_its_owner_alone_and_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    old = os.umask(0)
    try:
        create_private(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("something")
    create_private(path)
    assert path.read_text() == "something"


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "journal.db").symlink_to(tmp_path / "elsewhere")
    create_private(tmp_path / "journal.db")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_itself_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    assert identity_of(tmp_path / "a") == identity_of(tmp_path / "a") != identity_of(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        identity_of(tmp_path / "c")


def test_what_belongs_to_a_file_goes_with_it(tmp_path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"journal.db{ending}").write_text(ending)
    aside = set_aside(tmp_path / "journal.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{aside.name}{ending}" for ending in ("", "-shm", "-wal")
    ]
