"""The worker, against libvirt's own test driver for real, and against stand-ins for what that cannot do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from domstat.collect import wire
from domstat.collect.hypervisor import Hypervisor, UnreachableError
from domstat.collect.inventory import Inventory
from domstat.collect.stream import ACTIVE, BACKING, NOWAIT, Block, Stream
from domstat.collect.worker import SHAPES_MAX, Changes, Shapes, Worker
from heard import Log

TEST_URI = "test:///default"
TEST_UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
STATE = wire.Ask(1, ACTIVE | NOWAIT)


def soon() -> float:
    return time.monotonic() + 20


@pytest.fixture
def connect(log: Log) -> Iterator[Callable[[str], Hypervisor]]:
    made: list[Hypervisor] = []

    def connect(uri: str) -> Hypervisor:
        made.append(Hypervisor("host", uri, log))
        return made[-1]

    yield connect
    for hypervisor in made:
        hypervisor.close()


Connect = Callable[[str], Hypervisor]


def test_a_real_driver_answers(connect: Connect) -> None:
    answer, shapes = connect(TEST_URI).ask(STATE, soon())
    (guest,) = answer.guests
    assert (guest.uuid, guest.name, guest.id) == (TEST_UUID, "test", 1)
    assert dict(zip(shapes[guest.shape], guest.values, strict=True)) == {"state.state": 1, "state.reason": 0}
    assert abs(answer.stamp.time_ms / 1000 - time.time()) < 20
    assert 0 < answer.stamp.call_ns < 20e9
    assert answer.stamp.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert answer.stamp.boot_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_a_shape_is_sent_once_and_missed_events_are_told_once(connect: Connect) -> None:
    hypervisor = connect(TEST_URI)
    first, _ = hypervisor.ask(STATE, soon())
    second, shapes = hypervisor.ask(STATE, soon())
    assert (len(first.shapes), first.missed) == (1, True)
    assert (len(second.shapes), second.missed) == (0, False)
    assert shapes[second.guests[0].shape] == ("state.state", "state.reason")


@pytest.mark.parametrize(
    ("domains", "names"),
    [
        (wire.Globs(("te*",)), ["test"]),
        (wire.Globs(("*",), ("t*",)), []),
        (wire.Globs(("other",)), []),
        (wire.Globs(("TEST",)), []),
        (wire.Globs(()), []),
    ],
)
def test_guests_are_chosen_by_name(connect: Connect, domains: wire.Globs, names: list[str]) -> None:
    answer, _ = connect(TEST_URI).ask(wire.Ask(1, ACTIVE | NOWAIT, domains), soon())
    assert [guest.name for guest in answer.guests] == names


def test_xml_is_read_and_a_guest_that_is_gone_is_told(connect: Connect) -> None:
    nobody = "00000000-0000-0000-0000-000000000001"
    known, gone = connect(TEST_URI).describe((TEST_UUID, nobody), soon())
    assert known.xml is not None
    assert "<name>test</name>" in known.xml
    assert gone == wire.Description(nobody, None, None)


def test_a_whole_tick_of_a_real_driver(connect: Connect, log: Log) -> None:
    stream = Stream(connect(TEST_URI), Inventory(), Block("default", ("state", "cpu-total", "block")), log)
    (record,) = stream.collect(soon()).records
    assert record.params == {"state.state": 1, "state.reason": 0}
    assert record.labels == {}


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system?socket=/nonexistent/libvirt-sock",
        "test:///nonexistent.xml",
        "nosuchdriver:///system",
        "qemu+unix:///system?socket=/nonexistent/sock",
        "rubbish",
    ],
)
def test_a_hypervisor_that_cannot_be_reached_is_said_to_be(connect: Connect, log: Log, uri: str) -> None:
    hypervisor = connect(uri)
    for _ in range(2):
        with pytest.raises(UnreachableError):
            hypervisor.ask(STATE, soon())
    assert hypervisor.workers_killed == 0
    hypervisor.close()
    printed = [facts["text"] for _, event, facts in log.said if event == "worker_said"]
    assert not [text for text in printed if text.startswith("libvirt:")], "its errors travel as replies"


# --- stand-ins


class FakeDomain:
    def __init__(self, name: str = "web-1") -> None:
        self._name = name

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's name
        return f"uuid-of-{self._name}"

    def name(self) -> str:
        return self._name

    def ID(self) -> int:  # noqa: N802 - libvirt's name
        return 3


class FakeError(libvirt.libvirtError):  # type: ignore[misc]
    def __init__(self, code: int) -> None:
        Exception.__init__(self, f"error {code}")
        self.err = (code, 0, "", 0, "", "", "", 0, 0)


class FakeConnection:
    """A connection that refuses the flags it does not know."""

    def __init__(self, unknown_flags: int = 0) -> None:
        self.unknown_flags = unknown_flags
        self.alive = True
        self.calls: list[tuple[str, int, int]] = []
        self.error: FakeError | None = None
        self.params: dict[str, Any] = {"state.state": 1}

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        return self.alive

    def domainEventRegisterAny(self, *_: Any) -> int:  # noqa: N802 - libvirt's name
        raise FakeError(libvirt.VIR_ERR_NO_SUPPORT)

    def setKeepAlive(self, *_: Any) -> int:  # noqa: N802 - libvirt's name
        raise FakeError(libvirt.VIR_ERR_NO_SUPPORT)

    def close(self) -> None:
        raise FakeError(libvirt.VIR_ERR_INVALID_CONN)

    def getAllDomainStats(self, stats: int, flags: int) -> list[Any]:  # noqa: N802 - libvirt's name
        return self._stats("all", stats, flags, [FakeDomain()])

    def listAllDomains(self, flags: int) -> list[Any]:  # noqa: N802 - libvirt's name
        assert flags == libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        return [FakeDomain("web-1"), FakeDomain("db-1")]

    def domainListGetStats(self, domains: list[Any], stats: int, flags: int) -> list[Any]:  # noqa: N802 - ditto
        return self._stats("list", stats, flags, domains)

    def _stats(self, call: str, stats: int, flags: int, domains: list[Any]) -> list[Any]:
        self.calls.append((call, stats, flags))
        if self.error:
            raise self.error
        if flags & self.unknown_flags:
            raise FakeError(libvirt.VIR_ERR_INVALID_ARG)
        return [(domain, dict(self.params)) for domain in domains]


def worker_on(connection: FakeConnection) -> Worker:
    return Worker("fake:///", lambda _uri: connection)


def test_a_driver_that_does_not_know_nowait_is_asked_without_it_from_then_on() -> None:
    connection = FakeConnection(unknown_flags=NOWAIT)
    worker = worker_on(connection)
    first, second = worker.reply(STATE), worker.reply(STATE)
    assert isinstance(first, wire.Answer)
    assert isinstance(second, wire.Answer)
    assert [flags for _, _, flags in connection.calls] == [ACTIVE | NOWAIT, ACTIVE, ACTIVE]
    assert (len(first.notes), second.notes) == (1, [])


def test_an_argument_that_is_wrong_for_another_reason_is_a_failure() -> None:
    reply = worker_on(FakeConnection(unknown_flags=ACTIVE)).reply(STATE)
    assert isinstance(reply, wire.Failure)
    assert (reply.code, reply.unreachable) == (libvirt.VIR_ERR_INVALID_ARG, False)


def test_chosen_guests_are_asked_in_one_call_without_list_filters() -> None:
    connection = FakeConnection()
    reply = worker_on(connection).reply(wire.Ask(32, ACTIVE | NOWAIT | BACKING, wire.Globs(("web-*",))))
    assert isinstance(reply, wire.Answer)
    assert [guest.name for guest in reply.guests] == ["web-1"]
    assert connection.calls == [("list", 32, NOWAIT | BACKING)]


def test_a_dead_connection_is_opened_again_and_events_count_as_missed() -> None:
    connection = FakeConnection()
    opened: list[str] = []

    def open_connection(uri: str) -> FakeConnection:
        opened.append(uri)
        connection.alive = True
        return connection

    worker = Worker("fake:///", open_connection)
    worker.reply(STATE)
    connection.alive = False
    reply = worker.reply(STATE)
    assert isinstance(reply, wire.Answer)
    assert reply.missed
    assert opened == ["fake:///"] * 2


def test_a_connection_that_breaks_during_the_call_is_unreachable() -> None:
    connection = FakeConnection()
    worker = worker_on(connection)
    worker.reply(STATE)
    connection.error = FakeError(libvirt.VIR_ERR_OPERATION_FAILED)
    reply = worker.reply(STATE)
    assert isinstance(reply, wire.Failure)
    assert not reply.unreachable
    connection.error = FakeError(libvirt.VIR_ERR_RPC)
    reply = worker.reply(STATE)
    assert isinstance(reply, wire.Failure)
    assert reply.unreachable


@pytest.mark.parametrize(("internals", "kept"), [(False, ["vcpu.0.time", "x"]), (True, None)])
def test_the_hypervisors_own_statistics_are_left_behind_unless_asked_for(
    internals: bool, kept: list[str] | None
) -> None:
    connection = FakeConnection()
    connection.params = {"vcpu.0.time": 1, "vcpu.0.exits.sum": 2, "x": 3, "vm.pages.cur": 4}
    reply = worker_on(connection).reply(wire.Ask(8, ACTIVE, internals=internals))
    assert isinstance(reply, wire.Answer)
    (guest,) = reply.guests
    names = kept or list(connection.params)
    assert reply.shapes == {guest.shape: tuple(names)}
    assert guest.values == [connection.params[name] for name in names]


@pytest.mark.parametrize("names", [[], ["vm.x"], ["vm.x", "a"], ["a"], ["a", "vm.x", "b"]])
def test_shapes_fit_their_values_however_few(names: list[str]) -> None:
    shapes = Shapes()
    params: dict[str, Any] = {name: i for i, name in enumerate(names)}
    for _ in range(2):
        number, values = shapes.number(params, internals=False)
        assert values == [params[name] for name in names if name != "vm.x"]
        assert len(shapes._new[number]) == len(values)


def test_whether_internals_are_wanted_may_differ_between_questions() -> None:
    shapes = Shapes()
    params: dict[str, Any] = {"a": 1, "vm.x": 2, "b": 3}
    for internals, expected in ((False, [1, 3]), (True, [1, 2, 3]), (False, [1, 3])):
        number, values = shapes.number(params, internals=internals)
        assert values == expected
        assert len(shapes._new[number]) == len(values)


def test_too_many_shapes_begin_anew_with_new_numbers() -> None:
    shapes = Shapes()
    numbers = {shapes.number({f"p{i}": 1}, internals=True)[0] for i in range(SHAPES_MAX + 5)}
    assert len(numbers) == SHAPES_MAX + 5
    again, _ = shapes.number({"p0": 1}, internals=True)
    assert again not in numbers
    assert shapes._new[again] == ("p0",)
    assert shapes.take()[1]
    assert not shapes.take()[1]


def test_events_wait_for_the_next_answer() -> None:
    changes = Changes()
    assert changes.take() == ([], True)
    changes._on_lifecycle(None, FakeDomain(), 2, 0, None)
    changes._on("device-added")(None, FakeDomain(), "virtio-disk1", None)
    assert changes.take() == (
        [
            wire.Change("lifecycle", "uuid-of-web-1", "web-1", (2, 0), ""),
            wire.Change("device-added", "uuid-of-web-1", "web-1", (), "virtio-disk1"),
        ],
        False,
    )
    assert changes.take() == ([], False)


def test_more_events_than_are_kept_count_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    from domstat.collect import worker

    monkeypatch.setattr(worker, "CHANGES_MAX", 3)
    changes = Changes()
    changes.take()
    for _ in range(5):
        changes._on_lifecycle(None, FakeDomain(), 2, 0, None)
    taken, missed = changes.take()
    assert (len(taken), missed) == (3, True)
