"""The prometheus sink keeps the contract: what it was given last is what a scrape says."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from domstat.catalog import DERIVED
from domstat.forms import describe
from domstat.model import Kind, key_of
from domstat.testing import Keeps, SinkContract, Store, Stored
from domstat.testing.records import FIELDS
from domstat_sinks.prometheus import PrometheusSink
from domstat_sinks.prometheus.names import derived_of, family_of, label_text
from scraping import families

WAIT_S = 60.0
BY_NAME = {family_of(field).name: field for field in FIELDS} | {derived_of(name).name: name for name in DERIVED}


class Endpoint:
    """What is scraped; nothing while nobody listens."""

    sink: ClassVar[type[Any]] = PrometheusSink

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.settings = {"listen": f"127.0.0.1:{port}", "stale_after": "1h"}
        self._url = f"http://127.0.0.1:{port}/metrics"

    def read(self) -> Iterator[Stored]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._url, timeout=WAIT_S) as found:
                text = found.read().decode()
        except urllib.error.URLError:
            return
        for name, family in families(text).items():
            field = BY_NAME.get(name)
            if field is not None:
                yield from (piece(field, sample.labels, sample.value) for sample in family.samples)

    def hopeless(self) -> Mapping[str, Any]:
        return {"listen": "nowhere"}


def piece(field: str, labels: dict[str, str], value: float) -> Stored:
    word = field.partition(".")[0]
    kind = Kind.GUEST if "uuid" in labels else word if word in {Kind.HOST, Kind.POOL, Kind.AGENT} else "weather"
    about = labels.get("uuid", labels.get("pool", ""))
    key = key_of(field, labels.get("device"))
    return Stored(
        host=labels["host"],
        kind=kind,
        subject=about,
        collect=labels.get("collect"),
        name=labels.get("domain"),
        values={key: value / describe(field).scale},
    )


class TestPrometheusSink(SinkContract):
    keeps = Keeps(
        latest=True,
        durable=False,
        reports=False,
        kinds=frozenset({Kind.GUEST, Kind.HOST, Kind.POOL, Kind.AGENT}),
        texts=False,
        rates=False,
        remarks=False,
        tolerance=1e-14,
        text=lambda text: label_text(text).decode(),
    )
    start_ms = time.time_ns() // 1_000_000 // 10_000 * 10_000  # what is old is not shown

    @pytest.fixture
    def store(self) -> Store:
        return Endpoint()
