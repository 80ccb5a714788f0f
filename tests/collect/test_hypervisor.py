"""The agent's side of a host: slow is told from stuck, ticks get finished, workers are replaced and outages said."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domstat.collect import hypervisor as hypervisor_module
from domstat.collect import quarantine as quarantine_module
from domstat.collect import wire
from domstat.collect.errors import (
    ClosedError,
    CollectError,
    OverdueError,
    RefusedError,
    UnreachableError,
    WorkerDiedError,
)
from domstat.collect.hypervisor import Collected, Hypervisor
from faked import FAKE, STARTED_S, descriptors, eventually, is_alive, is_reaped, number_workers
from heard import Log

ASK = wire.Ask(63, 1, host=True)
SHORT_S = 0.1
"""A deadline that a worker which sleeps or hangs is past."""

LONG_S = 500.0
"""A deadline that is not waited for to its end."""

Make = Callable[..., Hypervisor]
GiveUp = Callable[[str], None]


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and back off from nothing."""
    monkeypatch.setattr(hypervisor_module, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(hypervisor_module, "BACKOFF_S", 0.0)


@pytest.fixture
def give_up(monkeypatch: pytest.MonkeyPatch) -> GiveUp:
    """Have one of the limits, by its name, be over soon."""
    return lambda limit: monkeypatch.setattr(hypervisor_module, limit, 0.25)


@pytest.fixture
def happened() -> list[wire.Happened]:
    return []


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log, happened: list[wire.Happened]) -> Iterator[Make]:
    """Make hypervisors whose fake workers behave as the plan says; all are closed in the end."""
    number_workers(monkeypatch)
    monkeypatch.setenv("DOMSTAT_FAKE_GO", str(tmp_path / "go"))
    made: list[Hypervisor] = []

    def make(plan: str, command: tuple[str, ...] = FAKE) -> Hypervisor:
        made.append(Hypervisor("kvm1", plan, log, command, happened.append))
        return made[-1]

    yield make
    for hypervisor in made:
        hypervisor.close()


@pytest.fixture
def go_on(tmp_path: Path) -> Callable[[], None]:
    """Have the workers that wait go on."""
    return (tmp_path / "go").touch


def ask(hypervisor: Hypervisor, deadline_s: float = STARTED_S, question: wire.Ask = ASK) -> list[wire.Answer]:
    """Make one tick's call to its end; return the answers."""
    return [answer for answer, _ in hypervisor.ask(question, deadline_s)]


def names(answers: list[wire.Answer]) -> list[list[str]]:
    return [[guest.name for guest in answer.guests] for answer in answers]


def pid(answer: wire.Answer) -> object:
    """Return the pid of the worker that answered."""
    return answer.guests[0].values[1]


def asked(answer: wire.Answer) -> wire.Ask:
    """Return the question as it came to the worker that answered."""
    text = answer.guests[0].values[0]
    assert isinstance(text, str)
    return msgspec.json.decode(text, type=wire.Ask)


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, caught


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


# --- a tick


def test_an_answer_comes_with_the_names_behind_its_shapes(make: Make) -> None:
    ((answer, shapes),) = make("answer").ask(ASK, STARTED_S)
    (guest,) = answer.guests
    assert shapes[guest.shape] == ("asked", "pid")
    assert asked(answer) == ASK


def test_shapes_are_remembered_for_later_answers(make: Make) -> None:
    hypervisor = make("answer,no-shapes")
    ask(hypervisor)
    ((answer, shapes),) = hypervisor.ask(ASK, STARTED_S)
    assert answer.shapes == {}
    assert shapes[1] == ("asked", "pid")


def test_one_worker_serves_all_questions(make: Make) -> None:
    hypervisor = make("answer")
    pids = {pid(answer) for _ in range(3) for answer in ask(hypervisor)}
    assert pids == {hypervisor.worker_pid}
    assert hypervisor.workers_killed == 0


