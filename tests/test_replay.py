"""What was collected once comes to a sink again: whole, once each, and however the sink takes it."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from domstat import jsonlines
from domstat import replay as replay_module
from domstat.deliver.codec import pack
from domstat.deliver.journal import Entry, Journal
from domstat.deliver.outside import reading
from domstat.model import Batch, Kind, Stamp, stamp_of
from domstat.replay import EVER_MS, Delivery, GaveUpError, Lines, SourceError, Span, Stored, chunks, letter, moment_of
from domstat.sink import Fatal, Finished, Reject, Rejected, Retry, SinkContext
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import TIME_MS, batch, event_record, gap_record, guest_record, host_record, one_of_each

NOW_MS = TIME_MS + 3_600_000


# --- times


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T22:15:04.123Z", TIME_MS),
        ("2026-11-22T23:15:04.123+01:00", TIME_MS),
        ("2h", NOW_MS - 7_200_000),
        (" 30d", NOW_MS - 30 * 86_400_000),
        ("500ms", NOW_MS - 500),
    ],
)
def test_a_time_is_one_or_how_long_ago_it_was(text: str, ms: int) -> None:
    assert moment_of(text, NOW_MS) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22", "2026-11-22T22:15:04", "2w", "-2h", "0s", "12"])
def test_what_is_no_time_is_told_what_is(text: str) -> None:
    with pytest.raises(ValueError, match='a time such as "2026-11-22T22:15:00Z", or how long ago'):
        moment_of(text, NOW_MS)


def test_a_span_begins_with_its_first_millisecond_and_ends_before_its_last() -> None:
    span = Span(10, 20, frozenset({"a", "b"}))
    assert [span.has("a", ms) for ms in (9, 10, 19, 20)] == [False, True, True, False]
    assert not span.has("c", 15)
    assert Span().has("c", 15)


# --- JSON lines


def read(content: bytes, span: Span | None = None) -> tuple[list[Batch], list[str]]:
    complaints: list[str] = []
    source = Lines(io.BytesIO(content), "f", span or Span(), complaints.append, len(content))
    found = list(source.batches())
    assert source.done == source.total
    return found, complaints


def written(*batches: Batch) -> bytes:
    return b"".join(jsonlines.encode(one.records) for one in batches)


def ticks(count: int) -> list[Batch]:
    """Return ticks of a host with two guests, as somebody reads them who knows their times alone."""
    return [
        replace(
            batch(
                host_record(time_ms=time_ms),
                guest_record("a", uuid="u1", time_ms=time_ms, extra={"cpu.time": time_ms * 1_000_000}),
                guest_record("b", uuid="u2", time_ms=time_ms, extra={"cpu.time": time_ms * 500_000}),
            ),
            stamp=stamp_of(time_ms),
        )
        for time_ms in range(TIME_MS, TIME_MS + 10_000 * count, 10_000)
    ]


def test_records_of_one_tick_are_one_batch_again() -> None:
    assert read(written(*ticks(3))) == (ticks(3), [])


def test_ticks_of_several_streams_are_told_apart() -> None:
    other = batch(guest_record(collect="slow"), collect="slow")
    event = batch(event_record(collect="events", time_ms=TIME_MS + 5), collect="events", time_ms=TIME_MS + 5)
    found, _ = read(written(ticks(1)[0], other, event))
    assert [one.stream for one in found] == [("kvm1", "default"), ("kvm1", "slow"), ("kvm1", "events")]
    assert found[2].stamp == stamp_of(TIME_MS + 5)


def test_every_kind_of_record_comes_as_it_was() -> None:
    records = list(one_of_each().values())
    found, _ = read(jsonlines.encode(records))
    assert [record for one in found for record in one.records] == records


def test_of_a_record_that_comes_twice_in_a_tick_the_later_one_counts() -> None:
    first, second = guest_record(extra={"cpu.time": 1}), guest_record(extra={"cpu.time": 2})
    (one,), _ = read(jsonlines.encode([first, host_record(), second]))
    assert one.records == (second, host_record())


def test_a_line_that_is_no_record_is_named_and_the_others_come() -> None:
    good = written(ticks(1)[0]).splitlines(keepends=True)
    content = b"".join([good[0], b"nonsense\n", b"\n", b'{"v":9}\n', good[1], b"\xff\n", good[2][:-20]])
    (one,), complaints = read(content)
    assert one.records == ticks(1)[0].records[:2]
    assert [complaint.partition(": ")[0] for complaint in complaints] == ["f:2", "f:4", "f:6", "f:7"]


def test_a_line_that_is_far_too_long_is_one_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    good = written(ticks(1)[0])
    monkeypatch.setattr(replay_module, "LINE_BYTES_MAX", 10_000)
    (one,), complaints = read(b'{"v":' + b"1" * 35_000 + b"}\n" + good)
    assert one == ticks(1)[0]
    assert [complaint.partition(": ")[0] for complaint in complaints] == ["f:1"]


def test_a_dead_letter_is_the_record_in_it() -> None:
    record = guest_record()
    found, complaints = read(letter(record, "too new") + b'{"reason":"odd"}\n')
    assert [one.records for one in found] == [(record,)]
    assert complaints == ["f:2: not a domstat record: Object missing required field `record`"]


def test_only_what_is_wanted_comes() -> None:
    content = written(*ticks(4), batch(guest_record(host="kvm2"), host="kvm2"))
    found, _ = read(content, Span(TIME_MS + 10_000, TIME_MS + 30_000))
    assert [one.stamp.time_ms for one in found] == [TIME_MS + 10_000, TIME_MS + 20_000]
    found, _ = read(content, Span(hosts=frozenset({"kvm2"})))
    assert [one.host for one in found] == ["kvm2"]


def test_a_batch_is_never_larger_than_a_call_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "BATCH_RECORDS_MAX", 2)
    found, _ = read(written(ticks(1)[0]))
    assert [len(one.records) for one in found] == [2, 1]


def test_a_file_that_cannot_be_read_any_further_says_so() -> None:
    class Torn(io.BytesIO):
        def readline(self, _size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(SourceError, match="f: Input/output error"):
        list(Lines(Torn(), "f", Span(), print).batches())


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_is_in_a_file_is_a_complaint_at_most(lines: list[bytes]) -> None:
    found, complaints = read(b"\n".join(lines) + b"\n" + written(ticks(1)[0]))
    assert found == ticks(1)
    assert all(complaint.startswith("f:") for complaint in complaints)


# --- stores


def test_the_journal_gives_what_was_collected_and_the_rates_of_the_stream(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    collected = [replace(one, stamp=Stamp(one.stamp.time_ms, 7, "boot", 0)) for one in ticks(3)]
    other = batch(guest_record(host="kvm2"), host="kvm2")
    rows = [Entry(i, one.stream, one.stamp.time_ms, 3, pack(one)) for i, one in enumerate([*collected, other], 1)]
    journal.append(rows, {})
    with reading(journal.path) as reader:
        source = Stored.of_journal(reader, Span(TIME_MS, hosts=frozenset({"kvm1"})), print)
        assert list(source.batches()) == collected
    assert (source.done, source.total) == (4, 4)
    journal.close()


class Remembering:
    """A history that remembers what it was asked."""

    def __init__(self, *batches: Batch) -> None:
        self.kept = batches
        self.asked: tuple[int, int] | None = None

    def count(self, since_ms: int, until_ms: int) -> int:
        return len(self.kept)

    def batches(self, since_ms: int, until_ms: int, on_damaged: Callable[[str], None]) -> Iterator[Batch]:
        self.asked = (since_ms, until_ms)
        on_damaged("row 7")
        yield from self.kept


def test_a_history_is_asked_for_a_span_and_says_what_is_damaged() -> None:
    complaints: list[str] = []
    history = Remembering(*ticks(2), batch(guest_record(host="kvm2"), host="kvm2"))
    source = Stored.of_history(history, Span(1, EVER_MS - 1, frozenset({"kvm1"})), complaints.append)
    assert list(source.batches()) == ticks(2)
    assert (history.asked, complaints, source.total, source.done) == ((1, EVER_MS - 1), ["row 7"], 3, 3)


# --- so many at once


def test_so_many_batches_are_handed_over_at_once() -> None:
    assert [len(chunk) for chunk in chunks(ticks(7), 3)] == [3, 3, 1]
    assert list(chunks([], 3)) == []


def test_and_no_more_records_than_fit_in_memory_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "WRITE_RECORDS_MAX", 7)
    assert [len(chunk) for chunk in chunks(ticks(5), 16)] == [2, 2, 1]
    monkeypatch.setattr(replay_module, "WRITE_RECORDS_MAX", 1)
    assert [len(chunk) for chunk in chunks(ticks(2), 16)] == [1, 1], "one batch has to go, however large"


# --- what a sink may say


class Scripted:
    """A sink that does as it is told, write by write, and then takes everything."""

    Settings: ClassVar[type[Struct]] = SqliteSettings

    def __init__(self, *plan: Exception | None, at_open: Sequence[Exception] = ()) -> None:
        self.plan = list(plan)
        self.at_open = list(at_open)
        self.taken: list[Batch] = []

    def open(self, context: SinkContext) -> None:
        if self.at_open:
            raise self.at_open.pop(0)

    def write(self, batches: Sequence[Batch]) -> None:
        fault = self.plan.pop(0) if self.plan else None
        if fault is not None and not isinstance(fault, Reject):
            raise fault
        self.taken += batches
        if fault is not None:
            raise fault

    def close(self) -> None:
        pass


class Handed:
    """A delivery to a sink, and what came of it; time goes by only while it pauses."""

    def __init__(self, sink: Scripted, monkeypatch: pytest.MonkeyPatch, patience_s: float = 60.0) -> None:
        self.now_s = 0.0
        self.paused: list[float] = []
        self.rejected: list[Rejected] = []
        monkeypatch.setattr("domstat.replay.time.monotonic", lambda: self.now_s)
        context = SinkContext("s", Path(), Log(), lambda _record, _reason: None)
        self.delivery = Delivery(sink, context, self.rejected.append, patience_s, self._pause)

    def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.now_s += seconds


def test_a_sink_is_given_everything_and_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Scripted()
    delivery = Handed(sink, monkeypatch).delivery
    delivery.open()
    delivery.write(ticks(2))
    delivery.write(ticks(1))
    assert sink.taken == [*ticks(2), *ticks(1)]
    assert (delivery.batches, delivery.records, delivery.written, delivery.rejected) == (3, 9, 9, 0)


@pytest.mark.parametrize("fault", [Retry("busy"), RuntimeError("a fault of its own"), ConnectionError("gone")])
def test_what_it_cannot_take_now_is_tried_again(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    sink = Scripted(fault, fault, at_open=[fault])
    handed = Handed(sink, monkeypatch)
    handed.delivery.open()
    handed.delivery.write(ticks(2))
    assert sink.taken == ticks(2)
    assert (handed.delivery.retries, handed.delivery.records) == (3, 6)


def test_it_waits_as_long_as_a_server_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = Handed(Scripted(Retry("slow down", after=31.0)), monkeypatch)
    handed.delivery.write(ticks(1))
    assert handed.paused == [31.0]


def test_it_gives_up_after_a_while_and_says_what_the_sink_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = Handed(Scripted(*[Retry("connection refused")] * 1000), monkeypatch)
    with pytest.raises(GaveUpError, match="connection refused"):
        handed.delivery.write(ticks(1))
    assert 30 < handed.now_s <= 60
    assert handed.delivery.records == 0


def test_it_gives_up_at_once_if_it_would_have_to_wait_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = Handed(Scripted(Retry("come back tomorrow", after=86_400)), monkeypatch)
    with pytest.raises(GaveUpError, match="tomorrow"):
        handed.delivery.write(ticks(1))
    assert handed.paused == []


class Busy(Scripted):
    """A sink that has so much to do after a write, and stumbles once on the way."""

    def __init__(self, due: int) -> None:
        super().__init__()
        self.due = due
        self.faults = [Retry("busy")]

    def expect_bulk(self) -> None:
        pass

    def settle(self) -> bool:
        if self.due == 2 and self.faults:
            raise self.faults.pop()
        self.due -= 1
        return self.due > 0


def test_a_sink_that_takes_imports_does_all_that_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Busy(4)
    handed = Handed(sink, monkeypatch)
    advanced: list[int] = []
    handed.delivery.settle(lambda: advanced.append(sink.due))
    assert sink.due == 0
    assert advanced == [3, 2, 1]
    assert handed.delivery.retries == 1


def test_patience_begins_anew_with_every_success(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [fault for _ in range(10) for fault in (Retry("busy", after=40.0), None)]
    handed = Handed(Scripted(*plan), monkeypatch)
    for _ in range(10):
        handed.delivery.write(ticks(1))
    assert (handed.now_s, handed.delivery.batches) == (400.0, 10)


def test_what_it_will_never_take_is_counted_and_the_rest_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    (tick,) = ticks(1)
    handed = Handed(Scripted(Reject([(tick, tick.records[1], "too new")])), monkeypatch)
    handed.delivery.write([tick])
    assert [(item.record, item.reason) for item in handed.rejected] == [(tick.records[1], "too new")]
    assert (handed.delivery.records, handed.delivery.rejected, handed.delivery.written) == (3, 1, 2)


@pytest.mark.parametrize("end", [Fatal("a wrong token"), Finished("nobody reads any more")])
def test_what_no_waiting_mends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, end: Fatal) -> None:
    handed = Handed(Scripted(end), monkeypatch)
    with pytest.raises(type(end)):
        handed.delivery.write(ticks(1))
    assert handed.paused == []


# --- into a real history


class Kept:
    """A history, written by its sink."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.db"
        self.folder = folder

    def take(self, batches: Sequence[Batch]) -> None:
        """Have the sink store *batches*, some at a time, as a replay does."""
        context = SinkContext("history", self.folder, Log(), lambda _record, _reason: None)
        delivery = Delivery(SqliteSink(SqliteSettings()), context, lambda item: pytest.fail(item.reason))
        delivery.open()
        for chunk in chunks(batches, 4):
            delivery.write(chunk)
        delivery.close()

    def dump(self) -> list[list[tuple[object, ...]]]:
        """Return all that can be asked for, and the stamps."""
        connection = connect(self.path)
        try:
            views = [connection.execute(f"SELECT * FROM {view}").fetchall() for view in ("samples", "events", "gaps")]
            heads = "SELECT time_ms, boot_ns, b.boot_id, call_ns FROM head h JOIN boot b ON b.id = h.boot_id"
            return [sorted(rows, key=repr) for rows in [*views, connection.execute(heads).fetchall()]]
        finally:
            connection.close()

    def export(self) -> list[Batch]:
        with SqliteSink.history(SqliteSettings(), self.folder) as history:
            batches: Any = history
            return list(Stored.of_history(batches, Span(), pytest.fail).batches())


