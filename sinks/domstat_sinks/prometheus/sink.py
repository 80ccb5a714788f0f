"""The sink: takes ticks in at next to no cost, and turns them into text when somebody scrapes."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any, ClassVar

from isal import isal_zlib
from msgspec import Struct

from domstat.model import Batch
from domstat.sink import Fatal, Retry, SinkContext
from domstat_sinks.prometheus.exposition import Exposition
from domstat_sinks.prometheus.http import Answer, Request, refuse
from domstat_sinks.prometheus.process import Process
from domstat_sinks.prometheus.server import Address, Server
from domstat_sinks.prometheus.settings import PrometheusSettings
from domstat_sinks.prometheus.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' own text format, which every version of it takes, and everybody else who scrapes."""

GZIP_LEVEL = 1
GZIP_FORMAT = 31  # zlib's number for gzip with the largest window
"""At 200 guests 2 MiB of text become 150 KiB, for 2 ms."""

PACKED_AT_ONCE_BYTES = 256 * 1024
"""Text compressed in one go: this compressor finds nothing alike in what it was given in an earlier, small one."""

HOPELESS = {errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT}
"""Errors of listening that no retry mends: a port below 1024 without the right to it, no IPv6."""

_PAGE = b"""<!DOCTYPE html>
<html lang="en"><head><title>domstat</title></head>
<body><h1>domstat</h1><p><a href="/metrics">Metrics</a></p></body></html>
"""


class PrometheusSink:
    """Keeps the latest of every stream and serves it over HTTP."""

    Settings: ClassVar[type[Struct]] = PrometheusSettings

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._store = Store(settings.stale_after)
        self._scrapes = Scrapes(self._store)
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened at, 0 while there is none."""
        return self._server.port if self._server is not None else 0

    def open(self, context: SinkContext) -> None:
        """Begin to listen. Raises Fatal for an address that is none, Retry for one that is taken."""
        listen = self._settings.listen
        try:
            self._server = Server(Address.parse(listen), self._answer, context.log)
        except ValueError as error:
            raise Fatal(f"cannot listen at {listen}: {error}") from error
        except OSError as error:
            what = "somebody else does" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            message = f"cannot listen at {listen}: {what}"
            raise (Fatal if error.errno in HOPELESS else Retry)(message) from error

    def write(self, batches: Sequence[Batch]) -> None:
        """Keep *batches* in place of those before them."""
        self._store.add(batches, time.monotonic(), time.time_ns() // 1_000_000)

    def close(self) -> None:
        """Let go of the port."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _answer(self, request: Request) -> Answer:
        match request.path:
            case "/metrics":
                return self._scrapes.answer(request, time.monotonic())
            case "/health":
                return Answer(HTTPStatus.OK, body=b"ok\n")
            case "/":
                return Answer(HTTPStatus.OK, "text/html; charset=utf-8", _PAGE)
            case _:
                return refuse(HTTPStatus.NOT_FOUND)


class _Scraped(Struct, frozen=True):
    """What was answered last, compressed; the answer still is that while nothing comes and nothing gets stale."""

    version: int
    fresh_until_s: float
    packed: bytes


class Scrapes:
    """Answers scrapes out of a store; those of one tick have the same answer, which is made once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._exposition = Exposition()
        self._process = Process()
        self._lock = threading.Lock()
        self._last: _Scraped | None = None

    def answer(self, request: Request, now_s: float) -> Answer:
        """Answer *request* as of *now_s* of the clock that the store is told."""
        with self._lock:  # who comes while somebody else's answer is made gets the same one
            last = self._last
            if last is None or last.version != self._store.version or now_s >= last.fresh_until_s:
                last = self._last = self._scrape(now_s)
        body = last.packed if request.takes_gzip else _unpack(last.packed)
        return Answer(HTTPStatus.OK, CONTENT_TYPE, body, request.takes_gzip)

    def _scrape(self, now_s: float) -> _Scraped:
        snapshot = self._store.snapshot(now_s)
        packed = _pack(chain(self._exposition.write(snapshot), [self._process.write()]))
        return _Scraped(snapshot.version, snapshot.fresh_until_s, packed)


def _pack(texts: Iterable[bytes]) -> bytes:
    """Compress *texts* some at a time, so that they are never all there in one piece."""
    compressor: Any = isal_zlib.compressobj(GZIP_LEVEL, wbits=GZIP_FORMAT)
    packed: list[bytes] = []
    waiting: list[bytes] = []
    for text in texts:
        waiting.append(text)
        if sum(map(len, waiting)) >= PACKED_AT_ONCE_BYTES:
            packed.append(compressor.compress(b"".join(waiting)))
            waiting = []
    return b"".join([*packed, compressor.compress(b"".join(waiting)), compressor.flush()])


def _unpack(packed: bytes) -> bytes:
    unpack: Any = isal_zlib.decompress  # the library is half typed
    return bytes(unpack(packed, wbits=GZIP_FORMAT))
