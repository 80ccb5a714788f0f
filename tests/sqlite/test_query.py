"""What a history answers: who is there, which series are meant, and their values with units, tier and coverage."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from domstat.catalog import FieldKind
from domstat.history import (
    Aggregate,
    HistoryError,
    Host,
    Loss,
    Measure,
    OnDamaged,
    Quantiles,
    Select,
    Series,
    Span,
    StoredField,
)
from domstat.model import Batch, Kind, Record, Stamp
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.answers import query, reading
from domstat_sinks.sqlite.reader import SqlHistory
from domstat_sinks.sqlite.sink import SqliteSettings
from records import agent_record, event_record, gap_record, guest_record, host_record, pool_record

from .conftest import History

START_MS = 1_795_305_600_000  # midnight, so that steps are easy to read
SECOND_NS = 10**9
TICK_MS = 10_000
ANY = Select()


class Farm:
    """A history that is written and asked."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._opened = SqliteSink.history(SqliteSettings(), history.folder)
        self.answers: Any = self._opened.__enter__()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def tick(self, number: int, *records: Record, host: str = "kvm1", collect: str = "default") -> None:
        stamp = Stamp(START_MS + number * TICK_MS, number * TICK_MS * 1_000_000, "boot", 0)
        self.history.write(Batch(host=host, collect=collect, stamp=stamp, records=records))

    def read(self, on_damaged: OnDamaged | None = None, **wanted: Any) -> list[Series]:
        return list(self.answers.read(Select(**wanted), on_damaged))

    def values(self, **wanted: Any) -> dict[str, list[tuple[float, Any]]]:
        """Return seconds since the start, and values, by guest, field and device."""
        return {
            ":".join(filter(None, (one.subject.name or one.subject.host, one.field, one.device))): [
                ((time_ms - START_MS) / 1000, value)
                for time_ms, value in zip(one.time_ms.tolist(), one.values.tolist(), strict=True)
            ]
            for one in self.read(**wanted)
        }


@pytest.fixture
def farm(history: History) -> Iterator[Farm]:
    made = Farm(history)
    yield made
    made.close()


def guest(name: str = "web-1", uuid: str = "u1", number: int = 0, **params: Any) -> Record:
    keys = {"cpu_time": "cpu.time", "vcpus": "vcpu.current", "state": "state.state", "rss": "balloon.rss"}
    named = {keys.get(key, key): value for key, value in params.items()}
    return guest_record(name, uuid=uuid, params=named, time_ms=START_MS + number * TICK_MS, first=True)


def test_samples_come_with_whose_they_are_and_what_they_are_in(farm: Farm) -> None:
    farm.tick(0, guest(cpu_time=7))
    (series,) = farm.read(fields=("cpu.time",))
    assert (series.subject.host, series.subject.collect, series.subject.kind) == ("kvm1", "default", "guest")
    assert (series.subject.uuid, series.subject.name, series.subject.incarnation) == ("u1", "web-1", 3)
    assert (series.field, series.device, series.tier) == ("cpu.time", None, "raw")
    assert series.measure == Measure("seconds", 1e-9)
    assert (series.time_ms.tolist(), series.values.tolist()) == ([START_MS], [7])


def test_rates_are_per_second_in_base_units_and_of_counters_only(farm: Farm) -> None:
    for i in range(3):
        farm.tick(i, guest(number=i, cpu_time=i * 5 * SECOND_NS, vcpus=2))
    (series,) = farm.read(rate=True)
    assert series.measure == Measure("seconds", per_second=True)
    assert (series.field, series.values.tolist()) == ("cpu.time", [0.5, 0.5])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"guests": ("web-*",)}, ["web-1:cpu.time", "web-2:cpu.time"]),
        ({"guests": ("u3", "web-2")}, ["db:cpu.time", "web-2:cpu.time"]),
        ({"guests": ("WEB-1",)}, []),
        ({"hosts": ("kvm2",)}, ["kvm2:host.cpus"]),
        ({"hosts": ("kvm*",), "kinds": (Kind.HOST,)}, ["kvm2:host.cpus"]),
        ({"collects": ("slow",)}, ["kvm2:host.cpus"]),
        ({"fields": ("host.*",)}, ["kvm2:host.cpus"]),
        ({"guests": ("*",), "fields": ("host.*",)}, []),
    ],
)
def test_series_are_chosen_by_globs(farm: Farm, wanted: dict[str, Any], found: list[str]) -> None:
    farm.tick(0, *(guest(name, uuid, cpu_time=1) for name, uuid in (("web-1", "u1"), ("web-2", "u2"), ("db", "u3"))))
    farm.tick(0, host_record(params={"host.cpus": 4}, time_ms=START_MS, host="kvm2"), host="kvm2", collect="slow")
    assert list(farm.values(**wanted)) == found


