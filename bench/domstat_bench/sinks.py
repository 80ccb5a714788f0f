"""``./dev bench sinks``: what a tick costs in each shipped sink, on the identical made-up ticks.

The sinks take turns, tick by tick; a tick begins when the servers of the last one have come to rest, since what they do
beside makes everything dearer here. Each sink is given batches of its own, in which nobody has made rates yet: one that
wants them pays for them, as if it were the only sink; what that is, is a row of its own. CPU is this process's, all
threads, whatever a server does beside. The first tick, which makes tables and plans, is not counted in it.

A *value* is one that libvirt gave, whatever a sink makes of it: remote_write has derived values besides, influxdb,
parquet, postgres and stdout rates too.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from msgspec import Struct

from domstat.garbage import spare_collections
from domstat_bench import store
from domstat_bench.measure import Sampled, sampled
from domstat_bench.report import Table, figures, ms
from domstat_bench.sink_rigs import RATES, RIGS, Put, Server
from domstat_bench.store_ours import calibration_ms
from domstat_bench.workload import Workload
from domstat_bench.workload_batches import Batches, Tick, ticks_of

GUESTS = 200
HOURS = 2

REST_S, REST_NS, REST_S_MAX = 0.01, 500_000, 0.5
"""Servers are at rest once they spend less than REST_NS of CPU in REST_S; after REST_S_MAX it goes on all the same."""

CALIBRATED_TICKS = 30
"""The fixed loop is run every so many ticks, and its median taken: other work makes it dearer, as it does the sinks."""


class Served(Struct, frozen=True):
    """What a server spent on all ticks."""

    name: str
    cpu_ns: int


class Costs(Struct, frozen=True):
    """What a sink cost: nanoseconds of CPU of each tick but the first, and of closing; what was put where of all."""

    name: str
    cpu: Sampled
    close_ns: int
    put: Put
    server: Served | None = None

    @property
    def mean_ns(self) -> float:
        """CPU of a tick, with its share of what is done now and then."""
        return (sum(self.cpu.values) + self.close_ns) / len(self.cpu.values)


class Figures(Struct, frozen=True):
    """Everything that was measured; *values* are those of all ticks, *calibration_ms* is the loop's median."""

    head: dict[str, str]
    guests: int
    ticks: int
    values: int
    calibration_ms: float
    sinks: list[Costs]


def run(
    guests: int, hours: int, names: Sequence[str], say: Callable[[str], None], ticks_max: int | None = None
) -> Figures:
    """Measure the sinks of these *names* by turns; *ticks_max* ends it early."""
    workload = Workload(guests, begin_ms=store.monday_ms(hours))
    loops_ms: list[float] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="domstat-bench-")))
        folder.chmod(0o755)  # a server runs as somebody else
        rigs = {name: stack.enter_context(RIGS[name](folder / name)) for name in names}
        servers = {name: rig.server for name, rig in rigs.items() if rig.server is not None}
        before_ns = {name: server.spent_ns() for name, server in servers.items()}
        batches = {name: Batches(workload.kinds) for name in names}
        cpu: dict[str, list[float]] = {name: [] for name in names}
        ticks = values = 0
        for tick in islice(_ticks(workload, hours, say), ticks_max):
            _await_rest(list(servers.values()))
            for name, rig in rigs.items():
                cpu[name].append(_cost(partial(rig.take, batches[name].batch(tick))))
            if not ticks:
                spare_collections()  # as the agent does
            if ticks % CALIBRATED_TICKS == 0:
                loops_ms.append(calibration_ms())
            ticks += 1
            values += sum(map(len, tick.values))
        served = {name: Served(each.name, each.spent_ns() - before_ns[name]) for name, each in servers.items()}
        costs = [
            Costs(name, sampled(cpu[name][1:]), _cost(rig.close), rig.put(), served.get(name))
            for name, rig in rigs.items()
        ]
    return Figures(store.head(), guests, ticks, values, sampled(loops_ms).median, costs)


def _ticks(workload: Workload, hours: int, say: Callable[[str], None]) -> Iterator[Tick]:
    for hour in workload.hours(hours):
        say(f"hour {hour.number + 1} of {hours}")
        yield from ticks_of(hour)


def _await_rest(servers: Sequence[Server]) -> None:
    until_s, spent_ns = time.monotonic() + REST_S_MAX, 0
    while servers and time.monotonic() < until_s:
        before_ns, spent_ns = spent_ns, sum(server.spent_ns() for server in servers)
        if spent_ns - before_ns < REST_NS:
            break
        time.sleep(REST_S)


def _cost(act: Callable[[], object]) -> int:
    """Return the CPU time of this process that *act* takes, all threads."""
    before_ns = time.process_time_ns()
    act()
    return time.process_time_ns() - before_ns


def table(measured: Figures) -> Table:
    """Show what was measured, beside the cheapest sink and beside a fixed loop."""
    cheapest_ns = min((each.mean_ns for each in measured.sinks if each.name != RATES), default=0.0)
    rows, notes = [], []
    for each in measured.sinks:
        of_tick = [ms(each.mean_ns), ms(each.cpu.median), ms(max(each.cpu.values))]
        ratios = [figures(each.mean_ns / cheapest_ns) if cheapest_ns else "", _loops(each, measured)]
        put = [_per_value(size, measured) for size in (each.put.file, each.put.wire)]
        server = "" if each.server is None else ms(each.server.cpu_ns / measured.ticks)
        rows.append([each.name, *of_tick, f"{each.mean_ns * measured.ticks / measured.values / 1e3:.2f}", *ratios])
        rows[-1] += [*put, server]
        if each.server is not None:
            notes.append(f"{each.name}: to {each.server.name}")
    notes.append(
        f"{measured.guests} guests, {measured.values // measured.ticks} values a tick, {measured.ticks} ticks;"
        f" a fixed loop takes {measured.calibration_ms:.1f} ms"
    )
    columns = [
        "CPU a tick, ms", "mean", "median", "most", "µs a value", "/ cheapest", "/ loop", "file, bytes a value",
        "wire, bytes a value", "server, ms a tick",
    ]  # fmt: skip
    return Table("A tick in each sink", columns, rows, notes)


def _loops(costs: Costs, measured: Figures) -> str:
    return figures(costs.mean_ns / 1e6 / measured.calibration_ms)


def _per_value(size: int | None, measured: Figures) -> str:
    return "" if size is None else figures(size / measured.values)
