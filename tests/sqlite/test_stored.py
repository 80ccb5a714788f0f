"""Rates read back are the stream's rates, whatever happened in between."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domstat.model import Batch, Domain, Kind, Moment, Partial, Record, Stamp, key_of, moment_within
from domstat.rates import Baseline, Breaks, Shape, advance

from .conftest import History


class Life:
    """A few guests with a random life, and the rates that the stream gives them."""

    KEYS = (
        "cpu.time",
        "block.rd.bytes[vda]",
        "block.wr.bytes[vda]",
        "net.rx.bytes[m]",
        "balloon.swap_in",
        "state.state",
    )

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.baselines: dict[str, Baseline] = {}
        self.values = {uuid: dict.fromkeys(self.KEYS, 1000) for uuid in "abc"}
        self.ids = dict.fromkeys("abc", 1)
        self.time_ms = 1_000_000
        self.boot_ns = 5_000_000_000

    def tick(self) -> Batch:
        step_ms = self.random.choice([10, 1000, 10_000])
        self.time_ms += step_ms + self.random.choice([0, 0, 0, 3])
        self.boot_ns += step_ms * 1_000_000
        stamp = Stamp(self.time_ms, self.boot_ns, "boot", 40_000_000)
        there = [uuid for uuid in "abc" if self.random.random() < 0.85]
        records = tuple(self._record(uuid, stamp, i, len(there)) for i, uuid in enumerate(there))
        return Batch(host="h", collect="c", stamp=stamp, records=records)

    def _record(self, uuid: str, stamp: Stamp, position: int, count: int) -> Record:
        values = self.values[uuid]
        fate = self.random.random()
        if fate < 0.1:
            self.ids[uuid] += 1
            values.update(dict.fromkeys(self.KEYS, self.random.randrange(2000)))
        elif fate < 0.2:
            values[self.random.choice(self.KEYS)] = 0
        for key in self.KEYS:
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
            params=dict(params),
            rates=rates,
            derived={},
        )


def rates_said(batches: list[Batch]) -> dict[tuple[int, str, str], float]:
    return {
        (record.time_ms, record.domain.uuid, key): rate
        for batch in batches
        for record in batch.records
        if record.domain
        for key, rate in record.rates.items()
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 2**32))
def test_rates_equal_the_streams_to_the_last_bit(make_history: Callable[[], History], seed: int) -> None:
    history = make_history()
    life = Life(seed)
    batches = [life.tick() for _ in range(25)]
    history.write(*batches)
    said = rates_said(batches)
    rows = history.ask("SELECT time_ms, uuid, field, device, value FROM rates")
    read = {(t, u, key_of(str(f), None if d is None else str(d))): v for t, u, f, d, v in rows}
    assert read == said
    some_time = random.Random(seed).choice(batches).stamp.time_ms
    alone = history.ask("SELECT uuid, field, device, value FROM rates WHERE time_ms = ?", some_time)
    read_alone = {(some_time, u, key_of(str(f), None if d is None else str(d))): v for u, f, d, v in alone}
    assert read_alone == {key: rate for key, rate in said.items() if key[0] == some_time}
    history.close()
