"""A history is followed while it is written: what is new comes once, an hour is read when a guest is opened."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from domstat.history import History, HistoryError
from domstat.model import Batch, Record, Stamp
from domstat.sink import SinkContext
from domstat.top.feed import Arrived, Failed, Past, Told
from domstat.top.measures import CPU, LATENCY, MEMORY, READ, STEAL
from domstat.top.ring import BIN_MS, BINS
from domstat.top.stored import FIRST_BACK_MS, OVERLAP_MS, Newest, StoredFeed, past_of
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import HOST, TIME_MS, UUID, guest_record, host_record

PATIENCE_S = 60.0
SECOND_NS = 10**9


def tick(number: int, host: str = HOST, seconds: int = 10, **more: Any) -> Batch:
    """Make the tick that is *number* times *seconds* after the first: half a CPU busy, 1 MiB a second read."""
    after_s = number * seconds
    time_ms = TIME_MS + after_s * 1000
    extra = {
        "cpu.time": 10**12 + after_s * SECOND_NS // 2,
        "vcpu.delay[1]": 10**12 + after_s * SECOND_NS // 10,
        "block.rd.bytes[vda]": 10**9 + after_s * (1 << 20),
        "block.rd.reqs[vda]": 10**6 + after_s * 100,
        "block.rd.times[vda]": 10**12 + after_s * 100 * 2_000_000,
        "balloon.last-update": time_ms // 1000,
    }
    records: tuple[Record, ...] = (
        host_record(host=host, time_ms=time_ms),
        guest_record(host=host, time_ms=time_ms, extra=extra, **more),
    )
    return Batch(host=host, collect="default", stamp=Stamp(time_ms, time_ms * 10**6, "boot", 0), records=records)


class Stored:
    """A history that is being written, and can be read meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sink = SqliteSink(SqliteSettings())
        self._sink.open(SinkContext("history", folder, Log(), lambda _record, _reason: None))

    def write(self, *batches: Batch) -> None:
        self._sink.write(batches)

    def opened(self) -> AbstractContextManager[History]:
        return SqliteSink.history(SqliteSettings(), self.folder)

    def close(self) -> None:
        self._sink.close()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    made = Stored(tmp_path)
    yield made
    made.close()


