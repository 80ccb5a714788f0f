"""Who is there, as of one moment: hosts, guests, pools and disks, and how large each is. Types only, and pure.

Sizes are in base units; None where the history does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cached_property

from msgspec import Struct


class State(StrEnum):
    """How a guest is. One that is *gone* was seen once and is not any more: undefined, or moved out of sight."""

    RUNNING = "running"
    OFF = "off"
    GONE = "gone"


class Disk(Struct, frozen=True):
    """A guest's disk, in bytes: the size the guest sees, what of it was written, and what it takes.

    Of a guest that is off *allocation* is what the disk takes of its pool, and *physical* is not known.
    """

    uuid: str
    device: str
    capacity: float | None
    allocation: float | None
    physical: float | None = None

    @property
    def held(self) -> float | None:
        """What would come back if the disk were deleted."""
        return self.allocation if self.physical is None else min(self.physical, self.allocation or self.physical)


class Guest(Struct, frozen=True):
    """A guest, on the host where it was seen last; *hosts* are all it was ever seen on.

    *vcpus* and *memory* (bytes) are what it has now, of a guest that is off what it would have. *off_since_ms* is when
    it went off; where nobody saw that, when it was first seen off at the latest. *name* is untrusted text.
    """

    uuid: str
    name: str
    host: str
    hosts: tuple[str, ...]
    state: State
    first_ms: int
    last_ms: int
    vcpus: float | None = None
    memory: float | None = None
    vcpus_maximum: float | None = None
    memory_maximum: float | None = None
    disks: tuple[Disk, ...] = ()
    off_since_ms: int | None = None

    @property
    def disk_capacity(self) -> float:
        """The sizes of its disks that are known, added up."""
        return sum(disk.capacity or 0.0 for disk in self.disks)

    @property
    def disk_held(self) -> float:
        """What would come back if all its disks were deleted, as far as that is known."""
        return sum(disk.held or 0.0 for disk in self.disks)


class Host(Struct, frozen=True):
    """A host: its threads (CPUs that are online) and memory in bytes; None where it has no records of its own.

    *is_stale*: its newest figure is older than the setting `stale`; sizes and guests are as of then.
    """

    name: str
    first_ms: int
    last_ms: int
    threads: float | None = None
    memory: float | None = None
    is_stale: bool = False


class Pool(Struct, frozen=True):
    """A storage pool as one host sees it, in bytes; *age_s* is how old the figures may have been when they were read.

    A pool that several hosts share is here once for each; *is_twin* marks all but the first of these: same name and,
    to the byte, the same figures. Count it once where hosts are added up.
    """

    host: str
    name: str
    capacity: float | None
    allocation: float | None
    last_ms: int
    age_s: float | None = None
    is_twin: bool = False


class Fleet(Struct, frozen=True, dict=True):
    """All there is, chosen by the caller's patterns, each by name; *first_ms* is where the history begins."""

    now_ms: int
    first_ms: int
    hosts: tuple[Host, ...] = ()
    guests: tuple[Guest, ...] = ()
    pools: tuple[Pool, ...] = ()

    @cached_property
    def host_of(self) -> dict[str, Host]:
        """Hosts by name."""
        return {host.name: host for host in self.hosts}

    @cached_property
    def guest_of(self) -> dict[str, Guest]:
        """Guests by UUID."""
        return {guest.uuid: guest for guest in self.guests}

    def guests_that(self, are: Callable[[Guest], bool]) -> Iterator[Guest]:
        """Give some of the guests."""
        return (guest for guest in self.guests if are(guest))

    def on_any(self, *states: State) -> Iterator[Guest]:
        """Give the guests of all hosts that are in one of some states."""
        return self.guests_that(lambda guest: guest.state in states)

    def on(self, host: str, *states: State) -> Iterator[Guest]:
        """Give the guests of a host that are in one of some states; without any, in whichever."""
        return self.guests_that(lambda guest: guest.host == host and (not states or guest.state in states))

    def pools_of(self, host: str) -> Iterator[Pool]:
        """Give the pools of a host."""
        return (pool for pool in self.pools if pool.host == host)

    def called(self, name: str) -> tuple[Guest, ...]:
        """Return the guests of that name or UUID, those that are there before those that are gone."""
        found = [guest for guest in self.guests if name in {guest.name, guest.uuid}]
        return tuple(sorted(found, key=lambda guest: guest.state is State.GONE))