def test_answers_in_parts_are_given_as_they_come(make: Make, go_on: Callable[[], None]) -> None:
    hypervisor = make("part:a&b+part:c+wait+answer:d")
    collected: Iterator[Collected] = hypervisor.ask(ASK, STARTED_S)
    first, second = next(collected), next(collected)
    go_on()
    (last,) = collected
    answers = [first[0], second[0], last[0]]
    assert names(answers) == [["a", "b"], ["c"], ["d"]]
    assert [answer.more for answer in answers] == [True, True, False]


def test_every_part_has_the_whole_deadline(make: Make, log: Log) -> None:
    hypervisor = make(f"answer,{'sleep:0.25+part:a+' * 8}answer:b;looks=die")
    ask(hypervisor)
    assert names(ask(hypervisor, 1.8)) == [*[["a"]] * 8, ["b"]], "in 2 s"


def test_what_a_worker_notes_is_logged(make: Make, log: Log) -> None:
    ask(make("note"))
    assert log.facts("driver_note") == {"host": "kvm1", "note": "an odd driver"}


def test_what_happens_is_passed_on_and_every_connection_but_the_first_is_a_reconnect(
    make: Make, happened: list[wire.Happened]
) -> None:
    hypervisor = make("connected+event:a+answer,connected+answer")
    assert hypervisor.reconnects == 0
    ask(hypervisor)
    assert hypervisor.reconnects == 0
    ask(hypervisor)
    assert hypervisor.reconnects == 1
    assert [what.missed for what in happened] == [True, False, True]


def test_whoever_stops_hearing_halfway_does_not_hold_up_the_next_nor_take_its_shapes(make: Make) -> None:
    hypervisor = make("part:a+answer/no-shapes,answer")
    collected = hypervisor.ask(ASK, STARTED_S)
    assert isinstance(collected, Iterator)
    next(collected)
    collected.close()  # type: ignore[attr-defined]
    assert hypervisor.workers_killed == 1, "what the rest would have said is lost, new shapes with it"
    assert len(ask(hypervisor)) == 1


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


# --- overdue for good


