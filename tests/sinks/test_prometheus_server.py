"""The endpoint's HTTP server, and what hostile clients make of it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from domstat_sinks.prometheus import http as protocol
from domstat_sinks.prometheus import server as server_module
from domstat_sinks.prometheus.http import HEAD_BYTES_MAX, HEADERS_MAX, Answer, Request, parse
from domstat_sinks.prometheus.server import CONNECTIONS_MAX, Address, Server
from heard import Log

WAIT_S = 60.0
BODY = b"hello " * 100_000


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.005)


def answer(request: Request) -> Answer:
    if request.path == "/fails":
        raise ZeroDivisionError
    if request.path != "/":
        return protocol.refuse(HTTPStatus.NOT_FOUND)
    return Answer(HTTPStatus.OK, body=BODY)


@pytest.fixture
def server(log: Log) -> Iterator[Server]:
    made = Server(Address.parse("127.0.0.1:0"), answer, log)
    yield made
    made.close()
    until(lambda: threads() == [])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("http")]


@contextlib.contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes, or cuts the connection off."""
    read = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            read += more
    return read


def ask(server: Server, sent: bytes) -> tuple[int, bytes]:
    """Send *sent*; return the answer's status and body."""
    with connected(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body


def get(path: str = "/", *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{method} {path} {version}", "Host: a", *headers, "", ""]).encode("latin-1")


def test_an_answer_is_whole_and_closes_the_connection(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(get())
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {f"Content-Length: {len(BODY)}", "Connection: close", "Cache-Control: no-store"} <= set(lines)
    assert body == BODY


def test_head_is_answered_without_the_body(server: Server) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    client.request("HEAD", "/")
    found = client.getresponse()
    assert (found.status, found.headers["Content-Length"], found.read()) == (200, str(len(BODY)), b"")
    client.close()
    assert ask(server, get(method="HEAD"))[1] == b""


def test_a_request_that_comes_in_pieces_is_one(server: Server) -> None:
    with connected(server) as connection:
        for byte in get():
            connection.send(bytes([byte]))
        assert read_all(connection).endswith(BODY)


MANY = [f"X-{number}: 1" for number in range(10_000)]
REQUESTS: dict[str, tuple[bytes, int]] = {
    "POST": (get(method="POST"), 405),
    "POST with a body": (get("/", "Content-Length: 1000000", method="POST") + b"x" * 100_000, 405),
    "DELETE": (get(method="DELETE"), 405),
    "a method in lower case": (get(method="get"), 405),
    "a method of bytes": (get(method="\xff"), 405),
    "path traversal": (get("/../../etc/passwd"), 404),
    "encoded traversal": (get("/%2e%2e/%2e%2e/etc/passwd"), 404),
    "a folder": (get("/metrics/"), 404),
    "two slashes": (get("//"), 404),
    "an asterisk": (get("*"), 404),
    "no slash": (get("a" * 8000), 404),
    "through a proxy": (get("http://evil.example/"), 200),
    "through a proxy without a path": (get("http://evil.example"), 200),
    "a query": (get("/?query=1&x[]=/etc"), 200),
    "bad hosts": (get("/", "Host: evil.example:99999", "Host: [::", "Host:"), 200),
    "HTTP/1.0": (get(version="HTTP/1.0"), 200),
    "HTTP/2": (get(version="HTTP/2.0"), 505),
    "HTTP/0.9": (get(version="HTTP/0.9"), 505),
    "HTTP/2 as it really begins": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "no target": (b"GET  / HTTP/1.1\r\n\r\n", 400),
    "nothing": (b"\r\n\r\n", 400),
    "a header without a colon": (get("/", "no colon"), 400),
    "10,000 headers": (get("/", *MANY), 431),
    "one header too many": (get("/", *MANY[:HEADERS_MAX]), 431),
    "just not too many": (get("/", *MANY[: HEADERS_MAX - 1]), 200),
    "a long header": (get("/", "Cookie: " + "x" * 2 * HEAD_BYTES_MAX), 431),
    "a long path": (get("/" + "a" * 100_000), 431),
    "no end": (b"x" * 1_000_000, 431),
    "what fails": (get("/fails"), 500),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_whatever_is_asked_there_is_an_answer_and_the_next_client_is_served(server: Server, what: str) -> None:
    sent, status = REQUESTS[what]
    assert ask(server, sent)[0] == status
    assert ask(server, get())[0] == 200


def test_whoever_sends_more_than_was_asked_for_gets_the_whole_answer_all_the_same(server: Server) -> None:
    with socket.socket() as connection:
        connection.settimeout(WAIT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(get() + b"x" * 20_000)
        until(lambda: len(threads()) == 1)  # by now most of the answer is in the kernel's hands, and the rest read
        assert read_all(connection).endswith(BODY)


def test_a_refusal_says_what_is_allowed(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(get(method="POST"))
        assert b"\r\nAllow: GET, HEAD\r\n" in read_all(connection)


def test_what_fails_while_answering_is_logged(server: Server, log: Log) -> None:
    assert ask(server, get("/fails"))[1] == b"500 Internal Server Error\n"
    assert log.facts("http_failed")["error"] == "ZeroDivisionError()"


def test_a_client_that_sends_a_byte_now_and_then_is_gone_with_its_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_S", 0.2)
    with connected(server) as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < WAIT_S:
                connection.send(b"X-a: b\r\n")
                time.sleep(0.02)
        assert time.monotonic() - began < WAIT_S, "it went on for ever"
    until(lambda: len(threads()) == 1)


def test_a_client_that_says_nothing_is_told_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_S", 0.1)
    with connected(server) as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_client_that_does_not_read_is_gone_with_its_time(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SEND_TIMEOUT_S", 0.2)
    large = Server(Address.parse("127.0.0.1:0"), lambda _request: Answer(HTTPStatus.OK, body=b"x" * (64 << 20)), log)
    with connected(large) as connection:
        connection.sendall(get())
        until(lambda: len(threads()) == 2)
        until(lambda: len(threads()) == 1)
    large.close()
    assert log.said == []


def test_clients_beyond_the_limit_are_told_so_and_the_others_are_served(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connected(server)) for _ in range(CONNECTIONS_MAX)]
        until(lambda: len(threads()) == CONNECTIONS_MAX + 1)
        for _ in range(50):
            with connected(server) as connection:
                assert read_all(connection).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert len(threads()) == CONNECTIONS_MAX + 1
        waiting[0].sendall(get())
        assert read_all(waiting[0]).endswith(BODY)
    until(lambda: len(threads()) == 1)
    assert ask(server, get())[0] == 200


def test_clients_that_leave_without_a_word_take_nothing_with_them(server: Server, log: Log) -> None:
    before = open_files()
    for number in range(100):
        with connected(server) as connection:
            connection.send(get()[: number % 20])
            if number % 2:  # by a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: len(threads()) == 1)
    until(lambda: ask(server, get())[0] == 200)
    until(lambda: open_files() <= before)
    assert log.said == []


def test_accepting_goes_on_after_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = socket.socket.accept
    failures = [OSError(errno.EMFILE, "too many open files")] * 3

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    assert [ask(server, get())[0] for _ in range(2)] == [200, 200]
    assert failures == []


def test_closing_frees_the_port_at_once_even_while_clients_hang(log: Log) -> None:
    first = Server(Address.parse("127.0.0.1:0"), answer, log)
    address = Address.parse(f"127.0.0.1:{first.port}")
    with connected(first) as hanging:
        until(lambda: len(threads()) == 2)
        first.close()
        assert read_all(hanging) == b""
    until(lambda: threads() == [])
    second = Server(address, answer, log)
    assert ask(second, get())[0] == 200
    second.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", address.port), WAIT_S)


def test_its_threads_do_not_keep_a_process_from_ending(server: Server) -> None:
    with connected(server):
        until(lambda: len(threads()) == 2)
        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("http"))


@pytest.mark.parametrize(
    ("text", "host", "port", "family"),
    [
        ("127.0.0.1:9100", "127.0.0.1", 9100, socket.AF_INET),
        ("0.0.0.0:1", "0.0.0.0", 1, socket.AF_INET),
        ("[::1]:0", "::1", 0, socket.AF_INET6),
        ("[0:0::0]:65535", "::", 65535, socket.AF_INET6),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, family: socket.AddressFamily) -> None:
    assert Address.parse(text) == Address(host, port, family)


@pytest.mark.parametrize(
    "text",
    ["", ":9100", "9100", "localhost:9100", "::1:9100", "[::1]", "[127.0.0.1]:1", "127.0.0.1", "1.2.3:4", "[]:1"],
)
def test_what_is_no_address_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address and a port"):
        Address.parse(text)


@pytest.mark.parametrize("port", ["", "65536", "-1", "http", "٣", "1.0"])
def test_what_is_no_port_is_said_to_be_none(port: str) -> None:
    with pytest.raises(ValueError, match="port"):
        Address.parse(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("br;q=1.0, gzip ; q = 0.8", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("identity", False),
        ("xgzip", False),
        ("", False),
    ],
)
def test_gzip_is_for_those_who_say_that_they_take_it(accepted: str, takes: bool) -> None:
    head = get("/", f"Accept-Encoding: {accepted}").removesuffix(b"\r\n\r\n")
    assert parse(head) == Request("/", takes_gzip=takes)
