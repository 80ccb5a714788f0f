"""Which guests are too big or too small, what size fits them, and what that is known from.

* **Demand** is a sustained peak: of CPU the `peak` quantile (p95) of five-minute means of cpu.cores over the window; of
  memory that of hourly maxima of memory.used, as memory that lacks for a minute is missed as much as for an hour.
* **Projected** is the greatest that the middle of the projection of each day's peak reaches within `size_ahead` (150
  days: Aria's recommended size), where PROJECTED_FROM days are known; the recommended size holds whichever is more.
* **Recommended** is that over (1 - headroom), 20 % of headroom as AWS has it, in whole vCPUs, even ones above two
  (`size_even`), and in whole steps of memory. It is never more vCPUs than the host has threads (Red Hat).
* **Undersized** is who needs more than it has, **oversized** for whom a whole step less is enough. All others fit.

There is no recommendation from less than `size_after` (30 hours: AWS's least) or `coverage` of the time; none of memory
where the guest's balloon driver is silent, `memory_age` old, or was so for most of the time. Of a guest that waits for
CPUs (`steal`) use says less than it needs: it is shrunk only if what it waits, used as well, would fit.

Of a smaller memory the host gets back what is resident beyond it; fewer vCPUs give it nothing back (Aria).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat.capacity import demand, grid
from domstat.capacity.demand import Resource
from domstat.capacity.explained import Figure, Unit, given, missing, worked_out
from domstat.capacity.fleet import Guest, State
from domstat.capacity.forecasting import Refused, Series, project_many
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import DAY_MS, HOUR_MS, FloatArray, Grid, Matrix
from domstat.capacity.settings import Capacity
from domstat.capacity.waiting import mean
from domstat.history import Aggregate

PROJECTED_FROM = 14
"""Days that must be known for growth to count: two weeks, as of one it cannot be told from the week's own rhythm."""

DIGITS = 9
"""Digits of a need that count: 2.1 cores over 0.7 are three vCPUs, and not four."""

PEAKS = (("p99", 0.99), ("peak", 1.0))
"""What is said beside the peak that counts."""

QUARTERS = 4
"""Of less than one step memory goes by quarters of it."""


class Verdict(StrEnum):
    """What can be said of a guest's size; each is a sentence."""

    UNDERSIZED = "undersized"
    OVERSIZED = "oversized"
    FITS = "fits"
    WAITS = "waits for CPUs"
    YOUNG = "not enough history"
    STALE = "stale figures"
    UNKNOWN = "not known"


class Sizing(Struct, frozen=True):
    """One resource of one guest: what it has, what fits it, and the evidence.

    *demand* is the peak that counts, *p99* and *peak* are beside it. *evidence* is, of CPU, how long a vCPU waits; of
    memory, how long ago the balloon driver spoke. *back* is what the host gets back.
    """

    host: str
    uuid: str
    name: str
    resource: Resource
    verdict: Verdict
    now: Figure
    recommended: Figure
    demand: Figure
    p99: Figure
    peak: Figure
    projected: Figure
    evidence: Figure
    back: Figure
    note: str = ""


class Rightsize(Struct, frozen=True):
    """All guests that run, twice: those that are too small first, then those that are too big, most to gain first."""

    window: Grid
    sizings: tuple[Sizing, ...]


class _Seen(Struct, frozen=True):
    """What was seen of one resource of one guest; *silent* says why it cannot be gone by."""

    guest: Guest
    resource: Resource
    grid: Grid
    values: FloatArray
    source: str
    evidence: Figure
    silent: str = ""


def rightsize(figures: Figures) -> Rightsize:
    """Say of each guest that runs which size fits it. Raises HistoryError."""
    window = figures.window()
    guests = [guest for guest in figures.fleet.on_any(State.RUNNING) if not _is_lost(figures, guest)]
    seen = [*_cpu(figures, guests, window), *_memory(figures, guests)]
    projected = _projected(seen, figures.settings)
    sizings = [_size(one, ahead, figures) for one, ahead in zip(seen, projected, strict=True)]
    return Rightsize(window, tuple(sorted(_with_returns(figures, sizings), key=_order)))


def _is_lost(figures: Figures, guest: Guest) -> bool:
    host = figures.fleet.host_of.get(guest.host)
    return host is None or host.is_stale


