"""Sealed or not, whoever asks the history gets the same answers, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.history import Aggregate, Select, Span
from domstat.model import Batch, Domain, Figures, Kind, Partial, Record, Stamp, Value
from domstat_sinks.sqlite.answers import asked as meant
from domstat_sinks.sqlite.answers import reading as reads
from domstat_sinks.sqlite.answers import streams
from domstat_sinks.sqlite.answers.query import Query
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.packed.chunk import Chunk
from domstat_sinks.sqlite.packed.segments import Segments
from records import event_record, gap_record

from .conftest import History
from .sealings import make_small, spoil, write_each, write_plain
from .test_stored import Life

MakeHistory = Callable[[], History]
HOUR_MS = 3_600_000
START_MS = 1_795_305_600_000
CPU = Select(fields=("cpu.time",))
LATER = Span(START_MS + 5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of five ticks, segments merged by ten and twenty."""
    make_small(monkeypatch)


class Both:
    """The same batches in a history that is sealed and in one that is not."""

    def __init__(self, make_history: MakeHistory, batches: Sequence[Batch]) -> None:
        sealed, plain = make_history(), make_history()
        write_each(sealed, batches)
        write_plain(plain, batches)
        assert len(sealed.ask("SELECT DISTINCT level FROM segment")) > 1, "merged, but not all"
        assert plain.ask("SELECT * FROM segment") == []
        self._queries = Query(sealed.reader()), Query(plain.reader())

    def agree(self, ask: Callable[[Query], Any]) -> Any:
        """Ask both, and return what both answer."""
        sealed, plain = (ask(query_) for query_ in self._queries)
        assert sealed == plain
        return sealed


def read(select: Select) -> Callable[[Query], Any]:
    """Read exactly. Roll-ups do not know incarnations, and what they say a series covers is not what its ticks do."""
    is_raw = (select.aggregate, select.step_ms) == (None, None)

    def ask(asked: Query) -> Any:
        return [
            (
                one.subject if is_raw else replace(one.subject, incarnation=None),
                *(one.field, one.device, one.measure),
                one.coverage if is_raw else None,
                *(one.time_ms.tolist(), *exact(one.values)),
            )
            for one in asked.read(select)
        ]

    return ask


def exact(values: Any) -> tuple[str, Any]:
    return values.dtype.str, [repr(value) for value in values.tolist()]


def life(seed: int, chunks: int, batches: int = 58) -> list[Batch]:
    return list(islice(chain.from_iterable(iter(Life(seed, chunks).tick, None)), batches))


def some_spans(chance: random.Random, first_ms: int, last_ms: int) -> Iterator[Span]:
    """Give some spans that begin and end anywhere, on ticks too, and open ones."""
    yield Span()
    for _ in range(3):
        since_ms, until_ms = sorted(chance.sample(range(first_ms - 10, last_ms + 10), 2))
        yield Span(since_ms, until_ms)
    yield Span(since_ms)
    yield Span(0, until_ms)


def questions(chance: random.Random, span: Span) -> Iterator[Select]:
    """Give all that can be asked of a span."""
    step_ms = chance.choice([1, 1_000, 60_000, HOUR_MS])
    yield Select(span=span)
    yield Select(span=span, rate=True)
    for aggregate in (None, *Aggregate):
        for step in (None, step_ms):
            yield Select(span=span, aggregate=aggregate, step_ms=step)
            if aggregate is not Aggregate.INCREASE:
                yield Select(span=span, aggregate=aggregate, step_ms=step, rate=True)
    yield Select(span=span, guests=("*a",), fields=("cpu.*", "block.*"))
    yield Select(span=span, devices=("vd?",))
    yield Select(span=span, kinds=(Kind.HOST, Kind.POOL))


def agree_about_everything(both: Both, chance: random.Random, batches: Sequence[Batch], questions_max: int) -> None:
    both.agree(lambda asked: (asked.hosts(), asked.fields(), asked.span()))
    for span in some_spans(chance, batches[0].stamp.time_ms, batches[-1].stamp.time_ms):
        both.agree(listed(span))
        for select in chance.sample(list(questions(chance, span)), questions_max):
            both.agree(read(select))
        both.agree(quantiles(Select(span=span, rate=chance.random() < 0.5)))


def listed(span: Span) -> Callable[[Query], Any]:
    return lambda asked: (asked.guests(span), asked.coverage(span), list(asked.events(span)))


def quantiles(select: Select) -> Callable[[Query], Any]:
    return lambda asked: list(asked.quantiles(select, (0.0, 0.5, 0.95, 1.0)))


