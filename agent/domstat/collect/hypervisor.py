"""The agent's side of a host: ask its worker, and tell slow from stuck when the answer does not come.

A call that has not answered by its deadline is not killed for that. The worker is *looked at* by a second question,
which never waits: if some guest's monitor has been occupied for long, the call hangs in that guest, for ever as far as
anybody knows. Then the worker is killed and the tick is finished by another that asks every guest by itself. If no
guest is stuck the host is large or busy, and what is not stuck is waited for.

A killed worker costs nothing but its start: what is known of guests lives on this side.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace

from domstat.collect import wire
from domstat.collect.errors import (
    ClosedError,
    CollectError,
    OverdueError,
    RefusedError,
    UnreachableError,
    WorkerDiedError,
)
from domstat.collect.process import KILLED_WAIT_S, WORKER_COMMAND, Mailbox, WorkerProcess
from domstat.collect.quarantine import Quarantine, suspects

Collected: TypeAlias = tuple[wire.Answer, dict[int, tuple[str, ...]]]
"""An answer, and the parameter names behind its shape numbers."""

ReplyT = TypeVar("ReplyT", wire.Answer, wire.Descriptions, wire.Looked, wire.Surveyed, wire.Examined)

STUCK_S = 1.0
"""A monitor command that lasts so long, when the whole call is overdue, is stuck: a healthy one takes milliseconds.
With short deadlines half of them is enough."""

LOOK_EVERY_S = 1.0
"""How often an overdue call is looked at; with short deadlines as often as those."""

HUNG_S = 8.0
"""A look that is not answered for so long, since it waits for nobody but the daemon, means that the daemon hangs.
Later than the keepalive (6 s), which knows better."""

CONNECT_S = 10.0
"""How long a connection may take, ssh and TLS included."""

STALL_S = 60.0
"""An overdue call during which no look sees any guest at work is given up after this: it hangs somewhere else."""

THREADS_MAX = 4
"""Guests asked at the same time when stuck ones are searched, each over a connection of its own."""

ISOLATION_S = 120.0
"""A search for stuck guests may take this long: 4 threads get through 10,000 healthy guests in that."""

LATE_S = 10.0
"""Reading XML that takes longer than this is stuck, and costs the worker."""

LAST_SECOND_S = 0.05
"""What is left to a second question when the first took nearly the whole deadline: enough to fail properly."""

BACKOFF_S = 0.5
"""The first wait after a failed connection; each further failure doubles it, and the wait is a random part of that."""

BACKOFF_LOCAL_MAX_S = 5.0
BACKOFF_REMOTE_MAX_S = 60.0
"""Where that ends: trying a local socket costs nothing, a remote host is spared a crowd of agents at once."""


class _StuckError(Exception):
    """An overdue call hangs in one of these guests."""

    def __init__(self, guests: list[wire.Occupied]) -> None:
        super().__init__(len(guests))
        self.guests = guests


class Hypervisor:
    """One host: a worker process that makes one call at a time, for whichever thread comes first."""

    def __init__(
        self,
        name: str,
        uri: str,
        log: Any,
        command: tuple[str, ...] = WORKER_COMMAND,
        on_happened: Callable[[wire.Happened], None] = lambda _happened: None,
        *,
        writable: bool = False,
    ) -> None:
        """*on_happened* is called, on a thread of its own, with libvirt's events as they come."""
        self.name = name
        self._open = wire.Open(uri, writable)
        self._log = log.bind(host=name)
        self._command = command
        self._told = on_happened
        self._backoff_max_s = BACKOFF_LOCAL_MAX_S if ":///" in uri else BACKOFF_REMOTE_MAX_S
        self._turn = threading.Lock()
        self._starting = threading.Lock()
        self._process: WorkerProcess | None = None
        self._late: tuple[Mailbox, float] | None = None
        self._closed = False
        self._failures = 0
        self._not_before = 0.0
        self._lost_at: float | None = None
        """Since when the host is not reached, None while it is."""
        self.quarantine = Quarantine()
        self.workers_killed = 0
        self.connections = 0
        """How often the worker has connected; the first is no reconnect."""

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        process = self._process
        return process.pid if process else None

    @property
    def reconnects(self) -> int:
        """How often the connection was made anew."""
        return max(0, self.connections - 1)

    def ask(self, ask: wire.Ask, deadline_s: float) -> Iterator[Collected]:
        """Make one tick's call; give its answers as they come, all but the last of which say that there is more.

        After *deadline_s* without an answer the host is looked at, see above. Raises CollectError, also when some
        answers have been given.
        """
        with self._my_turn():
            self._wait_out_the_backoff()
            try:
                yield from self._collect(ask, deadline_s)
            except (UnreachableError, WorkerDiedError) as error:
                self._note_outage(error)
                self._back_off()
                raise
            self._note_reached()

    def describe(self, uuids: tuple[str, ...], deadline_at: float) -> list[wire.Description]:
        """Read the XML of guests; at least a moment is given even if *deadline_at* is near. Raises CollectError."""
        self._wait_for_the_late()
        process = self._running()
        mailbox = process.ask(wire.Describe(uuids))
        reply = mailbox.get_until(max(deadline_at, time.monotonic() + LAST_SECOND_S))
        if reply is None:
            self._late = (mailbox, time.monotonic())
            raise OverdueError(f"{self.name} did not give the XML of {len(uuids)} guests in time")
        mailbox.close()
        return self._expect(reply, wire.Descriptions).items

    def _wait_for_the_late(self) -> None:
        """See whether the XML that was late the last time has come; with a worker that is gone it never will."""
        if self._late is None:
            return
        mailbox, since = self._late
        with suppress(WorkerDiedError):
            if mailbox.get(0) is None:
                if time.monotonic() - since > LATE_S:
                    self._replace(self._running())
                    self._late = None
                raise OverdueError(f"{self.name} is still reading the XML of other guests")
        mailbox.close()
        self._late = None

    def examine(self, deadline_at: float) -> wire.Examined:
        """Find out what the connection leads to. Raises CollectError."""
        return self.converse(wire.Examine(), wire.Examined, deadline_at)

    def converse(self, question: wire.Question, expected: type[ReplyT], deadline_at: float) -> ReplyT:
        """Ask one question, and kill the worker if it is not answered in time. Raises CollectError."""
        process = self._running()
        mailbox = process.ask(question)
        try:
            reply = mailbox.get_until(deadline_at)
        except CollectError:
            self._replace(process)
            raise
        finally:
            mailbox.close()
        if reply is None:
            self._replace(process)
            raise OverdueError(f"{self.name} did not answer before the deadline")
        return self._expect(reply, expected)

    def close(self) -> None:
        """Stop: kill the worker, whatever it is doing; whoever waits for it gets a ClosedError."""
        with self._starting:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.kill(closing=True)
        if self._turn.acquire(timeout=KILLED_WAIT_S):
            self._turn.release()

    # One tick's call.

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        """Wait until no other collect block of this host is being asked for.

        Two calls at once would find guests' monitors occupied by each other.
        """
        if not self._turn.acquire(timeout=STALL_S):
            raise OverdueError(f"{self.name} is still busy with another collect block")
        try:
            yield
        finally:
            self._turn.release()

    def _collect(self, ask: wire.Ask, deadline_s: float) -> Iterator[Collected]:
        question = replace(ask, watch=self.quarantine.uuids, spare=not self.quarantine.room)
        process = self._running()
        done: list[str] = []
        try:
            with self._replaced_unless_done(process):
                for first, answer in enumerate(self._answers(process, question, deadline_s)):
                    if not first:
                        self._release(self.quarantine.observe(answer.occupied))
                    if answer.more:
                        done += [guest.uuid for guest in answer.guests]
                    yield self._learned(process, answer)
        except _StuckError as error:
            self._abandon(process, error.guests)
            yield from self._isolate(replace(ask, done=tuple(done), host=ask.host and not done), deadline_s)

    @contextmanager
    def _replaced_unless_done(self, process: WorkerProcess) -> Iterator[None]:
        """Replace a worker that failed, or whose answer nobody hears to its end: the shapes in the rest are lost."""
        try:
            yield
        except (OverdueError, WorkerDiedError, GeneratorExit):
            self._replace(process)
            raise

    def _answers(self, process: WorkerProcess, ask: wire.Ask, deadline_s: float) -> Iterator[wire.Answer]:
        """Give the answers to *ask*, each within *deadline_s* or after what :meth:`_overdue` waits for."""
        mailbox, asked_at = process.ask(ask), time.monotonic()
        try:
            while True:
                reply = mailbox.get(deadline_s)
                if reply is None:
                    reply = self._overdue(process, mailbox, deadline_s, ask, asked_at)
                answer = self._expect(reply, wire.Answer)
                for note in answer.notes:
                    self._log.info("driver_note", note=note)
                yield answer
                if not answer.more:
                    return
        finally:
            mailbox.close()

    def _overdue(
        self, process: WorkerProcess, mailbox: Mailbox, deadline_s: float, ask: wire.Ask, asked_at: float
    ) -> wire.Reply:
        """Wait for an overdue answer for as long as there is reason to. Raises _StuckError and CollectError."""
        stuck_ms = 1000 * _stuck_after(deadline_s)
        began = at_work = time.monotonic()
        while True:
            looked = self._look(process, mailbox)
            if not isinstance(looked, wire.Looked):
                return looked
            now = time.monotonic()
            busy = suspects(looked.occupied, ask, 1000 * (now - asked_at))
            stuck = [guest for guest in busy if guest.ms >= stuck_ms]
            if stuck:
                raise _StuckError(stuck)
            if busy:
                at_work = now
            if not looked.connected and now - began + deadline_s > CONNECT_S:
                self._replace(process)  # one that comes through after all would make every call it was asked for since
                raise UnreachableError(f"{self.name} could not be connected to in {CONNECT_S:g} s")
            if now - at_work > STALL_S:
                raise OverdueError(
                    f"{self.name} did not answer in {now - began + deadline_s:.0f} s, and no guest is why"
                )
            reply = mailbox.get(min(LOOK_EVERY_S, deadline_s))
            if reply is not None:
                return reply

    def _look(self, process: WorkerProcess, mailbox: Mailbox) -> wire.Reply:
        """Look at what the host is occupied with; or return the answer, should it come first."""
        look = process.ask(wire.Look())
        try:
            until = time.monotonic() + HUNG_S
            while time.monotonic() < until:
                looked = look.get(LOOK_EVERY_S)
                if looked is not None:
                    return self._expect(looked, wire.Looked)
                reply = mailbox.get(0)
                if reply is not None:
                    return reply
        finally:
            look.close()
        self._replace(process)
        raise UnreachableError(f"{self.name} does not answer anything: its daemon hangs")

    def _isolate(self, ask: wire.Ask, deadline_s: float) -> Iterator[Collected]:
        """Finish a tick in which a guest got stuck: ask every guest by itself, in as many threads as may get stuck."""
        until = time.monotonic() + ISOLATION_S
        while threads := min(THREADS_MAX, room := self.quarantine.room):
            process, unasked = self._running(), 0
            ask = replace(ask, alone=threads, limit_s=_stuck_after(deadline_s))
            names: dict[str, str] = {}
            with self._replaced_unless_done(process):
                for answer in self._answers_until(process, ask, until):
                    names |= {guest.uuid: guest.name for guest in answer.guests}
                    unasked = answer.unasked
                    for uuid in answer.stuck:  # one that has just been destroyed has no name any more
                        self._note_stuck([wire.Occupied(uuid, names.get(uuid, uuid), round(1000 * ask.limit_s))])
                    yield self._learned(process, replace(answer, more=answer.more or unasked > 0))
            if self.quarantine.room < room:
                self._replace(process)
            if not unasked:
                return
            ask = replace(ask, done=(*ask.done, *names), host=False)
        process = self._running()
        with self._replaced_unless_done(process):
            for answer in self._answers(process, replace(ask, alone=0, spare=True), deadline_s):
                yield self._learned(process, answer)

    def _answers_until(self, process: WorkerProcess, ask: wire.Ask, until: float) -> Iterator[wire.Answer]:
        mailbox = process.ask(ask)
        try:
            more = True
            while more:
                reply = mailbox.get_until(until)
                if reply is None:
                    raise OverdueError(f"{self.name} did not get through its guests in {ISOLATION_S:g} s")
                answer = self._expect(reply, wire.Answer)
                more = answer.more
                yield answer
        finally:
            mailbox.close()

    def _learned(self, process: WorkerProcess, answer: wire.Answer) -> Collected:
        return answer, process.learn(answer)

    def _expect(self, reply: wire.Reply, expected: type[ReplyT]) -> ReplyT:
        if isinstance(reply, wire.Failure):
            raise (UnreachableError if reply.unreachable else RefusedError)(reply.message)
        if not isinstance(reply, expected):
            raise WorkerDiedError(f"the worker process for {self.name} answered something else")
        return reply

    # Stuck guests.

    def _abandon(self, process: WorkerProcess, stuck: list[wire.Occupied]) -> None:
        self._note_stuck(stuck)
        self._replace(process)

    def _note_stuck(self, stuck: list[wire.Occupied]) -> None:
        for guest in self.quarantine.abandon(stuck):
            self._log.warning(
                "guest_stuck",
                guest=guest.name,
                uuid=guest.uuid,
                for_s=round(guest.ms / 1000, 1),
                hint="its QEMU does not answer; it is collected without what only QEMU knows until it does",
            )
        if not self.quarantine.room:
            self._log.error(
                "too_many_guests_stuck",
                stuck=len(self.quarantine),
                hint="nothing is asked that a guest could hold up, until one of them answers",
            )

    def _release(self, freed: list[wire.Occupied]) -> None:
        for guest in freed:
            self._log.info("guest_answers", guest=guest.name, uuid=guest.uuid, after_s=round(guest.ms / 1000, 1))

    # The worker process.

    def _running(self) -> WorkerProcess:
        """Return the worker, started if there is none. Raises CollectError."""
        with self._starting:
            if self._closed:
                raise ClosedError("the agent is stopping")
            if self._process is not None and self._process.has_ended:
                self._process.kill()  # reaps it; or it lives, but speaks nonsense
                self._process = None
            if self._process is None:
                try:
                    self._process = WorkerProcess(self._command, self._open, self._log, self._happened)
                except OSError as error:  # no memory, no more processes, no descriptors: the next tick tries again
                    raise WorkerDiedError(f"no worker process for {self.name} can be started: {error}") from error
            return self._process

    def _replace(self, process: WorkerProcess) -> None:
        """Kill a worker that is of no use any more and start the next at once, so that it is ready for its turn."""
        with self._starting:
            if self._process is process:
                self._process = None
                self.workers_killed += not self._closed
        process.kill()
        if not self._closed:
            try:
                self._running()
            except CollectError as error:
                self._log.debug("worker_not_started", error=str(error))  # the next tick will say so

    def _happened(self, happened: wire.Happened) -> None:
        if happened.missed:
            self.connections += 1
        self._told(happened)

    # Outages.

    def _note_outage(self, error: CollectError) -> None:
        """Say once that the host is lost. Who was stuck is, until a look finds it free."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._log.error("host_lost", reason=error.reason, error=str(error))

    def _note_reached(self) -> None:
        self._failures = 0
        if self._lost_at is not None:
            self._log.warning("host_back", after_s=round(time.monotonic() - self._lost_at, 1))
            self._lost_at = None

    def _wait_out_the_backoff(self) -> None:
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise UnreachableError(f"{self.name} was not reached; the next attempt is in {wait:.1f} s")

    def _back_off(self) -> None:
        """Full jitter: agents that lost the same host do not come back to it all at once."""
        most = min(self._backoff_max_s, BACKOFF_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._not_before = time.monotonic() + random.uniform(0, most)  # noqa: S311 - no secret


def _stuck_after(deadline_s: float) -> float:
    return min(STUCK_S, deadline_s / 2)
