"""The whole agent is killed, again and again: what it had collected by then is in the history, once, and nothing half.

libvirt's own test driver gives it a guest. What counts as collected is what came out of the agent's standard output,
and what its journal had when it was dead.
"""

from __future__ import annotations

import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from msgspec import Struct

from domstat import jsonlines
from domstat.deliver.codec import Unpacker
from domstat.deliver.files import look
from domstat.deliver.journal import FILE
from domstat.model import Kind, Record
from domstat_sinks.sqlite import connect
from shown import Show

from .journals import integrity
from .oracle import percentile, seed

AT_ONCE = 2
"""Agents at work at the same time, each in a folder of its own."""

KILLS_SHORT, KILLS_LONG = 10, 1000

LIVES_S = (0.005, 0.3)
"""For so long an agent lives after its first commit."""

STARTS_S_MAX = 3.0
"""From the start of the process to its first commit, in 99 of 100 cases."""

WAITS_S = 90.0

HOST = "lab"

Key: TypeAlias = tuple[str, str, str, int, str]
"""Host, collect, kind, time and subject of a record."""


class Line(Struct, frozen=True):
    """A record that came out of the agent, and when."""

    at_s: float
    record: Record


class Life:
    """One process of the agent's, from its start to its end; its standard output is read all the while."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[Line] = []
        self.torn = 0
        """Lines that were no records; the last one, which may be half a line, does not count."""
        self.started_ms = time.time_ns() // 1_000_000
        self._started_s = time.monotonic()
        with (folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "domstat.cli", "run", "--config", str(folder / "domstat.toml")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._first = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                if not line.endswith(b"\n"):
                    return
                try:
                    record = jsonlines.decode(line)
                except ValueError:
                    self.torn += 1
                    continue
                self.lines.append(Line(time.monotonic(), record))
                if record.time_ms >= self.started_ms:
                    self._first.set()  # it was collected in this life, so it is in the journal

    @property
    def own(self) -> list[Record]:
        """What was collected in this life."""
        return [line.record for line in self.lines if line.record.time_ms >= self.started_ms]

    def wait_first(self) -> float:
        """Wait for what was first collected to come out; return how long that took since the start, in seconds."""
        assert self._first.wait(WAITS_S), "nothing was collected"
        first = next(line for line in self.lines if line.record.time_ms >= self.started_ms)
        return first.at_s - self._started_s

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Have it stop."""
        self._process.terminate()
        self._end()

    def _end(self) -> None:
        self._process.wait(WAITS_S)
        self._reader.join(WAITS_S)


def key_of(record: Record) -> Key:
    return (record.host, record.collect, str(record.kind), record.time_ms, record.subject)


class Journal:
    """What an agent's journal has, looked at while there is no agent: what is new since it was last looked at."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._seen = 0
        self._unpacker = Unpacker()

    def records(self) -> Iterable[Record]:
        """Give what is new."""
        with closing(look(self._path)) as connection:
            rows = connection.execute("SELECT number, blob FROM batch WHERE number > ?", (self._seen,)).fetchall()
        for number, blob in rows:
            self._seen = number
            yield from self._unpacker.unpack(number, blob).records


class Killed:
    """An agent that is killed so many times, and then stopped; what it was known to have collected meanwhile."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        folder.mkdir(mode=0o700)
        (folder / "domstat.toml").write_text(
            f'[agent]\nstate_dir = "{folder}"\ninterval = "20ms"\nlog_level = "warning"\n'
            f'[[hosts]]\nuri = "test:///default"\nname = "{HOST}"\nsurvey = {{ enabled = false }}\n'
            '[[sinks]]\ntype = "sqlite"\nname = "history"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n'
        )
        self._folder = folder
        self._chance = chance
        self._journal = Journal(folder)
        self.acknowledged: dict[Key, Record] = {}
        self.came_out = 0
        self.starts_s: list[float] = []
        self.torn = 0
        self.without_interval: list[str] = []
        """Which lives, and of which kind, the first record was as if nothing was known from before."""

    def go_on(self, kills: int) -> None:
        """Start and kill it so many times; then let it come to the end of what it has."""
        for number in range(kills + 1):
            life = Life(self._folder)
            self.starts_s.append(life.wait_first())
            if number < kills:
                time.sleep(self._chance.uniform(*LIVES_S))
                life.kill()
            else:
                time.sleep(1.0)  # for what waits; then it is stopped, which writes what is at hand
                life.stop()
            self._note(life, number)

    def _note(self, life: Life, number: int) -> None:
        self.torn += life.torn
        self.came_out += len(life.lines)
        # What there is to take rates against: the first life may have come no further than a gap.
        before = {kind for _, _, kind, _, _ in self.acknowledged}
        for record in (*(line.record for line in life.lines), *self._journal.records()):
            self.acknowledged.setdefault(key_of(record), record)
        for kind in (Kind.GUEST, Kind.HOST):
            first = next((record for record in life.own if record.kind is kind), None)
            if kind in before and first is not None and first.interval_s is None:
                self.without_interval.append(f"{kind} {number} {life.started_ms}")

    def figures(self) -> dict[str, Any]:
        """Compare what was collected with what the history has."""
        with closing(connect(self._folder / "history.db")) as history:
            there = stored(history)
            duplicates = [row for query in DUPLICATES for row in history.execute(query).fetchall()]
        lost = sorted({said(record) for record in self.acknowledged.values()} - there)
        log = (self._folder / "agent.log").read_text()
        return {
            "records": len(self.acknowledged),
            "came_out": self.came_out,
            "ticks": len({key[:2] + key[3:4] for key in self.acknowledged if key[2] == Kind.GUEST}),
            "lost": [*map(str, lost)],
            "duplicates": [*map(str, duplicates)],
            "torn": self.torn,
            "integrity": {name: integrity(self._folder / name) for name in (FILE, "history.db")},
            "without_interval": self.without_interval,
            "errors": sorted(set(re.findall(r'"event": "(\w+)", "level": "error"', log))),
            "warnings": dict(Counter(re.findall(r'"event": "(\w+)", "level": "warning"', log))),
        }


