"""The token as a header: where it is read from, what is refused as one, and that it is not shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from domstat_sinks.influxdb.settings import InfluxdbSettings
from domstat_sinks.sending.authorization import Authorization, read_authorization
from domstat_sinks.token import TOKEN_BYTES_MAX, TokenError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret==\n")
    path.chmod(0o600)
    return path


def read(environ: dict[str, str] | None = None, **settings: Any) -> str:
    found = read_authorization(InfluxdbSettings(**settings), environ or {})
    assert found is not None
    return found.value


def refusal(environ: dict[str, str] | None = None, **settings: Any) -> str:
    with pytest.raises(TokenError) as caught:
        read_authorization(InfluxdbSettings(**settings), environ or {})
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_our_own_is_read_without_the_blanks_around(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read(token_file=str(file)) == "Token secret=="


def test_no_token_is_no_fault() -> None:
    assert read_authorization(InfluxdbSettings(), {}) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o666])
def test_a_file_that_others_may_use_is_refused_with_the_remedy(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert f"(mode {mode:04o}): chmod 0600 {file}" in refusal(token_file=str(file))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_elses_is_refused(file: Path) -> None:
    os.chown(file, 12_345, 12_345)
    assert "is somebody else's (uid 12345)" in refusal(token_file=str(file))


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no regular file" in refusal(token_file=str(tmp_path / "pipe"))
    assert "is no regular file" in refusal(token_file=str(tmp_path))
    assert "No such file" in refusal(token_file=str(tmp_path / "nowhere"))
    assert "cannot be read" in refusal(token_file="a\0b")


def test_what_is_no_token_is_refused(file: Path) -> None:
    for text, fault in {
        b" \n": "empty",
        b"secret" * TOKEN_BYTES_MAX: "too large",
        b"\xff": "no text",
        b"secret\nX-Evil: 1": "one line of plain ASCII",
        "sécret".encode(): "one line of plain ASCII",
    }.items():
        file.write_bytes(text)
        assert fault in refusal(token_file=str(file))


def test_a_password_may_have_any_character(file: Path) -> None:
    file.write_text("me:pässword")
    assert read(token_file=str(file), authorization="basic") == "Basic bWU6cMOkc3N3b3Jk"


def test_a_credential_of_systemds_is_read_whatever_its_mode(file: Path) -> None:
    file.chmod(0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(file.parent)}
    assert read(environ, token_credential="token", authorization="bearer") == "Bearer secret=="


def test_a_credential_that_systemd_did_not_give_is_said_with_the_remedy() -> None:
    assert "LoadCredential=influx:FILE" in refusal(token_credential="influx")


def test_what_is_sent_is_not_shown() -> None:
    secret = Authorization("Token secret")
    assert "secret" not in f"{secret!r} {secret} {[secret]}"
    assert secret == Authorization("Token secret")
    assert secret != Authorization("Token other")
