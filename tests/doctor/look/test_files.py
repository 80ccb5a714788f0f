"""Looking at files: whose they are, how they are guarded, who has them open for writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat.config import Config, parse
from domstat.doctor.look.disks import see_disks
from domstat.doctor.look.files import claimed, secret_files, see_files, see_writers
from domstat.doctor.look.past import see_past
from domstat.doctor.scene import FileSeen, Role


def config(folder: Path, text: str = "") -> Config:
    path = folder / "domstat.toml"
    whole = f'[agent]\nstate_dir = "{folder / "state"}"\n{text}'
    path.write_text(whole)
    path.chmod(0o640)
    return parse(whole, path)


def seen(folder: Path, text: str = "") -> dict[Role, FileSeen]:
    return {file.role: file for file in see_files(config(folder, text))}


def test_what_is_there_has_its_owner_and_mode_and_what_is_not_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o750)
    found = seen(tmp_path)
    assert (found[Role.STATE].mode, found[Role.STATE].uid) == (0o750, os.geteuid())
    assert (found[Role.CONFIG].mode, found[Role.CONFIG].path) == (0o640, str(tmp_path / "domstat.toml"))
    assert found[Role.FOLDER].path == str(tmp_path)
    assert not found[Role.JOURNAL].there
    assert (found[Role.HISTORY].there, found[Role.HISTORY].about) == (False, "history")
    assert Role.SECRET not in found
    assert not any(file.shared for file in found.values())


def test_a_group_that_is_configured_is_noticed(tmp_path: Path) -> None:
    assert seen(tmp_path, 'status_group = "adm"\n')[Role.STATE].shared
    found = seen(tmp_path, '[[sinks]]\ntype = "sqlite"\ngroup = "adm"\n')
    assert found[Role.STATE].shared
    assert found[Role.HISTORY].shared


def test_a_link_and_a_place_that_cannot_be_looked_at_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    assert seen(tmp_path)[Role.STATE].is_link
    (tmp_path / "state").unlink()
    (tmp_path / "state").symlink_to("state")  # around in a circle
    alone = '[[sinks]]\ntype = "stdout"\n'
    assert "symbolic links" in seen(tmp_path, alone)[Role.STATE].error


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be a user who may look at nothing."""
    if os.geteuid() != 0:
        pytest.skip("becomes somebody else")
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def locked(tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "history.db").touch()
    return config(tmp_path)


def test_who_may_not_look_is_told_so_and_no_more(locked: Config, nobody: None) -> None:
    found = {file.role: file for file in see_files(locked)}
    assert {found[role].error for role in (Role.STATE, Role.JOURNAL, Role.HISTORY)} == {"Permission denied"}
    assert see_writers(locked) == ()
    assert [disk.history_bytes for disk in see_disks(locked)] == [0]
    assert "you may not enter its folder" in see_past(locked.sinks, locked.state_dir).why


def test_files_of_secrets_are_known_by_their_settings_names(tmp_path: Path) -> None:
    text = '[[sinks]]\ntype = "influxdb"\nurl = "http://db:1"\nbucket = "b"\ntoken_file = "/t"\nca_file = "/ca"\n'
    (sink,) = config(tmp_path, text).sinks
    assert list(secret_files(sink.settings)) == [Path("/t")]
    assert claimed(sink, tmp_path) == ()
    found = seen(tmp_path, text)[Role.SECRET]
    assert (found.path, found.about, found.there) == ("/t", "influxdb", False)


def test_whoever_has_a_file_open_for_writing_is_found_and_who_only_reads_is_not(tmp_path: Path) -> None:
    loaded = config(tmp_path)
    assert see_writers(loaded) == ()
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "history.db"
    path.touch()
    with path.open("rb"):
        assert [writer.pids for writer in see_writers(loaded)] == [()]
        with path.open("r+b"):
            (writer,) = see_writers(loaded)
    assert (writer.path, writer.pids) == (str(path), (os.getpid(),))
