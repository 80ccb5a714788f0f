"""What tests of faults share: the agent's output read tick by tick, what its processes weigh, a seed, the figures.

An agent's standard output and its history are all that is looked at; when a guest hung or a daemon was killed, the
test itself knows.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import asdict

from domstat import jsonlines
from domstat.model import Batch, Gap, Kind, Record
from domstat_bench.measure import children
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from faketime import rss_kib
from real.conftest import Agent

SEED_VARIABLE = "DOMSTAT_FAULTS_SEED"

SHORT_SEED = 6
"""Of the short forms, which do the same every time, as far as a machine does; what chance may find the long ones do."""

ATTEMPTS = 3

SURVEY_S = 10.0
"""A survey of the lab's few guests and no pools is through in a fraction of this."""


class Chance:
    """Whether it is left to chance what a test does."""

    is_given = False


def seed() -> int:
    """Return the seed that the environment gives, or in a long form a new one, and print it.

    With it a run can be had again.
    """
    by_itself = random.randrange(1_000_000) if Chance.is_given else SHORT_SEED
    chosen = int(os.environ.get(SEED_VARIABLE) or by_itself)
    sys.stdout.write(f"{SEED_VARIABLE}={chosen}\n")
    return chosen


def say(figures: dict[str, Any]) -> None:
    """Print a test's figures as one line of JSON, which is seen if the test fails."""
    sys.stdout.write(json.dumps(figures) + "\n")


def at_best(attempt: Callable[[Path], dict[str, Any]], folder: Path, in_time: Callable[[dict[str, Any]], None]) -> None:
    """Judge by the best of a few attempts what a busy machine may take time from; each has a folder of its own.

    What is too slow by itself is so every time. *in_time* asserts that; what must hold always *attempt* asserts itself.
    """
    for number in range(1, ATTEMPTS + 1):
        own = folder / f"attempt-{number}"
        own.mkdir(mode=0o700)
        figures = attempt(own)
        say(figures)
        try:
            in_time(figures)
        except AssertionError:
            if number == ATTEMPTS:
                raise
        else:
            return


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that *share* of *values* do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Tick(Struct, frozen=True):
    """A tick of one stream that was collected to its end, in however many parts."""

    due_ms: int
    records: tuple[Record, ...]
    """In the order in which they came: the host's, the guests', the agent's own."""

    @property
    def guests(self) -> dict[str, Record]:
        """The guests' records, by name. A guest that is in it twice fails the test."""
        found = [record for record in self.records if record.kind is Kind.GUEST and record.domain is not None]
        by_name = {record.domain.name: record for record in found if record.domain is not None}
        assert len(by_name) == len(found), f"a guest is twice in the tick of {self.due_ms}"
        return by_name

    @property
    def own(self) -> dict[str, Any]:
        """What the agent says of itself: the ``agent.*`` figures, which end the tick."""
        return self.records[-1].params

    @property
    def began_ms(self) -> int:
        """When the first call of the tick that was answered was made, by the wall clock."""
        return min(record.time_ms for record in self.records)

    @property
    def ended_ms(self) -> int:
        """When the last call of the tick was answered, at the latest, by the wall clock."""
        return max(record.time_ms for record in self.records) + int(self.own["agent.call.time"]) // 1_000_000


