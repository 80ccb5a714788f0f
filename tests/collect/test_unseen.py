"""What happened while nobody listened: two ticks, and what was heard between them, tell."""

from __future__ import annotations

from domstat.collect.unseen import Unseen
from domstat.collect.wire import Change
from domstat.model import Batch, Domain, Event
from records import agent_record, batch, guest_record

OTHER = "11111111-2222-4333-8444-555555555555"
STARTED = ("lifecycle", 2)
STOPPED = ("lifecycle", 5)


def tick(*guests: Domain) -> Batch:
    records = [guest_record(uuid=guest.uuid, name=guest.name, id=guest.id) for guest in guests]
    return batch(*records, agent_record())


def part(*guests: Domain) -> Batch:
    return batch(*(guest_record(uuid=guest.uuid, name=guest.name, id=guest.id) for guest in guests))


def heard(what: tuple[str, int], guest: Domain) -> Change:
    return Change(what[0], guest.uuid, guest.name, guest.id or -1, (what[1], 0))


A = Domain("a", "a", 1)
A_AGAIN = Domain("a", "a", 7)
B = Domain(OTHER, "b", 2)


def test_the_guests_of_the_first_tick_have_not_just_been_started() -> None:
    unseen = Unseen()
    unseen.miss()
    assert unseen.see(tick(A, B)) == []


def test_nothing_is_made_up_while_everything_is_heard() -> None:
    unseen = Unseen()
    unseen.see(tick(A))
    assert unseen.see(tick(A, B)) == []


def test_a_guest_that_is_gone_was_stopped_and_one_that_is_new_was_started() -> None:
    unseen = Unseen()
    unseen.see(tick(A))
    unseen.miss()
    assert unseen.see(tick(B)) == [(A, Event("stopped", "unseen")), (B, Event("started", "unseen"))]


def test_another_domain_id_is_a_stop_and_a_start() -> None:
    unseen = Unseen()
    unseen.see(tick(A, B))
    unseen.miss()
    assert unseen.see(tick(A_AGAIN, B)) == [(A, Event("stopped", "unseen")), (A_AGAIN, Event("started", "unseen"))]


def test_what_was_heard_before_the_outage_is_not_told_twice() -> None:
    unseen = Unseen()
    unseen.see(tick(A))
    unseen.hear([heard(STARTED, B), heard(STOPPED, A)])
    unseen.miss()
    assert unseen.see(tick(B)) == []


def test_a_tick_in_parts_is_judged_when_it_is_complete() -> None:
    unseen = Unseen()
    unseen.see(tick(A, B))
    unseen.miss()
    assert unseen.see(part(A)) == []
    assert unseen.see(tick(B)) == []


def test_it_is_said_once() -> None:
    unseen = Unseen()
    unseen.see(tick(A))
    unseen.miss()
    assert len(unseen.see(tick())) == 1
    assert unseen.see(tick()) == []


def test_events_before_the_first_tick_are_no_tick() -> None:
    unseen = Unseen()
    unseen.hear([heard(STARTED, B)])
    unseen.miss()
    assert unseen.see(tick(A)) == []


def test_what_was_missed_before_the_first_tick_is_not_looked_for_in_the_second() -> None:
    unseen = Unseen()
    unseen.miss()
    unseen.see(tick(A))
    assert unseen.see(tick(A, B)) == []
