"""The whole agent's wall clock is set, and set again: ticks go on, rates stay true, no sample takes another's time.

Nobody sets the boot-time clock (see :mod:`faketime`): it and the guest's own counters tell what is true.
"""

from __future__ import annotations

import bisect
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domstat.deliver.codec import Unpacker
from domstat.deliver.files import look
from domstat.deliver.journal import FILE
from domstat.jsonlines import read_time
from domstat.model import Moment, Stamp, moment_within
from domstat_sinks.sqlite import connect
from faketime import STEPS_S, WallClock, boot_s, missed, rss_kib
from real.conftest import BURNER, Agent
from shown import Show

from .oracle import at_best

STAYS_TICKS = (5, 7)
"""So many intervals, at random and not whole ones, a clock stays as it was set: steps fall anywhere between ticks."""

FELT_TICKS = 2
"""So many intervals after a step, and to the next tick, is looked at what it costs: it may be felt no longer."""

SHORT = ("1970 to now", "an hour back", "30 days forward")
LONG = ("1970 to now", *STEPS_S, "now to 1970")
ROUNDS = 8
"""Of the long form, which takes seven minutes."""

SINKS = '[[sinks]]\ntype = "sqlite"\nraw = "forever"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n'
"""By default what is of 1970 goes after a few minutes: it is older than 30 days."""

RSS_GROWTH_KIB_MAX = 4096
"""What the agent may take more in the end than after the first steps, which load modules and fill its caches."""


class Left:
    """What the agent left behind: a guest's records, and the stamps of their ticks."""

    def __init__(self, folder: Path, guest: str) -> None:
        records = [json.loads(line) for line in (folder / "stdout.jsonl").read_text().splitlines()]
        connection = connect(folder / "history.db")
        stored = connection.execute(
            "SELECT time_ms, value FROM rates WHERE domain = ? AND field = 'cpu.time'", (guest,)
        ).fetchall()
        connection.close()
        self.stored_rates = dict(stored)
        # The journal's, which has every row as it was collected.
        self.stamps = {stamp.time_ms: stamp for stamp in stamps_in(folder / FILE)}
        self.all = [record for record in records if record["collect"] == "default"]
        own = [record for record in self.all if record["kind"] == "agent"]
        self.own = own[-1]["params"]
        self.ticks = [(self._boot_s(record), record["params"]["agent.skipped"]) for record in own]
        """Every tick: when, on the clock that nobody sets, and how many had been left out until then."""
        self._at: dict[str, list[dict[str, Any]]] = {}
        for record in self._guests():
            self._at.setdefault(record["time"], []).append(record)
        self.records = [record for record in self._guests() if record["domain"]["name"] == guest]

    def _guests(self) -> list[dict[str, Any]]:
        return [record for record in self.all if record["kind"] == "guest"]

    def _boot_s(self, record: dict[str, Any]) -> float:
        return self.stamps[read_time(record["time"])].boot_ns / 1e9

    def moment(self, record: dict[str, Any]) -> Moment:
        """When this was read: by the clock that nobody sets, and within the call where the guest's turn was."""
        others = self._at[record["time"]]
        return moment_within(self.stamps[read_time(record["time"])], others.index(record), len(others))

    def same_times(self) -> int:
        """Count the records that have their time, subject and kind in common with another, or took its row."""
        keys = {
            (record["time"], record["kind"], json.dumps([record.get("domain"), record.get("event")]))
            for record in self.all
        }
        lost_rows = len({read_time(record["time"]) for record in self.records} - set(self.stamps))
        return len(self.all) - len(keys) + lost_rows

    def rate_error(self) -> float:
        """The greatest error of a rate of CPU time, as a share of the truth."""
        worst = 0.0
        for before, after in pairwise(self.records):
            passed_ns = self.moment(after).boot_ns - self.moment(before).boot_ns
            done_ns = after["params"]["cpu.time"] - before["params"]["cpu.time"]
            assert passed_ns > 0, "the records are in their order"
            assert after["interval_s"] == pytest.approx(passed_ns / 1e9, rel=0.01)
            rated_ns = float(after["rates"]["cpu.time"]) * passed_ns
            worst = max(worst, abs(rated_ns - done_ns) / max(done_ns, 1))  # it may have slept all the time
        return worst

    def total_error(self) -> float:
        """The error of all rates together, each for as long as it says: as a share of what the guest has counted."""
        rated_s: float = sum(record["rates"]["cpu.time"] * record["interval_s"] for record in self.records[1:])
        done_ns: int = self.records[-1]["params"]["cpu.time"] - self.records[0]["params"]["cpu.time"]
        return abs(rated_s * 1e9 / done_ns - 1)


