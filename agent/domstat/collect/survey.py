"""The survey of one host, its storage pools and the guests that are off: a stream of its own, and a slow one.

All of it may hang, on a dead NFS server for one, so none of it is part of a tick: each survey has a worker process and
a connection of its own, and both end with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from domstat.collect import wire
from domstat.collect.errors import ClosedError, OverdueError
from domstat.collect.findings import Findings
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.labels import NO_RULES, LabelRules
from domstat.collect.process import WORKER_COMMAND
from domstat.collect.tally import Tally, Tick
from domstat.model import Batch

FIRST_WAIT_S = 900.0
"""After a survey that hung the next is not tried for so long; each further one in a row doubles it."""

WAIT_MAX_S = 30 * 86_400.0
"""Where that ends. A call that hangs occupies one of libvirtd's 20 workers until the storage is back, though nobody
waits for it any more. This way 12 of them are lost in the first six weeks; with a limit of a day, all 20 in two."""


class Patience:
    """How long to leave a host alone whose surveys hang. Pure: moments come from outside, in seconds of any clock."""

    def __init__(self) -> None:
        self._wait_s = 0.0
        self._not_before = float("-inf")

    def due(self, now_s: float) -> bool:
        """Whether a survey may be tried."""
        return now_s >= self._not_before

    def left_s(self, now_s: float) -> float:
        """Return how long none may be."""
        return max(0.0, self._not_before - now_s)

    def hang(self, now_s: float) -> None:
        """Take note that a survey hung."""
        self._wait_s = min(2 * self._wait_s or FIRST_WAIT_S, WAIT_MAX_S)
        self._not_before = now_s + self._wait_s

    def succeed(self) -> None:
        """Take note that one did not."""
        self._wait_s = 0.0
        self._not_before = float("-inf")


class Survey:
    """Surveys one host, one survey at a time."""

    def __init__(  # noqa: PLR0913 - a host's settings
        self,
        host: str,
        uri: str,
        log: Any,
        command: tuple[str, ...] = WORKER_COMMAND,
        *,
        refresh: bool = False,
        domains: wire.Globs = wire.ALL,
        fields: wire.Globs = wire.ALL,
        rules: LabelRules = NO_RULES,
    ) -> None:
        """*refresh* has libvirt refresh pools, for which the connection is opened so that it may write."""
        self.host = host
        self.tally = Tally()
        self.tick: Tick | None = None
        """None: a survey is no tick, and says itself how it went."""
        self._uri = uri
        self._log = log
        self._command = command
        self._question = wire.Survey(refresh, domains)
        self._findings = Findings(host, fields, rules)
        self._patience = Patience()
        self._noted: frozenset[str] = frozenset()
        """The last survey's notes."""
        self._lock = threading.Lock()
        self._hypervisor: Hypervisor | None = None
        self._closed = False

    def collect(self, deadline_s: float, due_ms: int | None = None) -> Iterator[Batch]:  # noqa: ARG002 - as ticks have
        """Survey the host: one batch. Raises CollectError.

        The worker is killed after *deadline_s*. If it was then not connecting but surveying, this raises an
        OverdueError at once for as long as :class:`Patience` says.
        """
        now_s = time.monotonic()
        if not self._patience.due(now_s):
            raise OverdueError(f"the last survey of {self.host} hung; {self._next(now_s)}")
        surveyed = self._survey(now_s + deadline_s)
        batch, notes = self._findings.batch(surveyed)
        self._say(surveyed, notes)
        yield batch

    def close(self) -> None:
        """Stop: kill the worker, whatever it is doing; whoever waits for it gets a ClosedError."""
        with self._lock:
            self._closed = True
            hypervisor = self._hypervisor
        if hypervisor is not None:
            hypervisor.close()

    def _survey(self, deadline_at: float) -> wire.Surveyed:
        hypervisor = self._open()
        try:
            # First to connect only: a daemon that lets nobody in is no reason to leave its storage alone for long.
            hypervisor.converse(wire.Describe(()), wire.Descriptions, deadline_at)
            try:
                surveyed = hypervisor.converse(self._question, wire.Surveyed, deadline_at)
            except OverdueError as error:
                now_s = time.monotonic()
                self._patience.hang(now_s)
                raise OverdueError(f"the survey hangs, as on storage that is gone; {self._next(now_s)}") from error
            self._patience.succeed()
        finally:
            hypervisor.close()
            self.tally.workers_killed += hypervisor.workers_killed
            with self._lock:
                self._hypervisor = None
        return surveyed

    def _open(self) -> Hypervisor:
        with self._lock:
            if self._closed:
                raise ClosedError("the agent is stopping")
            writable = self._question.refresh
            self._hypervisor = Hypervisor(self.host, self._uri, self._log, self._command, writable=writable)
            return self._hypervisor

    def _next(self, now_s: float) -> str:
        return f"the next is tried in {self._patience.left_s(now_s) / 60:.0f} min"

    def _say(self, surveyed: wire.Surveyed, notes: list[str]) -> None:
        """Log how it went, and what could not be looked at; what could not be the last time either is not repeated."""
        log = self._log.bind(host=self.host)
        for note in dict.fromkeys(notes):
            if note not in self._noted:
                log.warning("survey_note", note=note)
        self._noted = frozenset(notes)
        log.info(
            "survey",
            pools=len(surveyed.pools),
            guests_off=len(surveyed.sleepers),
            took_ms=round(surveyed.stamp.call_ns / 1e6, 1),
        )
