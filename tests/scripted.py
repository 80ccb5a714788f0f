"""A real HTTP server on loopback that does as it is told: a store that takes line protocol, and everything but.

What it stores it keeps by the key of a point (measurement, tags, time), as InfluxDB does, so that what comes twice is
there once.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    """As it came."""

    @property
    def text(self) -> bytes:
        """The body, decompressed."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body

    @property
    def lines(self) -> list[bytes]:
        return self.text.splitlines()


@dataclass(frozen=True)
class Reply:
    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stores: bool | None = None
    """Whether the request's lines are stored; by default as the status says."""

    def write(self) -> bytes:
        head = [f"HTTP/1.1 {self.status} Said"]
        headers = {"Content-Length": str(len(self.body)), **self.headers}
        head += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


def said(status: int, **body: Any) -> Reply:
    """Answer in JSON, as InfluxDB does."""
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


Step = Reply | Callable[[socket.socket], None]
"""What is done with a request: an answer, or something with the connection, which is closed then."""
Engine = Callable[[Request], Reply]
Refuses = Callable[[bytes], bool]


class ScriptedServer:
    """Does the next of *script* with each request, then *always* what that says; else it is what *engine* makes it."""

    def __init__(self, *script: Step, tls: ssl.SSLContext | None = None) -> None:
        self.script: list[Step] = list(script)
        self.always: Step | None = None
        self.engine: Engine = lambda _: Reply()
        self.resets_after: int | None = None
        """Bytes of the next request's body after which the connection is reset."""
        self.requests: list[Request] = []
        self.points: dict[bytes, bytes] = {}
        """By key, the fields."""
        self.times_stored: dict[bytes, int] = {}
        self.connections = 0
        self.closed = 0
        """Connections that the server has ended."""
        self._tls = tls
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in self._open:
            connection.close()

    def store(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            head, _, rest = _split(line)
            fields, _, stamp = rest.rpartition(b" ")
            key = head + b" " + stamp
            self.points[key] = fields
            self.times_stored[key] = self.times_stored.get(key, 0) + 1

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        self._over.wait(seconds)

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        self._serve_all(connection)
        self.closed += 1

    def _serve_all(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            if self._tls is not None:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
                self._open.append(connection)
            self.connections += 1
            with connection.makefile("rb") as stream:
                while (head := _read_head(stream)) is not None:
                    if self.resets_after is not None:
                        stream.read(self.resets_after)
                        self.resets_after = None
                        reset(connection)
                        return
                    request = _read_body(stream, head)
                    self.requests.append(request)
                    if not self._do(connection, request):
                        return

    def _do(self, connection: socket.socket, request: Request) -> bool:
        """Do the next step; return whether the connection goes on."""
        step = self.script.pop(0) if self.script else self.always or self.engine(request)
        if not isinstance(step, Reply):
            step(connection)
            with contextlib.suppress(OSError):  # it may have been closed already
                connection.shutdown(socket.SHUT_RDWR)
            return False
        stores = step.stores if step.stores is not None else 200 <= step.status < 300
        if stores:
            self.store(request.lines)
        connection.sendall(step.write())
        return True


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Split at the first blank that no backslash protects."""
    at = next(i for i in range(1, len(line)) if line[i : i + 1] == b" " and line[i - 1 : i] != b"\\")
    return line[:at], b" ", line[at + 1 :]


def _read_head(stream: Any) -> Request | None:
    first = stream.readline().decode().split()
    if not first:
        return None
    headers: dict[str, str] = {}
    while (line := stream.readline().strip().decode()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    target = urlsplit(first[1])
    query = {name: values[0] for name, values in parse_qs(target.query, keep_blank_values=True).items()}
    return Request(first[0], target.path, query, headers, b"")


def _read_body(stream: Any, head: Request) -> Request:
    return replace(head, body=stream.read(int(head.headers.get("content-length", 0))))


def influxdb_1(server: ScriptedServer, refuses: Refuses) -> Engine:
    """Answer as InfluxDB 1 (and 2, with 422): the others are stored, and the refused are counted."""

    def answer(request: Request) -> Reply:
        refused = _sort(server, request, refuses)
        if not refused:
            return Reply(stores=False)
        why = 'field type conflict: input field "x" on measurement "m" is type integer, already exists as type float'
        return said(400, error=f"partial write: {why} dropped={len(refused)}")

    return answer


def influxdb_2_parsing(_server: ScriptedServer, refuses: Refuses) -> Engine:
    """Answer as InfluxDB 2 where a line cannot be parsed: nothing is stored, and one line is quoted."""

    def answer(request: Request) -> Reply:
        refused = [line for line in request.lines if refuses(line)]
        if not refused:
            return Reply()
        return said(400, code="invalid", message=f"unable to parse '{refused[0].decode()}': missing fields")

    return answer


def influxdb_3(server: ScriptedServer, refuses: Refuses) -> Engine:
    """Answer as InfluxDB 3: the others are stored, and up to 100 of the refused are named."""

    def answer(request: Request) -> Reply:
        refused = _sort(server, request, refuses)
        if not refused:
            return Reply(stores=False)
        data = [
            {"original_line": line.decode()[:80], "line_number": n + 1, "error_message": f"no good, line {n + 1}"}
            for n, line in refused[:100]
        ]
        return said(400, error="partial write of line protocol occurred", data=data)

    return answer


def _sort(server: ScriptedServer, request: Request, refuses: Refuses) -> list[tuple[int, bytes]]:
    """Store what is not refused; return what is."""
    lines = list(enumerate(request.lines))
    server.store([line for _, line in lines if not refuses(line)])
    return [(n, line) for n, line in lines if refuses(line)]


def after(server: ScriptedServer, seconds: float, reply: Reply) -> Step:
    """Store what came, and answer too late."""

    def step(connection: socket.socket) -> None:
        server.store(server.requests[-1].lines)
        server.wait(seconds)
        with contextlib.suppress(OSError):
            connection.sendall(reply.write())

    return step


def drips(server: ScriptedServer, text: bytes, every_s: float) -> Step:
    """Send *text* byte by byte, with a pause after each."""

    def step(connection: socket.socket) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            server.wait(every_s)

    return step


def sends(text: bytes) -> Step:
    """Send *text* and close the connection."""
    return lambda connection: connection.sendall(text)


def endless(status: int, chunk: bytes = b"x" * 65_536, **headers: str) -> Step:
    """Answer with a body that never ends."""

    def step(connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status} Said", "Transfer-Encoding: chunked", *(f"{k}: {v}" for k, v in headers.items())]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        while True:  # until nobody reads it any more
            connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")

    return step


def reset(connection: socket.socket) -> None:
    """Have the connection torn down: the other side finds it reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # at once, whoever still has it
