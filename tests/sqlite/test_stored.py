"""Rates read back are the stream's rates, whatever happened in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domstat.model import Batch, Domain, Figures, Kind, Moment, Partial, Pool, Record, Stamp, key_of, moment_within
from domstat.rates import Baseline, Breaks, Shape, advance
from domstat_sinks.sqlite.heads import rows
from domstat_sinks.sqlite.heads.stored import Store

from .conftest import History

GUEST_KEYS = (
    "cpu.time",
    "block.rd.bytes[vda]",
    "block.wr.bytes[vda]",
    "net.rx.bytes[m]",
    "balloon.swap_in",
    "state.state",
)
OTHERS_KEYS = {
    Kind.HOST: ("host.cpu.user", "host.cpu.idle", "host.cpus"),
    Kind.POOL: ("pool.capacity", "pool.errors.sum"),
    Kind.AGENT: ("agent.skipped", "agent.failed", "agent.guests"),
}


class Life:
    """A few guests with a random life, their host and the agent, and the rates that the stream gives them.

    A tick comes in as many chunks as *chunks* says, each with its own stamp and its own guests; but now and then a
    guest is in another chunk than before.
    """

    def __init__(self, seed: int, chunks: int = 1) -> None:
        self.random = random.Random(seed)
        self.chunks = chunks
        self.guests = [f"{chunk}{letter}" for chunk in range(chunks) for letter in "abc"]
        self.baselines: dict[object, Baseline] = {}
        self.values = {uuid: dict.fromkeys(GUEST_KEYS, 1000) for uuid in self.guests}
        self.others = {kind: dict.fromkeys(keys, 500) for kind, keys in OTHERS_KEYS.items()}
        self.ids = dict.fromkeys(self.guests, 1)
        self.time_ms = 1_000_000
        self.boot_ns = 5_000_000_000

    def tick(self) -> list[Batch]:
        there = [uuid for uuid in self.guests if self.random.random() < 0.85]
        lists: list[list[str]] = [[] for _ in range(self.chunks)]
        for uuid in there:
            stays = self.random.random() < 0.9
            lists[int(uuid[:-1]) if stays else self.random.randrange(self.chunks)].append(uuid)
        return [self._batch(uuids, number) for number, uuids in enumerate(lists)]

    def _batch(self, uuids: list[str], number: int) -> Batch:
        step_ms = self.random.choice([10, 1000, 10_000])
        self.time_ms += step_ms + self.random.choice([0, 0, 0, 3])
        self.boot_ns += step_ms * 1_000_000
        stamp = Stamp(self.time_ms, self.boot_ns, "boot", 40_000_000)
        count = len(uuids)
        records = [self._guest(uuid, stamp, i, count) for i, uuid in enumerate(uuids)]
        if number == 0:
            records.insert(0, self._other(Kind.HOST, stamp, 0, count))
        if number == self.chunks - 1:
            records.append(self._other(Kind.POOL, stamp, count, count, pool=Pool("images")))
            records.append(self._other(Kind.AGENT, stamp, count, count))
        return Batch(host="h", collect="c", stamp=stamp, records=tuple(records))

    def _other(self, kind: Kind, stamp: Stamp, guests_before: int, guests: int, **more: Any) -> Record:
        values = self.others[kind]
        if self.random.random() < 0.1:
            values.update(dict.fromkeys(values, 0))
        for key in values:
            values[key] += self.random.choice([0, 7, 12345])
        moment = moment_within(stamp, guests_before, guests or 1)
        rates, self.baselines[kind] = advance(self.baselines.get(kind), Shape(tuple(values)), values, moment, None)
        about: dict[str, Any] = {"host": "h", "collect": "c", "time_ms": stamp.time_ms}
        return Record(kind=kind, figures=Figures(dict(values), rates), **about, **more)

    def _guest(self, uuid: str, stamp: Stamp, position: int, count: int) -> Record:
        values = self.values[uuid]
        fate = self.random.random()
        if fate < 0.1:
            self.ids[uuid] += 1
            values.update(dict.fromkeys(GUEST_KEYS, self.random.randrange(2000)))
        elif fate < 0.2:
            values[self.random.choice(GUEST_KEYS)] = 0
        for key in GUEST_KEYS:
            values[key] += self.random.choice([0, 0, 7, 12345])
        missing = ("block",) if self.random.random() < 0.25 else ()
        anew = ("vda",) if self.random.random() < 0.1 else None
        params = {key: value for key, value in values.items() if not (missing and key.startswith("block."))}
        if self.random.random() < 0.05:
            params.pop("net.rx.bytes[m]")
        if self.random.random() < 0.05:
            params.clear()
        moment: Moment = moment_within(stamp, position, count)
        breaks = Breaks(frozenset(missing), frozenset(anew or ()))
        rates, self.baselines[uuid] = advance(
            self.baselines.get(uuid), Shape(tuple(params)), params, moment, self.ids[uuid], breaks
        )
        return Record(
            kind=Kind.GUEST,
            host="h",
            collect="c",
            time_ms=stamp.time_ms,
            domain=Domain(uuid, uuid.upper(), self.ids[uuid]),
            partial=Partial(missing, None) if missing else None,
            anew=anew,
            figures=Figures(dict(params), rates),
        )


def rates_said(batches: list[Batch]) -> dict[tuple[object, ...], float]:
    return {
        (record.time_ms, record.kind, record.domain.uuid if record.domain else None, key): rate
        for batch in batches
        for record in batch.records
        for key, rate in record.rates.items()
    }


def rates_read(history: History, condition: str = "", *parameters: object) -> dict[tuple[object, ...], float]:
    found = history.ask(f"SELECT time_ms, kind, uuid, field, device, value FROM rates {condition}", *parameters)
    return {
        (time, kind, uuid, key_of(str(field), None if device is None else str(device))): float(str(value))
        for time, kind, uuid, field, device, value in found
    }


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_rates_equal_the_streams_to_the_last_bit(make_history: Callable[[], History], seed: int, chunks: int) -> None:
    history = make_history()
    life = Life(seed, chunks)
    batches = [batch for _ in range(24 // chunks) for batch in life.tick()]
    history.write(*batches)
    said = rates_said(batches)
    assert rates_read(history) == said
    some_time = random.Random(seed).choice(batches).stamp.time_ms
    of_some_time = {key: rate for key, rate in said.items() if key[0] == some_time}
    assert rates_read(history, "WHERE time_ms = ?", some_time) == of_some_time
    history.close()


@pytest.mark.parametrize("bound", ["ROWS_SEARCHED_MAX", "RECORDS_SEARCHED_MAX", "ROWS_KEPT", "LAYOUTS_KEPT"])
def test_rates_are_the_same_however_little_may_be_remembered(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(rows, bound, 3)
    for seed in range(5):
        history = make_history()
        life = Life(seed, chunks=6)
        batches = [batch for _ in range(6) for batch in life.tick()]
        history.write(*batches)
        assert rates_read(history) == rates_said(batches)
        history.close()


def test_a_hosts_moment_is_the_calls_beginning_and_the_agents_its_end(history: History) -> None:
    history.write(*Life(1).tick())
    store = Store(history.reader())
    at = store._rows.row(1)
    assert [entry.kind for entry in at.layout.entries] == ["host", "guest", "guest", "guest", "pool", "agent"]
    offsets = [store._moment(at, position).boot_ns - at.stamp.boot_ns for position in range(6)]
    sixth_ns = at.stamp.call_ns // 6
    assert offsets == [sixth_ns, sixth_ns, 20_000_000, 5 * at.stamp.call_ns // 6, *[7 * at.stamp.call_ns // 6] * 2]


def test_without_guests_the_host_and_the_agent_are_of_the_middle_and_the_same(history: History) -> None:
    life = Life(1)
    life.guests = []
    history.write(*(batch for _ in range(5) for batch in life.tick()))
    store = Store(history.reader())
    assert [store._moment(store._rows.row(1), i).boot_ns - store._rows.row(1).stamp.boot_ns for i in range(3)] == [
        20_000_000
    ] * 3
    assert {key[1] for key in rates_read(history)} == {"host", "pool", "agent"}
