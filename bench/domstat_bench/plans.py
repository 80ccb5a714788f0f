"""What the plans cost a host: one tick of each, in libvirtd, in the guests' QEMU processes, in the client.

What a plan asks for, and how often, is taken from the configuration as domstat reads it. All that any plan asks for is
asked in turn, in every round in another order, on the same guests, so that whatever else the machine does meets all
alike. The client is a bare one in this process: what the agent adds to it is in ``./dev bench tick``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from domstat.catalog import GROUPS
from domstat.collect.block import ACTIVE, BACKING, NOWAIT
from domstat.collect.worker.cost import Meter
from domstat.config import CollectSettings, parse
from domstat_bench import measure
from domstat_bench.measure import Sampled, sampled
from domstat_bench.report import Table, figures, ms
from domstat_lab.connection import open_connection
from domstat_lab.libvirtd import PrivateLibvirtd

YARDSTICK = "full without internals"
"""What the plans are compared with: all that libvirt itself documents, every tick."""

EXPECTED = {"default": "0.75 to 0.9", "light": "near 0.45"}
"""What a tick of a plan should come to, of the yardstick's, by the monitor commands that it takes."""

WARM_UP_ROUNDS = 2

PAUSE_S = 0.3
"""After a call, before the clocks are read: what a call leaves to be done after its answer is its cost too."""


class Asked(Struct, frozen=True):
    """One call: libvirt's bits for the stats groups, and its flags."""

    stats: int
    flags: int


class Spent(Struct, frozen=True):
    """CPU time in nanoseconds, of one call or one tick.

    *metered* is QEMU's as the agent's own meter says, NaN if it cannot tell.
    """

    own: float = 0
    libvirtd: float = 0
    qemu: float = 0
    metered: float = 0
    params: float = 0

    @property
    def total(self) -> float:
        """What the host pays."""
        return self.own + self.libvirtd + self.qemu


class Cost(Struct, frozen=True):
    """A tick of one plan, by rounds; *ratio* is that of the totals to the yardstick's of the same round."""

    own: Sampled
    libvirtd: Sampled
    qemu: Sampled
    total: Sampled
    ratio: Sampled
    params: float


class Figures(Struct, frozen=True):
    """All plans at one number of guests.

    *metered*: QEMU's CPU time by the agent's meter, of what it is, by round; None if it could not tell.
    """

    guests: int
    rounds: int
    costs: dict[str, Cost]
    metered: Sampled | None


def plans() -> dict[str, dict[Asked, float]]:
    """Return what every plan asks for, with how often per tick.

    Groups that are probed are left out: the lab's guests have nothing to say to them, and so they are asked once an
    hour.
    """
    full = _blocks("full")
    return {
        "full": _asked(full),
        YARDSTICK: _asked(full, without={"vm"}),
        "default": _asked(_blocks("default")),
        "light": _asked(_blocks("light")),
    }


def _blocks(plan: str) -> tuple[CollectSettings, ...]:
    return parse(f'[[hosts]]\nplan = "{plan}"\n').hosts[0].blocks


def _asked(blocks: Sequence[CollectSettings], without: Iterable[str] = ()) -> dict[Asked, float]:
    """Spread slow blocks over the ticks of the first, which is the fast one."""
    interval = blocks[0].interval or 1
    return {
        Asked(
            stats=sum(GROUPS[group] for group in block.groups if group not in set(without)),
            flags=ACTIVE | NOWAIT | (BACKING if block.backing else 0),
        ): interval / (block.interval or interval)
        for block in blocks
    }


def spread(spent: Mapping[Asked, Spent], asked: Mapping[Asked, float]) -> Spent:
    """Add up what a tick costs whose calls are made so often."""
    names = Spent.__struct_fields__
    return Spent(**{name: sum(getattr(spent[call], name) * times for call, times in asked.items()) for name in names})


def run(lab: PrivateLibvirtd, guests: int, rounds: int) -> Figures:
    """Measure *rounds* rounds."""
    host = _Host(lab)
    calls = list(dict.fromkeys(call for asked in plans().values() for call in asked))
    measured: list[dict[Asked, Spent]] = []
    try:
        for number in range(WARM_UP_ROUNDS + rounds):
            first = number % len(calls)
            spent = {call: host.spent(call) for call in calls[first:] + calls[:first]}
            if number >= WARM_UP_ROUNDS:
                measured.append(spent)
    finally:
        host.close()
    return evaluate(guests, measured, plans())


