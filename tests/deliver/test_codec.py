"""Batches as the journal keeps them: what comes out is what went in, rates to the last bit, and damage is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from answers import Guest, Telling, answer, stamp
from domstat.collect.sample import Sampled
from domstat.deliver import codec
from domstat.deliver.codec import DamagedRowError, Stream, Unpacker, guests_of, pack
from domstat.memo import Lately
from domstat.model import Batch, Figures, Kind, Partial, Stamp
from records import batch, event_record, gap_record, guest_params, guest_record, one_of_each, sleeper_record

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.answers.json"))


def recorded(path: Path) -> list[Batch]:
    """Return the batches that a stream makes of recorded answers."""
    told = Telling({})
    batches: list[Batch] = []
    for one in json.loads(path.read_text(encoding="utf-8")):
        told.hypervisor.xml |= one.get("xml", {})
        guests = [Guest(params=g["params"], uuid=g["uuid"], name=g["name"], id=g["id"]) for g in one["guests"]]
        about = {name: one[name] for name in ("host", "spared") if name in one}
        batches += told.tick(answer(Stamp(**one["stamp"]), *guests, **about))
    return batches


def ticks(count: int, **changes: int) -> list[Batch]:
    """Return the batches of a guest that is as it was, but for its counters."""
    told = Telling({})
    batches: list[Batch] = []
    for i in range(count):
        params = {name: value + i * 1000 if name.endswith("time") else value for name, value in _PARAMS.items()}
        batches += told.tick(answer(stamp(10 * i, 12), Guest(params={**params, **changes})))
    return batches


_PARAMS = {"state.state": 1, "cpu.time": 10**12, "cpu.user": 10**9, "vcpu.current": 2, "vcpu.0.time": 10**11}


def through(batches: Iterable[Batch]) -> list[Batch]:
    unpacker = Unpacker()
    return [unpacker.unpack(number, pack(one)) for number, one in enumerate(batches, 1)]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name.partition(".")[0])
def test_what_a_stream_says_of_recorded_guests_comes_out_as_it_went_in(path: Path) -> None:
    batches = recorded(path)
    assert sum(len(one.records) for one in batches) > 3
    assert through(batches) == batches


def test_of_a_guest_that_is_as_it_was_no_rate_is_stored_and_the_same_comes_out() -> None:
    first, second, third = ticks(3)
    assert third.records[0].figures.follows
    assert len(pack(third)) < len(pack(_worked_out(third)))
    found = through([first, second, third])[2].records[0].figures
    assert isinstance(found, Sampled)
    assert (found.rates, found.derived) == (third.records[0].rates, third.records[0].derived)
    assert found.rates["cpu.time"] > 0


def _worked_out(one: Batch) -> Batch:
    """Have every record hold its rates, rather than the samples they follow from."""
    figures = (Figures(record.params, record.rates, record.derived) for record in one.records)
    records = (replace(record, figures=each) for record, each in zip(one.records, figures, strict=True))
    return replace(one, records=tuple(records))


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_record_comes_out_as_it_went_in(kind: Kind) -> None:
    one = batch(one_of_each()[kind])
    assert through([one]) == [one]


def test_what_only_few_records_have_comes_out_too() -> None:
    one = batch(
        guest_record(
            labels={"title": "A"},
            devices={"vda": {"path": "/x"}},
            partial=Partial(("block",), 12.5),
            anew=("vda",),
            time_ms=7,
        ),
        sleeper_record(),
        event_record(device="vdb", host="other", collect="events"),
        gap_record(),
        guest_record(params={}, rates={}, derived={}),
    )
    assert through([one]) == [one]


values = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.booleans(), st.text(max_size=20), st.floats(allow_nan=False, width=64)
)
keys = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)


@given(params=st.dictionaries(keys, values, max_size=12), name=keys, id=st.none() | st.integers(0, 2**31))
def test_whatever_libvirt_may_give_comes_out_as_it_went_in(
    params: dict[str, int | bool | str | float],
    name: str,
    id: int | None,  # noqa: A002
) -> None:
    one = batch(guest_record(name, uuid=name, id=id, params=params, rates={}, derived={}))
    (found,) = through([one])
    assert found == one
    assert list(map(type, found.records[0].figures.values)) == list(map(type, params.values()))


def test_whoever_begins_in_the_middle_looks_back_for_the_samples_before() -> None:
    batches = ticks(4)
    rows = [pack(one) for one in batches]
    asked: list[tuple[Stream, int]] = []

    def look_back(stream: Stream, number: int) -> list[bytes]:
        asked.append((stream, number))
        return rows[number - 2 :: -1]

    assert Unpacker(look_back).unpack(4, rows[3]) == batches[3]
    assert asked == [(batches[0].stream, 4)]


@pytest.mark.parametrize("there", [0, 1])
def test_where_the_sample_before_is_lost_there_is_no_rate_rather_than_a_wrong_one(there: int) -> None:
    batches = ticks(4)
    rows = [pack(one) for one in batches]
    found = Unpacker(lambda _stream, _number: rows[:there]).unpack(4, rows[3])
    assert found.records[0].params == batches[3].records[0].params
    assert found.records[0].rates == {}


def test_a_damaged_row_before_is_passed_over() -> None:
    batches = ticks(4)
    rows = [pack(one) for one in batches]
    found = Unpacker(lambda _stream, _number: [rows[2][:-3], rows[1]]).unpack(4, rows[3])
    assert found.records[0].rates == {}


def test_guests_are_told_apart_by_stream() -> None:
    unpacker = Unpacker()
    first, second = ticks(2)
    unpacker.unpack(1, pack(first))
    elsewhere = Batch(host="other", collect=second.collect, stamp=second.stamp, records=second.records)
    assert unpacker.unpack(2, pack(elsewhere)).records[0].rates == {}


@pytest.mark.parametrize("step", [1, 7])
def test_every_damage_to_a_row_is_noticed(step: int) -> None:
    row = pack(batch(guest_record(params=dict(list(guest_params().items())[:5]))))
    for position in range(0, len(row), step):
        damaged = bytearray(row)
        damaged[position] ^= 0x20
        with pytest.raises(DamagedRowError):
            Unpacker().unpack(1, bytes(damaged))
        with pytest.raises(DamagedRowError):
            guests_of(row[:position])


def test_what_rates_are_taken_against_can_be_had_alone() -> None:
    one = batch(one_of_each()[Kind.HOST], guest_record(partial=Partial(("block",)), anew=("vda",)))
    (seen,) = guests_of(pack(one))
    assert (seen.domain.name, seen.partial, seen.anew) == ("web-1", Partial(("block",)), ("vda",))
    assert dict(zip(seen.keys, seen.values, strict=True)) == guest_params()


def test_guests_that_differ_in_their_devices_share_what_their_keys_are_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = []

    def put_together(template: codec._Template, devices: tuple[str, ...]) -> tuple[str, ...]:
        templates.append(template)
        return codec._put_together(template, devices)

    monkeypatch.setattr(codec, "_together", Lately(put_together, 100))
    macs = ("52:54:00:00:00:01", "52:54:00:00:00:02")
    batches = [batch(guest_record(params={"cpu.time": 1, f"net.rx.bytes[{mac}]": 2}, first=True)) for mac in macs]
    assert through(batches) == batches
    first, second = templates
    assert first is second, "not the names in each row, which are new strings every time"
