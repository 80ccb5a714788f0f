"""What samples come to, one at a time in plain Python: what the planner's answers are held to. Nothing is shared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from domstat.model import Batch, Kind, Record, split_key

Steps: TypeAlias = dict[int, float]
"""By when a step begins, its figure; what is not known is absent."""

Key: TypeAlias = tuple[str, str]
"""Whose (a guest's, host's or pool's name), and the device, which may be empty."""


class Sample(Struct, frozen=True):
    """What was read at a time; *increase* is since the sample before, over *seconds*, None where it began anew."""

    time_ms: int
    value: float
    increase: float | None = None
    seconds: float = 0.0


class Samples:
    """All that batches say, by field and by whose it is."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._found: dict[str, dict[Key, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        before: dict[tuple[str, Key], tuple[int | None, int, float]] = {}
        for batch in batches:
            for record in batch.records:
                for key, value in record.params.items():
                    field, device = split_key(key)
                    whose = (_name(record), device or "")
                    self._add(before, field, whose, record, batch.stamp.boot_ns, float(value))

    def _add(
        self,
        before: dict[tuple[str, Key], tuple[int | None, int, float]],
        field: str,
        whose: Key,
        record: Record,
        boot_ns: int,
        value: float,
    ) -> None:
        incarnation = record.domain.id if record.domain else None
        last = before.get((field, whose))
        before[field, whose] = (incarnation, boot_ns, value)
        sample = Sample(record.time_ms, value)
        if last is not None and last[0] == incarnation and last[2] <= value:
            sample = Sample(record.time_ms, value, value - last[2], (boot_ns - last[1]) / 1e9)
        self._found[field][whose].append(sample)

    def devices(self, field: str, whose: str) -> list[str]:
        """Return which devices somebody has of a field."""
        return [device for name, device in self._found[field] if name == whose]

    def of(self, field: str, whose: str, device: str = "") -> list[Sample]:
        """Return the samples of one."""
        return self._found[field].get((whose, device), [])

    def last(self, field: str, whose: str, device: str = "") -> float:
        """Return what was read last."""
        return self.of(field, whose, device)[-1].value

    # By steps.

    def rate(self, field: str, whose: str, step_ms: int, device: str = "", scale: float = 1.0) -> Steps:
        """Return what was counted in each step, over the time in which it was."""
        grown: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for sample in self.of(field, whose, device):
            if sample.increase is not None:
                sums = grown[sample.time_ms // step_ms * step_ms]
                sums[0] += sample.increase
                sums[1] += sample.seconds
        return {start: scale * total / seconds for start, (total, seconds) in grown.items()}

    def increases(self, field: str, whose: str, step_ms: int, device: str = "") -> Steps:
        """Return by how much it grew in each step."""
        grown: Steps = defaultdict(float)
        for sample in self.of(field, whose, device):
            if sample.increase is not None:
                grown[sample.time_ms // step_ms * step_ms] += sample.increase
        return dict(grown)

    def level(
        self, field: str, whose: str, step_ms: int, how: Callable[[list[float]], float], scale: float = 1.0
    ) -> Steps:
        """Return what the samples of each step come to: their mean, maximum or last."""
        found: dict[int, list[float]] = defaultdict(list)
        for sample in self.of(field, whose):
            found[sample.time_ms // step_ms * step_ms].append(sample.value * scale)
        return {start: how(values) for start, values in found.items()}

    # What is worked out of several fields.

    def host_cores(self, host: str, step_ms: int) -> Steps:
        """Return how many CPUs a host keeps busy."""
        spent = {of: self.increases(f"host.cpu.{of}", host, step_ms) for of in ("user", "kernel", "idle")}
        cpus = self.last("host.cpus", host)
        return {
            start: cpus * (spent["user"][start] + spent["kernel"][start]) / sum(of[start] for of in spent.values())
            for start in spent["user"]
        }

    def host_memory(self, host: str, step_ms: int) -> Steps:
        """Return how many bytes of a host are not available."""
        total = 1024 * self.last("host.memory.total", host)
        free = self.level("host.memory.available", host, step_ms, mean, 1024)
        return {start: total - value for start, value in free.items()}

    def used(self, guest: str, step_ms: int, how: Callable[[list[float]], float]) -> Steps:
        """Return the bytes that a guest says it uses."""
        found: dict[int, list[float]] = defaultdict(list)
        pairs = zip(self.of("balloon.available", guest), self.of("balloon.usable", guest), strict=True)
        for total, free in pairs:
            found[total.time_ms // step_ms * step_ms].append(1024 * (total.value - free.value))
        return {start: how(values) for start, values in found.items()}

    def steal(self, guest: str, step_ms: int) -> Steps:
        """Return how long a guest's vCPUs waited, on the mean of them."""
        each = [self.rate("vcpu.delay", guest, step_ms, of, 1e-9) for of in self.devices("vcpu.delay", guest)]
        return {start: mean([of[start] for of in each]) for start in each[0]}

    def latency(self, way: str, guest: str, disk: str, step_ms: int) -> Steps:
        """Return how long a disk's requests took, in seconds."""
        took = self.increases(f"block.{way}.times", guest, step_ms, disk)
        requests = self.increases(f"block.{way}.reqs", guest, step_ms, disk)
        return {start: 1e-9 * took[start] / count for start, count in requests.items() if count}

    def together(self, fields: Sequence[str], guest: str, step_ms: int, scale: float = 1.0) -> Steps:
        """Return the rates of fields and of all their devices, added up."""
        return added([
            self.rate(field, guest, step_ms, of, scale) for field in fields for of in self.devices(field, guest)
        ])  # fmt: skip


def _name(record: Record) -> str:
    if record.kind is Kind.HOST:
        return record.host
    if record.pool is not None:
        return record.pool.name
    assert record.domain is not None
    return record.domain.name


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def last(values: Sequence[float]) -> float:
    return values[-1]


def added(rows: Iterable[Steps]) -> Steps:
    """Add steps up; one is known where any of them is."""
    total: Steps = defaultdict(float)
    for row in rows:
        for start, value in row.items():
            total[start] += value
    return dict(total)


def before(steps: Steps, until_ms: int) -> Steps:
    """Leave out what is not before a time."""
    return {start: value for start, value in steps.items() if start < until_ms}


def since(steps: Steps, from_ms: int) -> Steps:
    """Leave out what is before a time."""
    return {start: value for start, value in steps.items() if start >= from_ms}


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that so many of all do not exceed."""
    ordered = sorted(values)
    return next(value for count, value in enumerate(ordered, 1) if count >= share * len(ordered) - 1e-9)


def lasting(starts: Iterable[int], step_ms: int, steps: int) -> set[int]:
    """Return those of some steps that are among at least so many in a row."""
    return {start for run in runs(starts, step_ms) if len(run) >= steps for start in run}


def runs(starts: Iterable[int], step_ms: int) -> Iterator[list[int]]:
    """Give steps that follow each other together."""
    run: list[int] = []
    for start in sorted(starts):
        if run and start != run[-1] + step_ms:
            yield run
            run = []
        run.append(start)
    if run:
        yield run


def usual(past: Steps, start_ms: int, share: float = 0.5) -> float | None:
    """Return what is usual at an hour of the day: of three hours there, else of all, that are known."""
    hour = start_ms // 3_600_000 % 24
    there = [value for start, value in past.items() if start // 3_600_000 % 24 == hour]
    chosen = there if len(there) >= 3 else list(past.values())
    return quantile(chosen, share) if len(chosen) >= 3 else None
