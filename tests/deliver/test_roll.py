"""Who takes from the journal, and how far each has come."""

from __future__ import annotations

from domstat.deliver.bounds import Why
from domstat.deliver.journal import Removed
from domstat.deliver.memory import Memory, Parcel
from domstat.deliver.position import Position
from domstat.deliver.roll import Roll
from records import batch


class Taker:
    """A sink as the roll sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_flight = (0, 0)
        self.received = self.dropped = 0
        self.left: list[int] = []

    def note_taken(self, first: int, last: int, records: int) -> None:
        self.in_flight = (first, last)

    def note_done(self) -> None:
        self.in_flight = (0, 0)

    def note_received(self, records: int) -> None:
        self.received += records

    def note_dropped(self, records: int, why: Why) -> None:
        self.dropped += records

    def note_left(self, records: int, why: Why) -> None:
        self.left.append(records)


def rolled(**lows: int) -> tuple[Roll, dict[str, Taker]]:
    roll, takers = Roll(), {name: Taker(name) for name in lows}
    for name, low in lows.items():
        roll.enlist(takers[name], Position(low))
    return roll, takers


def test_a_new_sink_begins_where_it_is_told_and_a_known_one_where_it_was() -> None:
    roll, _ = rolled(a=5)
    roll.enlist(Taker("a"), Position(9))
    assert roll.positions == {"a": Position(5)}


def test_every_sink_has_what_the_one_furthest_behind_has() -> None:
    roll, _ = rolled(a=5, b=3)
    assert roll.low(0) == 3
    assert Roll().low(7) == 7


def test_what_all_that_are_here_have_is_no_more_than_there_is_and_waits_for_nobody_else() -> None:
    roll, takers = rolled(a=5, b=3)
    assert roll.low_here(9) == 3
    roll.leave(takers["b"])
    assert roll.low_here(9) == 5
    assert roll.low_here(4) == 4
    assert Roll().low_here(7) == 7


def test_whoever_came_in_before_the_journal_has_only_what_came_meanwhile() -> None:
    roll, _ = rolled(a=100)
    roll.done("a", 101, 103)
    roll.adopt({"a": Position(4), "gone": Position(2)}, base=101)
    assert roll.positions["a"] == Position(4, ((101, 103),))
    assert roll.strangers == ["gone"]


def test_a_position_is_stored_until_it_is_stored_as_it_is() -> None:
    roll, _ = rolled(a=1, b=1)
    stored = roll.to_store()
    roll.done("a", 2, 2)
    roll.note_stored(stored)
    assert roll.to_store() == {"a": Position(2)}
    roll.note_stored(roll.to_store())
    assert not roll.is_dirty
    roll.store_all()
    assert roll.to_store().keys() == {"a", "b"}


def test_what_goes_is_counted_for_those_who_neither_have_it_nor_hold_it() -> None:
    roll, takers = rolled(has=5, holds=3, lacks=3)
    takers["holds"].note_taken(4, 4, 2)
    roll.note_removed([Removed(4, 2), Removed(5, 3)], Why.SIZE)
    assert {name: taker.dropped for name, taker in takers.items()} == {"has": 0, "holds": 3, "lacks": 5}
    assert roll.removals == 1
    roll.note_removed([], Why.SIZE)
    assert roll.removals == 1


def test_when_only_memory_is_left_everybody_is_told_what_of_it_is_theirs() -> None:
    roll, takers = rolled(a=0, b=1)
    memory = Memory()
    for number in (1, 2):
        memory.add(Parcel(number, batch()))
    roll.note_only(memory, Why.DAMAGED)
    assert {name: taker.left for name, taker in takers.items()} == {"a": [2], "b": [1]}


def test_a_sink_that_is_dismissed_leaves_nothing() -> None:
    roll, takers = rolled(a=0)
    assert roll.dismiss("a")
    assert takers["a"].left == [0]
    assert not roll.dismiss("a")
    assert (roll.positions, roll.readers, roll.is_dirty) == ({}, {}, False)
