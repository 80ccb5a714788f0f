"""libvirt's events: told as they come, with their times, and before the answer to a call that was made after them."""

from __future__ import annotations

import json
import subprocess
import sys

import libvirt
import pytest

from domstat import clock
from domstat.collect import wire
from domstat.collect.worker.listening import DRAIN_TURNS_MAX, Listener
from standins import Connection, Daemon, Domain, Guest, Refused

REGISTERED = {
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
}

REAL = """
import gc, json, tempfile, time
import libvirt
from domstat.collect.worker.listening import Listener
libvirt.registerErrorHandler(lambda *_: None, None)
libvirt.virEventRegisterDefaultImpl()

NODE = "<node><domain type='test'><name>other</name><memory>1024</memory><os><type>hvm</type></os></domain></node>"
told = []
listener = Listener(told.append)
connection = libvirt.open("test:///default")
listener.register(connection)
domain = connection.lookupByName("test")
late = 0
began = time.monotonic()
for _ in range(100):
    before = len(told)
    domain.suspend()
    domain.resume()
    listener.drain()
    late += len(told) != before + 2
each_s = (time.monotonic() - began) / 100
details = [change.detail for happened in told[-2:] for change in happened.changes]
objects = len(gc.get_objects())
for _ in range(1000):
    listener.drain()
kept = len(gc.get_objects()) - objects

# A connection made later has a timer of libvirt's that stands behind ours.
with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
    file.write(NODE)
    file.flush()
    other = libvirt.open(f"test://{file.name}")
listener.release(connection)
listener.register(other)
domain = other.lookupByName("other")
before = len(told)
for _ in range(100):
    domain.suspend()
    domain.resume()
    listener.drain()
    late += len(told) != before + 2
    before = len(told)
print(json.dumps({"late": late, "each_s": each_s, "details": details, "kept": kept}), flush=True)
"""


class Ear:
    """A listener on a stand-in, and what it told."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.told: list[wire.Happened] = []
        self.connection = connection or Daemon("web-1").connect()[0]
        self.listener = Listener(self.told.append)
        self.listener.register(self.connection)
        self.domain = Domain(self.connection, Guest("web-1"))

    def happen(self, event: int, *facts: object) -> wire.Change:
        """Have libvirt report an event; return the change that was told of it."""
        self.connection.registered[event](self.connection, self.domain, *facts, None)
        (change,) = self.told[-1].changes
        return change


def test_a_new_connection_is_said_first_since_events_may_have_been_missed() -> None:
    ear = Ear()
    assert ear.told == [wire.Happened([], missed=True)]
    assert set(ear.connection.registered) == REGISTERED


def test_an_event_is_told_at_once_with_its_time() -> None:
    ear = Ear()
    before = clock.now()
    change = ear.happen(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, 3, 0)
    assert (change.event, change.uuid, change.name, change.id) == ("lifecycle", "uuid-of-web-1", "web-1", 3)
    assert (change.detail, change.device) == ((3, 0), "")
    assert before.time_ms <= change.time_ms <= clock.now().time_ms
    assert before.boot_ns <= change.boot_ns <= clock.boot_ns()
    assert (ear.told[-1].boot_id, ear.told[-1].missed) == (before.boot_id, False)


@pytest.mark.parametrize(
    ("event", "facts", "name", "device"),
    [
        (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, (), "reboot", ""),
        (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, ("virtio-disk1",), "device-added", "virtio-disk1"),
        (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, ("net0",), "device-removed", "net0"),
        (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, (1, None), "metadata", ""),
    ],
)
def test_every_event_has_the_device_that_it_is_about_if_any(
    event: int, facts: tuple[object, ...], name: str, device: str
) -> None:
    change = Ear().happen(event, *facts)
    assert (change.event, change.detail, change.device) == (name, (), device)


def test_a_driver_may_lack_some_events_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, _ = Daemon("web-1").connect()
    register = connection.domainEventRegisterAny

    def refuse_reboots(domain: None, event: int, *rest: object) -> int:
        if event == libvirt.VIR_DOMAIN_EVENT_ID_REBOOT:
            raise Refused(libvirt.VIR_ERR_NO_SUPPORT)
        return register(domain, event, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "domainEventRegisterAny", refuse_reboots)
    assert set(Ear(connection).connection.registered) == REGISTERED - {libvirt.VIR_DOMAIN_EVENT_ID_REBOOT}


def test_a_connection_that_is_let_go_of_keeps_no_callback_though_its_daemon_is_gone() -> None:
    ear = Ear()
    ear.connection.alive = False
    ear.listener.release(ear.connection)
    assert ear.connection.registered == {}


def test_nothing_is_waited_for_where_there_are_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, _ = Daemon().connect()
    connection.daemon.trouble["domainEventRegisterAny"] = Refused(libvirt.VIR_ERR_NO_SUPPORT)
    turns: list[object] = []
    monkeypatch.setattr(libvirt, "virEventAddTimeout", lambda *_: turns.append("timer"))
    monkeypatch.setattr(libvirt, "virEventRunDefaultImpl", lambda: turns.append("turn"))
    Ear(connection).listener.drain()
    assert turns == []


def test_events_that_do_not_come_to_an_end_hold_up_no_answer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[object] = []
    monkeypatch.setattr(libvirt, "virEventAddTimeout", lambda *_: 7)
    monkeypatch.setattr(libvirt, "virEventUpdateTimeout", lambda *_: None)
    monkeypatch.setattr(libvirt, "virEventRunDefaultImpl", lambda: turns.append("turn"))
    Ear().listener.drain()
    assert len(turns) == DRAIN_TURNS_MAX


def test_what_a_real_driver_reports_is_told_when_the_drain_is_through() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(done.stdout)
    assert seen["late"] == 0
    assert seen["details"] == [[3, 0], [4, 0]]
    assert seen["each_s"] < 1, "it is the events that end the waiting, not the clock"
    assert seen["kept"] < 100, "a thousand answers keep nothing"
