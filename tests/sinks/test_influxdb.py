"""The influxdb sink beside a server that takes what it is sent, or refuses some of it in one server's words."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domstat.sink import Fatal, Retry
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb import sink as module
from domstat_sinks.influxdb.settings import InfluxdbSettings
from records import TIME_MS, agent_record, batch, guest_record, host_record, one_of_each, sleeper_record
from scripted import Engine, Reply, Request, ScriptedServer, influxdb_1, influxdb_2_parsing, influxdb_3, said
from told import Told

ENGINES = (influxdb_1, influxdb_2_parsing, influxdb_3)


def sink_of(folder: Path, **settings: Any) -> Told:
    return Told(InfluxdbSink(InfluxdbSettings(**settings)), folder)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def told(server: ScriptedServer, tmp_path: Path) -> Iterator[Callable[..., Told]]:
    """Open a sink to the server."""
    opened: list[Told] = []

    def make(**settings: Any) -> Told:
        opened.append(sink_of(tmp_path, **({"url": server.url} | settings)))
        opened[-1].open()
        return opened[-1]

    yield make
    for one in opened:
        one.sink.close()


def heads(lines: Sequence[bytes]) -> set[bytes]:
    return {line.partition(b" ")[0] for line in lines}


def about(server: ScriptedServer, name: str) -> set[bytes]:
    """Return which measurements of a guest the server has."""
    return {key.partition(b",")[0] for key in server.points if f"domain={name},".encode() in key}


def test_batches_may_come_in_any_order() -> None:
    assert InfluxdbSink.any_order is True


def test_loading_the_sink_loads_no_client() -> None:
    code = "import sys, domstat_sinks.influxdb; print('influxdb_client' in sys.modules, 'urllib3' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_everything_of_a_tick_is_stored_in_one_request(told: Callable[..., Told], server: ScriptedServer) -> None:
    rejected = told(bucket="b", org="o").write(batch(*one_of_each().values()))
    assert rejected == []
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/v2/write")
    assert request.query == {"org": "o", "bucket": "b", "precision": "ns"}
    measurements = {key.partition(b",")[0] for key in server.points}
    assert measurements >= {b"domstat_cpu", b"domstat_host", b"domstat_agent", b"domstat_event", b"domstat_gap"}
    assert all(key.endswith(b"000000") for key in server.points), "times are nanoseconds"


def test_a_path_in_front_of_the_servers_own_is_kept(told: Callable[..., Told], server: ScriptedServer) -> None:
    told(url=f"{server.url}/insert/0/influx/").write()
    assert server.requests[0].path == "/insert/0/influx/api/v2/write"


def test_one_connection_serves_all_requests(told: Callable[..., Told], server: ScriptedServer) -> None:
    one = told()
    for _ in range(3):
        one.write()
    assert (len(server.requests), server.connections) == (3, 1)


def test_bodies_are_compressed_where_that_saves_something(told: Callable[..., Told], server: ScriptedServer) -> None:
    for choice in ("on", "off", "auto"):
        told(gzip=choice).write()
    on, off, auto = server.requests
    assert on.headers["content-encoding"] == "gzip"
    assert gzip.decompress(on.body) == off.body
    assert "content-encoding" not in off.headers
    assert auto.body == off.body, "the server is on this machine"


def test_what_is_too_much_for_one_request_goes_in_several(
    told: Callable[..., Told], server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_BYTES_MAX", 20_000)
    guests = [guest_record(f"g{i}", uuid=f"u{i}") for i in range(10)]
    told().write(batch(*guests), batch(host_record()))
    assert len(server.requests) > 1
    assert all(len(request.body) <= 20_000 for request in server.requests)
    assert all(about(server, f"g{i}") for i in range(10))


def test_no_request_is_made_for_nothing(told: Callable[..., Told], server: ScriptedServer) -> None:
    one = told()
    one.write(batch(guest_record(params={}, rates={}, derived={})))
    one.sink.write([])
    assert server.requests == []


def test_what_cannot_be_written_is_left_out_and_said_once_it_is_stored(
    told: Callable[..., Told], server: ScriptedServer
) -> None:
    one = told()
    record = guest_record(extra={"balloon.rss": 2**63, "new.gauge": float("nan")})
    server.script = [Reply(503)]
    with pytest.raises(Retry):
        one.write(batch(record))
    assert one.parts == [], "it comes again"
    assert one.write(batch(record)) == []
    assert [reason.partition(":")[0] for _, reason in one.parts] == ["balloon.rss", "new.gauge"]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_one_bad_record_is_rejected_and_999_are_stored(
    told: Callable[..., Told], server: ScriptedServer, engine: Callable[..., Engine]
) -> None:
    server.engine = engine(server, lambda line: b"uuid=bad" in line)
    guests = [guest_record(f"g{i}", uuid=f"u{i}", params={"cpu.time": i}, first=True) for i in range(1000)]
    guests[437] = guest_record("bad", uuid="bad", params={"cpu.time": 1}, first=True)
    ((record, reason),) = told().write(batch(*guests))
    assert record is guests[437]
    assert "no good" in reason or "already exists as type float" in reason or "missing fields" in reason
    assert len(server.points) == 999
    assert len(server.requests) <= 25, "halving a thousand takes ten steps of two"


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_of_a_record_only_the_bad_lines_are_left_out(
    told: Callable[..., Told], server: ScriptedServer, engine: Callable[..., Engine]
) -> None:
    server.engine = engine(server, lambda line: line.startswith(b"domstat_balloon,") and b"domain=half\\ bad" in line)
    good, bad = guest_record("good", uuid="1"), guest_record("half bad", uuid="2")
    one = told()
    assert one.write(batch(good, bad)) == []
    ((record, reason),) = one.parts
    assert record is bad
    assert reason.startswith("domstat_balloon,domain=half\\ bad,host=kvm1,uuid=2: ")
    assert b"domstat_balloon" in about(server, "good")
    assert about(server, "half\\ bad") == about(server, "good") - {b"domstat_balloon"}


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_a_measurement_that_is_refused_of_every_guest_costs_few_requests(
    told: Callable[..., Told], server: ScriptedServer, engine: Callable[..., Engine]
) -> None:
    server.engine = engine(server, lambda line: line.startswith(b"domstat_balloon,"))
    guests = [guest_record(f"g{i}", uuid=f"u{i}") for i in range(50)]
    one = told()
    assert one.write(batch(*guests)) == []
    assert len(one.parts) == 50
    assert all(b"domstat_cpu" in about(server, f"g{i}") for i in range(50))
    if engine is not influxdb_2_parsing:  # which counts nothing
        assert len(server.requests) <= 30


def test_a_server_that_refuses_everything_for_a_reason_of_its_own_loses_nothing(
    told: Callable[..., Told], server: ScriptedServer
) -> None:
    server.always = Reply(400, b"<html>The plain HTTP request was sent to HTTPS port</html>")
    one = told()
    guests = [guest_record(f"g{i}", uuid=f"u{i}") for i in range(50)]
    with pytest.raises(Retry, match="refuses whatever it is sent") as caught:
        one.write(batch(*guests))
    assert caught.value.after is not None
    assert len(server.requests) <= 20
    server.always = None
    assert one.write(batch(*guests)) == []
    assert all(about(server, f"g{i}") for i in range(50))


def test_a_bad_line_is_known_by_what_was_stored_before_though_the_words_are_strange(
    told: Callable[..., Told], server: ScriptedServer
) -> None:
    one = told()
    one.write()

    def engine(request: Request) -> Reply:
        return said(400, error="computer says no") if b"uuid=bad" in request.text else Reply()

    server.engine = engine
    bad = guest_record("bad", uuid="bad", params={"cpu.time": 1}, first=True)
    assert [record for record, _ in one.write(batch(bad))] == [bad]


def test_a_proxy_that_refuses_everything_is_told_by_what_was_stored_before(
    told: Callable[..., Told], server: ScriptedServer
) -> None:
    one = told()
    one.write()
    server.always = Reply(400, b"Bad Request")
    with pytest.raises(Retry, match="Bad Request"):
        one.write(batch(guest_record(params={"cpu.time": 1}, first=True)))
    assert len(server.requests) == 3, "the first, this one, and the first's again"


def test_a_server_that_takes_little_gets_little(told: Callable[..., Told], server: ScriptedServer) -> None:
    def engine(request: Request) -> Reply:
        return Reply(413) if len(request.body) > 30_000 else Reply()

    server.engine = engine
    guests = [guest_record(f"g{i}", uuid=f"u{i}") for i in range(40)]
    one = told()
    assert one.write(batch(*guests)) == []
    assert all(about(server, f"g{i}") for i in range(40))
    assert set(server.times_stored.values()) == {1}
    before = len(server.requests)
    one.write(batch(*guests))
    assert all(len(request.body) <= 30_000 for request in server.requests[before:]), "it has learned"


def test_a_record_that_is_too_large_by_itself_is_sent_in_parts(
    told: Callable[..., Told], server: ScriptedServer
) -> None:
    def engine(request: Request) -> Reply:
        return Reply(413) if len(request.body) > 1_000 else Reply()

    server.engine = engine
    one = told()
    assert one.write(batch(guest_record())) == []
    lines = {reason.partition(",")[0] for _, reason in one.parts}
    assert all(reason.endswith("it is larger than the server takes") for _, reason in one.parts)
    assert about(server, "web-1") | {line.encode() for line in lines} >= {b"domstat_cpu", b"domstat_block"}
    assert b"domstat_state" in about(server, "web-1")


def test_labels_become_tags(told: Callable[..., Told], server: ScriptedServer) -> None:
    one = told(labels=("owner",))
    one.write(batch(guest_record(labels={"owner": "a team", "tier": "gold"})))
    one.write(batch(guest_record(time_ms=TIME_MS + 10_000), time_ms=TIME_MS + 10_000))
    assert all(b",owner=a\\ team," in key for key in server.points)
    assert not any(b"gold" in key for key in server.points)


def test_what_is_written_again_replaces_itself(told: Callable[..., Told], server: ScriptedServer) -> None:
    records = [*one_of_each().values(), sleeper_record(), agent_record(collect="slow")]
    for _ in range(3):  # each as after a restart
        told().write(batch(*records))
    assert set(server.times_stored.values()) == {3}


def test_writing_before_opening_and_after_closing_is_for_later(tmp_path: Path) -> None:
    sink = InfluxdbSink(InfluxdbSettings())
    sink.close()
    with pytest.raises(Retry):
        sink.write([batch()])
    one = sink_of(tmp_path)
    one.open()
    one.sink.close()
    one.sink.close()
    with pytest.raises(Retry):
        one.write()


def test_the_client_does_not_set_up_logging_of_its_own(told: Callable[..., Told], server: ScriptedServer) -> None:
    before = list(logging.getLogger().handlers)
    server.script = [Reply(500, b"no JSON"), Reply(400, b"no JSON"), Reply(204)]
    one = told()
    for _ in range(2):
        with pytest.raises(Retry):
            one.write(batch(guest_record(params={"cpu.time": 1}, first=True)))
        server.script = [Reply(400, b"no JSON")]
    assert logging.getLogger().handlers == before


def token(path: Path, text: str = "secret-1\n", mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_token_is_sent_as_the_server_wants_it(
    told: Callable[..., Told], server: ScriptedServer, tmp_path: Path
) -> None:
    file = token(tmp_path / "token", "me:secret")
    for way in ("token", "bearer", "basic"):
        told(token_file=file, authorization=way).write()
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Token me:secret", "Bearer me:secret", "Basic bWU6c2VjcmV0"]


def test_without_a_token_none_is_sent(told: Callable[..., Told], server: ScriptedServer) -> None:
    told().write()
    assert "authorization" not in server.requests[0].headers


def test_a_token_that_others_may_read_ends_the_sink_with_the_remedy(tmp_path: Path) -> None:
    one = sink_of(tmp_path, token_file=token(tmp_path / "token", mode=0o640))
    with pytest.raises(Fatal, match="chmod 0600"):
        one.open()


def taking(*tokens: str) -> Engine:
    """Take only requests with one of *tokens*."""

    def engine(request: Request) -> Reply:
        if request.headers.get("authorization", "").removeprefix("Token ") in tokens:
            return Reply()
        return said(401, code="unauthorized", message="unauthorized access")

    return engine


def test_a_token_that_expires_is_replaced_without_a_restart(
    told: Callable[..., Told], server: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    token(file, "old")
    server.engine = taking("old")
    one = told(token_file=str(file))
    one.write()
    server.engine = taking("new")
    for _ in range(2):
        with pytest.raises(Retry, match="refuses the token: unauthorized access") as caught:
            one.write()
        assert caught.value.after is not None
    assert one.log.events("error") == ["token_refused"], "once"
    token(file, "new")
    assert one.write() == []
    server.engine = taking("newer")
    token(file, "newer")
    before = len(server.requests)
    assert one.write() == [], "a token that is there in time is used at once"
    assert len(server.requests) == before + 2
    server.engine = taking()
    with pytest.raises(Retry):
        one.write()
    assert one.log.events("error") == ["token_refused"] * 2, "it was taken in between"


def test_a_token_file_that_is_gone_for_a_moment_is_waited_for(
    told: Callable[..., Told], server: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    token(file, "old")
    server.engine = taking("new")
    one = told(token_file=str(file))
    file.unlink()
    with pytest.raises(Retry):
        one.write()
    assert "cannot be read" in one.log.facts("token_refused")["error"]
    token(file, "new")
    assert one.write() == []


def test_the_token_is_shown_nowhere(
    told: Callable[..., Told], server: ScriptedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = token(tmp_path / "token", "secret-1")
    one = told(token_file=file)
    shown = [repr(one.sink), repr(vars(one.sink)), repr(InfluxdbSettings(token_file=file))]
    for answer in (Reply(401), Reply(500), Reply(302, headers={"Location": "http://elsewhere/"}), Reply(400)):
        server.always = answer
        with pytest.raises(Retry) as caught:
            one.write()
        shown.append(repr(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__))
    server.always = None
    one.sink.close()
    shown += [repr(one.log.said), *capfd.readouterr()]
    assert "secret-1" not in "".join(shown)
    assert "secret-1" in server.requests[0].headers["authorization"]


def test_a_token_for_everybody_on_the_way_to_read_is_warned_of(tmp_path: Path) -> None:
    file = token(tmp_path / "token")
    warned = {}
    for url in ("http://influx.example:8086", "http://localhost:8086", "https://influx.example"):
        one = sink_of(tmp_path, url=url, token_file=file)
        one.open()
        warned[url] = one.log.events("warning")
        one.sink.close()
    assert list(warned.values()) == [["token_unencrypted"], [], []]


def test_a_ca_file_that_cannot_be_used_ends_the_sink(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for ca_file in ("nowhere.pem", "ca.pem"):
        one = sink_of(tmp_path, url="https://influx.example", ca_file=str(tmp_path / ca_file))
        with pytest.raises(Fatal, match="ca_file"):
            one.open()
        one.sink.close()


def test_proxies_of_the_environment_are_not_used(
    told: Callable[..., Told], server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    assert told().write() == []
    assert len(server.requests) == 1


def test_a_proxy_that_is_configured_is_used(told: Callable[..., Told], server: ScriptedServer) -> None:
    assert told(url="http://influx.example:8086", proxy=server.url).write() == []
    assert server.requests[0].headers["host"] == "influx.example:8086"