@pytest.mark.parametrize("seed", range(4))
def test_a_life_full_of_accidents_reads_the_same(make_history: MakeHistory, seed: int) -> None:
    batches = life(seed, chunks=1 + seed % 4)
    agree_about_everything(Both(make_history, batches), random.Random(seed), batches, questions_max=3)


def regular(days: int, hosts: Sequence[str] = ("kvm1", "kvm2")) -> list[Batch]:
    """Make days of some guests on each host, a tick an hour: some come, go, are renamed, restarted and re-plugged."""
    chance = random.Random(days)
    batches = []
    for hour in range(24 * days):
        for number, host in enumerate(hosts):
            time_ms = START_MS + hour * HOUR_MS + chance.randrange(20) + number
            there = [i for i in range(5) if not (i == 3 and hour % 24 in range(4, 9))]
            records = tuple(guest(host, f"{host}-{i}", hour, time_ms) for i in there)
            boot_ns = hour * HOUR_MS * 10**6 + chance.randrange(10**6)
            stamp = Stamp(time_ms, boot_ns, "boot", 10**7 + chance.randrange(10**6))
            batches.append(Batch(host=host, collect="default", stamp=stamp, records=records))
            if hour % 10 == 9:
                beside = event_record(time_ms=time_ms), gap_record("late", 60_000, time_ms=time_ms)
                batches.append(Batch(host=host, collect="default", stamp=Stamp(time_ms, 0, "", 0), records=beside))
    return batches


def guest(host: str, name: str, hour: int, time_ms: int) -> Record:
    number = int(name[-1])
    incarnation = 1 + (hour > 30) if number == 2 else 1
    params: dict[str, Any] = {
        "cpu.time": (hour - 31 * (incarnation - 1)) * 10**9 * (number + 1),
        "block.wr.bytes[vda]": hour * 4096 * number,
        "balloon.rss": 1000 + hour % 7,
        "state.state": 1 + hour % 2,
        "block.timed_group.rd_queue_depth_avg[vda]": hour / 7,
        "vcpu.halted[0]": hour % 3 == 0,
        "texts.name": f"t{hour % 4}",
        "stranger": -1 if hour % 40 else (1 << 64) - 1,
    }
    if number == 4 and hour > 20:
        params["block.wr.bytes[vdb]"] = hour
    domain = Domain(f"u-{name}", f"{name}-{'new' if number == 1 and hour > 25 else 'old'}", incarnation)
    return Record(
        kind=Kind.GUEST, host=host, collect="default", time_ms=time_ms, domain=domain, figures=Figures(params)
    )


def test_days_of_regular_ticks_read_the_same(make_history: MakeHistory) -> None:
    batches = regular(days=3)
    agree_about_everything(Both(make_history, batches), random.Random(1), batches, questions_max=8)


@pytest.mark.parametrize("span", [Span(), Span(START_MS + 20 * HOUR_MS), Span(START_MS + 26 * HOUR_MS)])
def test_a_guest_asked_for_by_any_of_its_names_is_read_whole_under_its_newest(
    make_history: MakeHistory, span: Span
) -> None:
    batches = regular(days=3, hosts=("kvm1",))
    both = Both(make_history, batches)
    named: dict[str, set[str]] = {}
    for record in (record for batch in batches for record in batch.records):
        if record.domain and record.time_ms >= span.since_ms:
            named.setdefault(record.domain.name, set()).add(record.domain.uuid)
    everything = both.agree(read(Select(span=span, fields=("cpu.time",))))
    assert len(named) > 5 or span.since_ms > START_MS + 25 * HOUR_MS
    for name, uuids in named.items():
        own = [one for one in everything if one[0].uuid in uuids]
        for pattern in (name, f"[{name[0]}]{name[1:]}", *uuids):
            assert both.agree(read(Select(span=span, fields=("cpu.time",), guests=(pattern,)))) == own
    assert both.agree(read(Select(span=span, fields=("cpu.time",), guests=("kvm1",)))) == []


def test_a_guest_that_comes_back_under_its_old_number_begins_anew(make_history: MakeHistory) -> None:
    ids = [1, 1, 1, 2, 1, 1, 2, 2, 1, 1, 3, 1] * 4
    batches = [tick(number, id_) for number, id_ in enumerate(ids)]
    both = Both(make_history, batches)
    ((_, _, _, _, _, _, _, rates),) = both.agree(read(Select(fields=("cpu.time",), rate=True)))
    assert len(rates) == sum(one == other for one, other in pairwise(ids))
    for select in questions(random.Random(1), Span(START_MS + 3 * 10_000, START_MS + 37 * 10_000)):
        both.agree(read(select))


