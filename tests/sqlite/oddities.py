"""Ticks with values that no sane host has, at odd times; and what they should come to, counted one by one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from domstat.catalog import DERIVED, FieldKind, ValueType, look_up
from domstat.model import Domain, Figures, Kind, Partial, Record, Stamp, Value, split_key
from domstat_sinks.sqlite.heads.layout import type_of

from .histories import START_MS, TEXTS, Found, Series, Tick, naive
from .tierdata import ROUNDED

UNSIGNED = (0, 1, 12_345, 1 << 53, (1 << 63) - 1)
SIGNED = (*UNSIGNED, -1, -(1 << 63))
LARGE = (1 << 63, (1 << 64) - 1)
DOUBLES = (math.nan, math.inf, -math.inf, 1.7e308, -1.7e308, 5e-324, -0.0, 0.5, 3.25)
STEPS_MS = (20, 1_000, 40_000, 200_000, 3_600_000)
LEAST = 1e-300
"""What is less has fewer digits than are left when it is rounded."""
WEEK_MS, HOUR_MS = 7 * 86_400_000, 3_600_000

GUEST_KEYS = (
    "cpu.time", "cpu.user", "vcpu.current", "vcpu.delay[0]", "vcpu.halted[0]", "balloon.current", "balloon.rss",
    "balloon.available", "balloon.unused", "balloon.usable", "balloon.last-update", "block.rd.times[vda]",
    "block.rd.reqs[vda]", "block.rd.bytes[vda]", "block.rd.bytes[vdb]", "block.wr.times[vda]", "block.wr.reqs[vda]",
    "net.rx.bytes[m]", "odd.sum", "x.gauge", "y.gauge", "state.state", "cpu.energy.monitor.pkg.core_energy[0/0]",
)  # fmt: skip
HOST_KEYS = (
    "host.cpu.user", "host.cpu.idle", "host.cpu.iowait", "host.memory.total", "host.memory.free",
    "host.memory.available", "z.sum",
)  # fmt: skip


def odd_history(seed: int, length: int = 30) -> list[Tick]:
    """Make a stream's ticks: guests come and go, the clock is set back by hours, the host is away for a week."""
    chance = random.Random(seed)
    pools = {key: _pool(chance, key) for key in GUEST_KEYS + HOST_KEYS}
    step_ms, incarnations = chance.choice(STEPS_MS), dict.fromkeys("abc", 1)
    time_ms, boot_ns, boot, ticks = START_MS, 5 * 10**9, 1, []
    for _ in range(length):
        time_ms, boot_ns = time_ms + step_ms, boot_ns + step_ms * 1_000_000
        happens = chance.random()
        if happens < 0.05:
            time_ms -= chance.randrange(5) * HOUR_MS + 7  # of two ticks of the very same time one may be the other
        elif happens < 0.08:
            time_ms += WEEK_MS
        elif happens < 0.1:
            boot, boot_ns = boot + 1, 1
        stamp = Stamp(time_ms, boot_ns, str(boot) if chance.random() < 0.9 else "", chance.randrange(10**7))
        ticks.append(Tick(stamp, tuple(_records(chance, pools, incarnations, time_ms))))
    return ticks


def _records(
    chance: random.Random, pools: dict[str, Callable[[], Value]], incarnations: dict[str, int], time_ms: int
) -> Iterator[Record]:
    about: dict[str, Any] = {"host": "h", "collect": "c", "time_ms": time_ms}
    if chance.random() < 0.8:
        yield Record(kind=Kind.HOST, figures=Figures({key: pools[key]() for key in HOST_KEYS}), **about)
    for uuid, id_ in incarnations.items():
        if chance.random() < 0.2:
            continue
        incarnations[uuid] = incarnation = id_ + (chance.random() < 0.05)
        keys = GUEST_KEYS if chance.random() < 0.9 else tuple(chance.sample(GUEST_KEYS, 12))
        partial = Partial(("block",)) if chance.random() < 0.05 else None
        yield Record(
            kind=Kind.GUEST,
            domain=Domain(uuid, uuid, incarnation),
            figures=Figures({key: pools[key]() for key in keys if not (partial and key.startswith("block"))}),
            partial=partial,
            anew=("vda",) if chance.random() < 0.05 else None,
            **about,
        )


