"""What a scrape costs: the prometheus sink beside prometheus-client's own rendering of the same guests.

Ours is measured as it happens: the sink listens, a client in a process of its own scrapes it with gzip, and what this
process burns from the request to the answer counts, HTTP and compression included. The library renders the same
samples from a collector through ``generate_latest``, without HTTP and compression. The two take turns.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domstat.catalog import look_up
from domstat.collect.sample import Sample, Sampled, keyed
from domstat.garbage import spare_collections
from domstat.model import Batch, Domain, Figures, Kind, Moment, Record, Stamp, Value, split_key
from domstat.sink import SinkContext
from domstat_bench.measure import Sampled as Measured
from domstat_bench.measure import sampled
from domstat_bench.report import Table, figures, ms, verdict
from domstat_sinks.prometheus import PrometheusSink
from domstat_sinks.prometheus.names import derived_of, family_of
from domstat_sinks.prometheus.settings import PrometheusSettings

CPU_MS_MAX = 25.0
"""What a scrape may cost, at CPU_GUESTS guests."""

CPU_GUESTS = 200

INTERVAL_MS = 10_000

_GIB_IN_KIB = 1 << 20

# What a guest's values are, each with what it grows by in a second: 2 vCPUs, 2 disks and 2 NICs, 73 parameters.
_ONE: dict[str, tuple[int, int]] = {
    "state.state": (1, 0),
    "state.reason": (1, 0),
    "cpu.time": (86_400_123_456_789, 500_000_000),
    "cpu.user": (5_130_000_000_000, 50_000_000),
    "cpu.system": (9_870_000_000_000, 100_000_000),
    "cpu.haltpoll.success.time": (3_123_456_789, 1_000_000),
    "cpu.haltpoll.fail.time": (8_123_456_789, 2_000_000),
    "balloon.current": (4 * _GIB_IN_KIB, 0),
    "balloon.maximum": (8 * _GIB_IN_KIB, 0),
    "balloon.swap_in": (0, 0),
    "balloon.swap_out": (1_204, 4),
    "balloon.major_fault": (90_112, 1),
    "balloon.minor_fault": (77_120_331, 800),
    "balloon.unused": (_GIB_IN_KIB // 2, 0),
    "balloon.available": (4 * _GIB_IN_KIB - 102_400, 0),
    "balloon.usable": (2 * _GIB_IN_KIB, 0),
    "balloon.last-update": (1_795_385_702, 1),
    "balloon.disk_caches": (_GIB_IN_KIB, 0),
    "balloon.hugetlb_pgalloc": (0, 0),
    "balloon.hugetlb_pgfail": (0, 0),
    "balloon.rss": (3 * _GIB_IN_KIB, 0),
    "vcpu.current": (2, 0),
    "vcpu.maximum": (4, 0),
    "net.count": (2, 0),
    "block.count": (2, 0),
}
_VCPU: dict[str, tuple[int, int]] = {
    "vcpu.state": (1, 0),
    "vcpu.time": (41_230_000_000_000, 250_000_000),
    "vcpu.wait": (120_000_000, 0),
    "vcpu.delay": (93_112_458_771, 10_000_000),
    "vcpu.halted": (0, 0),
}
_NIC: dict[str, tuple[int, int]] = {
    f"net.{way}.{what}": both
    for way in ("rx", "tx")
    for what, both in {
        "bytes": (9_134_225_871, 1_048_576),
        "pkts": (12_331_902, 900),
        "errs": (0, 0),
        "drop": (17, 0),
    }.items()
}
_DISK: dict[str, tuple[int, int]] = {
    "block.rd.reqs": (812_345, 40),
    "block.rd.bytes": (33_012_219_904, 2_097_152),
    "block.rd.times": (402_118_223_914, 20_000_000),
    "block.wr.reqs": (5_120_777, 100),
    "block.wr.bytes": (88_019_120_128, 4_194_304),
    "block.wr.times": (9_811_003_123_555, 150_000_000),
    "block.fl.reqs": (612_004, 10),
    "block.fl.times": (733_120_445_120, 5_000_000),
    "block.allocation": (21_474_836_480, 0),
    "block.capacity": (42_949_672_960, 0),
    "block.physical": (21_478_375_424, 0),
}


_LABELS = {"title": "a shop", "nova.project": "acme", "nova.flavor": "m1.large"}
_DEVICES = {
    "vda": {"path": "/var/lib/libvirt/images/a.qcow2", "bus": "virtio", "format": "qcow2", "type": "file"},
    "vdb": {"path": "/var/lib/libvirt/images/b.qcow2", "bus": "virtio", "format": "qcow2", "type": "file"},
    "52:54:00:00:00:01": {"mac": "52:54:00:00:00:01", "tap": "vnet0", "bridge": "br0", "model": "virtio"},
    "52:54:00:00:00:02": {"mac": "52:54:00:00:00:02", "tap": "vnet1", "bridge": "br1", "model": "virtio"},
}


class Costs(Struct, frozen=True):
    """What was measured at one number of guests: CPU times in nanoseconds, sizes in bytes."""

    guests: int
    samples: int
    text_bytes: int
    packed_bytes: int
    taking: Measured
    """A tick taken in."""
    first: int
    """The first scrape ever, which works out how everything is written."""
    scrape: Measured
    """A scrape of a tick of which nobody has taken the rates yet."""
    rated: Measured
    """A scrape of a tick whose rates another sink has taken."""
    again: Measured
    """Another scrape of the same tick."""
    library: Measured
    """prometheus-client's rendering of the same tick, whose rates were taken."""