def stamps_in(journal: Path) -> Iterator[Stamp]:
    """Give the stamps of the ticks in a journal."""
    unpacker = Unpacker()
    with closing(look(journal)) as connection:
        for number, blob in connection.execute("SELECT number, blob FROM batch ORDER BY number").fetchall():
            batch = unpacker.unpack(number, blob)
            if batch.collect == "default":
                yield batch.stamp


class Steps:
    """Sets an agent's clock, and remembers when, on the clock that nobody sets."""

    def __init__(self, agent: Agent, clock: WallClock, interval_s: float) -> None:
        self._agent = agent
        self._interval_s = interval_s
        self._clock = clock
        self._random = random.Random(1970)
        self.done: list[tuple[str, float]] = []

    def take(self, name: str) -> None:
        self.done.append((name, boot_s()))
        if name == "1970 to now":
            self._clock.set(0.0)
        elif name == "now to 1970":
            self._clock.step_to_1970()
        else:
            self._clock.step(STEPS_S[name])
        time.sleep(self._random.uniform(*STAYS_TICKS) * self._interval_s)
        assert self._agent.process.poll() is None, "the agent ended"

    def missed(self, ticks: list[tuple[float, int]]) -> dict[str, list[int]]:
        """Return how many ticks each step of a name was followed by the lack of, the least first.

        Those left out because the last was slow are none of the step's: a busy machine has them at any time.
        """
        lost: dict[str, list[int]] = {}
        for name, at_s in self.done:
            first = bisect.bisect(ticks, (at_s, 0)) - 1
            last = bisect.bisect(ticks, (at_s + FELT_TICKS * self._interval_s, 0))
            times_s, skipped = zip(*ticks[first : last + 1], strict=True)
            of_steps = missed([*times_s], self._interval_s) - (skipped[-1] - skipped[0])
            lost[name] = sorted([*lost.get(name, ()), of_steps])
        return lost


def go_through(
    run_agent: Callable[..., Agent], folder: Path, rounds: list[tuple[str, ...]], interval_s: float
) -> dict[str, Any]:
    """Start an agent in 1970, set its clock step by step, end it; return the figures."""
    clock = WallClock(folder)
    clock.step_to_1970()
    agent = run_agent(interval=f"{interval_s * 1000:.0f}ms", env=clock.env, folder=folder, sinks=SINKS)
    agent.wait_ticks(5)
    steps = Steps(agent, clock, interval_s)
    rss: list[int] = []
    for names in rounds:
        for name in names:
            steps.take(name)
        rss.append(rss_kib(agent.process.pid))
    agent.stop()
    left = Left(folder, BURNER.name)
    streamed = {read_time(record["time"]): record["rates"]["cpu.time"] for record in left.records[1:]}
    return {
        "test": "clock",
        "steps": len(steps.done),
        "noticed": left.own["agent.clock_steps"],
        "ticks": len(left.ticks),
        "skipped": left.own["agent.skipped"],
        "missed": steps.missed(left.ticks),
        "rate_error": left.rate_error(),
        "total_error": left.total_error(),
        "stored_otherwise": len(streamed.items() ^ left.stored_rates.items()),
        "same_times": left.same_times(),
        "rss_kib": rss,
        "errors": [event["event"] for event in agent.events() if event["level"] in {"error", "critical"}],
    }


def assert_in_time(figures: dict[str, Any]) -> None:
    """Assert what a busy machine may take time from."""
    assert max(missed[-1] for missed in figures["missed"].values()) <= 1, figures


def assert_held(figures: dict[str, Any]) -> None:
    assert figures["noticed"] == figures["steps"], figures
    assert figures["rate_error"] <= 0.01, figures
    assert figures["total_error"] <= 0.01, figures
    assert (figures["stored_otherwise"], figures["same_times"], figures["errors"]) == (0, 0, []), figures
    assert figures["rss_kib"][-1] - figures["rss_kib"][0] <= RSS_GROWTH_KIB_MAX, figures


def test_an_agent_outlives_steps_of_its_clock(run_agent: Callable[..., Agent], tmp_path: Path) -> None:
    def attempt(folder: Path) -> dict[str, Any]:
        figures = go_through(run_agent, folder, [(name,) for name in SHORT], 0.5)
        assert_held(figures)
        return figures

    at_best(attempt, tmp_path, assert_in_time)


@pytest.mark.faults
def test_an_agent_outlives_many_steps_of_its_clock(run_agent: Callable[..., Agent], tmp_path: Path, show: Show) -> None:
    figures = go_through(run_agent, tmp_path, [LONG] * ROUNDS, 1.0)
    show(figures)
    assert_held(figures)
    assert_in_time(figures)
