"""The agent: hosts, schedule and sinks put together, from start to stop; and what a new configuration changes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from domstat import clock, telemetry
from domstat.carrying import Carrying
from domstat.changes import between, lacks, obstacles
from domstat.collect.process import WORKER_COMMAND
from domstat.config import Config, ConfigError, load
from domstat.deliver.account import COLLECT as DELIVERY
from domstat.deliver.account import EVERY_S as ACCOUNT_EVERY_S
from domstat.deliver.account import Account
from domstat.deliver.bounds import Limits
from domstat.deliver.journal import FILE as JOURNAL_FILE
from domstat.deliver.past import UnreadableError, recall
from domstat.deliver.spool import Spool
from domstat.garbage import GIVE_BACK_EVERY_S, collect_leftovers, give_back, share_heaps, spare_collections
from domstat.herald import Herald
from domstat.hosts import host_name
from domstat.line import Line
from domstat.notify import Notifier
from domstat.orders import Order, Orders
from domstat.reporting import COLLECT as CAPACITY
from domstat.reporting import Reporting
from domstat.schedule import Schedule, latest_aligned
from domstat.sink import Finished
from domstat.state import StateLock
from domstat.status import Reloads, Reporter, Server
from domstat.watching import Hosts, Means, Streams

STOP_S = 1.5
"""How long stopping waits for workers and sinks; what a sink has not written by then the journal keeps for it."""

STOP_JOURNAL_S = 2.0
"""How long stopping waits, after that, for the journal's last commit."""

STOP_RELOAD_S = 0.2
"""How long stopping waits, before that, for the step that a reload is at."""

SHORTEST_S = 10.0
"""The shortest interval where nothing is collected."""


