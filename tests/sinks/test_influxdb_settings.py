"""What can be set of the influxdb sink, and what of it is refused before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from domstat.settings import SettingsError, decode
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb.settings import InfluxdbSettings, compresses, is_loopback


def refusal(**table: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        decode(table, InfluxdbSettings, "sinks[0]")
    return str(caught.value)


def test_the_defaults_are_a_server_of_this_machine() -> None:
    settings = decode({}, InfluxdbSettings)
    assert (settings.url, settings.bucket) == ("http://localhost:8086", "domstat")
    InfluxdbSink(settings)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8086", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://host:x", "http://a b",
        "http://host?db=x", "http://host#x", "http://ho\nst", "http://höst", "http://[::1",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: str) -> None:
    assert 'write it like "http://host:port"' in refusal(url=url)


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    for key in ("url", "proxy"):
        said = refusal(**{key: "http://me:secret@host:8086"})
        assert f"{key} has a user or a password in it" in said
        assert "secret" not in said


def test_the_path_that_is_added_anyway_is_refused() -> None:
    assert "leave it out" in refusal(url="http://host:8428/api/v2/write/")


def test_a_proxy_is_spoken_to_in_plain_http() -> None:
    assert "proxy is no URL" in refusal(proxy="https://proxy:3128")


def test_there_is_one_token() -> None:
    assert "only one token" in refusal(token_file="a", token_credential="b")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\0b"])
def test_a_credential_is_a_name_and_no_path(name: str) -> None:
    assert "token_credential" in refusal(token_credential=name)


@pytest.mark.parametrize("label", ["uuid", "host", "time", "_field", "_time"])
def test_a_label_cannot_take_the_place_of_a_tag_that_means_something(label: str) -> None:
    assert f"named {label}" in refusal(labels=["owner", label])


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
def test_compression_is_left_out_where_the_server_is_on_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here
    assert compresses(InfluxdbSettings(url=url)) is not here
    assert compresses(InfluxdbSettings(url=url, gzip="on"))
    assert not compresses(InfluxdbSettings(url=url, gzip="off"))
