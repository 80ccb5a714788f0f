"""Ticks to roll up: histories in which everything happens, what they come to one by one, and as the sealer has them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.derive import Derivation, derive, derive_host
from domstat.model import Domain, Kind, Partial, Record, Stamp, Value, key_of, moment_within, split_key, whole_device
from domstat.model import Figures as Made
from domstat.rates import Baseline, Breaks, advance, elapsed_ns, shape_of
from domstat_sinks.sqlite.heads.layout import Entry, Shape, Shapes, entry_of
from domstat_sinks.sqlite.rollups.derived import derive as derive_all
from domstat_sinks.sqlite.rollups.increments import Run, Stamps, take
from domstat_sinks.sqlite.rollups.lastknown import LastKnown, cut_runs
from domstat_sinks.sqlite.rollups.recipes import Sort
from domstat_sinks.sqlite.rollups.rollplan import Plan, plan_part
from domstat_sinks.sqlite.rollups.rollstats import Rollup, Subject, subject_of
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, roll_up

START_MS = 1_795_385_700_000
TEXTS = {"a": 1, "b": 2}


class Tick(Struct, frozen=True):
    """One row of a stream."""

    stamp: Stamp
    records: tuple[Record, ...]


# One by one, with the stream's own functions.


class Series(Struct):
    """What a series comes to in a bucket: values of its ticks; for a counter increases, rates and spans."""

    values: list[Any]
    rates: list[float]
    spans: list[int]


def naive(ticks: Sequence[Tick], width_ms: int) -> dict[tuple[int, Subject], dict[str, Series]]:
    """Roll up tick by tick and value by value: (bucket, subject) to key to what it comes to."""
    found: dict[tuple[int, Subject], dict[str, Series]] = {}
    baselines: dict[Subject, Baseline] = {}
    for tick in ticks:
        for record, place in zip(tick.records, places(tick.records), strict=True):
            subject = subject_of(entry_of(record))
            series = found.setdefault((tick.stamp.time_ms // width_ms * width_ms, subject), {})
            moment = moment_within(tick.stamp, place, guests(tick.records))
            breaks = Breaks(frozenset(record.partial.missing if record.partial else ()), frozenset(record.anew or ()))
            incarnation = record.domain.id if record.domain else None
            before = baselines.get(subject)
            rates, after = advance(before, shape_of(tuple(record.params)), record.params, moment, incarnation, breaks)
            baselines[subject] = after
            for key, rate in rates.items():
                earlier, since = known_of(before, key)
                increase = record.params[key] - earlier
                own = series.setdefault(key, Series([], [], []))
                own.values.append(increase)
                own.rates.append(rate)
                own.spans.append(elapsed_ns(since, moment))
            for key, value in {**levels(record.params), **derived(record, rates)}.items():
                series.setdefault(key, Series([], [], [])).values.append(value)
    return found


def known_of(baseline: Baseline | None, key: str) -> tuple[Any, Any]:
    assert baseline is not None
    if key in baseline.shape.counters:
        return baseline.values[baseline.shape.counters.index(key)], baseline.moment
    return baseline.older[key].value, baseline.older[key].moment


def levels(params: Mapping[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in params.items() if look_up(split_key(key)[0]).kind is not FieldKind.COUNTER}


def derived(record: Record, rates: Mapping[str, float]) -> dict[str, float]:
    if record.kind == Kind.HOST:
        return derive_host(record.params, rates)
    made = derive(Derivation(tuple(record.params)), record.params, rates, record.time_ms)
    return {key: value for key, value in made.items() if key != "memory.age"}


def places(records: Sequence[Record]) -> list[int]:
    return [sum(other.kind == Kind.GUEST for other in records[:i]) for i in range(len(records))]


def guests(records: Sequence[Record]) -> int:
    return sum(record.kind == Kind.GUEST for record in records) or 1


# As the sealer has them.


class Rows:
    """Packs ticks into runs, as rows of words; the plans of layouts are made once."""

    def __init__(self) -> None:
        self._shapes = Shapes()
        self._plans: dict[tuple[tuple[Entry, Shape], ...], tuple[int, Plan]] = {}

    def runs(self, ticks: Sequence[Tick]) -> Iterator[Run]:
        """Give the runs of one slice of a stream."""
        packed = [self._pack(tick) for tick in ticks]
        numbers = [number for number, _, _ in packed]
        subjects = {number: frozenset(map(subject_of, plan.scope.entries)) for number, plan, _ in packed}
        for _, rows in cut_runs(numbers, subjects):
            stamps = [ticks[row].stamp for row in rows]
            extras = {(i, j): it for i, row in enumerate(rows) for j, it in enumerate(ticks[row].records)}
            yield Run(
                plan=packed[rows[0]][1],
                stamps=stamps_of(stamps),
                words=np.stack([packed[row][2] for row in rows]),
                anew={at: record.anew for at, record in extras.items() if record.anew},
                missing={at: record.partial.missing for at, record in extras.items() if record.partial},
            )

    def _pack(self, tick: Tick) -> tuple[int, Plan, Any]:
        shapes = [self._shapes.refit(record) for record in tick.records]
        entries = [entry_of(record) for record in tick.records]
        words = b"".join(
            shape.packer.pack(*[TEXTS[value] if isinstance(value, str) else value for value in record.params.values()])
            for shape, record in zip(shapes, tick.records, strict=True)
        )
        key = tuple(zip(entries, shapes, strict=True))
        if key not in self._plans:
            columns = [shape.columns for shape in shapes]
            plan = plan_part(entries, columns, places(tick.records), guests(tick.records))
            self._plans[key] = len(self._plans), plan
        return *self._plans[key], np.frombuffer(words, dtype=np.uint64)


def stamps_of(stamps: Sequence[Stamp]) -> Stamps:
    boots = [int(stamp.boot_id or 0) for stamp in stamps]
    columns = ([s.time_ms for s in stamps], [s.boot_ns for s in stamps], boots, [s.call_ns for s in stamps])
    return Stamps(*(np.array(column, dtype=np.int64) for column in columns))


# What was rolled up.

Found = dict[tuple[int, Subject], dict[str, dict[str, Any]]]


def rolled(ticks: list[Tick], cuts: list[int], width_ms: int = FIVE_MINUTES_MS) -> list[Rollup]:
    """Roll up the slices of a history that end at *cuts*."""
    rows, known, found = Rows(), LastKnown(), []
    for start, end in zip([0, *cuts], [*cuts, len(ticks)], strict=True):
        for run in rows.runs(ticks[start:end]):
            taken = take(run, known.before(run))
            found.append(roll_up(run, taken, derive_all(run, taken.rates), width_ms))
            known.after(run)
    return found


def by_key(rollup: Rollup) -> Found:
    """Spell out a roll-up, without what is not there."""
    found: Found = {}
    for bucket, start in enumerate(rollup.starts_ms.tolist()):
        ticks = rollup.ticks[bucket].tolist()
        records: list[dict[str, Any]] = [{"ticks": count} for count in ticks]
        for record, name, statistics in [*_levels(rollup, bucket), *_counters(rollup, bucket)]:
            records[record][key_of(*name)] = statistics
        named = zip(rollup.scope.entries, records, ticks, strict=True)
        found |= {(start, subject_of(entry)): its for entry, its, count in named if count}
    return found


Spelt = tuple[int, tuple[str, str | None], dict[str, Any]]


def _levels(rollup: Rollup, bucket: int) -> Iterator[Spelt]:
    for its, columns in zip((*rollup.levels, rollup.texts), rollup.scope.series, strict=False):
        rows = {name[:-1]: getattr(its, name)[bucket].tolist() for name in its.__struct_fields__}
        for i, (record, name) in enumerate(zip(columns.records.tolist(), columns.names, strict=True)):
            if rows["count"][i]:
                yield record, name, {statistic: row[i] for statistic, row in rows.items()}


def _counters(rollup: Rollup, bucket: int) -> Iterator[Spelt]:
    own = rollup.counters
    columns = [rollup.scope.series[sort] for sort in (Sort.COUNT, Sort.REAL_COUNT)]
    increments = [*own.increments[bucket].tolist(), *own.reals[bucket].tolist()]
    named = zip(chain(*(of.records.tolist() for of in columns)), chain(*(of.names for of in columns)), strict=True)
    rows = zip(named, increments, own.max_rates[bucket].tolist(), own.covered_ns[bucket].tolist(), strict=True)
    for (record, name), increment, rate, covered in rows:
        if covered:
            yield record, name, {"increment": increment, "max_rate": rate, "covered": covered}


# Histories.


def history(seed: int, length: int = 24, step_ms: int = 40_000) -> list[Tick]:
    """Make a stream's ticks in which guests come, go, hang, begin anew and change, and clocks are set."""
    chance = random.Random(seed)
    world = _World(chance)
    ticks = []
    time_ms, boot_ns, boot = START_MS, 5_000_000_000, 1
    for _ in range(length):
        step = step_ms + chance.randrange(-step_ms // 4, step_ms // 4)
        time_ms += step
        boot_ns += step * 1_000_000 + chance.randrange(1_000_000)
        happens = chance.random()
        if happens < 0.03:
            boot, boot_ns = boot + 1, 1_000_000
        elif happens < 0.06:
            boot_ns -= 2 * step_ms * 1_000_000  # which no clock does
        elif happens < 0.10:
            time_ms -= chance.randrange(10 * step_ms)
        elif happens < 0.14:
            time_ms += 20 * step_ms
        boot_id = str(boot) if chance.random() < 0.9 else ""
        stamp = Stamp(time_ms, boot_ns, boot_id, chance.randrange(50_000_000))
        ticks.append(Tick(stamp, world.tick(time_ms)))
    return ticks


class _World:
    """A host with some guests, about whom the dice decide."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.trouble = chance.choice((0.0, 0.1, 1.0))
        self.guests = {f"uuid-{i}": _Guest(chance, self.trouble) for i in range(3)}
        self.host = dict.fromkeys((f"host.cpu.{mode}" for mode in ("user", "kernel", "idle", "iowait", "intr")), 0)

    def tick(self, time_ms: int) -> tuple[Record, ...]:
        chance = self.chance
        for mode in self.host:
            self.host[mode] += chance.choice((0, chance.randrange(10**10)))
        memory = {"host.memory.total": 1 << 26, "host.memory.free": chance.randrange(1 << 20)}
        if self.trouble < 1 or chance.random() < 0.5:
            memory["host.memory.available"] = chance.randrange(1 << 26)
        common: dict[str, Any] = {"host": "h", "collect": "c", "time_ms": time_ms}
        records = [Record(kind=Kind.HOST, figures=Made({**self.host, **memory}), **common)]
        for uuid, guest in self.guests.items():
            if chance.random() >= 0.05 * self.trouble:
                records.append(Record(kind=Kind.GUEST, **guest.tick(uuid, time_ms), **common))
        return tuple(records)


_COUNTERS = (
    "cpu.time", "cpu.user", "vcpu.delay[0]", "vcpu.delay[1]", "block.rd.times[vda]", "block.rd.reqs[vda]",
    "block.rd.bytes[vda]", "block.rd.reqs[vda/1]", "block.wr.times[vdb]", "block.wr.reqs[vdb]", "net.rx.bytes[m]",
    "net.tx.bytes[m]", "odd.sum", "cpu.energy.monitor.pkg.core_energy[0/0]",
)  # fmt: skip


class _Guest:
    def __init__(self, chance: random.Random, trouble: float) -> None:
        self.chance = chance
        self.trouble = trouble
        self.id = 1
        self.counters: dict[str, Any] = {key: self._begin(key) for key in _COUNTERS}

    def _begin(self, key: str) -> int | float:
        if "energy" in key:
            return self.chance.random()
        least = -5_000 if key == "odd.sum" else 0
        most = (1 << 63) - (1 << 40) if key == "odd.sum" else (1 << 64) - (1 << 50)
        return self.chance.choice((least, self.chance.randrange(10_000), most))

    def tick(self, uuid: str, time_ms: int) -> dict[str, Any]:
        chance = self.chance
        for key in self.counters:
            self.counters[key] += chance.choice((0, chance.randrange(1 << 34))) / (1.7 if "energy" in key else 1) or 0
            if "energy" not in key:
                self.counters[key] = int(self.counters[key])
            if chance.random() < 0.03 * self.trouble:
                self.counters[key] = self._begin(key)
        if chance.random() < 0.04 * self.trouble:
            self.id += 1
            self.counters = {key: self._begin(key) for key in self.counters}
        params = dict(self.counters) | self._gauges(time_ms)
        about: dict[str, Any] = {"domain": Domain(uuid, uuid, self.id)}
        if chance.random() < 0.1 * self.trouble:
            about["anew"] = (chance.choice(("vda", "m", "1")),)
        if chance.random() < 0.15 * self.trouble:
            group = chance.choice(("block", "vcpu", "balloon", "cpu-total"))
            about["partial"] = Partial((group,))
            params = {key: value for key, value in params.items() if look_up(split_key(key)[0]).group != group}
        if chance.random() < 0.1 * self.trouble:
            gone = chance.choice(("vda", "vdb", "m"))
            params = {key: value for key, value in params.items() if whole_device(split_key(key)[1]) != gone}
        about["figures"] = Made(params)
        return about

    def _gauges(self, time_ms: int) -> dict[str, Value]:
        chance = self.chance
        gauges: dict[str, Value] = {
            "vcpu.current": chance.choice((0, 2, 2, 2)),
            "vcpu.state[0]": chance.choice((1, 2)),
            "vcpu.halted[0]": chance.random() < 0.5,
            "state.reason": -1,
            "balloon.available": 1 << 22,
            "balloon.unused": chance.randrange(1 << 22),
            "balloon.last-update": chance.choice((0, time_ms // 1000, time_ms // 1000)),
            "block.capacity[vda]": (1 << 64) - 1,
            "block.timed_group.rd_queue_depth_avg[vda]": chance.choice((0.25, 3.5, float("nan"))),
            "dirtyrate.calc_mode": chance.choice(tuple(TEXTS)),
        }
        if self.trouble < 1 or chance.random() < 0.7:
            gauges["balloon.usable"] = chance.randrange(1 << 22)
        return gauges
