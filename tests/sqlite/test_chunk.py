"""Chunks: what goes in comes out, series by series; damage is seen; headers are what the values say."""

from __future__ import annotations

import math
import struct
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib

from domstat.catalog import ValueType
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.packed import chunk, codec
from domstat_sinks.sqlite.packed.chunk import Chunk, Series
from domstat_sinks.sqlite.packed.headers import Header

EXTREMES = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000, 0x7FF0_0000_0000_0000]
word = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 40), st.sampled_from(EXTREMES))


def array(values: list[int]) -> Words:
    return np.array(values, dtype=np.uint64)


@st.composite
def counter(draw: st.DrawFn) -> list[int]:
    """Something that moves in units, and now and then falls or jumps."""
    unit = draw(st.sampled_from([1, 4096, 1000, 10_000_000, 3 << 40, 1 << 62]))
    steps = draw(st.lists(st.integers(-3, 20), max_size=80))
    value = draw(word)
    values = [value]
    for step in steps:
        value = (value + step * unit) % 2**64 if step != -3 else draw(word)
        values.append(value)
    return values


def ramp(first: int, step: int, count: int) -> list[int]:
    return [(first + i * step) % 2**64 for i in range(count)]


values_of_a_series = st.one_of(
    st.lists(word, max_size=40),
    counter(),
    st.builds(lambda value, count: [value] * count, word, st.integers(0, 50)),
    st.builds(ramp, word, word, st.integers(1, 30)),
)


@st.composite
def some_series(draw: st.DrawFn) -> Series:
    values = draw(values_of_a_series)
    breaks = draw(st.sets(st.integers(1, max(1, len(values) - 1)), max_size=2)) if len(values) > 1 else set()
    reference = draw(st.none() | st.lists(word, min_size=len(values), max_size=len(values)).map(array))
    return Series(draw(st.sampled_from(list(ValueType))), array(values), reference, tuple(sorted(breaks)))


def read(opened: Chunk, series: list[Series]) -> list[list[int]]:
    def reference_of(one: Series) -> Words:
        assert one.reference is not None
        return one.reference

    return [opened.words(i, partial(reference_of, one)).tolist() for i, one in enumerate(series)]


@given(st.lists(some_series(), max_size=12), st.booleans())
def test_any_series_come_back_to_the_last_bit(series: list[Series], joint: bool) -> None:
    opened = Chunk(chunk.encode(series, joint=joint))
    assert len(opened) == len(series)
    assert read(opened, series) == [one.words.tolist() for one in series]
    assert [opened.type(i) for i in range(len(series))] == [one.type for one in series]
    assert [opened.breaks(i) for i in range(len(series))] == [one.breaks for one in series]


@given(st.lists(st.lists(word, min_size=7, max_size=7), min_size=1, max_size=9), st.booleans(), st.data())
def test_series_of_one_length_are_rows_of_a_matrix(rows: list[list[int]], joint: bool, data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(list(ValueType)), min_size=len(rows), max_size=len(rows)))
    series = [Series(type_, array(row)) for type_, row in zip(types, rows, strict=True)]
    opened = Chunk(chunk.encode(series, joint=joint))
    assert opened.even().tolist() == list(range(len(rows)))
    order = data.draw(st.permutations(range(len(rows))))
    some = data.draw(st.lists(st.sampled_from(order), min_size=1, max_size=len(rows), unique=True))
    for places in (sorted(order), order, some):
        assert opened.rows(np.array(places)).tolist() == [rows[place] for place in places], "in the order asked for"
    assert [words.tolist() for words in opened.all_words()] == rows


@pytest.mark.parametrize("joint", [True, False])
def test_series_of_different_lengths_are_rows_by_themselves_and_come_all_the_same(joint: bool) -> None:
    values = [[1, 5, 6], [2, 9], [3, 4, 9]]
    opened = Chunk(chunk.encode([Series(ValueType.U64, array(of)) for of in values], joint=joint))
    assert opened.even().tolist() == [0, 2]
    assert opened.are_rows(np.array([1, 2]), 2).tolist() == [True, False]
    assert opened.rows(np.array([2, 0])).tolist() == [[3, 4, 9], [1, 5, 6]]
    assert [words.tolist() for words in opened.all_words()] == values
    with pytest.raises(DamagedError, match="length"):
        opened.rows(np.array([0, 1]))


def busy(guests: int, ticks: int, seed: int = 5) -> list[Series]:
    """Guests of very different pace, one of which stands still."""
    random = np.random.default_rng(seed)
    paces = [0, *(10 ** random.uniform(0, 7, guests - 1))]
    return [
        Series(ValueType.U64, np.cumsum(random.poisson(pace, ticks)).astype(np.uint64) * np.uint64(1000))
        for pace in paces
    ]


