"""What a tick costs with more guests than a machine can run: recorded answers, multiplied (:mod:`.replay`).

Measured is the CPU time of the agent's two processes from one quiet moment to the next, with everything in it;
subtracted is what the fake connection burns in the place of libvirt's client library, which it meters itself. The
fake's memory is the worker's too, so only the parent's memory is shown as domstat's own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from domstat_bench import measure, replay_worker
from domstat_bench.agent_run import AgentRun, store_for, write_config
from domstat_bench.measure import Sampled, sampled
from domstat_bench.replay import Recording, read_meter
from domstat_bench.report import Table, figures, mib, ms, verdict

BEYOND_MAX_US = 0.8
"""Microseconds of CPU per parameter beyond the bare call, at BEYOND_GUESTS guests."""

BEYOND_GUESTS = 5000

GROWTH_MAX = 1.25
"""Per parameter, the cost at the most guests may be this many times the smallest: proportion, and some cache misses."""

WARM_UP_TICKS = 4

_PROFILE_TICKS = 10


class Figures(Struct, frozen=True):
    """What was measured at one number of guests; CPU times in nanoseconds per tick, memory in KiB."""

    guests: int
    params: int
    interval_s: int
    fake: Sampled
    worker: Sampled
    """Without the fake."""
    parent: Sampled
    beyond: Sampled
    parent_pss: int
    worker_pss: int
    profile: dict[str, Any] | None

    @property
    def beyond_us(self) -> float:
        """Microseconds per parameter beyond the bare call, by the median."""
        return self.beyond.median / self.params / 1000


def run(recording: Recording, guests: int, ticks: int, sinks: Sequence[str], *, profile: bool) -> Figures:
    """Measure *ticks* ticks at *guests* guests; with *profile*, measure again and say where the time goes."""
    interval_s = max(1, -(-guests // 800))
    with tempfile.TemporaryDirectory(prefix="domstat-bench-") as name, store_for(sinks) as store:
        folder = Path(name)
        recording.save(folder / "recording.json")
        settings = replay_worker.Settings(str(folder / "recording.json"), guests, str(folder / "meter"))
        config = write_config(folder, "replay:///", interval_s, sinks, store)
        with _agent(config, settings) as agent:
            for _ in range(WARM_UP_TICKS):
                tick = agent.next_tick(interval_s * 10 + 30)
            agent.settle()
            parent, worker = agent.pids()
            samples = [(measure.cpu_ns(parent), measure.cpu_ns(worker), read_meter(folder / "meter"))]
            for _ in range(ticks):
                tick = agent.next_tick(interval_s * 10)
                agent.settle()
                samples.append((measure.cpu_ns(parent), measure.cpu_ns(worker), read_meter(folder / "meter")))
            memory = measure.pss_kib(parent), measure.pss_kib(worker)
        stages = _profile(config, settings, folder, interval_s) if profile else None
    steps = [[late - early for early, late in zip(*pair, strict=True)] for pair in pairwise(samples)]
    return Figures(
        guests=tick.guests,
        params=tick.params,
        interval_s=interval_s,
        fake=sampled([fake for _, _, fake in steps]),
        worker=sampled([worker - fake for _, worker, fake in steps]),
        parent=sampled([parent for parent, _, _ in steps]),
        beyond=sampled([parent + worker - fake for parent, worker, fake in steps]),
        parent_pss=memory[0],
        worker_pss=memory[1],
        profile=stages,
    )


def _agent(config: Path, settings: replay_worker.Settings) -> AgentRun:
    text = msgspec.json.encode(settings).decode()
    return AgentRun([sys.executable, "-P", "-m", "domstat_bench.replay_service", str(config), text])


def _profile(config: Path, settings: replay_worker.Settings, folder: Path, interval_s: int) -> dict[str, Any]:
    profiled = msgspec.structs.replace(settings, profile=str(folder / "profile"), warm_up_ticks=WARM_UP_TICKS)
    with _agent(config, profiled) as agent:
        for _ in range(WARM_UP_TICKS + _PROFILE_TICKS + 1):
            agent.next_tick(interval_s * 10 + 30)
        agent.settle()
    return {
        "worker": json.loads((folder / "profile").read_text()),
        "parent": json.loads((folder / "profile.agent").read_text()),
    }


def table(measured: Sequence[Figures]) -> Table:
    """Show what was measured, and whether it is what it should be."""
    rows = [
        [
            f"{item.guests} guests",
            str(item.params),
            ms(item.fake.median),
            ms(item.worker.median),
            ms(item.parent.median),
            ms(item.beyond.median),
            figures(item.beyond_us),
            figures(item.beyond.min / item.params / 1000),
            mib(item.parent_pss),
            mib(item.worker_pss),
        ]
        for item in measured
    ]
    columns = [
        "CPU per tick, ms (medians)", "params", "fake call", "worker", "parent", "beyond", "us/param", "(min)",
        "PSS MiB parent", "worker+fake",
    ]  # fmt: skip
    notes = [
        f"to be reached at {item.guests} guests: <= {BEYOND_MAX_US} us per parameter beyond the bare call;"
        f" it is {figures(item.beyond_us)}: {verdict(item.beyond_us, BEYOND_MAX_US)}"
        for item in measured
        if item.guests == BEYOND_GUESTS
    ]
    least = min(item.beyond_us for item in measured)
    growth = measured[-1].beyond_us / least
    notes.append(
        f"to be reached: cost grows no faster than guests; per parameter, {measured[-1].guests} guests cost"
        f" {figures(growth)} of the cheapest row: {verdict(growth, GROWTH_MAX)}"
    )
    return Table("Replayed guests: everything beyond the bare call", columns, rows, notes)


def profile_table(item: Figures) -> Table:
    """Show where the time of one tick goes."""
    assert item.profile is not None
    rows = []
    for process in ("worker", "parent"):
        measured = item.profile[process]
        stages = sorted(measured["stages"].items(), key=lambda stage: -stage[1])
        rest = measured["process"] - measured["clock"] - sum(measured["stages"].values())
        for name, ns in [*stages, ("the rest (threads, waiting, waking up)", rest)]:
            rows.append([f"{process}: {name}", ms(ns), f"{ns / item.params / 1000:.3f}"])
        rows.append([f"{process}: together", ms(measured["process"] - measured["clock"]), ""])
    return Table(f"Where a tick of {item.guests} guests goes (means)", ["stage", "ms", "us/param"], rows)