def times(batches: tuple[Batch, ...]) -> list[tuple[str, int]]:
    return [(batch.host, (batch.stamp.time_ms - TIME_MS) // 1000) for batch in batches]


def test_the_newest_comes_first_and_then_only_what_is_new(stored: Stored) -> None:
    stored.write(*(tick(number) for number in range(20)))
    with stored.opened() as history:
        newest = Newest(history)
        assert times(newest.read()) == [(HOST, after) for after in range(190 - FIRST_BACK_MS // 1000, 200, 10)]
        assert newest.read() == ()
        stored.write(tick(20))
        stored.write(tick(21))
        assert times(newest.read()) == [(HOST, 200), (HOST, 210)]
        assert newest.read() == ()


def test_figures_are_those_of_the_agents_ticks(stored: Stored) -> None:
    stored.write(tick(0), tick(1))
    with stored.opened() as history:
        batch = Newest(history).read()[-1]
    (guest,) = [record for record in batch.records if record.domain]
    assert guest.rates["cpu.time"] == 0.5
    assert guest.rates["block.rd.bytes[vda]"] == 1 << 20


def test_a_host_that_answers_later_than_another_is_stored_later_and_not_missed(stored: Stored) -> None:
    stored.write(tick(0), tick(0, "far"), tick(1), tick(1, "far"))
    with stored.opened() as history:
        newest = Newest(history)
        newest.read()
        stored.write(tick(2))
        assert times(newest.read()) == [(HOST, 20)]
        late_s = 20 - OVERLAP_MS // 1000 + 1
        stored.write(tick(late_s, "far", seconds=1), tick(3))
        assert times(newest.read()) == [("far", late_s), (HOST, 30)]
        stored.write(tick(4), tick(4, "far"))
        assert times(newest.read()) == [(HOST, 40), ("far", 40)]
        assert newest.read() == ()


def test_what_is_remembered_of_what_was_read_does_not_grow(stored: Stored) -> None:
    with stored.opened() as history:
        newest = Newest(history)
        for number in range(20):
            stored.write(tick(number), tick(number, "far"))
            newest.read()
        assert len(newest._seen) == 2
        assert len(newest._streams) == 2


def test_an_empty_history_has_nothing_new(stored: Stored) -> None:
    with stored.opened() as history:
        newest = Newest(history)
        assert newest.read() == ()
        stored.write(tick(0))
        assert times(newest.read()) == [(HOST, 0)]


def test_the_last_hour_of_a_guest_is_what_its_rows_showed(stored: Stored) -> None:
    stored.write(*(tick(number) for number in range(100)))
    with stored.opened() as history:
        past = dict(past_of(history, (HOST, UUID), TIME_MS + 990_000))
    assert set(past) == {start for start in past if start % BIN_MS == 0}
    assert len(past) in {33, 34}
    whole = past[(TIME_MS // BIN_MS + 5) * BIN_MS]
    assert whole[CPU] == pytest.approx(0.25)
    assert whole[READ] == pytest.approx(1 << 20)
    assert whole[STEAL] == pytest.approx(0.1)
    assert whole[LATENCY] == pytest.approx(0.002)
    assert whole[MEMORY] == pytest.approx((4 * (1 << 20) - 102_400 - 2 * (1 << 20)) * 1024)


def test_the_hour_is_an_hour_and_of_this_host_alone(stored: Stored) -> None:
    stored.write(*(tick(number, seconds=60) for number in range(100)))
    stored.write(*(tick(number, "[k]*", seconds=60) for number in range(100)))
    with stored.opened() as history:
        until_ms = TIME_MS + 99 * 60_000
        past = past_of(history, ("[k]*", UUID), until_ms)
        assert past[0][0] >= until_ms - BINS * BIN_MS
        assert 59 <= len(past) <= 61
        assert all(values[CPU] == pytest.approx(0.25) for _, values in past)
        assert past_of(history, ("nobody", UUID), until_ms) == ()


def follow(opens: Callable[[], AbstractContextManager[History]]) -> tuple[StoredFeed, Callable[[], Told]]:
    told: queue.Queue[Told] = queue.Queue()
    feed = StoredFeed(opens, 0.01)
    feed.start(told.put)
    return feed, lambda: told.get(timeout=PATIENCE_S)


def test_a_feed_tells_what_is_new_and_hours_that_are_asked_for(stored: Stored) -> None:
    stored.write(tick(0), tick(1))
    feed, told = follow(stored.opened)
    first = told()
    assert isinstance(first, Arrived)
    assert times(first.batches) == [(HOST, 0), (HOST, 10)]
    feed.ask((HOST, UUID), TIME_MS + 10_000)
    past = told()
    assert isinstance(past, Past)
    assert past.key == (HOST, UUID)
    assert past.values[-1][1][CPU] == pytest.approx(0.25)
    stored.write(tick(2))
    second = told()
    assert isinstance(second, Arrived)
    assert times(second.batches) == [(HOST, 20)]
    feed.stop()


def test_a_history_that_cannot_be_read_is_told_and_tried_again(stored: Stored) -> None:
    stored.write(tick(0))
    tries: list[int] = []

    @contextmanager
    def opens() -> Iterator[History]:
        tries.append(1)
        if len(tries) == 1:
            raise HistoryError("history.db: permission denied")
        with stored.opened() as history:
            yield history

    feed, told = follow(opens)
    assert told() == Failed(None, "history.db: permission denied")
    assert isinstance(told(), Arrived)
    feed.stop()


def test_a_store_that_does_not_give_its_ticks_back_is_told_of() -> None:
    @contextmanager
    def opens() -> Iterator[Any]:
        yield object()

    feed, told = follow(opens)
    failed = told()
    assert isinstance(failed, Failed)
    assert "--uri" in failed.trouble
    feed.stop()
