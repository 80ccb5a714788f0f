"""What is refused of any sink's server before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from domstat.settings import SettingsError, decode
from domstat_sinks.influxdb.settings import InfluxdbSettings
from domstat_sinks.remote_write.settings import RemoteWriteSettings
from domstat_sinks.sending.settings import is_encrypted, is_loopback


@pytest.fixture(params=[InfluxdbSettings, RemoteWriteSettings])
def settings(request: pytest.FixtureRequest) -> type[Struct]:
    found: type[Struct] = request.param
    return found


def refusal(settings: type[Struct], **table: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        decode(table, settings, "sinks[0]")
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8086", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://host:x", "http://a b",
        "http://host?db=x", "http://host#x", "http://ho\nst", "http://höst", "http://[::1",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(settings: type[Struct], url: str) -> None:
    assert 'write it like "http://host:port"' in refusal(settings, url=url)


def test_a_password_in_a_url_is_refused_and_not_shown(settings: type[Struct]) -> None:
    for key in ("url", "proxy"):
        said = refusal(settings, **{key: "http://me:secret@host:8086"})
        assert f"{key} has a user or a password in it" in said
        assert "secret" not in said


def test_a_proxy_is_spoken_to_in_plain_http(settings: type[Struct]) -> None:
    assert "proxy is no URL" in refusal(settings, proxy="https://proxy:3128")


def test_there_is_one_token(settings: type[Struct]) -> None:
    assert "only one token" in refusal(settings, token_file="a", token_credential="b")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\0b"])
def test_a_credential_is_a_name_and_no_path(settings: type[Struct], name: str) -> None:
    assert "token_credential" in refusal(settings, token_credential=name)


@pytest.mark.parametrize("key", ["token_file", "ca_file", "proxy"])
def test_a_file_that_has_no_name_is_refused(settings: type[Struct], key: str) -> None:
    assert key in refusal(settings, **{key: ""})


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8086", True),
        ("http://LOCALHOST.:8086", True),
        ("http://x.localhost", True),
        ("http://127.3.2.1:8086/influx", True),
        ("http://[::1]:8086", True),
        ("http://localhost.example", False),
        ("http://10.0.0.1:8086", False),
        ("http://[2001:db8::1]", False),
    ],
)
def test_this_machine_is_known_without_asking_anybody(url: str, here: bool) -> None:
    assert is_loopback(url) is here


def test_nobody_reads_along_with_https() -> None:
    assert is_encrypted("https://host")
    assert not is_encrypted("http://host")
