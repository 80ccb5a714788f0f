"""The same guests, collected by others: what a cycle costs, whom, and what comes of it.

prometheus-libvirt-exporter and collectd's plugin virt, as Debian ships them, and the bare call, beside domstat, on one
libvirtd. A round is cut into slots, one for each collector and one in which none works; what libvirtd and the guests'
QEMU processes burn is charged to the collector whose slot it is, less what they burn in the idle slot. A collector's
own CPU time is that of the whole round, since what it does between its cycles is its cost too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from domstat_bench import measure
from domstat_bench.agent_run import AgentRun, BenchError, write_config
from domstat_bench.measure import Sampled, sampled
from domstat_bench.raw_loop import RawLoop
from domstat_bench.report import Table, figures, mib, ms
from domstat_lab.libvirtd import PrivateLibvirtd

FOLDER = Path(__file__).parents[2] / ".dev" / "peers"
"""Where ``./dev bench peers`` unpacks Debian's packages: installed, they would start services."""

SLOTS = ("domstat", "bare call", "collectd", "exporter", "idle")

MARGIN_S = 0.3
"""How long before a slot's work begins its readings are taken: schedules are not exact."""

WARM_UP_ROUNDS = 2

START_S = 30.0

COLLECTD = """\
BaseDir "{state}"
PIDFile "{state}/pid"
PluginDir "{peers}/usr/lib/collectd"
TypesDB "{peers}/usr/share/collectd/types.db"
Interval {interval}
LoadPlugin virt
LoadPlugin network
<Plugin virt>
  Connection "{uri}"
  HostnameFormat name
  ExtraStats "cpu_util disk disk_allocation disk_capacity disk_err disk_physical domain_state job_stats_background \
memory pcpu perf vcpu vcpupin"
</Plugin>
<Plugin network>
  Server "127.0.0.1" "{port}"
</Plugin>
"""
"""All that the plugin has to say but fs_info, which asks an agent inside each guest, and one of two job_stats, which
exclude each other; to a receiver that only counts."""

_PART = struct.Struct(">HH")
_VALUES_PART = 0x0006


class Cost(Struct, frozen=True):
    """One collector's cycle, CPU times in nanoseconds: its own, libvirtd's, the guests' QEMU processes'."""

    own: Sampled
    libvirtd: Sampled
    qemu: Sampled
    values: float
    """What it delivers per cycle: numbers, not series."""
    pss: int

    @property
    def total(self) -> float:
        """What a cycle costs the host, by the medians."""
        return self.own.median + self.libvirtd.median + self.qemu.median


class Figures(Struct, frozen=True):
    """All collectors at one number of guests."""

    guests: int
    interval_s: int
    rounds: int
    costs: dict[str, Cost]


class Receiver:
    """Receives collectd's network protocol on loopback and counts the values in it."""

    def __init__(self) -> None:
        self.values = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.values += count_values(self._socket.recv(65536))


def count_values(packet: bytes) -> int:
    """Count the values in a packet of collectd's network protocol: parts of type, length and content."""
    count = position = 0
    while position + _PART.size <= len(packet):
        kind, length = _PART.unpack_from(packet, position)
        if length < _PART.size:
            raise ValueError("a part shorter than its own head")
        if kind == _VALUES_PART:
            (values,) = struct.unpack_from(">H", packet, position + _PART.size)
            count += values
        position += length
    return count