def test_after_a_clock_was_set_back_spans_have_the_ticks_of_both_times(make_history: MakeHistory) -> None:
    batches = [tick(number, 1, back_ms=130_005 if number > 20 else 0) for number in range(48)]
    agree_about_everything(Both(make_history, batches), random.Random(2), batches, questions_max=8)


def tick(
    number: int, id_: int, values: dict[str, Value] | None = None, *, back_ms: int = 0, partial: bool = False
) -> Batch:
    time_ms = START_MS + number * 10_000 - back_ms
    about: dict[str, Any] = {"host": "h", "collect": "c", "time_ms": time_ms}
    params = values or {"cpu.time": number * number * 10**9, "balloon.rss": number}
    if partial:
        del params["balloon.rss"]
        about["partial"] = Partial(("balloon",))
    record = Record(kind=Kind.GUEST, domain=Domain("u", "g", id_), figures=Figures(params), **about)
    stamp = Stamp(time_ms, number * (10**10 + 10**6), "boot", 10**7)  # wall time goes its own way
    return Batch(host="h", collect="c", stamp=stamp, records=(record,))


def ticks(count: int) -> list[Batch]:
    return [tick(number, 1) for number in range(count)]


# What reading costs.


@pytest.mark.parametrize("how", [{"aggregate": Aggregate.INCREASE}, {"aggregate": Aggregate.MEAN, "rate": True}])
def test_what_a_counter_rose_by_over_whole_segments_is_not_added_up_value_by_value(
    history: History, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    monkeypatch.setattr(streams, "buckets_of", lambda *_: [])  # they would know it at once
    write_each(history, ticks(41))
    asked = Query(history.reader())
    span = Span(START_MS, START_MS + 40 * 10_000)
    select = Select(fields=("cpu.time",), span=span, **how)
    with monkeypatch.context() as patch:
        patch.setattr(meant, "is_total", lambda _: False)
        ((one_by_one, _),) = [(series, span) for series in asked.read(select)]
    monkeypatch.setattr(Segments, "words", lambda *_: pytest.fail("values were unpacked"))
    monkeypatch.setattr(Chunk, "rows", lambda *_: pytest.fail("values were unpacked"))
    (series,) = asked.read(select)
    assert series.values.tolist() == one_by_one.values.tolist()
    assert series.time_ms.tolist() == one_by_one.time_ms.tolist() == [START_MS]
    assert (series.coverage, series.measure) == (one_by_one.coverage, one_by_one.measure)


def test_what_a_counter_rose_by_between_leads_is_not_counted_again(make_history: MakeHistory) -> None:
    """Of a guest that is partial at the end of a segment two ticks are leads of the next."""
    batches = [tick(number, 1, partial=number == 19) for number in range(48)]
    both = Both(make_history, batches)
    span = Span(START_MS + 20 * 10_000, START_MS + 40 * 10_000)
    found = both.agree(read(Select(span=span, fields=("cpu.time",), aggregate=Aggregate.INCREASE)))
    assert [one[-1] for one in found] == [[str((39 * 39 - 19 * 19) * 10**9)]]


@pytest.mark.parametrize("how", [{"aggregate": Aggregate.INCREASE}, {"aggregate": Aggregate.MEAN, "rate": True}])
@pytest.mark.parametrize("odd", [{"boot_id": "another"}, {"boot_ns": 25 * 10**10}, {"boot_id": ""}])
def test_where_a_clock_is_odd_every_sample_counts_by_itself(
    make_history: MakeHistory, how: dict[str, Any], odd: dict[str, Any]
) -> None:
    batches = [tick(number, 1) for number in range(48)]
    batches[26] = replace(batches[26], stamp=replace(batches[26].stamp, **odd))
    both = Both(make_history, batches)
    both.agree(read(Select(span=Span(START_MS, START_MS + 40 * 10_000), **how)))


@pytest.mark.parametrize("how", [{"aggregate": Aggregate.INCREASE}, {"aggregate": Aggregate.MEAN, "rate": True}])
def test_what_fell_or_is_no_whole_number_is_added_up_step_by_step(
    make_history: MakeHistory, how: dict[str, Any]
) -> None:
    energy = "cpu.energy.monitor.pkg.core_energy[0/0]"
    batches = [tick(number, 1, {"cpu.time": number % 7 * 10**9, energy: number / 3}) for number in range(48)]
    batches += [tick(48 + number, 2, {"cpu.time": number, energy: number / 7}) for number in range(20)]
    both = Both(make_history, batches)
    assert len(both.agree(read(Select(span=Span(START_MS, START_MS + 65 * 10_000), **how)))) == 2


def test_whose_a_history_is_takes_no_values(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    write_each(history, ticks(48))
    monkeypatch.setattr(Segments, "chunk", lambda *_: pytest.fail("a chunk was read"))
    asked = Query(history.reader())
    (one,) = asked.guests(Span(START_MS + 15_000))
    assert (one.name, one.ticks, one.first_ms) == ("g", 46, START_MS + 20_000)
    (stream,) = asked.coverage(Span(START_MS + 15_000))
    assert (stream.ticks, stream.last_ms) == (46, START_MS + 470_000)
    assert [field.name for field in asked.fields()] == ["balloon.rss", "cpu.cores", "cpu.time"]


def test_while_series_are_read_the_writer_seals_and_no_tick_is_there_twice_or_missing(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "SAMPLES_AT_ONCE", 1)  # each series in a transaction of its own
    write_each(history, ticks(19))
    reading = Query(history.reader()).read(Select())
    expected = 19
    for series, more in zip(reading, ([tick(19, 1), tick(20, 1)], []), strict=True):
        assert series.time_ms.tolist() == [START_MS + number * 10_000 for number in range(expected)]
        write_each(history, more)
        expected += len(more)
    assert history.ask("SELECT level FROM segment") == [(2,)]


# Damage.


@pytest.fixture
def damaged(history: History) -> History:
    """Two segments of twenty ticks, one of five, five head rows; of one segment the chunk of cpu.time is damaged."""
    write_each(history, ticks(48))
    ((chunk,),) = history.ask(
        "SELECT c.id FROM chunk c JOIN segment s ON s.id = c.id >> 26 JOIN field f ON f.id = c.id >> 10 & 65535"
        " WHERE f.name = 'cpu.time' AND s.first_id = 21"
    )
    spoil(history, "chunk", "blob", int(str(chunk)), -1)
    return history


def test_a_damaged_chunk_is_named_once_and_the_rest_is_read(damaged: History, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    gauge, counter = Query(damaged.reader()).read(Select(), told.append)
    assert (gauge.field, len(gauge.values), counter.field) == ("balloon.rss", 48, "cpu.time")
    assert counter.values.tolist() == [n * n * 10**9 for n in (*range(20), *range(40, 48))]
    assert [text.split(" is damaged")[0].split(", ")[1] for text in told] == ["cpu.time)"]
    whole = Select(aggregate=Aggregate.INCREASE)
    (increase,) = Query(damaged.reader()).read(whole, told.append)
    assert (increase.tier, increase.values.tolist()) == ("five_minutes+raw", [(29 * 29 + 47 * 47 - 39 * 39) * 10**9])
    monkeypatch.setattr(streams, "buckets_of", lambda *_: [])
    (increase,) = Query(damaged.reader()).read(whole, told.append)
    assert increase.values.tolist() == [(19 * 19 + 47 * 47 - 39 * 39) * 10**9], "but not between the two"


def test_a_damaged_directory_is_named_once_and_the_rest_is_read(damaged: History) -> None:
    ((segment,),) = damaged.ask("SELECT id FROM segment WHERE first_id = 1")
    spoil(damaged, "segment", "directory", int(str(segment)), -1)
    asked, told = Query(damaged.reader()), list[str]()
    (gauge,) = asked.read(Select(fields=("balloon.rss",)), told.append)
    assert gauge.values.tolist() == list(range(20, 48))
    assert [text.split(":")[0] for text in told] == [f"the directory of segment {segment} is damaged"]
    assert asked.hosts()[0].first_ms == START_MS, "which its row says"
    (one,) = asked.guests(Span(), told.append)
    assert one.ticks == 28
    (stream,) = asked.coverage(LATER, told.append)
    assert (stream.ticks, len(told)) == (28, 3)


def test_who_does_not_pass_damage_over_has_an_error(damaged: History) -> None:
    asked = Query(damaged.reader())
    with pytest.raises(DamagedError, match=r"segment \d+, cpu.time\) is damaged"):
        list(asked.read(CPU))
    ((segment,),) = damaged.ask("SELECT id FROM segment WHERE first_id = 1")
    spoil(damaged, "segment", "directory", int(str(segment)), -1)
    for ask in (lambda new: list(new.read(CPU)), lambda new: new.guests(Span()), lambda new: new.coverage(LATER)):
        with pytest.raises(DamagedError, match="the directory of segment"):
            ask(Query(damaged.reader()))
