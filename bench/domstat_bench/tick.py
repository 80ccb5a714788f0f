"""What a tick costs: libvirt's bulk call alone, and the agent that does everything with its answer.

The two take turns, tick by tick, on the same guests: the agent at its interval, the bare call in between, so that
whatever else the machine does meets both alike. Compared are two processes of the agent (the worker that calls, the
parent that does the rest) from one quiet moment to the next, with *everything* in it, the waiting too, and the bare
call's client process. libvirtd and QEMU work the same for both and are left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from domstat_bench import measure
from domstat_bench.agent_run import AgentRun, BenchError, Tick, store_for, write_config
from domstat_bench.measure import Sampled, sampled
from domstat_bench.raw_loop import RawLoop
from domstat_bench.report import Table, figures, mib, ms, verdict

RATIO_MAX = 2.5
RATIO_MAX_OF_ALL = 5.0
"""The agent may burn this many times what the bare call burns, at RATIO_GUESTS guests: with the history alone, and with
all the sinks of ALL_SINKS."""

ALL_SINKS = frozenset({"sqlite", "influxdb", "prometheus"})

RATIO_GUESTS = 200

WARM_UP_TICKS = 4
"""The first has the XML read, the second has the first rates; the rest is for caches and allocators."""


class Figures(Struct, frozen=True):
    """What was measured at one number of guests; CPU times in nanoseconds per tick, memory in KiB."""

    guests: int
    params: int
    interval_s: int
    raw: Sampled
    parent: Sampled
    worker: Sampled
    agent: Sampled
    ratio: Sampled
    """Of each pair of turns."""
    idle_per_s: Sampled
    """What the agent burns per second without a tick; the interval's share of it is within *agent*."""
    parent_pss: int
    worker_pss: int
    sinks: tuple[str, ...] = ()

    @property
    def beyond_per_param(self) -> float:
        """Microseconds per parameter that the agent adds to the bare call, by the medians."""
        return (self.agent.median - self.raw.median) / self.params / 1000


def default_interval_s(guests: int) -> int:
    """Choose an interval with room for two calls: libvirt needs about 6 ms a guest, several times that if disturbed."""
    return max(2, -(-guests // 25))


class _Turn(Struct, frozen=True):
    raw: int
    parent: int
    worker: int
    idle_per_s: float


def run(uri: str, guests: int, ticks: int, sinks: Sequence[str]) -> Figures:
    """Measure *ticks* turns of each."""
    interval_s = default_interval_s(guests)
    with tempfile.TemporaryDirectory(prefix="domstat-bench-") as folder, store_for(sinks) as store:
        config = write_config(Path(folder), uri, interval_s, sinks, store)
        with RawLoop(uri) as raw, AgentRun.of(config) as agent:
            for _ in range(WARM_UP_TICKS):
                last = agent.next_tick(interval_s * 10)
                agent.settle()
                raw.call()
            turns = _take_turns(agent, raw, ticks, interval_s)
            return _figures(last, interval_s, turns, agent, sinks)


def _take_turns(agent: AgentRun, raw: RawLoop, ticks: int, interval_s: int) -> list[_Turn]:
    turns: list[_Turn] = []
    before: tuple[int, int] | None = None
    failures = agent.failures
    for _ in range(ticks * 2):
        agent.next_tick(interval_s * 10)
        agent.settle()
        if agent.failures != failures:
            before, failures = None, agent.failures
        parent, worker = agent.pids()
        now = (measure.cpu_ns(parent), measure.cpu_ns(worker))
        idle_began = time.monotonic_ns()
        called = raw.call()
        idle_ns = measure.cpu_ns(parent) + measure.cpu_ns(worker) - sum(now)
        idle_per_s = idle_ns * 1e9 / (time.monotonic_ns() - idle_began)
        if before is not None:
            turns.append(_Turn(called.cpu_ns, now[0] - before[0], now[1] - before[1], idle_per_s))
        before = now
        if len(turns) == ticks:
            return turns
    raise BenchError(f"only {len(turns)} of {ticks * 2} ticks went undisturbed: the machine is too busy to measure on")


def _figures(tick: Tick, interval_s: int, turns: Sequence[_Turn], agent: AgentRun, sinks: Sequence[str]) -> Figures:
    return Figures(
        guests=tick.guests,
        params=tick.params,
        interval_s=interval_s,
        raw=sampled([turn.raw for turn in turns]),
        parent=sampled([turn.parent for turn in turns]),
        worker=sampled([turn.worker for turn in turns]),
        agent=sampled([turn.parent + turn.worker for turn in turns]),
        ratio=sampled([(turn.parent + turn.worker) / turn.raw for turn in turns]),
        idle_per_s=sampled([turn.idle_per_s for turn in turns]),
        parent_pss=measure.pss_kib(agent.pid),
        worker_pss=measure.pss_kib(agent.worker_pid),
        sinks=tuple(sinks),
    )


def table(measured: Sequence[Figures]) -> Table:
    """Show what was measured, and whether it is what it should be."""
    rows = []
    notes = []
    for item in measured:
        for name in ("median", "min"):
            raw, worker, parent, agent = (
                getattr(sample, name) for sample in (item.raw, item.worker, item.parent, item.agent)
            )
            rows.append(
                [
                    f"{item.guests} guests, {name}",
                    str(item.params),
                    ms(raw),
                    ms(worker),
                    ms(parent),
                    ms(agent),
                    figures(agent / raw),
                    figures((agent - raw) / item.params / 1000),
                    f"{mib(item.worker_pss)} + {mib(item.parent_pss)}",
                ]
            )
        notes.append(
            f"{item.guests} guests: a tick every {item.interval_s} s, {len(item.raw.values)} turns;"
            f" between ticks the agent burns {ms(item.idle_per_s.median)} ms a second, included above"
        )
        if item.guests == RATIO_GUESTS:
            ratio = item.ratio.median
            most = RATIO_MAX_OF_ALL if set(item.sinks) >= ALL_SINKS else RATIO_MAX
            notes.append(
                f"to be reached at {item.guests} guests with {', '.join(item.sinks)}: agent / bare call <= {most};"
                f" it is {figures(ratio)}: {verdict(ratio, most)}"
            )
    columns = [
        "CPU per tick, ms", "params", "bare call", "worker", "parent", "agent", "agent/call", "us/param beyond",
        "PSS MiB worker + parent",
    ]  # fmt: skip
    return Table("Real guests: domstat run, everything it does, against the bare call", columns, rows, notes)
