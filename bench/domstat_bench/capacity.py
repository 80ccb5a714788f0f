"""``./dev bench capacity FOLDER``: what each of the planner's questions costs, asked as a person asks it.

A command is a process: its start, reading and answering all count. FOLDER is what ``./dev bench scenario`` wrote. Each
is asked ASKED times, of which the middle one is told, as of half an hour before the history's end: within an hour, as
nearly all moments are, and not at its last second, when the hour is over and not yet rolled up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from domstat_bench.agent_run import BenchError
from domstat_bench.report import Table, figures, verdict
from domstat_bench.store_ours import calibration_ms

GOAL_S, GOAL_LARGE_S = 1.0, 4.0
"""How long a command takes on a year of some 200 guests; and its CPU time where there are more."""
LARGE_GUESTS = 300

ASKED = 3
EARLIER_S = 1_800
"""How long before the history's end it is asked."""

_DOMSTAT = [sys.executable, "-m", "domstat.cli"]


class Cost(Struct, frozen=True):
    """What a command cost: *failed* is what it said if it did."""

    question: str
    took_s: float
    cpu_s: float
    rss_mib: float
    lines: int
    failed: str = ""


class Asked(Struct, frozen=True):
    """All commands on one history; *guests* is how many it has."""

    guests: int
    calibration_ms: float
    costs: list[Cost]


def run(folder: Path, say: Callable[[str], None]) -> Asked:
    """Ask each question once, at the end of the history. Raises BenchError."""
    config = folder / "domstat.toml"
    if not config.is_file():
        raise BenchError(f"{config} is not there; write a history with: ./dev bench scenario fleet {folder}")
    listed = [json.loads(line) for line in _told([*_DOMSTAT, "history", "list", "--format", "json", "-c", str(config)])]
    guests = [one for one in listed if one.get("uuid")]
    if not guests:
        raise BenchError(f"{folder} has a history of no guests")
    like = str(guests[0]["uuid"])
    end_s = (max(int(one["last_ms"]) for one in guests) + 1000) // 1000
    until = datetime.fromtimestamp(end_s - EARLIER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    costs = []
    for question, options in _questions(like).items():
        say(f"asking {question}")
        given = [*options, "--until", until, "--format", "json", "-c", str(config)]
        costs.append(sorted((_ask(question, given) for _ in range(ASKED)), key=lambda cost: cost.took_s)[ASKED // 2])
    return Asked(len(guests), calibration_ms(), costs)


def _questions(like: str) -> dict[str, list[str]]:
    return {
        "summary": [],
        "runway": [],
        "remaining": ["--like", like],
        "reclaim": [],
        "rightsize": [],
        "contention": [],
        "top": ["--by", "block.wr.bytes"],
        "whatif": ["--add", f"5:{like}"],
        "forecast": ["--field", "host.cpu.utilization"],
    }


def _told(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(done.stderr.strip())
    return done.stdout.splitlines()


def _ask(question: str, options: list[str]) -> Cost:
    began = time.monotonic()
    with subprocess.Popen(
        [*_DOMSTAT, "capacity", question, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines, said = process.stdout.read().splitlines(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        took_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    failed = said.strip() if process.returncode else ""
    return Cost(question, took_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, len(lines), failed)


def table(asked: Asked) -> Table:
    """Lay it out."""
    is_large = asked.guests > LARGE_GUESTS
    goal_s = GOAL_LARGE_S if is_large else GOAL_S
    rows = [
        [cost.question, figures(cost.took_s), figures(cost.cpu_s), f"{cost.rss_mib:.0f}", str(cost.lines),
         cost.failed or verdict(cost.cpu_s if is_large else cost.took_s, goal_s)]
        for cost in asked.costs
    ]  # fmt: skip
    return Table(
        f"capacity, {asked.guests} guests; a fixed loop takes {asked.calibration_ms:.1f} ms of CPU",
        ["question", "s", "s of CPU", "MiB", "lines", f"goal {goal_s:g} s{' of CPU' if is_large else ''}"],
        rows,
    )
