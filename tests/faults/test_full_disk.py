"""The disk is full: what is collected goes on to sinks that take it, and who does not is told exactly what it lacks.

The disk is a small file system in memory, mounted for the test; that needs root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.deliver import courier as courier_module
from domstat.deliver import memory as memory_module
from domstat.deliver import spool as spool_module
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.journal import FILE
from domstat.deliver.spool import Spool
from faked import eventually
from faketime import rss_kib
from heard import Log
from shown import Show

from .journals import integrity
from .rig import made
from .takers import Dead, Living

DISK_BYTES = 40 << 20
BALLAST_BYTES = 20 << 20
"""What else is on the disk until somebody makes room."""

TEXT_BYTES = 400_000
"""In a record: half of it is left when it is deflated, so that some dozens fill the disk."""

PACKED_BYTES_MAX = 3 << 20
"""What may wait for the disk in memory, rather than 64 MiB."""

FUTURE_MS = 4_000_000_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root: run ./dev test as root or with sudo")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.001)
    monkeypatch.setattr(memory_module, "PACKED_BYTES_MAX", PACKED_BYTES_MAX)
    monkeypatch.setattr(spool_module, "RETRY_S", 0.02)
    monkeypatch.setattr(spool_module, "TRIM_EVERY_S", 0.05)


class Filling:
    """A spool on the full disk, with a sink that lives and one that is dead."""

    def __init__(self, disk: Path, log: Log) -> None:
        (disk / "ballast").write_bytes(bytes(BALLAST_BYTES))
        self._disk = disk
        self.spool = Spool(disk / FILE, Limits(1 << 30, 86_400.0, 0.0), log)
        self.spool.open()
        self.living, self.dead = Living(), Dead()
        self.couriers = {
            "living": Courier(Outlet("living", lambda: self.living, backoff_max_s=0.01), self.spool, disk, log),
            "dead": Courier(Outlet("dead", lambda: self.dead, batches=1, backoff_max_s=0.01), self.spool, disk, log),
        }
        for courier in self.couriers.values():
            courier.start()
        self.spool.start()
        self.offered: list[int] = []
        self.held_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the journal cannot be written any more."""
        return self.spool.figures().failing is not None

    def offer(self) -> None:
        """Collect something; it is with the living sink soon."""
        tag = FUTURE_MS + len(self.offered)
        self.offered.append(tag)
        self.spool.offer(made(tag, 1, TEXT_BYTES))
        assert eventually(lambda: self.living.times[-1:] == [tag]), "whatever becomes of the journal"
        self.held_bytes = max(self.held_bytes, sum(len(one.blob) for one in self.spool._memory.packed))

    def fill(self) -> int:
        """Collect until the disk is full; return how many batches that took."""
        while not self.is_full:
            self.offer()
            assert len(self.offered) < 1000
        return len(self.offered)

    def make_room(self) -> None:
        """Have room on the disk again, as it were by somebody else."""
        (self._disk / "ballast").unlink()

    def lacking(self, sink: Living) -> int:
        """Count what a sink has never got."""
        return len(set(self.offered) - set(sink.times))

    def stop(self) -> None:
        """Stop."""
        for courier in self.couriers.values():
            assert courier.stop(60)
        assert self.spool.stop(60)


def test_a_full_disk_costs_a_dead_sink_what_is_counted_and_a_living_one_nothing(
    disk: Path, log: Log, show: Show
) -> None:
    work = Filling(disk, log)
    until_full = work.fill()
    rss = rss_kib(os.getpid())
    while not (dropped := work.couriers["dead"].counts.dropped_by.get(Why.MEMORY, 0)) or dropped < 10:
        work.offer()
    grown_kib = rss_kib(os.getpid()) - rss
    figures: dict[str, Any] = {
        "test": "full disk",
        "batches_until_full": until_full,
        "dropped_while_full": dropped,
        "held_bytes": work.held_bytes,
        "rss_grown_kib": grown_kib,
        "commits_failed": work.spool.figures().failed,
    }
    assert work.held_bytes <= PACKED_BYTES_MAX + 8 * TEXT_BYTES, "and what comes during an attempt to write it"
    assert work.is_full
    work.make_room()
    assert eventually(lambda: not work.is_full), "it is written again by itself"
    work.offer()
    assert eventually(lambda: work.spool._committed == work.spool._next - 1)
    assert eventually((disk / f"{FILE}.reserve").exists), "for the next time"
    work.dead.is_alive = True
    assert eventually(lambda: not work.spool.expects("dead"))
    work.stop()
    counts = {name: courier.counts for name, courier in work.couriers.items()}
    figures |= {
        "batches": len(work.offered),
        "dropped": {name: count.dropped for name, count in counts.items()},
        "lacking": {"living": work.lacking(work.living), "dead": work.lacking(work.dead)},
        "integrity": integrity(disk / FILE),
    }
    show(figures)
    assert figures["dropped"] == figures["lacking"] == {"living": 0, "dead": work.lacking(work.dead)}
    assert figures["integrity"] == "ok"
    assert all(courier.pending == 0 for courier in work.couriers.values())
    assert work.living.times == work.offered
    assert work.dead.times == sorted(set(work.dead.times)), "once, and in order"
    assert [event for event in log.events() if event.startswith("journal_")] == [
        "journal_not_written",
        *[event for event in log.events("debug") if event in {"journal_not_written", "journal_not_trimmed"}],
        "journal_written_again",
    ], "said once when it begins and once when it ends"


def test_a_full_disk_is_no_trouble_while_every_sink_keeps_up(disk: Path, log: Log) -> None:
    work = Filling(disk, log)
    work.dead.is_alive = True
    for _ in range(3 * DISK_BYTES // TEXT_BYTES):
        work.offer()
    work.stop()
    assert work.spool.figures().failing is None
    assert work.dead.times == work.living.times == work.offered
    assert integrity(disk / FILE) == "ok"
