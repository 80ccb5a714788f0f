"""The worker process: who is asked over which connection, what becomes of connections, and how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from domstat.catalog import GROUPS
from domstat.collect import wire
from domstat.collect.block import ACTIVE, NOWAIT
from domstat.collect.errors import WorkerDiedError
from domstat.collect.process import WORKER_COMMAND, Mailbox, WorkerProcess
from domstat.collect.worker import __main__ as module
from domstat.collect.worker.__main__ import Worker
from domstat.collect.worker.connection import open_connection
from heard import Log
from standins import Connection, Daemon, Refused

ALL_OF_IT = wire.Ask(GROUPS["state"] | GROUPS["block"], ACTIVE | NOWAIT)
STATE = wire.Ask(GROUPS["state"], ACTIVE | NOWAIT)
TEST_URI = "test:///default"
TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
NOBODY = "00000000-0000-0000-0000-000000000001"
PATIENCE_S = 60.0
A_MOMENT_S = 0.2


class Asked:
    """A worker on a stand-in, and what it told unasked."""

    def __init__(self, daemon: Daemon, *, writable: bool = False) -> None:
        self.daemon = daemon
        self.told: list[wire.Happened] = []
        self.worker = Worker(wire.Open("fake:///system", writable), daemon.connect, self.told.append)

    def all(self, question: wire.Question) -> list[wire.Reply]:
        return list(self.worker.replies(question))

    def one(self, question: wire.Question) -> Any:
        (reply,) = self.all(question)
        return reply


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon("web-1", "db-1")
    yield made
    for guest in made.guests:
        guest.go_on()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


# --- connections


def test_the_first_question_connects_and_the_others_go_over_the_same_connection(daemon: Daemon) -> None:
    asked = Asked(daemon)
    assert daemon.connections == []
    for _ in range(3):
        assert isinstance(asked.one(STATE), wire.Answer)
    (connection,) = daemon.connections
    assert (connection.uri, connection.writable, connection.kept_alive) == ("fake:///system", False, True)
    assert asked.told == [wire.Happened([], missed=True)]


def test_only_the_one_connection_of_a_worker_that_may_refresh_pools_can_write(daemon: Daemon) -> None:
    asked = Asked(daemon, writable=True)
    asked.one(STATE)
    asked.one(wire.Look())
    assert [connection.writable for connection in daemon.connections] == [True, False]


def test_a_dead_connection_is_opened_again_and_events_count_as_missed(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(STATE)
    first = daemon.connections[0]
    first.alive = False
    assert isinstance(asked.one(STATE), wire.Answer)
    assert first.closed
    assert (first.registered, first.on_close) == ({}, None), "a callback would keep the connection open"
    assert len(daemon.connections) == 2
    assert asked.told == [wire.Happened([], missed=True)] * 2


def test_how_the_daemon_was_reached_if_not_by_libvirts_choice_is_noted_once(daemon: Daemon) -> None:
    worker = Worker(wire.Open("fake:///"), lambda *how: (daemon.connect(*how)[0], "by another socket"), [].append)
    notes = [reply.notes for _ in range(2) for reply in worker.replies(STATE) if isinstance(reply, wire.Answer)]
    assert notes == [["by another socket"], []]


def test_a_driver_that_cannot_say_that_it_closes_is_taken_as_it_is(daemon: Daemon) -> None:
    daemon.trouble |= dict.fromkeys(
        ("registerCloseCallback", "setKeepAlive", "domainEventRegisterAny"), Refused(libvirt.VIR_ERR_NO_SUPPORT)
    )
    assert isinstance(Asked(daemon).one(STATE), wire.Answer)


def test_a_connection_that_fails_while_it_is_made_is_kept_open_by_no_callback(daemon: Daemon) -> None:
    daemon.trouble["setKeepAlive"] = Refused(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC)
    assert isinstance(Asked(daemon).one(STATE), wire.Failure)
    (connection,) = daemon.connections
    assert (connection.registered, connection.on_close) == ({}, None)


def test_when_the_connection_closes_another_is_made_without_waiting_for_a_question(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.0)
    asked = Asked(daemon)
    asked.one(STATE)
    closed = daemon.connections[0]
    assert closed.on_close is not None
    closed.alive = False
    closed.on_close(closed, libvirt.VIR_CONNECT_CLOSE_REASON_EOF, None)
    until(lambda: len(asked.told) == 2)
    assert len(daemon.connections) == 2
    asked.one(STATE)
    assert daemon.callers[-1] is daemon.connections[1]


def test_a_daemon_that_is_not_back_is_not_tried_again_until_somebody_asks(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.0)
    asked = Asked(daemon)
    asked.one(STATE)
    closed = daemon.connections[0]
    attempts: list[str] = []

    def refuse(uri: str, _writable: bool) -> tuple[Connection, str]:
        attempts.append(uri)
        raise Refused(libvirt.VIR_ERR_SYSTEM_ERROR)

    asked.worker._open_connection = refuse
    closed.alive = False
    assert closed.on_close is not None
    closed.on_close(closed, libvirt.VIR_CONNECT_CLOSE_REASON_EOF, None)
    until(lambda: attempts)
    until(lambda: not any(thread.name == "reconnect" for thread in threading.enumerate()))
    assert len(attempts) == 1
    assert asked.one(STATE).unreachable
    assert len(attempts) == 2


# --- what libvirt refuses


@pytest.mark.parametrize(
    ("code", "unreachable"),
    [
        (libvirt.VIR_ERR_NO_SUPPORT, False),
        (libvirt.VIR_ERR_INVALID_ARG, False),
        (libvirt.VIR_ERR_OPERATION_FAILED, False),
        (libvirt.VIR_ERR_NO_CONNECT, True),
        (libvirt.VIR_ERR_SYSTEM_ERROR, True),
        (libvirt.VIR_ERR_AUTH_FAILED, True),
    ],
)
def test_a_refusal_is_a_reply_that_says_whether_the_connection_is_the_trouble(
    daemon: Daemon, code: int, unreachable: bool
) -> None:
    asked = Asked(daemon)
    asked.one(STATE)
    daemon.trouble["stats"] = Refused(code)
    assert asked.one(STATE) == wire.Failure(f"error {code}", code, unreachable)


def test_whatever_is_refused_while_the_connection_ends_is_the_connections_trouble(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(STATE)

    def end() -> None:
        daemon.connections[0].alive = False
        raise Refused(libvirt.VIR_ERR_OPERATION_FAILED)

    daemon.before = end
    assert asked.one(STATE).unreachable
    assert daemon.connections[0].closed


def test_a_hypervisor_that_cannot_be_connected_to_is_unreachable(daemon: Daemon) -> None:
    daemon.trouble["open"] = Refused(libvirt.VIR_ERR_NO_SUPPORT)
    assert Asked(daemon).one(STATE).unreachable


# --- the question for a tick


def test_who_is_still_stuck_is_said_with_the_first_answer(daemon: Daemon) -> None:
    web, db = daemon.guests
    web.control = (libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 0, 7000)
    watch = (web.uuid, db.uuid, "uuid-of-nobody")
    asked = Asked(daemon)
    first, second = asked.all(wire.Ask(1, ACTIVE, chunk=1, watch=watch))
    assert isinstance(first, wire.Answer)
    assert isinstance(second, wire.Answer)
    assert first.occupied == [wire.Occupied(web.uuid, "web-1", 7000)]
    assert second.occupied == []


def test_the_hosts_sample_comes_with_the_first_answer_and_the_cost_with_the_last(daemon: Daemon) -> None:
    first, second = Asked(daemon).all(wire.Ask(1, ACTIVE, chunk=1, host=True, cost=True))
    assert isinstance(first, wire.Answer)
    assert isinstance(second, wire.Answer)
    assert first.host is not None
    assert first.host["host.cpus"] == 16
    assert (first.cost, second.host) == (None, None)
    assert second.cost is not None
    assert second.cost.worker is not None


def test_neither_is_looked_for_unless_asked_for(daemon: Daemon) -> None:
    answer = Asked(daemon).one(STATE)
    assert (answer.host, answer.cost, answer.occupied) == (None, None, [])


# --- XML


def test_xml_is_read_and_a_guest_that_is_gone_is_told(daemon: Daemon) -> None:
    described = Asked(daemon).one(wire.Describe(("uuid-of-web-1", NOBODY)))
    assert described.items == [
        wire.Description("uuid-of-web-1", "<domain><name>web-1</name></domain>", None),
        wire.Description(NOBODY, None, None),
    ]


def test_xml_that_cannot_be_read_is_said_why_and_the_others_are_read(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(STATE)
    daemon.trouble["XMLDesc"] = Refused(libvirt.VIR_ERR_OPERATION_FAILED)
    described = asked.one(wire.Describe(("uuid-of-web-1", NOBODY)))
    assert [(item.xml, item.error) for item in described.items] == [
        (None, f"error {libvirt.VIR_ERR_OPERATION_FAILED}"),
        (None, None),
    ]


def test_a_connection_that_ends_while_xml_is_read_is_a_failure_and_not_an_error_of_every_guest(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(STATE)

    class EndsIt(dict[str, Refused]):
        def __contains__(self, call: object) -> bool:
            daemon.connections[0].alive = call != "XMLDesc"
            return call == "XMLDesc"

        def __missing__(self, _call: str) -> Refused:
            return Refused(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC)

    daemon.trouble = EndsIt()
    assert asked.one(wire.Describe(("uuid-of-web-1",))).unreachable


def test_while_a_call_hangs_xml_and_looks_go_over_connections_of_their_own(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(wire.Describe(()))
    assert len(daemon.connections) == 1, "without a call there is nothing to go beside of"
    daemon.guests[0].hang(ms=1234)
    calling = threading.Thread(target=asked.one, args=(ALL_OF_IT,))
    calling.start()
    until(lambda: daemon.callers)
    for _ in range(2):
        assert asked.one(wire.Describe(("uuid-of-web-1",))).items[0].xml
        assert asked.one(wire.Look()).occupied == [wire.Occupied("uuid-of-web-1", "web-1", 1234)]
    assert len(daemon.connections) == 3
    daemon.guests[0].go_on()
    calling.join(PATIENCE_S)
    assert len(daemon.callers) == 1


# --- looks


def test_a_look_never_connects(daemon: Daemon) -> None:
    assert Asked(daemon).one(wire.Look()) == wire.Looked([], connected=False)
    assert daemon.connections == []


def test_a_look_sees_who_is_occupied_and_passes_over_who_is_gone(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(STATE)
    gone, web = daemon.guests[1], daemon.guests[0]
    web.control = (libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 0, 40)
    asked.one(wire.Look())
    aside = daemon.connections[1]
    listed = aside.listAllDomains

    def list_and_lose(flags: int) -> Any:
        found = listed(flags)
        gone.gone = True
        return list(reversed(found))

    aside.listAllDomains = list_and_lose  # type: ignore[method-assign]
    assert asked.one(wire.Look()) == wire.Looked([wire.Occupied(web.uuid, "web-1", 40)], connected=True)


def test_a_connection_for_looks_that_has_ended_is_made_again(daemon: Daemon) -> None:
    asked = Asked(daemon)
    asked.one(STATE)
    asked.one(wire.Look())
    daemon.connections[1].alive = False
    assert asked.one(wire.Look()) == wire.Looked([], connected=True)
    assert len(daemon.connections) == 3


@pytest.mark.parametrize(("code", "can_tell"), [(libvirt.VIR_ERR_NO_SUPPORT, False), (libvirt.VIR_ERR_RPC, True)])
def test_a_driver_that_knows_no_monitors_is_said_to_be_one(daemon: Daemon, code: int, can_tell: bool) -> None:
    asked = Asked(daemon)
    asked.one(STATE)
    daemon.trouble["listAllDomains" if can_tell else "controlInfo"] = Refused(code)
    assert asked.one(wire.Look()) == wire.Looked([], connected=True, can_tell=can_tell)


# --- what has modules of its own


def test_a_survey_and_an_examination_are_answered() -> None:
    worker = Worker(wire.Open(TEST_URI), open_connection, [].append)
    (surveyed,) = worker.replies(wire.Survey())
    (examined,) = worker.replies(wire.Examine())
    assert isinstance(surveyed, wire.Surveyed)
    assert isinstance(examined, wire.Examined)
    assert examined.driver == "TEST"


# --- the process


@pytest.fixture
def started(log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WorkerProcess]]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    made: list[WorkerProcess] = []

    def start(uri: str, code: str | None = None, told: list[wire.Happened] | None = None) -> WorkerProcess:
        command = WORKER_COMMAND if code is None else (sys.executable, "-P", "-c", code)
        made.append(WorkerProcess(command, wire.Open(uri), log, ([] if told is None else told).append))
        return made[-1]

    yield start
    for process in made:
        process.kill()


Started = Callable[..., WorkerProcess]


def reply_of(mailbox: Mailbox) -> Any:
    reply = mailbox.get(PATIENCE_S)
    mailbox.close()
    assert reply is not None, "no reply"
    return reply


STAND_IN = """
import time
from domstat.collect.worker.__main__ import main
from standins import Daemon, Domain

