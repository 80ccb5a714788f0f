"""What can be set of the remote_write sink, and what of it is refused before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from domstat.settings import SettingsError, decode
from domstat_sinks.remote_write import RemoteWriteSink
from domstat_sinks.remote_write.settings import LABELS_MAX, OWN_LABELS, RemoteWriteSettings


def refusal(**table: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        decode(table, RemoteWriteSettings, "sinks[0]")
    return str(caught.value)


def test_the_defaults_are_a_prometheus_of_this_machine() -> None:
    settings = decode({}, RemoteWriteSettings)
    assert (settings.url, settings.job) == ("http://localhost:9090/api/v1/write", "domstat")
    RemoteWriteSink(settings)


@pytest.mark.parametrize("url", ["http://host:9090", "http://host:9090/"])
def test_a_url_without_its_path_is_refused_with_those_that_there_are(url: str) -> None:
    assert "/api/v1/push" in refusal(url=url)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "é", "__a", "a" * 201, "a\n"])
def test_what_is_no_name_of_a_label_is_refused(name: str) -> None:
    assert "no label can be called" in refusal(labels={name: "x"})


@pytest.mark.parametrize("name", sorted(OWN_LABELS))
def test_domstats_own_labels_are_refused(name: str) -> None:
    assert "no label can be called" in refusal(labels={name: "x"})


@pytest.mark.parametrize("text", ["", "x" * 1025])
def test_a_label_has_a_text_that_is_neither_empty_nor_too_long(text: str) -> None:
    assert "the label a is empty or too long" in refusal(labels={"a": text})


def test_labels_are_few() -> None:
    assert "at most 8" in refusal(labels={f"a{i}": "x" for i in range(LABELS_MAX + 1)})


@pytest.mark.parametrize(("name", "text"), [("a b", "x"), ("", "x"), ("A", "x\r\ny"), ("A", "é"), ("A", "x" * 1025)])
def test_what_is_no_header_is_refused(name: str, text: str) -> None:
    assert "cannot be sent" in refusal(headers={name: text})


def test_a_secret_is_no_header_and_not_shown() -> None:
    said = refusal(headers={"Authorization": "Bearer secret"})
    assert "put what it holds into token_file" in said
    assert "secret" not in said


@pytest.mark.parametrize("name", ["Content-Type", "HOST", "X-Prometheus-Remote-Write-Version", "user-agent"])
def test_headers_of_the_protocol_are_refused(name: str) -> None:
    assert "is the sink's own" in refusal(headers={name: "x"})
