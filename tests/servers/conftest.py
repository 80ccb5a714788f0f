"""Real stores on loopback, one of each for all tests here, and sinks that write to them; and a real browser."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat_lab import browser
from domstat_lab.browser import Chromium
from domstat_lab.errors import LabError
from domstat_lab.servers import InfluxDB, VictoriaMetrics, program
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb.settings import InfluxdbSettings
from told import Told


def _needs(*names: str) -> None:
    try:
        for name in names:
            program(name)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def _influxdb() -> Iterator[InfluxDB]:
    _needs("influxd", "nginx")
    with tempfile.TemporaryDirectory(prefix="domstat-") as folder, InfluxDB(Path(folder)) as server:
        yield server


@pytest.fixture(scope="package")
def chromium() -> Iterator[Chromium]:
    try:
        browser.program()
    except LabError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="domstat-") as folder, Chromium(Path(folder)) as started:
        yield started


_numbers = itertools.count()


@pytest.fixture
def database(_influxdb: InfluxDB) -> Iterator[str]:
    """A database that is the test's own."""
    name = f"test{next(_numbers)}"
    _influxdb.query(f'CREATE DATABASE "{name}"', change=True)
    yield name
    _influxdb.query(f'DROP DATABASE "{name}"', change=True)


@pytest.fixture
def influxdb(_influxdb: InfluxDB, database: str) -> InfluxDB:
    _influxdb.database = database
    return _influxdb


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    _needs("victoria-metrics")
    with VictoriaMetrics(tmp_path / "victoria") as server:
        yield server


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Told]]:
    """Open an influxdb sink to a server."""
    sinks: list[Told] = []

    def make(url: str, **settings: Any) -> Told:
        sinks.append(Told(InfluxdbSink(InfluxdbSettings(url=url, **settings)), tmp_path))
        sinks[-1].open()
        return sinks[-1]

    yield make
    for one in sinks:
        one.sink.close()
