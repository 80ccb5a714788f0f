"""What a stream asks for: groups, guests and fields, and which groups it asks for only now and then."""

from __future__ import annotations

from msgspec import Struct

from domstat.catalog import GROUPS, look_up, needs_the_monitor
from domstat.collect import wire
from domstat.collect.naming import parse_name

PROBE_EVERY_NS = 3600 * 1_000_000_000
"""How often groups are asked for that had nothing to say: an hour, and whenever a guest is new."""

ACTIVE = 1
NOWAIT = 1 << 29
BACKING = 1 << 30
"""Flags of virConnectGetAllDomainStats; the numbers are libvirt's, whose module this process does not load."""


class Block(Struct, frozen=True):
    """A collect block: its name, what it asks for, and which fields it keeps.

    *probe* are groups asked for rarely until they say something; *host* asks for a sample of the host too.
    """

    name: str
    groups: tuple[str, ...]
    domains: wire.Globs = wire.ALL
    fields: wire.Globs = wire.ALL
    probe: tuple[str, ...] = ()
    internals: bool = False
    backing: bool = False
    host: bool = False

    def ask(self, probed: tuple[str, ...] = ()) -> wire.Ask:
        """Make the question for a tick that also asks for the groups *probed*."""
        return wire.Ask(
            stats=sum(GROUPS[group] for group in (*self.groups, *probed)),
            flags=ACTIVE | NOWAIT | (BACKING if self.backing else 0),
            domains=self.domains,
            internals=self.internals,
            host=self.host,
        )


class Probing:
    """Decides which of a block's rarely asked groups a tick asks for.

    On most hosts iothread, perf, memory and dirtyrate say nothing, and cost monitor round trips for it. So all are
    asked for when a guest is new, and once an hour; those that say something for some guest, every tick.
    """

    def __init__(self, groups: tuple[str, ...]) -> None:
        self._groups = groups
        self._talkative: frozenset[str] = frozenset()
        self._due_ns = 0
        self._asked = False
        self._heard: set[str] = set()

    @property
    def talkative(self) -> tuple[str, ...]:
        """The groups that said something when they were last asked for."""
        return tuple(group for group in self._groups if group in self._talkative)

    def groups(self, boot_ns: int) -> tuple[str, ...]:
        """Name the groups that the tick at *boot_ns* asks for beside the block's own."""
        self._asked = bool(self._groups) and boot_ns >= self._due_ns
        if self._asked:
            self._due_ns = boot_ns + PROBE_EVERY_NS
            self._heard = set()
            return self._groups
        return self.talkative

    def hear(self, answer: wire.Answer, shapes: dict[int, tuple[str, ...]]) -> None:
        """Take note of who said something, if this tick asked everybody: a value that is neither zero nor a text."""
        if not self._asked:
            return
        for guest in answer.guests:
            for name, value in zip(shapes[guest.shape], guest.values, strict=True):
                if value and not isinstance(value, str):
                    self._heard.add(look_up(parse_name(name)[0]).group)
        if answer.spared:  # who could not be asked may have as much to say as before: the next tick asks again
            self._heard |= self._talkative
            self._due_ns = 0
        if not answer.more:
            self._talkative = frozenset(self._heard)

    def see_a_new_guest(self) -> None:
        """Have everything asked for with the next tick: nobody knows what a guest never seen before has to say."""
        if not self._asked:
            self._due_ns = 0


def guarded(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Those of *groups* that a stuck guest cannot be asked for."""
    return tuple(sorted(group for group in groups if needs_the_monitor(group)))
