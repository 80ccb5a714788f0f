"""Sinks that do what they should not: raise, hang, sleep for an hour, count wrongly, leave; the others feel nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat.deliver import courier as courier_module
from domstat.deliver.bounds import Limits
from domstat.deliver.courier import Courier, Outlet, State
from domstat.deliver.spool import Spool
from domstat.model import Batch
from domstat.sink import Fatal, Reject, Retry
from faked import eventually
from heard import Log
from records import batch, guest_record
from shown import Show

from .oracle import percentile

TICKS = 200
TICK_S = 0.01

LATE_S_MAX = 20.0
"""A sink that is well has a tick within this on any machine; beside one that hangs or sleeps for an hour that holds it
up, it never has."""


class Well:
    """Does what it should, and remembers when it had which tick."""

    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self) -> None:
        self.stored: list[tuple[int, float]] = []

    def open(self, context: object) -> None:
        pass

    def write(self, batches: Sequence[Batch]) -> None:
        self.stored += [(one.stamp.time_ms, time.monotonic()) for one in batches]

    def close(self) -> None:
        pass


class Odd(Well):
    """Does *act* with every write."""

    def __init__(self, act: Callable[[Sequence[Batch]], None]) -> None:
        super().__init__()
        self._act = act

    def write(self, batches: Sequence[Batch]) -> None:
        self._act(batches)
        super().write(batches)


def raise_a(error: BaseException) -> Callable[[Sequence[Batch]], None]:
    def act(_batches: Sequence[Batch]) -> None:
        raise error

    return act


def reject_too_many(batches: Sequence[Batch]) -> None:
    raise Reject([(batches[0], batches[0].records[0], "no")] * 1000)


def reject_what_it_never_had(batches: Sequence[Batch]) -> None:
    stranger = batch(guest_record("stranger"))
    raise Reject([(stranger, stranger.records[0], "who is that?")])


_kept: list[Batch] = []

forever = threading.Event()
"""What hangs waits for this; set when the tests end."""


def wait_for(seconds: float | None) -> Callable[[Sequence[Batch]], None]:
    def act(_batches: Sequence[Batch]) -> None:
        forever.wait(seconds)

    return act


ODD: dict[str, Callable[[Sequence[Batch]], None]] = {
    "raises": raise_a(RuntimeError("a fault")),
    "raises what Python itself does": raise_a(MemoryError()),
    "calls exit": raise_a(SystemExit(1)),
    "is refused for ever": raise_a(Fatal("no")),
    "asks to be left alone for an hour": raise_a(Retry("later", after=3600)),
    "hangs": wait_for(None),
    "sleeps for an hour": wait_for(3600.0),
    "rejects more than it was given": reject_too_many,
    "rejects what it never had": reject_what_it_never_had,
    "keeps everything": _kept.extend,
}


@pytest.fixture(scope="module", autouse=True)
def an_end() -> Iterator[None]:
    yield
    forever.set()
    _kept.clear()


@pytest.fixture
def spool(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.001)
    spool = Spool(tmp_path / "journal.db", Limits(1 << 30, 86_400.0, 3600.0), log)
    spool.open()
    spool.start()
    yield spool
    spool.stop(60)


def lateness(spool: Spool, folder: Path, log: Log, odd: dict[str, Any]) -> tuple[list[float], dict[str, Courier]]:
    """Offer ticks to a sink that is well, beside *odd* ones; return how late the former had each, and all couriers."""
    well = Well()
    sinks: dict[str, Any] = {"well": lambda: well, **odd}
    couriers = {
        name: Courier(Outlet(name, make, backoff_max_s=0.05), spool, folder, log) for name, make in sinks.items()
    }
    for courier in couriers.values():
        courier.start()
    offered: dict[int, float] = {}
    for i in range(TICKS):
        offered[i] = time.monotonic()
        spool.offer(batch(guest_record(), time_ms=i))
        time.sleep(TICK_S)
    assert eventually(lambda: len(well.stored) == TICKS)
    assert [number for number, _ in well.stored] == list(range(TICKS))
    return [at - offered[number] for number, at in well.stored], couriers


def test_a_sink_feels_nothing_of_whatever_others_do(spool: Spool, tmp_path: Path, log: Log, show: Show) -> None:
    alone, before = lateness(spool, tmp_path, log, {})
    assert before["well"].stop(60)
    beside, couriers = lateness(spool, tmp_path, log, {name: lambda act=act: Odd(act) for name, act in ODD.items()})
    show(
        {
            "test": "misbehaving sinks",
            "odd": len(ODD),
            "ticks": TICKS,
            "alone_ms_p50": round(1e3 * percentile(alone, 0.5), 2),
            "alone_ms_p99": round(1e3 * percentile(alone, 0.99), 2),
            "beside_ms_p50": round(1e3 * percentile(beside, 0.5), 2),
            "beside_ms_p99": round(1e3 * percentile(beside, 0.99), 2),
        },
    )
    assert max(beside) < LATE_S_MAX
    assert eventually(lambda: couriers["rejects more than it was given"].counts.rejected == TICKS)
    assert eventually(lambda: all(courier.counts.received == TICKS for courier in couriers.values()))
    for name, courier in couriers.items():
        counts = courier.counts
        assert counts.received == counts.written + counts.rejected + counts.dropped + courier.pending, name
        assert counts.received == TICKS, name
    assert eventually(lambda: couriers["well"].pending == 0)
    assert couriers["hangs"].pending == TICKS
    assert couriers["raises"].pending == TICKS, "nothing is given up"
    assert couriers["is refused for ever"].state is State.STOPPED
    hanging = {"hangs", "sleeps for an hour"}
    stopped = {name for name, courier in couriers.items() if courier.stop(0.1 if name in hanging else 60)}
    assert couriers.keys() - stopped <= hanging
