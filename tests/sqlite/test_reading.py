"""Series out of ticks and out of roll-ups: the same answers, as near as is asked for, also where ticks are gone."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.derive import Derivation, derive, derive_host
from domstat.history import EVER_MS, Aggregate, HistoryError, Quantiles, Select, Series, Span
from domstat.model import Batch, Domain, Figures, Kind, Record, Stamp, Value, split_key
from domstat_sinks.sqlite import connect, schema
from domstat_sinks.sqlite.answers import streams
from domstat_sinks.sqlite.answers.export import Exporter
from domstat_sinks.sqlite.answers.query import Query
from domstat_sinks.sqlite.answers.reading import Reading
from domstat_sinks.sqlite.answers.sealed_slabs import SealedSlab
from domstat_sinks.sqlite.answers.sketched import OF_RATES, OF_VALUES
from domstat_sinks.sqlite.answers.slabs import Owner, Stat
from domstat_sinks.sqlite.answers.source import Seen
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.keeping.sealing import retire
from domstat_sinks.sqlite.rollups.rollup import HOUR_MS
from domstat_sinks.sqlite.writer import Writer

MINUTE_MS = 60_000
STEP_MS = 2 * MINUTE_MS
START_MS = 1_795_305_600_000 + 3 * MINUTE_MS + 17
COUNT = 900
"""Thirty hours of ticks every two minutes."""

NEAR = 0.001
"""Twice the error of what is rounded."""

SECOND = 10**9
UUIDS = ("u1", "u2")


def tick(number: int, chance: random.Random, counters: dict[str, dict[str, int]]) -> Batch:
    """Make a tick of two busy guests, whose counters only rise, and their host."""
    time_ms = START_MS + number * STEP_MS + chance.randrange(-300, 300)
    records = []
    for uuid in UUIDS:
        own = counters[uuid]
        for key, most in {
            "cpu.time": 100 * SECOND,
            "vcpu.delay[0]": SECOND,
            "block.wr.times[vda]": 10**8,
            "block.wr.reqs[vda]": 500,
            "block.wr.bytes[vda]": 10**7,
        }.items():
            own[key] += chance.randrange(1, most)
        params: dict[str, Value] = {
            **own,
            "vcpu.current": 2 if number < COUNT // 2 else 4,
            "balloon.rss": chance.randrange(10**5, 10**6),
            "balloon.available": 4_000_000,
            "balloon.usable": chance.randrange(10**6, 3 * 10**6),
            "balloon.last-update": time_ms // 1000,
            "state.state": chance.choice((1, 3)),
        }
        domain = Domain(uuid, f"guest-{uuid}", 7)
        records.append(about(Kind.GUEST, time_ms, params, domain=domain))
    for key in ("host.cpu.user", "host.cpu.kernel", "host.cpu.idle"):
        counters["host"][key] += chance.randrange(SECOND, 100 * SECOND)
    memory = {"host.memory.total": 64_000_000, "host.memory.free": chance.randrange(1, 10**7)}
    records.append(about(Kind.HOST, time_ms, {**counters["host"], **memory}))
    stamp = Stamp(time_ms, 10**15 + time_ms * 10**6, "boot", 10**6)
    return Batch(host="h", collect="c", stamp=stamp, records=tuple(records))


def about(kind: Kind, time_ms: int, params: dict[str, Any], **more: Any) -> Record:
    return Record(kind=kind, host="h", collect="c", time_ms=time_ms, figures=Figures(params), **more)


@pytest.fixture(scope="module")
def ticks() -> list[Batch]:
    chance = random.Random(3)
    counters: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    return [tick(number, chance, counters) for number in range(COUNT)]


@pytest.fixture(scope="module")
def path(ticks: list[Batch], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of them, of which all is sealed that can be."""
    made = tmp_path_factory.mktemp("history") / "history.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "SLICE_TICKS", 30)
        patch.setattr(upkeep, "STEP_S", 60.0)
        patch.setattr(merging, "LEVELS", {1: merging.Level(2 * HOUR_MS, 60), 2: merging.Level(6 * HOUR_MS, 180)})
        patch.setattr(schema, "OPEN_PRAGMAS", schema.OPEN_PRAGMAS.replace("= FULL", "= OFF"))
        writer = Writer(made)
        for batch in ticks:
            writer.write([batch])
        while writer._upkeep._has_work():
            writer._upkeep.run()
        writer.close()
    return made


@pytest.fixture
def asked(path: Path) -> Iterator[Query]:
    connection = connect(path)
    yield Query(connection)
    connection.close()


