"""Grafana's dashboards: the files are what they are made of, and each of their queries has an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain

import pytest
from msgspec.structs import replace

import dashboards
from dashboards import STORES, Store
from domstat.deliver.account import COLLECT as DELIVERY
from domstat.model import Batch, Figures, Kind, Record, Value
from domstat.reporting import COLLECT as CAPACITY
from domstat_lab import processes
from domstat_lab.servers import InfluxDB
from panels import DASHBOARDS, Dashboard, Panel
from records import HOST, batch, one_of_each, other_record
from told import Told

from .test_prometheus import Scraped, scraping

PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
GROWTH = 1_000_000
"""By how much every counter grows a tick."""


def title(one: tuple[Dashboard, Panel]) -> str:
    return f"{one[0].title}: {one[1].title}"


def delivery(time_ms: int) -> Record:
    figures: dict[str, Value] = {
        f"agent.sink.{what}[influx]": 1 for what in ("lag.time", "pending", "rejected", "good", "dropped.size")
    }
    return other_record(Kind.AGENT, collect=DELIVERY, time_ms=time_ms, params=figures | {"agent.journal.bytes": 1})


def capacity(time_ms: int) -> Record:
    figures: dict[str, Value] = {
        f"capacity.{resource}.{what}": 1.5
        for resource in ("cpu", "memory", "storage")
        for what in ("runway.conservative", "risk.days30", "remaining", "peak", "usable")
    }
    return other_record(Kind.AGENT, collect=CAPACITY, time_ms=time_ms, params=figures)


def grown(record: Record, by: int, time_ms: int) -> Record:
    """Return a record some ticks later: whatever is whole has grown."""
    figures = record.figures
    params = {
        key: value + by if type(value) is int and value > GROWTH else value for key, value in figures.params.items()
    }
    return replace(record, time_ms=time_ms, figures=Figures(params, figures.rates, figures.derived))


def tick(number: int, time_ms: int) -> Iterator[Batch]:
    records = [grown(record, number * GROWTH, time_ms) for record in one_of_each().values()]
    yield batch(*records, time_ms=time_ms)
    yield batch(delivery(time_ms), collect=DELIVERY, time_ms=time_ms)
    yield batch(capacity(time_ms), collect=CAPACITY, time_ms=time_ms)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.title)
def test_the_files_are_what_they_are_made_of(dashboard: Dashboard, store: Store) -> None:
    path = dashboards.path_of(dashboard, store)
    assert path.read_text() == dashboards.text_of(dashboard, store), "run python packaging/grafana/dashboards.py"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.title)
def test_panels_stand_beside_each_other(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards.made(dashboard, "prometheus")["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= dashboards.WIDTH
        taken |= cells


@pytest.fixture(scope="module")
def scraped() -> Iterator[Scraped]:
    with scraping("200ms") as one:
        for number in range(3):
            one.write(*tick(number, time.time_ns() // 1_000_000))
        yield one


@pytest.mark.parametrize("one", PANELS, ids=title)
def test_prometheus_answers_every_query(scraped: Scraped, one: tuple[Dashboard, Panel]) -> None:
    dashboard, panel = one
    text = dashboards.query(panel, dashboard.variables, "prometheus")
    asked = text.replace("$__rate_interval", "1m").replace("$host", ".*").replace("$domain", ".*")
    processes.wait_until(lambda: bool(scraped.server.query(asked)), timeout_s=30, otherwise=f"{asked} has no answer")


@pytest.fixture
def written(influxdb: InfluxDB, opened: Callable[..., Told]) -> InfluxDB:
    sink = opened(influxdb.url, bucket=influxdb.database)
    now_ms = time.time_ns() // 1_000_000
    sink.write(*chain.from_iterable(tick(number, now_ms - 10_000 * (3 - number)) for number in range(3)))
    return influxdb


def test_influxdb_answers_every_query(written: InfluxDB) -> None:
    silent = []
    for dashboard, panel in PANELS:
        asked = dashboards.query(panel, dashboard.variables, "influxdb")
        for name, value in (
            ("$timeFilter", "time > now() - 1h"),
            ("$__interval", "10s"),
            ("$host", ".*"),
            ("$domain", ".*"),
        ):
            asked = asked.replace(name, value)
        if not written.query(asked):
            silent.append(f"{title((dashboard, panel))}: {asked}")
    assert silent == []


def test_variables_have_values(scraped: Scraped, written: InfluxDB) -> None:
    assert {found["metric"]["host"] for found in scraped.server.query("domstat_host_cpus")} == {HOST}
    (series, *_) = written.query('SHOW TAG VALUES WITH KEY = "domain" WHERE host =~ /^.*$/')
    assert ["domain", "web-1"] in series["values"]
