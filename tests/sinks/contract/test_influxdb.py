"""The influxdb sink keeps the contract, beside a server that stores line protocol as InfluxDB does."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from domstat.testing import Keeps, SinkContract, Store, Stored
from domstat_sinks.escape import escape_name
from domstat_sinks.influxdb import InfluxdbSink
from lines import read
from scripted import Reply, ScriptedServer, influxdb_3

from .lineprotocol import piece


class Server:
    """A server on loopback, and what it has."""

    sink: ClassVar[type[Any]] = InfluxdbSink

    def __init__(self, server: ScriptedServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self.settings = {"url": server.url, "org": "o", "bucket": "b", "timeout": "1s"}

    def read(self) -> Iterator[Stored]:
        for key, fields in self._server.points.items():
            head, _, stamp = key.rpartition(b" ")
            (line,) = read(head + b" " + fields + b" " + stamp + b"\n")
            yield piece(line)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have every request answered as by a proxy without a server behind it."""
        self._server.always = Reply(503)
        yield
        self._server.always = None

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Have everything stored, and answered when nobody waits any more."""

        def too_late(connection: socket.socket) -> None:
            self._server.store(self._server.requests[-1].lines)
            self._server.wait(2.0)

        self._server.always = too_late
        yield
        self._server.always = None

    @contextmanager
    def refusing(self, uuid: str) -> Iterator[None]:
        """Have lines about one guest refused, as for a field's type."""
        before = self._server.engine
        self._server.engine = influxdb_3(self._server, lambda line: uuid.encode() in line)
        yield
        self._server.engine = before

    def hopeless(self) -> Mapping[str, Any]:
        return {**self.settings, "token_file": str(self._folder / "no-such-token")}


class TestInfluxdbSink(SinkContract):
    keeps = Keeps(text=escape_name)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with ScriptedServer() as server:
            yield Server(server, tmp_path)
