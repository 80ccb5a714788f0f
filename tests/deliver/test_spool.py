"""Between ticks and sinks: what is offered is committed and then given, from memory or from the file, in order."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.deliver import spool as spool_module
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.codec import Unpacker
from domstat.deliver.journal import Journal
from domstat.deliver.memory import Memory
from domstat.deliver.position import Position
from domstat.deliver.spool import Spool
from domstat.model import Batch
from faked import eventually
from heard import Log
from records import batch, guest_record

LIMITS = Limits(1 << 30, 86_400.0, 3600.0)
FOR_EVER = Limits(1 << 30, 1e10, 3600.0)
"""For ticks of another run: those here are of 1970, and whoever is trimmed goes by their age then."""


class Reader:
    """A sink as the spool sees it."""

    def __init__(self, name: str = "mine") -> None:
        self.name = name
        self.in_flight = (0, 0)
        self.received = 0
        self.dropped: dict[Why, int] = {}
        self.left: list[tuple[int, Why]] = []

    def note_received(self, records: int) -> None:
        self.received += records

    def note_dropped(self, records: int, why: Why) -> None:
        self.dropped[why] = self.dropped.get(why, 0) + records

    def note_taken(self, first: int, last: int, records: int) -> None:
        self.in_flight = (first, last)

    def note_done(self) -> None:
        self.in_flight = (0, 0)

    def note_left(self, records: int, why: Why) -> None:
        self.left.append((records, why))


Make = Callable[..., Spool]


@pytest.fixture
def make(log: Log, tmp_path: Path) -> Iterator[Make]:
    made: list[Spool] = []

    def open_one(limits: Limits = LIMITS, *, started: bool = True) -> Spool:
        spool = Spool(tmp_path / "journal.db", limits, log)
        spool.open()
        if started:
            spool.start()
            made.append(spool)
        return spool

    yield open_one
    for spool in made:
        assert spool.stop(60)


def tick(i: int, records: int = 2) -> Batch:
    return batch(*[guest_record(str(j), uuid=f"u{j}", first=True) for j in range(records)], time_ms=1000 * i)


def is_committed(spool: Spool) -> bool:
    return spool._committed == spool._next - 1


def offer(spool: Spool, *batches: Batch) -> None:
    for one in batches:
        spool.offer(one)
    assert eventually(lambda: is_committed(spool))


def take_all(spool: Spool, name: str = "mine", at_once: int = 16) -> list[Batch]:
    """Take as a courier does until nothing is left."""
    unpacker = Unpacker(spool.look_back)
    found: list[Batch] = []
    while spool.has_for(name):
        taken = spool.take(name, at_once, unpacker)
        found += [parcel.batch for parcel in taken.parcels]
        spool.done(name, taken.first, taken.last)
    return found


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domstat.deliver.memory.TAIL_RECORDS_MAX", 1)


def test_a_batch_is_there_for_sinks_once_it_is_in_the_file(make: Make, tmp_path: Path) -> None:
    spool, reader = make(), Reader()
    spool.enlist(reader, oldest=False)
    assert not spool.has_for("mine")
    offer(spool, tick(1))
    assert spool.has_for("mine")
    with sqlite3.connect(f"file:{tmp_path}/journal.db?mode=ro", uri=True) as looking:
        assert looking.execute("SELECT records FROM batch").fetchall() == [(2,)]
    looking.close()
    assert take_all(spool) == [tick(1)]
    assert reader.received == 2


def test_no_sink_has_a_batch_before_the_file_has_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    append, begun, over = Journal.append, threading.Event(), threading.Event()

    def dawdle(*arguments: object) -> None:
        begun.set()
        over.wait(60)
        append(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", dawdle)
        spool.offer(tick(1))
        assert begun.wait(60)
        assert not spool.has_for("mine")
        assert spool.fresh("mine", 16) is None
        over.set()
        assert eventually(lambda: spool.has_for("mine"))


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_what_is_not_in_memory_any_more_comes_from_the_file_in_order(
    make: Make, short_memory: None, at_once: int
) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    ticks = [tick(i) for i in range(30)]
    offer(spool, *ticks)
    assert spool.is_behind("mine")
    assert take_all(spool, at_once=at_once) == ticks
    assert not spool.is_behind("mine")


def test_the_newest_are_given_first_to_who_asks_and_the_backlog_stops_before_them(
    make: Make, short_memory: None
) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    ticks = [tick(i) for i in range(30)]
    offer(spool, *ticks)
    fresh = spool.fresh("mine", 2)
    assert fresh is not None
    assert [parcel.batch for parcel in fresh.parcels] == ticks[-4:-2]
    spool.done("mine", fresh.first, fresh.last)
    more = spool.fresh("mine", 16)
    assert more is not None
    assert [parcel.batch for parcel in more.parcels] == ticks[-2:]
    spool.done("mine", more.first, more.last)
    assert spool.fresh("mine", 16) is None
    assert take_all(spool) == ticks[:-4]
    assert spool.position("mine") == Position(30)


def test_who_keeps_up_has_no_use_for_what_is_newest(make: Make) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    offer(spool, tick(1))
    assert spool.fresh("mine", 16) is None


# --- where a sink begins


def test_a_sink_goes_on_where_it_was_when_the_agent_ended(make: Make) -> None:
    first, reader = make(), Reader()
    first.enlist(reader, oldest=False)
    offer(first, *[tick(i) for i in range(5)])
    taken = first.take("mine", 3, Unpacker())
    first.done("mine", taken.first, taken.last)
    assert first.stop(60)
    again = make()
    later = Reader()
    again.enlist(later, oldest=False)
    assert later.received == 4
    assert take_all(again) == [tick(3), tick(4)]


@pytest.mark.parametrize(("oldest", "there"), [(False, [9]), (True, [0, 1, 2, 9])])
def test_a_new_sink_begins_now_or_with_the_oldest(make: Make, oldest: bool, there: list[int]) -> None:
    spool = make()
    spool.enlist(Reader("other"), oldest=False)
    offer(spool, *[tick(i) for i in range(3)])
    spool.enlist(Reader(), oldest=oldest)
    offer(spool, tick(9))
    assert take_all(spool) == [tick(i) for i in there]


def test_a_sink_that_is_not_configured_any_more_keeps_its_place(make: Make) -> None:
    first = make()
    for name in ("mine", "gone"):
        first.enlist(Reader(name), oldest=False)
    offer(first, tick(1), tick(2))
    take_all(first)
    assert first.stop(60)
    again = make()
    again.enlist(Reader(), oldest=False)
    assert again.strangers() == {"gone": 4}
    again.enlist(Reader("gone"), oldest=False)
    assert take_all(again, "gone") == [tick(1), tick(2)]


def test_for_a_sink_that_is_dismissed_nothing_is_kept(make: Make) -> None:
    spool, reader = make(), Reader()
    spool.enlist(reader, oldest=False)
    offer(spool, tick(1))
    spool.dismiss("mine")
    assert reader.left == [(0, Why.ENDED)]
    offer(spool, tick(2))
    assert reader.received == 2
    spool._trim()
    assert spool.stop(60)
    assert make().strangers() == {}


# --- the file cannot be written


def test_sinks_go_on_when_the_file_cannot_be_written_and_it_is_said_once(
    make: Make, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    offer(spool, tick(0))
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", _refuse)
        for i in range(1, 5):
            spool.offer(tick(i))
        assert eventually(lambda: spool.figures().failed >= 2)
        assert take_all(spool) == [tick(i) for i in range(5)]
        assert spool.figures().failing == "disk I/O error"
    assert eventually(lambda: is_committed(spool))
    assert log.events("error") == ["journal_not_written"]
    assert eventually(lambda: "journal_written_again" in log.events("warning"))
    assert spool.figures().failing is None
    assert spool.journal is not None
    assert len(spool.journal.read(0, None, 99)) == 5


def _refuse(*_arguments: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


def test_what_neither_file_nor_memory_can_hold_is_lost_oldest_first_and_counted(
    make: Make, monkeypatch: pytest.MonkeyPatch, short_memory: None
) -> None:
    spool, reader = make(), Reader()
    spool.enlist(reader, oldest=False)
    monkeypatch.setattr("domstat.deliver.memory.PACKED_BYTES_MAX", 10_000)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", _refuse)
        for i in range(40):
            spool.offer(tick(i))
            assert eventually(lambda: not spool._memory.incoming)
        lost = spool.figures().lost
        assert lost == reader.dropped[Why.MEMORY] > 0
        assert take_all(spool) == [tick(i) for i in range(lost // 2, 40)]
    assert eventually(lambda: is_committed(spool))


def test_what_the_file_has_by_now_is_not_dropped_for_a_batch_that_comes_before_that_is_noted(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it is counted as lost, and given to every sink all the same."""
    monkeypatch.setattr("domstat.deliver.memory.PACKED_BYTES_MAX", 0)
    later: list[threading.Thread] = []

    class Moment(Memory):
        """Has the next batch come as soon as nothing is on its way to the disk any more."""

        @property
        def committing(self) -> int:
            return self._committing

        @committing.setter
        def committing(self, entries: int) -> None:
            self._committing = entries
            if self.packed and not entries and not later:
                later.append(threading.Thread(target=spool.offer, args=(tick(2),)))
                later[0].start()
                later[0].join(0.3)  # it may have to wait until all is noted

    monkeypatch.setattr(spool_module, "Memory", Moment)
    spool, reader = make(), Reader()
    spool.enlist(reader, oldest=False)
    offer(spool, tick(1))
    later[0].join()
    assert eventually(lambda: is_committed(spool))
    assert (take_all(spool), reader.dropped, spool.figures().lost) == ([tick(1), tick(2)], {}, 0)