def _pool(chance: random.Random, key: str) -> Callable[[], Value]:
    """Choose what values a field has throughout, as its kind allows; of two gauges anything."""
    field = look_up(split_key(key)[0])
    if "energy" in key or (key == "z.sum" and chance.random() < 0.5):
        return lambda: float(chance.choice(DOUBLES[1:]))
    if key in {"x.gauge", "y.gauge"}:
        of: tuple[tuple[Value, ...], ...] = (tuple(TEXTS), DOUBLES, (True, False), SIGNED, LARGE)
        chosen: tuple[Value, ...] = (
            chance.choice(of) if chance.random() < 0.9 else (*SIGNED, *LARGE, *DOUBLES, *TEXTS, True)
        )
        return lambda: chance.choice(chosen)
    if key == "odd.sum" and chance.random() < 0.5:
        return lambda: chance.choice((-(1 << 63), -1, 0, (1 << 63) - 1))
    if chance.random() < 0.4:
        has_one_type = type_of(field.name, LARGE[0]) is type_of(field.name, 0)
        return lambda: chance.choice((*UNSIGNED, *LARGE) if has_one_type else UNSIGNED)
    counted = [0 if field.kind is FieldKind.COUNTER else 1]

    def count() -> int:
        counted[0] += chance.randrange(1 << 30)
        return counted[0]

    return count


def changes_type(ticks: Sequence[Tick]) -> bool:
    """Tell whether a series has values of several types: of a bucket that has, a tier tells some only."""
    types: dict[tuple[str | None, str], ValueType] = {}
    return any(
        types.setdefault((record.domain.uuid if record.domain else None, key), type_of(split_key(key)[0], value))
        is not type_of(split_key(key)[0], value)
        for tick in ticks
        for record in tick.records
        for key, value in record.params.items()
    )


def differences(found: Found, ticks: Sequence[Tick], width_ms: int, *, with_last: bool) -> list[object]:
    """Say in what a tier differs from what it should say, of all but derived series."""
    wrong: list[object] = []
    wanted = naive(ticks, width_ms)
    if set(found) != set(wanted):
        wrong.append(set(found) ^ set(wanted))
    for at, series in wanted.items():
        for key, its in series.items():
            if split_key(key)[0] not in DERIVED:
                compared = _compared(found.get(at, {}).get(key, {}), its)
                wrong += [(at, key, *of) for of in compared if with_last or of[0] != "last"]
    return wrong


def _compared(told: dict[str, Any], its: Series) -> Iterator[tuple[str, Any, Any]]:
    """Give what is not as it should be: statistic, what is told, what should be."""
    is_whole = all(isinstance(value, int) for value in its.values)
    if its.rates:
        taken = [at for at, value in enumerate(its.values) if is_whole or math.isfinite(value)]
        if not taken:
            wanted = {}
        else:
            increment = sum(its.values[at] for at in taken)
            wanted = {
                "increment": increment % (1 << 64) if is_whole else increment,
                "max_rate": max(its.rates[at] for at in taken),
                "covered": sum(its.spans[at] for at in taken),
            }
    else:
        values = [value for value in its.values if value == value]  # noqa: PLR0124 - what is no number is not there
        wanted = {"count": len(values), "last": TEXTS.get(values[-1], values[-1])} if values else {}
        if values and not isinstance(values[0], str):
            wanted |= {"min": min(values), "max": max(values)}
    for statistic, value in wanted.items():
        own = told.get(statistic)
        is_near = statistic == "max_rate" or (statistic == "increment" and not is_whole)
        if own != value and not (
            is_near and own is not None and math.isclose(own, value, rel_tol=ROUNDED, abs_tol=LEAST)
        ):
            yield statistic, own, value
