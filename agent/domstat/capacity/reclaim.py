"""What can be taken back: guests that are off, and guests that run and do nothing.

A guest is in one class, the highest that it is in (as in Aria: off, then idle), and counted once.

* **Powered off**: off for longer than the setting `off_after` (21 days: Nutanix calls it dead). All that its volumes
  are allocated comes back; it has no memory and uses no CPU that could.
* **Idle**: in `idle_share` (95 %) of the hours of the window CPU, disk *and* network were each below its threshold
  (`idle_cpu` of its vCPUs, `idle_disk`, `idle_net`: BMC Helix's numbers, on hourly means as BMC and older vRealize
  Operations have it). The memory comes back that is resident on the host, and the CPU that it really uses: taking away
  idle vCPUs frees none (Aria). Its disks come back if it is deleted.
* **Idle but for regular work**: busy in the same `idle_regular` (4) hours of the day at most, each on REGULAR_DAYS of
  the days at least, and by the rule above idle in all others: a nightly backup. It is told, with its hours, and not
  counted as reclaimable, though all hours together it might be idle for 95 % of the time.

Nobody is called idle who is known for less than `idle_after` (7 days), who was seen for less of it than `coverage`, or
whose host is not seen any more; those are in `unjudged`, each with the reason. Whose CPU alone is busy for more than
the rest of `idle_share`, even without the `idle_regular` hours of the day that it is busiest in, is asked no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct

from domstat import model
from domstat.capacity import demand, grid
from domstat.capacity.explained import Figure, Unit, given, missing, worked_out
from domstat.capacity.fleet import Guest, State
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import DAY_MS, HOUR_MS, FloatArray, Grid, Matrix
from domstat.capacity.settings import Capacity
from domstat.capacity.usual import HOURS, hour_of_day

if TYPE_CHECKING:
    import numpy.typing as npt

Flags: TypeAlias = "npt.NDArray[np.bool_]"

_DISK_FIELDS = ("block.rd.bytes", "block.wr.bytes")
_NET_FIELDS = ("net.rx.bytes", "net.tx.bytes")

REGULAR_DAYS = 0.5
"""Share of the days on which a guest must work in an hour for that to be regular: not all, as jobs may be late."""

DAYS_MIN = 3
"""Days that an hour of the day must have been seen on to be called regular; on two of two may be chance."""


class Kind(StrEnum):
    """Why a guest is listed, the highest class first; *regular* is idle but for regular work."""

    OFF = "off"
    IDLE = "idle"
    REGULAR = "regular"


class Candidate(Struct, frozen=True):
    """A guest that can be reclaimed, or that does hardly anything, and what comes back.

    *share* is how much of the time it was idle, *busy_hours* (UTC) are those it works in, *off_days* says how long it
    is off. *cores*, *memory* and *disk* are what comes back, *vcpus* what is given out no more.
    """

    host: str
    uuid: str
    name: str
    kind: Kind
    share: Figure
    off_days: Figure
    cores: Figure
    vcpus: Figure
    memory: Figure
    disk: Figure
    busy_hours: str = ""
    note: str = ""


class Unjudged(Struct, frozen=True):
    """A guest of which it cannot be said whether it is idle, and why."""

    host: str
    name: str
    reason: str


class Reclaim(Struct, frozen=True):
    """Whom to reclaim, most to come back first; *regular* are those that are idle but for regular work.

    *lately_off* are how many are off for less than `off_after`. *hours* is what was looked at.
    """

    hours: Grid
    candidates: tuple[Candidate, ...]
    regular: tuple[Candidate, ...]
    unjudged: tuple[Unjudged, ...]
    lately_off: int


def reclaim(figures: Figures) -> Reclaim:
    """Say which guests are off or idle, and what comes back. Raises HistoryError."""
    over = figures.hours()
    off = [guest for guest in figures.fleet.on_any(State.OFF) if not _is_stale(figures, guest)]
    dead = [_off(guest, figures) for guest in off if _off_ms(guest, figures) >= figures.settings.off_after * 1000]
    judged = list(_judge(figures, over))
    doing_nothing = [one for one in judged if isinstance(one, _Idleness)]
    idle = _returns(figures, doing_nothing)
    return Reclaim(
        over,
        tuple(sorted([*dead, *(one for one in idle if one.kind is Kind.IDLE)], key=_most_first)),
        tuple(sorted((one for one in idle if one.kind is Kind.REGULAR), key=_most_first)),
        tuple(sorted((one for one in judged if isinstance(one, Unjudged)), key=lambda one: (one.name, one.host))),
        len(off) - len(dead),
    )


def _most_first(one: Candidate) -> tuple[int, float, float, str]:
    order = tuple(Kind).index(one.kind)
    return (order, -(one.memory.value or 0.0), -(one.disk.value or 0.0), one.name)


def _is_stale(figures: Figures, guest: Guest) -> bool:
    host = figures.fleet.host_of.get(guest.host)
    return host is None or host.is_stale


# Guests that are off.


def _off_ms(guest: Guest, figures: Figures) -> int:
    return 0 if guest.off_since_ms is None else figures.now_ms - guest.off_since_ms


def _off(guest: Guest, figures: Figures) -> Candidate:
    off_for = given(_off_ms(guest, figures) / DAY_MS, Unit.DAYS, "since it went off")
    note = ""
    if guest.off_since_ms == guest.first_ms:
        note = "off for longer, perhaps: it was when it was first seen"
    return Candidate(
        guest.host,
        guest.uuid,
        guest.name,
        Kind.OFF,
        missing(Unit.RATIO, "off"),
        off_for,
        given(0.0, Unit.CORES, "a guest that is off uses none"),
        given(guest.vcpus, Unit.VCPUS, "vcpu.maximum"),
        given(0.0, Unit.BYTES, "a guest that is off has none"),
        _held(guest, "volume.allocation of its volumes, added up"),
        note=note,
    )


def _held(guest: Guest, source: str) -> Figure:
    known = [disk for disk in guest.disks if disk.held is not None]
    if not known:
        return missing(Unit.BYTES, "nothing is known of its disks")
    lacking = len(guest.disks) - len(known)
    return given(guest.disk_held, Unit.BYTES, source, f"without {lacking} disks that are not known" if lacking else "")


# Guests that do nothing.


class _Idleness(Struct, frozen=True):
    """A guest that is idle, or nearly: how many of the steps that are known, and in which hours it is not."""

    guest: Guest
    share: Figure
    mean: Figure
    hours: tuple[int, ...]


class _Use(Struct, frozen=True):
    """What guests do, in each step."""

    cpu: Matrix[Key]
    disk: tuple[Matrix[Key], ...]
    net: tuple[Matrix[Key], ...]


def _judge(figures: Figures, over: Grid) -> Iterator[_Idleness | Unjudged]:
    """Judge the guests that run: by their CPU alone those that it shows to be busy, and only of others ask for more."""
    running = list(figures.fleet.on_any(State.RUNNING))
    if not running:
        return
    cpu = figures.guests("cpu.utilization", over)
    rest = []
    for guest in running:
        own = cpu.row(Key(uuid=guest.uuid))
        reason = _unclear(figures, guest, cpu) or _too_little(figures, guest, ~np.isnan(own), over)
        if reason:
            yield Unjudged(guest.host, guest.name, reason)
        elif not _is_busy(own, over, figures.settings):
            rest.append(guest)
    use = _use(figures, cpu, rest, over)
    for guest in rest:
        found = _of_guest(figures, guest, use, over)
        if isinstance(found, str):
            yield Unjudged(guest.host, guest.name, found)
        elif found is not None:
            yield found


def _is_busy(cpu: FloatArray, over: Grid, settings: Capacity) -> bool:
    """Whether the CPU alone says that a guest is not idle, whatever else it does and whichever hours were regular."""
    is_known = ~np.isnan(cpu)
    is_busy = is_known & (cpu >= settings.idle_cpu)
    of_day = hour_of_day(over)
    busy, known = (np.bincount(of_day, weights=flags, minlength=HOURS) for flags in (is_busy, is_known))
    left = np.argsort(busy)[: HOURS - int(settings.idle_regular // 3600)]
    return bool(busy[left].sum() > (1 - settings.idle_share) * known[left].sum())


def _use(figures: Figures, cpu: Matrix[Key], guests: Sequence[Guest], over: Grid) -> _Use:
    if not guests:
        return _Use(cpu, (), ())
    only = tuple(guest.uuid for guest in guests)
    figures.expect((model.Kind.GUEST,), (*_DISK_FIELDS, *_NET_FIELDS), over, rate=True, only=only)
    disk, net = (
        tuple(figures.guests(field, over, rate=True, only=only) for field in fields)
        for fields in (_DISK_FIELDS, _NET_FIELDS)
    )
    return _Use(cpu, disk, net)


def _of_guest(figures: Figures, guest: Guest, use: _Use, over: Grid) -> _Idleness | str | None:
    """Say how idle a guest is, why that is not known, or nothing where it is busy."""
    settings, key = figures.settings, Key(uuid=guest.uuid)
    if guest.disks and not any(key in rows for rows in use.disk):
        return "nothing is known of what its disks do"
    cpu, disk, net = use.cpu.row(key), _together(use.disk, key), _together(use.net, key)
    is_known = ~(np.isnan(cpu) | np.isnan(disk) | np.isnan(net))
    reason = _too_little(figures, guest, is_known, over)
    if reason:
        return reason
    is_idle = is_known & (cpu < settings.idle_cpu) & (disk < settings.idle_disk) & (net < settings.idle_net)
    hours = regular_hours(is_known & ~is_idle, is_known, over)
    elsewhere = is_known & ~np.isin(hour_of_day(over), hours)
    works_much = len(hours) * 3600 > settings.idle_regular
    if works_much or is_idle[elsewhere].sum() < settings.idle_share * elsewhere.sum():
        return None
    return _Idleness(guest, _share(is_idle, is_known, figures, over), _mean(cpu, over), hours)


def _unclear(figures: Figures, guest: Guest, cpu: Matrix[Key]) -> str:
    """Say what is not known at all of a guest; nothing where there is something."""
    if _is_stale(figures, guest):
        return "its host is not seen any more"
    return "" if Key(uuid=guest.uuid) in cpu else "nothing is known of its CPU"


def _together(matrices: tuple[Matrix[Key], ...], key: Key) -> FloatArray:
    """Add up what goes both ways; a guest that has no such device does nothing with it."""
    rows = [rows.row(key) for rows in matrices if key in rows]
    return grid.total(np.array(rows)) if rows else np.zeros(matrices[0].grid.count)


def _too_little(figures: Figures, guest: Guest, is_known: Flags, over: Grid) -> str:
    """Say why what was seen is too little to call anybody idle; nothing where it is enough."""
    settings = figures.settings
    since_ms = max(guest.first_ms, over.since_ms)
    least_ms = settings.idle_after * 1000
    there_ms = over.until_ms - since_ms
    if there_ms + over.step_ms < least_ms:
        return f"not enough history: {max(0, there_ms) / DAY_MS:.1f} days of the {settings.idle_after} that it takes"
    seen = float(is_known.sum()) * over.step_ms / there_ms
    return f"only {100 * seen:.0f} % of the time was seen" if seen < settings.coverage else ""


def regular_hours(is_busy: Flags, is_known: Flags, over: Grid) -> tuple[int, ...]:
    """Return the hours of the day (UTC) in which there is work on REGULAR_DAYS of the days that are known."""
    if not over.count:
        return ()
    first = over.since_ms // HOUR_MS
    slots = (over.since_ms + np.arange(over.count, dtype=np.int64) * over.step_ms) // HOUR_MS - first
    busy, known = (np.bincount(slots, weights=flags) > 0 for flags in (is_busy, is_known))
    of_day = (first + np.arange(len(known))) % HOURS
    seen = np.bincount(of_day, weights=known, minlength=HOURS)
    works = np.bincount(of_day, weights=busy, minlength=HOURS)
    regular = (seen >= DAYS_MIN) & (works >= REGULAR_DAYS * seen)
    return tuple(int(hour) for hour in np.flatnonzero(regular))


def _share(is_idle: Flags, is_known: Flags, figures: Figures, over: Grid) -> Figure:
    settings = figures.settings
    source = (
        f"{over.step_name} means with CPU below {100 * settings.idle_cpu:g} % of its vCPUs, disks below "
        f"{settings.idle_disk / 1000:g} and NICs below {settings.idle_net / 1000:g} kB/s"
    )
    idle = given(float(is_idle.sum()), Unit.NONE, source)
    known = given(float(is_known.sum()), Unit.NONE, f"{over.step_name} means that are known")
    value = float(is_idle.sum()) / float(is_known.sum())
    return worked_out(value, Unit.RATIO, "idle / known", {"idle": idle, "known": known})


def _mean(cpu: FloatArray, over: Grid) -> Figure:
    return given(float(np.nanmean(cpu)), Unit.RATIO, f"mean of {over.step_name} means of cpu.utilization")


def _returns(figures: Figures, idle: list[_Idleness]) -> list[Candidate]:
    """Say what comes back of guests that are idle."""
    if not idle:
        return []
    day = Grid.covering(figures.now_ms - DAY_MS, figures.now_ms, figures.hours().step_ms)
    resident = demand.memory_of_guests(figures, day, only=tuple(one.guest.uuid for one in idle))
    return [_idle(one, grid.last_known(resident.row(Key(uuid=one.guest.uuid)))) for one in idle]


def _idle(one: _Idleness, resident: float | None) -> Candidate:
    guest = one.guest
    vcpus = given(guest.vcpus, Unit.VCPUS, "vcpu.current")
    value = None if one.mean.value is None or guest.vcpus is None else one.mean.value * guest.vcpus
    inputs = {"utilization": one.mean, "vcpus": vcpus}
    return Candidate(
        guest.host,
        guest.uuid,
        guest.name,
        Kind.REGULAR if one.hours else Kind.IDLE,
        one.share,
        missing(Unit.DAYS, "running"),
        worked_out(value, Unit.CORES, "utilization * vcpus", inputs),
        vcpus,
        given(
            resident,
            Unit.BYTES,
            "newest mean of balloon.rss, else of balloon.current",
            lacking="its memory is not known",
        ),
        _held(guest, "what its disks hold; comes back if it is deleted, not if it is shut down"),
        hours_named(one.hours),
        f"works {hours_named(one.hours)}" if one.hours else "",
    )


def hours_named(hours: tuple[int, ...]) -> str:
    """Write hours of the day: ``02:00-04:00, 13:00-14:00 UTC``."""
    spans: list[tuple[int, int]] = []
    for hour in hours:
        if spans and spans[-1][1] == hour:
            spans[-1] = (spans[-1][0], hour + 1)
        else:
            spans.append((hour, hour + 1))
    text = ", ".join(f"{begin:02}:00-{end:02}:00" for begin, end in spans)
    return f"{text} UTC" if text else ""
