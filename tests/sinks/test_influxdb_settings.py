"""What can be set of the influxdb sink, and what of it is refused before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from domstat.settings import SettingsError, decode
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb.settings import InfluxdbSettings, compresses


def refusal(**table: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        decode(table, InfluxdbSettings, "sinks[0]")
    return str(caught.value)


def test_the_defaults_are_a_server_of_this_machine() -> None:
    settings = decode({}, InfluxdbSettings)
    assert (settings.url, settings.bucket) == ("http://localhost:8086", "domstat")
    InfluxdbSink(settings)


def test_the_path_that_is_added_anyway_is_refused() -> None:
    assert "leave it out" in refusal(url="http://host:8428/api/v2/write/")


@pytest.mark.parametrize("label", ["uuid", "host", "time", "_field", "_time"])
def test_a_label_cannot_take_the_place_of_a_tag_that_means_something(label: str) -> None:
    assert f"named {label}" in refusal(labels=["owner", label])


@pytest.mark.parametrize(("url", "here"), [("http://localhost:8086", True), ("http://10.0.0.1:8086", False)])
def test_compression_is_left_out_where_the_server_is_on_this_machine(url: str, here: bool) -> None:
    assert compresses(InfluxdbSettings(url=url)) is not here
    assert compresses(InfluxdbSettings(url=url, gzip="on"))
    assert not compresses(InfluxdbSettings(url=url, gzip="off"))
