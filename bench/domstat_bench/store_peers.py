"""The made-up guests in other stores: VictoriaMetrics, Prometheus and InfluxDB 1.6, fed the identical samples.

Each is fed in the way that suits it best, hours at a time, and then left until it has merged what it has; what counts
is what its files take on the disk then. CPU is the server's own (of Prometheus promtool's, which writes the blocks).
Whole-second stamps favour the others, since they compress stamps of each series: ours are exact to the millisecond.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from domstat.model import split_key
from domstat_bench.agent_run import BenchError
from domstat_bench.measure import cpu_ns
from domstat_bench.workload import Hour, Workload
from domstat_bench.workload_batches import keys_of, uuid_of
from domstat_bench.workload_drive import DAY_HOURS, TICK_S
from domstat_lab.processes import wait_until
from domstat_lab.servers import UNPACKED, InfluxDB, Prometheus, VictoriaMetrics, program

_TICK_MS = TICK_S * 1000
_QUIET_S, _QUIET_S_MAX = 8.0, 180.0
"""A store has merged all it will once its files are the same for so long; how long that is waited for."""
_MERGES, _MERGED, _REMOVED_S = 4, "successfully finished", 1.0
"""VictoriaMetrics passes over what is being merged already, so it is told more than once; what its log says then; and
how long until the files that were merged are gone."""
_PROMTOOL_S_MAX = 1800.0
_VICTORIA_ARGUMENTS = ("-search.disableCache", "-search.maxPointsPerTimeseries=1000000", "-search.maxQueryDuration=25s")
_PROMETHEUS_ARGUMENTS = ("--query.timeout=25s", "--query.max-samples=500000000")
_INFLUX_SETTINGS = {
    "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION": "5s",
    "INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "2s",
}
"""It would wait for four hours of quiet before it compacts fully."""


class Kept(Struct, frozen=True):
    """What a store made of *samples*: *disk_bytes* of files, with *cpu_ns* of CPU for taking and merging them."""

    name: str
    version: str
    samples: int
    disk_bytes: int
    cpu_ns: int

    @property
    def bytes_a_sample(self) -> float:
        """Bytes on the disk for each sample."""
        return self.disk_bytes / self.samples


class Peer(Protocol):
    """A store that is fed, and may then be asked."""

    name: str

    def feed(self, hour: Hour) -> None:
        """Take an hour of everything."""

    def settle(self) -> Kept:
        """Have everything written down and merged."""


def disk_bytes(folder: Path) -> int:
    """Return how much of the disk the files below *folder* take; what is reserved and was never written is not."""
    found = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # merged away meanwhile
            found += path.lstat().st_blocks * 512 if path.is_file() else 0
    return found


def _until_quiet(folder: Path) -> int:
    """Return the size of *folder* once it changes no more."""
    until, size, since = time.monotonic() + _QUIET_S_MAX, -1, 0.0
    while time.monotonic() < until:
        now = disk_bytes(folder)
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > _QUIET_S:
            return size
        time.sleep(0.25)
    raise BenchError(f"{folder} does not come to rest within {_QUIET_S_MAX:g} s")


def version_of(package: str) -> str:
    """Return the version of a server's Debian package, by its own changelog: one of the programs does not say."""
    for path in sorted((UNPACKED / "usr/share/doc" / package).glob("changelog.Debian*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as text:
            if found := re.search(r"\(([^)]+)\)", text.readline()):
                return found[1]
    return "of unknown version"


def stamps_named(exact: bool) -> str:  # noqa: FBT001 - one word for each
    """Name the stamps that a store was given."""
    return "ms stamps" if exact else "whole seconds"


def stamps_of(hour: Hour, *, exact: bool) -> list[int]:
    """Return the ticks' stamps; unless *exact* as if no tick were ever late."""
    stamps = hour.ticks.time_ms
    taken: list[int] = (stamps if exact else stamps // _TICK_MS * _TICK_MS).tolist()
    return taken


def labels_of(number: int, key: str) -> tuple[str, dict[str, str]]:
    """Return a series' name, as Prometheus spells it, and its labels."""
    field, device = split_key(key)
    labels = {"uuid": uuid_of(number)} | ({"device": device} if device else {})
    return field.replace(".", "_").replace("-", "_"), labels


class Victoria:
    """VictoriaMetrics, by its own import of lines that hold an hour of a series each."""

    def __init__(self, server: VictoriaMetrics, *, exact: bool) -> None:
        self.name = "VictoriaMetrics, " + stamps_named(exact)
        self.server, self._exact, self._samples = server, exact, 0
        self._since_ns = cpu_ns(server.pid)

    def feed(self, hour: Hour) -> None:
        """Take an hour of everything."""
        stamps = stamps_of(hour, exact=self._exact)
        encoder = msgspec.json.Encoder()
        for number in range(hour.values.shape[1]):
            lines = []
            for i, key in enumerate(keys_of(number)):
                name, labels = labels_of(number, key)
                values = hour.values[i, number].tolist()
                line = {"metric": {"__name__": name, **labels}, "values": values, "timestamps": stamps}
                lines.append(encoder.encode(line))
            self.server.request("/api/v1/import", b"\n".join(lines))
        self._samples += hour.samples

    def settle(self) -> Kept:
        """Have everything written down and merged."""
        self.server.request("/internal/force_flush")
        for _ in range(_MERGES):
            before = self.server.log.count(_MERGED)
            self.server.request("/internal/force_merge")  # which only begins it
            wait_until(
                partial(self._has_merged, before + 1),
                timeout_s=_QUIET_S_MAX,
                otherwise="VictoriaMetrics does not end its merge",
            )
            time.sleep(_REMOVED_S)
        size = disk_bytes(self.server.folder / "data")
        spent = cpu_ns(self.server.pid) - self._since_ns
        return Kept(self.name, version_of("victoria-metrics"), self._samples, size, spent)

    def _has_merged(self, times: int) -> bool:
        return self.server.log.count(_MERGED) >= times


class Influx:
    """InfluxDB 1.6, by line protocol: a point for each stats group and device of a guest, its values as fields."""

    def __init__(self, server: InfluxDB, *, exact: bool) -> None:
        self.name = "InfluxDB, " + stamps_named(exact)
        self.server, self._exact, self._samples = server, exact, 0
        self._templates: list[str] = []
        self._since_ns = cpu_ns(server.pid)

    def feed(self, hour: Hour) -> None:
        """Take an hour of everything."""
        stamps, guests = stamps_of(hour, exact=self._exact), hour.values.shape[1]
        self._templates = self._templates or [template_of(number) for number in range(guests)]
        for number, template in enumerate(self._templates):
            rows = hour.values[:, number].T.tolist()
            lines = [template % (*row,) for row in rows]
            body = "".join(line.replace("@", str(stamp)) for line, stamp in zip(lines, stamps, strict=True))
            self.server.influxd.request("/write", body.encode(), db=self.server.database, precision="ms")
        self._samples += hour.samples

    def settle(self) -> Kept:
        """Have everything written down and merged: the write-ahead log has to become empty first."""
        size = _until_quiet(self.server.influxd.folder)
        spent = cpu_ns(self.server.pid) - self._since_ns
        return Kept(self.name, version_of("influxdb"), self._samples, size, spent)


def template_of(number: int) -> str:
    """Write the points of a guest's tick with a place for each value, in order, and ``@`` for the time."""
    lines: list[str] = []
    before: tuple[str, str | None] | None = None
    for key in keys_of(number):
        field, device = split_key(key)
        group = field.partition(".")[0]
        if (group, device) != before:
            tags = f"uuid={uuid_of(number)}" + (f",device={device}" if device else "")
            lines.append(f"domstat_{group},{tags} ")
            before = (group, device)
        elif lines:
            lines[-1] += ","
        lines[-1] += f"{field}=%di"
    return "".join(f"{line} @\n" for line in lines)


class PrometheusBlocks:
    """Prometheus's own blocks, a day each, as promtool makes them of OpenMetrics text."""

    def __init__(self, folder: Path, *, exact: bool) -> None:
        self.name = "Prometheus, " + stamps_named(exact)
        self.folder, self._exact = folder, exact
        self._samples = self._spent_ns = 0
        self._day = -1
        self._text = folder / "day.txt"
        (folder / "data").mkdir(parents=True)

    def feed(self, hour: Hour) -> None:
        """Take an hour of everything."""
        if hour.number // DAY_HOURS != self._day:
            self._make_block()
            self._day = hour.number // DAY_HOURS
        stamps = [f" {stamp / 1000:.3f}\n" for stamp in stamps_of(hour, exact=self._exact)]
        with self._text.open("a") as text:
            for number in range(hour.values.shape[1]):
                for i, key in enumerate(keys_of(number)):
                    name, labels = labels_of(number, key)
                    words = ",".join(f'{label}="{value}"' for label, value in labels.items())
                    start = f"{name}{{{words}}} "
                    values = hour.values[i, number].tolist()
                    text.write("".join([f"{start}{v}{at}" for v, at in zip(values, stamps, strict=True)]))
        self._samples += hour.samples

    def settle(self) -> Kept:
        """Make the last block."""
        self._make_block()
        size = disk_bytes(self.folder / "data")
        return Kept(self.name, version_of("prometheus"), self._samples, size, self._spent_ns)

    def _make_block(self) -> None:
        if not self._text.exists():
            return
        with self._text.open("a") as text:
            text.write("# EOF\n")
        command: list[Any] = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
        command += ["--max-block-duration=24h", self._text, self.folder / "data"]
        before = os.times()
        subprocess.run(command, check=True, timeout=_PROMTOOL_S_MAX, stdout=subprocess.DEVNULL)
        after = os.times()
        self._spent_ns += round(
            (after.children_user - before.children_user + after.children_system - before.children_system) * 1e9
        )
        self._text.unlink()


@contextmanager
def victoria(folder: Path, *, exact: bool) -> Iterator[Victoria]:
    """Run VictoriaMetrics; *exact*: with stamps to the millisecond."""
    with VictoriaMetrics(folder, arguments=_VICTORIA_ARGUMENTS) as server:
        yield Victoria(server, exact=exact)


@contextmanager
def influx(folder: Path, *, exact: bool) -> Iterator[Influx]:
    """Run InfluxDB, made to compact as soon as nothing comes any more."""
    before = {name: os.environ.get(name) for name in _INFLUX_SETTINGS}
    os.environ.update(_INFLUX_SETTINGS)
    try:
        server = InfluxDB(folder)
        server.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        yield Influx(server, exact=exact)


def prometheus_over(blocks: PrometheusBlocks) -> Prometheus:
    """Prepare a Prometheus that answers from these blocks."""
    return Prometheus(blocks.folder, arguments=_PROMETHEUS_ARGUMENTS)


def fill(peer: Peer, workload: Workload, hours: int) -> Kept:
    """Feed *peer* a workload."""
    for hour in workload.hours(hours):
        peer.feed(hour)
    return peer.settle()
