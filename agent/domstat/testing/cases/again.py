"""What comes again: after a retry, a crash, a restart. Records replace themselves, and none is lost."""

from __future__ import annotations

from domstat.testing.dying import Deadly, die, in_a_process_that_dies
from domstat.testing.records import ticks
from domstat.testing.rig import Rig

BACKLOG = 40
PORTION = 16
"""Ticks that wait for a sink after a restart, and how many of them the agent hands over at a time."""


class Again:
    """Each batch comes once at least."""

    def test_the_same_batch_twice_is_there_once(self, rig: Rig) -> None:
        """In two calls, since the agent does not know whether the first stored it, and in one."""
        sink = rig.open()
        one, two = ticks(2, start_ms=rig.at(0))
        rig.write(sink, one)
        rig.write(sink, one)
        rig.write(sink, two, two)
        rig.holds(one, two)

    def test_overlapping_batches_are_there_once(self, rig: Rig) -> None:
        """What comes again comes with others before and behind it."""
        sink = rig.open()
        written = ticks(5, start_ms=rig.at(0))
        rig.write(sink, *written[:3])
        rig.write(sink, *written[1:5])
        rig.holds(*written)

    def test_what_was_written_outlives_the_process(self, rig: Rig) -> None:
        """When write returns, all of it is stored: the process may die then, nothing is closed."""
        written = ticks(3, start_ms=rig.at(0))

        def write_and_die() -> None:
            rig.open().write(written[:2])
            die()

        in_a_process_that_dies(write_and_die)
        if rig.keeps.durable:
            rig.holds(*written[:2])
        sink = rig.open()
        rig.write(sink, *written)
        rig.holds(*written)

    def test_a_process_that_dies_in_the_middle_of_a_write_leaves_nothing_half(self, rig: Rig) -> None:
        """The next one opens what it left, is given the same batches, and all of them are there, once."""
        written = ticks(4, start_ms=rig.at(0))

        def write_and_die() -> None:
            sink = rig.open()
            sink.write(written[:1])
            sink.write(Deadly(written[1:], safe=1))
            die()

        in_a_process_that_dies(write_and_die)
        sink = rig.open()
        rig.write(sink, *written[1:])
        if not rig.keeps.durable:
            rig.write(sink, *written)
        rig.holds(*written)

    def test_a_backlog_is_stored_after_a_restart(self, rig: Rig) -> None:
        """One sink is closed, the next begins with what was the last thing stored, and catches up."""
        written = ticks(BACKLOG, start_ms=rig.at(0))
        first = rig.open()
        rig.write(first, *written[:4])
        first.close()
        second = rig.open()
        for begin in range(3, BACKLOG, PORTION):
            rig.write(second, *written[begin : begin + PORTION])
        rig.reported_nothing()
        rig.holds(*written)