def live(count: int) -> list[Batch]:
    """Return ticks as an agent collects them, and what happened between."""
    found: list[Batch] = []
    for i, one in enumerate(ticks(count)):
        stamp = Stamp(one.stamp.time_ms, (1000 + 10 * i) * 10**9, "boot", 3_000_000)
        found.append(replace(one, stamp=stamp))
        between_ms = one.stamp.time_ms + 5_000
        found.append(batch(event_record(collect="events", time_ms=between_ms), collect="events", time_ms=between_ms))
    found.append(batch(gap_record(time_ms=TIME_MS - 60_000, lasted_ms=0), time_ms=TIME_MS - 60_000))
    return found


def test_json_lines_replayed_twice_are_there_once(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    source, _ = read(written(*live(5)))
    kept.take(source)
    once = kept.dump()
    kept.take(source)
    assert kept.dump() == once
    assert len(once[0]) == sum(len(record.params) for one in ticks(5) for record in one.records)


def test_json_lines_over_the_history_they_are_of_change_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.take(live(5))
    before = kept.dump()
    source, _ = read(written(*live(5)))
    kept.take(source)
    assert kept.dump() == before


def test_a_history_with_holes_is_filled_by_what_was_kept_elsewhere(tmp_path: Path) -> None:
    kept, whole = Kept(tmp_path / "a"), Kept(tmp_path / "b")
    everything = live(6)
    halved = [replace(one, records=one.records[:2]) for one in everything[:6]]
    kept.take([*halved, *everything[9:]])
    source, _ = read(written(*everything))
    kept.take(source)
    whole.take(everything)
    assert kept.dump()[:3] == whole.dump()[:3]
    known = [row for row in kept.dump()[3] if row[2] == "boot"]
    assert known == [row for row in whole.dump()[3] if row in known]
    kept.take(everything)
    assert kept.dump() == whole.dump(), "whoever knows the boot tells it"


def test_a_history_replayed_into_another_is_the_same_history(tmp_path: Path) -> None:
    first, second = Kept(tmp_path / "a"), Kept(tmp_path / "b")
    first.take(live(6))
    second.take(first.export())
    assert second.dump() == first.dump()
    assert second.export() == first.export()


def test_what_was_replayed_as_json_is_the_same_but_for_its_stamps(tmp_path: Path) -> None:
    first, second = Kept(tmp_path / "a"), Kept(tmp_path / "b")
    first.take(live(6))
    source, _ = read(written(*first.export()))
    second.take(source)
    assert second.dump()[:3] == first.dump()[:3]
    rates = "SELECT time_ms, uuid, value FROM rates WHERE field = 'cpu.time' ORDER BY 1, 2"
    connection = connect(second.path)
    assert [value for _, _, value in connection.execute(rates)] == pytest.approx([1.0, 0.5] * 5)
    connection.close()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(1, 8)), max_size=5).map(
        lambda spans: [(exact, first, first + length) for exact, first, length in spans]
    )
)
def test_in_whatever_pieces_and_however_often_it_comes_it_is_all_there_once(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[bool, int, int]]
) -> None:
    """Pieces of a history, by those who know the boot and those who do not, in any order, and then all of it."""
    folder = tmp_path_factory.mktemp("pieces")
    kept, whole = Kept(folder / "a"), Kept(folder / "b")
    everything = live(4)
    for exact, first, last in spans:
        piece = everything[first:last]
        kept.take(piece if exact else read(written(*piece))[0])
    kept.take(everything)
    whole.take(everything)
    assert kept.dump() == whole.dump()


def test_what_a_file_says_of_values_no_history_can_keep_is_rejected(tmp_path: Path) -> None:
    context = SinkContext("history", tmp_path, Log(), lambda _record, _reason: None)
    rejected: list[Rejected] = []
    delivery = Delivery(SqliteSink(SqliteSettings()), context, rejected.append)
    delivery.open()
    good, bad = batch(guest_record()), batch(guest_record(time_ms=1, extra={"cpu.time": 2**70}), time_ms=1)
    delivery.write(read(written(good, bad))[0])
    delivery.close()
    assert [(item.record.time_ms, item.record.kind) for item in rejected] == [(1, Kind.GUEST)]
    plain = sqlite3.connect(tmp_path / "history.db")
    assert plain.execute("SELECT time_ms FROM head").fetchall() == [(TIME_MS,)]
    plain.close()
