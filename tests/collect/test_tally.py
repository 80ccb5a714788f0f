"""What a stream counts of itself."""

from __future__ import annotations

from domstat.catalog import FIELDS
from domstat.collect import wire
from domstat.collect.tally import Tally, Tick
from domstat.model import Kind, Partial, Stamp
from records import guest_record, other_record

NOBODY = Tally()


def answer(time_ms: int, call_ns: int, cost: wire.Cost | None = None) -> wire.Answer:
    return wire.Answer(Stamp(time_ms, 0, "boot", call_ns), [], cost=cost)


def test_a_tick_adds_up_what_its_answers_brought() -> None:
    tick = Tick(None, ("state",))
    whole, partial = guest_record(), guest_record(partial=Partial(("block",)))
    tick.count(answer(1000, 5), [whole, partial])
    tick.count(answer(2000, 7), [whole])
    figures = tick.figures(NOBODY)
    assert figures["agent.call.time"] == 12
    assert figures["agent.calls"] == 2
    assert figures["agent.guests"] == 3
    assert figures["agent.partial"] == 1
    assert tick.params == 3 * len(whole.params)


def test_how_late_it_was_is_said_of_the_first_answer_in_nanoseconds() -> None:
    tick = Tick(1000, ())
    tick.count(answer(1003, 0), [])
    tick.count(answer(9000, 0), [])
    assert tick.lateness_ms == 3
    assert tick.figures(NOBODY)["agent.lateness"] == 3_000_000


def test_a_tick_before_its_time_is_late_by_less_than_nothing() -> None:
    tick = Tick(1000, ())
    tick.count(answer(998, 0), [])
    assert tick.figures(NOBODY)["agent.lateness"] == -2_000_000


def test_what_nobody_knows_is_absent() -> None:
    tick = Tick(None, ())
    tick.count(answer(1000, 0), [])
    figures = tick.figures(NOBODY)
    assert "agent.lateness" not in figures
    assert not any(key.startswith("agent.cost.") for key in figures)


def test_the_cost_is_that_of_the_answer_which_has_one() -> None:
    tick = Tick(None, ())
    tick.count(answer(1000, 0, wire.Cost(7, None, 0)), [])
    tick.count(answer(1000, 0), [])
    figures = tick.figures(NOBODY)
    assert (figures["agent.cost.libvirtd"], figures["agent.cost.worker"]) == (7, 0)
    assert "agent.cost.qemu" not in figures, "what /proc does not tell is no zero"


def test_what_was_counted_since_the_start_is_said_as_it_is() -> None:
    figures = Tick(None, ()).figures(Tally(1, 2, 3, 4, 5, 6))
    said = [figures[f"agent.{what}"] for what in ("skipped", "failed", "clock_steps", "workers_killed", "reconnects")]
    assert (said, figures["agent.quarantined"]) == ([1, 2, 3, 4, 5], 6)


def test_everything_that_is_said_stands_in_the_catalogue() -> None:
    tick = Tick(1000, ())
    tick.count(answer(1003, 0, wire.Cost(1, 2, 3)), [other_record(Kind.GUEST)])
    of_delivering = ("agent.sink.", "agent.journal.")
    ours = {name for name in FIELDS if name.startswith("agent.") and not name.startswith(of_delivering)}
    assert set(tick.figures(NOBODY)) == ours
