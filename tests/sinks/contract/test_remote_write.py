"""The remote_write sink keeps the contract, beside a store that keeps samples as Prometheus does."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from domstat.catalog import DERIVED
from domstat.forms import describe
from domstat.model import Kind, key_of
from domstat.testing import Keeps, Rig, SinkContract, Store, Stored
from domstat.testing.records import COUNT, FIELDS, batch, guest
from domstat_sinks.prometheus.names import derived_of, family_of, label_text
from domstat_sinks.remote_write import RemoteWriteSink
from remotewrite import STALE_BITS, Tsdb
from scripted import Reply, ScriptedServer, reset

BY_NAME = {family_of(field).name: field for field in FIELDS} | {derived_of(name).name: name for name in DERIVED}


class Server:
    """A server on loopback, and what it has."""

    sink: ClassVar[type[Any]] = RemoteWriteSink

    def __init__(self, server: ScriptedServer, tsdb: Tsdb, folder: Path) -> None:
        self._server = server
        self._tsdb = tsdb
        self._folder = folder
        self.settings = {"url": f"{server.url}/api/v1/write", "labels": {"cluster": "north"}, "timeout": "60s"}

    def read(self) -> Iterator[Stored]:
        for pairs, series in self._tsdb.series.items():
            labels = dict(pairs)
            field = BY_NAME.get(labels["__name__"])
            for time_ms, bits in zip(series.times, series.values, strict=True):
                if field is not None and bits != STALE_BITS:
                    yield piece(field, labels, time_ms, bits)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have every request answered as by a proxy without a server behind it."""
        self._server.always = Reply(503)
        yield
        self._server.always = None

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Have everything stored, and the connection gone before there is an answer."""

        def too_late(connection: socket.socket) -> None:
            self._tsdb.prometheus(self._server.requests[-1])
            reset(connection)

        self._server.always = too_late
        yield
        self._server.always = None

    @contextmanager
    def refusing(self, uuid: str) -> Iterator[None]:
        """Have a guest's series refused, as for a limit, and the rest stored, as Mimir does it."""
        before = self._server.engine
        self._tsdb.refuses = lambda sample: "per-user series limit" if ("uuid", uuid) in sample.labels else ""
        self._server.engine = self._tsdb.mimir
        yield
        self._server.engine, self._tsdb.refuses = before, lambda _: ""

    def hopeless(self) -> Mapping[str, Any]:
        return {**self.settings, "token_file": str(self._folder / "no-such-token")}


def piece(field: str, labels: Mapping[str, str], time_ms: int, bits: int) -> Stored:
    word = field.partition(".")[0]
    # To Prometheus an empty label is none, and one device of the suite has no name, as its guest has.
    device = labels.get("device", "" if field == COUNT and "domain" not in labels else None)
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    return Stored(
        host=labels["host"],
        kind=Kind(word) if word in {Kind.HOST, Kind.POOL, Kind.AGENT} else Kind.GUEST,
        subject=labels.get("uuid", labels.get("pool", "")),
        time_ms=time_ms,
        collect=labels.get("collect"),
        name=labels.get("domain"),
        values={key_of(field, device): value / describe(field).scale},
    )


class TestRemoteWriteSink(SinkContract):
    keeps = Keeps(
        kinds=frozenset({Kind.GUEST, Kind.HOST, Kind.POOL, Kind.AGENT}),
        texts=False,
        rates=False,
        remarks=False,
        tolerance=1e-14,
        text=lambda text: label_text(text).decode(),
    )

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        tsdb = Tsdb()
        with ScriptedServer() as server:
            server.engine = tsdb.prometheus
            yield Server(server, tsdb, tmp_path)

    def test_time_may_go_back(self, rig: Rig) -> None:
        """No store of this protocol takes what is older than the newest, so it is rejected, and not kept from us."""
        sink = rig.open()
        written = [batch(guest(time_ms=rig.at(at))) for at in (5, 6, 2, 3, 7)]
        rejected = [record for tick in written for record in rig.write(sink, tick)]
        assert rejected == [*written[2].records, *written[3].records]
        rig.holds(*written)