DUPLICATES = (
    "SELECT stream, time_ms, count(*) FROM head GROUP BY 1, 2 HAVING count(*) > 1",
    "SELECT time_ms, host, uuid, field, device, count(*) FROM samples GROUP BY 1, 2, 3, 4, 5, kind HAVING count(*) > 1",
    "SELECT host, collect, start_ms, end_ms, count(*) FROM gaps GROUP BY 1, 2, 3, 4 HAVING count(*) > 1",
)
"""What finds the same thing twice in a history."""

Said: TypeAlias = tuple[str, str, str, int, str]


def said(record: Record) -> Said:
    """Name a record as :func:`stored` does."""
    uuid = record.domain.uuid if record.domain is not None else ""
    return (record.host, record.collect, str(record.kind), record.time_ms, uuid)


def stored(history: sqlite3.Connection) -> set[Said]:
    """Name all that a history has."""
    samples = history.execute("SELECT DISTINCT host, collect, kind, time_ms, ifnull(uuid, '') FROM samples")
    gaps = history.execute("SELECT host, collect, 'gap', start_ms, '' FROM gaps")
    return {(str(a), str(b), str(c), int(d), str(e)) for rows in (samples, gaps) for a, b, c, d, e in rows}


def go_through(folder: Path, kills: int) -> dict[str, Any]:
    chosen = seed()
    killed = [Killed(folder / f"agent-{number}", random.Random(chosen + number)) for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda one: one.go_on(kills // AT_ONCE), killed))
    starts_s = [start for one in killed for start in one.starts_s]
    return {
        "test": "agent kills",
        "seed": chosen,
        "kills": kills,
        "start_to_commit_s": {
            "p50": round(percentile(starts_s, 0.5), 3),
            "p99": round(percentile(starts_s, 0.99), 3),
            "max": round(max(starts_s), 3),
        },
        "agents": [one.figures() for one in killed],
    }


def assert_held(figures: dict[str, Any]) -> None:
    for agent in figures["agents"]:
        assert (agent["lost"], agent["duplicates"], agent["torn"]) == ([], [], 0), figures
        assert set(agent["integrity"].values()) == {"ok"}, figures
        assert agent["without_interval"] == [], "the first tick after a start has rates"
        assert agent["errors"] == [], figures
        assert agent["ticks"] > figures["kills"] / AT_ONCE


def test_an_agent_that_is_killed_loses_nothing_that_it_has_collected(tmp_path: Path, show: Show) -> None:
    figures = go_through(tmp_path, KILLS_SHORT)
    show(figures)
    assert_held(figures)


@pytest.mark.faults
def test_an_agent_that_is_killed_a_thousand_times_loses_nothing_and_is_soon_back(tmp_path: Path, show: Show) -> None:
    figures = go_through(tmp_path, KILLS_LONG)
    show(figures)
    assert_held(figures)
    assert figures["start_to_commit_s"]["p99"] <= STARTS_S_MAX
