"""What befalls a request on its way: stored, tried again or rejected, and every point is there once by its key."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import certificates
from domstat.sink import Retry
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb.settings import InfluxdbSettings
from domstat_sinks.sending.transport import ANSWER_BYTES_MAX
from records import batch, guest_record
from scripted import Reply, Request, ScriptedServer, Step, after, drips, endless, reset, said, sends
from told import Told

TIMEOUT_S = 0.5
"""Short, for the cases that wait for it; what is compared is what comes of it, not how long it took."""
PATIENT_S = 60.0
"""For what is answered."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Told]]:
    sinks: list[Told] = []

    def make(url: str, **settings: Any) -> Told:
        sinks.append(Told(InfluxdbSink(InfluxdbSettings(url=url, **settings)), tmp_path))
        sinks[-1].open()
        return sinks[-1]

    yield make
    for one in sinks:
        one.sink.close()


def why_retried(one: Told) -> str:
    with pytest.raises(Retry) as caught:
        one.write()
    return str(caught.value)


def is_all_there(server: ScriptedServer) -> bool:
    return {key.partition(b",")[0] for key in server.points} >= {b"domstat_cpu", b"domstat_block", b"domstat_net"}


RETRIED: dict[str, tuple[Step, str]] = {
    "the connection ends without an answer": (sends(b""), "closed connection without response"),
    "the connection is reset": (reset, "reset by peer"),
    "an answer ends before it says anything": (sends(b"HTTP/1.1 20"), "HTTP/1.1 20"),
    "an answer of 400 ends in its body": (sends(b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\n{"), "more expected"),
    "an answer that is none": (sends(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "SSH-2.0"),
    "an answer with too many headers": (sends(b"HTTP/1.1 204 No\r\n" + b"A: b\r\n" * 200 + b"\r\n"), "100 headers"),
    "401": (said(401, code="unauthorized", message="unauthorized access"), "refuses the token: unauthorized access"),
    "403": (said(403, code="forbidden", message="insufficient permissions"), "insufficient permissions"),
    "404": (
        said(404, code="not found", message='bucket "domstat" not found'),
        'create it (bucket "domstat" not found)',
    ),
    "405": (Reply(405), "405, which no InfluxDB should"),
    "429": (Reply(429, headers={"Retry-After": "7"}), "429"),
    "500": (said(500, error="timeout"), "500: timeout"),
    "502": (Reply(502, b"<html>bad gateway</html>"), "502"),
    "503": (Reply(503, headers={"Retry-After": "7"}), "503"),
    "500 without an end": (endless(500), "500"),
    "a bomb": (Reply(500, gzip.compress(bytes(1 << 24)), {"Content-Encoding": "gzip"}), "500"),
    "a redirect": (
        Reply(307, headers={"Location": "http://elsewhere.example/"}),
        "set url to http://elsewhere.example/",
    ),
    "a web page": (Reply(200, b"<html>", {"Content-Type": "text/html"}, stores=False), "a web page"),
}


@pytest.mark.parametrize("case", RETRIED)
def test_it_is_tried_again_and_then_stored_once(server: ScriptedServer, opened: Callable[..., Told], case: str) -> None:
    step, message = RETRIED[case]
    server.script = [step]
    one = opened(server.url)
    told = why_retried(one)
    assert told.startswith(f"{server.url}: ")
    assert message in told
    assert server.points == {}
    assert one.write() == []
    assert is_all_there(server)
    assert set(server.times_stored.values()) == {1}
    assert one.parts == []


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_when_to_come_again(server: ScriptedServer, opened: Callable[..., Told], status: int) -> None:
    server.script = [Reply(status, headers={"Retry-After": "7"})]
    with pytest.raises(Retry) as caught:
        opened(server.url).write()
    assert caught.value.after == 7.0


STORED: dict[str, Step] = {
    "204 that ends in its head": sends(b"HTTP/1.1 204 No Con"),
    "200": Reply(200),
    "204": Reply(204),
    "200 whose body does not come": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
    "200 without an end": endless(200),
    "200 with a bomb": Reply(200, gzip.compress(bytes(1 << 24)), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("case", STORED)
def test_what_the_server_says_is_stored_is_not_sent_again(
    server: ScriptedServer, opened: Callable[..., Told], case: str
) -> None:
    server.script = [STORED[case]]
    one = opened(server.url, timeout=PATIENT_S)
    assert one.write() == []
    assert len(server.requests) == 1
    assert one.write() == [], "and the next is sent as ever"
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_takes_no_memory_however_large_it_is(
    server: ScriptedServer, opened: Callable[..., Told], status: int
) -> None:
    server.script = [
        endless(status, bytes(1 << 16)),
        endless(status, gzip.compress(bytes(1 << 25)), **{"Content-Encoding": "gzip"}),
    ]
    one = opened(server.url)
    tracemalloc.start()
    for _ in range(2):
        with contextlib.suppress(Retry):
            one.write()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * ANSWER_BYTES_MAX


def test_nobody_listens(opened: Callable[..., Told]) -> None:
    with ScriptedServer() as gone:
        url = gone.url
    assert "connection refused" in why_retried(opened(url))


def test_packets_vanish(opened: Callable[..., Told]) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # with its queue full, the kernel drops what else would connect
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        one = opened(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT_S)
        assert "there was no connection in time" in why_retried(one)


def test_the_name_is_unknown(opened: Callable[..., Told]) -> None:
    assert "name is not known" in why_retried(opened("http://influx.invalid:8086"))


def test_the_connection_is_reset_in_the_middle_of_the_body(server: ScriptedServer, opened: Callable[..., Told]) -> None:
    server.resets_after = 1000
    one = opened(server.url)
    large = batch(*(guest_record(f"g{i}", uuid=f"u{i}") for i in range(200)))
    with pytest.raises(Retry):
        one.write(large)
    assert server.requests == []
    assert one.write(large) == []
    assert set(server.times_stored.values()) == {1}


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 204 No Content\r\nServer: one that takes its time\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 60\r\n\r\n" + b"x" * 60,
    ],
    ids=["head", "body"],
)
def test_a_server_that_sends_byte_after_byte_holds_nobody(
    server: ScriptedServer, opened: Callable[..., Told], text: bytes
) -> None:
    server.script = [drips(server, text, TIMEOUT_S / 3)]
    assert f"no whole answer within {TIMEOUT_S:g} s" in why_retried(opened(server.url, timeout=TIMEOUT_S))


def test_a_server_that_does_not_read_holds_nobody(opened: Callable[..., Told]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = opened(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT_S)
        with pytest.raises(Retry, match=f"no whole answer within {TIMEOUT_S:g} s"):
            one.write(batch(*(guest_record(f"g{i}", uuid=f"u{i}") for i in range(500))))


def test_what_was_stored_when_the_answer_came_too_late_comes_again_and_is_there_once(
    server: ScriptedServer, opened: Callable[..., Told]
) -> None:
    server.script = [after(server, 10 * TIMEOUT_S, Reply(204))]
    assert "no whole answer" in why_retried(opened(server.url, timeout=TIMEOUT_S))
    points = dict(server.points)
    assert opened(server.url, timeout=PATIENT_S).write() == []
    assert server.points == points
    assert set(server.times_stored.values()) == {2}


def test_a_connection_that_the_server_has_ended_meanwhile_is_made_anew(
    server: ScriptedServer, opened: Callable[..., Told]
) -> None:
    server.script = [sends(Reply().write())]
    one = opened(server.url)
    one.write()
    until = time.monotonic() + 60
    while server.closed == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert one.write() == []
    assert server.connections == 2


def test_a_redirect_is_not_followed_and_no_token_goes_there(
    server: ScriptedServer, opened: Callable[..., Told], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o600)
    with ScriptedServer() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            server.script = [Reply(status, headers={"Location": f"{elsewhere.url}/api/v2/write"})]
            assert elsewhere.url in why_retried(opened(server.url, token_file=str(tmp_path / "token")))
        assert elsewhere.requests == []
        assert elsewhere.connections == 0


def test_a_refusal_too_long_for_a_header_is_found_in_parts(server: ScriptedServer, opened: Callable[..., Told]) -> None:
    """InfluxDB 1 quotes in one header all that it cannot parse."""

    def engine(request: Request) -> Reply:
        bad = [line for line in request.lines if b"uuid=bad" in line]
        if not bad:
            return Reply()
        words = f"unable to parse '{bad[0].decode()}': bad timestamp"
        return Reply(400, b"", {"X-Influxdb-Error": words * (1 if len(request.lines) == 1 else 500)})

    server.engine = engine
    one = opened(server.url)
    bad = guest_record("bad", uuid="bad", params={"cpu.time": 1}, first=True)
    ((record, reason),) = one.write(batch(guest_record(), bad))
    assert record is bad
    assert reason.endswith("bad timestamp")
    assert is_all_there(server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def secure() -> Iterator[Callable[[Path], ScriptedServer]]:
    """Start a server that shows a certificate."""
    with contextlib.ExitStack() as stack:
        yield lambda file: stack.enter_context(ScriptedServer(tls=certificates.serving(file)))


Secure = Callable[[Path], ScriptedServer]


def test_a_certificate_that_is_right_is_accepted(opened: Callable[..., Told], secure: Secure, folder: Path) -> None:
    file = certificates.make(folder)
    server = secure(file)
    one = opened(server.url, ca_file=str(file))
    assert one.write() == []
    assert one.write() == []
    assert is_all_there(server)
    assert server.connections == 1
    assert one.log.events("warning") == []


def test_a_certificate_of_another_name_is_named(opened: Callable[..., Told], secure: Secure, folder: Path) -> None:
    file = certificates.make(folder, "elsewhere.example")
    server = secure(file)
    told = why_retried(opened(server.url, ca_file=str(file)))
    assert "certificate is not accepted" in told
    assert "not valid for 'localhost'" in told
    assert server.requests == []


def test_a_certificate_that_has_expired_is_named(opened: Callable[..., Told], secure: Secure, folder: Path) -> None:
    file = certificates.make(folder, expired=True)
    server = secure(file)
    assert "certificate has expired" in why_retried(opened(server.url, ca_file=str(file)))
    assert server.requests == []


def test_a_certificate_of_a_stranger_is_named(opened: Callable[..., Told], secure: Secure, folder: Path) -> None:
    server = secure(certificates.make(folder))
    assert "self-signed certificate" in why_retried(opened(server.url))
    assert server.requests == []


def test_an_unverified_server_is_written_to_with_a_warning(
    opened: Callable[..., Told], secure: Secure, folder: Path
) -> None:
    server = secure(certificates.make(folder, "elsewhere.example", expired=True))
    one = opened(server.url, verify=False)
    assert one.write() == []
    assert is_all_there(server)
    assert one.log.events("warning") == ["server_unverified"]


def test_tls_and_plain_http_do_not_meet(
    opened: Callable[..., Told], secure: Secure, server: ScriptedServer, folder: Path
) -> None:
    encrypted = secure(certificates.make(folder))
    assert why_retried(opened(server.url.replace("http:", "https:"), timeout=TIMEOUT_S))
    assert why_retried(opened(encrypted.url.replace("https:", "http:"), timeout=TIMEOUT_S))
    assert server.points == encrypted.points == {}


def test_a_handshake_that_does_not_end_holds_nobody(opened: Callable[..., Told]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = opened(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT_S)
        assert why_retried(one)
