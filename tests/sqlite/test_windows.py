"""Whose a segment's series are, and what it has in a span."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from domstat.catalog import ValueType
from domstat.history import Span
from domstat_sinks.sqlite.answers.choosing import Key, Who
from domstat_sinks.sqlite.answers.ticks import Boots
from domstat_sinks.sqlite.answers.windows import WINDOWS_KEPT, Plain, Roster, Window, places_of
from domstat_sinks.sqlite.packed.directory import EVERYTHING, LAYOUT_WIDTH, Column, Directory, Member
from domstat_sinks.sqlite.packed.ragged import Ragged

CPU = Column(7, None, ValueType.U64)
A, B, C = (Who(3, "guest", uuid, None) for uuid in "abc")


def directory(layouts: Sequence[Sequence[tuple[int, int, int]]], layout_of: Sequence[int], leads: int = 0) -> Directory:
    """Make a directory of guests a, b, c and a again, of (member, shape, name) in layouts; a tick every 10 ms."""
    made = Directory()
    count = len(layout_of)
    made.ids = np.arange(101, 101 + count)
    made.time_ms = np.arange(count) * 10
    made.boot_ns = made.time_ms * 1_000_000
    made.boot, made.call_ns = np.zeros(count, dtype=np.int64), np.full(count, 600)
    made.layout_of = np.array(layout_of)
    made.lead = (np.arange(count) < leads).astype(np.int64)
    made.boots, made.names = ["boot"], ["one", "two"]
    made.members = [Member("guest", uuid, None, number) for uuid, number in (("a", 1), ("b", 1), ("c", 1), ("a", 2))]
    made.columns = [CPU, Column(8, "vda", ValueType.I64)]
    made.shapes = Ragged.of([np.array([0]), np.array([0, 1])])
    rows = [np.array(layout, dtype=np.int64).reshape(-1, LAYOUT_WIDTH) for layout in layouts]
    made.layouts = Ragged.of(rows, LAYOUT_WIDTH)
    return made


def roster(made: Directory) -> Roster:
    return Roster(3, 1, made, Boots())


ALL = [(0, 0, 0), (1, 0, 0), (2, 1, 0)]
RESTARTED = [(3, 0, 0), (1, 0, 1), (2, 1, 0)]


def test_a_guest_is_in_turn_what_it_was_one_after_the_other() -> None:
    orderly = roster(directory([ALL, RESTARTED], [0, 0, 1, 1]))
    assert orderly.in_turn(A, [(3, 0), (0, 0)]) == [(0, 0), (3, 0)]
    assert orderly.in_turn(B, [(1, 0)]) == [(1, 0)]
    assert orderly.in_turn(B, [(1, 0), (1, 1)]) is None, "a column of two types"
    came_back = roster(directory([ALL, RESTARTED], [0, 1, 0, 1]))
    assert came_back.in_turn(A, [(3, 0), (0, 0)]) is None


def test_a_member_is_read_at_one_place_in_each_call_or_at_several() -> None:
    made = roster(directory([ALL, RESTARTED, [(1, 0, 0)]], [0, 1, 2]))
    assert made.place(2, np.array([0, 1])) == (5, 6)
    assert made.fraction(1) is None
    assert np.asarray(made.place(1, np.array([0, 1, 2]))).tolist() == [300, 300, 300]


def test_a_series_is_plain_that_is_a_single_column() -> None:
    made = directory([ALL, RESTARTED], [0, 0, 1, 1])
    made.breaks = {(1, 0): [2], (2, EVERYTHING): [0]}
    places = places_of(roster(made), 7, "cpu.time")
    assert places.spots == {
        Key(A, "cpu.time", None): [(0, 0), (3, 0)],
        Key(B, "cpu.time", None): [(1, 0)],
        Key(C, "cpu.time", None): [(2, 0)],
    }
    assert [(key.who, one.is_broken) for key, one in places.plain.items()] == [(B, True), (C, True)]
    assert places.ticks.keys() == {(0, 0), (3, 0), (1, 0), (2, 0)}, "where there are breaks ticks are looked at"
    made.breaks = {}
    plain = places_of(roster(made), 7, "cpu.time").plain
    assert list(plain) == [Key(B, "cpu.time", None), Key(C, "cpu.time", None)]
    one, other = plain.values()
    assert (one.row, other.row, one.place, one.type) == (1, 2, (3, 6), ValueType.U64)
    assert one.at is other.at, "the same ticks are the same array"
    assert (isinstance(one, Plain), one.is_broken) == (True, False)


@pytest.mark.parametrize(
    ("span", "increases", "times_ms", "inside"),
    [
        (None, False, [20, 30, 40], [True] * 3),
        (None, True, [10, 20, 30, 40], [False, True, True, True]),
        (Span(30, 40), False, [30], [True]),
        (Span(30, 40), True, [20, 30], [False, True]),
        (Span(0, 25), True, [10, 20], [False, True]),
    ],
)
def test_a_window_has_the_ticks_of_its_span_and_for_increases_the_one_before(
    span: Span | None, increases: bool, times_ms: list[int], inside: list[bool]
) -> None:
    window = Window(roster(directory([ALL], [0] * 5, leads=2)), span)
    ticks, part = window.ticks(np.arange(5), increases=increases)
    assert ticks is not None
    assert (ticks.time_ms.tolist(), ticks.inside.tolist(), ticks.boot.tolist()) == (times_ms, inside, [1] * len(inside))
    assert np.arange(5)[part].tolist() == [time_ms // 10 for time_ms in times_ms]


def test_a_window_has_nothing_where_there_is_nothing() -> None:
    made = roster(directory([ALL], [0] * 5, leads=2))
    assert Window(made, Span(0, 15)).last == -1
    ticks, _ = Window(made, Span(40, 50)).ticks(np.array([0, 1, 2]), increases=True)
    assert ticks is None


def test_a_span_that_is_asked_again_is_not_worked_out_again_and_only_some_are_remembered() -> None:
    made = roster(directory([ALL], [0] * 5))
    first = made.window(Span(0, 20))
    assert made.window(Span(0, 20)) is first
    others = [made.window(Span(10 * i, 10 * i + 20)) for i in range(1, WINDOWS_KEPT + 1)]
    assert made.window(Span(0, 20)) is not first
    assert made.window(Span(10 * WINDOWS_KEPT, 10 * WINDOWS_KEPT + 20)) is others[-1]


def test_series_in_the_same_ticks_share_them() -> None:
    window = Window(roster(directory([ALL], [0] * 5)), None)
    whole = window.strung([np.arange(5)])
    assert window.strung([np.arange(2), np.arange(2, 5)]) is whole
    assert window.strung([np.array([0, 2, 4])]) is not whole
    assert window.ticks(whole, increases=True)[0] is window.ticks(whole, increases=True)[0]


def test_who_is_seen_under_each_name_comes_with_its_times_the_newest_last() -> None:
    made = roster(directory([ALL, RESTARTED], [0, 0, 1, 1, 0], leads=1))
    seen = [
        (one.who.uuid, one.name, one.incarnation, one.first_ms, one.last_ms, one.ticks)
        for one in Window(made, None).seen()
    ]
    assert seen == [
        ("a", "one", 2, 20, 30, 2),
        ("b", "two", 1, 20, 30, 2),
        ("a", "one", 1, 10, 40, 2),
        ("b", "one", 1, 10, 40, 2),
        ("c", "one", 1, 10, 40, 4),
    ]
    later = [(one.who.uuid, one.ticks) for one in Window(made, Span(20, 40)).seen()]
    assert later == [("a", 2), ("b", 2), ("c", 2)]


def test_of_some_guests_only_these_are_seen_whatever_they_were_called() -> None:
    made = roster(directory([ALL, RESTARTED], [0, 0, 1, 1]))
    for window in (Window(made, None), Window(made, Span(0, 25))):
        every = list(window.seen())
        assert list(window.seen({"b"})) == [seen for seen in every if seen.who == B]
        assert [seen.name for seen in window.seen({"b"})] == ["one", "two"]
        assert list(window.seen(set())) == []


def test_guests_are_known_by_every_name_they_had_and_by_their_uuids() -> None:
    found = roster(directory([ALL, RESTARTED], [0, 0, 1, 1])).uuids_of
    assert found == {"a": {"a"}, "b": {"b"}, "c": {"c"}, "one": {"a", "b", "c"}, "two": {"b"}}
