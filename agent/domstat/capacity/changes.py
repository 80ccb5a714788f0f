"""What might be changed about a fleet, read from how people write it. Pure."""

from __future__ import annotations

import re
from typing import TypeAlias

from msgspec import Struct

from domstat.settings import Size

ADDED_MAX = 10_000
"""Guests that are added at once; more is a slip of the finger."""

VCPUS_MAX = 4096
"""vCPUs of one guest; more than any hypervisor gives."""


class Add(Struct, frozen=True):
    """*count* more guests like one, on the host of that name, or wherever there is most room."""

    count: int
    like: str
    host: str | None = None


class Remove(Struct, frozen=True):
    """A guest less."""

    guest: str


class Resize(Struct, frozen=True):
    """Other sizes for a guest; *memory* is in bytes, None leaves a size as it is."""

    guest: str
    vcpus: float | None = None
    memory: float | None = None


class Move(Struct, frozen=True):
    """A guest on another host."""

    guest: str
    host: str


class Lose(Struct, frozen=True):
    """A host less; its guests start on those that are left, the largest first, wherever there is most room."""

    host: str


Change: TypeAlias = Add | Remove | Resize | Move | Lose


def add(text: str) -> Add:
    """Read ``5:web-1`` or ``5:web-1@kvm2``. Raises ValueError saying what is allowed."""
    match = re.fullmatch(r"(?:([0-9]{1,6}):)?(.+)", text, re.DOTALL)
    count = int(match[1] or 1) if match else 0
    if match is None or not 1 <= count <= ADDED_MAX:
        raise ValueError(f'a number up to {ADDED_MAX} and a guest: "5:web-1", or "5:web-1@kvm2"')
    like, at, host = match[2].rpartition("@")
    return Add(count, like, host) if at and like and host else Add(count, match[2])


def resize(text: str) -> Resize:
    """Read ``db-1:8vcpu``, ``db-1:16GiB`` or ``db-1:8vcpu,16GiB``. Raises ValueError saying what is allowed."""
    guest, _, sizes = text.rpartition(":")
    allowed = 'a guest and its sizes: "db-1:8vcpu", "db-1:16GiB" or "db-1:8vcpu,16GiB"'
    vcpus: float | None = None
    memory: float | None = None
    for size in sizes.split(",") if guest else ():
        counted = re.fullmatch(r"\s*([0-9]{1,4})\s*vcpus?\s*", size, re.IGNORECASE)
        if counted and vcpus is None and 1 <= int(counted[1]) <= VCPUS_MAX:
            vcpus = float(counted[1])
        elif counted or memory is not None:
            raise ValueError(allowed)
        else:
            memory = _bytes(size, allowed)
    if vcpus is None and memory is None:
        raise ValueError(allowed)
    return Resize(guest, vcpus, memory)


def move(text: str) -> Move:
    """Read ``web-1:kvm2``. Raises ValueError saying what is allowed."""
    guest, _, host = text.rpartition(":")
    if not guest or not host:
        raise ValueError('a guest and a host: "web-1:kvm2"')
    return Move(guest, host)


def _bytes(text: str, allowed: str) -> float:
    try:
        return float(Size.parse(text))
    except ValueError:
        raise ValueError(allowed) from None