def guest_values(number: int) -> dict[str, tuple[int, int]]:
    """Make the values of a guest, each with what it grows by in a second; the MACs are its own."""
    macs = [f"52:54:00:{number >> 8 & 255:02x}:{number & 255:02x}:{nic:02x}" for nic in (1, 2)]
    devices = [(_VCPU, ["0", "1"]), (_NIC, macs), (_DISK, ["vda", "vdb"])]
    of_devices = {
        f"{field}[{device}]": both for group, names in devices for device in names for field, both in group.items()
    }
    return _ONE | of_devices


class Guests:
    """Guests that go on, tick by tick, as the agent would see them."""

    def __init__(self, count: int) -> None:
        self._values = [guest_values(number) for number in range(count)]
        self._naming = [keyed(tuple(values)) for values in self._values]
        self._time_ms = time.time_ns() // 1_000_000
        self._samples = self._take()

    def tick(self, *, described: bool = False) -> Batch:
        """Make the next tick's batch, its rates not yet taken; *described* has the guests' labels and devices too."""
        before, self._time_ms = self._samples, self._time_ms + INTERVAL_MS
        self._samples = self._take()
        records = [self._record(number, *both) for number, both in enumerate(zip(before, self._samples, strict=True))]
        if described:
            records = [replace(record, labels=_LABELS, devices=_DEVICES) for record in records]
        stamp = Stamp(self._time_ms, 0, "boot", 0)
        return Batch(host="kvm1", collect="default", stamp=stamp, records=(*records, self._agent()))

    def _agent(self) -> Record:
        said = Figures({"agent.call.time": 12_000_000, "agent.guests": len(self._values)})
        return Record(kind=Kind.AGENT, host="kvm1", collect="default", time_ms=self._time_ms, figures=said)

    def _take(self) -> list[Sample]:
        seconds = self._time_ms // 1000 % 1_000_000
        moment = Moment(self._time_ms, self._time_ms * 1_000_000, "boot")
        return [
            Sample(naming, [start + growth * seconds for start, growth in values.values()], moment, 3)
            for naming, values in zip(self._naming, self._values, strict=True)
        ]

    def _record(self, number: int, before: Sample, sample: Sample) -> Record:
        return Record(
            kind=Kind.GUEST,
            host="kvm1",
            collect="default",
            time_ms=self._time_ms,
            domain=Domain(f"6a2f41a3-c54c-4a5e-9b5b-{number:012x}", f"web-{number}", 3),
            interval_s=INTERVAL_MS / 1000,
            figures=Sampled(sample, before),
        )


