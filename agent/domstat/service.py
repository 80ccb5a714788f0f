"""The agent: streams, schedule and couriers put together, from start to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from domstat.collect import wire
from domstat.collect.hypervisor import WORKER_COMMAND, ClosedError, CollectError, Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.stream import Block, Stream, deadline_in
from domstat.config import CollectSettings, Config, GlobSettings, HostConfig
from domstat.deliver.courier import Courier
from domstat.garbage import spare_collections
from domstat.model import Batch
from domstat.schedule import Schedule
from domstat.sink import Finished

STOP_S = 1.5
"""All that stopping may take; what a sink has not written by then is counted and lost (until there is a journal)."""


def make_block(block: CollectSettings, host: HostConfig) -> Block:
    """Make what a stream asks for out of the settings of its block and host."""
    settings = host.settings
    return Block(
        block.name,
        block.groups,
        _globs(settings.domains),
        _globs(settings.fields),
        internals=block.internals,
        backing=block.backing,
    )


def _globs(settings: GlobSettings) -> wire.Globs:
    return wire.Globs(settings.include, settings.exclude)


@dataclass
class Line:
    """One stream on its way through the agent, and what is counted of it."""

    name: str
    stream: Stream
    hypervisor: Hypervisor
    interval_s: float
    deadline_s: float
    ticks: int = 0
    skipped: int = 0
    failed: int = 0
    failing: str | None = None
    """The reason of the outage that is going on, None while ticks succeed."""


class Service:
    """Runs until told to stop, or until no sink is left."""

    def __init__(self, config: Config, log: Any, worker_command: tuple[str, ...] = WORKER_COMMAND) -> None:
        self._config = config
        self._worker_command = worker_command
        self._log = log
        self._wake: SimpleQueue[None] = SimpleQueue()
        """What :meth:`run` waits on. Unlike an Event it may be used by a signal handler that interrupts the waiting."""
        self._couriers = [
            Courier(sink.name, sink.sink(sink.settings), config.state_dir, log, self._note_ended)
            for sink in config.sinks
        ]
        self._hypervisors: list[Hypervisor] = []
        self.lines: dict[str, Line] = {}
        for host in config.hosts:
            self._add_host(host)

    def _add_host(self, host: HostConfig) -> None:
        hypervisor = Hypervisor(host.name, host.settings.uri, self._log, self._worker_command)
        inventory = Inventory()
        self._hypervisors.append(hypervisor)
        for block in host.blocks:
            stream = Stream(hypervisor, inventory, make_block(block, host), self._log)
            name = f"{host.name}/{block.name}"
            self.lines[name] = Line(name, stream, hypervisor, float(block.interval or 0), host.deadline_s(block))

    def run(self) -> bool:
        """Work until :meth:`stop` is called or every sink has ended, then stop in good order.

        Return whether all is well: False if it was the sinks that failed.
        """
        spare_collections()
        schedule = Schedule(self._note_skipped)
        for courier in self._couriers:
            courier.start()
        for line in self.lines.values():
            schedule.add(line.name, line.interval_s, self._tick_of(line))
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
        closing = [threading.Thread(target=hypervisor.close, daemon=True) for hypervisor in self._hypervisors]
        for thread in closing:
            thread.start()
        for courier in self._couriers:
            courier.begin_stop()
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))
        for courier in self._couriers:
            if not courier.stop(max(0.0, until - time.monotonic())):
                self._log.error("sink_hangs_at_stop", sink=courier.name, lost=courier.pending)
        self._log.info("agent_stopped", ticks=sum(line.ticks for line in self.lines.values()))

    def _tick_of(self, line: Line) -> Callable[[], None]:
        def tick() -> None:
            try:
                self._tick(line)
            except Exception as error:  # noqa: BLE001 - the last resort: one tick is lost, said, and not the agent
                line.failed += 1
                self._log.error("tick_crashed", stream=line.name, exc_info=error)

        return tick

    def _tick(self, line: Line) -> None:
        started = time.monotonic()
        try:
            batch = line.stream.collect(deadline_in(line.deadline_s))
        except ClosedError:
            return
        except CollectError as error:
            self._note_failure(line, error)
            return
        for courier in self._couriers:
            courier.offer(batch)
        self._note_tick(line, batch, time.monotonic() - started)

    def _note_tick(self, line: Line, batch: Batch, took_s: float) -> None:
        line.ticks += 1
        if line.failing is not None:
            self._log.warning("collecting_again", stream=line.name, after=line.failing, failed=line.failed)
            line.failing, line.failed = None, 0
        self._log.info(
            "tick",
            stream=line.name,
            guests=len(batch.records),
            partial=sum(record.partial is not None for record in batch.records),
            params=sum(len(record.params) for record in batch.records),
            call_ms=round(batch.stamp.call_ns / 1e6, 1),
            took_ms=round(took_s * 1e3, 1),
            waiting={courier.name: courier.pending for courier in self._couriers},
            skipped=line.skipped,
        )

    def _note_failure(self, line: Line, error: CollectError) -> None:
        """Say once per outage what is wrong; repeats are for those who look."""
        line.failed += 1
        say = self._log.debug if line.failing == error.reason else self._log.error
        line.failing = error.reason
        say(
            "tick_failed",
            stream=line.name,
            reason=error.reason,
            error=str(error),
            workers_killed=line.hypervisor.workers_killed,
        )

    def _note_skipped(self, name: str) -> None:
        line = self.lines[name]
        line.skipped += 1
        if line.skipped == 1:
            self._log.warning(
                "tick_skipped", stream=name, hint="the call takes longer than the interval; every skip is counted"
            )
        else:
            self._log.debug("tick_skipped", stream=name, skipped=line.skipped)
