"""The agent: streams, schedule and couriers put together, from start to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from domstat import clock
from domstat.collect import wire
from domstat.collect.block import Block
from domstat.collect.chronicle import Chronicle
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.labels import LabelRules
from domstat.collect.process import WORKER_COMMAND
from domstat.collect.stream import Stream
from domstat.collect.survey import Survey
from domstat.config import Config, SinkConfig
from domstat.deliver.account import COLLECT as DELIVERY
from domstat.deliver.account import EVERY_S as ACCOUNT_EVERY_S
from domstat.deliver.account import Account
from domstat.deliver.bounds import Limits
from domstat.deliver.courier import BACKOFF_MAX_S, Courier, Outlet
from domstat.deliver.journal import FILE as JOURNAL_FILE
from domstat.deliver.past import UnreadableError, recall
from domstat.deliver.spool import Spool
from domstat.garbage import spare_collections
from domstat.hosts import CollectSettings, GlobSettings, HostConfig, host_name
from domstat.line import Line
from domstat.model import Batch
from domstat.reporting import COLLECT as CAPACITY
from domstat.reporting import Reporting
from domstat.schedule import Schedule, latest_aligned
from domstat.sink import Finished
from domstat.state import StateLock
from domstat.status import Reporter, Server

STOP_S = 1.5
"""How long stopping waits for workers and sinks; what a sink has not written by then the journal keeps for it."""

STOP_JOURNAL_S = 2.0
"""How long stopping waits, after that, for the journal's last commit."""

BACKOFF_MAX_S_MIN = 1.0
"""Retries are at most a tick apart, so that a sink that has come back gets new ticks within two; but not below this."""

SURVEY_DEADLINE_S = 60.0
"""A survey that takes longer hangs, on a dead NFS server as a rule; its process is killed."""


def make_block(block: CollectSettings, host: HostConfig, *, with_host: bool = False) -> Block:
    """Make what a stream asks for out of the settings of its block and host."""
    settings = host.settings
    return Block(
        block.name,
        block.groups,
        _globs(settings.domains),
        _globs(settings.fields),
        probe=block.probe,
        internals=block.internals,
        backing=block.backing,
        host=with_host,
    )


def _outlet(sink: SinkConfig, shortest_s: float) -> Outlet:
    common = sink.common
    return Outlet(
        sink.name,
        lambda: sink.sink(sink.settings),
        oldest=common.start == "oldest",
        batches=common.batch,
        linger_s=float(common.linger or 0),
        backoff_max_s=min(BACKOFF_MAX_S, max(BACKOFF_MAX_S_MIN, shortest_s)),
    )


def _globs(settings: GlobSettings) -> wire.Globs:
    return wire.Globs(settings.include, settings.exclude)


