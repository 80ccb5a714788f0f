"""What one guest takes: by demand, which is its peak, and by allocation, which is its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from domstat.capacity import demand
from domstat.capacity.explained import Figure, Unit, given, missing, worked_out
from domstat.capacity.fleet import Guest, State
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import DAY_MS, Matrix, quantile
from domstat.model import Kind


class Size(Struct, frozen=True):
    """A size that somebody asks for; memory and disk in bytes, None where that is left open."""

    vcpus: float | None = None
    memory: float | None = None
    disk: float | None = None


class Profile(Struct, frozen=True):
    """What a guest takes of a host; *name* says whose this is.

    By demand it is *cores*, *resident* memory and *held* disk, by allocation *vcpus*, *memory* and *disk*.
    """

    name: str
    cores: Figure
    resident: Figure
    held: Figure
    vcpus: Figure
    memory: Figure
    disk: Figure


class Peaks(Struct, frozen=True):
    """What guests ask for over the window: CPU in cores, memory that is resident, by uuid; the peak is a *share*."""

    cores: Matrix[Key]
    resident: Matrix[Key]
    share: float

    def of(self, guest: Guest) -> tuple[Figure, Figure]:
        """Return the peaks of one guest."""
        key = Key(uuid=guest.uuid)
        over = self.cores.grid
        how = f"p{100 * self.share:g} of {over.step_name} means of"
        days = over.count * over.step_ms / DAY_MS
        return (
            given(quantile(self.cores.row(key), self.share), Unit.CORES, f"{how} cpu.cores over {days:.1f} days"),
            given(quantile(self.resident.row(key), self.share), Unit.BYTES, f"{how} memory over {days:.1f} days"),
        )


def peaks(figures: Figures, only: tuple[str, ...] = ()) -> Peaks:
    """Read the peaks of all guests, or of some. Raises HistoryError."""
    hours = figures.hours()
    figures.expect((Kind.GUEST,), demand.GUEST_FIELDS, hours, only=only)
    cores = figures.guests("cpu.cores", hours, only=only)
    return Peaks(cores, demand.memory_of_guests(figures, hours, only=only), figures.settings.peak)


def of_guest(guest: Guest, peak: Peaks) -> Profile:
    """Return what a guest takes."""
    cores, resident = peak.of(guest)
    return Profile(
        guest.name,
        cores,
        resident,
        given(guest.disk_held if guest.disks else None, Unit.BYTES, "what its disks hold"),
        given(guest.vcpus, Unit.VCPUS, "vcpu.current"),
        given(guest.memory, Unit.BYTES, "balloon.current"),
        given(guest.disk_capacity if guest.disks else None, Unit.BYTES, "sizes of its disks"),
    )


def average(guests: Sequence[Guest], peak: Peaks) -> Profile:
    """Return what the average of the guests that run takes."""
    running = [of_guest(guest, peak) for guest in guests if guest.state is State.RUNNING]
    return Profile(
        f"the average of {len(running)} guests",
        *(_mean([take(one) for one in running], unit, what) for unit, what, take in _PARTS),
    )


_PARTS: tuple[tuple[Unit, str, Callable[[Profile], Figure]], ...] = (
    (Unit.CORES, "peaks of CPU", lambda one: one.cores),
    (Unit.BYTES, "peaks of memory", lambda one: one.resident),
    (Unit.BYTES, "held by their disks", lambda one: one.held),
    (Unit.VCPUS, "vCPUs", lambda one: one.vcpus),
    (Unit.BYTES, "memory sizes", lambda one: one.memory),
    (Unit.BYTES, "disk sizes", lambda one: one.disk),
)


def _mean(parts: Sequence[Figure], unit: Unit, what: str) -> Figure:
    known = [part.value for part in parts if part.value is not None]
    if not known:
        return missing(unit, f"nothing is known of the {what} of guests")
    return given(math.fsum(known) / len(known), unit, f"mean of the {what} of {len(known)} guests")


def of_size(size: Size, usual: Profile) -> Profile:
    """Return what a guest of such a size takes if it uses its size as the average guest does.

    What is left open is as the average guest has it.
    """
    vcpus = _asked(size.vcpus, Unit.VCPUS, "--vcpus", usual.vcpus)
    memory = _asked(size.memory, Unit.BYTES, "--memory", usual.memory)
    disk = _asked(size.disk, Unit.BYTES, "--disk", usual.disk)
    return Profile(
        "the size asked for",
        _used(vcpus, usual.cores, usual.vcpus),
        _used(memory, usual.resident, usual.memory),
        _used(disk, usual.held, usual.disk),
        vcpus,
        memory,
        disk,
    )


def _asked(value: float | None, unit: Unit, option: str, usual: Figure) -> Figure:
    return usual if value is None else given(value, unit, option)


def _used(size: Figure, use: Figure, of: Figure) -> Figure:
    """Return what of a size is used, as the average guest uses its own; all of it where nobody knows."""
    if size.value is not None and (use.value is None or not of.value):
        unit = Unit.CORES if size.unit is Unit.VCPUS else size.unit
        return given(size.value, unit, "all of its size, as nothing is known of other guests")
    inputs = {"size": size, "average_use": use, "average_size": of}
    if size.value is None or use.value is None or not of.value:
        return worked_out(None, use.unit, "size * average_use / average_size", inputs)
    value = size.value * use.value / of.value
    return worked_out(value, use.unit, "size * average_use / average_size", inputs)
