"""The bench of sinks: all get the same ticks, and what is said of each is what came of them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from domstat.sink import Retry, find_sinks, is_shipped
from domstat_bench import sinks
from domstat_bench.agent_run import BenchError
from domstat_bench.measure import sampled
from domstat_bench.report import jsonable
from domstat_bench.sink_rigs import RATES, RIGS, Put, Rig
from domstat_bench.workload import Workload
from domstat_bench.workload_batches import Batches
from domstat_bench.workload_kinds import FIELDS
from domstat_lab.errors import LabError
from domstat_lab.postgres import home
from domstat_lab.servers import program

WITH_SERVERS = ("postgres", "remote_write", "influxdb")
ALONE = [name for name in RIGS if name not in WITH_SERVERS]
TICKS = 3


def quiet(_words: str) -> None:
    """Say nothing."""


def needs_servers() -> None:
    try:
        home()
        for name in ("prometheus", "influxd", "nginx"):
            program(name)
    except LabError as error:
        pytest.skip(str(error))


def test_every_sink_that_ships_is_measured() -> None:
    assert {name for name, point in find_sinks().items() if is_shipped(point)} <= set(RIGS)


def test_sinks_are_given_the_same_ticks_and_all_but_the_first_are_measured() -> None:
    measured = sinks.run(2, 1, ALONE, quiet, TICKS)
    assert (measured.ticks, measured.values) == (TICKS, TICKS * 2 * len(FIELDS))
    assert [each.name for each in measured.sinks] == ALONE
    assert {len(each.cpu.values) for each in measured.sinks} == {TICKS - 1}
    assert all(each.mean_ns > 0 for each in measured.sinks)
    assert json.dumps(jsonable(measured))


def test_servers_are_real_and_what_they_cost_is_told_apart() -> None:
    needs_servers()
    measured = sinks.run(2, 1, WITH_SERVERS, quiet, TICKS)
    names = [each.server.name.split()[0] for each in measured.sinks if each.server]
    assert names == ["PostgreSQL", "Prometheus", "InfluxDB"]
    assert all(each.server and each.server.cpu_ns > 0 for each in measured.sinks)
    assert all(each.put.wire and each.put.wire > measured.values for each in measured.sinks)
    assert [each.name for each in measured.sinks if each.put.file is not None] == ["postgres"]


def fed(name: str, folder: Path, ticks: int) -> Put:
    """Give a sink some ticks of two guests."""
    workload = Workload(2)
    batches = Batches(workload.kinds)
    with RIGS[name](folder) as rig:
        for _, batch in zip(range(ticks), batches.of(next(workload.hours(1))), strict=False):
            rig.take(batch)
        rig.close()
        return rig.put()


def test_a_file_has_everything_and_is_counted_whole(tmp_path: Path) -> None:
    put = fed("sqlite", tmp_path / "sqlite", TICKS)
    connection = sqlite3.connect(tmp_path / "sqlite" / "history.db")
    try:
        assert connection.execute("SELECT count(*) FROM head").fetchone() == (TICKS,)
    finally:
        connection.close()
    assert put.wire is None
    assert put.file is not None
    assert put.file >= (tmp_path / "sqlite" / "history.db").stat().st_size


@pytest.mark.parametrize("name", ["parquet", "parquet-1h"])
def test_hours_files_are_made_and_nothing_waits(name: str, tmp_path: Path) -> None:
    fed(name, tmp_path / name, 100)
    (made,) = (tmp_path / name).rglob("hour-*.parquet")
    assert not list((tmp_path / name).rglob("*.rows"))
    assert len(set(pq.read_table(made, columns=["time"], partitioning=None)["time"].to_pylist())) == 100


def test_a_quarter_of_an_hour_has_an_hours_file_made_and_less_has_not(tmp_path: Path) -> None:
    workload = Workload(2)
    batches = Batches(workload.kinds).of(next(workload.hours(1)))
    with RIGS["parquet"](tmp_path / "parquet") as rig:
        for _ in range(89):
            rig.take(next(batches))
        assert not list((tmp_path / "parquet").rglob("hour-*.parquet"))
        rig.take(next(batches))
        assert list((tmp_path / "parquet").rglob("hour-*.parquet"))


def test_what_goes_into_a_pipe_is_counted_and_shown_to_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = (fed("stdout", tmp_path / f"{ticks}", ticks).wire for ticks in (1, 2))
    assert one
    assert two
    assert two > one > 2 * len(FIELDS)
    assert capfd.readouterr().out == ""


def test_a_scrape_shows_the_tick_however_old_it_is(tmp_path: Path) -> None:
    one, two = (fed("prometheus", tmp_path / f"{ticks}", ticks).wire for ticks in (1, 2))
    assert one
    assert two
    assert one > 2 * len(FIELDS)
    assert two > 1.5 * one


def test_a_sink_that_cannot_write_ends_the_bench() -> None:
    def fails(_batches: object) -> None:
        raise Retry("the disk is full")

    batch = next(Batches(["web"]).of(next(Workload(1).hours(1))))
    with pytest.raises(BenchError, match="the disk is full"):
        Rig(fails, lambda: None, Put).take(batch)


def test_the_table_compares_means_with_the_cheapest_sink_and_the_loop() -> None:
    def costs(name: str, *cpu_ms: float, put: Put = Put()) -> sinks.Costs:  # noqa: B008 - it is frozen
        return sinks.Costs(name, sampled([each * 1e6 for each in cpu_ms]), 0, put)

    served = sinks.Costs(
        "b", sampled([30e6, 10e6]), 20_000_000, Put(wire=4000), sinks.Served("a store 1.0", 15_000_000)
    )
    some = [costs(RATES, 1, 1), costs("a", 10, 10, put=Put(file=2000)), served]
    measured = sinks.Figures({}, 2, 3, 1200, 5.0, some)
    of_rates, of_a, of_b = (line.split() for line in str(sinks.table(measured)).splitlines()[5:8])
    assert of_rates == ["rates", "1.00", "1.00", "1.00", "2.50", "0.10", "0.20"]
    assert of_a == ["a", "10.0", "10.0", "10.0", "25.00", "1.00", "2.00", "1.67"]
    assert of_b == ["b", "30.0", "20.0", "30.0", "75.00", "3.00", "6.00", "3.33", "5.00"]
    assert "b: to a store 1.0" in str(sinks.table(measured))