def _order(one: Sizing) -> tuple[int, str, float, str, str]:
    now, fits = one.now.value or 0.0, one.recommended.value
    gain = 0.0 if fits is None else -abs(now - fits)
    resource = one.resource if one.verdict in {Verdict.UNDERSIZED, Verdict.OVERSIZED} else ""
    return (tuple(Verdict).index(one.verdict), resource, gain, one.name, one.uuid)


# What was seen.


def _cpu(figures: Figures, guests: Sequence[Guest], window: Grid) -> Iterator[_Seen]:
    cores = figures.guests("cpu.cores", window)
    since_ms = max(window.since_ms, round(figures.now_ms - figures.settings.wait_span * 1000))
    hours = Grid.covering(since_ms, figures.now_ms, HOUR_MS)
    hours = hours if hours.count else window
    steal = figures.guests("vcpu.steal", hours, devices=mean)
    for guest in guests:
        key = Key(uuid=guest.uuid)
        waits = given(
            grid.quantile(steal.row(key), figures.settings.peak),
            Unit.RATIO,
            f"p{100 * figures.settings.peak:g} of {hours.step_name} means of vcpu.steal, over its vCPUs and "
            f"{hours.count * hours.step_ms / DAY_MS:.1f} days",
            lacking="its host does not say how long vCPUs wait",
        )
        source = f"{window.step_name} means of cpu.cores"
        yield _Seen(guest, Resource.CPU, window, cores.row(key), source, waits)


def _memory(figures: Figures, guests: Sequence[Guest]) -> Iterator[_Seen]:
    over = figures.hours()
    used = figures.guests("memory.used", over, Aggregate.MAX)
    spoke = figures.guests("balloon.last-update", over, Aggregate.LAST)
    most = figures.settings.memory_age
    for guest in guests:
        row, ages = used.row(Key(uuid=guest.uuid)), _ages(spoke, guest, figures.now_ms)
        is_known = ~np.isnan(row)
        is_fresh = is_known & (ages <= most)
        newest = grid.last_known(ages)
        age_d = None if newest is None else newest / 86_400
        age = given(age_d, Unit.DAYS, "now - balloon.last-update", lacking="its balloon driver never spoke")
        silent = ""
        if newest is None or not is_known.any():
            silent = "its balloon driver never spoke"
        elif newest > most:
            silent = f"its balloon driver spoke {_how_long(newest)} ago"
        elif is_fresh.sum() < figures.settings.coverage * is_known.sum():
            silent = "its balloon driver was silent for most of the time"
        source = f"{over.step_name} maxima of memory.used"
        yield _Seen(guest, Resource.MEMORY, over, np.where(is_fresh, row, np.nan), source, age, silent)


def _ages(spoke: Matrix[Key], guest: Guest, now_ms: int) -> FloatArray:
    """Return how long ago, in seconds, the driver had spoken when each step ended; unknown where it never had."""
    over, row = spoke.grid, spoke.row(Key(uuid=guest.uuid))
    ends_ms = np.minimum(over.since_ms + (np.arange(over.count) + 1.0) * over.step_ms, now_ms)
    ages: FloatArray = np.where(row > 0, np.maximum(0.0, ends_ms / 1000 - row), np.nan)
    return ages


def _how_long(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds / 3600:.1f} hours"


# What is to come.


def _projected(seen: Sequence[_Seen], settings: Capacity) -> list[Figure]:
    """Return of each what its daily peaks come to."""
    daily = [grid.by_day(one.values, one.grid, settings.peak) for one in seen]
    enough = [place for place, (_, row) in enumerate(daily) if len(grid.known(row)) >= PROJECTED_FROM]
    series = [Series(daily[place][0].since_ms, DAY_MS, daily[place][1]) for place in enough]
    steps = max(1, round(settings.size_ahead / 86_400))
    found = [missing(_unit(one.resource), f"less than {PROJECTED_FROM} days to project") for one in seen]
    for place, projection in zip(enough, project_many(series, steps, settings.level) if series else (), strict=True):
        unit = _unit(seen[place].resource)
        if isinstance(projection, Refused):
            found[place] = missing(unit, projection.reason)
        else:
            source = f"greatest of middle(projection of each day's peak) within {settings.size_ahead}"
            found[place] = given(float(projection.middle.max()), unit, source)
    return found