daemon = Daemon("web-1")
{}
main(daemon.connect)
"""


def test_a_real_driver_answers(started: Started) -> None:
    told: list[wire.Happened] = []
    process = started(TEST_URI, told=told)
    answer = reply_of(process.ask(STATE))
    (guest,) = answer.guests
    assert (guest.uuid, guest.name, guest.id) == (TEST_UUID, "test", 1)
    assert dict(zip(process.learn(answer)[guest.shape], guest.values, strict=True)) == {
        "state.state": 1,
        "state.reason": 0,
    }
    assert abs(answer.stamp.time_ms / 1000 - time.time()) < PATIENCE_S
    assert told == [wire.Happened([], missed=True)]
    known, gone = reply_of(process.ask(wire.Describe((TEST_UUID, NOBODY)))).items
    assert "<name>test</name>" in known.xml
    assert gone == wire.Description(NOBODY, None, None)
    assert reply_of(process.ask(wire.Look())) == wire.Looked([], connected=True)


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system?socket=/nonexistent/libvirt-sock",
        "test:///nonexistent.xml",
        "nosuchdriver:///system",
        "rubbish",
    ],
)
def test_a_hypervisor_that_cannot_be_reached_is_said_to_be_in_replies_and_nowhere_else(
    started: Started, log: Log, uri: str
) -> None:
    process = started(uri)
    for _ in range(2):
        assert reply_of(process.ask(STATE)).unreachable
    assert not process.has_ended
    process.kill()
    printed = [facts["text"] for _, event, facts in log.said if event == "worker_said"]
    assert not [text for text in printed if text.startswith("libvirt:")]


def test_while_one_call_hangs_the_next_waits_its_turn_and_everything_else_is_answered(started: Started) -> None:
    process = started("fake:///", STAND_IN.format("daemon.guests[0].hang(ms=900)"))
    assert reply_of(process.ask(STATE)).guests
    hung, waiting = process.ask(ALL_OF_IT), process.ask(STATE)
    assert reply_of(process.ask(wire.Look())).occupied == [wire.Occupied("uuid-of-web-1", "web-1", 900)]
    assert reply_of(process.ask(wire.Describe(("uuid-of-web-1",)))).items[0].xml
    assert (hung.get(A_MOMENT_S), waiting.get(0)) == (None, None)


def test_xml_that_hangs_holds_up_no_call(started: Started) -> None:
    process = started("fake:///", STAND_IN.format("Domain.XMLDesc = lambda self, flags: time.sleep(600)"))
    assert reply_of(process.ask(STATE)).guests
    hung = process.ask(wire.Describe(("uuid-of-web-1",)))
    assert reply_of(process.ask(STATE)).guests
    assert reply_of(process.ask(wire.Look())).connected
    assert hung.get(A_MOMENT_S) is None


@pytest.mark.parametrize(
    ("fault", "question"),
    [
        ("daemon.connect = lambda uri, writable: 1 / 0", STATE),
        ("daemon.connect = lambda uri, writable: 1 / 0", wire.Describe(("uuid-of-web-1",))),
        ("Domain.controlInfo = lambda self: 1 / 0", wire.Look()),
    ],
)
def test_a_thread_that_dies_ends_the_process_which_says_why(
    started: Started, log: Log, fault: str, question: wire.Question
) -> None:
    process = started("fake:///", STAND_IN.format(fault))
    if isinstance(question, wire.Look):
        reply_of(process.ask(STATE))
    with pytest.raises(WorkerDiedError):
        reply_of(process.ask(question))
    assert process._popen.wait(PATIENCE_S) == 70
    until(lambda: any("ZeroDivisionError" in str(facts.get("text")) for _, _, facts in log.said))


def test_an_agent_that_is_gone_takes_its_worker_along_though_a_call_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    here, there = socket.socketpair()
    code = STAND_IN.format("daemon.guests[0].hang()")
    with here, there:
        command = [sys.executable, "-P", "-c", code, str(there.fileno())]
        worker = subprocess.Popen(command, pass_fds=(there.fileno(),))
        there.close()
        here.sendall(wire.frame(wire.Open("fake:///")) + wire.frame(STATE, 1) + wire.frame(ALL_OF_IT, 2))
        assert here.recv(1), "it has begun"
        time.sleep(A_MOMENT_S)
    try:
        assert worker.wait(PATIENCE_S) == 0
    finally:
        worker.kill()
        worker.wait()
