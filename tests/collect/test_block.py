"""What a stream asks for, and which groups only now and then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import GROUPS
from domstat.collect import wire
from domstat.collect.block import ACTIVE, BACKING, NOWAIT, PROBE_EVERY_NS, Block, Probing, guarded
from domstat.model import Stamp, Value

RARE = ("perf", "iothread", "dirtyrate")
HOUR = PROBE_EVERY_NS
S = 1_000_000_000


# --- the question


@pytest.mark.parametrize(
    ("block", "stats", "flags"),
    [
        (Block("x", ("state",)), 1, ACTIVE | NOWAIT),
        (Block("x", ("state", "cpu-total", "balloon", "vcpu", "interface", "block")), 63, ACTIVE | NOWAIT),
        (Block("x", ("block", "vm"), backing=True), 32 | 1024, ACTIVE | NOWAIT | BACKING),
    ],
)
def test_a_block_asks_for_its_groups_of_active_guests_without_waiting(block: Block, stats: int, flags: int) -> None:
    assert (block.ask().stats, block.ask().flags) == (stats, flags)


def test_what_is_probed_is_asked_for_beside_the_blocks_own() -> None:
    block = Block("x", ("state",), probe=RARE)
    assert block.ask().stats == GROUPS["state"]
    assert block.ask(("perf", "iothread")).stats == GROUPS["state"] | GROUPS["perf"] | GROUPS["iothread"]


def test_guests_internals_and_the_host_are_asked_for_as_the_block_says() -> None:
    chosen = wire.Globs(("web-*",))
    ask = Block("x", ("state",), chosen, internals=True, host=True).ask()
    assert (ask.domains, ask.internals, ask.host) == (chosen, True, True)
    plain = Block("x", ("state",)).ask()
    assert (plain.domains, plain.internals, plain.host) == (wire.ALL, False, False)


def test_the_fields_that_are_kept_are_no_part_of_the_question() -> None:
    assert Block("x", ("state",), fields=wire.Globs(("cpu.*",))).ask() == Block("y", ("state",)).ask()


def test_guarded_is_what_needs_a_guests_monitor() -> None:
    assert guarded(tuple(GROUPS)) == ("balloon", "block", "cpu-total", "dirtyrate", "iothread", "vcpu", "vm")
    assert guarded(("state", "interface", "perf", "memory")) == ()


# --- probing


def hear(probing: Probing, *guests: dict[str, Value], **about: Any) -> None:
    """Let *probing* hear one answer, in which each guest has a shape of its own."""
    shapes = {number: tuple(guest) for number, guest in enumerate(guests)}
    rows = [wire.Guest(str(number), "", 1, number, list(guest.values())) for number, guest in enumerate(guests)]
    probing.hear(wire.Answer(Stamp(0, 0, "boot", 0), rows, **about), shapes)


def test_at_first_everything_is_asked_for() -> None:
    assert Probing(RARE).groups(5) == RARE


def test_groups_that_say_something_are_asked_for_every_tick_and_others_once_an_hour() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"cpu.time": 1, "iothread.1.poll-max-ns": 32768, "perf.cpu_cycles": 0})
    assert probing.groups(10 * S) == ("iothread",)
    assert probing.groups(HOUR - 1) == ("iothread",)
    assert probing.groups(HOUR) == RARE


@pytest.mark.parametrize("nothing", [0, 0.0, False, "page-sampling", ""])
def test_zeros_and_texts_say_nothing(nothing: Value) -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"dirtyrate.calc_mode": nothing})
    assert probing.groups(1) == ()


@pytest.mark.parametrize("something", [1, -1, 0.5, True])
def test_one_guest_that_says_something_is_enough(something: Value) -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"perf.cpu_cycles": 0}, {"perf.cpu_cycles": something}, {"perf.cpu_cycles": 0})
    assert probing.groups(1) == ("perf",)


def test_an_answer_in_parts_is_heard_to_its_end() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"perf.cpu_cycles": 1}, more=True)
    hear(probing, {"iothread.count": 2}, more=True)
    hear(probing, {"cpu.time": 1})
    assert probing.groups(1) == ("perf", "iothread")


def test_an_answer_that_breaks_off_decides_nothing() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"perf.cpu_cycles": 1})
    probing.groups(HOUR)
    hear(probing, {"perf.cpu_cycles": 0}, more=True)
    assert probing.groups(HOUR + 1) == ("perf",)


def test_who_falls_silent_is_found_out_within_the_hour() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"perf.cpu_cycles": 1})
    probing.groups(10 * S)
    hear(probing, {"perf.cpu_cycles": 0})
    assert probing.groups(20 * S) == ("perf",), "a tick that did not ask for everything decides nothing"
    probing.groups(HOUR)
    hear(probing, {"perf.cpu_cycles": 0})
    assert probing.groups(HOUR + 1) == ()


def test_a_new_guest_has_everything_asked_for_with_the_next_tick() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"cpu.time": 1})
    assert probing.groups(10 * S) == ()
    probing.see_a_new_guest()
    assert probing.groups(20 * S) == RARE
    hear(probing, {"cpu.time": 1})
    assert probing.groups(20 * S + HOUR - 1) == ()
    assert probing.groups(20 * S + HOUR) == RARE


def test_a_new_guest_seen_in_a_tick_that_asked_for_everything_changes_nothing() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    probing.see_a_new_guest()
    hear(probing, {"cpu.time": 1})
    assert probing.groups(1) == ()


def test_a_tick_that_failed_is_asked_again_once_there_is_a_guest() -> None:
    probing = Probing(RARE)
    probing.groups(0)  # and nothing was heard: the host is down
    assert probing.groups(10 * S) == ()
    probing.see_a_new_guest()
    assert probing.groups(20 * S) == RARE


def test_guests_that_could_not_be_asked_leave_what_is_known_and_the_next_tick_asks() -> None:
    probing = Probing(RARE)
    probing.groups(0)
    hear(probing, {"iothread.count": 2})
    assert probing.groups(HOUR) == RARE
    hear(probing, {"perf.cpu_cycles": 5}, more=True)
    hear(probing, {"state.state": 1}, spared=True)
    assert probing.talkative == ("perf", "iothread")
    assert probing.groups(HOUR + 10 * S) == RARE
    hear(probing, {"perf.cpu_cycles": 5, "iothread.count": 0})
    assert probing.groups(HOUR + 20 * S) == ("perf",)


def test_a_block_without_rare_groups_never_asks_for_any() -> None:
    probing = Probing(())
    assert probing.groups(0) == ()
    probing.see_a_new_guest()
    hear(probing, {"perf.cpu_cycles": 5})
    assert probing.groups(HOUR) == ()


a_tick = st.tuples(st.integers(1, HOUR // 2), st.booleans(), st.booleans(), st.frozensets(st.sampled_from(RARE)))


@given(st.lists(a_tick))
def test_nothing_talkative_is_forgotten_and_no_group_waits_for_more_than_an_hour(
    ticks: list[tuple[int, bool, bool, frozenset[str]]],
) -> None:
    names = {"perf": "perf.cpu_cycles", "iothread": "iothread.count", "dirtyrate": "dirtyrate.megabytes_per_second"}
    probing = Probing(RARE)
    now = asked_all = 0
    for passed, new, spared, talking in [(0, False, False, frozenset[str]()), *ticks]:
        now += passed
        asked = probing.groups(now)
        if asked == RARE:
            asked_all = now
        assert now - asked_all < HOUR
        if not spared:
            hear(probing, {names[group]: int(group in talking) for group in asked})
            if asked == RARE:
                assert set(probing.groups(now)) >= talking
        if new:
            probing.see_a_new_guest()
