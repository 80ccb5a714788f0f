"""Hosts are watched straight: each at its own pace, what goes wrong is told, and stopping stops it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from domstat.collect.errors import CollectError
from domstat.model import Batch
from domstat.top.feed import Arrived, Failed, Told
from domstat.top.live import FIRST_DEADLINE_S, LiveFeed, Target
from top.fleets import guest, tick

PATIENCE_S = 60.0
INTERVAL_S = 0.001


class Scripted:
    """A host that gives answers one after the other, and then hangs until it is let go."""

    def __init__(self, answers: list[Batch | CollectError]) -> None:
        self.deadlines: list[float] = []
        self.closed = threading.Event()
        self.thread: threading.Thread | None = None
        self._answers = answers

    def collect(self, deadline_s: float) -> Iterator[Batch]:
        self.thread = threading.current_thread()
        self.deadlines.append(deadline_s)
        if not self._answers:
            assert self.closed.wait(PATIENCE_S)
            raise CollectError("closed")
        answer = self._answers.pop(0)
        if isinstance(answer, CollectError):
            raise answer
        yield answer

    def close(self) -> None:
        self.closed.set()


def watched(**hosts: Scripted) -> tuple[LiveFeed, Callable[[], Told]]:
    """Start a feed; returns it, and what gives what it tells."""
    told: queue.Queue[Told] = queue.Queue()
    feed = LiveFeed([Target(name, "test:///default") for name in hosts], INTERVAL_S, lambda target: hosts[target.name])
    feed.start(told.put)
    return feed, lambda: told.get(timeout=PATIENCE_S)


def test_ticks_are_told_as_they_come_and_the_first_may_take_longer() -> None:
    host = Scripted([tick(guest(1)), tick(guest(2))])
    feed, told = watched(kvm1=host)
    assert told() == Arrived((tick(guest(1)),))
    assert told() == Arrived((tick(guest(2)),))
    feed.stop()
    assert host.deadlines[:2] == [FIRST_DEADLINE_S, 0.5]


def test_why_there_is_no_answer_is_told_without_the_secrets_of_a_uri_and_the_host_is_asked_again() -> None:
    host = Scripted([CollectError("cannot reach\nqemu+ssh://me:secret@far/system"), tick()])
    feed, told = watched(kvm1=host)
    failed = told()
    assert isinstance(failed, Failed)
    assert failed.host == "kvm1"
    assert failed.trouble.startswith("cannot reach qemu+ssh://")
    assert "secret" not in failed.trouble
    assert told() == Arrived((tick(),))
    feed.stop()


def test_a_host_that_hangs_holds_up_no_other_and_nothing_is_told_after_the_end() -> None:
    hangs, answers = Scripted([]), Scripted([tick(guest(1)), tick(guest(2))])
    feed, told = watched(hangs=hangs, answers=answers)
    assert [told(), told()] == [Arrived((tick(guest(1)),)), Arrived((tick(guest(2)),))]
    feed.stop()
    for host in (hangs, answers):
        if host.thread is not None:
            host.thread.join(PATIENCE_S)
            assert not host.thread.is_alive()


def test_libvirt_knows_no_past() -> None:
    feed, _ = watched()
    feed.ask(("kvm1", "x"), 0)
    feed.stop()
