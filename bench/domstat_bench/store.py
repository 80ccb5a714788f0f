"""``./dev bench store``: the history beside VictoriaMetrics, Prometheus and InfluxDB, on the same made-up guests.

Ours is written tick by tick, as the agent does; the others are fed hours at once, in the way that suits them best, so
that what they cost is the least they can. Sizes are compared on identical samples, of fewer guests where there are
many; answers are timed on all of ours and scaled from theirs, and compared with ours on the guests that both have.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from domstat_bench import store_demo, store_ours, store_peers, store_queries
from domstat_bench.store_demo import Recorded
from domstat_bench.store_ours import Memory, Written
from domstat_bench.store_peers import Kept
from domstat_bench.store_queries import COLD, HOUR_MS, QUESTIONS, Answered, Asked
from domstat_bench.workload import BEGIN_MS, Workload
from domstat_bench.workload_drive import DAY_HOURS, WEEK_HOURS
from domstat_lab.servers import InfluxDB, Server

PEERS = ("victoria", "victoria-ms", "prometheus", "prometheus-ms", "influxdb", "influxdb-ms")
"""The other stores, with whole-second stamps or exact ones."""


class Plan(Struct, frozen=True):
    """How much is written; without *demo_ticks* no real guests are recorded."""

    guests: int
    hours: int
    peers_guests: int
    peers_hours: int
    memory_hours: int
    peers: Sequence[str]
    demo_ticks: int = 0


QUICK = Plan(8, 2, 8, 2, 1, PEERS[:2])
"""What there is time for while something is being changed; sizes are mostly what a store takes when it is empty."""
_USUAL = ("victoria", "victoria-ms", "prometheus", "influxdb")
_MEMORY_HOURS = 3


def plan_of(guests: int, days: float, peers_guests: int, peers_days: float, peers: Sequence[str] | None) -> Plan:
    """Make a plan of what was asked for."""
    hours, peers_hours = (max(1, round(span * DAY_HOURS)) for span in (days, peers_days))
    memory_hours = min(hours, _MEMORY_HOURS)
    return Plan(guests, hours, peers_guests, peers_hours, memory_hours, peers or _USUAL, store_demo.TICKS)


class Peer(Struct, frozen=True):
    """Another store: what it kept, and what it answered."""

    name: str
    kept: Kept
    answers: dict[str, Answered]


class Figures(Struct, frozen=True):
    """Everything that was measured.

    *same* is ours on the samples that the peers had; *cold_ns* the time of COLD's answer.
    """

    head: dict[str, str]
    plan: Plan
    calibration_ms: float
    ours: Written
    same: Written
    memory: Memory
    answers: dict[str, Answered]
    same_answers: dict[str, Answered]
    cold_ns: int
    peers: list[Peer]
    demo: Recorded | None


def run(plan: Plan, say: Callable[[str], None]) -> Figures:
    """Measure everything, one after the other; *say* is told what is being done."""
    begin_ms = monday_ms(max(plan.hours, plan.peers_hours))
    all_guests = Workload(plan.guests, begin_ms=begin_ms)
    few = Workload(plan.peers_guests, begin_ms=begin_ms)
    is_same = (plan.guests, plan.hours) == (plan.peers_guests, plan.peers_hours)
    with tempfile.TemporaryDirectory(prefix="domstat-bench-") as name:
        folder = Path(name)
        say(f"writing {plan.guests} guests, {plan.hours} h")
        ours = store_ours.write(all_guests, plan.hours, folder / "ours")
        say("asking")
        cold_ns = _cold(folder / "ours", _asked(begin_ms, plan.hours))
        answers = _ask_ours(folder / "ours", _asked(begin_ms, plan.hours))
        same, same_answers = ours, answers
        if not is_same:
            say(f"writing {plan.peers_guests} guests, {plan.peers_hours} h")
            same = store_ours.write(few, plan.peers_hours, folder / "same")
            same_answers = _ask_ours(folder / "same", _asked(begin_ms, plan.peers_hours))
        say(f"memory: {plan.guests} guests, {plan.memory_hours} h")
        memory = store_ours.memory(all_guests, plan.memory_hours, folder / "memory")
        peers = []
        for peer in plan.peers:
            say(f"{peer}: {plan.peers_guests} guests, {plan.peers_hours} h")
            peers.append(_peer(peer, few, plan.peers_hours, folder / peer))
        demo = store_demo.run(plan.demo_ticks, folder / "demo", say) if plan.demo_ticks else None
    return Figures(
        head(), plan, store_ours.calibration_ms(), ours, same, memory, answers, same_answers, cold_ns, peers, demo
    )


def monday_ms(hours: int) -> int:
    """Return the Monday that the guests begin on, so that all is over by now: stores take little of the future."""
    week_ms = WEEK_HOURS * HOUR_MS
    latest_ms = time.time_ns() // 10**6 - hours * HOUR_MS
    return BEGIN_MS + (latest_ms - BEGIN_MS) // week_ms * week_ms


def _asked(begin_ms: int, hours: int) -> Asked:
    return Asked(begin_ms, begin_ms + hours * HOUR_MS)


def _ask_ours(folder: Path, asked: Asked) -> dict[str, Answered]:
    with store_ours.history_in(folder) as history:
        return {
            question.name: store_queries.timed(partial(question.ours, history, asked), os.getpid())
            for question in QUESTIONS
        }


def _cold(folder: Path, asked: Asked) -> int:
    """Return how long the last hour of one series takes with nothing of the file in memory, opening it included."""
    descriptor = os.open(store_ours.path_in(folder), os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    began = time.perf_counter_ns()
    with store_ours.history_in(folder) as history:
        COLD.ours(history, asked)
    return time.perf_counter_ns() - began


def _peer(name: str, workload: Workload, hours: int, folder: Path) -> Peer:
    """Fill another store, and ask it where its stamps are whole seconds."""
    exact, asked = name.endswith("-ms"), _asked(workload.begin_ms, hours)
    if name.startswith("prometheus"):
        blocks = store_peers.PrometheusBlocks(folder, exact=exact)
        kept = store_peers.fill(blocks, workload, hours)
        if exact:
            return Peer(name, kept, {})
        with store_peers.prometheus_over(blocks) as server:
            return Peer(name, kept, _ask_promql(server, asked))
    if name.startswith("victoria"):
        with store_peers.victoria(folder, exact=exact) as fed:
            kept = store_peers.fill(fed, workload, hours)
            return Peer(name, kept, {} if exact else _ask_promql(fed.server, asked))
    with store_peers.influx(folder, exact=exact) as taking:
        kept = store_peers.fill(taking, workload, hours)
        return Peer(name, kept, {} if exact else _ask_influxql(taking.server, asked))


def _ask_promql(server: Server, asked: Asked) -> dict[str, Answered]:
    return {
        question.name: store_queries.timed(partial(question.promql, server, asked), server.pid)
        for question in QUESTIONS
        if question.promql is not None
    }


def _ask_influxql(store: InfluxDB, asked: Asked) -> dict[str, Answered]:
    return {
        question.name: store_queries.timed(partial(question.influxql, store, asked), store.pid)
        for question in QUESTIONS
        if question.influxql is not None
    }


def head() -> dict[str, str]:
    """Say what is being measured on."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processors": str(os.cpu_count()),
        "sqlite": sqlite3.sqlite_version,
    }


def summary(measured: Figures) -> dict[str, Any]:
    """Return the figures for a file, without what every tick took and what every answer was."""
    ours = measured.ours
    return {
        "head": measured.head,
        "plan": measured.plan,
        "calibration_ms": measured.calibration_ms,
        "samples": ours.samples,
        "cpu_ns": ours.cpu_ns,
        "written_bytes": ours.written_bytes,
        "commit_ns": {str(share): quantile_of(ours.commits_ns, share) for share in (0.5, 0.99, 1.0)},
        "sizes": ours.sizes,
        "same_samples": measured.same.samples,
        "same_sizes": measured.same.sizes,
        "memory": measured.memory,
        "demo": measured.demo,
        "cold_ns": measured.cold_ns,
        "answers": _costs(measured.answers),
        "peers": {peer.name: {"kept": peer.kept, "answers": _costs(peer.answers)} for peer in measured.peers},
    }


def quantile_of(times_ns: Sequence[int], share: float) -> int:
    """Return a quantile of times."""
    ordered = sorted(times_ns)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _costs(answers: dict[str, Answered]) -> dict[str, dict[str, int]]:
    return {name: {"cpu_ns": answer.cpu_ns, "wall_ns": answer.wall_ns} for name, answer in answers.items()}