@pytest.fixture
def without_oldest_ticks(path: Path, tmp_path: Path) -> Iterator[Query]:
    """Ask a history of which the ticks of the first twelve hours or so are gone."""
    copy = tmp_path / "history.db"
    copy.write_bytes(path.read_bytes())
    connection = connect(copy)
    connection.close()
    plain = sqlite3.connect(copy)
    old = plain.execute(
        "SELECT g.id FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = 0 AND g.end_ms < ?",
        (START_MS + 12 * HOUR_MS,),
    ).fetchall()
    assert old
    retire(plain, [segment for (segment,) in old])
    plain.commit()
    plain.close()
    connection = connect(copy)
    yield Query(connection)
    connection.close()


def by_series(found: Iterator[Series]) -> dict[tuple[str | None, str, str | None], Series]:
    return {(one.subject.uuid, one.field, one.device): one for one in found}


def exactly(asked: Query, select: Select) -> dict[tuple[str | None, str, str | None], Series]:
    """Ask the ticks alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "buckets_of", lambda *_: [])
        return by_series(asked.read(select))


DERIVED = (
    "cpu.cores",
    "cpu.utilization",
    "vcpu.steal",
    "block.wr.latency",
    "memory.used",
    "host.cpu.utilization",
    "host.memory.used",
)
SPANS = {
    "all": Span(),
    "edges": Span(START_MS + 5 * HOUR_MS + 7 * MINUTE_MS, START_MS + 20 * HOUR_MS + 29_000),
    "hours": Span(START_MS // HOUR_MS * HOUR_MS + 2 * HOUR_MS, START_MS // HOUR_MS * HOUR_MS + 9 * HOUR_MS),
}


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
@pytest.mark.parametrize(
    ("step_ms", "rate", "aggregate"),
    [
        (step_ms, rate, aggregate)
        for step_ms in (None, HOUR_MS, 6 * HOUR_MS, 5 * MINUTE_MS)
        for rate in (False, True)
        for aggregate in (None, *Aggregate)
        if (step_ms or aggregate) and not (rate and aggregate is Aggregate.INCREASE)
    ],
)
def test_roll_ups_answer_as_ticks_do_and_exactly_where_that_is_asked(
    asked: Query, span: Span, step_ms: int | None, aggregate: Aggregate | None, *, rate: bool
) -> None:
    select = Select(span=span, step_ms=step_ms, aggregate=aggregate, rate=rate)
    wanted = exactly(asked, select)
    for tolerance in (0.0, 0.01):
        found = by_series(asked.read(Select(**{**as_dict(select), "tolerance": tolerance})))
        assert found.keys() == wanted.keys()
        for key, series in found.items():
            assert series.time_ms.tolist() == wanted[key].time_ms.tolist()
            if tolerance:
                assert series.values.tolist() == pytest.approx(wanted[key].values.tolist(), rel=NEAR)
            else:
                assert series.values.tolist() == wanted[key].values.tolist()
            assert series.coverage == pytest.approx(wanted[key].coverage, abs=0.02)
            assert (series.measure, series.subject.name) == (wanted[key].measure, wanted[key].subject.name)


def as_dict(select: Select) -> dict[str, Any]:
    return {field: getattr(select, field) for field in select.__struct_fields__}


@pytest.mark.parametrize("step_ms", [HOUR_MS, None])
@pytest.mark.parametrize("aggregate", [Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX, Aggregate.LAST])
def test_derived_series_answer_from_roll_ups_as_from_ticks(
    asked: Query, step_ms: int | None, aggregate: Aggregate
) -> None:
    select = Select(fields=DERIVED, step_ms=step_ms, aggregate=aggregate, span=SPANS["hours"])
    wanted = exactly(asked, select)
    found = by_series(asked.read(Select(**{**as_dict(select), "tolerance": 0.01})))
    assert found.keys() == wanted.keys()
    assert {field for _, field, _ in found} == {
        "cpu.cores", "cpu.utilization", "vcpu.steal", "block.wr.latency", "memory.used", "host.cpu.utilization",
        "host.memory.used",
    }  # fmt: skip
    for key, series in found.items():
        assert series.tier == "hours"
        assert series.values.tolist() == pytest.approx(wanted[key].values.tolist(), rel=NEAR)


def test_derived_series_of_ticks_are_those_of_the_stream(asked: Query, path: Path) -> None:
    found = by_series(asked.read(Select(fields=DERIVED)))
    wanted: dict[tuple[str | None, str, str | None], list[float]] = defaultdict(list)
    connection = connect(path)
    for batch in Exporter(connection).batches(0, EVER_MS, pytest.fail):
        for record in batch.records:
            if record.kind == Kind.HOST:
                made = derive_host(record.params, record.rates)
            else:
                made = derive(Derivation(tuple(record.params)), record.params, record.rates, record.time_ms)
            uuid = record.domain.uuid if record.domain else None
            for name, value in made.items():
                if name != "memory.age":
                    wanted[uuid, *split_key(name)].append(value)
    connection.close()
    assert found.keys() == wanted.keys()
    for key, series in found.items():
        assert (series.tier, series.values.tolist()) == ("raw", wanted[key])


@pytest.mark.parametrize("name", ["cpu.time", "block.wr.bytes"])
def test_where_ticks_are_gone_roll_ups_answer_and_say_so(asked: Query, without_oldest_ticks: Query, name: str) -> None:
    select = Select(fields=(name,), step_ms=HOUR_MS, rate=True)
    (before, _), (after, _) = asked.read(select), without_oldest_ticks.read(select)
    assert before.values.tolist() == after.values.tolist()
    assert before.time_ms.tolist() == after.time_ms.tolist()
    odd = Select(fields=(name,), step_ms=7 * MINUTE_MS, rate=True, span=Span(START_MS, START_MS + 20 * HOUR_MS))
    (before, _), (after, _) = asked.read(odd), without_oldest_ticks.read(odd)
    assert (before.tier, after.tier) == ("raw", "five_minutes+raw")
    assert after.time_ms[0] < START_MS + 10 * MINUTE_MS
    assert sum(after.values.tolist()) / len(after.values) == pytest.approx(
        sum(before.values.tolist()) / len(before.values), rel=0.1
    )


def test_where_ticks_are_gone_samples_and_what_only_they_tell_are_gone(without_oldest_ticks: Query) -> None:
    for select in (Select(fields=("cpu.time",)), Select(fields=("cpu.time",), rate=True, aggregate=Aggregate.MIN)):
        (one, _) = without_oldest_ticks.read(select)
        assert one.tier == "raw"
        assert one.coverage < 0.9


def test_guests_and_hosts_go_back_to_where_roll_ups_do(without_oldest_ticks: Query) -> None:
    early = Span(START_MS, START_MS + 2 * HOUR_MS)
    assert [guest.uuid for guest in without_oldest_ticks.guests(early)] == [*UUIDS]
    (host,) = without_oldest_ticks.hosts()
    assert host.first_ms <= START_MS


# Quantiles.

SHARES = (0.0, 0.5, 0.95, 1.0)


def quantiles(asked: Query, **how: Any) -> dict[tuple[str | None, str], Quantiles]:
    return {(one.subject.uuid, one.field): one for one in asked.quantiles(Select(**how), SHARES)}


@pytest.mark.parametrize(
    "how",
    [
        {"fields": ("cpu.time",), "rate": True},
        {"fields": ("balloon.rss", "memory.used", "cpu.*", "host.*"), "rate": False},
    ],
)
def test_sketches_answer_to_one_percent_where_that_is_tolerated(asked: Query, how: dict[str, Any]) -> None:
    span = Span(START_MS // HOUR_MS * HOUR_MS, START_MS // HOUR_MS * HOUR_MS + 25 * HOUR_MS)
    exact, near = quantiles(asked, span=span, **how), quantiles(asked, span=span, tolerance=0.01, **how)
    assert exact.keys() == near.keys()
    assert {one.tier for one in exact.values()} == {"raw"}
    for key, one in near.items():
        is_sketched = key[1] in (OF_RATES if how["rate"] else OF_VALUES)
        assert one.tier == ("sketches" if is_sketched else "raw"), key
        assert one.count == pytest.approx(exact[key].count, abs=2)
        assert one.values == pytest.approx(exact[key].values, rel=0.011 if is_sketched else 0)
        assert one.coverage == pytest.approx(exact[key].coverage, abs=0.05)
        assert (one.measure, one.subject.name) == (exact[key].measure, exact[key].subject.name)
    assert any(one.tier == "sketches" for one in near.values())


def test_ticks_answer_for_what_sketches_leave_out_of_a_span(asked: Query) -> None:
    span = Span(START_MS + 5 * HOUR_MS + 7 * MINUTE_MS, START_MS + 9 * HOUR_MS)
    found = quantiles(asked, fields=("cpu.time",), rate=True, span=span, tolerance=0.01)
    assert {one.tier for one in found.values()} == {"raw"}


def test_where_ticks_are_gone_sketches_answer_unasked(without_oldest_ticks: Query) -> None:
    found = quantiles(without_oldest_ticks, fields=("cpu.time",), rate=True, guests=("guest-u2",))
    assert {key[0]: one.tier for key, one in found.items()} == {"u2": "sketches"}


def test_what_makes_no_sense_is_refused(asked: Query) -> None:
    with pytest.raises(HistoryError, match="from 0 to less than 1"):
        list(asked.read(Select(tolerance=1.0)))
    with pytest.raises(HistoryError, match="from 0 to 1"):
        list(asked.quantiles(Select(), (1.1,)))


@pytest.mark.parametrize(("table", "tolerance"), [("sketch_hour", 0.9), ("sketch_day", 0.3)])
def test_a_damaged_sketch_is_named_and_the_others_answer(
    path: Path, tmp_path: Path, table: str, tolerance: float
) -> None:
    copy = tmp_path / "history.db"
    copy.write_bytes(path.read_bytes())
    plain = sqlite3.connect(copy)
    (number, blob), *_ = plain.execute(
        f"SELECT h.id, h.blob FROM {table} h JOIN field f ON f.id = h.field WHERE f.name = 'cpu.cores'"
        " ORDER BY h.id DESC LIMIT 1"
    )
    plain.execute(f"UPDATE {table} SET blob = ? WHERE id = ?", (blob[:-1] + bytes([blob[-1] ^ 1]), number))
    plain.commit()
    plain.close()
    day_ms = 24 * HOUR_MS
    since_ms = START_MS // day_ms * day_ms + (0 if table == "sketch_day" else day_ms)
    select = Select(fields=("cpu.cores",), span=Span(since_ms, since_ms + 5 * HOUR_MS + day_ms), tolerance=tolerance)
    connection = connect(copy)
    told: list[str] = []
    found = [one for one in Query(connection).quantiles(select, SHARES, told.append) if one.tier == "sketches"]
    with pytest.raises(DamagedError, match=rf"row {number} of {table} \(cpu.cores\) is damaged"):
        list(Query(connection).quantiles(select, SHARES))
    connection.close()
    assert [text.partition(" is damaged")[0] for text in told] == [f"row {number} of {table} (cpu.cores)"]
    assert [one.subject.uuid for one in found] == [*UUIDS]


def test_a_guest_is_one_subject_of_a_tier_however_often_it_was_started(path: Path) -> None:
    plain = sqlite3.connect(path)
    found = plain.execute(
        "SELECT DISTINCT r.incarnation FROM stream s JOIN head h ON h.stream = s.id"
        " JOIN layout_record r ON r.layout = h.layout WHERE s.tier > 0 AND r.kind = 'guest'"
    ).fetchall()
    plain.close()
    assert found == [(None,)]


def test_a_field_that_comes_while_a_reader_is_open_is_read(tmp_path: Path, ticks: list[Batch]) -> None:
    writer = Writer(tmp_path / "history.db")
    writer.write(ticks[:2])
    connection = connect(tmp_path / "history.db")
    asked = Query(connection)
    select = Select(fields=("late.*",))
    assert list(asked.read(select)) == []
    (record, *_) = ticks[2].records
    late = replace(record, figures=Figures({**record.params, "late.comer": 5}))
    writer.write([replace(ticks[2], records=(late,))])
    assert [one.values.tolist() for one in asked.read(select)] == [[5]]
    connection.close()
    writer.close()


def test_what_buckets_say_of_whole_records_is_unpacked_once_for_all_fields(
    asked: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[tuple[int, str]] = Counter()
    stat = SealedSlab.stat

    def counted(slab: SealedSlab, name: str, owners: Sequence[Owner]) -> Stat:
        read[slab._known.number, name] += 1
        return stat(slab, name, owners)

    monkeypatch.setattr(SealedSlab, "stat", counted)
    fields = ("balloon.rss", "balloon.usable", "balloon.available")
    span = Span(START_MS // HOUR_MS * HOUR_MS + HOUR_MS, START_MS // HOUR_MS * HOUR_MS + 20 * HOUR_MS)
    found = list(asked.read(Select(span=span, fields=fields, step_ms=HOUR_MS, tolerance=0.01)))
    assert len(found) == len(fields) * len(UUIDS)
    assert read
    assert {times for (_, name), times in read.items() if name.startswith("rollup.")} == {1}


def test_where_hosts_alone_are_meant_no_guest_is_looked_for(
    asked: Query, without_oldest_ticks: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for: set[str | None] = set()
    sightings = Reading._sightings

    def noted(*given: Any) -> Iterator[Seen]:
        for seen in sightings(*given):
            looked_for.add(seen.who.uuid)
            yield seen

    monkeypatch.setattr(Reading, "_sightings", noted)
    for history in (asked, without_oldest_ticks):
        for fields in (("host.*",), ("*",)):
            found = list(history.read(Select(kinds=(Kind.HOST,), fields=fields, step_ms=HOUR_MS)))
            assert {one.subject.kind for one in found} == {Kind.HOST}
    assert looked_for == {None}
    both = asked.read(Select(kinds=(Kind.HOST, Kind.GUEST), step_ms=HOUR_MS))
    assert {one.subject.kind for one in both} == {Kind.HOST, Kind.GUEST}
    assert looked_for == {None, *UUIDS}
