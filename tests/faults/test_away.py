"""A store is away for six hours, scaled: everything reaches it, in order, and meanwhile it has what is fresh."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from msgspec import Struct

from domstat.deliver import courier as courier_module
from domstat.deliver import memory as memory_module
from domstat.deliver.bounds import Limits
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.spool import Spool
from domstat.model import Batch
from domstat.sink import SinkContext
from domstat_bench.outage_writer import BEGIN_MS, GUESTS, STEP_MS, TICK_S, tick
from domstat_lab.servers import VictoriaMetrics, program
from domstat_sinks.influxdb import InfluxdbSink
from domstat_sinks.influxdb.settings import InfluxdbSettings
from faked import eventually
from heard import Log
from shown import Show

from .oracle import percentile

TICKS = 2_160
"""Six hours of the long form."""

SHORT_TICKS = 100
SHORT_SHARE = 0.5
"""Of the few fresh ticks of the short form so many must be in time: two ticks are 0.1 s, which a busy machine may take
from some; behind the backlog all would be late."""

FRESH_TICKS_MAX = 2
"""A new tick reaches a store that has come back at most so many ticks after it was offered."""


def number_of(one: Batch) -> int:
    return (one.stamp.time_ms - BEGIN_MS) // STEP_MS


class Watched:
    """A sink, and when it has stored which tick."""

    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.any_order = getattr(sink, "any_order", False)
        self.stored: list[tuple[int, float]] = []

    def open(self, context: SinkContext) -> None:
        self._sink.open(context)

    def write(self, batches: Sequence[Batch]) -> None:
        self._sink.write(batches)
        now = time.monotonic()
        self.stored += [(number_of(one), now) for one in batches]

    def close(self) -> None:
        self._sink.close()


class Well:
    """A sink that is never away."""

    def open(self, context: SinkContext) -> None:
        pass

    def write(self, batches: Sequence[Batch]) -> None:
        pass

    def close(self) -> None:
        pass


class Clock:
    """Offers a tick every TICK_S, in a thread, until told to stop; knows when each was offered."""

    def __init__(self, spool: Spool) -> None:
        self.offered: list[float] = []
        self._spool = spool
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stopped.wait(max(0.0, begin + len(self.offered) * TICK_S - time.monotonic())):
            one = tick(len(self.offered))
            self.offered.append(time.monotonic())
            self._spool.offer(one)

    def wait(self, count: int) -> None:
        """Wait until so many ticks were offered."""
        assert eventually(lambda: len(self.offered) >= count, seconds=count * TICK_S * 4 + 20)


@pytest.fixture
def spool(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    # What is scaled with the ticks: how long retries are apart, and how many ticks memory holds.
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", TICK_S / 20)
    monkeypatch.setattr(memory_module, "TAIL_RECORDS_MAX", 5 * GUESTS)
    spool = Spool(tmp_path / "journal.db", Limits(1 << 30, 7 * 86_400.0, 3600.0), log)
    spool.open()
    spool.start()
    yield spool
    assert spool.stop(60)


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    program("victoria-metrics")
    with VictoriaMetrics(tmp_path / "victoria") as server:
        yield server


def carried(spool: Spool, sink: Any, name: str, folder: Path, log: Log) -> tuple[Courier, Watched]:
    watched = Watched(sink)
    courier = Courier(Outlet(name, lambda: watched, backoff_max_s=TICK_S), spool, folder, log)
    courier.start()
    return courier, watched


@pytest.mark.parametrize("ticks", [SHORT_TICKS, pytest.param(TICKS, marks=pytest.mark.faults)])
def test_a_store_that_was_away_gets_everything_and_what_is_fresh_at_once(
    spool: Spool, victoria: VictoriaMetrics, tmp_path: Path, log: Log, ticks: int, show: Show
) -> None:
    settings = InfluxdbSettings(url=victoria.url)
    courier, store = carried(spool, InfluxdbSink(settings), "victoria", tmp_path, log)
    other, well = carried(spool, Well(), "well", tmp_path, log)
    with Clock(spool) as clock:
        clock.wait(20)
        victoria.stop()  # gently: what it has acknowledged and not yet written down it would lose itself
        clock.wait(20 + ticks)
        assert eventually(lambda: spool.lag("victoria").batches >= ticks - 2), "but for what is on its way to the file"
        behind = spool.lag("victoria")
        victoria.start()
        back = len(clock.offered)
        began = time.monotonic()
        assert eventually(lambda: not spool.is_behind("victoria"), seconds=120)
        drained_s = time.monotonic() - began
        clock.wait(len(clock.offered) + 20)
    # A courier that is to stop while its sink does not keep up leaves the rest to the journal; this is of what arrives.
    assert eventually(lambda: not any(spool.expects(name) for name in ("victoria", "well")), seconds=60)
    assert courier.stop(60)
    assert other.stop(60)
    count = len(clock.offered)

    first_back = next(at for number, at in store.stored if at > began)
    fresh = [(at - max(clock.offered[number], first_back)) / TICK_S for number, at in store.stored if number >= back]
    found = stored_in(victoria)
    expected = [(BEGIN_MS + STEP_MS * number, number * 1_000_000) for number in range(count)]
    show(
        {
            "test": "store away",
            "ticks": count,
            "away": ticks,
            "guests": GUESTS,
            "delivered": sum(len(points) for points in found.values()),
            "lost": sum(len(set(expected) - set(points)) for points in found.values()),
            "backlog_batches": behind.batches,
            "backlog_bytes": behind.bytes,
            "drained_ticks_per_s": round(ticks / drained_s),
            "fresh_lag_ticks_p50": round(percentile(fresh, 0.5), 2),
            "fresh_lag_ticks_max": round(max(fresh), 2),
            "other_lag_ticks_max": round(max((at - clock.offered[number]) / TICK_S for number, at in well.stored), 2),
        },
    )
    assert set(found) == {f"uuid-{guest}" for guest in range(GUESTS)}
    assert all(points == expected for points in found.values()), "every tick of every guest, once"
    assert fresh
    assert percentile(fresh, 0.99 if ticks == TICKS else SHORT_SHARE) <= FRESH_TICKS_MAX
    # A sink that takes any order is promised none among these: one may overtake another as the backlog ends.
    # What was in hand while the store was away comes first; it was fresh when it was first tried.
    drained = [number for number, at in store.stored if at > max(began, first_back) and 20 <= number < back - 5]
    assert drained
    assert drained == sorted(drained)
    assert [number for number, _ in well.stored] == list(range(count))
    counts = courier.counts
    assert counts.received == counts.written + courier.pending
    assert counts.dropped == counts.rejected == 0


def stored_in(victoria: VictoriaMetrics) -> dict[str, list[tuple[int, float]]]:
    """Return the points of every guest, in the order of time; each time once, as a query would have it."""
    points: dict[str, dict[int, float]] = {}
    for series in victoria.export('{__name__="domstat_cpu_cpu.time"}'):
        kept = points.setdefault(series["metric"]["uuid"], {})
        kept.update(zip(series["timestamps"], series["values"], strict=True))
    return {uuid: sorted(kept.items()) for uuid, kept in points.items()}
