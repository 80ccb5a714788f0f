"""The influxdb sink at real servers: InfluxDB 1.6 behind nginx's /api/v2/write, VictoriaMetrics, vmagent."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from domstat.model import Kind, Record, Value
from domstat.sink import Retry
from domstat_lab import processes
from domstat_lab.servers import InfluxDB, VictoriaMetrics, Vmagent
from records import TIME_MS, UUID, agent_record, batch, guest_record, one_of_each
from told import Told

TIME_NS = TIME_MS * 1_000_000
Opened = Callable[..., Told]


def wanted(record: Record) -> dict[str, Value]:
    """Return a record's values by key, rates under their own names."""
    rates = {re.sub(r"(?=\[|$)", ".rate", key, count=1): value for key, value in record.rates.items()}
    return {**record.params, **rates, **record.derived}


def stored_in_influxdb(server: InfluxDB, uuid: str = UUID) -> dict[str, Value]:
    """Read all of a guest's values back, by key."""
    found: dict[str, Value] = {}
    names = [row[0] for series in server.query("SHOW MEASUREMENTS") for row in series["values"]]
    for name in names:
        for point in server.points(name):
            if point.get("uuid") == uuid:
                assert point["time"] == TIME_NS
                tags = {"time", "uuid", "host", "domain", "device", "collect"}
                suffix = f"[{point['device']}]" if point.get("device") else ""
                fields = {key: value for key, value in point.items() if key not in tags and value is not None}
                found |= {key + suffix: value for key, value in fields.items()}
    return found


def stored_in_victoria(server: VictoriaMetrics, uuid: str = UUID) -> dict[str, list[Value]]:
    """Read all of a guest's values back, by key: all that are stored for one moment."""
    found: dict[str, list[Value]] = {}
    for series in server.export(f'{{uuid="{uuid}"}}'):
        labels = series["metric"]
        assert set(series["timestamps"]) == {TIME_MS}
        key = re.sub(r"^domstat_[a-z]+_", "", labels["__name__"])
        found[f"{key}[{labels['device']}]" if "device" in labels else key] = series["values"]
    return found


@pytest.mark.parametrize("gzip", ["on", "off"])
def test_influxdb_has_every_value_of_a_tick_with_its_type(influxdb: InfluxDB, opened: Opened, gzip: str) -> None:
    records = one_of_each()
    one = opened(influxdb.url, bucket=influxdb.database, gzip=gzip)
    assert one.write(batch(*records.values())) == []
    of_the_event = {"count", "reason", "type"}
    found = {key: value for key, value in stored_in_influxdb(influxdb).items() if key not in of_the_event}
    assert found == wanted(records[Kind.GUEST])
    (keys,) = influxdb.query('SHOW FIELD KEYS FROM "domstat_cpu"')
    types = dict(keys["values"])
    assert types["cpu.time"] == "integer"
    assert {types[name] for name in types if name.endswith(".rate")} == {"float"}


def test_every_kind_of_record_has_its_measurement_in_influxdb(influxdb: InfluxDB, opened: Opened) -> None:
    assert opened(influxdb.url, bucket=influxdb.database).write(batch(*one_of_each().values())) == []
    for kind in Kind:
        if kind is not Kind.GUEST:
            assert len(influxdb.points(f"domstat_{kind}")) == 1


@pytest.mark.parametrize("gzip", ["on", "off"])
def test_victoriametrics_has_every_value_of_a_tick(victoria: VictoriaMetrics, opened: Opened, gzip: str) -> None:
    record = guest_record()
    assert opened(victoria.url, gzip=gzip).write(batch(record)) == []
    found = stored_in_victoria(victoria)
    assert found.keys() == wanted(record).keys()
    for key, value in wanted(record).items():
        assert found[key] == [pytest.approx(float(value), rel=1e-12)], "it keeps floats, of fewer digits than ours"


def test_victoriametrics_cluster_path_is_taken(victoria: VictoriaMetrics, opened: Opened) -> None:
    assert opened(f"{victoria.url}/influx").write() == []
    assert stored_in_victoria(victoria)


def test_vmagent_writes_on(victoria: VictoriaMetrics, opened: Opened, tmp_path: Path) -> None:
    with Vmagent(tmp_path / "agent", f"{victoria.url}/api/v1/write") as agent:
        assert opened(agent.url).write() == []
        processes.wait_until(lambda: bool(victoria.export()), timeout_s=60, otherwise="nothing was written on")
        assert stored_in_victoria(victoria).keys() == wanted(guest_record()).keys()


