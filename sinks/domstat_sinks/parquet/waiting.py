"""What is stored and in no hour's file yet: small files, one a write and an hour, in the order in which they came."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from domstat_sinks.parquet import layout, tables
from domstat_sinks.parquet.hours import Source, Tick
from domstat_sinks.parquet.layout import Part, Slot
from domstat_sinks.parquet.portions import Portion
from domstat_sinks.parquet.stores import Store


class DamagedError(Exception):
    """A file of rows cannot be read; *name* is which."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is damaged: {why}")
        self.name = name


@dataclass
class Waits:
    """What waits of an hour: its files, the oldest first, and since when, by the monotonic clock."""

    since_s: float
    parts: list[Part] = field(default_factory=list)


class Waiting:
    """The files that wait, as this agent put them there or found them."""

    def __init__(self, store: Store) -> None:
        """Find what waits from before. Raises OSError."""
        self._store = store
        self._folder = layout.waiting_folder(store.writer)
        self._ticks: dict[Part, frozenset[Tick]] = {}
        self.slots: dict[Slot, Waits] = {}
        self._number = 0
        self.look()

    def __len__(self) -> int:
        """Count the files."""
        return sum(len(waits.parts) for waits in self.slots.values())

    def look(self) -> None:
        """Find out what is there. Raises OSError."""
        parts = sorted(filter(None, map(layout.part_of, self._store.names(self._folder))), key=lambda part: part.number)
        since_s = {slot: waits.since_s for slot, waits in self.slots.items()}
        self.slots = {}
        for part in parts:
            self._waits(part.slot, since_s.get(part.slot)).parts.append(part)
        self._ticks = {part: self._ticks[part] for part in parts if part in self._ticks}
        self._number = max([self._number, *(part.number for part in parts)])

    def add(self, portion: Portion) -> None:
        """Store rows; they are durable then. Raises OSError.

        Should the very same have been stored before, by a write of which the rest failed, that goes.
        """
        data = tables.packed(portion.table)
        self._number += 1
        part = Part(portion.slot, self._number, blake2b(data, digest_size=6).hexdigest())
        with self._store.making(self._name(part)) as file:
            file.write(data)
        waits = self._waits(portion.slot)
        before = [one for one in waits.parts if one.digest == part.digest]
        waits.parts.append(part)
        self._ticks[part] = portion.ticks
        self.remove(before)

    def remove(self, parts: Sequence[Part]) -> None:
        """Remove files, the oldest first, so that none is left that something newer had replaced. Raises OSError."""
        self._store.remove([self._name(part) for part in parts])
        for part in parts:
            self.forget(part)

    def forget(self, part: Part) -> None:
        """Have nothing to do with a file any more."""
        self._ticks.pop(part, None)
        waits = self.slots.get(part.slot)
        if waits is not None and part in waits.parts:
            waits.parts.remove(part)
            if not waits.parts:
                del self.slots[part.slot]

    def set_aside(self, name: str) -> None:
        """Leave a damaged file for whoever can make something of it. Raises OSError."""
        self._store.set_aside(name)
        for part in [one for waits in self.slots.values() for one in waits.parts if self._name(one) == name]:
            self.forget(part)

    def sources(self, parts: Sequence[Part]) -> list[Source]:
        """Give files as sources for their hour: as few as can be, since what is read together is read sooner.

        Raises OSError or DamagedError, now or when they are read.
        """
        runs: list[tuple[set[Tick], list[Part]]] = []
        for part in parts:
            ticks = self._ticks_of(part)
            if not runs or runs[-1][0] & ticks:
                runs.append((set(), []))
            runs[-1][0].update(ticks)
            runs[-1][1].append(part)
        return [Source(frozenset(ticks), _Reading(self, tuple(run))) for ticks, run in runs]

    def read(self, parts: Sequence[Part]) -> Iterator[Any]:
        """Read files. Raises OSError or DamagedError."""
        names = [self._name(part) for part in parts]
        for name, data in zip(names, self._store.contents(names), strict=True):
            try:
                yield tables.unpacked(data)
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                raise DamagedError(name, str(error)) from error

    def _ticks_of(self, part: Part) -> frozenset[Tick]:
        if part not in self._ticks:
            (table,) = self.read([part])
            self._ticks[part] = tables.ticks_of(table)
        return self._ticks[part]

    def _waits(self, slot: Slot, since_s: float | None = None) -> Waits:
        return self.slots.setdefault(slot, Waits(time.monotonic() if since_s is None else since_s))

    def _name(self, part: Part) -> str:
        return f"{self._folder}/{layout.part_file(part)}"


@dataclass(frozen=True)
class _Reading:
    """Reads a run of files, as often as it is called."""

    waiting: Waiting
    parts: tuple[Part, ...]

    def __call__(self) -> Iterator[Any]:
        return self.waiting.read(self.parts)
