"""A known load is reported truly: against the guest's own count, and against the kernel's."""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from domstat.collect.block import Block
from domstat.model import Kind, Record, moment_within
from domstat_lab import guests
from domstat_lab.libvirtd import PrivateLibvirtd

from .conftest import BURNER, CORE, PATIENCE_S, WRITER, Collector

TICK_S = 1.0
POLL_S = 0.01
"""How often the truth is looked at; far below what either tolerance lets through."""

WRITTEN_MIN, BURNT_MIN_S = 3_000_000, 3.5
"""So much is done, at least, between the first tick and the last: what the truth may be off by at either end, some part
of a piece of 64 KiB or of a burst of 0.25 s, is then less than the tolerance. It takes some 14 s, on a busy machine
longer."""


class Timeline:
    """A growing number watched beside the agent, to be read at any moment in between."""

    def __init__(self, look: Callable[[], tuple[int, float]]) -> None:
        self._look = look
        self._times: list[int] = []
        self._values: list[float] = []

    @property
    def grown(self) -> float:
        """By how much it has grown since it was first looked at."""
        return self._values[-1] - self._values[0] if self._values else 0.0

    @property
    def newest_ns(self) -> int:
        """When it was last seen to have grown, 0 if never."""
        return self._times[-1] if self._times else 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at it all the while; in the end until it has grown once more, so that all before lies in between."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(POLL_S):
                time_ns, value = self._look()
                if not self._values or value != self._values[-1]:
                    self._values.append(value)
                    self._times.append(time_ns)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            until(lambda: self.grown > 0)
            yield
            now_ns = time.time_ns()
            until(lambda: self.newest_ns > now_ns)
        finally:
            done.set()
            thread.join()

    def at(self, time_ns: int) -> float:
        """Read the number at a moment, between two changes as if it had grown evenly."""
        i = bisect.bisect_right(self._times, time_ns)
        assert 0 < i < len(self._times), "the moment was not watched"
        (t0, t1), (v0, v1) = self._times[i - 1 : i + 1], self._values[i - 1 : i + 1]
        return v0 + (v1 - v0) * (time_ns - t0) / (t1 - t0)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the guests do nothing"
        time.sleep(POLL_S)


def integral(ticks: list[tuple[int, Record]], key: str) -> float:
    """Add up what the rates say was done: rate times the record's own elapsed time."""
    return sum(record.rates[key] * (record.interval_s or 0) for _, record in ticks[1:])


class Watched(NamedTuple):
    """Some ticks of a guest, each with the wall time in nanoseconds when it was read, and the truth about its load."""

    ticks: list[tuple[int, Record]]
    timeline: Timeline

    @property
    def truth(self) -> float:
        """What was done between the first tick and the last."""
        return self.timeline.at(self.ticks[-1][0]) - self.timeline.at(self.ticks[0][0])


@pytest.fixture(scope="module")
def watched(lab: PrivateLibvirtd) -> dict[str, Watched]:
    """Collect for a while, and watch what two guests really do: how much one writes, and how the other burns."""
    stat = Path(f"/proc/{lab.qemu_pid(BURNER.name)}/stat")

    def written() -> tuple[int, float]:
        seen = guests.written_bytes(lab, WRITER.name)
        return seen.time_ns, float(seen.bytes)

    def burnt() -> tuple[int, float]:
        fields = stat.read_text().rpartition(")")[2].split()
        return time.time_ns(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    found = {WRITER.name: Watched([], Timeline(written)), BURNER.name: Watched([], Timeline(burnt))}
    collector = Collector(lab.uri_ro, Block("default", CORE))
    try:
        collector.tick()
        with found[WRITER.name].timeline.watching(), found[BURNER.name].timeline.watching():
            take(collector, found)
            end = time.monotonic() + 4 * PATIENCE_S
            while found[WRITER.name].truth < WRITTEN_MIN or found[BURNER.name].truth < BURNT_MIN_S:
                assert time.monotonic() < end, "the guests do hardly anything"
                time.sleep(TICK_S)
                take(collector, found)
    finally:
        collector.hypervisor.close()
    return found


def take(collector: Collector, watched: dict[str, Watched]) -> None:
    """Collect a tick of these guests, and wait until more is known of what they did than until then."""
    for batch in collector.batches():
        records = [record for record in batch.records if record.kind is Kind.GUEST]
        for position, record in enumerate(records):
            if record.domain is not None and record.domain.name in watched:
                offset_ns = moment_within(batch.stamp, position, len(records)).boot_ns - batch.stamp.boot_ns
                watched[record.domain.name].ticks.append((batch.stamp.time_ms * 1_000_000 + offset_ns, record))
    until(lambda: all(guest.timeline.newest_ns > guest.ticks[-1][0] for guest in watched.values()))


def test_bytes_written_agree_with_the_guests_own_count(watched: dict[str, Watched]) -> None:
    writer = watched[WRITER.name]
    assert abs(integral(writer.ticks, "block.wr.bytes[vda]") - writer.truth) <= 0.02 * writer.truth


def test_cpu_time_agrees_with_the_kernels_count_of_the_process(watched: dict[str, Watched]) -> None:
    burner = watched[BURNER.name]
    assert abs(integral(burner.ticks, "cpu.time") - burner.truth) <= 0.03 * burner.truth


def test_what_the_guest_has_is_what_is_reported(collect: Callable[..., Collector]) -> None:
    collector = collect()
    collector.tick()
    time.sleep(TICK_S)
    record = collector.guest(WRITER.name)
    assert record.params["vcpu.current"] == WRITER.vcpus
    assert record.params["balloon.maximum"] == WRITER.memory_mib * 1024
    assert record.params["block.capacity[vda]"] == WRITER.disks[0].size_mib << 20
    assert 0 < record.derived["memory.used"] < WRITER.memory_mib << 20
    assert 0 <= record.derived["memory.age"] < 20
    assert record.derived["cpu.utilization"] == record.rates["cpu.time"]
    assert record.rates["net.tx.bytes[" + next(d for d in _nics(record)) + "]"] > 0
    assert record.derived["block.wr.latency[vda]"] > 0


def _nics(record: Record) -> list[str]:
    return [key[len("net.tx.bytes[") : -1] for key in record.params if key.startswith("net.tx.bytes[")]
