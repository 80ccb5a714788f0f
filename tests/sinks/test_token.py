"""Secrets: what is refused is called by its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat_sinks.token import TokenError, read_token


def test_what_is_not_configured_is_none() -> None:
    assert read_token(None, None) is None


def test_a_file_is_read_without_the_blanks_around(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" pass word \n")
    path.chmod(0o600)
    assert read_token(str(path), None) == "pass word"


def test_errors_call_it_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hidden")
    path.chmod(0o644)
    with pytest.raises(TokenError, match=r"the password's file .* chmod 0600") as caught:
        read_token(str(path), None, "password")
    assert "hidden" not in str(caught.value)
    with pytest.raises(TokenError, match="password_credential is set, and systemd gave no credentials"):
        read_token(None, "pg", "password", {})


def test_a_credential_is_in_systemds_folder(tmp_path: Path) -> None:
    (tmp_path / "pg").write_text("secret")
    assert read_token(None, "pg", "password", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "secret"
