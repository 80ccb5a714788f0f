"""Slow is told from stuck, and a tick in which guests are stuck is finished without them."""

from __future__ import annotations

import pytest

from collect.asking import ASK, SHORT_S, GiveUp, Make, ask, asked, names, pid
from domstat.collect import hypervisor as hypervisor_module
from domstat.collect import quarantine as quarantine_module
from domstat.collect import wire
from domstat.collect.errors import (
    OverdueError,
    UnreachableError,
    WorkerDiedError,
)
from heard import Log

# --- slow is not stuck


@pytest.mark.parametrize("looks", ["idle", "cannot-tell", "busy:a=40&b=20", "silence"])
def test_a_slow_answer_is_waited_for(make: Make, log: Log, looks: str) -> None:
    hypervisor = make(f"sleep:0.35+answer;looks={looks}")
    assert names(ask(hypervisor, SHORT_S)) == [["web-1"]]
    assert hypervisor.workers_killed == 0
    assert log.said == []


def test_while_guests_are_at_work_an_answer_is_waited_for_however_long_it_takes(make: Make, give_up: GiveUp) -> None:
    give_up("STALL_S")
    hypervisor = make("sleep:0.6+answer;looks=busy:a=20")
    assert len(ask(hypervisor, SHORT_S)) == 1


def test_a_slow_part_is_waited_for_too(make: Make) -> None:
    hypervisor = make("part:a+sleep:0.3+answer:b;looks=busy:c=20")
    assert names(ask(hypervisor, SHORT_S)) == [["a"], ["b"]]


def test_an_answer_that_comes_before_the_look_is_taken(make: Make) -> None:
    hypervisor = make("sleep:0.3+answer;looks=sleep:2+busy:a=9000")
    assert len(ask(hypervisor, SHORT_S)) == 1
    assert hypervisor.workers_killed == 0


def test_a_slow_call_is_not_killed_for_a_guest_that_has_been_stuck_since_before_it(make: Make) -> None:
    hypervisor = make("answer,sleep:0.3+still;looks=busy:a=90000")
    ask(hypervisor)
    hypervisor.quarantine.abandon([wire.Occupied("a", "a", 60_000)])
    assert len(ask(hypervisor, SHORT_S)) == 1
    assert (hypervisor.workers_killed, hypervisor.quarantine.orphans) == (0, 1)


def test_a_call_that_hangs_elsewhere_is_given_up_though_a_guest_is_known_to_be_stuck(
    make: Make, give_up: GiveUp
) -> None:
    give_up("STALL_S")
    hypervisor = make("answer,hang;looks=busy:a=90000")
    ask(hypervisor)
    hypervisor.quarantine.abandon([wire.Occupied("a", "a", 60_000)])
    with pytest.raises(OverdueError, match="no guest is why"):
        ask(hypervisor, SHORT_S)


# --- stuck


@pytest.mark.parametrize(("deadline_s", "after_s"), [(10.0, 1.0), (2.0, 1.0), (0.4, 0.2)])
def test_a_guest_is_stuck_after_a_second_or_half_of_a_short_deadline(deadline_s: float, after_s: float) -> None:
    assert hypervisor_module._stuck_after(deadline_s) == after_s


@pytest.mark.parametrize(("ms", "call", "killed"), [(49, "sleep:0.3+answer", 0), (51, "hang", 1)])
def test_who_is_occupied_for_longer_than_that_is_stuck(make: Make, ms: int, call: str, killed: int) -> None:
    hypervisor = make(f"answer,{call};looks=busy:a={ms}/answer")
    ask(hypervisor)
    ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == killed


def test_a_tick_in_which_a_guest_gets_stuck_is_finished_guest_by_guest(make: Make, log: Log) -> None:
    hypervisor = make("answer,hang;looks=busy:a=9000/answer:b&c")
    ask(hypervisor)
    old = hypervisor.worker_pid
    (answer,) = ask(hypervisor, SHORT_S)
    assert names([answer]) == [["b", "c"]]
    assert pid(answer) == hypervisor.worker_pid != old
    question = asked(answer)
    assert (question.alone, question.limit_s, question.done, question.host) == (4, SHORT_S / 2, (), True)
    assert (question.stats, question.spare) == (ASK.stats, False)
    assert (hypervisor.quarantine.uuids, hypervisor.quarantine.orphans) == (("a",), 1)
    assert hypervisor.workers_killed == 1
    assert log.events() == ["guest_stuck"]
    facts = log.facts("guest_stuck")
    assert (facts["host"], facts["guest"], facts["uuid"], facts["for_s"]) == ("kvm1", "a", "a", 9.0)