def command_of(name: str) -> str:
    """Return the path of an unpacked program."""
    path = FOLDER / name
    if not path.exists():
        raise BenchError(f"{name} is not in .dev/peers: run it by ./dev, which fetches it")
    return str(path)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    libraries = {"LD_LIBRARY_PATH": ":".join(map(str, FOLDER.glob("usr/lib/*-linux-gnu")))}
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | libraries,
    )


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run an unpacked program, silently, for as long as the context lasts."""
    process = _start(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Exporter:
    """prometheus-libvirt-exporter, asked over loopback."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/metrics"

    def scrape(self) -> int:
        """Have it collect once; return how many samples of guests it gave."""
        with urllib.request.urlopen(self._address, timeout=START_S) as answer:
            lines = answer.read().splitlines()
        return sum(line.startswith(b"libvirt_") for line in lines)

    def wait(self) -> None:
        """Return when it answers."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                self.scrape()
                return
            time.sleep(0.1)
        raise BenchError("prometheus-libvirt-exporter does not answer")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def default_slot_s(guests: int) -> int:
    """Choose a slot with room for the slowest, which takes 16 ms a guest."""
    return max(2, -(-guests // 30))


def run(lab: PrivateLibvirtd, guests: int, rounds: int, sinks: Sequence[str]) -> Figures:
    """Run all of them side by side for *rounds* rounds."""
    slot_s = default_slot_s(guests)
    interval_s = slot_s * len(SLOTS)
    receiver = Receiver()
    port = free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="domstat-bench-")))
        exporter_process = stack.enter_context(
            running([
                command_of("usr/bin/prometheus-libvirt-exporter"),
                f"--web.listen-address=127.0.0.1:{port}",
                f"--libvirt.uri={lab.uri_ro}",
            ])
        )  # fmt: skip
        exporter = Exporter(port)
        exporter.wait()
        raw = stack.enter_context(RawLoop(lab.uri_ro))
        agent = stack.enter_context(AgentRun.of(write_config(folder, lab.uri_ro, interval_s, sinks)))
        config = folder / "collectd.conf"
        config.write_text(
            COLLECTD.format(state=folder, peers=FOLDER, interval=interval_s, uri=lab.uri_ro, port=receiver.port)
        )
        # domstat's ticks are at multiples of the interval; collectd's cycles begin with its start.
        begins = _next_round(interval_s)
        _sleep_until(begins + SLOTS.index("collectd") * slot_s)
        collectd = stack.enter_context(running([command_of("usr/sbin/collectd"), "-f", "-C", str(config)]))
        processes: dict[str, Callable[[], Sequence[int]]] = {
            "domstat": agent.pids,
            "bare call": lambda: [raw.pid],
            "collectd": lambda: [collectd.pid],
            "exporter": lambda: [exporter_process.pid],
        }
        ledger = _Ledger(processes, [lab.pid], list(lab.qemu_pids().values()))
        works = {"bare call": lambda: raw.call().params, "exporter": exporter.scrape}
        values: dict[str, float] = {}
        for number in range(WARM_UP_ROUNDS + rounds):
            begins += interval_s
            if number == WARM_UP_ROUNDS:
                ledger.forget()
                received = receiver.values
            for index, slot in enumerate(SLOTS):
                _sleep_until(begins + index * slot_s - MARGIN_S)
                ledger.begin(slot)
                _sleep_until(begins + index * slot_s)
                if slot in works:
                    values[slot] = works[slot]()
            _sleep_until(begins + interval_s - MARGIN_S)
            ledger.end()
            values["domstat"] = agent.next_tick(interval_s).params
            if collectd.poll() is not None or exporter_process.poll() is not None:
                raise BenchError("a collector ended by itself")
        values["collectd"] = (receiver.values - received) / rounds
        if agent.failures:
            raise BenchError("ticks of domstat failed, see above: the machine is too busy to measure on")
        return Figures(guests, interval_s, rounds, ledger.costs(values))


def _next_round(interval_s: int) -> float:
    """Return the next multiple of the interval that is not just now."""
    return -(-(time.time() + MARGIN_S * 2) // interval_s) * interval_s


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


class _Ledger:
    """Reads everybody's CPU time at the slots' borders, and charges it."""

    def __init__(
        self, collectors: Mapping[str, Callable[[], Sequence[int]]], libvirtd: Sequence[int], qemus: Sequence[int]
    ) -> None:
        self._collectors = collectors
        self._libvirtd = libvirtd
        self._qemus = qemus
        self._begun: str | None = None
        self._read_own: dict[str, int] = {}
        self._read_host = (0, 0)
        self.forget()

    def forget(self) -> None:
        """Begin anew, after the warm-up."""
        self._own: dict[str, list[dict[str, int]]] = {name: [] for name in SLOTS}
        self._host: dict[str, list[tuple[int, int]]] = {name: [] for name in SLOTS}

    def begin(self, slot: str) -> None:
        """End the slot before, if one is on, and begin *slot*."""
        own = {name: measure.cpu_ns_of(pids()) for name, pids in self._collectors.items()}
        host = measure.cpu_ns_of(self._libvirtd), measure.cpu_ns_of(self._qemus)
        if self._begun is not None:
            self._own[self._begun].append({name: own[name] - self._read_own[name] for name in own})
            self._host[self._begun].append((host[0] - self._read_host[0], host[1] - self._read_host[1]))
        self._begun, self._read_own, self._read_host = slot, own, host

    def end(self) -> None:
        """End the round."""
        self.begin("")
        self._begun = None

    def costs(self, values: Mapping[str, float]) -> dict[str, Cost]:
        """Charge each collector."""
        costs = {}
        for name, pids in self._collectors.items():
            rounds = [[self._own[slot][number][name] for slot in SLOTS] for number in range(len(self._own[name]))]
            stray = sum(sum(slots) for slots in rounds) - sum(slots[SLOTS.index(name)] for slots in rounds)
            if stray > sum(map(sum, rounds)) / 2:
                raise BenchError(f"{name} did most of its work outside its slot: the machine is too busy to measure on")
            host = [
                (mine[0] - idle[0], mine[1] - idle[1])
                for mine, idle in zip(self._host[name], self._host["idle"], strict=True)
            ]
            costs[name] = Cost(
                own=sampled([sum(slots) for slots in rounds]),
                libvirtd=sampled([libvirtd for libvirtd, _ in host]),
                qemu=sampled([qemu for _, qemu in host]),
                values=values[name],
                pss=sum(map(measure.pss_kib, pids())),
            )
        return costs


def table(item: Figures) -> Table:
    """Show everybody's costs, and how they compare with domstat's."""
    ours = item.costs["domstat"]
    rows = [
        [
            name,
            ms(cost.own.median),
            ms(cost.own.min),
            ms(cost.libvirtd.median),
            ms(cost.qemu.median),
            ms(cost.total),
            f"{cost.values:.0f}",
            figures(cost.total / cost.values / 1000),
            mib(cost.pss),
            figures(cost.own.median / ours.own.median),
            figures(cost.libvirtd.median / ours.libvirtd.median),
            figures(cost.qemu.median / ours.qemu.median),
            figures(cost.total / cost.values / (ours.total / ours.values)),
        ]
        for name, cost in item.costs.items()
    ]
    columns = [
        f"{item.guests} guests, CPU ms per cycle", "own", "(min)", "libvirtd", "QEMU", "total", "values", "us/value",
        "PSS MiB", "x own", "x libvirtd", "x QEMU", "x us/value",
    ]  # fmt: skip
    notes = [
        f"Medians of {item.rounds} rounds of {item.interval_s} s; x: times domstat's.",
        "Values: numbers delivered; of domstat libvirt's parameters but those that only name a device, and no rates.",
        "domstat's own includes its rates, a history committed to disk and JSON lines; the others keep nothing.",
    ]
    return Table("Other collectors, on the same guests", columns, rows, notes)
