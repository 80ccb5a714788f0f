"""What is lost when a store is away: domstat loses nothing, and what is lost is counted."""

from __future__ import annotations

import pytest

from domstat_bench import outage, outage_writer
from domstat_lab.errors import LabError
from domstat_lab.servers import program


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "BEFORE_S", 1.0)
    try:
        program("victoria-metrics")
    except LabError as error:
        pytest.skip(str(error))


def test_domstat_loses_nothing_although_it_is_killed_while_the_store_is_away() -> None:
    figures = outage.run("domstat", seconds=3.0, kills=1, seed=1)
    assert figures.taken > 40 * outage_writer.GUESTS
    assert figures.lost == 0


def test_what_batching_in_memory_loses_is_counted() -> None:
    figures = outage.run("client", seconds=3.0, kills=1, seed=1)
    assert 0 < figures.lost < figures.taken
    assert "influxdb-client" in str(outage.table([figures]).rows)