class LibrarysWay(Collector):
    """The same samples as metric families of prometheus-client's, made anew for every scrape, as its users do."""

    def __init__(self) -> None:
        self.batch: Batch | None = None

    def collect(self) -> Iterator[Metric]:
        """Give a family for every field."""
        families: dict[str, Metric] = {}
        for record in self.batch.records if self.batch else ():
            if record.domain is None:
                continue
            for key, value in record.params.items():
                self._add(families, record, key, value, derived=False)
            for key, value in record.derived.items():
                self._add(families, record, key, value, derived=True)
        yield from families.values()

    @staticmethod
    def _add(families: dict[str, Metric], record: Record, key: str, value: Value, *, derived: bool) -> None:
        field, device = split_key(key)
        family = derived_of(field) if derived else family_of(field)
        found: Any = families.get(family.name)
        if found is None:
            kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
            labels = ["host", "uuid", "domain"] + (["device"] if device is not None else [])
            found = families[family.name] = kind(family.name, family.help, labels=labels)
        assert record.domain is not None
        labels = [record.host, record.domain.uuid, record.domain.name] + ([device] if device is not None else [])
        found.add_metric(labels, float(value) * (1.0 if derived else look_up(field).unit.scale))


_CLIENT = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": "gzip"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for line in sys.stdin:
    print(len(opener.open(request, timeout=60).read()), flush=True)
"""


@contextlib.contextmanager
def scraping(port: int) -> Iterator[Callable[[], int]]:
    """Start a process that scrapes whenever the function is called, which returns how many bytes came."""
    command = [sys.executable, "-c", _CLIENT, f"http://127.0.0.1:{port}/metrics"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def scrape() -> int:
            stdin.write("\n")
            return int(stdout.readline())

        try:
            yield scrape
        finally:
            stdin.close()


def run(count: int, rounds: int) -> Costs:
    """Measure *rounds* scrapes of *count* guests, by turns."""
    guests, library = Guests(count), LibrarysWay()
    registry = CollectorRegistry()
    registry.register(library)
    sink = PrometheusSink(PrometheusSettings(listen="127.0.0.1:0"))
    sink.open(SinkContext("bench", Path(), None, lambda _record, _reason: None))
    spare_collections()  # as the agent does
    costs: dict[str, list[float]] = {name: [] for name in ("taking", "scrape", "rated", "again", "library")}
    try:
        with scraping(sink.port) as scrape:
            sink.write([guests.tick(described=True)])
            first, packed_bytes = _cost(scrape)
            text = b""
            for _ in range(rounds):
                batch = guests.tick()
                costs["taking"].append(_cost(partial(sink.write, [batch]))[0])
                costs["scrape"].append(_cost(scrape)[0])
                costs["again"].append(_cost(scrape)[0])
                library.batch = guests.tick()
                for record in library.batch.records:
                    _ = record.derived  # works the rates out
                sink.write([library.batch])
                costs["rated"].append(_cost(scrape)[0])
                cost, text = _cost(partial(generate_latest, registry))
                costs["library"].append(cost)
    finally:
        sink.close()
    samples = sum(not line.startswith(b"#") for line in text.splitlines())
    return Costs(count, samples, len(text), packed_bytes, first=first, **{k: sampled(v) for k, v in costs.items()})


def _cost(act: Callable[[], Any]) -> tuple[int, Any]:
    """Return the CPU time of this process that *act* takes, all threads, and what it returns."""
    before = time.process_time_ns()
    result = act()
    return time.process_time_ns() - before, result


def table(measured: Sequence[Costs]) -> Table:
    """Show what was measured, and whether it is what it should be."""
    rows, notes = [], []
    for item in measured:
        for name in ("median", "min"):
            costs = [getattr(item, what) for what in ("scrape", "rated", "again", "library", "taking")]
            row = [f"{item.guests} guests, {name}", str(item.samples), *(ms(getattr(cost, name)) for cost in costs)]
            rows.append([*row, figures(getattr(item.library, name) / getattr(item.scrape, name))])
        notes.append(
            f"{item.guests} guests: {item.text_bytes / 1e6:.1f} MB of text, {item.packed_bytes / 1e6:.2f} MB on the"
            f" wire; the first scrape of all took {ms(item.first)} ms; {len(item.scrape.values)} rounds"
        )
        if item.guests == CPU_GUESTS:
            cost_ms = item.scrape.median / 1e6
            notes.append(
                f"to be reached at {item.guests} guests: a scrape <= {CPU_MS_MAX:.0f} ms CPU;"
                f" it is {figures(cost_ms)}: {verdict(cost_ms, CPU_MS_MAX)}"
            )
    columns = [
        "CPU per scrape, ms", "samples", "domstat", "rates known", "same tick", "prometheus-client", "a tick taken in",
        "library/domstat",
    ]  # fmt: skip
    return Table("A scrape: domstat's endpoint, everything it does, and prometheus-client's text", columns, rows, notes)
