"""Settings: where to write, and no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domstat.settings import SettingsError, decode
from domstat_sinks.parquet.settings import ParquetSettings, folder_of, scheme_of


def test_without_any_there_is_a_folder_in_the_state_directory() -> None:
    settings = decode({}, ParquetSettings)
    assert scheme_of(settings.path) == ""
    assert folder_of(settings.path, Path("/var/lib/domstat")) == Path("/var/lib/domstat/parquet")


@pytest.mark.parametrize("path", ["/srv/d s", "file:///srv/d s", "file:///srv/d%20s", "local:///srv/d s"])
def test_a_folder_may_be_a_url(path: str) -> None:
    assert scheme_of(path) == ""
    assert folder_of(path, Path("/var")) == Path("/srv/d s")


def test_an_object_store_is_one() -> None:
    options = {"client_kwargs": {"endpoint_url": "http://minio:9000"}, "anon": False}
    settings = decode({"path": "s3://bucket/domstat", "every": "1h", "storage_options": options}, ParquetSettings)
    assert scheme_of(settings.path) == "s3"
    assert settings.storage_options == options


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"path": "sftp://backup/domstat"}, "half written"),
        ({"path": "s3://bucket/*"}, "a pattern"),
        ({"path": "s3://bucket/a::zip://b"}, "a chain"),
        ({"path": "s3://me:secret@bucket/a"}, "a password"),
        ({"path": ""}, "length >= 1"),
        ({"every": "1s"}, "every"),
        ({"every": "2h"}, "every"),
        ({"path": "s3://b", "storage_options": {"secret": "x"}}, "storage_options.secret"),
        ({"path": "s3://b", "storage_options": {"client_kwargs": {"aws_access_key_id": "x"}}}, "aws_access_key_id"),
        ({"storage_options": {"anon": True}}, "path is a folder"),
        ({"compaction": True}, "unknown key"),
    ],
)
def test_what_is_wrong_is_said(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        decode(raw, ParquetSettings)


def test_a_secret_is_not_shown_with_what_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        decode({"path": "s3://b", "storage_options": {"secret": "hunter2"}}, ParquetSettings)
    assert "hunter2" not in str(caught.value)