class Told:
    """What an agent told the two sinks that :func:`real.conftest.run_agent` gives it, read again."""

    def __init__(self, folder: Path) -> None:
        self._lines = folder / "stdout.jsonl"
        self._history = folder / "history.db"

    def records(self) -> Iterator[Record]:
        """Give every record, one at a time: after a long run they do not fit the memory."""
        with self._lines.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    return  # the agent is writing this one
                yield jsonlines.decode(line)

    def ticks(self, host: str = "lab", collect: str = "default") -> Iterator[Tick]:
        """Give every tick of a stream that was collected to its end; what a failed one brought is left out."""
        parts: list[Record] = []
        for record in self.records():
            if (record.host, record.collect) != (host, collect):
                continue
            if record.kind is Kind.GAP:
                parts = []  # a tick's gap comes last: what came before, unfinished, is what it is about
                continue
            parts.append(record)
            if record.kind is Kind.AGENT:
                lateness_ms = int(record.params["agent.lateness"]) // 1_000_000
                yield Tick(parts[0].time_ms - lateness_ms, tuple(parts))
                parts = []

    def gaps(self, host: str = "lab", collect: str = "default") -> list[Gap]:
        """Return a stream's gaps."""
        found = (record for record in self.records() if (record.host, record.collect) == (host, collect))
        return [record.gap for record in found if record.gap is not None]

    def events(self, host: str = "lab") -> list[Record]:
        """Return the records of what happened to the guests of a host."""
        return [record for record in self.records() if record.host == host and record.kind is Kind.EVENT]

    def moments_s(self, name: str, host: str = "lab", collect: str = "default") -> dict[int, float]:
        """Return when a guest's values were read, by its records' times: at its turn within the call, by wall clock."""
        call_ns = {
            batch.stamp.time_ms: batch.stamp.call_ns
            for batch in self.stored()
            if (batch.host, batch.collect) == (host, collect)
        }
        moments = {}
        for tick in self.ticks(host, collect):
            of_guest = tick.guests.get(name)
            if of_guest is None:
                continue
            part = [record for record in tick.guests.values() if record.time_ms == of_guest.time_ms]
            turn = (part.index(of_guest) + 0.5) / len(part)
            moments[of_guest.time_ms] = of_guest.time_ms / 1e3 + turn * call_ns[of_guest.time_ms] / 1e9
        return moments

    def stored(self) -> Iterator[Batch]:
        """Give what the history has, one batch at a time: what is sealed, and what is not sealed yet."""
        with SqliteSink.history(SqliteSettings(), self._history.parent) as history:
            yield from history.batches(0, 1 << 62, pytest.fail)  # type: ignore[attr-defined]  # it has batches

    def stored_otherwise(self) -> int:
        """Count the ticks, events and gaps that the history has and the stream has not, or the other way round."""

        def named(records: Iterable[Record]) -> set[tuple[str, str, str, int]]:
            return {
                (one.host, one.collect, "gap" if one.gap else "event" if one.event else "tick", one.time_ms)
                for one in records
            }

        return len(named(self.records()) ^ named(record for batch in self.stored() for record in batch.records))


class Coverage(Struct, frozen=True):
    """Of the ticks that were due: how many were not collected, and whether the gaps say just that."""

    due: int
    lost: tuple[int, ...]
    """When they were due."""
    unexplained: tuple[int, ...]
    """Those of them that no gap covers."""
    belied: tuple[int, ...]
    """Ticks that were collected and that a gap covers all the same."""


def coverage(dues_ms: Iterable[int], gaps: Iterable[Gap], interval_ms: int) -> Coverage:
    """Compare the ticks that were collected with the gaps, from the first of them to the last."""
    collected = sorted(dues_ms)
    spans = [(gap.start, gap.end) for gap in gaps]

    def covered(due_ms: int) -> bool:
        return any(start <= due_ms < end for start, end in spans)

    due = range(collected[0], collected[-1] + 1, interval_ms)
    lost = tuple(sorted({*due} - {*collected}))
    return Coverage(
        len(due),
        lost,
        tuple(at for at in lost if not covered(at)),
        tuple(at for at in collected if covered(at)),
    )


def negative_rates(records: Iterable[Record]) -> list[tuple[str, str, float]]:
    """Return the rates below zero: whose, of what, how much. There is no such thing."""
    return [
        (record.domain.name if record.domain else record.kind, key, rate)
        for record in records
        for key, rate in record.rates.items()
        if rate < 0
    ]


class Weight(Struct, frozen=True):
    """What processes take of the machine, together."""

    threads: int
    files: int
    rss_kib: int


def weight_of(pids: Iterable[int]) -> Weight:
    """Weigh processes together; one that has just ended weighs nothing."""
    total = Weight(0, 0, 0)
    for pid in pids:
        try:
            threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
            files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            rss = rss_kib(pid)
        except (OSError, StopIteration):  # gone, or a zombie, which has no memory
            continue
        total = Weight(total.threads + threads, total.files + files, total.rss_kib + rss)
    return total


def family(agent: Agent) -> list[int]:
    """Return the pids of an agent and of the workers that it has started and that still run."""
    pid = agent.process.pid
    return [pid, *children(pid)]


def weigh(agent: Agent) -> dict[str, dict[str, int]]:
    """Weigh an agent and its worker, for figures that are compared before and after.

    A survey has a worker of its own for as long as it takes, and then there is none that could be weighed alone.
    """
    until = time.monotonic() + SURVEY_S
    while len(pids := family(agent)) > 2 and time.monotonic() < until:
        time.sleep(0.2)
    own, *workers = pids
    return {"agent": asdict(weight_of([own])), "worker": asdict(weight_of(workers))}