def test_guests_that_were_answered_before_it_are_not_asked_again(make: Make) -> None:
    hypervisor = make("answer,part:x&y+hang;looks=busy:a=9000/answer:b")
    ask(hypervisor)
    first, second = ask(hypervisor, SHORT_S)
    assert (names([first, second]), first.more, second.more) == ([["x", "y"], ["b"]], True, False)
    assert asked(second).done == ("x", "y")
    assert not asked(second).host, "the host's sample came with the first part"


def test_the_next_tick_watches_the_stuck_and_lets_go_of_those_that_answer(make: Make, log: Log) -> None:
    hypervisor = make("answer,hang;looks=busy:a=1000&b=1000/answer,still:31000,answer,answer")
    ask(hypervisor)
    ask(hypervisor, SHORT_S)
    (held,) = ask(hypervisor)
    assert (set(asked(held).watch), asked(held).spare) == ({"a", "b"}, False)
    assert len(hypervisor.quarantine) == 2
    ask(hypervisor)
    assert (len(hypervisor.quarantine), hypervisor.quarantine.orphans) == (0, 0)
    assert log.events() == ["guest_stuck", "guest_stuck", "guest_answers", "guest_answers"]
    assert log.facts("guest_answers") == {"host": "kvm1", "guest": "a", "uuid": "a", "after_s": 31.0}
    assert asked(ask(hypervisor)[0]).watch == ()


def test_others_that_are_found_stuck_on_the_way_are_held_too_and_their_worker_replaced(make: Make, log: Log) -> None:
    hypervisor = make("hang;looks=busy:a=9000/found:b/answer")
    whole, spared = ask(hypervisor, SHORT_S)
    assert (names([whole, spared]), spared.spared) == ([["web-1"], ["b"]], True)
    assert (whole.more, spared.more) == (True, False)
    assert (set(hypervisor.quarantine.uuids), hypervisor.quarantine.orphans) == ({"a", "b"}, 2)
    assert hypervisor.workers_killed == 2, "a thread of the second worker hangs in b"
    assert [facts["guest"] for _, event, facts in log.said if event == "guest_stuck"] == ["a", "b"]
    assert pid(ask(hypervisor)[0]) == hypervisor.worker_pid != pid(whole)


