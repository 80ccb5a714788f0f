"""The remote_write sink beside stores that keep samples as Prometheus, Mimir and Thanos do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import certificates
from domstat.model import Batch
from domstat.sink import Fatal, Retry
from domstat_sinks.prometheus.names import family_of
from domstat_sinks.remote_write import RemoteWriteSink, requests
from domstat_sinks.remote_write import sink as module
from domstat_sinks.remote_write.settings import RemoteWriteSettings
from records import TIME_MS, UUID, agent_record, batch, event_record, guest_record, host_record, one_of_each
from remotewrite import Tsdb, sent
from scripted import Reply, ScriptedServer, after, reset
from told import Told

CPU = family_of("cpu.time").name
Made = Callable[..., Told]
NOW_MS = TIME_MS + 10**12
"""When sinks are opened as a rule: long after what they are given was collected, and then never again."""


@pytest.fixture
def store() -> Tsdb:
    return Tsdb()


@pytest.fixture
def server(store: Tsdb) -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        running.engine = store.prometheus
        yield running


@pytest.fixture
def made(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Open a sink to the server; *opened_ms* is when that is."""
    opened: list[Told] = []

    def make(opened_ms: int = 0, **settings: Any) -> Told:
        monkeypatch.setattr(module, "_now_ms", lambda: opened_ms)
        sink = RemoteWriteSink(RemoteWriteSettings(**({"url": f"{server.url}/api/v1/write"} | settings)))
        opened.append(Told(sink, tmp_path))
        opened[-1].open()
        return opened[-1]

    yield make
    for one in opened:
        one.sink.close()


def tick(number: int, guests: int = 3, at_ms: int | None = None, **more: Any) -> Batch:
    """The stream's tick of that number."""
    time_ms = TIME_MS + number * 10_000 if at_ms is None else at_ms
    records = [
        guest_record(f"g{i}", uuid=f"u{i}", time_ms=time_ms, params={"cpu.time": 10**9 * number}, first=True, **more)
        for i in range(guests)
    ]
    return batch(*records, agent_record(time_ms=time_ms), time_ms=time_ms)


def numbers(store: Tsdb, uuid: str = "u0") -> list[float]:
    return store.values(CPU, uuid=uuid)


def test_loading_the_sink_loads_no_client() -> None:
    code = "import sys, domstat_sinks.remote_write; print('urllib3' in sys.modules, 'cramjam' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    monkeypatch.delitem(sys.modules, "domstat_sinks.remote_write.client", raising=False)
    with pytest.raises(Fatal, match=r"pip install 'domstat\[remote_write\]'"):
        Told(RemoteWriteSink(RemoteWriteSettings()), tmp_path).open()


def test_a_tick_is_one_request_with_every_kind_of_record(made: Made, server: ScriptedServer, store: Tsdb) -> None:
    assert made().write(batch(*one_of_each().values())) == []
    (request,) = server.requests
    assert request.path == "/api/v1/write"
    assert store.value(CPU, uuid=UUID) == 86_400.123456789
    assert store.value("domstat_host_cpu_idle_seconds_total") == 9_650_000.0
    assert store.value("domstat_agent_skipped_total", collect="default") == 3
    assert store.find("domstat_pool_capacity_bytes", pool="images")
    assert {sample.time_ms for sample in sent(request)} == {TIME_MS}


def test_headers_and_labels_are_as_they_are_set(made: Made, server: ScriptedServer, store: Tsdb) -> None:
    made(headers={"X-Scope-OrgID": "ours"}, job="vms", labels={"cluster": "north", "Zone": "a"}).write()
    assert server.requests[0].headers["x-scope-orgid"] == "ours"
    assert store.find(CPU, job="vms", cluster="north", Zone="a")
    made(job="").write()
    assert any("job" not in dict(labels) for labels in store.series)


