"""The page's file: whole, or as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domstat.report import files


def test_a_file_is_written_with_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.replace(tmp_path / "report.html", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").read_bytes() == b"new"
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o640


def test_one_that_is_there_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_bytes(b"old")
    files.replace(tmp_path / "report.html", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report.html", b"new")]


def test_one_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(tmp_path / "report.html", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report.html", b"old")]


def test_what_a_link_points_at_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "report.html")
    files.replace(tmp_path / "link.html", b"new")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "report.html").read_bytes() == b"new"


def test_what_stands_in_the_way_is_said_before_any_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "pipe").symlink_to("/dev/null")
    assert files.obstacle(tmp_path / "report.html") is None
    assert files.obstacle(tmp_path) == "is there and no file; name a file"
    assert files.obstacle(tmp_path / "pipe") == "is there and no file; name a file"
    assert files.obstacle(tmp_path / "none" / "report.html") == "its folder is not there; make it, or name another"
