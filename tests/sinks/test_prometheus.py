"""The prometheus sink as the agent and a scraper see it: opened, written to, scraped over HTTP, closed."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domstat import config, settings
from domstat.model import Batch, Record
from domstat.settings import SettingsError
from domstat.sink import Fatal, Retry, Sink, SinkContext, load_sink
from domstat_sinks.prometheus import PrometheusSink
from domstat_sinks.prometheus import sink as sink_module
from domstat_sinks.prometheus.exposition import Exposition
from domstat_sinks.prometheus.settings import PrometheusSettings
from domstat_sinks.prometheus.store import Snapshot
from heard import Log
from records import agent_record, batch, guest_record
from scraping import domains, samples, values

WAIT_S = 60.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def tick(*records: Record, before_ms: int = 0, **more: Any) -> Batch:
    time_ms = now_ms() - before_ms
    return batch(*records, agent_record(time_ms=time_ms), time_ms=time_ms, **more)


def made(listen: str = "127.0.0.1:0", **more: str) -> PrometheusSink:
    return PrometheusSink(settings.decode({"listen": listen, **more}, PrometheusSettings))


def context(log: Log | None = None) -> SinkContext:
    return SinkContext("prometheus", Path(), log or Log(), lambda _record, _reason: None)


@pytest.fixture
def sink() -> Iterator[PrometheusSink]:
    opened = made()
    opened.open(context())
    yield opened
    opened.close()


def fetch(sink: PrometheusSink, path: str = "/metrics", **headers: str) -> tuple[bytes, Message]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://127.0.0.1:{sink.port}{path}", headers=headers)
    with opener.open(request, timeout=WAIT_S) as found:
        return found.read(), found.headers


def scrape(sink: PrometheusSink) -> str:
    return fetch(sink)[0].decode()


def guests(text: str) -> list[str]:
    return domains(values_of(text))


def values_of(text: str) -> dict[Any, float]:
    """The samples that are about guests and hosts, which the agent's process and version are not."""
    lines = [line for line in text.split("\n")[:-1] if not re.search("(^|# [A-Z]{4} )(process_|domstat_build_)", line)]
    return dict(samples("\n".join([*lines, ""])))


def test_it_is_found_by_its_name_and_is_a_sink() -> None:
    assert load_sink("prometheus") is PrometheusSink
    assert isinstance(PrometheusSink(PrometheusSettings()), Sink)


def test_making_it_touches_nothing() -> None:
    before = threading.active_count()
    assert PrometheusSink(PrometheusSettings()).port == 0
    assert threading.active_count() == before


def test_its_settings_have_defaults_and_refuse_what_they_do_not_know() -> None:
    assert PrometheusSettings() == settings.decode(
        {"listen": "127.0.0.1:10177", "stale_after": "5m"}, PrometheusSettings
    )
    with pytest.raises(SettingsError, match='did you mean "listen"'):
        settings.decode({"listn": "127.0.0.1:1"}, PrometheusSettings)


def test_a_configuration_with_it_loads() -> None:
    text = '[[sinks]]\ntype = "prometheus"\nlisten = "[::1]:9100"\nstale_after = "90s"\n'
    (sink,) = config.parse(text).sinks
    assert sink.settings == PrometheusSettings("[::1]:9100", settings.Duration(90))


def test_what_was_written_last_is_what_a_scrape_shows(sink: PrometheusSink) -> None:
    assert guests(scrape(sink)) == []
    sink.write([tick(guest_record("a", uuid="a"), guest_record("b", uuid="b"))])
    assert guests(scrape(sink)) == ["a", "b"]
    sink.write([tick(guest_record("b", uuid="b"))])
    assert guests(scrape(sink)) == ["b"]


def test_the_text_says_what_it_is(sink: PrometheusSink) -> None:
    _, headers = fetch(sink)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Content-Encoding"] is None


def test_whoever_takes_gzip_gets_the_same_compressed(sink: PrometheusSink) -> None:
    sink.write([tick(guest_record())])
    packed, headers = fetch(sink, **{"Accept-Encoding": "gzip"})
    assert (headers["Content-Encoding"], headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed).decode() == scrape(sink)
    assert len(packed) < len(scrape(sink)) / 3


def test_scrapes_of_one_tick_are_the_same_bytes_and_made_once(
    sink: PrometheusSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Snapshot] = []
    write = Exposition.write

    def counted(self: Exposition, snapshot: Snapshot) -> Iterator[bytes]:
        calls.append(snapshot)
        return write(self, snapshot)

    monkeypatch.setattr(Exposition, "write", counted)
    sink.write([tick(guest_record())])
    assert scrape(sink) == scrape(sink)
    assert len(calls) == 1
    sink.write([tick(guest_record("b"))])
    assert guests(scrape(sink)) == ["b"]
    assert len(calls) == 2