@pytest.mark.parametrize("joint", [True, False])
def test_hours_of_many_guests_come_back(joint: bool) -> None:
    series = busy(64, 720)
    opened = Chunk(chunk.encode(series, joint=joint))
    assert (opened.rows(opened.even()) == np.stack([one.words for one in series])).all()
    assert all((opened.words(i) == one.words).all() for i, one in enumerate(series))


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("type_", list(ValueType))
def test_series_may_be_columns_of_a_larger_matrix(type_: ValueType, joint: bool) -> None:
    ticks = np.random.default_rng(4).integers(0, 1 << 62, (50, 3)).astype(np.uint64)
    opened = Chunk(chunk.encode([Series(type_, column) for column in ticks.T], joint=joint))
    assert (opened.rows(np.arange(3)) == ticks.T).all()


# -- headers -------------------------------------------------------------------------------------------------------


def value(type_: ValueType, word_: int) -> Any:
    if type_ is ValueType.F64:
        return struct.unpack("<d", struct.pack("<Q", word_))[0]
    return word_ - 2**64 if type_ is ValueType.I64 and word_ >= 2**63 else word_


def expected_header(series: Series) -> Header:
    words, type_ = series.words.tolist(), series.type
    counting = type_ in {ValueType.I64, ValueType.U64}
    if not words:
        return Header(0, None, None, None, None, 0 if counting else None)
    values = [value(type_, one) for one in words]
    least = most = None
    ordered = [i for i, one in enumerate(values) if not math.isnan(one)]
    if type_ is not ValueType.TEXT and ordered:
        ranks = {i: (values[i], math.copysign(1, values[i])) for i in ordered}  # -0.0 comes before 0.0
        least, most = (words[pick(ordered, key=ranks.__getitem__)] for pick in (min, max))
    rises = (max(0, values[i] - values[i - 1]) for i in range(1, len(values)) if i not in series.breaks)
    return Header(len(words), words[0], words[-1], least, most, sum(rises) if counting else None)


@given(st.lists(some_series(), max_size=6), st.booleans())
def test_headers_say_what_the_values_say(series: list[Series], joint: bool) -> None:
    opened = Chunk(chunk.encode(series, joint=joint))
    for i, one in enumerate(series):
        found, expected = opened.header(i), expected_header(one)
        if found.count and expected.min is None and one.type is ValueType.F64:  # no number among them
            found = msgspec.structs.replace(found, min=None, max=None)
        assert found == expected


def test_an_increment_may_exceed_64_bits() -> None:
    words = array([0, 2**64 - 1] * 3)
    header = Chunk(chunk.encode([Series(ValueType.U64, words)], joint=False)).header(0)
    assert header.increment == 3 * (2**64 - 1)


