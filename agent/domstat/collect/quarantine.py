"""Which guests are stuck, and which calls hang in them. Pure.

A call that hangs in a guest's monitor cannot be called back: killing the worker leaves it in the daemon, an *orphan*
that holds one of libvirtd's 20 worker threads until the guest answers. As long as it is there, others that ask with
NOWAIT pass the guest over, so a stuck guest costs nothing after its onset. It is free again when no monitor command is
in it any more, which every tick looks at first.
"""

from __future__ import annotations

from collections.abc import Iterable

from domstat.collect.wire import Ask, Occupied

ORPHANS_MAX = 8
"""Calls left hanging in a daemon: it has 20 worker threads for everybody (libvirtd.conf, max_workers)."""


class Quarantine:
    """The stuck guests of one host."""

    def __init__(self) -> None:
        self._guests: dict[str, Occupied] = {}
        self._orphans: list[frozenset[str]] = []
        """Per orphaned call, the guests one of which it hangs in."""

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def uuids(self) -> tuple[str, ...]:
        """The stuck guests."""
        return tuple(self._guests)

    @property
    def orphans(self) -> int:
        """Calls that hang in the daemon and belong to nobody any more."""
        return len(self._orphans)

    @property
    def room(self) -> int:
        """How many more calls may be left hanging; 0: nothing is asked that needs a guest's monitor."""
        return max(0, ORPHANS_MAX - len(self._orphans))

    def abandon(self, stuck: Iterable[Occupied]) -> list[Occupied]:
        """Note that one call was left hanging in one of *stuck*; return those that were not known to be."""
        found = {guest.uuid: guest for guest in stuck}
        new = [guest for uuid, guest in found.items() if uuid not in self._guests]
        self._guests |= found
        # It hangs in what has only now become stuck; with nothing new nobody knows, and it counts all the same.
        self._orphans.append(frozenset(guest.uuid for guest in new) or frozenset(found))
        return new

    def observe(self, occupied: Iterable[Occupied]) -> list[Occupied]:
        """Take what a look at the stuck guests saw; return those that answer again, each as it was when it was worst.

        An orphan ends with the monitor command it hangs in.
        """
        seen = {guest.uuid: guest for guest in occupied}
        freed = [guest for uuid, guest in self._guests.items() if uuid not in seen]
        self._guests = {uuid: seen[uuid] for uuid in self._guests if uuid in seen}
        # A guest that answered is what no earlier call hangs in, should it get stuck again.
        self._orphans = [left for guests in self._orphans if (left := guests & self._guests.keys())]
        return freed


def suspects(occupied: Iterable[Occupied], ask: Ask, asked_ms: float) -> list[Occupied]:
    """Return those *occupied* guests that may hold up *ask*'s call, which was asked for *asked_ms* milliseconds ago.

    A guest known to be stuck may not while the command in it is older than the call, which passes it over; nobody may
    where nothing is asked that needs a monitor.
    """
    if ask.spare:
        return []
    return [guest for guest in occupied if guest.uuid not in ask.watch or guest.ms <= asked_ms]
