"""urllib3's connections, bounded: how long a request may take in all, how much of an answer is read.

What urllib3 bounds is each single wait, so that a server which sends a byte a second holds a caller for ever. Here a
timer shuts the connection down, wherever the request then stands: sending, in the middle of a header, or in the body.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ReadTimeoutError

from domstat.text import printable
from domstat_sinks.sending.answers import Answer, is_success

ANSWER_BYTES_MAX = 65_536
"""Bytes of an answer's body that are read: some servers name a hundred items in it, others say a sentence."""

CONNECT_TIMEOUT_S = 5.0
"""Seconds until a connection must stand, or half of what the whole request has: one is much around the world."""


class Unreachable(Exception):
    """There was no whole answer; the text says why. Whether anything was stored is not known."""


class NotStored(Exception):
    """The server's *answer*, where that is no success."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Watch:
    """Ends what takes too long: shuts down the connection that :meth:`over` was told of."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.has_ended_it = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._requests = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is done within."""
        with self._lock:
            self._requests += 1
            self.has_ended_it, self._socket = False, None
        timer = threading.Timer(self.seconds, self._end, [self._requests])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def over(self, connection: Any) -> None:
        """Watch over the socket of *connection* (urllib3's); its time may be up already."""
        with self._lock:
            self._socket = connection.sock
            if self.has_ended_it:
                raise TimeoutError

    def _end(self, request: int) -> None:
        with self._lock:
            if request != self._requests:  # it ended just then, and another has begun
                return
            self.has_ended_it = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # The plain socket's own: that of TLS would change what another thread is reading from.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class BoundedPool:
    """Stands in for urllib3's pool manager, in a client library too: sends one request and follows nothing.

    Such a library never sees an answer that is no success: it would read all of it, and log it in its own way.
    """

    def __init__(self, pool: Any, timeout_s: float) -> None:
        """Send through *pool*, a urllib3.PoolManager, whose connections are replaced by watched ones."""
        self._pool = pool
        self._watch = Watch(timeout_s)
        self._timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s / 2), read=timeout_s)
        pool.pool_classes_by_scheme = _watched_pools(self._watch)

    def request(self, method: str, url: str, *, body: bytes, headers: dict[str, str], **_: Any) -> Any:
        """Send a request and return urllib3's response, without its body. Raises NotStored or Unreachable."""
        response = None
        with self._watch.watching():
            try:
                response = self._pool.request(
                    method,
                    url,
                    body=body,
                    headers=headers,
                    timeout=self._timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                body_read = self._read(response)
            except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                raise Unreachable(self._why(error)) from error
            finally:
                if response is not None:
                    response.close()
        if not is_success(response.status):
            headers = {name.lower(): value for name, value in response.headers.items()}
            raise NotStored(Answer(response.status, headers, body_read, response.reason or ""))
        return urllib3.HTTPResponse(io.BytesIO(), response.headers, response.status, reason=response.reason)

    def clear(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _read(self, response: Any) -> bytes:
        """Read the body's beginning. What was stored is stored, even if the rest of the answer does not come."""
        body = b""
        try:
            while len(body) <= ANSWER_BYTES_MAX and (part := response.read(ANSWER_BYTES_MAX, decode_content=False)):
                body += part
        except (HTTPError, http.client.HTTPException, OSError):
            if is_success(response.status):
                return b""
            raise
        if len(body) <= ANSWER_BYTES_MAX:
            response.release_conn()
        return body[:ANSWER_BYTES_MAX]

    def _why(self, error: BaseException) -> str:
        if self._watch.has_ended_it or isinstance(error, ReadTimeoutError):
            return f"there was no whole answer within {self._watch.seconds:g} s"
        return why(error)


def open_pool(timeout_s: float, tls: ssl.SSLContext, proxy: str | None = None) -> BoundedPool:
    """Make a pool of connections to any server, through *proxy* if one is given."""
    if proxy is None:
        return BoundedPool(urllib3.PoolManager(ssl_context=tls), timeout_s)
    return BoundedPool(urllib3.ProxyManager(proxy, ssl_context=tls), timeout_s)


def tls_of(ca_file: str | None, *, verify: bool) -> ssl.SSLContext:
    """Say what is asked of a server's certificate. Raises OSError for a *ca_file* that cannot be used."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once, when the sink opens
    return context


def why(error: BaseException) -> str:
    """Say in a few words what went wrong, out of urllib3's nested errors."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or cause}"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f"the server's name is not known: {cause.strerror}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
    if any(isinstance(cause, ConnectTimeoutError) for cause in causes):
        return "there was no connection in time"
    return printable(str(causes[-1]) or type(causes[-1]).__name__)


def has_unreadable_header(error: BaseException) -> bool:
    """Whether the answer came, with a header that is too long: some servers quote there whatever they cannot parse."""
    return any(isinstance(cause, http.client.LineTooLong) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that it came of, the nearest first."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            inner = [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
            waiting += [one for one in inner if isinstance(one, BaseException)]


def _watched_pools(watch: Watch) -> dict[str, type[HTTPConnectionPool]]:
    """Make urllib3's pools, with connections that *watch* knows of as soon as they stand."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            watch.over(self)

        def request(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:  # one that is used again
                watch.over(self)
            super().request(*args, **options)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            watch.over(self)

        def request(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:
                watch.over(self)
            super().request(*args, **options)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