class Service:
    """Runs until told to stop, or until no sink is left."""

    def __init__(
        self,
        config: Config,
        log: Any,
        worker_command: tuple[str, ...] = WORKER_COMMAND,
        notifier: Notifier | None = None,
    ) -> None:
        """Put it together, and start nothing. Raises ConfigError for what no agent can run with."""
        if problems := list(lacks(config)):
            raise ConfigError(config.path, problems)
        self._config = config
        self._log = log
        self._orders = Orders()
        self._lock = StateLock(config.state_dir)
        self._spool = Spool(config.state_dir / JOURNAL_FILE, _limits(config), log)
        self._schedule = Schedule(self._skip, self._step, self._suspend)
        self._hosts = Hosts(config.hosts, Means(log, worker_command, self._spool.offer))
        self.lines = self._hosts.lines
        self._sinks = Carrying(config.sinks, _shortest_s(config), self._spool, config.state_dir, log, self.stop)
        couriers = self._sinks.couriers
        self._account = Account(host_name(""), couriers, self._spool)
        self._reloads = Reloads(config.path)
        self._reporter = Reporter(self.lines, couriers, self._spool, self._reloads)
        self._status = Server(config.status_socket, config.agent.status_group, self._reporter.report, log)
        parts = (self.lines, self._spool, couriers)
        self._herald = Herald(notifier or Notifier(), parts, self._reporter.report, log)
        self._reporting = self._make_reporting()
        self._wanted: SimpleQueue[None] = SimpleQueue()
        """Reloads that were asked for."""
        self._stopping = threading.Event()
        self._reloading = threading.Thread(target=self._serve_reloads, name="reload", daemon=True)

    def _make_reporting(self) -> Reporting:
        config = self._config
        return Reporting(config.report, config.path, config.state_dir, self._spool.offer, self._log)

    def run(self) -> bool:
        """Work until :meth:`stop` is called or every sink has ended, then stop in good order.

        Return whether all is well: False if it was the sinks that failed. Raises StateError if the state directory
        cannot be used.
        """
        self._lock.take()
        share_heaps()
        spare_collections()
        self._herald.start()
        self._spool.open()
        self._sinks.start()
        self._note_strangers()
        self._resume(self._hosts.new_streams, list(self.lines.values()))
        self._spool.start()
        self._hosts.start(self._schedule)
        self._schedule.add(f"agent/{DELIVERY}", ACCOUNT_EVERY_S, self._note_account)
        self._schedule.add("agent/heaps", GIVE_BACK_EVERY_S, give_back)
        self._schedule_report()
        self._status.start()
        sinks = [courier.name for courier in self._sinks.couriers]
        self._log.info("agent_started", streams=list(self.lines), sinks=sinks)
        self._schedule.start()
        self._reloading.start()
        while self._orders.get() is Order.RELOAD:  # no polling: an agent that has nothing to do costs nothing
            self._wanted.put(None)
        couriers = self._sinks.couriers
        failed = couriers and all(courier.ended is not None for courier in couriers)
        if failed and not all(isinstance(courier.ended, Finished) for courier in couriers):
            self._log.error("no_sink_left", hint="every sink has stopped: mend one, and start the agent again")
        self._shut_down()
        return not failed or all(isinstance(courier.ended, Finished) for courier in couriers)

    @property
    def wakeup_fd(self) -> int:
        """What ``signal.set_wakeup_fd`` is to be given where signal handlers call :meth:`stop` and :meth:`reload`."""
        return self._orders.wakeup_fd

    def stop(self) -> None:
        """Have :meth:`run` end; may be called from a signal handler."""
        self._orders.put(Order.STOP)

    def reload(self) -> None:
        """Have the configuration read again, and what it changes be done; may be called from a signal handler."""
        self._orders.put(Order.RELOAD)

    def _shut_down(self) -> None:
        self._stopping.set()
        self._wanted.put(None)
        self._herald.stop()
        self._reloading.join(STOP_RELOAD_S)
        until = time.monotonic() + STOP_S
        self._schedule.stop()
        # All at once: one that takes its time must not take that of the others.
        closing = [threading.Thread(target=close, daemon=True) for close in self._closing()]
        for thread in closing:
            thread.start()
        for courier in self._sinks.couriers:
            courier.begin_stop()
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))
        for courier in self._sinks.couriers:
            if not courier.stop(max(0.0, until - time.monotonic())):
                self._log.warning("sink_hangs_at_stop", sink=courier.name, kept=courier.pending)
        if not self._spool.stop(STOP_JOURNAL_S):
            self._log.error("journal_hangs_at_stop")
        self._status.stop()
        self._lock.let_go()
        self._log.info("agent_stopped", ticks=sum(line.ticks for line in self.lines.values()))

    # A new configuration.

    def _serve_reloads(self) -> None:
        while True:
            self._wanted.get()
            while not self._wanted.empty():  # one reading does for all that have asked by now
                self._wanted.get()
            if self._stopping.is_set():
                return
            self._reloads.begin()
            self._herald.begin_reload()
            refused, changed = self._reload()
            self._herald.end_reload(f"Configuration refused: {refused[0]}" if refused else "Configuration read again")
            self._reloads.end(refused, changed)

    def _reload(self) -> tuple[Sequence[str], Sequence[str]]:
        """Go on with what the file says now; return why not, a line for each reason, or what has changed."""
        old = self._config
        try:
            new = load(old.path)
            if problems := list(obstacles(old, new)):
                raise ConfigError(new.path, problems)
        except ConfigError as error:
            hint = "the agent goes on as it was; domstat check says the same"
            for line in error.lines:
                self._log.error("configuration_refused", problem=line, hint=hint)
            return error.lines, ()
        changes = between(old, new)
        try:
            self._apply(old, new)
        except Exception as error:  # noqa: BLE001 - a stranger's constructor, no threads left: ticks go on all the same
            self._log.error("reload_crashed", exc_info=error, hint="start the agent anew")
            return [f"the new configuration could be taken over in part only: {error!r}; start the agent anew"], ()
        collect_leftovers()
        self._log.info("configuration_read", changes=changes.lines)
        return (), changes.lines

    def _apply(self, old: Config, new: Config) -> None:
        self._config = new
        if new.agent.log_level != old.agent.log_level:
            telemetry.set_level(new.agent.log_level)
        if new.journal != old.journal:
            self._spool.set_limits(_limits(new))
        shortest_s = _shortest_s(new)
        for step in (
            partial(self._sinks.change, new.sinks, shortest_s),
            partial(self._hosts.change, new.hosts, self._schedule, self._resume),
        ):
            if not self._stopping.is_set():
                step()
        if new.report != old.report:
            self._reporting.close()
            self._reporting = self._make_reporting()
            self._schedule_report()
        if new.sinks != old.sinks:
            self._note_strangers()

    def _schedule_report(self) -> None:
        name, at = f"agent/{CAPACITY}", self._config.report.schedule
        if at is None:
            self._schedule.remove(name)
        else:
            self._schedule.add_crontab(name, at, self._reporting.run)

    # What happens while it runs.

    def _closing(self) -> list[Any]:
        return [*self._hosts.closing(), self._reporting.close]

    def _note_account(self, _due_ms: int) -> None:
        self._spool.offer(self._account.batch())
        self._reporter.watch()

    def _note_strangers(self) -> None:
        for name, kept in self._spool.strangers().items():
            hint = f"domstat sinks forget {name}, if it is not to come back"
            self._log.warning("sink_not_configured", sink=name, kept=kept, hint=hint)

    def _resume(self, streams: Streams, lines: Sequence[Line]) -> None:
        """Go on where the agent before ended: with its last figures, saying since when nothing was collected."""
        journal = self._spool.journal
        if journal is None:
            return
        try:
            recalled = recall(journal, streams)
        except UnreadableError as error:
            self._log.warning("past_unreadable", error=str(error))
            return
        for key, stream in streams.items():
            stream.remember(recalled.guests[key], recalled.hosts.get(key))
        now_ms = clock.now().time_ms
        for line in lines:
            seen_ms = recalled.seen_ms.get((line.host, line.collect))
            if seen_ms is not None:
                line.resume(latest_aligned(seen_ms * 1000, round(line.interval_s * 1e6)) // 1000, now_ms)

    def _skip(self, name: str) -> None:
        line = self.lines.get(name)
        if line is not None:  # what the agent does for itself leaves no gap
            line.skip()

    def _step(self, seconds: float) -> None:
        self._log.warning("clock_stepped", by_s=round(seconds, 3))
        for line in tuple(self.lines.values()):
            line.tally.clock_steps += 1

    def _suspend(self, seconds: float) -> None:
        self._log.warning("machine_slept", for_s=round(seconds, 1))
        now_ms = clock.now().time_ms
        for line in tuple(self.lines.values()):
            line.note_suspend(seconds, now_ms)


def _limits(config: Config) -> Limits:
    journal = config.journal
    return Limits(journal.max_bytes, journal.max_age, journal.keep)


def _shortest_s(config: Config) -> float:
    """Return the shortest interval at which anything is collected, in seconds."""
    return min((float(block.interval or 0) for host in config.hosts for block in host.blocks), default=SHORTEST_S)
