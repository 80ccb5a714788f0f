"""Threads meet: a sink takes what is being trimmed, memory overflows while the disk is written. Counts add up.

Real threads throughout, and bounds so small that everything happens all the time.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domstat.deliver import courier as courier_module
from domstat.deliver import journal as journal_module
from domstat.deliver import memory as memory_module
from domstat.deliver import spool as spool_module
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.journal import FILE, Journal
from domstat.deliver.spool import Spool
from domstat.model import Batch
from domstat.sink import SinkContext
from faked import eventually
from heard import Log
from shown import Show

from .oracle import seed
from .rig import made
from .takers import Dead, Living

SECONDS_SHORT, SECONDS_LONG = 1.0, 30.0

FUTURE_MS = 4_000_000_000_000
"""When the first batch is collected, by its own account: none is ever too old."""

LIMITS = Limits(64 << 10, 86_400.0, 0.0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.001)
    monkeypatch.setattr(journal_module, "RESERVE_BYTES", 4096)
    monkeypatch.setattr(memory_module, "TAIL_RECORDS_MAX", 6)
    monkeypatch.setattr(memory_module, "TAIL_BATCHES_MIN", 2)
    monkeypatch.setattr(memory_module, "PACKED_BYTES_MAX", 32_000)
    monkeypatch.setattr(memory_module, "INCOMING_RECORDS_MAX", 60)
    monkeypatch.setattr(spool_module, "TRIM_EVERY_S", 0.002)
    monkeypatch.setattr(spool_module, "RETRY_S", 0.005)


class Slow(Living):
    """A sink that is slower than what comes, now and then."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.done: list[int] = []
        """What it took in writes that it owned up to, in their order."""
        self.any_order = False
        self._chance = chance

    def open(self, context: SinkContext) -> None:
        """Do nothing."""

    def write(self, batches: Sequence[Batch]) -> None:
        """Take them, after a while."""
        time.sleep(self._chance.choice((0.0, 0.0, 0.001, 0.01, 0.03)))
        super().write(batches)
        if self._chance.random() < 0.1:
            raise RuntimeError("a fault, after all was stored")
        self.done += [one.stamp.time_ms for one in batches]


class Disk:
    """Fails at times, hangs at times, and damages what it has at times, if that is wanted."""

    def __init__(self, chance: random.Random, troubles: Sequence[str]) -> None:
        self._chance = chance
        self._troubles = troubles
        self._fails_until = 0.0
        self._append = Journal.append
        self.damages = 0

    def appending(self) -> Callable[..., None]:
        """Return what is to stand in the place of :meth:`Journal.append`."""

        def append(journal: Journal, *arguments: Any) -> None:
            self._trouble()
            self._append(journal, *arguments)

        return append

    def _trouble(self) -> None:
        if time.monotonic() < self._fails_until:
            raise sqlite3.OperationalError("disk I/O error")
        trouble = self._chance.choice((*self._troubles, *["nothing"] * 40))
        if trouble == "fails":
            self._fails_until = time.monotonic() + self._chance.uniform(0.01, 0.2)
        elif trouble == "hangs":
            time.sleep(self._chance.uniform(0.01, 0.2))
        elif trouble == "damage":
            self.damages += 1
            raise sqlite3.DatabaseError("database disk image is malformed")

    def mend(self) -> None:
        """Have nothing wrong any more."""
        self._troubles = ()
        self._fails_until = 0.0


def hammer(folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, troubles: Sequence[str]) -> dict[str, Any]:
    """Collect as fast as may be for some seconds, then have all come to rest; return the figures."""
    chosen = seed()
    chance = random.Random(chosen)
    disk = Disk(chance, troubles)
    monkeypatch.setattr(Journal, "append", disk.appending())
    log = Log()
    spool = Spool(folder / FILE, LIMITS, log)
    spool.open()
    strict, free, quick, dead = Slow(chance), Slow(chance), Living(), Dead()
    free.any_order = True
    sinks: dict[str, Living] = {"strict": strict, "free": free, "quick": quick, "dead": dead}
    couriers = {
        name: Courier(
            Outlet(name, lambda sink=sink: sink, batches=3, backoff_max_s=0.01),  # type: ignore[misc]
            spool,
            folder,
            log,
        )
        for name, sink in sinks.items()
    }
    for courier in couriers.values():
        courier.start()
    spool.start()
    lowest = 0
    records: dict[int, int] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tag = FUTURE_MS + len(records)
        records[tag] = chance.randint(1, 3)
        spool.offer(made(tag, records[tag]))
        lowest = min(lowest, *(courier.pending for courier in couriers.values()))
        if chance.random() < 0.3:
            time.sleep(chance.choice((0.0, 0.001, 0.004)))
    disk.mend()
    dead.is_alive = True
    rested = eventually(lambda: not any(spool.expects(name) for name in sinks), 30)
    for courier in couriers.values():
        courier.stop(60)
    assert spool.stop(60)
    lacking = {name: sum(records[tag] for tag in records.keys() - set(sink.times)) for name, sink in sinks.items()}
    return {
        "test": "races",
        "seed": chosen,
        "troubles": list(troubles),
        "batches": len(records),
        "damages": disk.damages,
        "failed": spool.figures().failed,
        "rested": rested,
        "lowest_pending": lowest,
        "pending": {name: courier.pending for name, courier in couriers.items()},
        "dropped": {name: dict(courier.counts.dropped_by) for name, courier in couriers.items()},
        "lacking": lacking,
        "out_of_order": sum(b <= a for a, b in [*pairwise(strict.done), *pairwise(quick.times)]),
    }


def assert_adds_up(figures: dict[str, Any]) -> None:
    assert figures["rested"], figures
    assert figures["lowest_pending"] >= 0, figures
    assert set(figures["pending"].values()) == {0}, figures
    assert {name: sum(dropped.values()) for name, dropped in figures["dropped"].items()} == figures["lacking"], figures
    assert figures["out_of_order"] == 0, figures


TROUBLES = {
    "the journal is too small": ((), Why.SIZE),
    "the disk fails": (("fails",), Why.MEMORY),
    "the disk hangs": (("hangs", "fails"), Why.MEMORY),
    "the journal is damaged": (("damage",), Why.DAMAGED),
}


@pytest.mark.parametrize("troubles", TROUBLES)
def test_counts_add_up_when(troubles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, show: Show) -> None:
    which, why = TROUBLES[troubles]
    figures = hammer(tmp_path, monkeypatch, SECONDS_SHORT, which)
    show(figures)
    assert_adds_up(figures)
    assert any(why in dropped for dropped in figures["dropped"].values()), "it did happen"


@pytest.mark.faults
@pytest.mark.parametrize("troubles", TROUBLES)
def test_counts_add_up_for_long_when(
    troubles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, show: Show
) -> None:
    figures = hammer(tmp_path, monkeypatch, SECONDS_LONG, TROUBLES[troubles][0])
    show(figures)
    assert_adds_up(figures)
