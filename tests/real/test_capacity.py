"""A compressed hour of real guests, and who of them the planner calls idle and who busy.

An agent watches the lab's guests for some seconds; what it has collected is stretched to an hour
(:mod:`domstat_bench.stretch`), written by the sink, sealed and rolled up, and then asked as a planner would.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domstat.capacity.gather import Figures
from domstat.capacity.reclaim import Kind, reclaim
from domstat.capacity.rightsize import Verdict, rightsize
from domstat.capacity.runway import Status, runway
from domstat.capacity.settings import Capacity
from domstat.capacity.summary import summary
from domstat.capacity.top import How, top
from domstat.history import History
from domstat.settings import Duration
from domstat.sink import SinkContext
from domstat_bench.stretch import Stretch
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

from .conftest import BURNER, NAUGHTY, PATIENCE_S, SLEEPER, WRITER, Agent

HOUR_MS = 3_600_000
END_MS = 1_795_928_400_000
"""2026-11-29T05:00:00Z, when all that was recorded has just happened."""

TICKS, INTERVAL = 60, "200ms"
"""A guest that is asked five times a second is kept busy by that for a fiftieth of two vCPUs, which is still idle."""

SETTINGS = Capacity(idle_after=Duration(1800), size_after=Duration(1800))
"""Of an hour half must do, where weeks are usual."""

IDLE = {SLEEPER.name, NAUGHTY.name}
BUSY = {WRITER.name, BURNER.name}


@pytest.fixture
def hour(run_agent: Callable[..., Agent], tmp_path: Path) -> Path:
    """Record some ticks; return the folder of a history in which they took an hour."""
    recorded, folder = tmp_path / "recorded", tmp_path / "hour"
    recorded.mkdir(mode=0o700)
    folder.mkdir(mode=0o700)
    agent = run_agent(interval=INTERVAL, folder=recorded)
    agent.wait_more_ticks(TICKS)
    agent.stop()
    with opened(recorded) as history:
        batches = list(history.batches(0, 1 << 62, pytest.fail))  # type: ignore[attr-defined]  # it has batches
    first_ms, last_ms = batches[0].stamp.time_ms, batches[-1].stamp.time_ms
    factor = -(-HOUR_MS // (last_ms - first_ms))
    stretch = Stretch(factor, first_ms, END_MS - 1 - (last_ms - first_ms) * factor)
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    sink.write([stretch.batch(batch) for batch in batches])
    while sink.settle():
        pass
    sink.close()
    return folder


@contextmanager
def opened(folder: Path) -> Iterator[History]:
    with SqliteSink.history(SqliteSettings(), folder) as history:
        yield history


def ask(folder: Path, *question: str) -> list[dict[str, Any]]:
    """Ask on the command line, as of the end of the hour."""
    config = folder / "domstat.toml"
    config.write_text(f'[agent]\nstate_dir = "{folder}"\n[[sinks]]\ntype = "sqlite"\n')
    until = datetime.fromtimestamp(END_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = subprocess.run(
        [sys.executable, "-m", "domstat.cli", "capacity", *question, "--until", until, "--config", str(config),
         "--format", "json"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_hour_of_real_guests_ranks_the_idle_idle_and_the_busy_busy(hour: Path) -> None:
    with opened(hour) as history:
        figures = Figures(history, END_MS, SETTINGS)
        assert_ranked(figures)
        assert_idle(figures)
        assert_summed_up(figures)
    by_hand = [line["name"] for line in ask(hour, "top", "--by", "cpu.cores")]
    assert (set(by_hand[:2]), set(by_hand[2:])) == (BUSY, IDLE)
    found = ask(hour, "reclaim", "--set", "idle_after=30m")
    assert {line["guest"] for line in found if line["class"] == "idle"} == IDLE


def assert_ranked(figures: Figures) -> None:
    """Those who burn and write use most CPU, whoever writes writes most, and those who sleep are last."""
    cores = [one.name for one in top(figures, "cpu.cores").ranked]
    assert (set(cores[:2]), set(cores[2:])) == (BUSY, IDLE)
    most, least = (top(figures, "cpu.cores", How.MAX, least_first=first).ranked for first in (False, True))
    assert (most[0].value.value or 0.0) > 3 * (least[0].value.value or 0.0)
    assert [one.name for one in top(figures, "cpu.cores", least_first=True).ranked] == cores[::-1]
    for field, how in (("block.wr.bytes", How.INCREASE), ("block.wr.reqs", How.MEAN)):
        found = top(figures, field, how).ranked
        assert found[0].name == WRITER.name, field
        assert (found[0].value.value or 0.0) > 0


def assert_idle(figures: Figures) -> None:
    """Those who sleep can be had back, and nobody else."""
    found = reclaim(figures)
    assert {one.name for one in found.candidates} == IDLE
    assert {one.kind for one in found.candidates} == {Kind.IDLE}
    assert (found.unjudged, found.regular) == ((), ())
    for one in found.candidates:
        assert (one.share.value or 0.0) >= 0.95
        assert (one.memory.value or 0.0) > 1_000_000, "QEMU itself takes more"
    verdicts = {(one.name, str(one.resource)): one.verdict for one in rightsize(figures).sizings}
    assert {verdicts[name, "cpu"] for name in IDLE} == {Verdict.OVERSIZED}
    assert {verdicts[name, "memory"] for name in IDLE} == {Verdict.STALE}, "they have no balloon driver"
    assert verdicts[BURNER.name, "cpu"] not in {Verdict.OVERSIZED, Verdict.YOUNG}


def assert_summed_up(figures: Figures) -> None:
    """The host has what its guests have, and is too young to say how long that will do."""
    (found,) = summary(figures)
    assert (found.host, found.running, found.off) == ("lab", len(IDLE | BUSY), 0)
    cpu = found.standings[0]
    assert cpu.allocated.value == sum(guest.vcpus for guest in (WRITER, BURNER, SLEEPER, NAUGHTY))
    burnt = next(one.value.value or 0.0 for one in top(figures, "cpu.cores").ranked if one.name == BURNER.name)
    assert burnt * 0.9 < (cpu.peak.value or 0.0) <= (cpu.total.value or 0.0)
    assert {one.status for one in runway(figures)} == {Status.YOUNG}
