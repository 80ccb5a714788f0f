"""Runs of numbers: every tag is lossless, the smaller one is kept, and nonsense is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.packed import codec

LEVELS = [codec.QUICK_LEVEL, codec.NOISE_LEVEL, codec.DAY_LEVEL]
number = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31) - 1, 2**31), st.integers(-2, 2))


@given(st.lists(number, min_size=1, max_size=300), st.sampled_from(LEVELS))
def test_any_numbers_come_back(numbers: list[int], level: int) -> None:
    packed = codec.pack(np.array(numbers, dtype=np.int64), level)
    assert codec.unpack(packed, len(numbers)).tolist() == numbers


@given(
    st.lists(st.integers(0, 2**64 - 1) | st.floats().map(lambda x: np.float64(x).view(np.uint64).item()), min_size=1)
)
def test_any_doubles_come_back_to_the_last_bit(words: list[int]) -> None:
    packed = codec.pack_reals(np.array(words, dtype=np.uint64))
    assert codec.unpack(packed, len(words)).view(np.uint64).tolist() == words


@pytest.mark.parametrize("count", [2, 5000])
def test_doubles_of_few_digits_come_back_smaller(count: int) -> None:
    values = np.random.default_rng(1).integers(0, 1000, count) / 100
    packed = codec.pack_reals(values.view(np.uint64))
    assert (codec.unpack(packed, count).view(np.float64) == values).all()
    assert len(packed) < 8 * count + 8


def test_what_hardly_ever_moves_is_planes_and_what_moves_is_not() -> None:
    still, moving = np.zeros(60, dtype=np.int64), np.random.default_rng(1).poisson(500, 600)
    still[30] = 1
    assert codec.pack(still, codec.QUICK_LEVEL)[0] == codec.PLANES
    assert codec.pack(moving, codec.QUICK_LEVEL)[0] == codec.PCO_I32
    assert codec.pack(moving << 40, codec.QUICK_LEVEL)[0] == codec.PCO_I64


def test_numbers_that_drift_are_packed_by_their_differences() -> None:
    random = np.random.default_rng(1)
    drifting = np.cumsum(random.integers(-20, 21, 5000))
    mixed = drifting.copy()
    random.shuffle(mixed)
    sizes = [len(codec.pack(numbers, codec.DAY_LEVEL)) for numbers in (drifting, mixed)]
    assert sizes[0] < 0.7 * sizes[1]
    assert codec.unpack(codec.pack(drifting, codec.DAY_LEVEL), 5000).tolist() == drifting.tolist()


@given(st.lists(number, min_size=1, max_size=300), st.sampled_from([2, 1000, 4096, 2**31, 2**62]), st.booleans())
def test_a_grain_may_be_wrong_and_loses_nothing(numbers: list[int], grain: int, coarse: bool) -> None:
    given_ = [one - one % grain if coarse and one > 0 else one for one in numbers]
    packed = codec.pack(np.array(given_, dtype=np.int64), codec.DAY_LEVEL, grain)
    assert codec.unpack(packed, len(given_)).tolist() == given_


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (b"", "empty"),
        (b"\xfa1234", "codec 250"),
        (bytes((codec.PCO_I64,)) + b"nonsense", "cannot be unpacked"),
        (bytes((codec.PLANES,)), "no planes"),
        (bytes((codec.PLANES, 9)), "no planes"),
        (bytes((codec.PLANES, 1)) + b"nonsense", "inflate"),
    ],
)
def test_what_is_no_run_is_damage(run: bytes, said: str) -> None:
    with pytest.raises(DamagedError, match=said):
        codec.unpack(run, 5)


@pytest.mark.parametrize("numbers", [np.arange(3) ** 2, np.arange(3000) ** 2, np.arange(3000) << 40])
def test_a_run_of_another_length_is_damage(numbers: codec.Steps) -> None:
    packed = codec.pack(numbers, codec.DAY_LEVEL)
    for count in (len(numbers) - 1, len(numbers) + 1):
        with pytest.raises(DamagedError):
            codec.unpack(packed, count)


def test_inflating_stops_at_what_was_said() -> None:
    with pytest.raises(DamagedError, match="something else than 10 bytes"):
        codec.inflate(codec.deflate(bytes(1 << 20)), 10)
    assert codec.inflate(codec.deflate(bytes(10)), 10) == bytes(10)