def test_what_is_written_again_replaces_itself_in_influxdb_and_not_in_victoriametrics(
    influxdb: InfluxDB, victoria: VictoriaMetrics, opened: Opened
) -> None:
    for _ in range(3):
        opened(influxdb.url, bucket=influxdb.database).write()
        opened(victoria.url).write()
    assert len(influxdb.points("domstat_cpu")) == 1
    assert [len(values) for values in stored_in_victoria(victoria).values()] == [3] * len(wanted(guest_record()))


def test_victoriametrics_that_is_told_to_has_it_once(opened: Opened, tmp_path: Path, victoria: VictoriaMetrics) -> None:
    with VictoriaMetrics(tmp_path / "other", arguments=["-dedup.minScrapeInterval=1ms"]) as server:
        for _ in range(3):
            opened(server.url).write()
        assert {len(values) for values in stored_in_victoria(server).values()} == {1}


def test_one_point_of_another_type_among_1000_is_rejected_and_not_tried_again(
    influxdb: InfluxDB, opened: Opened
) -> None:
    one = opened(influxdb.url, bucket=influxdb.database)
    one.write(batch(guest_record("first", uuid="first", params={"cpu.new": 1}, first=True)))
    guests = [guest_record(f"g{i}", uuid=f"u{i}", params={"cpu.new": i}, first=True) for i in range(1000)]
    guests[437] = guest_record("bad", uuid="bad", params={"cpu.new": 0.5}, first=True)
    ((record, reason),) = one.write(batch(*guests))
    assert record is guests[437]
    assert 'input field "cpu.new" on measurement "domstat_cpu" is type float, already exists as type integer' in reason
    stored = {point["uuid"] for point in influxdb.points("domstat_cpu")}
    assert stored == {"first", *(f"u{i}" for i in range(1000) if i != 437)}


def test_of_a_record_with_one_bad_line_the_others_are_stored(influxdb: InfluxDB, opened: Opened) -> None:
    one = opened(influxdb.url, bucket=influxdb.database)
    one.write(batch(guest_record("first", uuid="first", params={"balloon.new": 1}, first=True)))
    half = guest_record("half bad", uuid="half", extra={"balloon.new": 0.5})
    assert one.write(batch(guest_record(), half)) == []
    ((record, reason),) = one.parts
    assert record is half
    assert reason.startswith("domstat_balloon,domain=half\\ bad,")
    good, bad = stored_in_influxdb(influxdb), stored_in_influxdb(influxdb, "half")
    assert bad.keys() == {key for key in good if not key.startswith(("balloon.",))}


def test_a_database_that_is_missing_is_waited_for(influxdb: InfluxDB, opened: Opened) -> None:
    one = opened(influxdb.url, bucket="later")
    with pytest.raises(Retry, match="create it"):
        one.write()
    influxdb.query('CREATE DATABASE "later"', change=True)
    assert one.write() == []
    influxdb.query('DROP DATABASE "later"', change=True)


def test_a_server_that_was_away_is_written_to_when_it_is_back(victoria: VictoriaMetrics, opened: Opened) -> None:
    one = opened(victoria.url)
    one.write()
    victoria.kill()
    with pytest.raises(Retry):
        one.write()
    victoria.start()
    assert one.write() == []


def test_a_server_that_hangs_is_given_up_and_has_everything_once_it_goes_on(influxdb: InfluxDB, opened: Opened) -> None:
    one = opened(influxdb.url, bucket=influxdb.database, timeout=0.3)
    influxdb.influxd.hang()
    try:
        with pytest.raises(Retry, match="no whole answer"):
            one.write()
    finally:
        influxdb.influxd.resume()
    slow = opened(influxdb.url, bucket=influxdb.database)
    assert slow.write() == []
    assert stored_in_influxdb(influxdb) == wanted(guest_record())


def test_a_front_without_its_server_is_for_later(influxdb: InfluxDB, opened: Opened) -> None:
    one = opened(influxdb.url, bucket=influxdb.database)
    influxdb.influxd.stop()
    try:
        with pytest.raises(Retry, match="502"):
            one.write()
    finally:
        influxdb.influxd.start()
    assert one.write() == []


def test_what_the_agent_says_of_itself_is_by_stream(influxdb: InfluxDB, opened: Opened) -> None:
    one = opened(influxdb.url, bucket=influxdb.database)
    one.write(batch(agent_record(), agent_record(collect="slow")))
    assert {point["collect"] for point in influxdb.points("domstat_agent")} == {"default", "slow"}
