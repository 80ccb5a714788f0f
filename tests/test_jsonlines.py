"""Records as JSON lines, there and back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat.jsonlines import SampleReader, decode, encode, read_time, write_time
from domstat.model import Domain, Event, Figures, Gap, Kind, Partial, Pool, Record
from records import (
    SLEEPER_UUID,
    UUID,
    event_record,
    gap_record,
    guest_record,
    host_record,
    one_of_each,
    other_record,
    pool_record,
    sleeper_record,
)

# The format's own example, as it is documented.
EXAMPLE = (
    '{"v":1,"kind":"guest","time":"2026-11-22T22:15:04.123Z","host":"kvm1","collect":"default",'
    '"domain":{"uuid":"6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a11","name":"web-1","id":3},"labels":{},"interval_s":10.002,'
    '"partial":null,"params":{"cpu.time":123,"block.wr.bytes[vda]":4096},'
    '"rates":{"cpu.time":0.25,"block.wr.bytes[vda]":1048576.0},"derived":{"cpu.utilization":0.125}}'
)
EXAMPLE_RECORD = Record(
    kind=Kind.GUEST,
    host="kvm1",
    collect="default",
    time_ms=1_795_385_704_123,
    domain=Domain(UUID, "web-1", 3),
    labels={},
    interval_s=10.002,
    figures=Figures(
        {"cpu.time": 123, "block.wr.bytes[vda]": 4096},
        {"cpu.time": 0.25, "block.wr.bytes[vda]": 1048576.0},
        {"cpu.utilization": 0.125},
    ),
)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), texts
)
floats = st.floats(allow_nan=False, allow_infinity=False)
times = st.integers(-(10**10), 10**14)
labels = st.dictionaries(texts, texts, max_size=3)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(Kind))
    return Record(
        kind=kind,
        host=draw(texts),
        collect=draw(texts),
        time_ms=draw(times),
        domain=draw(st.none() | st.builds(Domain, texts, texts, st.none() | st.integers(0, 2**31 - 1))),
        labels=draw(st.none() | labels),
        devices=draw(st.none() | st.dictionaries(texts, labels, max_size=3)),
        interval_s=draw(st.none() | floats),
        partial=draw(st.none() | st.builds(Partial, st.lists(texts, max_size=3).map(tuple), st.none() | floats)),
        anew=draw(st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple)),
        figures=Figures(
            draw(st.dictionaries(texts, values, max_size=5)),
            draw(st.dictionaries(texts, floats, max_size=5)),
            draw(st.dictionaries(texts, floats, max_size=5)),
        ),
        event=draw(st.none() | st.builds(Event, texts, st.none() | texts, st.none() | texts)),
        gap=draw(st.none() | st.builds(Gap, times, times, texts)),
        pool=draw(st.none() | st.builds(Pool, texts)),
    )


def test_the_documented_example_is_written_to_the_letter() -> None:
    assert encode([EXAMPLE_RECORD]).decode() == EXAMPLE + "\n"


def test_the_documented_example_is_read_as_its_record() -> None:
    assert decode(EXAMPLE) == EXAMPLE_RECORD
    assert list(decode(EXAMPLE).params) == ["cpu.time", "block.wr.bytes[vda]"]


@given(any_record())
def test_every_record_comes_back_as_it_was(record: Record) -> None:
    line = encode([record])
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    again = decode(line)
    assert again == record
    assert {key: type(value) for key, value in again.params.items()} == {
        key: type(value) for key, value in record.params.items()
    }
    json.loads(line)


@pytest.mark.parametrize("value", [0, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
def test_integers_stay_exact_to_the_ends_of_64_bits(value: int) -> None:
    record = guest_record(params={"cpu.time": value}, first=True)
    assert json.loads(encode([record]))["params"]["cpu.time"] == value
    assert decode(encode([record])).params == {"cpu.time": value}


def test_what_is_no_number_is_never_written_as_one() -> None:
    record = other_record(Kind.HOST, params={}, rates={"x": math.nan})
    assert json.loads(encode([record]))["rates"] == {"x": None}


def test_several_records_are_several_lines_in_their_order() -> None:
    lines = encode((guest_record("a"), guest_record("b"), gap_record())).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["guest", "guest", "gap"]
    assert encode([]) == b""


def test_a_key_that_does_not_apply_is_absent() -> None:
    assert set(json.loads(encode([guest_record(params={"cpu.time": 1}, first=True)]))) == {
        "v", "kind", "time", "host", "collect", "domain", "partial", "params",
    }  # fmt: skip
    assert set(json.loads(encode([gap_record()]))) == {"v", "kind", "time", "host", "collect", "gap"}
    assert set(json.loads(encode([host_record(first=True)]))) == {
        "v", "kind", "time", "host", "collect", "params", "derived",
    }  # fmt: skip
    assert set(json.loads(encode([event_record()]))) == {"v", "kind", "time", "host", "collect", "domain", "event"}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_record_comes_back_as_it_was(kind: Kind) -> None:
    record = one_of_each()[kind]
    line = json.loads(encode([record]))
    assert line["kind"] == kind
    assert ("partial" in line) == (kind is Kind.GUEST)
    assert decode(encode([record])) == record


def test_a_guest_that_is_off_has_no_id() -> None:
    line = json.loads(encode([sleeper_record()]))
    assert line["domain"] == {"uuid": SLEEPER_UUID, "name": "old-1"}
    assert line["params"]["volume.capacity[vda]"] == 42_949_672_960
    assert decode(encode([sleeper_record()])) == sleeper_record()


def test_an_event_a_gap_and_a_pool_carry_what_they_are_about() -> None:
    event, gap, pool = map(json.loads, encode([event_record(), gap_record(), pool_record()]).splitlines())
    assert event["event"] == {"type": "started", "reason": "booted"}
    assert gap["gap"] == {
        "from": "2026-11-22T22:14:34.123Z", "to": "2026-11-22T22:15:04.123Z", "reason": "libvirtd did not answer",
    }  # fmt: skip
    assert pool["pool"] == {"name": "images"}


def test_a_partial_record_says_what_is_missing_and_how_old_the_rest_is() -> None:
    line = json.loads(encode([guest_record(partial=Partial(("balloon", "block"), 12.5))]))
    assert line["partial"] == {"missing": ["balloon", "block"], "age_s": 12.5}
    assert json.loads(encode([guest_record(partial=Partial(("block",)))]))["partial"] == {"missing": ["block"]}


@given(st.integers(-(10**10), 10**14))
def test_a_time_comes_back_to_the_millisecond(time_ms: int) -> None:
    assert read_time(write_time(time_ms)) == time_ms


def test_any_rfc_3339_time_is_read() -> None:
    assert read_time("2026-11-22T23:15:04.123+01:00") == 1_795_385_704_123
    assert read_time("2026-11-22T22:15:04Z") == 1_795_385_704_000


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("", "not a domstat record"),
        ("{", "not a domstat record"),
        ("[]", "not a domstat record"),
        ('{"v":1}', "not a domstat record"),
        (EXAMPLE.replace('"v":1', '"v":2'), "version 2"),
        (EXAMPLE.replace('"guest"', '"ghost"'), "ghost"),
        (EXAMPLE.replace("2026-11-22T22:15:04.123Z", "yesterday"), "yesterday"),
        (EXAMPLE.replace("04.123Z", "04.123"), "zone"),
        (EXAMPLE.replace('"cpu.time":123', '"cpu.time":[123]'), "not a domstat record"),
        (EXAMPLE.replace('"partial":null', '"gap":{"from":"x"}'), "x"),
        (EXAMPLE.replace('"partial":null', '"gap":{"reason":"x"}'), "from"),
        (b'{"v":1,"kind":"\xff"}', "record"),
    ],
)
def test_what_is_no_record_is_refused_with_a_reason(line: str | bytes, trouble: str) -> None:
    with pytest.raises(ValueError, match=trouble):
        decode(line)
    with pytest.raises(ValueError, match=trouble):
        SampleReader().decode(line)


# --- without rates


@given(st.lists(any_record(), max_size=3))
def test_who_takes_rates_anew_reads_all_else(records: list[Record]) -> None:
    reader = SampleReader()
    for record in records:
        read = reader.decode(encode([record]))
        assert read == replace(record, interval_s=None, figures=Figures(dict(record.params)))
        assert read.figures.keys == tuple(record.params)
        assert list(map(repr, read.figures.values)) == list(map(repr, record.params.values()))


def test_records_alike_share_their_keys() -> None:
    reader = SampleReader()
    one, other = (reader.decode(encode([guest_record(time_ms=time_ms)])) for time_ms in (1, 2))
    assert one.figures.keys is other.figures.keys
    assert (one.time_ms, other.time_ms) == (1, 2)


def test_keys_without_end_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domstat.jsonlines.KEYS_MAX", 3)
    reader = SampleReader()
    for number in range(9):
        reader.decode(encode([guest_record(params={f"cpu.{number}": 1}, first=True)]))
    assert len(reader._keys) <= 3
