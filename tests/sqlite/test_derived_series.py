"""Derived series are what the stream derives tick by tick, whatever guests go through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from domstat.derive import Derivation, derive, derive_host
from domstat.history import EVER_MS, Select
from domstat.model import Kind, split_key
from domstat_sinks.sqlite.answers.choosing import Key, Who
from domstat_sinks.sqlite.answers.derived_series import RECIPES, derived_of, sources_of
from domstat_sinks.sqlite.answers.export import Exporter
from domstat_sinks.sqlite.answers.query import Query

from .conftest import History
from .sealings import make_small, write_each
from .tierdata import batches, some_history


@pytest.mark.parametrize("seed", range(6))
def test_every_derived_value_is_the_streams_own(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    make_small(monkeypatch, slice_ticks=7)
    history = make_history()
    write_each(history, batches(some_history(seed, 60, 40_000)))
    wanted: dict[tuple[str | None, str, str | None], list[float]] = defaultdict(list)
    for batch in Exporter(history.reader()).batches(0, EVER_MS, pytest.fail):
        for record in batch.records:
            if record.kind == Kind.HOST:
                made = derive_host(record.params, record.rates)
            elif record.kind == Kind.GUEST:
                made = derive(Derivation(tuple(record.params)), record.params, record.rates, record.time_ms)
            else:
                made = {}
            for key, value in made.items():
                if split_key(key)[0] in RECIPES:
                    wanted[record.domain.uuid if record.domain else None, *split_key(key)].append(value)
    found = Query(history.reader()).read(Select(fields=tuple(RECIPES)))
    told = {(one.subject.uuid, one.field, one.device): one.values.tolist() for one in found}
    assert told == wanted
    assert told


def test_a_series_is_possible_where_all_that_it_takes_is_stored() -> None:
    assert RECIPES["cpu.utilization"].is_possible({"cpu.time", "vcpu.current", "x"})
    assert not RECIPES["cpu.utilization"].is_possible({"cpu.time"})
    assert RECIPES["memory.used"].is_possible({"balloon.available", "balloon.last-update"})


def test_a_derived_series_is_made_of_its_own_devices() -> None:
    who = Who(1, "guest", "u", None)
    assert sources_of(Key(who, "block.rd.latency", "vda")) == [
        Key(who, "block.rd.times", "vda"),
        Key(who, "block.rd.reqs", "vda"),
    ]
    assert derived_of("cpu.time") == ["cpu.cores", "cpu.utilization"]
    assert derived_of("balloon.rss") == []
