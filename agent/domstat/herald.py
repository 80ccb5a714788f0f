"""Tells systemd how the agent is: ready, alive, reloading, stopping, and in words.

Ready is an agent whose first commit is on the disk, or whose journal cannot be written, since it goes on without.
It is alive as long as nothing hangs (:mod:`domstat.watchdog`): what has hung for one period of the watchdog ends the
messages, and so the agent within two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from domstat.deliver.courier import Courier
from domstat.deliver.spool import Spool
from domstat.line import Line
from domstat.notify import Notifier
from domstat.status import Report
from domstat.text import size
from domstat.watchdog import OPENING_S_MAX, wedged

LOOK_S = 0.2
"""How often it is looked whether the agent is ready."""

TELL_EVERY_S = 30.0
"""How often it is said how the agent is, at the most: a person who asks systemd reads of now, and the figures of a
large backlog, which take some milliseconds to add up, cost nothing that matters."""

ALIVE_SHARE = 1 / 3
"""Of the watchdog's period: how often it is told. One message may be late, and the next is still in time."""

EXTEND_S = 30.0
EXTEND_EVERY_S = 10.0
"""While something opens that takes its time, so much more of it is asked for, so often."""


class Herald:
    """Says it all, from a thread of its own where anybody listens."""

    def __init__(
        self,
        notifier: Notifier,
        parts: tuple[Mapping[str, Line], Spool, Sequence[Courier]],
        report: Callable[[], Report],
        log: Any,
    ) -> None:
        """*parts* are what has to go on; lines and couriers may change meanwhile."""
        self._notifier = notifier
        self._lines, self._spool, self._couriers = parts
        self._report = report
        self._log = log
        self._sending = threading.Lock()
        self._stopped = threading.Event()
        self._is_ready = self._is_wedged = self._is_reloading = False
        self._extend_due = self._extend_until = 0.0
        watchdog_s = notifier.watchdog_s
        self._every_s = TELL_EVERY_S if watchdog_s is None else min(TELL_EVERY_S, watchdog_s * ALIVE_SHARE)

    def start(self) -> None:
        """Begin; nothing is done where nobody listens."""
        if self._notifier.is_heard:
            now = time.monotonic()
            self._extend_due, self._extend_until = now + EXTEND_EVERY_S, now + OPENING_S_MAX
            threading.Thread(target=self._run, name="herald", daemon=True).start()

    def stop(self) -> None:
        """Say that the agent stops, and nothing after that."""
        with self._sending:
            self._stopped.set()
            self._notifier.send("STOPPING=1", "STATUS=Stopping")

    def begin_reload(self) -> None:
        """Say that the configuration is read again; of one that is not ready yet nobody wants to know."""
        self._is_reloading = self._is_ready
        if self._is_reloading:
            now_us = time.monotonic_ns() // 1000
            self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}", self._notifier.status("Reloading"))

    def end_reload(self, text: str) -> None:
        """Say what became of that."""
        if self._is_reloading:
            self._is_reloading = False
            self._send("READY=1", self._notifier.status(text))

    def _send(self, *lines: str | None) -> None:
        with self._sending:
            if not self._stopped.is_set():
                self._notifier.send(*(line for line in lines if line is not None))

    # The thread.

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s if self._is_ready else LOOK_S):
            if self._is_ready:
                self._tell()
            else:
                self._look()

    def _look(self) -> None:
        if self._spool.commits or self._spool.figures().failing is not None:
            self._is_ready = True
            self._send("READY=1", self._notifier.status("Started"))
            return
        opening = self._opening()
        now = time.monotonic()
        if opening and self._extend_due <= now < self._extend_until:
            self._extend_due = now + EXTEND_EVERY_S
            text = f"Opening {', '.join(opening)}"
            self._send(f"EXTEND_TIMEOUT_USEC={round(EXTEND_S * 1e6)}", self._notifier.status(text))

    def _opening(self) -> list[str]:
        journal = ["the journal"] if self._spool.journal is None else []
        return journal + [f"the sink {courier.name}" for courier in tuple(self._couriers) if courier.is_opening]

    def _tell(self) -> None:
        reasons = self._wedged()
        if reasons:
            self._send(self._notifier.status(f"Hangs: {'; '.join(reasons)}"))
            return
        if self._notifier.watchdog_s:
            self._send("WATCHDOG=1")
        # After that: a report waits for the journal's file, which may hang for some time without being given up.
        self._send(self._notifier.status(headline(self._report())))

    def _wedged(self) -> list[str]:
        watchdog_s = self._notifier.watchdog_s
        if watchdog_s is None:
            return []
        reasons = wedged(tuple(self._lines.values()), self._spool, tuple(self._couriers), watchdog_s)
        if reasons and not self._is_wedged:
            hint = "the watchdog is not told any more that the agent is alive; systemd will start it anew"
            self._log.error("agent_hangs", reasons=reasons, hint=hint)
        self._is_wedged = bool(reasons)
        return reasons


def headline(report: Report) -> str:
    """Say in a line how the agent is."""
    if not report.healthy:
        return f"Trouble: {'; '.join(report.reasons)}"
    hosts = len({stream.host for stream in report.streams})
    counted = (f"{hosts} host{'s' * (hosts != 1)}", f"{len(report.sinks)} sink{'s' * (len(report.sinks) != 1)}")
    return f"All is well: {', '.join(counted)}, journal {size(report.journal.bytes)}"