class _Host:
    """The lab's libvirtd and its guests, asked and measured."""

    def __init__(self, lab: PrivateLibvirtd) -> None:
        self._daemon = lab.pid
        self._qemus = list(lab.qemu_pids().values())
        self._connection: Any = open_connection(lab.uri_ro, readonly=True)
        self._uuids = [domain.UUIDString() for domain in self._connection.listAllDomains(ACTIVE)]
        self._meter = Meter(lambda: self._daemon)

    def close(self) -> None:
        """Leave the hypervisor."""
        self._connection.close()

    def spent(self, call: Asked) -> Spent:
        """Make one call and say what it cost."""
        self._meter.begin(self._uuids)
        before = measure.cpu_ns(self._daemon), measure.cpu_ns_of(self._qemus)
        began = time.process_time_ns()
        answer = self._connection.getAllDomainStats(call.stats, call.flags)
        asked_ns = time.process_time_ns() - began
        params = sum(len(values) for _, values in answer)
        began = time.process_time_ns()
        del answer
        released_ns = time.process_time_ns() - began
        metered = self._meter.end().qemu
        time.sleep(PAUSE_S)
        return Spent(
            own=asked_ns + released_ns,
            libvirtd=measure.cpu_ns(self._daemon) - before[0],
            qemu=measure.cpu_ns_of(self._qemus) - before[1],
            metered=math.nan if metered is None else metered,
            params=params,
        )


def evaluate(
    guests: int, measured: Sequence[Mapping[Asked, Spent]], asked: Mapping[str, Mapping[Asked, float]]
) -> Figures:
    """Make figures of what the calls of every round cost."""
    ticks = {name: [spread(spent, calls) for spent in measured] for name, calls in asked.items()}
    costs = {
        name: Cost(
            own=sampled([tick.own for tick in ticks[name]]),
            libvirtd=sampled([tick.libvirtd for tick in ticks[name]]),
            qemu=sampled([tick.qemu for tick in ticks[name]]),
            total=sampled([tick.total for tick in ticks[name]]),
            ratio=sampled([a.total / b.total for a, b in zip(ticks[name], ticks[YARDSTICK], strict=True)]),
            params=sum(tick.params for tick in ticks[name]) / len(measured),
        )
        for name in asked
    }
    metered = [tick.metered / tick.qemu for tick in ticks[YARDSTICK] if not math.isnan(tick.metered)]
    return Figures(guests, len(measured), costs, sampled(metered) if metered else None)


def table(items: Sequence[Figures]) -> Table:
    """Show what the plans cost, beside what was expected."""
    rows = []
    notes = [
        f"Medians of {items[0].rounds} rounds; x: times the tick of {YARDSTICK}, which is full but for the group vm.",
        "light: the mean of a minute's ticks, one of which asks for the slow block too.",
        "The guests are emulated: under KVM cpu-total, vcpu and vm have more to say, and cost more.",
    ]
    for item in items:
        for name, cost in item.costs.items():
            rows.append(
                [
                    f"{item.guests} guests, {name}",
                    f"{cost.params:.0f}",
                    *(ms(part.median) for part in (cost.own, cost.libvirtd, cost.qemu, cost.total)),
                    ms(cost.total.min),
                    figures(cost.ratio.median),
                ]
            )
        notes += [
            f"expected at {item.guests} guests: {name} {expected}; it is {figures(item.costs[name].ratio.median)}"
            for name, expected in EXPECTED.items()
        ]
        seen = figures(item.metered.median) if item.metered else "nothing (do guests elsewhere have their uuids?)"
        notes.append(f"at {item.guests} guests the agent's own meter sees {seen} of QEMU's CPU time")
    columns = ["CPU ms per tick", "params", "client", "libvirtd", "QEMU", "total", "(min)", "x"]
    return Table("The plans: what a tick of each costs the host", columns, rows, notes)
