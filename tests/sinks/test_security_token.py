"""Files of secrets as somebody may have prepared them: links, devices, folders that others may write."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from domstat_sinks.token import TokenError, read_token

SECRET = "s3cret"
STRANGER = 65_534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "token"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(TokenError) as caught:
        read_token(str(path), None)
    said = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert SECRET not in said
    return said


def test_a_link_is_as_good_as_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_token(str(link), None) == SECRET
    file.chmod(0o640)
    assert "mode 0640" in refusal(link)
    file.unlink()
    assert "cannot be read: No such file" in refusal(link)


@as_root
def test_a_link_to_what_is_somebody_elses_is_refused(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    os.chown(file, STRANGER, -1)
    assert f"is somebody else's (uid {STRANGER})" in refusal(link)


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    assert "cannot be read" in refusal(tmp_path / "link")


@pytest.mark.parametrize("what", ["folder", "fifo", "socket", "/dev/zero", "/dev/null"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, what: str) -> None:
    path = tmp_path / "token" if not what.startswith("/") else Path(what)
    if what == "folder":
        path.mkdir(mode=0o700)
    elif what == "fifo":
        os.mkfifo(path, 0o600)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    assert "no regular file" in refusal(path) or "cannot be read" in refusal(path)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o660, 0o666, 0o777, 0o440])
def test_a_file_that_anybody_else_may_use_at_all_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert f"mode {mode:04o}): chmod 0600 {file}" in refusal(file)


def test_a_folder_in_which_others_may_put_another_file_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    assert f"is in a place of others: everybody may write {file.parent}" in refusal(file)
    file.parent.chmod(0o1777)  # as /tmp, where nobody takes away what is another's
    assert read_token(str(file), None) == SECRET


def test_a_credential_is_looked_for_in_systemds_folder_and_nowhere_else(file: Path, tmp_path: Path) -> None:
    given = {"CREDENTIALS_DIRECTORY": str(file.parent)}
    assert read_token(None, "token", environ=given) == SECRET
    for name in ("..", "."):
        with pytest.raises(TokenError, match="no regular file"):
            read_token(None, name, environ=given)
    with pytest.raises(TokenError, match="systemd gave no credentials"):
        read_token(str(file), "token", environ={})
