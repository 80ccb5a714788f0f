"""Sketches as bytes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.rollups.prefixes import terms
from domstat_sinks.sqlite.rollups.sketch import ERROR, Sketches, merge, nothing, quantile, sketch
from domstat_sinks.sqlite.rollups.sketchblob import decode, encode, open_blob, total


def some(seed: int, series: int = 20, ticks: int = 60) -> Sketches:
    chance = np.random.default_rng(seed)
    values = chance.lognormal(chance.uniform(-5, 5), 2, (ticks, series)) * (chance.random((ticks, series)) < 0.8)
    values[chance.random((ticks, series)) < 0.1] = np.nan
    return sketch(values)[0]


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 20), st.integers(0, 60))
def test_sketches_come_back_from_their_bytes_as_they_were(seed: int, series: int, ticks: int) -> None:
    sketches = some(seed, series, ticks)
    again = decode(encode(sketches))
    for name in Sketches.__struct_fields__:
        assert np.array_equal(getattr(again, name), getattr(sketches, name)), name


def test_nothing_comes_back_as_nothing() -> None:
    assert decode(encode(nothing(3))).counts.tolist() == [0, 0, 0]


def test_blobs_are_added_up_as_their_sketches_are() -> None:
    parts = [some(seed) for seed in range(5)]
    found = total([(1, open_blob(encode(part))) for part in parts])
    expected = merge(parts)
    for name in Sketches.__struct_fields__:
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


def test_a_range_of_days_is_the_difference_of_two_sums_from_the_beginning() -> None:
    days = [some(seed) for seed in range(40)]
    blobs = {(day, False): encode(days[day]) for day in range(40)}
    blobs |= {(day, True): encode(merge([nothing(20), *days[:day]])) for day in (0, 10, 20, 30)}
    for since, until in ((0, 40), (3, 38), (9, 21), (12, 14), (20, 30)):
        chosen = [
            (term.sign, open_blob(blobs[term.day, term.is_cumulative])) for term in terms(since, until, [0, 10, 20, 30])
        ]
        found, expected = total(chosen), merge(days[since:until])
        assert found.counts.tolist() == expected.counts.tolist()
        assert found.sums == pytest.approx(expected.sums)
        for q in (0.0, 0.5, 0.95, 1.0):
            assert quantile(found, q) == pytest.approx(quantile(expected, q), rel=2 * ERROR)


def test_where_sketches_are_subtracted_the_least_and_the_greatest_are_known_to_1_percent() -> None:
    values = np.array([[5.0, 0.0, 7.0, 1.0], [9.0, 3.0, 7.0, 1.0]])
    gone = np.array([[1.0, 900.0, 7.0, 1.0], [2.0, np.nan, 7.0, 1.0]])
    both = merge([*sketch(values), *sketch(gone)])
    rest = total([(1, open_blob(encode(both))), (-1, open_blob(encode(sketch(gone)[0])))])
    assert rest.mins == pytest.approx([5.0, 0.0, 7.0, 1.0], rel=ERROR)
    assert rest.maxs == pytest.approx([9.0, 3.0, 7.0, 1.0], rel=ERROR)
    none = total([(1, open_blob(encode(both))), (-1, open_blob(encode(both)))])
    assert np.isnan(quantile(none, 0.5)).all()


@pytest.mark.parametrize("place", [0, 4, 40, -1])
def test_a_flipped_byte_is_noticed(place: int) -> None:
    data = bytearray(encode(some(1)))
    data[place] ^= 0x10
    with pytest.raises(DamagedError):
        decode(bytes(data))


def test_a_blob_that_claims_too_much_or_has_too_little_is_damaged() -> None:
    blob = open_blob(encode(some(1)))
    with pytest.raises(DamagedError, match="where there should be"):
        total([(1, msgspec.structs.replace(blob, series=21))])
    with pytest.raises(DamagedError):
        total([(1, msgspec.structs.replace(blob, counts=b"no numbers"))])
