"""A world that is being changed: guests with what they ask for go in and out, hosts go."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from domstat.capacity.demand import COMPUTE, Demand, Resource
from domstat.capacity.fleet import Fleet, Guest, Pool, State
from domstat.capacity.grid import FloatArray, Grid
from domstat.capacity.loads import Loads
from domstat.capacity.world import Place, World, buffer_of, usable_of

SAID_MAX = 50
"""Guests of which is said where they went."""


class Would:
    """A copy of a world, and what is changed in it so far."""

    def __init__(self, seen: World, loads: Loads) -> None:
        self._seen = seen
        self._loads = loads
        self.hosts = {host.name: host for host in seen.fleet.hosts}
        self._guests = {guest.uuid: guest for guest in seen.fleet.guests}
        self._demands: dict[Grid, dict[Place, FloatArray]] = {
            loads.window: {place: asked.values.copy() for place, asked in seen.window.items()},
            loads.past: {place: asked.values.copy() for place, asked in seen.past.items()},
        }
        self._like: dict[str, Guest] = {}
        self._put: set[tuple[str, str]] = set()
        self._sizes: dict[tuple[str, Resource], tuple[float, float]] = {}
        self._held = {place: np.zeros_like(asked.values) for place, asked in seen.pools.items()}
        self._rooms = {place: self._room(place) for place in seen.window}
        self.placed: list[tuple[str, str]] = []
        self.unplaced: list[str] = []
        self.notes: list[str] = []

    def world(self) -> World:
        """Return the world as it would be."""
        seen = self._seen
        fleet = Fleet(
            seen.fleet.now_ms,
            seen.fleet.first_ms,
            tuple(self.hosts.values()),
            tuple(self._guests.values()),
            tuple(self._pool(pool) for pool in seen.fleet.pools if pool.host in self.hosts),
        )
        return World(
            seen.now_ms,
            seen.settings,
            fleet,
            self._asked(seen.window, self._loads.window),
            self._asked(seen.past, self._loads.past),
            {
                place: replace(asked, values=np.maximum(asked.values + self._held[place], 0.0))
                for place, asked in seen.pools.items()
                if place[0] in self.hosts
            },
        )

    def called(self, name: str) -> tuple[Guest, ...]:
        """Return the guests of that name or UUID as they would be, those that are there first."""
        return Fleet(0, 0, guests=tuple(self._guests.values())).called(name)

    # The changes.

    def add(self, like: Guest, count: int, host: str | None) -> None:
        """Add some guests like one, on a host or wherever there is most room."""
        for _ in range(count):
            uuid = f"added-{len(self._like) + 1}"
            self._like[uuid] = self._origin(like)
            guest = replace(like, uuid=uuid, name=f"{like.name} +{len(self._like)}", state=State.RUNNING, host="")
            self._place(guest, host)

    def remove(self, guest: Guest) -> None:
        """Take a guest out, and its disks."""
        self._ask(guest, -1.0)
        self._store(guest.host, -guest.disk_held)
        del self._guests[guest.uuid]

    def move(self, guest: Guest, host: str) -> None:
        """Move a guest with its disks to another host."""
        self.remove(guest)
        self._place(guest, host)

    def resize(self, guest: Guest, vcpus: float | None, memory: float | None) -> None:
        """Give a guest other sizes: it asks for no more than it has, and fills what memory it gets."""
        self._ask(guest, -1.0)
        resized = replace(
            guest,
            vcpus=guest.vcpus if vcpus is None else vcpus,
            memory=guest.memory if memory is None else memory,
        )
        if vcpus is not None:
            self._sizes[guest.uuid, Resource.CPU] = (vcpus, 0.0)
        if memory is not None:
            before = self._origin(guest).memory
            self._sizes[guest.uuid, Resource.MEMORY] = (memory, 0.0 if before is None else max(0.0, memory - before))
        self._guests[guest.uuid] = resized
        self._ask(resized, 1.0)

    def lose(self, host: str) -> None:
        """Lose a host: its guests start elsewhere, the largest first; those that are off go with it."""
        guests = [guest for guest in self._guests.values() if guest.host == host]
        del self.hosts[host]
        for guest in guests:
            del self._guests[guest.uuid]
        for guest in sorted(guests, key=lambda guest: -(guest.memory or 0.0)):
            if guest.state is State.RUNNING:
                self._place(guest, None)
        self.notes.append(f"the pools of {host} are lost with it; the disks of its guests are counted where they start")

    # How they are made.

    def _place(self, guest: Guest, host: str | None) -> None:
        """Put a guest on a host; on none where it fits nowhere."""
        chosen = self._roomiest(guest) if host is None else host
        if chosen is None:
            self.unplaced.append(guest.name)
            return
        self._put.add((guest.uuid, chosen))
        self._guests[guest.uuid] = replace(guest, host=chosen)
        self._ask(self._guests[guest.uuid], 1.0)
        self._store(chosen, guest.disk_held)
        if len(self.placed) < SAID_MAX:
            self.placed.append((guest.name, chosen))

    def _roomiest(self, guest: Guest) -> str | None:
        """Return the host of which the greatest share would be left of what is scarcest there; None where none fits."""
        best: tuple[float, str] | None = None
        for host in sorted(name for name, one in self.hosts.items() if not one.is_stale):
            left = min(self._share_left(guest, host, resource) for resource in COMPUTE)
            if left >= 0 and (best is None or left > best[0]):
                best = (left, host)
        return None if best is None else best[1]

    def _share_left(self, guest: Guest, host: str, resource: Resource) -> float:
        usable = usable_of(self._seen, host, resource).value
        if not usable or (host, resource) not in self._rooms:
            return -1.0
        return (self._rooms[host, resource] - self._loads.peak(self._origin(guest), resource)) / usable

    def _ask(self, guest: Guest, sign: float) -> None:
        """Put what a guest asks of its host into that host's demand, or take it out."""
        if guest.state is not State.RUNNING:
            return
        for over in self._loads.grids:
            demands = self._demands[over]
            for resource in COMPUTE:
                place = (guest.host, resource)
                if place in demands:
                    demands[place] = np.maximum(demands[place] + sign * self._asked_by(guest, over, resource), 0.0)
                    self._rooms[place] = self._room(place)

    def _asked_by(self, guest: Guest, over: Grid, resource: Resource) -> FloatArray:
        """Return what a guest asks of the host it is on: where it was put there, what is typical of it."""
        origin = self._origin(guest)
        if (guest.uuid, guest.host) in self._put:
            asked = self._loads.typical(origin, over, resource)
        else:
            asked = self._loads.on(origin, guest.host, over, resource)
        limit, more = self._sizes.get((guest.uuid, resource), (np.inf, 0.0))
        shaped: FloatArray = np.where(asked > 0, np.minimum(asked, limit) + more, 0.0)
        return shaped

    def _room(self, place: Place) -> float:
        """Return what the peak of a host leaves of what is usable; nothing where that is not known."""
        host, resource = place
        usable = usable_of(self._seen, host, resource).value
        asked = replace(self._seen.window[place], values=self._demands[self._loads.window][place])
        peak = asked.quantile(self._seen.settings.peak)
        return -1.0 if usable is None or peak is None else usable - peak

    def _origin(self, guest: Guest) -> Guest:
        """Return the guest as it is, or the one that an added guest is like."""
        return self._like.get(guest.uuid) or self._seen.fleet.guest_of.get(guest.uuid, guest)

    def _store(self, host: str, held: float) -> None:
        """Put so many bytes into a host's pool, or take them out: of several that with most room, or the fullest."""
        pools = [pool for pool in self._seen.fleet.pools if (pool.host, pool.name) in self._held and pool.host == host]
        if not pools or not held:
            return
        pool = (max if held > 0 else min)(pools, key=self._free)
        self._held[host, pool.name] += held
        if len(pools) > 1:
            self._note_once(f"which pool a disk is in is not known: those of {host} are counted in {pool.name}")

    def _free(self, pool: Pool) -> float:
        held = float(self._held[pool.host, pool.name][-1]) if len(self._held[pool.host, pool.name]) else 0.0
        buffer = buffer_of(self._seen.settings, Resource.STORAGE).value or 0.0
        return (pool.capacity or 0.0) * (1 - buffer) - (pool.allocation or 0.0) - held

    def _pool(self, pool: Pool) -> Pool:
        held = self._held.get((pool.host, pool.name))
        if held is None or not len(held) or pool.allocation is None or not held[-1]:
            return pool
        return replace(pool, allocation=max(0.0, pool.allocation + float(held[-1])))

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _asked(self, demands: dict[Place, Demand], over: Grid) -> dict[Place, Demand]:
        return {
            place: replace(asked, values=self._demands[over][place])
            for place, asked in demands.items()
            if place[0] in self.hosts
        }