def test_ticks_of_one_stream_are_requests_of_their_own_in_order(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    assert made().write(*(tick(number) for number in range(5))) == []
    assert len(server.requests) == 5
    assert numbers(store) == [0, 1, 2, 3, 4]


def test_ticks_of_several_streams_share_a_request(made: Made, server: ScriptedServer) -> None:
    hosts = [batch(host_record(host=f"h{i}"), host=f"h{i}") for i in range(7)]
    made().write(*hosts)
    assert len(server.requests) == 1


def test_what_is_too_much_for_one_request_goes_in_several(
    made: Made, server: ScriptedServer, store: Tsdb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_BYTES_MAX", 40_000)
    monkeypatch.setattr(requests, "SAMPLES_MAX", 150)
    one = made()
    assert one.write(batch(*(guest_record(f"g{i}", uuid=f"u{i}") for i in range(10)))) == []
    assert len(server.requests) > 5
    assert all(len(sent(request)) <= 150 for request in server.requests)
    assert store.texts(CPU, "uuid") == {f"u{i}" for i in range(10)}


def test_a_server_that_calls_requests_too_large_gets_smaller_ones(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    server.engine = lambda request: Reply(413) if len(sent(request)) > 400 else store.prometheus(request)
    one = made()
    assert one.write(batch(*(guest_record(f"g{i}", uuid=f"u{i}") for i in range(20)))) == []
    assert store.texts(CPU, "uuid") == {f"u{i}" for i in range(20)}
    before = len(server.requests)
    assert one.write(batch(*(guest_record(f"g{i}", uuid=f"u{i}", time_ms=TIME_MS + 1) for i in range(4)))) == []
    assert len(server.requests) > before


def test_no_request_is_made_for_nothing(made: Made, server: ScriptedServer) -> None:
    one = made()
    one.write(batch(host_record(params={}, derived={}, rates={})))
    one.sink.write([])
    assert server.requests == []


def test_what_is_no_number_is_left_out_and_said_once_it_is_stored(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    one = made()
    record = guest_record(extra={"balloon.rss": float("nan"), "new.gauge": float("inf"), "vm.big": 10**400})
    server.script = [Reply(503)]
    with pytest.raises(Retry):
        one.write(batch(record))
    assert one.parts == [], "it comes again"
    assert one.write(batch(record)) == []
    assert [reason.partition(":")[0] for _, reason in one.parts] == ["balloon.rss", "new.gauge", "vm.big"]
    assert store.find(CPU)


# Answers that are not about samples.


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_not_now_is_for_later_when_the_server_says(made: Made, server: ScriptedServer, status: int) -> None:
    server.script = [Reply(status, b"busy", {"Retry-After": "17"})]
    with pytest.raises(Retry, match=f"answers {status}: busy") as caught:
        made().write()
    assert caught.value.after == 17


@pytest.mark.parametrize(
    ("status", "body"),
    [(301, b""), (404, b"remote write receiver needs to be enabled"), (405, b""), (415, b""), (418, b"")],
)
def test_what_somebody_has_to_mend_loses_nothing(
    made: Made, server: ScriptedServer, store: Tsdb, status: int, body: bytes
) -> None:
    server.script = [Reply(status, body)]
    one = made()
    with pytest.raises(Retry) as caught:
        one.write()
    assert body.decode() in str(caught.value)
    assert caught.value.after is not None
    assert one.write() == []
    assert store.find(CPU)


def test_a_refused_token_is_read_again(made: Made, server: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o600)
    one = made(token_file=str(file))
    server.always = Reply(401, b"no")
    for _ in range(2):
        with pytest.raises(Retry, match="401, to this token or tenant"):
            one.write()
    assert one.log.events("error") == ["token_refused"], "once"
    file.write_text("new")
    server.always, server.script = None, [Reply(401)]
    assert one.write() == []
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer old", "Bearer old", "Bearer old", "Bearer new",
    ]  # fmt: skip


def test_a_password_goes_as_basic(made: Made, server: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("me:secret")
    file.chmod(0o600)
    made(token_file=str(file), authorization="basic").write()
    assert server.requests[0].headers["authorization"] == "Basic bWU6c2VjcmV0"


def test_a_token_that_others_may_read_is_fatal(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(0o644)
    with pytest.raises(Fatal, match="chmod 0600"):
        made(token_file=str(file))


def test_a_ca_file_that_is_none_is_fatal(made: Made) -> None:
    with pytest.raises(Fatal, match="ca_file /nowhere cannot be used"):
        made(ca_file="/nowhere")


def test_a_server_with_a_certificate_of_our_own_is_known_by_it(store: Tsdb, tmp_path: Path, made: Made) -> None:
    file = certificates.make(tmp_path)
    with ScriptedServer(tls=certificates.serving(file)) as secure:
        secure.engine = store.prometheus
        url = f"{secure.url}/api/v1/write"
        with pytest.raises(Retry, match="certificate is not accepted"):
            made(url=url).write()
        careless = made(url=url, verify=False)
        assert careless.log.events("warning") == ["server_unverified"]
        assert careless.write() == []
        assert made(url=url, ca_file=str(file)).write() == []


def test_a_proxy_is_gone_through(made: Made, server: ScriptedServer) -> None:
    made(url="http://store.invalid/api/v1/write", proxy=server.url).write()
    (request,) = server.requests
    assert (request.path, request.headers["host"]) == ("/api/v1/write", "store.invalid")


def test_a_token_that_whoever_is_on_the_way_can_read_is_warned_of(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(0o600)
    one = made(url="http://store.example/api/v1/write", token_file=str(file))
    assert one.log.events("warning") == ["token_unencrypted"]
    assert "secret" not in repr(one.log.said)


def test_a_write_before_open_and_after_close_is_for_later(made: Made) -> None:
    with pytest.raises(Retry):
        RemoteWriteSink(RemoteWriteSettings()).write([batch()])
    one = made()
    one.sink.close()
    one.sink.close()
    with pytest.raises(Retry):
        one.write()


def test_a_server_that_refuses_everything_for_a_reason_of_its_own_loses_nothing(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    server.always = Reply(400, b"no")
    one = made()
    with pytest.raises(Retry, match="refuses whatever it is sent"):
        one.write(tick(0, guests=50))
    assert len(server.requests) <= 20
    server.always = None
    assert one.write(tick(0, guests=50)) == []
    assert store.texts(CPU, "uuid") == {f"u{i}" for i in range(50)}


# What comes again.


def test_what_was_stored_though_the_answer_was_lost_is_there_once_and_nothing_is_rejected(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    def loses_its_answer(connection: Any) -> None:
        store.prometheus(server.requests[-1])
        reset(connection)

    one = made()
    server.script = [loses_its_answer]
    with pytest.raises(Retry):
        one.write(tick(0), tick(1), tick(2))
    assert one.write(tick(0), tick(1), tick(2)) == []
    assert numbers(store) == [0, 1, 2]


def test_of_a_write_that_fails_half_way_what_is_stored_is_not_sent_again(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    one = made()
    served = iter([True, True, False])
    server.engine = lambda request: store.prometheus(request) if next(served, True) else Reply(503)
    with pytest.raises(Retry):
        one.write(*(tick(number) for number in range(4)))
    assert one.write(*(tick(number) for number in range(4))) == []
    assert numbers(store) == [0, 1, 2, 3]
    assert len(server.requests) == 3 + 2


def test_what_is_written_again_after_a_write_that_was_done_is_sent_again(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    one = made()
    for _ in range(2):
        assert one.write(tick(0)) == []
    assert len(server.requests) == 2
    assert numbers(store) == [0]


def test_what_is_counted_in_a_write_that_fails_is_counted_once(made: Made, server: ScriptedServer, store: Tsdb) -> None:
    one = made()
    server.script = [Reply(503), Reply(503)]
    crashed = batch(event_record("crashed"), collect="events")
    for _ in range(2):
        with pytest.raises(Retry):
            one.write(crashed, tick(0))
    one.write(crashed, tick(0))
    assert store.value("domstat_events_total", type="crashed") == 1


def test_an_agent_that_was_killed_after_its_request_sends_it_again_and_nothing_is_rejected(
    made: Made, store: Tsdb
) -> None:
    made().write(*(tick(number) for number in range(5)))
    again = made(opened_ms=NOW_MS)
    assert again.write(*(tick(number) for number in range(3, 8))) == []
    assert again.parts == []
    assert numbers(store) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert again.log.events("info") == ["samples_already_there"]


def test_a_request_of_which_one_streams_tick_is_there_and_anothers_is_not_loses_neither(
    made: Made, store: Tsdb
) -> None:
    made().write(tick(0), tick(1))
    other = batch(host_record(host="h2"), agent_record(host="h2"), host="h2")
    again = made(opened_ms=NOW_MS)
    assert again.write(tick(0), other) == []
    assert again.parts == []
    assert store.find("domstat_host_cpu_idle_seconds_total", host="h2")


def test_after_the_clock_was_set_back_ticks_are_rejected_with_the_reason(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    one = made()
    one.write(tick(100))
    rejected = one.write(tick(5))
    assert len(rejected) == 4
    assert "out of order sample (its series have newer samples: the clock was set back" in rejected[0][1]
    assert len(server.requests) <= 6, "a tick that is late is late as a whole"
    assert one.write(tick(101)) == []
    assert numbers(store) == [100, 101]


def test_a_clock_that_was_set_back_over_a_restart_is_noticed_too(made: Made) -> None:
    made().write(tick(100))
    again = made(opened_ms=tick(5).stamp.time_ms - 1)
    assert len(again.write(tick(5))) == 4


def test_what_is_too_old_is_rejected_with_the_reason_and_the_rest_of_a_backlog_is_stored(
    made: Made, store: Tsdb
) -> None:
    store.oldest_ms = tick(3).stamp.time_ms
    one = made(opened_ms=NOW_MS)
    rejected = one.write(*(tick(number) for number in range(6)))
    assert [record.time_ms for record, _ in rejected] == [TIME_MS + 10_000 * n for n in range(3) for _ in range(4)]
    assert {reason.partition(" (")[0] for _, reason in rejected} == {"out of bounds"}
    assert "out_of_order_time_window" in rejected[0][1]
    assert numbers(store) == [3, 4, 5]


def test_the_words_of_an_older_prometheus_for_what_is_too_old_are_no_reason_to_come_again(
    made: Made, server: ScriptedServer
) -> None:
    server.always = Reply(500, b"too old sample\n")
    rejected = made(opened_ms=NOW_MS).write(tick(0))
    assert len(rejected) == 4
    assert rejected[0][1].startswith("too old sample (")


# Refusals of single samples.


def refuses(name: str = "", uuid: str = "", why: str = "label value too long") -> Callable[[Any], str]:
    def fault(sample: Any) -> str:
        labels = dict(sample.labels)
        return why if name in labels["__name__"] and labels.get("uuid", "").startswith(uuid) else ""

    return fault


@pytest.mark.parametrize("engine", ["prometheus", "mimir", "thanos"])
def test_one_bad_record_is_rejected_and_the_others_are_stored(
    made: Made, server: ScriptedServer, store: Tsdb, engine: str
) -> None:
    server.engine = getattr(store, engine)
    store.refuses = refuses(uuid="u7", why="err-mimir-max-series-per-user")
    ((record, reason),) = made().write(tick(0, guests=40))
    assert record.domain is not None
    assert record.domain.uuid == "u7"
    assert "err-mimir-max-series-per-user" in reason or "conflict" in reason
    assert store.texts(CPU, "uuid") == {f"u{i}" for i in range(40)} - {"u7"}


@pytest.mark.parametrize("engine", ["prometheus", "mimir"])
def test_of_a_record_only_the_refused_samples_are_left_out_and_named(
    made: Made, server: ScriptedServer, store: Tsdb, engine: str
) -> None:
    server.engine = getattr(store, engine)
    store.refuses = refuses("domstat_guest_info", "u1", "err-mimir-max-label-names-per-series")
    one = made()
    assert one.write(tick(0)) == []
    ((record, reason),) = one.parts
    assert record.domain is not None
    assert record.domain.uuid == "u1"
    assert reason.startswith("1 of 3 samples: ")
    assert store.texts("domstat_guest_info", "uuid") == {"u0", "u2"}
    assert store.texts(CPU, "uuid") == {"u0", "u1", "u2"}


def test_a_limit_that_refuses_half_of_everything_ends_within_its_requests(
    made: Made, server: ScriptedServer, store: Tsdb
) -> None:
    server.engine = store.mimir
    store.refuses = lambda sample: "per-user series limit" if int(dict(sample.labels).get("uuid", "u0")[1:]) % 2 else ""
    one = made()
    rejected = one.write(tick(0, guests=300))
    assert len(server.requests) < 400
    assert {record.domain.uuid for record, _ in rejected if record.domain} >= {f"u{i}" for i in range(1, 300, 2)}
    assert store.texts(CPU, "uuid") == {f"u{i}" for i in range(0, 300, 2)}


def test_a_server_that_answers_too_late_has_everything_once(made: Made, server: ScriptedServer, store: Tsdb) -> None:
    one = made(timeout=0.5)
    server.script = [after(server, 30, Reply(204, stores=False))]
    server.store = lambda lines: None  # type: ignore[method-assign]  # its own, for line protocol
    with pytest.raises(Retry, match="no whole answer within"):
        one.write(tick(0))
    patient = made()
    assert patient.write(tick(0)) == []
    assert numbers(store) == [0]