class Service:
    """Runs until told to stop, or until no sink is left."""

    def __init__(self, config: Config, log: Any, worker_command: tuple[str, ...] = WORKER_COMMAND) -> None:
        self._worker_command = worker_command
        self._log = log
        self._wake: SimpleQueue[None] = SimpleQueue()
        """What :meth:`run` waits on. Unlike an Event it may be used by a signal handler that interrupts the waiting."""
        self._lock = StateLock(config.state_dir)
        journal = config.journal
        limits = Limits(journal.max_bytes, journal.max_age, journal.keep)
        self._spool = Spool(config.state_dir / JOURNAL_FILE, limits, log)
        shortest_s = min((float(block.interval or 0) for host in config.hosts for block in host.blocks), default=10.0)
        self._couriers = [
            Courier(_outlet(sink, shortest_s), self._spool, config.state_dir, log, self._note_ended)
            for sink in config.sinks
        ]
        self._account = Account(host_name(""), self._couriers, self._spool)
        self._streams: dict[tuple[str, str], Stream] = {}
        self._closing: list[Callable[[], None]] = []
        """What ends the workers."""
        self.lines: dict[str, Line] = {}
        self._reporter = Reporter(self.lines, self._couriers, self._spool)
        self._status = Server(config.status_socket, config.agent.status_group, self._reporter.report, log)
        for host in config.hosts:
            self._add_host(host)
        self._report_at = config.report.schedule
        self._reporting = Reporting(config.report, config.path, config.state_dir, self._offer, log)
        self._closing.append(self._reporting.close)

    def _add_host(self, host: HostConfig) -> None:
        settings = host.settings
        rules = LabelRules(settings.labels)
        inventory = Inventory(rules)
        chronicle = Chronicle(host.name, inventory, _globs(settings.domains), self._offer)
        hypervisor = Hypervisor(host.name, settings.uri, self._log, self._worker_command, chronicle.hear)
        self._closing.append(hypervisor.close)
        for position, block in enumerate(host.blocks):
            is_first = position == 0
            stream = Stream(hypervisor, inventory, make_block(block, host, with_host=is_first), self._log)
            self._streams[host.name, block.name] = stream
            self._add_line(
                Line(
                    (host.name, block.name),
                    stream,
                    float(block.interval or 0),
                    host.deadline_s(block),
                    partial(self._offer_and_show, chronicle) if is_first else self._offer,
                    self._log,
                )
            )
        if settings.survey.enabled:
            survey = Survey(
                host.name,
                settings.uri,
                self._log,
                self._worker_command,
                refresh=settings.survey.refresh,
                domains=_globs(settings.domains),
                fields=_globs(settings.fields),
                rules=rules,
            )
            self._closing.append(survey.close)
            self._add_line(
                Line(
                    (host.name, "survey"),
                    survey,
                    float(settings.survey.interval),
                    SURVEY_DEADLINE_S,
                    self._offer,
                    self._log,
                    is_watched=False,
                )
            )

    def _add_line(self, line: Line) -> None:
        self.lines[line.name] = line

    def run(self) -> bool:
        """Work until :meth:`stop` is called or every sink has ended, then stop in good order.

        Return whether all is well: False if it was the sinks that failed. Raises StateError if the state directory
        cannot be used.
        """
        self._lock.take()
        spare_collections()
        schedule = Schedule(self._skip, self._step, self._suspend)
        self._spool.open()
        for courier in self._couriers:
            courier.start()
        self._resume()
        self._spool.start()
        for line in self.lines.values():
            schedule.add(line.name, line.interval_s, line.run)
        schedule.add(f"agent/{DELIVERY}", ACCOUNT_EVERY_S, self._note_account)
        if self._report_at is not None:
            schedule.add_crontab(f"agent/{CAPACITY}", self._report_at, self._reporting.run)
        self._status.start()
        self._log.info("agent_started", streams=list(self.lines), sinks=[courier.name for courier in self._couriers])
        schedule.start()
        self._wake.get()  # no polling: an agent that has nothing to do costs nothing
        failed = self._couriers and all(courier.ended is not None for courier in self._couriers)
        self._shut_down(schedule)
        return not failed or all(isinstance(courier.ended, Finished) for courier in self._couriers)

    def stop(self) -> None:
        """Have :meth:`run` end; may be called from a signal handler."""
        self._wake.put(None)

    def _note_ended(self) -> None:
        """Stop when the last sink has ended: nothing is left to work for."""
        if all(courier.ended is not None for courier in self._couriers):
            self.stop()

    def _shut_down(self, schedule: Schedule) -> None:
        until = time.monotonic() + STOP_S
        schedule.stop()
        # All at once: one that takes its time must not take that of the others.
        closing = [threading.Thread(target=close, daemon=True) for close in self._closing]
        for thread in closing:
            thread.start()
        for courier in self._couriers:
            courier.begin_stop()
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))
        for courier in self._couriers:
            if not courier.stop(max(0.0, until - time.monotonic())):
                self._log.warning("sink_hangs_at_stop", sink=courier.name, kept=courier.pending)
        if not self._spool.stop(STOP_JOURNAL_S):
            self._log.error("journal_hangs_at_stop")
        self._status.stop()
        self._lock.let_go()
        self._log.info("agent_stopped", ticks=sum(line.ticks for line in self.lines.values()))

    # What happens while it runs.

    def _offer(self, batch: Batch) -> None:
        self._spool.offer(batch)

    def _offer_and_show(self, chronicle: Chronicle, batch: Batch) -> None:
        self._spool.offer(batch)
        chronicle.see(batch)

    def _note_account(self, _due_ms: int) -> None:
        self._spool.offer(self._account.batch())
        self._reporter.watch()

    def _resume(self) -> None:
        """Go on where the agent before ended: with its last figures, saying since when nothing was collected."""
        for name, kept in self._spool.strangers().items():
            hint = f"domstat sinks forget {name}, if it is not to come back"
            self._log.warning("sink_not_configured", sink=name, kept=kept, hint=hint)
        journal = self._spool.journal
        if journal is None:
            return
        try:
            recalled = recall(journal, self._streams)
        except UnreadableError as error:
            self._log.warning("past_unreadable", error=str(error))
            return
        for key, stream in self._streams.items():
            stream.remember(recalled.guests[key], recalled.hosts.get(key))
        now_ms = clock.now().time_ms
        for line in self.lines.values():
            seen_ms = recalled.seen_ms.get((line.host, line.collect))
            if seen_ms is not None:
                line.resume(latest_aligned(seen_ms * 1000, round(line.interval_s * 1e6)) // 1000, now_ms)

    def _skip(self, name: str) -> None:
        if name in self.lines:  # what the agent does for itself leaves no gap
            self.lines[name].skip()

    def _step(self, seconds: float) -> None:
        self._log.warning("clock_stepped", by_s=round(seconds, 3))
        for line in self.lines.values():
            line.tally.clock_steps += 1

    def _suspend(self, seconds: float) -> None:
        self._log.warning("machine_slept", for_s=round(seconds, 1))
        now_ms = clock.now().time_ms
        for line in self.lines.values():
            line.note_suspend(seconds, now_ms)
