"""What is open, as bytes."""

from __future__ import annotations

import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.rollups import unfinishedblob
from domstat_sinks.sqlite.rollups.rollstats import flat
from domstat_sinks.sqlite.rollups.sketch import Sketches
from domstat_sinks.sqlite.rollups.unfinished import Held, Unfinished
from domstat_sinks.sqlite.rollups.unfinishedblob import decode, encode

from .histories import history
from .test_unfinished import in_slices


def some(seed: int, length: int = 50, size: int = 7) -> Held:
    unfinished = Unfinished()
    in_slices(history(seed, length=length, step_ms=40_000), size, unfinished)
    return unfinished.held()


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 20))
def test_what_is_open_comes_back_from_its_bytes_as_it_was(seed: int, length: int, size: int) -> None:
    held = some(seed, length, size)
    again = decode(encode(held))
    assert (again.open_ms, again.minutes_from, again.hour_from) == (held.open_ms, held.minutes_from, held.hour_from)
    for mine, its in ((held.minutes, again.minutes), (held.hour, again.hour)):
        assert [rollup.scope.entries for rollup in mine] == [rollup.scope.entries for rollup in its]
        for one, other in zip(mine, its, strict=True):
            assert one.starts_ms.tolist() == other.starts_ms.tolist()
            assert [columns.names for columns in one.scope.series] == [columns.names for columns in other.scope.series]
            for matrix, same in zip(flat(one), flat(other), strict=True):
                assert matrix.dtype == same.dtype
                assert np.array_equal(matrix, same, equal_nan=matrix.dtype.kind == "f")
    assert list(again.sketches) == list(held.sketches)
    for start_ms, sketched in held.sketches.items():
        for part, same_part in zip(sketched, again.sketches[start_ms], strict=True):
            assert part.entries == same_part.entries
            assert list(part.by_field) == list(same_part.by_field)
            for field, sketches in part.by_field.items():
                for name in Sketches.__struct_fields__:
                    assert np.array_equal(getattr(sketches, name), getattr(same_part.by_field[field], name)), name


def test_some_of_it_has_everything_that_there_is_to_come_back() -> None:
    held = some(3)
    assert held.minutes
    assert held.hour
    assert held.sketches
    assert all(len(columns.names) for columns in held.hour[0].scope.series)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_byte_is_found(share: float) -> None:
    data = bytearray(encode(some(3)))
    data[round(share * (len(data) - 1))] ^= 0x10
    with pytest.raises(DamagedError):
        decode(bytes(data))


def test_what_columns_hold_is_there_once_for_all_of_them() -> None:
    again = decode(encode(some(3)))
    names = [name for rollup in (*again.minutes, *again.hour) for of in rollup.scope.series for name in of.names]
    assert len({id(name) for name in names}) == len(set(names)) < len(names)


def signed(packed: bytes) -> bytes:
    return zlib.crc32(packed).to_bytes(4, "big") + packed


@pytest.mark.parametrize("packed", [b"", b"no zlib", zlib.compress(b"no msgpack"), zlib.compress(b"\x90")])
def test_what_is_none_is_damaged_though_its_checksum_is_right(packed: bytes) -> None:
    with pytest.raises(DamagedError):
        decode(signed(packed))


def test_no_more_is_unpacked_than_anybody_can_have_open(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(some(3))
    monkeypatch.setattr(unfinishedblob, "BYTES_MAX", 1_000)
    with pytest.raises(DamagedError):
        decode(data)


def test_matrices_that_do_not_go_together_are_damaged() -> None:
    held = some(3)
    body = unfinishedblob._decoder.decode(zlib.decompress(encode(held)[4:]))
    table = body.hour[0]
    fewer = replace(table, matrices=table.matrices[:-1])
    narrow = replace(table, matrices=(table.matrices[0][:-8], *table.matrices[1:]))
    for wrong in (fewer, narrow):
        changed = replace(body, hour=(wrong,))
        with pytest.raises(DamagedError):
            decode(signed(zlib.compress(msgspec.msgpack.encode(changed))))


@pytest.mark.parametrize("lacking", ["fields", "devices", "pairs"])
def test_columns_that_hold_what_has_no_name_are_damaged(lacking: str) -> None:
    body = unfinishedblob._decoder.decode(zlib.decompress(encode(some(3))[4:]))
    names = replace(body.names, **{lacking: getattr(body.names, lacking)[:-1]})
    with pytest.raises(DamagedError):
        decode(signed(zlib.compress(msgspec.msgpack.encode(replace(body, names=names)))))
