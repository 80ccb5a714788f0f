"""A small HTTP server that hostile clients cannot make large: few connections, small heads, short waits.

One thread accepts, one serves each connection, and there are at most :data:`CONNECTIONS_MAX` of these; a client beyond
them is told 503 at once. Every wait has an end, whole and not per byte, so that a client which sends or reads a byte a
second is gone as soon as one that does nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from domstat_sinks.prometheus.http import HEAD_BYTES_MAX, Answer, Request, parse, refuse

CONNECTIONS_MAX = 8
"""Connections at once: two Prometheus servers, somebody with a browser, and some that hang."""

BACKLOG = 128
"""Connections that the kernel lets wait until they are accepted, which is at once: those beyond it would have to wait
for seconds, until their client knocks again."""

HEAD_TIMEOUT_S = 5.0
"""Seconds until a request's head is here; it comes in one piece from whoever means it."""

SEND_TIMEOUT_S = 10.0
"""Seconds until an answer is taken: as long as Prometheus waits for a scrape unless told otherwise."""

LINGER_S = 0.5
LINGER_BYTES_MAX = 64 * 1024
"""How much is read, and for how long, of what a refused client still sends: closed any sooner, the connection would be
reset, and the client would never see why."""

ACCEPT_AGAIN_S = 0.1
"""Seconds until accepting is tried again that failed for want of file descriptors."""

_READ_BYTES = 4096


class Address(Struct, frozen=True):
    """Where to listen."""

    host: str
    port: int
    family: socket.AddressFamily

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``127.0.0.1:9100`` or ``[::1]:9100``. Raises ValueError saying what is wrong."""
        host, colon, port = text.rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
        except ValueError:
            address = None
        if not colon or address is None or is_bracketed != (address.version == 6):
            raise ValueError('it is not an IP address and a port such as "127.0.0.1:9100" or "[::1]:9100"')
        if not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise ValueError("its port is not a number below 65536")
        return cls(str(address), int(port), socket.AF_INET6 if address.version == 6 else socket.AF_INET)


class Server:
    """Listens from the moment it is made; *answer* is called by its threads, several at once."""

    def __init__(self, address: Address, answer: Callable[[Request], Answer], log: Any) -> None:
        """Begin to listen. Raises OSError if the address is not to be had."""
        self._answer = answer
        self._log = log
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listener = _listen(address)
        self.port: int = self._listener.getsockname()[1]
        """The one listened at, where port 0 left it to the kernel."""
        self._thread = threading.Thread(target=self._accept, name=f"http-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port and of every connection."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which is what wakes accept
        self._thread.join(LINGER_S)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed; a client that has gone; no file descriptor left
                self._closed.wait(ACCEPT_AGAIN_S)
                continue
            if not self._slots.acquire(blocking=False):
                _turn_away(connection)
                continue
            with self._lock:
                self._connections.add(connection)
            try:
                threading.Thread(target=self._serve, args=(connection,), name="http", daemon=True).start()
            except RuntimeError:  # no thread is to be had
                self._let_go(connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            head = _read_head(connection)
            if head is not None:
                self._reply(connection, parse(head) if isinstance(head, bytes) else head)
        except OSError:  # the client went away or was too slow
            pass
        except Exception as error:  # noqa: BLE001 - a thread that ends by an error must not take the slot with it
            self._log.error("http_failed", error=repr(error), exc_info=error)
        finally:
            self._let_go(connection)

    def _reply(self, connection: socket.socket, asked: Request | Answer) -> None:
        head_only = isinstance(asked, Request) and asked.head_only
        answer = asked if isinstance(asked, Answer) else self._answer_to(asked)
        connection.settimeout(SEND_TIMEOUT_S)
        connection.sendall(answer.write(head_only=head_only))  # its timeout is the whole answer's
        _linger(connection)

    def _answer_to(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - the client is to hear of it
            self._log.error("http_failed", error=repr(error), exc_info=error)
            return refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _let_go(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)
            connection.close()
        self._slots.release()


def _listen(address: Address) -> socket.socket:
    # A server on all addresses of IPv6 is meant for IPv4's too, where the system has both.
    dual = address.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (address.host, address.port), family=address.family, backlog=BACKLOG, dualstack_ipv6=dual
    )


def _read_head(connection: socket.socket) -> bytes | Answer | None:
    """Read a request up to the empty line; None if the client left before."""
    until_s = time.monotonic() + HEAD_TIMEOUT_S
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > HEAD_BYTES_MAX:
            return refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return refuse(HTTPStatus.REQUEST_TIMEOUT)
        connection.settimeout(left_s)
        try:
            read = connection.recv(_READ_BYTES)
        except TimeoutError:
            return refuse(HTTPStatus.REQUEST_TIMEOUT)
        if not read:
            return None
        head += read
    return head.partition(b"\r\n\r\n")[0]


def _linger(connection: socket.socket) -> None:
    """Say that nothing more comes, and wait a moment for the client to have heard it."""
    connection.shutdown(socket.SHUT_WR)
    until_s, read = time.monotonic() + LINGER_S, 0
    while read < LINGER_BYTES_MAX and (left_s := until_s - time.monotonic()) > 0:
        connection.settimeout(left_s)
        more = len(connection.recv(_READ_BYTES))
        if not more:
            return
        read += more


def _turn_away(connection: socket.socket) -> None:
    """Tell a client that there are too many, if that can be done without waiting for it."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.send(refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After: 1").write())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(_READ_BYTES)  # what is read does not reset the connection
