"""The bulk call in all its forms: everything at once, chosen guests, in chunks, every guest by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import libvirt
from msgspec.structs import replace

from domstat import clock
from domstat.collect import wire
from domstat.collect.worker import isolation, roster
from domstat.collect.worker.shapes import Shapes
from domstat.model import Stamp, Value

Records: TypeAlias = list[tuple[Any, dict[str, Value]]]

NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
LISTS_KNOW = (
    NOWAIT
    | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING
    | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE  # else a guest that has just been stopped would be asked for
)
"""What of a question's flags a call by list takes too."""

MONITOR_FREE = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_PERF
    | libvirt.VIR_DOMAIN_STATS_MEMORY
)
"""Stats groups for which the QEMU driver never enters a guest's monitor (qemuDomainGetStatsWorkers, libvirt 9.0)."""

AGAIN_S = (0.02, 0.1, 0.3)
"""Pauses before a guest that came short is asked once more: somebody else's command in its monitor takes about 5 ms.
Calls that hung in a stuck guest go on through all others at once when that answers: the last pause outlasts those."""

_OF_A_DEATH = (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR)
"""What the QEMU driver says of a monitor that closes while it is asked: it cannot be read, its end was met."""

GUESTS_REMEMBERED_MAX = 50_000
"""Guests of which it is known how much they have to say: three times what one answer of libvirt can hold."""


class Taken:
    """What a call brought, and when it was made."""

    __slots__ = ("records", "stamp")

    def __init__(self, stamp: Stamp, records: Records) -> None:
        self.stamp = stamp
        self.records = records


