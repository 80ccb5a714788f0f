"""Stuck guests, and the calls that hang in them: who is held, who is let go, and how many more may hang."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domstat.collect.quarantine import ORPHANS_MAX, Quarantine, suspects
from domstat.collect.wire import Ask, Occupied


def held(*uuids: str, ms: int = 2000) -> list[Occupied]:
    return [Occupied(uuid, f"name of {uuid}", ms) for uuid in uuids]


def test_at_first_nobody_is_held_and_there_is_all_the_room() -> None:
    quarantine = Quarantine()
    assert (len(quarantine), quarantine.uuids, quarantine.orphans, quarantine.room) == (0, (), 0, ORPHANS_MAX)
    assert quarantine.observe([]) == []


def test_a_stuck_guest_is_held_and_the_call_in_it_takes_room() -> None:
    quarantine = Quarantine()
    assert quarantine.abandon(held("a")) == held("a")
    assert (len(quarantine), quarantine.uuids, quarantine.orphans) == (1, ("a",), 1)
    assert quarantine.room == ORPHANS_MAX - 1


def test_one_call_is_one_orphan_however_many_guests_it_may_hang_in() -> None:
    quarantine = Quarantine()
    assert quarantine.abandon(held("a", "b", "c")) == held("a", "b", "c")
    assert (len(quarantine), quarantine.orphans) == (3, 1)


def test_only_those_not_known_to_be_stuck_are_told() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a"))
    assert quarantine.abandon(held("a", "b")) == held("b")
    assert (set(quarantine.uuids), quarantine.orphans) == ({"a", "b"}, 2)


def test_a_guest_named_twice_is_held_once() -> None:
    quarantine = Quarantine()
    assert quarantine.abandon([*held("a", ms=5), *held("a", ms=9)]) == held("a", ms=9)
    assert len(quarantine) == 1


def test_a_guest_that_answers_again_is_let_go_with_its_orphan() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a"))
    quarantine.abandon(held("b"))
    assert quarantine.observe(held("b", ms=9000)) == held("a")
    assert (quarantine.uuids, quarantine.orphans) == (("b",), 1)
    assert quarantine.observe([]) == held("b", ms=9000)
    assert (len(quarantine), quarantine.orphans, quarantine.room) == (0, 0, ORPHANS_MAX)


def test_who_is_let_go_is_told_with_the_longest_time_that_was_seen() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a", ms=1000))
    for ms in (11_000, 21_000):
        assert quarantine.observe(held("a", ms=ms)) == []
    assert quarantine.observe([]) == held("a", ms=21_000)


def test_an_orphan_stays_while_any_of_the_guests_it_may_hang_in_is_occupied() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a", "b"))
    quarantine.observe(held("b"))
    assert (quarantine.uuids, quarantine.orphans) == (("b",), 1)
    quarantine.observe([])
    assert quarantine.orphans == 0


def test_a_second_orphan_hangs_in_what_has_become_stuck_since_the_first() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a"))
    quarantine.abandon(held("a", "b"))
    quarantine.observe(held("a"))
    assert (quarantine.uuids, quarantine.orphans) == (("a",), 1), "the second call hung in b, which answers again"


def test_a_call_that_hangs_in_nobody_new_counts_all_the_same() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a"))
    assert quarantine.abandon(held("a")) == []
    assert quarantine.orphans == 2
    quarantine.observe([])
    assert quarantine.orphans == 0


def test_a_guest_that_answered_and_is_stuck_again_does_not_hold_the_orphans_of_before() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a", "b"))
    quarantine.observe(held("a"))
    quarantine.abandon(held("b"))
    assert quarantine.orphans == 2
    quarantine.observe(held("b"))
    assert (quarantine.uuids, quarantine.orphans) == (("b",), 1)


def test_somebody_elses_occupied_guest_is_none_of_ours() -> None:
    quarantine = Quarantine()
    quarantine.abandon(held("a"))
    assert quarantine.observe(held("a", "stranger")) == []
    assert quarantine.uuids == ("a",)


def test_there_is_never_less_than_no_room() -> None:
    quarantine = Quarantine()
    for number in range(ORPHANS_MAX + 2):
        assert quarantine.room == max(0, ORPHANS_MAX - number)
        quarantine.abandon(held(str(number)))
    assert quarantine.room == 0


guests = st.frozensets(st.sampled_from("abcde"))


@given(st.lists(st.tuples(st.booleans(), guests)))
def test_every_orphan_hangs_in_a_guest_that_is_held_and_everybody_held_was_told_once(
    life: list[tuple[bool, frozenset[str]]],
) -> None:
    quarantine = Quarantine()
    told: set[str] = set()
    for abandoned, uuids in life:
        if abandoned and uuids:
            new = {guest.uuid for guest in quarantine.abandon(held(*uuids))}
            assert not new & told
            told |= new
        else:
            freed = {guest.uuid for guest in quarantine.observe(held(*uuids))}
            assert freed == told - uuids
            told -= freed
        assert set(quarantine.uuids) == told
        assert all(orphan and orphan <= told for orphan in quarantine._orphans)


# --- who may hold up a call


def test_whoever_is_occupied_may_hold_up_a_call() -> None:
    assert suspects(held("a", "b", ms=9), Ask(63, 1), 5000) == held("a", "b", ms=9)


def test_a_guest_known_to_be_stuck_is_passed_over_while_the_command_in_it_is_older_than_the_call() -> None:
    watching = Ask(63, 1, watch=("a",))
    assert suspects([*held("a", ms=60_000), *held("b", ms=60_000)], watching, 5000) == held("b", ms=60_000)
    assert suspects(held("a", ms=4999), watching, 5000) == held("a", ms=4999)


def test_nobody_holds_up_a_call_that_needs_no_monitor() -> None:
    assert suspects(held("a"), Ask(63, 1, spare=True), 5000) == []