def test_headers_of_a_long_chunk_are_read_without_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    series = busy(5, 400)
    opened = Chunk(chunk.encode(series, joint=False))
    monkeypatch.setattr(codec, "unpack", None)
    assert opened.headers().last.tolist() == [int(one.words[-1]) for one in series]


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all runs that are unpacked."""
    lengths: list[int] = []
    real = codec.unpack

    def listed(run: bytes, count: int) -> codec.Steps:
        lengths.append(count)
        return real(run, count)

    monkeypatch.setattr(codec, "unpack", listed)
    return lengths


def test_one_series_is_read_without_the_others(unpacked: list[int]) -> None:
    series = busy(5, 400)
    opened = Chunk(chunk.encode(series, joint=False))
    assert (opened.words(3) == series[3].words).all()
    assert unpacked == [399]


def test_what_series_share_is_unpacked_once(unpacked: list[int]) -> None:
    opened = Chunk(chunk.encode(busy(5, 60), joint=True))
    for i in range(5):
        opened.words(i)
    assert unpacked == [4 * 59]


# -- prediction ----------------------------------------------------------------------------------------------------


def times(ticks: int) -> tuple[Words, Words, Words]:
    random = np.random.default_rng(3)
    user, system = (
        np.cumsum(random.integers(10**5, 10**6, ticks)).astype(np.uint64) * np.uint64(1000) for _ in range(2)
    )
    return user + system, user, system


@pytest.mark.parametrize("ticks", [100, 3000])
def test_what_follows_from_others_takes_next_to_nothing(ticks: int) -> None:
    total, user, system = times(ticks)
    alone = chunk.encode([Series(ValueType.U64, system)], joint=False)
    blob = chunk.encode([Series(ValueType.U64, system, total - user)], joint=False)
    assert len(blob) < 100 < len(alone) / 2
    opened = Chunk(blob)
    assert opened.predicted(0)
    assert (opened.words(0, lambda: total - user) == system).all()
    assert not len(opened.even())
    with pytest.raises(DamagedError, match="length"):
        opened.rows(np.array([0]))
    assert opened.header(0).last == int(system[-1])


def test_a_prediction_that_hardly_helps_is_not_used_and_not_asked_for() -> None:
    _total, user, system = times(500)
    opened = Chunk(chunk.encode([Series(ValueType.U64, system, user)], joint=False))

    def never() -> Words:
        raise AssertionError

    assert not opened.predicted(0)
    assert (opened.words(0, never) == system).all()


def test_without_what_it_is_predicted_from_a_series_is_not_read_wrong() -> None:
    total, user, system = times(300)
    opened = Chunk(chunk.encode([Series(ValueType.U64, system, total - user)], joint=False))
    with pytest.raises(ValueError, match="series 0 is predicted"):
        opened.words(0)
    with pytest.raises(DamagedError, match="300 values"):
        opened.words(0, lambda: user[:-1])


# -- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [True, False])
def test_what_stands_still_takes_a_few_bytes(joint: bool) -> None:
    random = np.random.default_rng(1)
    alike = [Series(ValueType.U64, np.full(60, 8 << 20, dtype=np.uint64))] * 64
    various = [Series(ValueType.U64, np.full(60, one, dtype=np.uint64)) for one in random.integers(0, 2**40, 64)]
    assert len(chunk.encode(alike, joint=joint)) < 64
    assert len(chunk.encode(various, joint=joint)) < 64 * 6.5


def test_one_reset_spoils_nothing() -> None:
    steps = np.random.default_rng(2).integers(0, 60, 8640) * 4096
    words = np.cumsum(steps).astype(np.uint64) + np.uint64(77)
    fallen = words.copy()
    fallen[5000:] -= fallen[5000] - np.uint64(3)
    plain, reset = (len(chunk.encode([Series(ValueType.U64, one)], joint=False)) for one in (words, fallen))
    assert reset < plain * 1.02 + 40


# -- damage --------------------------------------------------------------------------------------------------------


@given(st.integers(0), st.integers(1, 255), st.booleans())
def test_a_changed_byte_anywhere_is_seen(place: int, change: int, joint: bool) -> None:
    blob = bytearray(chunk.encode(busy(4, 60), joint=joint))
    blob[place % len(blob)] ^= change
    with pytest.raises(DamagedError, match="checksum"):
        Chunk(bytes(blob))


@given(st.binary(max_size=60))
def test_what_is_no_chunk_is_damage_whatever_its_checksum(content: bytes) -> None:
    for blob in (content, isal_zlib.crc32(content).to_bytes(4, "big") + content):
        with pytest.raises(DamagedError):
            Chunk(blob)


def altered(blob: bytes, **changes: object) -> bytes:
    body = msgspec.structs.replace(msgspec.msgpack.decode(blob[4:], type=chunk._Body), **changes)
    packed = msgspec.msgpack.encode(body)
    return isal_zlib.crc32(packed).to_bytes(4, "big") + packed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"columns": 7}, "with 7 columns"),
        ({"series": 5}, "inflates to something else"),
        ({"series": 1 << 40}, "series with"),
        ({"table": b"nonsense"}, "inflate"),
        ({"runs": []}, "run 1 of 0"),
        ({"breaks": {9: (1,)}}, "breaks of a series"),
    ],
)
def test_a_chunk_that_contradicts_itself_is_damaged(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DamagedError, match=said):
        Chunk(altered(chunk.encode(busy(4, 60), joint=True), **changes))


def with_table(series: list[Series], column: int, number: int) -> bytes:
    """Make a joint chunk whose table says *number* for the last series."""
    blob = chunk.encode(series, joint=True)
    table = chunk._unpack_table(msgspec.msgpack.decode(blob[4:], type=chunk._Body).table, 5, len(series))
    table[column, -1] = number
    return altered(blob, table=chunk._pack_table(table))


@pytest.mark.parametrize(
    ("column", "number", "said"), [(chunk._KIND, 6, "kind"), (chunk._KIND, 32, "kind"), (chunk._COUNT, 2**40, "values")]
)
def test_a_table_that_no_version_wrote_is_damaged(column: int, number: int, said: str) -> None:
    with pytest.raises(DamagedError, match=said):
        Chunk(with_table(busy(4, 60), column, number))


def test_a_run_that_does_not_hold_its_series_is_damaged() -> None:
    opened = Chunk(with_table(busy(4, 60), chunk._COUNT, 61))
    with pytest.raises(DamagedError, match="178 values"):
        opened.words(1)


def test_a_codec_of_the_future_is_named_and_damages_no_other_series() -> None:
    series = busy(3, 60)
    blob = chunk.encode(series, joint=False)
    runs = msgspec.msgpack.decode(blob[4:], type=chunk._Body).runs
    opened = Chunk(altered(blob, runs=[bytes((99,)) + runs[0][1:], *runs[1:]]))
    with pytest.raises(DamagedError, match="codec 99"):
        opened.words(1)
    assert (opened.words(2) == series[2].words).all()


def test_more_than_a_chunk_may_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="65537 series"):
        chunk.encode([Series(ValueType.U64, array([1]))] * 65537, joint=True)
    monkeypatch.setattr(chunk, "COUNT_MAX", 3)
    with pytest.raises(ValueError, match="4 values"):
        chunk.encode([Series(ValueType.U64, array([1, 2, 3, 4]))], joint=False)