def test_a_stream_that_gets_stale_is_gone_from_the_next_scrape_though_nothing_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now_s, time_ns=time.time_ns)
    monkeypatch.setattr(sink_module, "time", clock)
    sink = made(stale_after="200s")
    sink.open(context())
    sink.write([tick(guest_record(), before_ms=20), tick(guest_record(), before_ms=10)])
    now_s += 100
    assert guests(scrape(sink)) == ["web-1"]
    now_s += 101
    found = values_of(scrape(sink))
    assert [name for name, _ in found] == ["domstat_stream_last_tick_timestamp_seconds"]
    sink.close()


def test_the_agents_process_and_version_are_there(sink: PrometheusSink) -> None:
    found = {name for name, _ in samples_of_process(scrape(sink))}
    assert found >= {"process_resident_memory_bytes", "process_cpu_seconds_total", "domstat_build_info"}


def samples_of_process(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    return [(line.split("{")[0].split(" ")[0], line) for line in lines]


@pytest.mark.parametrize(("path", "expected"), [("/health", b"ok\n"), ("/", b"<!DOCTYPE html>")])
def test_the_other_pages_name_nobody(sink: PrometheusSink, path: str, expected: bytes) -> None:
    sink.write([tick(guest_record("secret", host="secret"), host="secret")])
    body, _ = fetch(sink, path)
    assert body.startswith(expected)
    assert b"secret" not in body


@pytest.mark.parametrize("path", ["/metrics/../../etc/passwd", "/Metrics", "/metrics.txt", "/favicon.ico"])
def test_there_is_nothing_else(sink: PrometheusSink, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        fetch(sink, path)
    caught.value.close()


def test_writing_never_waits_for_a_scrape(sink: PrometheusSink, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    write = Exposition.write

    def slow(self: Exposition, snapshot: Snapshot) -> Iterator[bytes]:
        began.set()
        assert go_on.wait(WAIT_S)
        return write(self, snapshot)

    monkeypatch.setattr(Exposition, "write", slow)
    sink.write([tick(guest_record("old"))])
    shown: list[str] = []
    scraper = threading.Thread(target=lambda: shown.extend(guests(scrape(sink))))
    scraper.start()
    assert began.wait(WAIT_S)
    sink.write([tick(guest_record("new"))])
    go_on.set()
    scraper.join(WAIT_S)
    assert shown == ["old"]
    assert guests(scrape(sink)) == ["new"]


def test_a_scrape_shows_all_of_a_write_or_nothing_of_it(sink: PrometheusSink) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.001):
            number += 1
            streams = [
                tick(guest_record(host=host, params={"net.count": number}), host=host) for host in ("kvm1", "kvm2")
            ]
            sink.write(streams)

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[float] = set()
    scrapes, until_s = 0, time.monotonic() + WAIT_S
    while (scrapes < 30 or len(seen) < 2) and time.monotonic() < until_s:
        scrapes += 1
        found = values(values_of(scrape(sink)), "domstat_net_devices", "host")
        assert len(set(found.values())) <= 1
        seen |= set(found.values())
    stop.set()
    writer.join(WAIT_S)
    assert len(seen) > 1


def test_a_taken_port_is_waited_for_and_the_line_says_which() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        waiting = made(f"127.0.0.1:{port}")
        with pytest.raises(Retry, match=f"^cannot listen at 127.0.0.1:{port}: somebody else does$"):
            waiting.open(context())
        waiting.close()
    waiting.open(context())
    assert waiting.port == port
    waiting.close()


@pytest.mark.parametrize("listen", ["localhost:9100", "127.0.0.1", "127.0.0.1:99999", ""])
def test_an_address_that_is_none_is_for_ever_wrong(listen: str) -> None:
    with pytest.raises(Fatal, match=r"cannot listen at .*: (it is not an IP address|its port is not)"):
        made(listen).open(context())


def test_an_address_that_this_machine_does_not_have_yet_is_waited_for() -> None:
    with pytest.raises(Retry, match=r"cannot listen at 192\.0\.2\.1:1: Cannot assign requested address"):
        made("192.0.2.1:1").open(context())


def test_a_port_that_it_has_no_right_to_is_for_ever_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refused)
    with pytest.raises(Fatal, match=r"cannot listen at 127\.0\.0\.1:80: Permission denied"):
        made("127.0.0.1:80").open(context())


@pytest.mark.parametrize("listen", ["[::1]:0", "[::]:0"])
def test_it_listens_at_addresses_of_ipv6(listen: str) -> None:
    sink = made(listen)
    try:
        sink.open(context())
    except (Retry, Fatal):
        pytest.skip("there is no IPv6 here")
    with socket.create_connection(("::1", sink.port), WAIT_S) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    sink.close()


def test_closing_frees_the_port_and_may_come_twice_or_without_opening() -> None:
    made().close()
    sink = made()
    sink.open(context())
    port = sink.port
    sink.close()
    sink.close()
    again = made(f"127.0.0.1:{port}")
    again.open(context())
    again.close()


def test_opened_again_it_goes_on_with_what_it_had() -> None:
    sink = made()
    sink.open(context())
    sink.write([tick(guest_record())])
    sink.close()
    sink.open(context())
    assert guests(scrape(sink)) == ["web-1"]
    sink.close()
