"""Every shipped sink, open, with what it writes to: its own files, a pipe, or a real server behind a counting relay.

Settings are the sinks' own defaults, but for where the server is, and for gzip, which ``influxdb`` leaves out over
loopback: what goes over a wire is to be what goes over a network.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from msgspec import Struct

from domstat.model import Batch, Record
from domstat.settings import Duration
from domstat.sink import Sink, SinkContext, SinkError
from domstat_bench.agent_run import BenchError
from domstat_bench.measure import cpu_ns, descendants
from domstat_bench.scrape import scraping
from domstat_bench.store_peers import disk_bytes, version_of
from domstat_bench.wire import LOOPBACK, wire_to
from domstat_bench.workload_drive import TICK_S
from domstat_lab.postgres import DATABASE, SUPERUSER, Postgres
from domstat_lab.servers import InfluxDB, Prometheus
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb.settings import InfluxdbSettings
from domstat_sinks.parquet import ParquetSink
from domstat_sinks.parquet.settings import ParquetSettings
from domstat_sinks.postgres import PostgresSink
from domstat_sinks.postgres.settings import PostgresSettings
from domstat_sinks.prometheus import PrometheusSink
from domstat_sinks.prometheus.settings import PrometheusSettings
from domstat_sinks.remote_write import RemoteWriteSink
from domstat_sinks.remote_write.settings import RemoteWriteSettings
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from domstat_sinks.stdout import StdoutSettings, StdoutSink

_CLOCK_TICKS_A_S = os.sysconf("SC_CLK_TCK")


class Put(Struct, frozen=True):
    """What has come of everything that a sink was given, in bytes, as far as it has any of these.

    *file* is what its own files or tables take on the disk, *wire* what it sent.
    """

    file: int | None = None
    wire: int | None = None


class Server(Struct, frozen=True):
    """What a sink writes to: its *name* and version, and the CPU that it has spent so far."""

    name: str
    spent_ns: Callable[[], int]


class Rig(Struct, frozen=True):
    """A sink that is open: *write* and *close* are its own, *then* belongs to a tick too.

    *put* says, when it is closed, what has come of all.
    """

    write: Callable[[list[Batch]], object]
    close: Callable[[], object]
    put: Callable[[], Put]
    then: Callable[[], object] | None = None
    server: Server | None = None

    def take(self, batch: Batch) -> None:
        """Do everything that a tick needs. Raises BenchError if the sink cannot."""
        try:
            self.write([batch])
        except SinkError as error:
            raise BenchError(f"{self.write}: {error}") from error
        if self.then is not None:
            self.then()


def _context(folder: Path) -> SinkContext:
    """Make a context in which nothing is left out unseen; nor is there a log, for nothing is to be said."""

    def reject_part(record: Record, reason: str) -> None:
        raise BenchError(f"a part of the record of {record.time_ms} was left out: {reason}")

    folder.mkdir(parents=True, exist_ok=True)
    return SinkContext("bench", folder, None, reject_part)


@contextmanager
def _opened(sink: Sink, folder: Path) -> Iterator[None]:
    sink.open(_context(folder))
    try:
        yield
    finally:
        sink.close()


@contextmanager
def _sqlite(folder: Path) -> Iterator[Rig]:
    sink = SqliteSink(SqliteSettings())
    with _opened(sink, folder):
        yield Rig(sink.write, sink.close, lambda: Put(file=disk_bytes(folder)))


@contextmanager
def _parquet(folder: Path, every_s: int) -> Iterator[Rig]:
    """Have an hour's file made anew every *every_s* of the ticks' time.

    The sink goes by a clock on which these ticks are over in no time, and makes the files of hours that are long past
    when it is closed: so it is closed and opened whenever it would make them.
    """
    sink, context, ticks = ParquetSink(ParquetSettings(every=Duration(every_s))), _context(folder), 0

    def then() -> None:
        nonlocal ticks
        ticks += 1
        if ticks % (every_s // TICK_S) == 0:
            sink.close()
            sink.open(context)

    with _opened(sink, folder):
        yield Rig(sink.write, sink.close, lambda: Put(file=disk_bytes(folder)), then)


@contextmanager
def _postgres(folder: Path) -> Iterator[Rig]:
    folder.mkdir()
    folder.chmod(0o755)  # it runs as somebody else
    with Postgres(folder / "server") as server, wire_to(server.port) as wire:
        settings = PostgresSettings(host=LOOPBACK, port=wire.port, dbname=DATABASE, user=SUPERUSER)
        sink = PostgresSink(settings)

        def size() -> int:
            ((found,),) = server.query("SELECT pg_database_size(current_database())")
            return int(found)

        with _opened(sink, folder / "state"):
            empty = size()
            yield Rig(
                sink.write,
                sink.close,
                lambda: Put(file=size() - empty, wire=wire.sent_bytes()),
                server=Server(f"PostgreSQL {version_of('postgresql-15')}", lambda: _with_children_ns(server.pid)),
            )


@contextmanager
def _remote_write(folder: Path) -> Iterator[Rig]:
    with (
        Prometheus(folder / "server", arguments=["--web.enable-remote-write-receiver"]) as server,
        wire_to(server.port) as wire,
    ):
        sink = RemoteWriteSink(RemoteWriteSettings(url=f"http://{LOOPBACK}:{wire.port}/api/v1/write"))
        with _opened(sink, folder / "state"):
            yield Rig(
                sink.write,
                sink.close,
                lambda: Put(wire=wire.sent_bytes()),
                server=Server(f"Prometheus {version_of('prometheus')}", lambda: cpu_ns(server.pid)),
            )


@contextmanager
def _influxdb(folder: Path) -> Iterator[Rig]:
    with InfluxDB(folder / "server") as server, wire_to(server.front.port) as wire:
        settings = InfluxdbSettings(url=f"http://{LOOPBACK}:{wire.port}", bucket=server.database, gzip="on")
        sink = InfluxdbSink(settings)
        with _opened(sink, folder / "state"):
            yield Rig(
                sink.write,
                sink.close,
                lambda: Put(wire=wire.sent_bytes()),
                server=Server(f"InfluxDB {version_of('influxdb')}", lambda: cpu_ns(server.pid)),
            )


@contextmanager
def _prometheus(folder: Path) -> Iterator[Rig]:
    """Have every tick scraped once, by a client in a process of its own; ticks of last week are not stale here."""
    settings = PrometheusSettings(listen=f"{LOOPBACK}:0", stale_after=Duration(30 * 86_400))
    sink, scraped = PrometheusSink(settings), 0

    with _opened(sink, folder), scraping(sink.port) as scrape:

        def then() -> None:
            nonlocal scraped
            scraped += scrape()

        yield Rig(sink.write, sink.close, lambda: Put(wire=scraped), then)


@contextmanager
def _stdout(folder: Path) -> Iterator[Rig]:
    """Have JSON lines go into a pipe to another program."""
    sink = StdoutSink(StdoutSettings(format="json"))
    with subprocess.Popen(["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        pipe, counted = reader.stdin, reader.stdout

        def put() -> Put:
            pipe.close()
            return Put(wire=int(counted.read()))

        with _standard_output(pipe):
            sink.open(_context(folder))
        yield Rig(sink.write, sink.close, put)


@contextmanager
def _standard_output(pipe: Any) -> Iterator[None]:
    """Have *pipe* for the sink's standard output, which it takes hold of when it is opened."""
    before: TextIO = sys.stdout
    sys.stdout = pipe
    try:
        yield
    finally:
        sys.stdout = before


@contextmanager
def _rates(_folder: Path) -> Iterator[Rig]:
    """Have rates and derived values made, which whoever asks for them first does for all."""

    def make(batches: list[Batch]) -> None:
        for record in batches[0].records:
            _ = record.rates, record.derived

    yield Rig(make, lambda: None, Put)


def _with_children_ns(pid: int) -> int:
    """Return the CPU time of a process and all below it, those that have ended too (these by the clock tick)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    spent = cpu_ns(pid) + (int(words[13]) + int(words[14])) * 10**9 // _CLOCK_TICKS_A_S
    for child in descendants(pid):
        with contextlib.suppress(OSError):  # it has just ended
            spent += cpu_ns(child)
    return spent


RATES = "rates"

RIGS: Mapping[str, Callable[[Path], AbstractContextManager[Rig]]] = {
    "sqlite": _sqlite,
    "parquet": lambda folder: _parquet(folder, 900),
    "parquet-1h": lambda folder: _parquet(folder, 3600),
    "prometheus": _prometheus,
    "stdout": _stdout,
    RATES: _rates,
    "postgres": _postgres,
    "remote_write": _remote_write,
    "influxdb": _influxdb,
}
"""By name, the sinks as they are measured; what has a server is last, whose work then disturbs no other."""
