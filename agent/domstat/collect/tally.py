"""What a stream counts of itself: since the agent started, and within a tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domstat.collect import wire
from domstat.model import Record, Value


@dataclass
class Tally:
    """Counted since the agent started; the names are those of the ``agent.*`` fields."""

    skipped: int = 0
    failed: int = 0
    clock_steps: int = 0
    workers_killed: int = 0
    reconnects: int = 0
    quarantined: int = 0


class Tick:
    """What one tick has come to so far. *due_ms* is None if nobody knows; *groups* are those that it asks for."""

    def __init__(self, due_ms: int | None, groups: tuple[str, ...]) -> None:
        self.due_ms = due_ms
        self.groups = groups
        self.lateness_ms: int | None = None
        self.call_ns = 0
        self.calls = 0
        self.guests = 0
        self.partial = 0
        self.params = 0
        self._cost: wire.Cost | None = None

    def count(self, answer: wire.Answer, records: Sequence[Record]) -> None:
        """Take one answer into account, and the guests' records made of it."""
        if self.lateness_ms is None and self.due_ms is not None:
            self.lateness_ms = answer.stamp.time_ms - self.due_ms
        self.call_ns += answer.stamp.call_ns
        self.calls += 1
        self.guests += len(records)
        self.partial += sum(record.partial is not None for record in records)
        self.params += sum(len(record.figures.keys) for record in records)
        self._cost = answer.cost or self._cost

    def figures(self, tally: Tally) -> dict[str, Value]:
        """Say it all by the catalogue's names; what is not known is absent."""
        cost = self._cost
        figures: dict[str, int | None] = {
            "agent.call.time": self.call_ns,
            "agent.lateness": None if self.lateness_ms is None else self.lateness_ms * 1_000_000,
            "agent.calls": self.calls,
            "agent.guests": self.guests,
            "agent.partial": self.partial,
            "agent.quarantined": tally.quarantined,
            "agent.workers_killed": tally.workers_killed,
            "agent.reconnects": tally.reconnects,
            "agent.clock_steps": tally.clock_steps,
            "agent.skipped": tally.skipped,
            "agent.failed": tally.failed,
            "agent.cost.libvirtd": cost.libvirtd if cost else None,
            "agent.cost.qemu": cost.qemu if cost else None,
            "agent.cost.worker": cost.worker if cost else None,
        }
        return {key: figure for key, figure in figures.items() if figure is not None}