def test_devices_leave_out_what_has_none_and_come_in_a_natural_order(farm: Farm) -> None:
    params: dict[str, Any] = {"cpu.time": 1, **{f"vcpu.time[{i}]": 1 for i in (10, 9, 1)}, "block.wr.bytes[vda]": 1}
    farm.tick(0, guest(**params))
    assert list(farm.values(devices=("*",))) == [
        "web-1:block.wr.bytes:vda",
        "web-1:vcpu.time:1",
        "web-1:vcpu.time:9",
        "web-1:vcpu.time:10",
    ]
    assert list(farm.values(devices=("v*",))) == ["web-1:block.wr.bytes:vda"]


def test_a_guest_is_its_uuid_whatever_it_was_called_and_wherever_it_ran(farm: Farm) -> None:
    farm.tick(0, guest("old-name", cpu_time=1))
    farm.tick(1, guest("new-name", number=1, cpu_time=2))
    farm.tick(2, guest("new-name", number=2, cpu_time=3), host="kvm2")
    found = farm.read(guests=("old-name",), fields=("cpu.time",))
    assert [(one.subject.host, one.subject.name, one.values.tolist()) for one in found] == [
        ("kvm1", "new-name", [1, 2]),
        ("kvm2", "new-name", [3]),
    ]
    (one,) = farm.answers.guests(Span())
    assert (one.name, one.hosts, one.ticks) == ("new-name", ("kvm1", "kvm2"), 3)
    assert (one.first_ms, one.last_ms) == (START_MS, START_MS + 2 * TICK_MS)


def test_a_span_begins_with_its_first_moment_and_ends_before_its_last(farm: Farm) -> None:
    for i in range(4):
        farm.tick(i, guest(number=i, vcpus=i))
    span = Span(START_MS + TICK_MS, START_MS + 3 * TICK_MS)
    assert farm.values(span=span) == {"web-1:vcpu.current": [(10.0, 1), (20.0, 2)]}


def test_a_guest_that_was_not_there_in_the_span_is_not_found(farm: Farm) -> None:
    farm.tick(0, guest("gone", "u1", vcpus=1))
    farm.tick(1, guest("here", "u2", 1, vcpus=1))
    later = Span(START_MS + 1)
    assert list(farm.values(span=later)) == ["here:vcpu.current"]
    assert [one.name for one in farm.answers.guests(later)] == ["here"]


def test_a_step_has_the_mean_of_gauges_and_the_last_of_counters_and_states(farm: Farm) -> None:
    for i in range(4):
        farm.tick(i, guest(number=i, cpu_time=i, vcpus=i, state=i))
    assert farm.values(step_ms=20_000) == {
        "web-1:cpu.time": [(0.0, 1), (20.0, 3)],
        "web-1:state.state": [(0.0, 1), (20.0, 3)],
        "web-1:vcpu.current": [(0.0, 0.5), (20.0, 2.5)],
    }


def test_an_aggregate_leaves_out_what_it_does_not_apply_to(farm: Farm) -> None:
    for i in range(2):
        farm.tick(i, guest(number=i, cpu_time=i, vcpus=i, name_="x", state=1))
    assert list(farm.values(aggregate=Aggregate.MAX)) == ["web-1:cpu.time", "web-1:vcpu.current"]
    assert list(farm.values(aggregate=Aggregate.INCREASE)) == ["web-1:cpu.time"]
    assert list(farm.values(aggregate=Aggregate.COUNT)) == [
        "web-1:cpu.time",
        "web-1:name_",
        "web-1:state.state",
        "web-1:vcpu.current",
    ]


