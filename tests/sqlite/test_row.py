"""The blob of a head row: what goes in comes out, and damage is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.model import Partial
from domstat_sinks.sqlite.heads import row

words = st.integers(0, 2**64 - 1)


def unpack(blob: bytes, base: list[int] | None, lengths: list[int]) -> list[int]:
    body = row.open_blob(blob)
    out: list[int] = []
    assert len(body.parts) == len(row.part_bounds(lengths))
    for part, (start, end) in enumerate(row.part_bounds(lengths)):
        part_base = None if base is None else np.array(base[start:end], dtype=np.uint64)
        out += row.unpack_part(body, part, end - start, part_base).tolist()
    return out


@given(st.data(), st.lists(st.integers(1, 5), max_size=150))
def test_any_words_come_back_plain_and_as_differences(data: st.DataObject, lengths: list[int]) -> None:
    size = sum(lengths)
    values = data.draw(st.lists(words, min_size=size, max_size=size))
    base = data.draw(st.lists(words, min_size=size, max_size=size))
    as_array, base_array = np.array(values, dtype=np.uint64), np.array(base, dtype=np.uint64)
    assert unpack(row.encode(as_array, lengths, None, {}), None, lengths) == values
    assert unpack(row.encode(as_array, lengths, (7, base_array), {}), base, lengths) == values


@given(st.data(), st.integers(1, 200))
def test_values_that_stand_still_come_back_too(data: st.DataObject, size: int) -> None:
    base = data.draw(st.lists(words, min_size=size, max_size=size))
    moved = data.draw(st.dictionaries(st.integers(0, size - 1), words, max_size=5))
    values = [moved.get(i, value) for i, value in enumerate(base)]
    as_array, base_array = np.array(values, dtype=np.uint64), np.array(base, dtype=np.uint64)
    assert unpack(row.encode(as_array, [size], (7, base_array), {}), base, [size]) == values


def test_what_stands_still_takes_next_to_nothing() -> None:
    base = np.arange(2**40, 2**40 + 6400, dtype=np.uint64)
    assert len(row.encode(base, [100] * 64, (7, base), {})) < 100


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_seen(place: int, change: int) -> None:
    blob = bytearray(row.encode(np.arange(200, dtype=np.uint64), [2] * 100, None, {3: row.Extra()}))
    blob[place % len(blob)] ^= change
    with pytest.raises(row.DamagedError):
        row.open_blob(bytes(blob))


def test_what_is_no_value_travels_beside_the_values() -> None:
    extras = {1: row.Extra(Partial(("block",), 2.5), ("vda",))}
    body = row.open_blob(row.encode(np.zeros(2, dtype=np.uint64), [1, 1], None, extras))
    assert (body.base, body.extras) == (0, extras)


def test_a_codec_of_the_future_is_named_and_not_guessed_at() -> None:
    import zlib

    import msgspec

    body = msgspec.msgpack.encode(row.Body(99, 0, [], {}))
    with pytest.raises(row.DamagedError, match="codec 99"):
        row.open_blob(zlib.crc32(body).to_bytes(4, "big") + body)
