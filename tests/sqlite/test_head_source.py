"""Columns out of head rows: the samples and the rates that the stream had, whatever happened in between."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domstat.catalog import FieldKind, look_up
from domstat.history import OnDamaged, Select, Span
from domstat.model import Batch, Stamp, Value, key_of
from domstat_sinks.sqlite.answers import steps
from domstat_sinks.sqlite.answers.choosing import Choice, Key
from domstat_sinks.sqlite.answers.head_source import HeadSource
from domstat_sinks.sqlite.answers.source import Column, Extent, Wanted
from domstat_sinks.sqlite.answers.ticks import Boots
from domstat_sinks.sqlite.heads.row import DamagedError
from records import guest_record, host_record

from .conftest import History
from .test_stored import Life, rates_said

EVER = Span()
EVERYTHING = Choice(Select(), None)
U64_MAX = (1 << 64) - 1


def columns_of(history: History, span: Span = EVER, on_damaged: OnDamaged | None = None) -> dict[str, Column]:
    """Return all columns, by uuid (where it has one) and key."""
    source = HeadSource(history.reader(), Boots())
    keys = list(dict(source.found(1, span, EVERYTHING, None)))
    found = source.columns(keys, Wanted(span=span, increases=True), on_damaged)
    return {f"{column.key.who.uuid or ''}:{key_of(column.key.field, column.key.device)}": column for column in found}


def rates_read(history: History, span: Span = EVER) -> dict[tuple[object, ...], float]:
    found: dict[tuple[object, ...], float] = {}
    for column in columns_of(history, span).values():
        who, field = column.key.who, column.key.field
        if look_up(field).kind is FieldKind.COUNTER:
            rates = steps.increases_of(column).rates(field)
            for time_ms, rate in zip(rates.time_ms.tolist(), rates.values.tolist(), strict=True):
                found[time_ms, who.kind, who.uuid, key_of(field, column.key.device)] = rate
    return found


def tick(number: int, *guests: Mapping[str, Value], ids: tuple[int, ...] = (), minutes: int = 0) -> Batch:
    """Make a tick of some guests, by what their parameters are, ten seconds after the tick before."""
    time_ms = 1_000_000 + number * 10_000 + minutes * 60_000
    records = [
        guest_record(f"g{i}", uuid=f"u{i}", params=params, time_ms=time_ms, first=True, id=ids[i] if ids else 1)
        for i, params in enumerate(guests)
    ]
    return Batch(host="h", collect="c", stamp=Stamp(time_ms, number * 10**10, "boot", 0), records=tuple(records))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_rates_equal_the_streams_to_the_last_bit(make_history: Callable[[], History], seed: int, chunks: int) -> None:
    history = make_history()
    life = Life(seed, chunks)
    batches = [batch for _ in range(24 // chunks) for batch in life.tick()]
    history.write(*batches)
    said = rates_said(batches)
    assert rates_read(history) == said
    since, until = sorted(random.Random(seed).sample(range(900_000, life.time_ms), 2))
    in_span = {key: rate for key, rate in said.items() if since <= int(str(key[0])) < until}
    assert rates_read(history, Span(since, until)) == in_span
    history.close()


def test_nobody_looks_record_by_record_at_a_guest_to_whom_nothing_happens(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domstat_sinks.sqlite.answers.head_source.Store", lambda connection: None)
    for i in range(4):
        more = [{"cpu.time": 1}] * (i % 2)  # somebody else who comes and goes: other layouts
        history.write(tick(i, {"cpu.time": i * i * 10**9}, *more))
    rates = steps.increases_of(columns_of(history)["u0:cpu.time"]).rates("cpu.time")
    assert rates.values.tolist() == [0.1, 0.3, 0.5]


def test_a_new_incarnation_has_no_rate_although_its_counter_is_higher(history: History) -> None:
    for i, id_ in enumerate((1, 1, 2, 2)):
        history.write(tick(i, {"cpu.time": i * 10**9}, ids=(id_,)))
    column = columns_of(history)["u0:cpu.time"]
    assert column.anew.tolist() == [0, 2]


def test_a_fall_of_one_counter_begins_its_device_anew_also_for_who_asks_for_another(history: History) -> None:
    for i, reads in enumerate((5, 6, 0, 1)):
        history.write(tick(i, {"cpu.time": i, "block.rd.bytes[vda]": reads, "block.wr.bytes[vda]": i}))
    source = HeadSource(history.reader(), Boots())
    (seen,) = source.seen(1, EVER, None)
    wanted = [Key(seen.who, "block.wr.bytes", "vda")]
    (column,) = source.columns(wanted, Wanted(span=EVER, increases=True), None)
    assert column.anew.tolist() == [0, 2]


def test_the_sample_before_the_span_is_there_for_the_first_rate_and_not_inside(history: History) -> None:
    for i in range(5):
        history.write(tick(i, {"cpu.time": i * 10**10, "vcpu.current": i}))
    column = columns_of(history, Span(1_020_000, 1_040_000))["u0:cpu.time"]
    assert column.values.tolist() == [10**10, 2 * 10**10, 3 * 10**10]
    assert column.ticks.inside.tolist() == [False, True, True]
    assert column.anew.tolist() == [0]


def test_values_of_every_type_are_exact(history: History) -> None:
    stranger: dict[str, Value] = {"big.sum": U64_MAX, "real": 0.1, "yes": True, "text": "é", "low": -5}
    history.write(tick(0, {"cpu.time": U64_MAX, **stranger}))
    found = {key: column.values for key, column in columns_of(history).items()}
    assert {key: (values.dtype.kind, values.tolist()) for key, values in found.items()} == {
        "u0:cpu.time": ("u", [U64_MAX]),
        "u0:big.sum": ("u", [U64_MAX]),
        "u0:real": ("f", [0.1]),
        "u0:yes": ("b", [True]),
        "u0:text": ("O", ["é"]),
        "u0:low": ("i", [-5]),
    }


@pytest.mark.parametrize(
    ("values", "kind"), [([3, U64_MAX], "u"), ([3, 4], "i"), ([-3, U64_MAX], "O"), ([2**60 + 1, 0.5], "O")]
)
def test_a_field_whose_type_changes_stays_exact(history: History, values: list[Value], kind: str) -> None:
    for i, value in enumerate(values):
        history.write(tick(i, {"stranger": value}))
    column = columns_of(history)["u0:stranger"]
    assert (column.values.dtype.kind, column.values.tolist()) == (kind, values)


def test_ticks_after_a_clock_was_set_back_follow_in_their_order(history: History) -> None:
    for i, minutes in enumerate((0, 0, -10, -10)):
        history.write(tick(i, {"cpu.time": i * 10**9}, minutes=minutes))
    column = columns_of(history)["u0:cpu.time"]
    assert column.values.tolist() == [0, 10**9, 2 * 10**9, 3 * 10**9]
    assert steps.increases_of(column).rates("cpu.time").values.tolist() == [0.1, 0.1, 0.1]
    later = columns_of(history, Span(1_000_000, 1_020_000))["u0:cpu.time"]
    assert later.values[later.ticks.inside].tolist() == [0, 10**9]


def damage(history: History, number: int) -> None:
    vandal = sqlite3.connect(history.path)
    vandal.execute("UPDATE head SET blob = CAST(x'00' || substr(blob, 2) AS BLOB) WHERE id = ?", (number,))
    vandal.commit()
    vandal.close()


def test_a_damaged_row_is_named_and_the_others_are_read(history: History) -> None:
    for i in range(4):
        history.write(tick(i, {"cpu.time": i * 10**9}))
    damage(history, 3)
    told: list[str] = []
    column = columns_of(history, on_damaged=told.append)["u0:cpu.time"]
    assert column.values.tolist() == [0, 10**9, 3 * 10**9]
    assert steps.increases_of(column).rates("cpu.time").values.tolist() == [0.1, 0.1]
    assert told == ["head row 3 is damaged: its checksum is wrong"]


def test_who_does_not_pass_damage_over_has_an_error(history: History) -> None:
    history.write(tick(0, {"cpu.time": 1}))
    damage(history, 1)
    with pytest.raises(DamagedError, match="head row 1"):
        columns_of(history)


def test_without_the_row_before_the_span_there_is_no_first_rate(history: History) -> None:
    for i in range(4):
        history.write(tick(i, {"cpu.time": i * 10**9}))
    damage(history, 2)
    told: list[str] = []
    column = columns_of(history, Span(1_020_000), on_damaged=told.append)["u0:cpu.time"]
    assert column.anew.tolist() == [0]
    assert len(told) == 1


def test_guests_of_all_parts_of_a_row_are_found(history: History) -> None:
    for i in range(2):
        history.write(tick(i, *({"cpu.time": 1000 * number + i, "vcpu.current": 2} for number in range(150))))
    columns = columns_of(history)
    assert len(columns) == 300
    for number in (0, 63, 64, 127, 128, 149):
        assert columns[f"u{number}:cpu.time"].values.tolist() == [1000 * number, 1000 * number + 1]


def test_a_stream_is_seen_by_who_was_there_and_when(history: History) -> None:
    history.write(tick(0, {"cpu.time": 1}), tick(1, {"cpu.time": 1}, {"vcpu.current": 1}), tick(2, {"cpu.time": 1}))
    source = HeadSource(history.reader(), Boots())
    seen = [(one.who.uuid, one.name, one.first_ms, one.last_ms, one.ticks) for one in source.seen(1, EVER, None)]
    assert sorted(seen) == [
        ("u0", "g0", 1_000_000, 1_020_000, 2),
        ("u0", "g0", 1_010_000, 1_010_000, 1),
        ("u1", "g1", 1_010_000, 1_010_000, 1),
    ]
    assert source.extent(1, Span(1_005_000), None) == Extent(1_010_000, 1_020_000, 2)
    assert source.extent(1, Span(5_000_000), None) is None
    assert list(source.seen(1, Span(5_000_000), None)) == []


def test_a_host_has_columns_too(history: History) -> None:
    history.write(Batch(host="h", collect="c", stamp=Stamp(5, 5, "boot", 0), records=(host_record(time_ms=5),)))
    columns = columns_of(history)
    assert columns[":host.version.libvirt"].values.tolist() == ["9.0.0"]
    assert np.array_equal(columns[":host.cpus"].values, np.array([16], dtype=np.uint64))


def test_only_what_is_chosen_is_found(history: History) -> None:
    history.write(tick(0, {"cpu.time": 1, "block.rd.bytes[vda]": 1}, {"cpu.time": 1}))
    source = HeadSource(history.reader(), Boots())
    found = dict(source.found(1, EVER, Choice(Select(fields=("block.*",)), None), None))
    assert [(key.who.uuid, key.field, key.device) for key in found] == [("u0", "block.rd.bytes", "vda")]
    assert {key.who.uuid for key in dict(source.found(1, EVER, Choice(Select(), {"u1"}), None))} == {"u1"}


def test_a_row_that_was_written_anew_is_read_anew(history: History) -> None:
    history.write(tick(0, {"cpu.time": 1}))
    source = HeadSource(history.reader(), Boots())
    (key,) = dict(source.found(1, EVER, EVERYTHING, None))
    wanted = Wanted(span=EVER)
    assert [column.values.tolist() for column in source.columns([key], wanted, None)] == [[1]]
    history.write(tick(0, {"cpu.time": 2}))
    assert [column.values.tolist() for column in source.columns([key], wanted, None)] == [[2]]
