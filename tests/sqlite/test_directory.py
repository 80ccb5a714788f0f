"""Directories: what a segment's chunks mean, and that nothing of it is taken for anything else."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import ValueType
from domstat.model import Kind, Partial, Stamp, moment_within
from domstat_sinks.sqlite.heads.row import DamagedError, Extra
from domstat_sinks.sqlite.packed.directory import (
    GROUP,
    LAYOUT_WIDTH,
    Column,
    Directory,
    Index,
    Member,
    decode,
    members_of,
)
from domstat_sinks.sqlite.packed.ragged import Ragged

ATTRIBUTES = ("boots", "members", "names", "columns", "extras", "breaks")
ARRAYS = ("ids", "time_ms", "boot_ns", "boot", "call_ns", "layout_of", "lead")


def array(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def made(members: int = 3) -> Directory:
    """Make one of five ticks: the first a lead, two layouts, a guest that is renamed and has two shapes."""
    directory = Directory()
    directory.ids, directory.lead = array(7, 9, 10, 11, 12), array(1, 0, 0, 0, 0)
    directory.time_ms = array(1000, 2000, 3000, 1500, 4000)
    directory.boot_ns, directory.boot = array(10, 20, 30, 40, 50), array(0, 0, 1, 1, 1)
    directory.call_ns, directory.layout_of = array(100, 100, 200, 200, 0), array(0, 1, 0, 1, 1)
    directory.boots = ["", "boot"]
    directory.members = [Member("host", None, None, None)]
    directory.members += [Member("guest", f"g{number}", None, 5) for number in range(1, members)]
    directory.names = [None, "old", "new"]
    directory.columns = [
        Column(4, "vda", ValueType.U64),
        Column(2, None, ValueType.TEXT),
        Column(4, "vdb", ValueType.I64),
        Column(4, "vda", ValueType.F64),
    ]
    directory.shapes = Ragged.of([array(1), array(2, 0), array(3)])
    first = [(0, 0, 0), (1, 1, 1), *((member, 1, 1) for member in range(2, members))]
    layouts = (first, [(1, 2, 2), (0, 0, 0)])
    rows = [array(*itertools.chain(*layout)).reshape(-1, LAYOUT_WIDTH) for layout in layouts]
    directory.layouts = Ragged.of(rows, LAYOUT_WIDTH)
    directory.extras = {2: {1: Extra(Partial(("block",), 2.0), ("vda",))}}
    directory.breaks = {(1, -1): [1], (1, 0): [2, 4]}
    return directory


def test_it_comes_back_as_it_was() -> None:
    directory = made()
    back = decode(directory.encode())
    assert [getattr(back, name) for name in ATTRIBUTES] == [getattr(directory, name) for name in ATTRIBUTES]
    for name in ARRAYS:
        assert getattr(back, name).tolist() == getattr(directory, name).tolist()
    for name in ("shapes", "layouts"):
        pairs = zip(getattr(back, name), getattr(directory, name), strict=True)
        assert all(one.tolist() == other.tolist() for one, other in pairs)


@given(st.lists(st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 3), min_size=1, max_size=30))
def test_whatever_its_stamps_are_they_come_back(stamps: list[tuple[int, int, int]]) -> None:
    directory = made()
    directory.time_ms, directory.boot_ns, directory.call_ns = (array(*numbers) for numbers in zip(*stamps, strict=True))
    directory.ids = directory.boot = directory.layout_of = directory.lead = array(*range(len(stamps)))
    back = decode(directory.encode())
    found = zip(back.time_ms.tolist(), back.boot_ns.tolist(), back.call_ns.tolist(), strict=True)
    assert list(found) == stamps


def test_a_flipped_byte_anywhere_is_damage() -> None:
    blob = made().encode()
    for place in range(len(blob)):
        spoilt = bytearray(blob)
        spoilt[place] ^= 0xFF
        with pytest.raises(DamagedError):
            decode(bytes(spoilt))


@pytest.mark.parametrize("length", [0, 3, 4, 30])
def test_one_that_is_cut_short_is_damaged(length: int) -> None:
    with pytest.raises(DamagedError):
        decode(made().encode()[:length])


def test_a_tick_has_its_stamp_and_its_subjects() -> None:
    directory = made()
    assert directory.stamp(0) == Stamp(1000, 10, "", 100)
    assert directory.stamp(2) == Stamp(3000, 30, "boot", 200)
    assert directory.subjects_at(1) == {("host", None, None), ("guest", "g1", None)}
    assert directory.subjects_at(2) == {("host", None, None), ("guest", "g1", None), ("guest", "g2", None)}
    assert directory.own.tolist() == [1, 2, 3, 4]


def test_a_series_has_the_ticks_whose_layouts_give_its_member_that_column() -> None:
    directory = made()
    assert directory.ticks_of(0).tolist() == [0, 1, 2, 3, 4]
    assert directory.ticks_of(2).tolist() == [0, 2]
    assert directory.ticks_of(1, 0).tolist() == directory.ticks_of(1, 2).tolist() == [0, 2]
    assert directory.ticks_of(1, 3).tolist() == [1, 3, 4]


def test_a_chunk_has_its_series_by_member_and_column_in_an_order_of_their_own() -> None:
    directory = made()
    assert directory.fields == [2, 4]
    assert directory.series(4, 0) == [(1, 0), (1, 2), (1, 3), (2, 0), (2, 2)]
    assert directory.series(2, 0) == [(0, 1)]
    assert [directory.place(*pair) for pair in directory.series(4, 0)] == [0, 1, 2, 3, 4]
    assert directory.columns_of(0, 4) == []


@pytest.mark.parametrize("members", [3, GROUP + 2])
def test_the_series_of_a_group_are_those_of_its_chunks_in_order_of_their_fields(members: int) -> None:
    directory = made(members)
    directory.shapes = Ragged.of([array(1), array(2, 1, 0), array(3, 1)])  # of two fields, and one column in both
    for group in range(directory.groups):
        expected = [list(pair) for field in directory.fields for pair in directory.series(field, group)]
        assert directory.series_of(group).tolist() == expected


def test_members_beyond_a_group_are_in_the_next() -> None:
    directory = made(GROUP + 2)
    assert directory.groups == 2
    assert {member for member, _ in directory.series(4, 0)} == set(range(1, GROUP))
    assert {member for member, _ in directory.series(4, 1)} == {GROUP, GROUP + 1}
    assert directory.place(GROUP, 0) == 0


def test_a_member_that_was_renamed_has_each_name_in_its_layouts() -> None:
    directory = made()
    assert directory.names_of(1) == [1, 2]
    assert directory.name_at(1).tolist() == [1, 2]
    assert directory.name_at(2).tolist() == [1, -1]
    assert directory.whose == [(0, 0), (1, 1), (1, 2), (2, 1)]
    assert directory.subjects[1:3] == [("guest", "g1", "old"), ("guest", "g1", "new")]


def test_when_values_were_read_is_estimated_as_the_stream_did() -> None:
    directory = made()
    for member in range(3):
        ticks = directory.ticks_of(member)
        for tick, offset in zip(ticks.tolist(), directory.offsets_ns(member, ticks).tolist(), strict=True):
            layout = directory.layouts[directory.layout_of[tick]][:, 0].tolist()
            guests = [one for one in layout if directory.members[one].kind == Kind.GUEST]
            place = sum(one in guests for one in layout[: layout.index(member)])
            moment = moment_within(directory.stamp(tick), place, len(guests) or 1)
            assert moment.boot_ns == directory.boot_ns[tick] + offset


def test_what_has_a_uuid_is_itself_under_any_name_and_what_is_there_twice_is_told_apart() -> None:
    entries = [
        ("guest", "u", "a", 1), ("guest", "u", "b", 1), ("guest", "u", "a", 2), ("pool", None, "p", None),
        ("pool", None, "q", None), ("pool", None, "p", None), ("guest", "u", "c", 1),
    ]  # fmt: skip
    assert list(members_of(entries)) == [
        Member("guest", "u", None, 1), Member("guest", "u", None, 1, 1), Member("guest", "u", None, 2),
        Member("pool", None, "p", None), Member("pool", None, "q", None), Member("pool", None, "p", None, 1),
        Member("guest", "u", None, 1, 2),
    ]  # fmt: skip


def test_an_index_gives_everything_one_place() -> None:
    index = Index()
    assert [index.place(key) for key in "abcab"] == [0, 1, 2, 0, 1]
    assert index.place("d", "item") == index.place("d", "another") == 3
    assert index.items == ["a", "b", "c", "item"]