def test_while_guests_are_unasked_the_next_worker_asks_on(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=9000/found:b&c:5/found:d:0/answer")
    answers = ask(hypervisor, SHORT_S)
    assert names(answers) == [["web-1"], ["b", "c"], ["web-1"], ["d"]]
    assert [answer.more for answer in answers] == [True, True, True, False]
    first, second = asked(answers[0]), asked(answers[2])
    assert (first.done, first.host) == ((), True)
    assert (second.done, second.host) == (("web-1", "b", "c"), False)
    assert (hypervisor.quarantine.orphans, hypervisor.workers_killed) == (4, 3)


def test_a_worker_in_which_nobody_got_stuck_goes_on(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=9000/answer")
    (answer,) = ask(hypervisor, SHORT_S)
    assert pid(ask(hypervisor)[0]) == pid(answer)


def test_a_stuck_guest_that_was_destroyed_meanwhile_is_held_by_its_uuid(make: Make, log: Log) -> None:
    hypervisor = make("hang;looks=busy:a=9000/found:b:0:b/answer")
    assert names(ask(hypervisor, SHORT_S)) == [["web-1"], []]
    assert log.said[-1][2]["guest"] == "b"
    ask(hypervisor)
    assert len(hypervisor.quarantine) == 0


# --- too many stuck


@pytest.fixture
def two_orphans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine_module, "ORPHANS_MAX", 2)


@pytest.mark.usefixtures("two_orphans")
def test_no_more_calls_are_left_hanging_than_there_is_room_for(make: Make, log: Log) -> None:
    hypervisor = make("hang;looks=busy:a=9000/found:b:3/answer:c&d&e")
    whole, spared, rest = ask(hypervisor, SHORT_S)
    assert asked(whole).alone == 1
    assert names([whole, spared, rest]) == [["web-1"], ["b"], ["c", "d", "e"]]
    assert [answer.more for answer in (whole, spared, rest)] == [True, True, False]
    question = asked(rest)
    assert (question.alone, question.spare, question.done) == (0, True, ("web-1", "b"))
    assert (hypervisor.quarantine.orphans, hypervisor.quarantine.room) == (2, 0)
    assert log.events("error") == ["too_many_guests_stuck"]
    assert log.facts("too_many_guests_stuck")["stuck"] == 2


@pytest.mark.usefixtures("two_orphans")
def test_without_room_nothing_is_asked_that_a_guest_could_hold_up_until_one_answers(make: Make) -> None:
    hypervisor = make("still,answer,answer")
    hypervisor.quarantine.abandon([wire.Occupied("a", "a", 1)])
    hypervisor.quarantine.abandon([wire.Occupied("b", "b", 1)])
    (spared,) = ask(hypervisor)
    assert (asked(spared).spare, set(asked(spared).watch)) == (True, {"a", "b"})
    ask(hypervisor)
    assert not asked(ask(hypervisor)[0]).spare


@pytest.mark.usefixtures("two_orphans")
def test_a_call_that_needs_no_monitor_is_never_taken_to_be_stuck(make: Make, give_up: GiveUp) -> None:
    hypervisor = make("answer,sleep:0.3+still,hang;looks=busy:a=9000&c=9000")
    ask(hypervisor)
    for uuid in "ab":
        hypervisor.quarantine.abandon([wire.Occupied(uuid, uuid, 1)])
    (spared,) = ask(hypervisor, SHORT_S)
    assert spared.spared
    give_up("STALL_S")
    with pytest.raises(OverdueError, match="no guest is why"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.quarantine.orphans == 2


@pytest.mark.usefixtures("two_orphans")
def test_the_last_part_of_such_a_tick_may_be_slow_as_well(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=9000/found:b:3/sleep:0.3+answer:c;looks=busy:a=9000&b=9000")
    assert names(ask(hypervisor, SHORT_S)) == [["web-1"], ["b"], ["c"]]


# --- what goes wrong on the way of finishing such a tick


def test_a_search_that_does_not_end_is_given_up_with_its_worker(make: Make, give_up: GiveUp) -> None:
    give_up("ISOLATION_S")
    hypervisor = make("hang;looks=busy:a=9000/hang/answer")
    with pytest.raises(OverdueError, match="did not get through"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 2
    assert hypervisor.quarantine.uuids == ("a",)
    assert len(ask(hypervisor)) == 1


@pytest.mark.parametrize("what", ["die", "rubbish", "wrong"])
def test_a_worker_that_fails_in_the_search_is_replaced_and_the_stuck_stay_held(make: Make, what: str) -> None:
    hypervisor = make(f"hang;looks=busy:a=9000/{what}/still")
    with pytest.raises(WorkerDiedError):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 2
    assert asked(ask(hypervisor)[0]).watch == ("a",), "a worker's death says nothing of the daemon's calls"


def test_a_daemon_that_goes_away_in_the_search_is_an_outage_and_the_stuck_stay_held(make: Make, log: Log) -> None:
    hypervisor = make("hang;looks=busy:a=9000/unreachable")
    with pytest.raises(UnreachableError):
        ask(hypervisor, SHORT_S)
    assert (hypervisor.quarantine.uuids, hypervisor.quarantine.orphans) == (("a",), 1)
    assert log.events() == ["guest_stuck", "host_lost"], "nobody answered, so nobody is said to have"


@pytest.mark.usefixtures("two_orphans")
def test_a_worker_that_fails_at_the_very_last_part_is_replaced(make: Make, give_up: GiveUp) -> None:
    give_up("STALL_S")
    hypervisor = make("hang;looks=busy:a=9000/found:b:3/hang/answer")
    with pytest.raises(OverdueError, match="no guest is why"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 3
    assert len(ask(hypervisor)) == 1
