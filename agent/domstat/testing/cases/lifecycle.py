"""From opening to closing, and writing in between."""

from __future__ import annotations

import pytest

from domstat.sink import Fatal, Retry
from domstat.testing.records import batch, empty, guest, ticks
from domstat.testing.rig import Rig, copies, fail, raises

MANY = 5_000
"""Guests of the largest host anybody has shown us, times five."""


class Lifecycle:
    """A sink that has nothing in its way."""

    def test_it_can_be_opened_and_closed_twice(self, rig: Rig) -> None:
        """Closing what is closed is nothing, and one that was closed can be opened again."""
        sink = rig.make()
        one, two = ticks(2, start_ms=rig.at(0))
        for tick in (one, two):
            sink.open(rig.context())
            rig.write(sink, tick)
            sink.close()
            sink.close()
        if rig.keeps.durable:
            rig.holds(one, two)

    def test_one_that_was_never_opened_can_be_closed(self, rig: Rig) -> None:
        """The agent closes a sink too whose opening failed."""
        sink = rig.make()
        sink.close()
        sink.open(rig.context())
        tick = batch(guest(time_ms=rig.at(0)))
        rig.write(sink, tick)
        rig.holds(tick)

    def test_what_is_written_before_it_is_open_is_refused_or_kept(self, rig: Rig) -> None:
        """Nothing may get lost without a word, though the agent never does this."""
        sink = rig.make()
        tick = batch(guest(time_ms=rig.at(0)))
        refused = raises(lambda: sink.write([tick]), Retry, Fatal, when="written to before it was open")
        sink.open(rig.context())
        if refused is not None:
            rig.write(sink, tick)
        rig.holds(tick)

    def test_an_empty_batch_is_nothing(self, rig: Rig) -> None:
        """A tick without guests has no records, and a call may have no batches."""
        sink = rig.open()
        rig.write(sink)
        rig.write(sink, empty(rig.at(0)))
        rig.holds()
        tick = batch(guest(time_ms=rig.at(1)))
        rig.write(sink, empty(rig.at(0)), tick)
        rig.holds(tick)

    def test_one_record_is_stored_with_all_its_values(self, rig: Rig) -> None:
        """What is written is there when write returns, not when the sink is closed."""
        sink = rig.open()
        tick = batch(guest(time_ms=rig.at(0)))
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_what_was_stored_is_still_there_when_it_is_closed(self, rig: Rig) -> None:
        """Closing takes nothing away and adds nothing."""
        sink = rig.open()
        written = ticks(2, start_ms=rig.at(0))
        rig.write(sink, *written)
        sink.close()
        if not rig.keeps.durable:
            pytest.skip("what it keeps goes with it, by its nature")
        rig.holds(*written)

    def test_five_thousand_guests_fit_into_a_tick(self, rig: Rig) -> None:
        """A large host's tick is one batch; none of its guests gets lost."""
        sink = rig.open()
        time_ms = rig.at(0)
        figures = {"cpu.time": 86_400_000_000_000, "balloon.current": 4_194_304}
        guests = [guest(number, time_ms=time_ms, params=figures) for number in range(MANY)]
        tick = batch(*guests)
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_several_ticks_can_come_in_one_call(self, rig: Rig) -> None:
        """A backlog does; each value stays with its tick."""
        sink = rig.open()
        written = ticks(5, start_ms=rig.at(0))
        rig.write(sink, *written)
        rig.reported_nothing()
        rig.holds(*written)

    def test_the_order_of_ticks_is_kept(self, rig: Rig) -> None:
        """What came last counts as the newest; and where a store has an order, it is that of the writing."""
        sink = rig.open()
        written = ticks(6, start_ms=rig.at(0))
        for portion in (written[:1], written[1:3], written[3:]):
            rig.write(sink, *portion)
        rig.holds(*written)
        rig.keeps_order(*written)

    def test_it_prints_nothing(self, rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
        """Standard output is another sink's."""
        if rig.keeps.prints:
            pytest.skip("printing is what it is for")
        capfd.readouterr()
        sink = rig.open()
        rig.write(sink, *ticks(2, start_ms=rig.at(0)))
        sink.close()
        printed = capfd.readouterr().out
        if printed:
            fail(f"it printed {printed[:80]!r}; context.log is where it may say something")

    def test_it_changes_nothing_that_it_is_given(self, rig: Rig) -> None:
        """Other sinks get the very same records."""
        sink = rig.open()
        written = ticks(2, start_ms=rig.at(0))
        before = copies(written)
        rig.write(sink, *written)
        if copies(written) != before:
            fail("it changed the values of records, which all sinks share: make a copy")
