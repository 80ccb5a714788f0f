"""A program that writes a history, to be killed at it: see :mod:`.test_history_kills`.

``write FOLDER`` writes the batches of a made-up life of some days, in small slices that are soon sealed, rolled up,
merged and let go, and says on standard output which it has written. ``upgrade FOLDER`` opens a file of an earlier
version, and says so.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

from domstat.model import Batch, Domain, Figures, Kind, Partial, Record, Stamp, Value
from domstat_sinks.sqlite.keeping import merging, retention, upkeep
from domstat_sinks.sqlite.keeping.retention import Bounds
from domstat_sinks.sqlite.keeping.sealing import DAY_MS
from domstat_sinks.sqlite.writer import Writer

FILE = "history.db"

LENGTH = 24
"""Batches: slices of five, merged at ten ticks and at twenty."""

BURST, AWAY_MS = 8, 14 * 3_600_000
"""Batches come in bursts of so many, two minutes apart: so there are buckets of several ticks, and days."""

CLOSING = 14
"""Batches that come when all is over: what is due is done, and all buckets before them are finished."""

STEPS = 16
"""Steps of upkeep after each batch, each committed by itself: about as many as are due."""

START_MS = 1_795_385_704_000

BOUNDS = Bounds(raw_s=20 * 3_600.0, five_minutes_s=20 * 3_600.0, hours_s=20 * 3_600.0, days_s=20 * 3_600.0)
"""Ticks and buckets of the first burst go, and its day."""


def at_ms(number: int) -> int:
    """Return when a batch was."""
    bursts = min(number // BURST, LENGTH // BURST)
    within = number - bursts * BURST
    return START_MS + bursts * AWAY_MS + within * 120_000


class Life:
    """Two guests who count, restart, go away and hang, always in the same way."""

    def __init__(self) -> None:
        self._chance = random.Random(1)
        self._counted = dict.fromkeys("ab", 1000)
        self._ids = dict.fromkeys("ab", 1)

    def batch(self, number: int) -> Batch:
        """Make the batch of a number; they are to be made in order."""
        since_ms = at_ms(number) - START_MS
        stamp = Stamp(START_MS + since_ms, 10**10 + since_ms * 10**6, "boot", 12_000_000)
        records = [self._record(uuid, stamp) for uuid in self._counted if self._chance.random() < 0.9]
        return Batch(host="h", collect="c", stamp=stamp, records=tuple(records))

    def _record(self, uuid: str, stamp: Stamp) -> Record:
        if self._chance.random() < 0.05:
            self._ids[uuid], self._counted[uuid] = self._ids[uuid] + 1, 0
        self._counted[uuid] += self._chance.choice((0, 7, 12_345, 1 << 40))
        hangs = self._chance.random() < 0.1
        user = self._counted[uuid] // 3
        params: dict[str, Value] = {
            "cpu.time": self._counted[uuid],
            "cpu.user": user,
            "vcpu.current": self._ids[uuid],
            "balloon.rss": user % 4093,
            "state.state": 1,
        }
        if not hangs:
            params |= {"block.rd.bytes[vda]": 4096 * user, "cpu.system": self._counted[uuid] - user}
        about: dict[str, Any] = {"host": "h", "collect": "c", "time_ms": stamp.time_ms}
        return Record(
            kind=Kind.GUEST,
            domain=Domain(uuid, uuid.upper(), self._ids[uuid]),
            partial=Partial(("block", "cpu")) if hangs else None,
            figures=Figures(params),
            **about,
        )


def batches() -> list[Batch]:
    """Return all batches, the closing ones too."""
    life = Life()
    return [life.batch(number) for number in range(LENGTH + CLOSING)]


def make_small() -> None:
    """Have a year's work done in a minute: small slices, merged at once, each step committed by itself."""
    upkeep.SLICE_TICKS, upkeep.SLICE_MS, upkeep.STEP_S = 5, 1, 0.0
    upkeep.TIER_SLICES_MS = {1: 6 * 60_000, 2: 3_600_000}
    merging.LEVELS.update({1: merging.Level(DAY_MS, 10), 2: merging.Level(DAY_MS, 20)})
    merging.TIER_LEVELS.update({1: {1: merging.Level(DAY_MS, 6)}, 2: {1: merging.Level(DAY_MS, 2)}})
    retention.EVERY_S = 0.0


def write(path: Path) -> None:
    """Write the batches, with some steps of upkeep after each."""
    writer = Writer(path, BOUNDS)
    for number, one in enumerate(batches()[:LENGTH]):
        writer.write([one])
        os.write(1, f"{number}\n".encode())
        for _ in range(STEPS):
            writer._upkeep.run()
    writer.close()


def upgrade(path: Path) -> None:
    """Open the file, and so bring it up to date."""
    writer = Writer(path)
    os.write(1, b"0\n")
    writer.close()


if __name__ == "__main__":
    make_small()
    {"write": write, "upgrade": upgrade}[sys.argv[1]](Path(sys.argv[2]) / FILE)
