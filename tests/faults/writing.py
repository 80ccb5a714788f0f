"""A program that writes a journal, to be killed at it or to have its system calls fail: see :mod:`.test_kills`.

``journal FOLDER`` takes the steps of :mod:`.journals` and says each on standard output when it is done.
``anew FOLDER`` finds a damaged journal, has it set aside and writes another.
``spool FOLDER BATCHES ends|never`` has a spool with two couriers write, one to a sink that takes all and one to a sink
that takes nothing, and says in JSON what came of it; it waits until calls do not fail any more, if that is to come.
``backlog FOLDER BATCHES`` leaves batches that neither of these sinks has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domstat.deliver import courier, spool
from domstat.deliver.bounds import Limits
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.journal import FILE, DamagedError, Journal
from domstat.deliver.spool import Spool
from records import batch, gap_record

from .journals import STEPS, entry
from .takers import Dead, Living, Silent

WAITS_S = 60.0
"""For anything that is to happen at once; a machine that is busy is no reason to fail."""

RETRY_S = 0.02
"""How often the journal is tried again, rather than every second."""


def write_journal(folder: Path) -> None:
    """Take the steps."""
    journal = Journal(folder / FILE)
    for number, step in enumerate(["opened", *STEPS]):
        if callable(step):
            step(journal)
        os.write(1, f"{number}\n".encode())
    journal.close()


def write_anew(folder: Path) -> None:
    """Find a damaged journal, and write a row into the one that is begun anew."""
    try:
        journal = Journal(folder / FILE)
    except DamagedError:
        journal = Journal(folder / FILE)
    os.write(1, b"0\n")
    journal.append([entry(1)], {})
    os.write(1, b"1\n")
    journal.close()


class Work:
    """A spool with a courier to a sink that takes all and one to a sink that takes nothing, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.living = Living()
        self.spool = Spool(folder / FILE, Limits(1 << 30, 86_400, 3600), Silent())
        self.spool.open()
        self.couriers = [
            Courier(Outlet("living", lambda: self.living, oldest=True), self.spool, folder, Silent()),
            Courier(Outlet("dead", Dead, oldest=True), self.spool, folder, Silent()),
        ]
        for one in self.couriers:
            one.start()
        self.spool.start()
        self.acknowledged: list[int] = []
        self.longest_s = 0.0

    def is_failing(self) -> bool:
        """Whether the journal cannot be written just now."""
        return self.spool.figures().failing is not None

    def offer(self, time_ms: int) -> None:
        """Offer a batch, and wait until it is stored, or known not to be, and delivered."""
        began = time.monotonic()
        self.spool.offer(batch(gap_record(time_ms=time_ms), time_ms=time_ms))
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        number = self.spool._next - 1
        wait_until(lambda: self.spool._committed >= number or self.is_failing())
        if self.spool._committed >= number:
            self.acknowledged.append(time_ms)
        wait_until(lambda: time_ms in self.living.times)

    def wait_recovered(self) -> None:
        """Wait until all is stored, and delivered."""
        wait_until(lambda: not self.is_failing())
        wait_until(lambda: not self.spool.expects("living"))

    def end(self) -> dict[str, Any]:
        """Stop; return what came of it, and whether the journal could be written just before."""
        failing = self.spool.figures().failing
        pending = [one.pending for one in self.couriers]
        counts = [one.counts for one in self.couriers]
        stopped = [one.stop(WAITS_S) for one in self.couriers]
        ended = self.spool.stop(WAITS_S) and all(stopped)
        figures = self.spool.figures()
        return {
            "delivered": self.living.times,
            "acknowledged": self.acknowledged,
            "received": [one.received for one in counts],
            "written": [one.written for one in counts],
            "dropped": [one.dropped for one in counts],
            "pending": pending,
            "failed": figures.failed,
            "lost": figures.lost,
            "failing": failing,
            "ended": ended,
            "longest_offer_s": self.longest_s,
        }


def write_spool(folder: Path, count: int, *, ends: bool) -> dict[str, Any]:
    """Offer so many batches, one after the other, whatever becomes of the journal; return what came of it."""
    spool.RETRY_S = RETRY_S
    courier.BACKOFF_BASE_S = RETRY_S
    work = Work(folder)
    for i in range(count):
        work.offer(1_000_000 + i)
    if ends:
        work.wait_recovered()
    return work.end()


def write_backlog(folder: Path, count: int) -> dict[str, Any]:
    """Have so many batches stored of which neither sink has any; return what came of it."""
    made = Spool(folder / FILE, Limits(1 << 30, 86_400, 3600), Silent())
    made.open()
    couriers = [Courier(Outlet(name, Dead), made, folder, Silent()) for name in ("living", "dead")]
    for one in couriers:
        one.start()
    made.start()
    for i in range(count):
        made.offer(batch(gap_record(time_ms=500_000 + i), time_ms=500_000 + i))
    for one in couriers:
        one.stop(WAITS_S)
    made.stop(WAITS_S)
    return {"written": [one.counts.written for one in couriers]}


def wait_until(holds: Callable[[], bool], seconds: float = WAITS_S) -> None:
    """Wait until a condition holds, or for so long."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.0005)


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    if what == "journal":
        write_journal(Path(where))
    elif what == "anew":
        write_anew(Path(where))
    elif what == "spool":
        sys.stdout.write(json.dumps(write_spool(Path(where), int(more[0]), ends=more[1] == "ends")))
    else:
        sys.stdout.write(json.dumps(write_backlog(Path(where), int(more[0]))))