def test_an_aggregate_without_a_step_is_of_the_whole_span(farm: Farm) -> None:
    for i in range(4):
        farm.tick(i, guest(number=i, cpu_time=i * SECOND_NS))
    span = Span(START_MS + 5, START_MS + 25_000)
    (series,) = farm.read(span=span, rate=True, aggregate=Aggregate.MEAN)
    assert (series.time_ms.tolist(), series.values.tolist()) == ([START_MS + 5], [0.1])
    (series,) = farm.read(span=span, aggregate=Aggregate.INCREASE)
    assert (series.values.tolist(), series.measure) == ([2 * SECOND_NS], Measure("seconds", 1e-9))
    (series,) = farm.read(span=span, aggregate=Aggregate.COUNT)
    assert (series.values.tolist(), series.measure) == ([2], Measure(""))


def test_neither_a_restart_nor_a_gap_makes_a_rate_lie(farm: Farm) -> None:
    ticks = {0: (3, 0), 1: (3, 5), 10: (3, 50), 11: (4, 2), 12: (4, 7)}
    for i, (incarnation, cpu_s) in ticks.items():
        record = guest_record(
            uuid="u1",
            id=incarnation,
            params={"cpu.time": cpu_s * SECOND_NS},
            time_ms=START_MS + i * TICK_MS,
            first=True,
        )
        farm.tick(i, record)
    assert farm.values(rate=True, step_ms=60_000) == {"web-1:cpu.time": [(0.0, 0.5), (60.0, 0.5), (120.0, 0.5)]}


def test_coverage_is_the_share_of_the_span_that_samples_stand_for(farm: Farm) -> None:
    for i in (0, 1, 2, 3, 8, 9):
        farm.tick(i, guest(number=i, vcpus=1))
    (series,) = farm.read(span=Span(START_MS, START_MS + 120_000))
    assert series.coverage == 0.5
    (series,) = farm.read()  # open ends: from the first tick to the last
    assert series.coverage == pytest.approx(60 / 90, abs=1e-3)


def test_quantiles_are_exact_and_in_the_series_own_unit(farm: Farm) -> None:
    for i in range(20):
        farm.tick(i, guest(number=i, vcpus=20 - i, cpu_time=i * i * SECOND_NS, state=1))
    found: list[Quantiles] = list(farm.answers.quantiles(ANY, (0.5, 0.95, 1.0)))
    assert {one.field: one.values for one in found}["vcpu.current"] == (10, 19, 20)
    assert "state.state" not in {one.field for one in found}
    (rates,) = farm.answers.quantiles(Select(rate=True), (0.0, 1.0))
    assert (rates.values, rates.count, rates.measure) == ((0.1, 3.7), 19, Measure("seconds", per_second=True))