def _unit(resource: Resource) -> Unit:
    return Unit.CORES if resource is Resource.CPU else Unit.BYTES


# What fits.


def _size(one: _Seen, projected: Figure, figures: Figures) -> Sizing:
    settings, unit = figures.settings, _unit(one.resource)
    days = one.grid.count * one.grid.step_ms / DAY_MS
    said = {
        name: given(grid.quantile(one.values, share), unit, f"{name} of {one.source} over {days:.1f} days")
        for name, share in ((f"p{100 * settings.peak:g}", settings.peak), *PEAKS)
    }
    sustained, p99, highest = (*said.values(), said["peak"])[:3]
    is_cpu = one.resource is Resource.CPU
    size = one.guest.vcpus if is_cpu else one.guest.memory
    now = given(size, Unit.VCPUS if is_cpu else Unit.BYTES, "vcpu.current" if is_cpu else "balloon.current")
    sizing = Sizing(
        one.guest.host, one.guest.uuid, one.guest.name, one.resource, Verdict.FITS, now, now,
        sustained, p99, highest, projected, one.evidence, missing(unit, "nothing comes back"),
    )  # fmt: skip
    refused = _refusal(one, now, settings)
    if refused is not None:
        verdict, note = refused
        return replace(sizing, verdict=verdict, recommended=missing(now.unit, verdict), note=note)
    need = _need(sustained, projected, one.resource, settings)
    return _judged(sizing, need, figures)


def _refusal(one: _Seen, now: Figure, settings: Capacity) -> tuple[Verdict, str] | None:
    """Say why there is no recommendation; None where there is one."""
    known_s = len(grid.known(one.values)) * one.grid.step_ms / 1000
    there_s = (one.grid.until_ms - max(one.guest.first_ms, one.grid.since_ms)) / 1000
    if one.silent:
        return Verdict.STALE, one.silent
    if now.value is None:
        return Verdict.UNKNOWN, "its size is not known"
    if known_s < settings.size_after:
        return Verdict.YOUNG, f"{known_s / 3600:.1f} hours of the {settings.size_after} that it takes"
    if known_s < settings.coverage * there_s:
        return Verdict.YOUNG, f"only {100 * known_s / there_s:.0f} % of the time was seen"
    return None


def _need(sustained: Figure, projected: Figure, resource: Resource, settings: Capacity) -> Figure:
    """Return what a guest needs, before that is rounded to a size one can give."""
    name = "cpu_headroom" if resource is Resource.CPU else "memory_headroom"
    headroom = getattr(settings, name)
    inputs = {"demand": sustained, "headroom": given(headroom, Unit.RATIO, f"the setting {name}")}
    grows = projected.value is not None and sustained.value is not None and projected.value > sustained.value
    if grows:
        inputs = {"projected": projected, **inputs}
    counts = projected if grows else sustained
    value = None if counts.value is None else round(counts.value / (1 - headroom), DIGITS)
    formula = "max(demand, projected) / (1 - headroom)" if grows else "demand / (1 - headroom)"
    return worked_out(value, sustained.unit, formula, inputs)


def _judged(sizing: Sizing, need: Figure, figures: Figures) -> Sizing:
    settings = figures.settings
    now, wanted = sizing.now.value or 0.0, need.value or 0.0
    is_cpu = sizing.resource is Resource.CPU
    fits = _vcpus(need, settings) if is_cpu else _bytes(need, settings)
    least = 1 if is_cpu else _step(wanted, settings)
    if wanted > now:
        return _larger(replace(sizing, verdict=Verdict.UNDERSIZED, recommended=fits), figures)
    if now - (fits.value or 0.0) < least:
        return replace(sizing, recommended=worked_out(now, fits.unit, "now", {"now": sizing.now, "need": need}))
    if is_cpu and (sizing.evidence.value or 0.0) >= settings.steal:
        fits = _vcpus(_with_waiting(need, sizing, settings), settings)
        if now - (fits.value or 0.0) < least:
            note = "it waits for CPUs, so its use says less than it needs"
            return replace(sizing, verdict=Verdict.WAITS, recommended=missing(Unit.VCPUS, Verdict.WAITS), note=note)
    note = "its highest would not have fitted" if (sizing.peak.value or 0.0) > (fits.value or 0.0) else ""
    return replace(sizing, verdict=Verdict.OVERSIZED, recommended=fits, note=note)


