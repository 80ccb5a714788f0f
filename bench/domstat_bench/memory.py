"""What the agent's processes hold with the sinks sqlite and prometheus, once all is there that will be.

Guests are replayed (:mod:`.replay`), everything else is as it is used: the history has sealed once, and rolled up;
the endpoint is scraped. The fake's guests are in the worker's memory; how much they take it says itself, and that is
subtracted.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tomllib
import urllib.request
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct

from domstat_bench import measure, replay_worker
from domstat_bench.agent_run import AgentRun, BenchError, write_config
from domstat_bench.replay import Recording
from domstat_bench.report import Table, mib, verdict
from domstat_sinks.sqlite import connect

SINKS = ("sqlite", "prometheus")

GUESTS = 200

INTERVAL_S = 1

HELD_MAX_KIB = 130 * 1024
"""What all processes together may hold at GUESTS guests."""

HELD_GOAL_KIB = 90 * 1024

SEALED_S = 420.0
"""A slice ends with five minutes by the clock, and is sealed a little at a time."""

TICKS_AFTER = 60
"""Ticks after that: ten minutes' worth at 10 s."""

SCRAPED_EVERY = 15
"""Ticks from one scrape to the next."""


class Figures(Struct, frozen=True):
    """What was held at the end, in KiB (PSS); *most* is the largest of all looks, one a tick."""

    guests: int
    params: int
    ticks: int
    agent: int
    worker: int
    fake: int
    most: int

    @property
    def together(self) -> int:
        """All processes, without the fake's guests."""
        return self.agent + self.worker


def run(recording: Recording, guests: int = GUESTS, ticks_after: int = TICKS_AFTER) -> Figures:
    """Watch *guests* guests until the history has sealed ticks, and *ticks_after* more."""
    with tempfile.TemporaryDirectory(prefix="domstat-bench-") as name:
        folder = Path(name)
        recording.save(folder / "recording.json")
        made = folder / "fake"
        files = [str(folder / name) for name in ("recording.json", "meter")]
        settings = replay_worker.Settings(files[0], guests, files[1], memory=str(made))
        config = write_config(folder, "replay:///", INTERVAL_S, SINKS)
        url = f"http://{tomllib.loads(config.read_text())['sinks'][-1]['listen']}/metrics"
        text = msgspec.json.encode(settings).decode()
        with AgentRun([sys.executable, "-P", "-m", "domstat_bench.replay_service", str(config), text]) as agent:
            until = time.monotonic() + SEALED_S
            agent.next_tick(30)
            pids = agent.pids()
            ticks = most = left = 0
            while left < ticks_after:
                tick = agent.next_tick(30)
                ticks += 1
                if ticks % SCRAPED_EVERY == 0:
                    with urllib.request.urlopen(url) as answer:
                        answer.read()
                most = max(most, sum(map(measure.pss_kib, pids)))
                left += left > 0 or _has_sealed(folder / "state" / "history.db")
                if not left and time.monotonic() > until:
                    raise BenchError(f"nothing was sealed within {SEALED_S:g} s")
            agent.settle()
            fake = int(made.read_text())
            held, worker = (measure.pss_kib(pid) for pid in pids)
    return Figures(guests, tick.params, ticks, held, worker - fake, fake, most - fake)


def _has_sealed(history: Path) -> bool:
    with closing(connect(history)) as connection:
        return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM segment)").fetchone()[0])


def table(item: Figures) -> Table:
    """Show what was measured, and whether it is what it should be."""
    rows = [["agent", mib(item.agent)], ["worker", mib(item.worker)], ["together", mib(item.together)]]
    seen = f"after {item.ticks} ticks of {item.params} parameters, the first of them sealed"
    notes = [f"{seen}; most at any tick: {mib(item.most)}; without {mib(item.fake)} of the fake's guests"]
    if item.guests == GUESTS:
        notes.append(
            f"to be reached: <= {mib(HELD_MAX_KIB)} together: {verdict(item.together, HELD_MAX_KIB)};"
            f" to be wished for: <= {mib(HELD_GOAL_KIB)}: {verdict(item.together, HELD_GOAL_KIB)}"
        )
    sinks = " and ".join(SINKS)
    return Table(f"{item.guests} guests, {sinks}: PSS, MiB", ["process", "PSS"], rows, notes)