def test_a_call_that_nobody_works_on_is_given_up_and_its_worker_replaced(make: Make, log: Log, give_up: GiveUp) -> None:
    give_up("STALL_S")
    hypervisor = make("answer,hang/answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    started = time.monotonic()
    with pytest.raises(OverdueError, match="no guest is why") as caught:
        ask(hypervisor, SHORT_S)
    assert time.monotonic() - started > 0.25
    assert caught.value.reason == "deadline"
    assert is_reaped(old)
    assert hypervisor.workers_killed == 1
    assert hypervisor.worker_pid not in {None, old}, "the next is already there"
    assert log.said == [], "not an outage: whoever asked says what it means"
    assert pid(ask(hypervisor)[0]) == hypervisor.worker_pid


def test_a_daemon_that_does_not_even_answer_a_look_hangs(make: Make, log: Log, give_up: GiveUp) -> None:
    give_up("HUNG_S")
    hypervisor = make("answer,hang;looks=silence")
    ask(hypervisor)
    with pytest.raises(UnreachableError, match="its daemon hangs"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 1
    assert log.events() == ["host_lost"]


def test_a_connection_that_does_not_come_about_is_given_up_with_its_worker(
    make: Make, log: Log, give_up: GiveUp
) -> None:
    give_up("CONNECT_S")
    hypervisor = make("hang;looks=connecting/answer")
    with pytest.raises(UnreachableError, match=r"could not be connected to in 0\.25 s"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 1, "else it would make every call it was asked for, once it came through"
    assert log.facts("host_lost")["reason"] == "host-down"
    assert len(ask(hypervisor)) == 1


def test_a_worker_that_dies_while_it_is_waited_for_is_told(make: Make) -> None:
    with pytest.raises(WorkerDiedError):
        ask(make("sleep:0.3+die"), SHORT_S)


@pytest.mark.parametrize("looks", ["die", "wrong", "rubbish"])
def test_a_look_that_goes_wrong_costs_the_worker(make: Make, looks: str) -> None:
    hypervisor = make(f"hang;looks={looks}/answer")
    with pytest.raises(WorkerDiedError):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 1
    assert len(ask(hypervisor)) == 1


def test_a_deadline_that_has_passed_waits_no_longer_for_that(make: Make, give_up: GiveUp) -> None:
    give_up("STALL_S")
    started = time.monotonic()
    with pytest.raises(OverdueError):
        ask(make("hang"), -5.0)
    assert time.monotonic() - started < STARTED_S


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


# --- workers that fail, and hosts that are lost


@pytest.mark.parametrize("what", ["die", "half", "rubbish", "not-utf8", "huge", "wrong"])
def test_a_worker_that_dies_or_talks_rubbish_is_replaced(make: Make, what: str) -> None:
    hypervisor = make(f"{what}/answer")
    with pytest.raises(WorkerDiedError) as caught:
        ask(hypervisor)
    assert caught.value.reason == "worker-died"
    assert hypervisor.workers_killed == 1
    assert len(ask(hypervisor)) == 1


def test_a_worker_that_dies_between_two_parts_leaves_the_first(make: Make) -> None:
    hypervisor = make("part:a+die/answer")
    collected = hypervisor.ask(ASK, STARTED_S)
    assert names([next(collected)[0]]) == [["a"]]
    with pytest.raises(WorkerDiedError):
        next(collected)
    assert names(ask(hypervisor)) == [["web-1"]]


def test_a_worker_that_died_while_nobody_asked_is_replaced_unnoticed_and_reaped(make: Make, log: Log) -> None:
    hypervisor = make("answer+sleep:0.05+die/answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    assert eventually(lambda: not is_alive(old))
    assert eventually(lambda: hypervisor._process is None or hypervisor._process.has_ended)
    assert len(ask(hypervisor)) == 1
    assert is_reaped(old)
    assert log.said == []


def test_a_worker_that_lives_but_cannot_be_heard_any_more_is_not_left_behind(make: Make) -> None:
    hypervisor = make("answer+sleep:0.05+rubbish-unasked/answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    assert eventually(lambda: hypervisor._process is not None and hypervisor._process.has_ended)
    ask(hypervisor)
    assert is_reaped(old)


@pytest.mark.parametrize("command", [("/nonexistent/python",), ("false",)])
def test_a_worker_that_cannot_be_started_is_an_error_like_any_other(make: Make, command: tuple[str, ...]) -> None:
    hypervisor = make("answer", command)
    for _ in range(3):
        with pytest.raises(WorkerDiedError):
            ask(hypervisor)


def test_a_next_worker_that_cannot_be_started_at_once_is_tried_again_with_the_next_tick(make: Make, log: Log) -> None:
    hypervisor = make("die,answer/answer")
    hypervisor._running()
    hypervisor._command = ("/nonexistent/python",)
    with pytest.raises(WorkerDiedError, match="ended"):
        ask(hypervisor)
    assert log.events() == ["worker_not_started", "host_lost"]
    with pytest.raises(WorkerDiedError, match="can be started"):
        ask(hypervisor)
    hypervisor._command = FAKE
    assert len(ask(hypervisor)) == 1


def test_an_outage_is_said_once_and_so_is_its_end(make: Make, log: Log) -> None:
    hypervisor = make("unreachable,unreachable,die/unreachable,answer,answer,unreachable,answer")
    for _ in range(4):
        with pytest.raises((UnreachableError, WorkerDiedError)):
            ask(hypervisor)
    for _ in range(2):
        ask(hypervisor)
    assert [event for event in log.events() if event != "worker_said"] == ["host_lost", "host_back"]
    assert log.facts("host_lost") == {"host": "kvm1", "reason": "host-down", "error": "cannot connect"}
    assert log.facts("host_back")["after_s"] >= 0
    with pytest.raises(UnreachableError):
        ask(hypervisor)
    ask(hypervisor)
    assert log.events().count("host_lost") == log.events().count("host_back") == 2


def test_a_refusal_is_said_is_no_outage_and_kills_nobody(make: Make, log: Log) -> None:
    hypervisor = make("refuse")
    for _ in range(2):
        with pytest.raises(RefusedError, match="unsupported") as caught:
            ask(hypervisor)
    assert caught.value.reason == "refused"
    assert (hypervisor.workers_killed, log.said) == (0, [])


def test_a_host_that_is_lost_kills_no_worker_that_says_so(make: Make) -> None:
    hypervisor = make("unreachable,answer")
    with pytest.raises(UnreachableError):
        ask(hypervisor)
    assert (len(ask(hypervisor)), hypervisor.workers_killed) == (1, 0)


# --- backing off


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Between what the waits after failures were drawn; none of them is waited for."""
    bounds: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        bounds.append((least, most))
        return 0.0

    monkeypatch.setattr(hypervisor_module, "BACKOFF_S", 0.5)
    monkeypatch.setattr(random, "uniform", draw)
    return bounds


def test_after_a_failure_the_host_is_left_alone_for_a_while(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor_module, "BACKOFF_S", 30.0)
    monkeypatch.setattr(random, "uniform", lambda _least, most: most / 2)
    hypervisor = make("unreachable,answer")
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="cannot connect"):
        ask(hypervisor)
    assert began + 15 <= hypervisor._not_before <= time.monotonic() + 15
    monkeypatch.setattr(hypervisor, "_not_before", time.monotonic() + 1000)
    with pytest.raises(UnreachableError, match=r"the next attempt is in (1000|9\d\d)\.\d s"):
        ask(hypervisor)
    monkeypatch.setattr(hypervisor, "_not_before", time.monotonic())
    assert len(ask(hypervisor)) == 1


@pytest.mark.parametrize(
    ("uri", "waits"),
    [
        ("fake:///unreachable", [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]),
        ("unreachable", [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]),
    ],
)
def test_the_wait_doubles_to_its_end_and_a_random_part_of_it_is_waited(
    make: Make, drawn: list[tuple[float, float]], uri: str, waits: list[float]
) -> None:
    hypervisor = make(uri)
    for _ in waits:
        with pytest.raises(UnreachableError):
            ask(hypervisor)
    assert drawn == [(0, most) for most in waits]


def test_who_was_reached_waits_but_a_little_the_next_time(make: Make, drawn: list[tuple[float, float]]) -> None:
    hypervisor = make("unreachable,unreachable,answer,unreachable")
    for expected in (1, 2, 2, 3):
        with suppress(UnreachableError):
            ask(hypervisor)
        assert len(drawn) == expected
    assert drawn == [(0, 0.5), (0, 1.0), (0, 0.5)]


def test_however_many_attempts_fail_the_wait_stays_a_number(make: Make) -> None:
    hypervisor = make("answer")
    for _ in range(5000):
        hypervisor._back_off()
    assert hypervisor._not_before <= in_seconds(60)


# --- XML


def test_xml_is_asked_for_by_uuid(make: Make) -> None:
    descriptions = make("answer").describe(("a", "b"), in_seconds(STARTED_S))
    assert [(found.uuid, found.xml) for found in descriptions] == [("a", "<domain/>"), ("b", "<domain/>")]


def test_xml_is_read_though_a_call_hangs(make: Make) -> None:
    hypervisor = make("part:a+hang")
    collected = hypervisor.ask(ASK, STARTED_S)
    next(collected)
    assert len(hypervisor.describe(("a",), in_seconds(STARTED_S))) == 1


def test_a_deadline_that_is_over_leaves_a_moment_for_xml(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor_module, "LAST_SECOND_S", STARTED_S)
    assert len(make("answer").describe(("a",), in_seconds(-5))) == 1


def test_xml_that_is_late_kills_nobody_and_is_not_asked_for_twice(make: Make, go_on: Callable[[], None]) -> None:
    hypervisor = make("answer;xml=wait+answer,answer")
    ask(hypervisor)
    with pytest.raises(OverdueError, match="the XML of 2 guests"):
        hypervisor.describe(("a", "b"), in_seconds(0.1))
    with pytest.raises(OverdueError, match="still reading"):
        hypervisor.describe(("c",), in_seconds(0.1))
    assert len(ask(hypervisor)) == 1
    go_on()
    described: list[wire.Description] = []

    def describe() -> bool:
        with suppress(OverdueError):
            described.extend(hypervisor.describe(("c",), in_seconds(STARTED_S)))
        return bool(described)

    assert eventually(describe)
    assert [found.uuid for found in described] == ["c"]
    assert hypervisor._process is not None
    assert hypervisor._process._mail == {}, "nothing is kept that nobody will look at"
    assert hypervisor.workers_killed == 0


def test_xml_that_does_not_come_at_all_costs_the_worker(make: Make, give_up: GiveUp) -> None:
    give_up("LATE_S")
    hypervisor = make("answer;xml=hang/answer")
    ask(hypervisor)
    with pytest.raises(OverdueError):
        hypervisor.describe(("a",), in_seconds(0.05))
    time.sleep(0.5)
    with pytest.raises(OverdueError, match="still reading"):
        hypervisor.describe(("b",), in_seconds(0.05))
    assert hypervisor.workers_killed == 1
    assert len(hypervisor.describe(("b",), in_seconds(STARTED_S))) == 1


def test_late_xml_of_a_worker_that_is_gone_is_waited_for_no_more(make: Make) -> None:
    hypervisor = make("answer,die;xml=hang/answer")
    ask(hypervisor)
    with pytest.raises(OverdueError):
        hypervisor.describe(("a",), in_seconds(0.05))
    with pytest.raises(WorkerDiedError):
        ask(hypervisor)
    assert len(hypervisor.describe(("b",), in_seconds(STARTED_S))) == 1


@pytest.mark.parametrize(
    ("what", "error"),
    [("refuse", RefusedError), ("unreachable", UnreachableError), ("wrong", WorkerDiedError), ("die", WorkerDiedError)],
)
def test_xml_that_cannot_be_had_is_an_error_and_no_outage(
    make: Make, log: Log, what: str, error: type[CollectError]
) -> None:
    hypervisor = make(f"answer;xml={what},answer")
    with pytest.raises(error):
        hypervisor.describe(("a",), in_seconds(STARTED_S))
    assert log.said == []
    assert len(ask(hypervisor)) == 1


# --- questions on their own


def test_a_connection_is_examined(make: Make) -> None:
    assert make("answer").examine(in_seconds(STARTED_S)).driver == "fake"


def test_a_question_on_its_own_is_killed_at_its_deadline(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=1/answer")
    started = time.monotonic()
    with pytest.raises(OverdueError, match="before the deadline"):
        hypervisor.converse(wire.Survey(), wire.Surveyed, in_seconds(0.2))
    assert 0.2 <= time.monotonic() - started < STARTED_S
    assert hypervisor.workers_killed == 1
    assert hypervisor.converse(wire.Survey(), wire.Surveyed, in_seconds(STARTED_S)).pools == []


@pytest.mark.parametrize(
    ("what", "error", "killed"),
    [
        ("unreachable", UnreachableError, 0),
        ("refuse", RefusedError, 0),
        ("wrong", WorkerDiedError, 0),
        ("die", WorkerDiedError, 1),
        ("rubbish", WorkerDiedError, 1),
    ],
)
def test_a_question_on_its_own_may_fail(make: Make, what: str, error: type[CollectError], killed: int) -> None:
    hypervisor = make(f"{what},answer/answer")
    with pytest.raises(error):
        hypervisor.examine(in_seconds(STARTED_S))
    assert hypervisor.workers_killed == killed
    assert hypervisor.examine(in_seconds(STARTED_S)).guests == 1


# --- turns


def test_streams_take_turns(make: Make) -> None:
    hypervisor = make("answer,sleep:0.1+part:a+sleep:0.1+answer:b,answer")
    ask(hypervisor)
    answers: list[list[list[str]]] = []
    threads = [in_a_thread(lambda: answers.append(names(ask(hypervisor))))[0] for _ in range(3)]
    for thread in threads:
        thread.join()
    assert sorted(answers) == [[["a"], ["b"]], [["web-1"]], [["web-1"]]]


def test_a_stream_whose_turn_does_not_come_says_so(make: Make, give_up: GiveUp) -> None:
    give_up("STALL_S")
    hypervisor = make("part:a+answer")
    collected = hypervisor.ask(ASK, STARTED_S)
    next(collected)
    with pytest.raises(OverdueError, match="busy with another"):
        ask(hypervisor)
    assert len(list(collected)) == 1
    assert hypervisor.workers_killed == 0


@pytest.mark.parametrize("what", ["refuse", "unreachable", "die"])
def test_whoever_fails_gives_up_its_turn(make: Make, what: str) -> None:
    hypervisor = make(f"{what}/answer")
    with pytest.raises(CollectError):
        ask(hypervisor)
    assert not hypervisor._turn.locked()


# --- the end


@pytest.mark.parametrize(
    "work",
    [
        lambda hypervisor: ask(hypervisor, LONG_S),
        lambda hypervisor: ask(hypervisor, SHORT_S),
        lambda hypervisor: hypervisor.examine(in_seconds(LONG_S)),
        lambda hypervisor: hypervisor.describe(("a",), in_seconds(LONG_S)),
    ],
    ids=["ask", "ask, overdue", "examine", "describe"],
)
def test_close_ends_whatever_hangs(make: Make, work: Callable[[Hypervisor], Any]) -> None:
    hypervisor = make("hang;looks=busy:a=1;xml=hang")
    thread, caught = in_a_thread(lambda: work(hypervisor))
    assert eventually(lambda: hypervisor.worker_pid is not None)
    old = hypervisor.worker_pid
    time.sleep(0.3)
    started = time.monotonic()
    hypervisor.close()
    thread.join(STARTED_S)
    assert time.monotonic() - started < STARTED_S
    assert [type(error) for error in caught] == [ClosedError]
    assert hypervisor.worker_pid is None
    assert old is not None
    assert is_reaped(old)


def test_close_ends_the_search_for_stuck_guests(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=9000/hang")
    thread, caught = in_a_thread(lambda: ask(hypervisor, SHORT_S))
    assert eventually(lambda: hypervisor.workers_killed == 1)
    hypervisor.close()
    thread.join(STARTED_S)
    assert [type(error) for error in caught] == [ClosedError]


def test_whoever_waits_for_its_turn_while_the_agent_stops_is_told_so(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=1")
    waiting = [in_a_thread(lambda: ask(hypervisor, LONG_S)) for _ in range(2)]
    assert eventually(hypervisor._turn.locked)
    hypervisor.close()
    for thread, caught in waiting:
        thread.join(STARTED_S)
        assert [type(error) for error in caught] == [ClosedError]


def test_close_does_not_wait_for_whoever_sits_on_an_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor_module, "KILLED_WAIT_S", 0.05)
    hypervisor = make("part:a+hang")
    collected = hypervisor.ask(ASK, STARTED_S)
    next(collected)
    hypervisor.close()
    with pytest.raises(ClosedError):
        list(collected)


def test_close_kills_an_idle_worker_and_may_come_twice(make: Make) -> None:
    hypervisor = make("answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    hypervisor.close()
    hypervisor.close()
    assert is_reaped(old)
    assert hypervisor.workers_killed == 0, "it was not in the way of anything"


@pytest.mark.parametrize(
    "work",
    [
        ask,
        lambda hypervisor: hypervisor.examine(in_seconds(1)),
        lambda hypervisor: hypervisor.describe(("a",), in_seconds(1)),
    ],
    ids=["ask", "examine", "describe"],
)
def test_nothing_is_started_after_close(make: Make, work: Callable[[Hypervisor], Any]) -> None:
    hypervisor = make("answer")
    hypervisor.close()
    with pytest.raises(ClosedError):
        work(hypervisor)
    assert hypervisor.worker_pid is None


def test_replacing_workers_leaks_no_descriptors(make: Make) -> None:
    hypervisor = make("die")

    def let_die(times: int) -> None:
        for _ in range(times):
            with pytest.raises(WorkerDiedError):
                ask(hypervisor)

    let_die(2)
    before = descriptors()
    let_die(5)
    assert eventually(lambda: descriptors() <= before + 1)