class BulkCalls:
    """Makes bulk calls, and answers of what they bring; remembers shapes and what the driver cannot do."""

    def __init__(self, before_answer: Callable[[], None], connect_aside: Callable[[], Any]) -> None:
        """*before_answer* is called after every call, before its answer is made; *connect_aside* makes a connection."""
        self._before_answer = before_answer
        self._connect_aside = connect_aside
        self._shapes = Shapes()
        self._lengths: dict[int, dict[str, int]] = {}
        """How many parameters the last record of each guest had, by what was asked for and uuid."""
        self._unknown_flags = 0
        self._ceiling = 0
        """Guests that one answer can hold, 0 while it held all."""
        self._notes: list[str] = []

    def answers(self, connection: Any, ask: wire.Ask) -> Iterator[wire.Answer]:
        """Make the call that *ask* asks for, and give its answers. Raises libvirtError."""
        if ask.alone:
            yield from self._alone(connection, ask)
            return
        size = min(filter(None, (ask.chunk, self._ceiling)), default=0)
        if ask.domains.everything and not size and not ask.done:
            try:
                yield from self._call(ask, connection.getAllDomainStats, ask.flags)
            except libvirt.libvirtError as error:
                if not roster.is_ceiling(connection, error):
                    raise
            else:
                return
        yield from self._lists(connection, ask, size)

    def note(self, text: str) -> None:
        """Have something logged with the next answer."""
        self._notes.append(text)

    def _lists(self, connection: Any, ask: wire.Ask, size: int) -> Iterator[wire.Answer]:
        """Ask by lists of *size* guests, 0 is one list; a list whose answer is too large is cut in two."""
        left = _undone(connection, ask)
        if not left:  # libvirt refuses an empty list, and no guest is a fine answer
            yield self._answer(ask, self._taken(list))
        size = size or len(left)
        while left:
            part, rest = left[:size], left[size:]

            def call(stats: int, flags: int, part: list[Any] = part) -> Records:
                return connection.domainListGetStats(part, stats, flags)  # type: ignore[no-any-return]

            try:
                # Guests that have vanished are left out by libvirt itself.
                yield from self._call(ask, call, ask.flags & LISTS_KNOW, more=bool(rest))
                left = rest
            except libvirt.libvirtError as error:
                if len(part) == 1 or not roster.is_ceiling(connection, error):
                    raise
                self._ceiling = size = (len(part) + 1) // 2
                self._notes.append(f"{len(part)} guests are more than one answer can hold; asking {size} at a time")

    def _call(
        self, ask: wire.Ask, call: Callable[[int, int], Records], flags: int, *, more: bool = False
    ) -> Iterator[wire.Answer]:
        """Make one call; guests that came short are asked for once more, in an answer with its own stamp."""
        taken = self._taken_of_all(lambda: self._tolerant(call, _stats(ask), flags))
        if _nothing_to_ask(ask):
            taken.records = [(domain, {}) for domain, _ in taken.records]
        short = [] if ask.spare else self._short(ask, taken.records)
        if not short:
            yield self._answer(ask, taken, more=more)
            return
        names = {domain.UUIDString() for domain in short}
        taken.records = [record for record in taken.records if record[0].UUIDString() not in names]
        yield self._answer(ask, taken, more=True)
        yield self._answer(ask, self._again(ask, short, flags), more=more)

    def _tolerant(self, call: Callable[[int, int], Records], stats: int, flags: int) -> Records:
        """Make a call, without NOWAIT if the driver does not know that."""
        flags &= ~self._unknown_flags
        try:
            return call(stats, flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG or not flags & NOWAIT:
                raise
            # A driver older than the flag (libvirt 4.5) or one that never waits: ask once more without it.
            records = call(stats, flags & ~NOWAIT)
            self._unknown_flags |= NOWAIT
            self._notes.append("this driver does not know the flag NOWAIT; asking without it")
            return records

    def _short(self, ask: wire.Ask, records: Records) -> list[Any]:
        """Find the guests that have fewer parameters than the last time, though nobody knows why.

        With NOWAIT a guest in whose monitor somebody else has a command (another collector, virsh, a call whose worker
        was killed) is passed over.
        """
        lengths = self._lengths.get(ask.stats, {})
        return [
            domain
            for domain, params in records
            if len(params) < lengths.get(domain.UUIDString(), 0) and domain.UUIDString() not in ask.watch
        ]

    def _again(self, ask: wire.Ask, short: list[Any], flags: int) -> Taken:
        """Ask for guests that came short until none does, a few times; what they lack then is what they lack."""
        connection = short[0].connect()
        flags &= LISTS_KNOW
        taken = None
        for pause in AGAIN_S:
            time.sleep(pause)
            taken = self._taken_of_all(
                lambda: self._tolerant(lambda s, f: connection.domainListGetStats(short, s, f), _stats(ask), flags)
            )
            if not self._short(ask, taken.records):
                break
        assert taken is not None  # noqa: S101 - there are pauses
        return taken

    def _alone(self, connection: Any, ask: wire.Ask) -> Iterator[wire.Answer]:
        """Ask for every guest by itself: who does not answer is found out, and holds up nobody.

        What a stuck guest can be asked without its help comes in an answer of its own.
        """
        stamp = clock.now()
        flags = ask.flags & LISTS_KNOW & ~self._unknown_flags
        domains = _undone(connection, ask)
        crew = isolation.Crew(domains, self._connect_aside, ask.stats, flags)
        found = isolation.isolate(crew, threads=ask.alone, limit_s=ask.limit_s)
        taken = Taken(replace(stamp, call_ns=found.took_ns), found.records)
        if not found.stuck:
            yield self._answer(ask, taken, unasked=found.unasked)
            return
        yield self._answer(ask, taken, more=True)
        spare = replace(ask, spare=True)
        stuck = [domain for domain in domains if domain.UUIDString() in found.stuck]
        taken = self._taken(lambda: connection.domainListGetStats(stuck, _stats(spare), flags))
        if _nothing_to_ask(spare):
            taken.records = [(domain, {}) for domain, _ in taken.records]
        yield self._answer(spare, taken, stuck=tuple(found.stuck), unasked=found.unasked)

    def _answer(
        self,
        ask: wire.Ask,
        taken: Taken,
        *,
        more: bool = False,
        stuck: tuple[str, ...] = (),
        unasked: int = 0,
    ) -> wire.Answer:
        guests = []
        lengths = self._lengths.setdefault(ask.stats, {})
        for domain, params in taken.records:
            uuid = domain.UUIDString()
            shape, values = self._shapes.number(params, internals=ask.internals)
            guests.append(wire.Guest(uuid, domain.name(), domain.ID(), shape, values))
            if not ask.spare:
                lengths[uuid] = len(params)
        if sum(map(len, self._lengths.values())) > GUESTS_REMEMBERED_MAX:
            self._lengths.clear()
        self._before_answer()
        shapes, forgotten = self._shapes.take()
        notes, self._notes = self._notes, []
        return wire.Answer(
            taken.stamp, guests, shapes, forgotten, more, spared=ask.spare, stuck=stuck, unasked=unasked, notes=notes
        )

    def _taken_of_all(self, call: Callable[[], Records]) -> Taken:
        """Make a call; once more if it failed by a guest whose QEMU died within it, for then it fails for all."""
        try:
            return self._taken(call)
        except libvirt.libvirtError as error:
            if error.get_error_domain() != libvirt.VIR_FROM_QEMU or error.get_error_code() not in _OF_A_DEATH:
                raise
        return self._taken(call)

    def _taken(self, call: Callable[[], Records]) -> Taken:
        stamp = clock.now()
        records = call()
        return Taken(replace(stamp, call_ns=clock.boot_ns() - stamp.boot_ns), records)


def _undone(connection: Any, ask: wire.Ask) -> list[Any]:
    domains = roster.active(connection, ask.domains)
    done = frozenset(ask.done)
    return [domain for domain in domains if domain.UUIDString() not in done] if done else domains


def _stats(ask: wire.Ask) -> int:
    """Choose the stats groups to ask libvirt for; never none, which to libvirt means all."""
    if not ask.spare:
        return ask.stats
    return ask.stats & MONITOR_FREE or libvirt.VIR_DOMAIN_STATS_STATE  # type: ignore[no-any-return]


def _nothing_to_ask(ask: wire.Ask) -> bool:
    return ask.spare and not ask.stats & MONITOR_FREE
