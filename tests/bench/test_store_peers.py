"""What other stores are fed is what ours has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domstat_bench import store_peers
from domstat_bench.workload import Hour, Workload
from domstat_bench.workload_batches import keys_of, mac_of, uuid_of
from domstat_bench.workload_kinds import AT, FIELDS
from domstat_lab.errors import LabError
from domstat_lab.servers import program

BEGIN_MS = Workload(1).begin_ms


@pytest.fixture(scope="module")
def hours() -> list[Hour]:
    return list(Workload(2).hours(1))


def needs(name: str) -> None:
    try:
        program(name)
    except LabError as error:
        pytest.skip(str(error))


def test_a_guests_points_have_every_value_once_under_its_own_name() -> None:
    text = store_peers.template_of(1) % (*range(len(FIELDS)),)
    found = re.findall(r"[ ,]([a-z.A-Z_-]+)=(\d+)i", text)
    assert [field for field, _ in found] == [key.partition("[")[0] for key in keys_of(1)]
    assert [int(value) for _, value in found] == list(range(len(FIELDS)))
    assert text.splitlines()[-1].startswith(f"domstat_block,uuid={uuid_of(1)},device=vda block.rd.reqs=")
    assert all(line.endswith(" @") for line in text.splitlines())


def test_a_series_is_named_and_labelled_as_prometheus_can() -> None:
    name, labels = store_peers.labels_of(3, f"net.rx.bytes[{mac_of(3)}]")
    assert (name, labels) == ("net_rx_bytes", {"uuid": uuid_of(3), "device": mac_of(3)})
    assert store_peers.labels_of(3, "balloon.last-update") == ("balloon_last_update", {"uuid": uuid_of(3)})


def test_whole_seconds_are_the_ticks_own_and_exact_ones_the_stamps(hours: list[Hour]) -> None:
    whole = store_peers.stamps_of(hours[0], exact=False)
    assert whole == [BEGIN_MS + 10_000 * tick for tick in range(360)]
    assert store_peers.stamps_of(hours[0], exact=True) == hours[0].ticks.time_ms.tolist()


def test_what_is_reserved_and_never_written_takes_no_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "full").write_bytes(b"x" * 8192)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 24)
    assert 8192 <= store_peers.disk_bytes(tmp_path) < 1 << 20


def test_victoriametrics_gets_the_very_values(tmp_path: Path, hours: list[Hour]) -> None:
    needs("victoria-metrics")
    with store_peers.victoria(tmp_path, exact=True) as peer:
        peer.feed(hours[0])
        (series,) = peer.server.export(f'{{__name__="cpu_time",uuid="{uuid_of(1)}"}}')
        everything = peer.server.export()
    assert series["values"] == hours[0].values[AT["cpu.time"], 1].tolist()
    assert series["timestamps"] == hours[0].ticks.time_ms.tolist()
    assert len(everything) == 2 * len(FIELDS)


def test_influxdb_gets_the_very_values(tmp_path: Path, hours: list[Hour]) -> None:
    needs("influxd")
    with store_peers.influx(tmp_path, exact=True) as peer:
        peer.feed(hours[0])
        points = peer.server.points("domstat_net")
    found = [point for point in points if point["uuid"] == uuid_of(1) and point["device"] == mac_of(1)]
    assert [point["net.rx.bytes"] for point in found] == hours[0].values[AT["net.rx.bytes[nic]"], 1].tolist()
    assert [point["time"] // 10**6 for point in found] == hours[0].ticks.time_ms.tolist()


def test_prometheus_gets_the_very_values(tmp_path: Path, hours: list[Hour]) -> None:
    needs("promtool")
    blocks = store_peers.PrometheusBlocks(tmp_path, exact=True)
    blocks.feed(hours[0])
    kept = blocks.settle()
    assert kept.samples == hours[0].samples
    assert kept.bytes_a_sample > 0
    at = str(BEGIN_MS // 1000 + 3600)
    with store_peers.prometheus_over(blocks) as server:
        found = server.ask("/api/v1/query", query=f'cpu_time{{uuid="{uuid_of(1)}"}}[1h]', time=at)["data"]["result"]
    assert [int(value) for _, value in found[0]["values"]] == hours[0].values[AT["cpu.time"], 1].tolist()
