"""What things are called on the page, and which of its four colours they have. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domstat.capacity.demand import ALL, Resource
from domstat.capacity.runway import Runway, Status

ALL_HOSTS = "all hosts"

NAMES_MAX = 6
"""Names in a sentence; the rest are counted."""

RESOURCES = {
    Resource.CPU: "CPU",
    Resource.MEMORY: "memory",
    Resource.STORAGE: "storage",
    Resource.DISK: "disk",
}

TONES = {
    Status.FULL: "full",
    Status.SHORT: "short",
    Status.AMPLE: "ample",
    Status.BEYOND: "ample",
}
"""What a status looks like; what is not here is not known."""

UNKNOWN_TONE = "unknown"


def host_name(host: str) -> str:
    """Name a host, or all of them."""
    return ALL_HOSTS if host == ALL else host


def thing(one: Runway) -> str:
    """Name what a runway is of: ``kvm1 memory``, ``kvm1 storage images``; of a guest's disk ``web-1 vda``."""
    return (
        one.name
        if one.resource is Resource.DISK
        else f"{host_name(one.host)} {RESOURCES[one.resource]} {one.name}".rstrip()
    )


def tone(one: Runway | None) -> str:
    """Return the colour of a runway: full, short, ample or unknown."""
    return UNKNOWN_TONE if one is None else TONES.get(one.status, UNKNOWN_TONE)


def soonest(one: Runway) -> tuple[float, ...]:
    """Put what is full first before all else; of what is not full in sight that which has least left."""
    days = (math.inf if of.value is None else of.value for of in (one.conservative, one.expected))
    asked, usable = one.demand.value, one.usable.value
    return (*days, 0.0 if asked is None or not usable else -asked / usable)


def some(names: Sequence[str], most: int = NAMES_MAX) -> str:
    """Write names as a list, of many the first ones."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more"
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
