"""Compressed hours: everything takes longer, and no rate, share or latency is another for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from domstat.model import Batch, Domain, Figures, Gap, Kind, Moment, Record, Stamp, Value, moment_within
from domstat.rates import Baseline, advance, shape_of
from domstat_bench.stretch import Stretch
from records import batch, gap_record

FACTOR = 100
RECORDED_MS, BEGIN_MS = 1_795_000_000_000, 1_800_000_000_000
BOOTED_NS = 7_000_000_000


def tick(number: int, *records: Record) -> Batch:
    """Make a tick, a tenth of a second after the one before."""
    stamp = Stamp(RECORDED_MS + 100 * number, BOOTED_NS + 100_000_000 * number, "boot", 3_000_000)
    return Batch(
        host="h",
        collect="c",
        stamp=stamp,
        records=tuple(replace(record, time_ms=stamp.time_ms) for record in records),
    )


def guest(params: dict[str, Value], incarnation: int = 1) -> Record:
    domain = Domain("u", "web", incarnation)
    return Record(kind=Kind.GUEST, host="h", collect="c", time_ms=0, domain=domain, figures=Figures(params))


def host(params: dict[str, Value]) -> Record:
    return Record(kind=Kind.HOST, host="h", collect="c", time_ms=0, figures=Figures(params))


def stretched(*batches: Batch) -> list[Batch]:
    stretch = Stretch(FACTOR, RECORDED_MS, BEGIN_MS)
    return [stretch.batch(one) for one in batches]


def rates(batches: Sequence[Batch]) -> list[dict[str, float]]:
    """Take the rates of each batch's one record, as the stream does."""
    found: list[dict[str, float]] = []
    before: Baseline | None = None
    for one in batches:
        (record,) = one.records
        moment: Moment = moment_within(one.stamp, 0, 1)
        incarnation = record.domain.id if record.domain else None
        rated, before = advance(before, shape_of(tuple(record.params)), record.params, moment, incarnation)
        found.append(dict(rated))
    return found


def test_both_clocks_and_calls_take_so_much_longer_from_where_they_stood() -> None:
    first, second = (one.stamp for one in stretched(tick(0), tick(3)))
    assert first == Stamp(BEGIN_MS, BOOTED_NS, "boot", 300_000_000)
    assert second == Stamp(BEGIN_MS + 30_000, BOOTED_NS + 30_000_000_000, "boot", 300_000_000)


@pytest.mark.parametrize(("make", "fields"), [(guest, ("cpu.time", "block.rd.bytes")), (host, ("host.cpu.user",))])
def test_every_rate_is_what_it_was(make: Callable[[dict[str, Value]], Record], fields: Sequence[str]) -> None:
    counts = [5_000_000_000, 5_030_000_000, 5_030_000_000, 5_070_000_001]
    batches = [tick(i, make(dict.fromkeys(fields, count))) for i, count in enumerate(counts)]
    was, now = rates(batches), rates(stretched(*batches))
    assert any(rate for one in was for rate in one.values())
    for before, after in zip(was, now, strict=True):
        assert after == pytest.approx(before, rel=1e-12)


def test_a_fall_stays_a_fall_and_another_incarnation_another() -> None:
    ticks = [tick(0, guest({"cpu.time": 900})), tick(1, guest({"cpu.time": 30})), tick(2, guest({"cpu.time": 40}, 2))]
    assert [one.keys() for one in rates(ticks)] == [one.keys() for one in rates(stretched(*ticks))]


def test_what_may_be_years_old_begins_with_nothing_and_stays_within_63_bits() -> None:
    years_ns = 1 << 60
    both = stretched(tick(0, host({"host.cpu.user": years_ns})), tick(1, host({"host.cpu.user": years_ns + 7})))
    assert [one.records[0].params for one in both] == [{"host.cpu.user": 0}, {"host.cpu.user": 700}]


def test_gauges_texts_and_strangers_stay_as_they_are() -> None:
    params: dict[str, Value] = {"state.state": 1, "new.field": 1.5, "balloon.current": 4096, "block.path": "/a"}
    (one,) = stretched(tick(0, guest(params)))
    assert one.records[0].params == params


@pytest.mark.parametrize(("spoke_s", "then_s"), [(0, 0), (RECORDED_MS // 1000 + 2, BEGIN_MS // 1000 + 2 * FACTOR)])
def test_when_a_balloon_spoke_is_a_moment_too(spoke_s: int, then_s: int) -> None:
    (one,) = stretched(tick(0, guest({"balloon.last-update": spoke_s})))
    assert one.records[0].params == {"balloon.last-update": then_s}


def test_gaps_and_what_happened_move_along() -> None:
    gap = Gap(RECORDED_MS + 100, RECORDED_MS + 300, "overload")
    (one,) = stretched(batch(replace(gap_record(), time_ms=gap.start, gap=gap), time_ms=gap.start))
    assert one.records[0].gap == Gap(BEGIN_MS + 10_000, BEGIN_MS + 30_000, "overload")
    assert one.records[0].time_ms == BEGIN_MS + 10_000


def test_only_samples_are_kept_of_a_record() -> None:
    made = replace(guest({}), interval_s=0.1, figures=Figures({"cpu.time": 1}, {"cpu.time": 0.5}, {"cpu.cores": 0.5}))
    (one,) = stretched(tick(0, made))
    assert (one.records[0].interval_s, one.records[0].rates, one.records[0].derived) == (None, {}, {})