def test_a_disk_that_hangs_holds_up_no_sink(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    hung, over = threading.Event(), threading.Event()
    append = Journal.append

    def hang(*arguments: object) -> None:
        hung.set()
        over.wait(60)
        append(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(spool_module, "STALL_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", hang)
        spool.offer(tick(1))
        assert hung.wait(60)
        time.sleep(0.02)
        spool.offer(tick(2))
        assert spool.has_for("mine")
        assert take_all(spool) == [tick(1), tick(2)]
        over.set()
    assert eventually(lambda: is_committed(spool))


def test_a_journal_that_cannot_be_opened_is_tried_again_and_nothing_it_has_is_skipped(
    make: Make, tmp_path: Path, log: Log
) -> None:
    first = make(FOR_EVER)
    first.enlist(Reader(), oldest=False)
    offer(first, tick(1))
    assert first.stop(60)
    (tmp_path / "journal.db").rename(tmp_path / "away")
    (tmp_path / "journal.db").mkdir()
    spool = make(FOR_EVER)
    spool.enlist(Reader(), oldest=False)
    spool.offer(tick(2))
    assert eventually(lambda: spool.has_for("mine"))
    assert take_all(spool) == [tick(2)]
    (tmp_path / "journal.db").rmdir()
    (tmp_path / "away").rename(tmp_path / "journal.db")
    assert eventually(lambda: is_committed(spool) and spool.figures().failing is None)
    assert take_all(spool) == [tick(1)], "what waited for the sink while nobody could read it"
    assert log.events("error") == ["journal_not_written"]


def test_a_file_that_is_removed_while_it_is_in_use_is_begun_anew(make: Make, tmp_path: Path, log: Log) -> None:
    spool, reader = make(), Reader()
    spool.enlist(reader, oldest=False)
    offer(spool, tick(1))
    (tmp_path / "journal.db").unlink()
    offer(spool, tick(2))
    assert log.facts("journal_damaged")["error"] == "it was removed while it was in use"
    assert take_all(spool) == [tick(1), tick(2)], "memory still has both"
    assert reader.left == [(4, Why.DAMAGED)]
    assert spool.stop(60)
    again = make()
    again.enlist(Reader(), oldest=False)
    assert not again.has_for("mine")


def test_what_a_sink_lacks_that_is_away_outlives_the_file_although_every_courier_has_it(
    make: Make, tmp_path: Path
) -> None:
    spool = make()
    away, here = Reader("away"), Reader("here")
    for reader in (away, here):
        spool.enlist(reader, oldest=False)
    offer(spool, tick(1))
    spool.leave(away)
    assert take_all(spool, "here") == [tick(1)]
    offer(spool, tick(2))
    with spool._lock:
        assert [parcel.batch for parcel in spool._memory.tail] == [tick(2)], "all that are here have the first"
    (tmp_path / "journal.db").unlink()
    offer(spool, tick(3))
    spool.enlist(away, oldest=False)
    assert take_all(spool, "away") == [tick(1), tick(2), tick(3)]


def test_of_what_every_sink_has_nothing_is_in_memory(make: Make) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    for i in range(3):
        offer(spool, tick(i))
        take_all(spool)
    assert len(spool._memory.tail) == len(spool._memory.kept) == 1


# --- bounds


def test_beyond_its_size_the_oldest_goes_for_the_sink_that_lacks_it_alone(make: Make) -> None:
    spool = make(Limits(1 << 16, 86_400.0, 0.0))
    away, well = Reader("away"), Reader("well")
    for reader in (away, well):
        spool.enlist(reader, oldest=False)
    for i in range(60):
        offer(spool, tick(i, records=10))
        take_all(spool, "well")
        spool._trim()
    assert well.dropped == {}
    lost = away.dropped[Why.SIZE]
    assert lost > 0
    found = take_all(spool, "away")
    assert len(found) * 10 == 600 - lost
    assert found == [tick(i, records=10) for i in range(lost // 10, 60)]
    assert spool.journal is not None
    assert spool.journal.bytes_used() < (1 << 16) + 50_000


def test_a_sink_has_nothing_dropped_that_is_in_its_hands(make: Make) -> None:
    spool, reader = make(Limits(1, 86_400.0, 0.0)), Reader()
    spool.enlist(reader, oldest=False)
    offer(spool, tick(1), tick(2))
    reader.in_flight = (1, 1)
    spool._trim()
    assert reader.dropped == {Why.SIZE: 2}


def test_what_cannot_be_packed_is_said_and_the_next_is_not_held_up(make: Make, log: Log) -> None:
    spool, reader = make(), Reader()
    spool.enlist(reader, oldest=False)
    spool.offer(batch(guest_record("lone \ud800 surrogate", first=True)))
    offer(spool, tick(2))
    assert log.events("error") == ["batch_unwritable"]
    assert reader.dropped == {Why.DAMAGED: 1}
    assert take_all(spool) == [tick(2)]


def test_positions_are_stored_though_nothing_comes_with_which_they_could_ride(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "FLUSH_EVERY_S", 0.05)
    monkeypatch.setattr(spool_module, "TRIM_EVERY_S", 0.05)
    spool = make()
    spool.enlist(Reader(), oldest=False)
    offer(spool, tick(1))
    take_all(spool)
    assert spool.journal is not None
    journal = spool.journal
    assert eventually(lambda: journal.positions()["mine"] == Position(1))


def test_how_far_a_sink_is_behind_is_said_in_batches_seconds_and_bytes(make: Make) -> None:
    spool = make()
    spool.enlist(Reader(), oldest=False)
    assert spool.lag("mine").batches == 0
    offer(spool, *[tick(i, records=50) for i in range(8)])
    lag = spool.lag("mine")
    assert (lag.batches, lag.bytes > 1000, 0 <= lag.seconds < 60) == (8, True, True)
    take_all(spool)
    assert spool.lag("mine").batches == 0
    assert spool.lag("nobody").batches == 0
