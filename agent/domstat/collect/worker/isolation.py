"""Finding out which guests do not answer, without waiting for one after the other.

Every guest is asked by itself, by a few threads at once, each over a connection of its own: while one call hangs, the
replies to others on its connection are noticed late (seconds, libvirt 9.0). A thread whose guest does not answer stays
in libvirt until the guest does, or until this process is killed, which is what the agent does with it next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import libvirt

from domstat.model import Value

Records: TypeAlias = list[tuple[Any, dict[str, Value]]]

LOOK_EVERY_S = 0.01
"""How often the threads are looked after, for the second or so that all this takes."""


class Found:
    """What came of it.

    *records* are in the order of their answers, of which the last came after *took_ns*; *stuck* are the uuids of guests
    that did not answer, and *unasked* is how many were not asked since every thread was stuck.
    """

    __slots__ = ("records", "stuck", "took_ns", "unasked")

    def __init__(self, records: Records, stuck: list[str], unasked: int, took_ns: int) -> None:
        self.records = records
        self.stuck = stuck
        self.unasked = unasked
        self.took_ns = took_ns


class Crew:
    """What the threads share: the guests that are left, how to connect and to ask, and what was answered."""

    def __init__(self, domains: Sequence[Any], connect: Callable[[], Any], stats: int, flags: int) -> None:
        self.left = deque(domain.UUIDString() for domain in domains)
        self.answered: list[tuple[int, Records]] = []
        self.error: libvirt.libvirtError | None = None
        """Why a thread gave up."""
        self._connect = connect
        self._stats = stats
        self._flags = flags

    def work(self, asker: _Asker) -> None:
        """Ask guest after guest until none is left. Raises libvirtError if there is no connection, or none any more."""
        connection = self._connect()
        while True:
            try:
                uuid = self.left.popleft()
            except IndexError:
                return
            asker.waiting = (uuid, time.monotonic())
            try:
                domain = connection.lookupByUUIDString(uuid)
                records = connection.domainListGetStats([domain], self._stats, self._flags)
                self.answered.append((time.monotonic_ns(), records))
            except libvirt.libvirtError:
                if not connection.isAlive():
                    self.left.append(uuid)  # for whoever still has a connection
                    raise
                # The guest went away, or libvirt refuses: neither is stuck, and the next tick will tell.
            finally:
                asker.waiting = None


class _Asker:
    """One thread, and what it is waiting for."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.waiting: tuple[str, float] | None = None
        """The guest that is being asked, and since when; None between two guests."""
        self.through = False
        threading.Thread(target=self._run, name="isolate", daemon=True).start()

    def _run(self) -> None:
        try:
            self._crew.work(self)
        except libvirt.libvirtError as error:  # the others go on
            self._crew.error = error
        finally:
            self.through = True


def isolate(crew: Crew, *, threads: int, limit_s: float) -> Found:
    """Have *crew* work with so many *threads*; a guest that does not answer within *limit_s* is stuck.

    Raises libvirtError if guests are left though no thread is stuck: then there is no connection to ask them over.
    """
    began_ns = time.monotonic_ns()
    askers = [_Asker(crew) for _ in range(min(threads, len(crew.left)))]
    while True:
        now = time.monotonic()
        waits = [(asker.through, asker.waiting) for asker in askers]
        stuck = [wait[0] for _, wait in waits if wait is not None and now - wait[1] > limit_s]
        if all(through or (wait is not None and wait[0] in stuck) for through, wait in waits):
            break
        time.sleep(LOOK_EVERY_S)
    unasked = len(crew.left)
    if unasked and not stuck and crew.error is not None:
        raise crew.error
    crew.left.clear()  # a thread that comes back after all must not go on
    answered = list(crew.answered)
    took_ns = answered[-1][0] - began_ns if answered else 0
    return Found([record for _, records in answered for record in records], stuck, unasked, took_ns)