def _with_waiting(need: Figure, sizing: Sizing, settings: Capacity) -> Figure:
    """Return what a guest that waits needs at most: what it uses, and what it would while it waits."""
    headroom = given(settings.cpu_headroom, Unit.RATIO, "the setting cpu_headroom")
    inputs = {"need": need, "steal": sizing.evidence, "vcpus": sizing.now, "headroom": headroom}
    waits = (sizing.evidence.value or 0.0) * (sizing.now.value or 0.0)
    value = round((need.value or 0.0) + waits / (1 - settings.cpu_headroom), DIGITS)
    return worked_out(value, Unit.CORES, "need + steal * vcpus / (1 - headroom)", inputs)


def _larger(sizing: Sizing, figures: Figures) -> Sizing:
    """Say of a guest that is too small what stands in the way."""
    guest = figures.fleet.guest_of[sizing.uuid]
    now, fits, asked = sizing.now.value or 0.0, sizing.recommended, sizing.demand.value or 0.0
    is_cpu = sizing.resource is Resource.CPU
    headroom = figures.settings.cpu_headroom if is_cpu else figures.settings.memory_headroom
    needs_now = asked / (1 - headroom) > now
    host = figures.fleet.host_of[guest.host]
    if is_cpu:
        if host.threads is not None and fits.value is not None and fits.value > host.threads:
            inputs = {"threads": given(host.threads, Unit.THREADS, "host.cpus"), "fits": fits}
            fits = worked_out(host.threads, Unit.VCPUS, "min(threads, fits)", inputs)
            return replace(sizing, recommended=fits, note="its host has no more threads")
        if asked >= SATURATED * now:
            return replace(sizing, note="it uses all it has, and may want more than that says")
    elif guest.memory_maximum is not None and now < guest.memory_maximum:
        return replace(sizing, note="some of its memory is ballooned away")
    if not needs_now:
        return replace(sizing, note="not yet: it grows")
    return sizing


SATURATED = 0.95
"""Share of its vCPUs from which on a guest may want more than it can show."""


def _vcpus(need: Figure, settings: Capacity) -> Figure:
    value = need.value or 0.0
    inputs = {"need": need}
    if settings.size_even and math.ceil(value) > 2:
        return worked_out(2.0 * math.ceil(value / 2), Unit.VCPUS, "2 * ceil(need / 2)", inputs)
    return worked_out(max(1.0, math.ceil(value)), Unit.VCPUS, "max(1, ceil(need))", inputs)


def _bytes(need: Figure, settings: Capacity) -> Figure:
    step = _step(need.value or 0.0, settings)
    inputs = {"step": given(step, Unit.BYTES, "the setting size_memory_step, or a quarter of it"), "need": need}
    value = step * max(1, math.ceil((need.value or 0.0) / step))
    return worked_out(value, Unit.BYTES, "step * max(1, ceil(need / step))", inputs)


def _step(need: float, settings: Capacity) -> float:
    return settings.size_memory_step / (QUARTERS if need <= settings.size_memory_step else 1)


# What comes back.


def _with_returns(figures: Figures, sizings: Sequence[Sizing]) -> Iterator[Sizing]:
    """Say what the host gets back of memory that guests do not need."""
    shrink = {one.uuid for one in sizings if one.verdict is Verdict.OVERSIZED and one.resource is Resource.MEMORY}
    day = Grid.covering(figures.now_ms - DAY_MS, figures.now_ms, figures.hours().step_ms)
    resident = demand.memory_of_guests(figures, day, only=tuple(sorted(shrink))) if shrink else None
    for one in sizings:
        if one.verdict is not Verdict.OVERSIZED:
            yield one
        elif one.resource is Resource.CPU:
            yield replace(one, back=given(0.0, Unit.CORES, "fewer vCPUs use as much"))
        elif resident is not None:
            held = given(
                grid.last_known(resident.row(Key(uuid=one.uuid))),
                Unit.BYTES,
                "newest mean of balloon.rss, else of balloon.current",
            )
            inputs = {"resident": held, "recommended": one.recommended}
            value = None if held.value is None else max(0.0, held.value - (one.recommended.value or 0.0))
            yield replace(one, back=worked_out(value, Unit.BYTES, "max(0, resident - recommended)", inputs))