def test_series_are_the_same_however_few_are_read_at_once(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(5):
        farm.tick(i, *(guest(f"g{n}", f"u{n}", i, cpu_time=i * n, vcpus=n) for n in range(4)))
    at_once = farm.values(rate=True)
    monkeypatch.setattr(reading, "SAMPLES_AT_ONCE", 7)
    assert farm.values(rate=True) == at_once
    assert len(at_once) == 4


def test_while_series_are_read_the_writer_is_not_held_up_and_new_ticks_are_seen(farm: Farm) -> None:
    farm.tick(0, guest(vcpus=1))
    reading = farm.answers.read(ANY)
    next(reading)
    farm.history.ask("SELECT 1")
    farm.tick(1, guest(number=1, vcpus=1))
    assert list(reading) == []
    assert farm.values()["web-1:vcpu.current"] == [(0.0, 1), (10.0, 1)]


def damage(history: History) -> None:
    vandal = sqlite3.connect(history.path)
    vandal.execute("UPDATE head SET blob = CAST(x'00' || substr(blob, 2) AS BLOB) WHERE id = 2")
    vandal.commit()
    vandal.close()


def test_damage_is_an_error_that_names_file_and_row_or_is_told_and_passed_over(farm: Farm) -> None:
    for i in range(3):
        farm.tick(i, guest(number=i, vcpus=i))
    damage(farm.history)
    with pytest.raises(HistoryError, match=r"history\.db: head row 2 is damaged"):
        farm.read()
    told: list[str] = []
    (series,) = farm.read(told.append)
    assert (series.values.tolist(), len(told)) == ([0, 2], 1)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Select(span=Span(5, 5)), "ends before it begins"),
        (Select(step_ms=0), "at least a millisecond"),
        (Select(rate=True, aggregate=Aggregate.INCREASE), "not of its rate"),
    ],
)
def test_what_makes_no_sense_is_refused(farm: Farm, wanted: Select, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        list(farm.answers.read(wanted))


def test_a_quantile_beyond_all_is_refused(farm: Farm) -> None:
    with pytest.raises(HistoryError, match="from 0 to 1"):
        list(farm.answers.quantiles(ANY, (95.0,)))


def test_hosts_have_their_blocks_and_their_times(farm: Farm) -> None:
    farm.tick(0, guest(vcpus=1))
    farm.tick(3, agent_record(collect="slow"), collect="slow")
    farm.tick(1, agent_record(host="kvm0"), host="kvm0")
    assert farm.answers.hosts() == (
        Host("kvm0", ("default",), START_MS + TICK_MS, START_MS + TICK_MS),
        Host("kvm1", ("default", "slow"), START_MS, START_MS + 3 * TICK_MS),
    )


def test_pools_and_the_agent_are_subjects_too(farm: Farm) -> None:
    farm.tick(0, pool_record(time_ms=START_MS), agent_record(time_ms=START_MS))
    found = farm.read(fields=("pool.capacity", "agent.calls"))
    assert [(one.subject.kind, one.subject.pool, one.subject.name) for one in found] == [
        ("agent", None, None),
        ("pool", "images", None),
    ]


def test_events_come_in_the_order_of_time(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "EVENTS_AT_ONCE", 2)
    for time_ms in (5, 1, 3, 3, 9):
        for type_ in ("started", "stopped") if time_ms == 3 else ("started",):
            farm.history.write(
                Batch(
                    host="kvm1",
                    collect="events",
                    stamp=Stamp(time_ms, 0, "", 0),
                    records=(event_record(type_, time_ms=time_ms),),
                )
            )
    found = list(farm.answers.events(Span(1, 9)))
    assert [(one.time_ms, one.event.type) for one in found] == [
        (1, "started"),
        (3, "started"),
        (3, "stopped"),
        (5, "started"),
    ]
    assert (found[0].subject.host, found[0].subject.name, found[0].event.reason) == ("kvm1", "web-1", "booted")


def test_what_a_stream_lost_is_said_by_reason_and_counted_once(farm: Farm) -> None:
    farm.tick(0, guest(vcpus=1))
    farm.tick(10, guest(number=10, vcpus=1))
    for end_ms, lasted_ms, reason in ((30_000, 20_000, "stuck"), (40_000, 20_000, "late"), (250_000, 50_000, "after")):
        farm.history.write(
            Batch(
                host="kvm1",
                collect="default",
                stamp=Stamp(START_MS + end_ms, 0, "", 0),
                records=(gap_record(reason, lasted_ms, time_ms=START_MS + end_ms),),
            )
        )
    (stream,) = farm.answers.coverage(Span(START_MS, START_MS + 200_000))
    assert stream.losses == (Loss("late", 10_000), Loss("stuck", 20_000))
    assert (stream.share, stream.ticks, stream.asked_ms) == (0.35, 2, 200_000)
    assert farm.answers.coverage(Span(5, 6)) == ()


def test_fields_have_their_kinds_and_units(farm: Farm) -> None:
    farm.tick(0, guest(cpu_time=1, rss=1, stranger=1))
    assert farm.answers.fields() == (
        StoredField("balloon.rss", FieldKind.GAUGE, Measure("bytes", 1024.0)),
        StoredField("cpu.cores", FieldKind.GAUGE, Measure("cores")),
        StoredField("cpu.time", FieldKind.COUNTER, Measure("seconds", 1e-9)),
        StoredField("stranger", FieldKind.GAUGE, Measure("")),
    )


def test_nothing_is_answered_with_nothing(farm: Farm) -> None:
    assert farm.read() == []
    assert (farm.answers.hosts(), farm.answers.guests(Span()), farm.answers.coverage(Span())) == ((), (), ())
    assert list(farm.answers.events(Span())) == []


def test_a_query_by_sql_may_be_open_meanwhile(farm: Farm, make_history: Callable[[], History]) -> None:
    for i in range(3):
        farm.tick(i, guest(number=i, vcpus=i))
    rows = farm.answers.sql("SELECT value FROM samples").rows
    next(rows)
    assert len(farm.read()) == 1
    assert len(list(rows)) == 2
    assert isinstance(farm.answers, SqlHistory)
