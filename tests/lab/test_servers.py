"""The stores that other tests write to: they start, keep their data over a restart, and end.

That Prometheus scrapes what its configuration says is seen where it is scraped: it takes five seconds to begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat_lab import processes
from domstat_lab.errors import LabError
from domstat_lab.servers import InfluxDB, Server, VictoriaMetrics, Vmagent

TIME_MS = 1_795_385_704_123
POINT = f"m,t=a f=1i {TIME_MS}000000\n".encode()
QUERY = {"bucket": "domstat", "org": "any", "precision": "ns"}
PATIENCE_S = 60.0


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    with VictoriaMetrics(tmp_path / "victoria") as server:
        yield server


def test_influxdb_takes_what_a_client_of_influxdb_2_writes_and_has_it_after_a_restart(tmp_path: Path) -> None:
    with InfluxDB(tmp_path) as server:
        server.front.request("/api/v2/write", POINT, **QUERY)
        url = server.url
        server.stop()
        assert server.pid == 0
        server.start()
        assert server.url == url
        assert server.points("m") == [{"time": TIME_MS * 1_000_000, "t": "a", "f": 1}]


def test_victoriametrics_has_what_was_written_after_a_restart(victoria: VictoriaMetrics) -> None:
    victoria.request("/api/v2/write", POINT, **QUERY)
    victoria.stop()
    victoria.start()
    assert victoria.export() == [
        {"metric": {"__name__": "m_f", "t": "a"}, "values": [1], "timestamps": [TIME_MS]},
    ]


def test_vmagent_writes_on(tmp_path: Path, victoria: VictoriaMetrics) -> None:
    with Vmagent(tmp_path / "agent", f"{victoria.url}/api/v1/write") as server:
        server.request("/api/v2/write", POINT, **QUERY)
        processes.wait_until(lambda: bool(victoria.export()), timeout_s=PATIENCE_S, otherwise="nothing was written on")


def test_a_server_that_ends_while_starting_says_why(tmp_path: Path) -> None:
    server = VictoriaMetrics(tmp_path, arguments=["-no.such.flag"])
    with pytest.raises(LabError, match=r"no\.such\.flag"):
        server.start()
    assert server.pid == 0


@pytest.mark.parametrize("end", [Server.stop, Server.kill], ids=["stopped", "killed"])
def test_what_was_started_ends_even_when_it_hangs(victoria: VictoriaMetrics, end: object) -> None:
    pid = victoria.pid
    victoria.hang()
    assert callable(end)
    end(victoria)
    assert not processes.is_running(pid)
