"""One stream: one host and one collect block. Asks for a tick, and makes a batch of the answer.

What lives between ticks is here: per guest its plan of names, the baseline of its rates, and what it was like when it
was last whole.
"""

from __future__ import annotations

import time
from typing import Any

from domstat.catalog import GROUPS, look_up
from domstat.collect import wire
from domstat.collect.hypervisor import ClosedError, CollectError, Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.naming import Plan, has_stranger, missing_groups, parse_name
from domstat.derive import derive
from domstat.model import Batch, Domain, Kind, Moment, Partial, Record, Stamp, moment_within
from domstat.rates import NO_BREAKS, Baseline, Breaks, advance, elapsed_ns

DETAILS_EVERY_NS = 3600 * 1_000_000_000
"""Labels and device details travel when they change, and this often for whoever came late."""

GUESTS_MAX = 50_000
"""Guests whose state is kept, three times what one answer of libvirt can hold; beyond that the oldest goes."""

FORGET_AFTER_NS = 3600 * 1_000_000_000
"""A guest that was in no answer for so long is forgotten; should it come back, its next rate is lacking."""

DESCRIBE_GUESTS_MAX = 50
"""Guests whose XML is read in one question, about 1 ms each: a large host gets on even if its deadline is near."""

DESCRIBE_AGAIN_MAX = 10
"""Guests whose XML is read again in passing, a tick: 200 guests are through in 20 ticks, and no tick notices."""

ACTIVE = 1
NOWAIT = 1 << 29
BACKING = 1 << 30
"""Flags of virConnectGetAllDomainStats; the numbers are libvirt's, whose module this process does not load."""


class Block:
    """A collect block, ready to be asked: its name, what it asks for, and which fields it keeps."""

    def __init__(
        self,
        name: str,
        groups: tuple[str, ...],
        domains: wire.Globs = wire.ALL,
        fields: wire.Globs = wire.ALL,
        *,
        internals: bool = False,
        backing: bool = False,
    ) -> None:
        self.name = name
        self.fields = fields
        self.ask = wire.Ask(
            stats=sum(GROUPS[group] for group in groups),
            flags=ACTIVE | NOWAIT | (BACKING if backing else 0),
            domains=domains,
            internals=internals,
        )


class _Known:
    """What a stream keeps of one guest between ticks."""

    __slots__ = (
        "baseline",
        "checked",
        "details_ns",
        "domain",
        "no_number",
        "plan",
        "sent",
        "settled",
        "whole",
        "whole_moment",
    )

    def __init__(self, domain: Domain, plan: Plan) -> None:
        self.domain = domain
        self.plan = plan
        self.baseline: Baseline | None = None
        self.settled = 0
        """The tick at which the guest was last found to be as it was."""
        self.checked = -1
        """The inventory's version with which the plan's entry was last compared."""
        self.no_number: frozenset[str] = frozenset()
        """Stats groups of which the newest answer had values that are no numbers."""
        self.whole: tuple[str, ...] = ()
        """The keys of the last record that lacked nothing, read at *whole_moment*."""
        self.whole_moment: Moment | None = None
        self.sent: tuple[dict[str, str], dict[str, dict[str, str]]] | None = None
        """Labels and devices as they last travelled, at *details_ns* of the boot-time clock."""
        self.details_ns = 0


class Stream:
    """Collects the ticks of one stream, one at a time."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        inventory: Inventory,
        block: Block,
        log: Any,
        details_every_ns: int = DETAILS_EVERY_NS,
    ) -> None:
        self.host = hypervisor.name
        self.block = block
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._log = log
        self._details_every_ns = details_every_ns
        self._known: dict[str, _Known] = {}
        self._last_time_ms = 0
        self._tick = 0

    def collect(self, deadline_at: float) -> Batch:
        """Collect one tick; *deadline_at* is on the monotonic clock. Raises CollectError."""
        answer, shapes = self._hypervisor.ask(self.block.ask, deadline_at)
        self._inventory.note(answer.changes, missed=answer.missed)
        self._tick += 1
        others = [guest for guest in answer.guests if not self._settle(guest, shapes[guest.shape])]
        self._describe([guest for guest in others if self._must_describe(guest, shapes)], deadline_at)
        return self.assemble(answer, shapes)

    def _settle(self, guest: wire.Guest, raw: tuple[str, ...]) -> bool:
        """Find out at the least cost whether nothing but values has changed: nearly every guest's case."""
        known = self._known.get(guest.uuid)
        if known is None or known.domain.id != guest.id or known.domain.name != guest.name:
            return False
        plan = known.plan
        if known.checked != self._inventory.version:
            if plan.entry is None or self._inventory.get(guest.uuid, guest.id) is not plan.entry:
                return False
            known.checked = self._inventory.version
        if not plan.fits(raw, guest.values, plan.entry) or plan.unreal(guest.values):
            return False
        known.settled, known.no_number = self._tick, frozenset()
        return True

    def _describe(self, guests: list[wire.Guest], deadline_at: float) -> None:
        """Have the XML read of *guests*, which are new or changed, before anything of theirs is named.

        What cannot be read within the deadline is read with a later tick: an answer that is here is not thrown away,
        the NICs of guests never described wait until they can be named. First come those that are new.
        """
        ids = {guest.uuid: _incarnation(guest) for guest in guests}
        for uuid in self._inventory.oldest(DESCRIBE_AGAIN_MAX):
            if uuid not in ids:
                ids[uuid] = self._known[uuid].domain.id if uuid in self._known else None
        uuids = sorted(ids, key=lambda uuid: self._inventory.last_known(uuid, ids[uuid]) is not None)
        for start in range(0, len(uuids), DESCRIBE_GUESTS_MAX):
            if start and time.monotonic() >= deadline_at:
                self._log.debug("guest_xml_later", guests=len(uuids) - start)
                return
            try:
                descriptions = self._hypervisor.describe(tuple(uuids[start : start + DESCRIBE_GUESTS_MAX]), deadline_at)
            except ClosedError:
                raise
            except CollectError as error:
                self._log.warning("guest_xml_late", guests=len(uuids) - start, reason=error.reason, error=str(error))
                return
            for description in descriptions:
                trouble = self._inventory.learn(description, ids.get(description.uuid))
                if trouble:
                    self._log.warning("guest_xml_unreadable", uuid=description.uuid, trouble=trouble)

    def _must_describe(self, guest: wire.Guest, shapes: dict[int, tuple[str, ...]]) -> bool:
        entry = self._inventory.get(guest.uuid, _incarnation(guest))
        if entry is None:
            return True
        known = self._known.get(guest.uuid)
        raw = shapes[guest.shape]
        if known is None or known.plan.fits(raw, guest.values, entry):
            return False
        # A device changed and no event said so yet (it may arrive after the answer): read the XML once more.
        return known.plan.entry is entry and has_stranger(raw, guest.values, entry)

    def assemble(self, answer: wire.Answer, shapes: dict[int, tuple[str, ...]]) -> Batch:
        """Make a batch of an answer: name, take rates, derive."""
        stamp = answer.stamp
        if stamp.time_ms == self._last_time_ms:  # a clock set back by an exact tick: two samples never share a time
            stamp = Stamp(stamp.time_ms + 1, stamp.boot_ns, stamp.boot_id, stamp.call_ns)
        self._last_time_ms = stamp.time_ms
        count = len(answer.guests)
        records = tuple(
            self._record(guest, shapes[guest.shape], stamp, moment_within(stamp, position, count))
            for position, guest in enumerate(answer.guests)
        )
        if len(self._known) > count:
            self._forget(stamp.boot_ns)
        return Batch(host=self.host, collect=self.block.name, stamp=stamp, records=records)

    def _record(self, guest: wire.Guest, raw: tuple[str, ...], stamp: Stamp, moment: Moment) -> Record:
        known, anew = self._recognize(guest, raw)
        plan, values = known.plan, guest.values
        params = plan.params(values)
        before = known.baseline.moment if known.baseline and known.baseline.incarnation == known.domain.id else None
        partial = self._partial(known, moment)
        breaks = (
            Breaks(frozenset(partial.missing if partial else ()), frozenset(anew)) if partial or anew else NO_BREAKS
        )
        rates, known.baseline = advance(known.baseline, plan.shape, params, moment, known.domain.id, breaks)
        labels, devices = self._details(known, moment.boot_ns)
        return Record(
            kind=Kind.GUEST,
            host=self.host,
            collect=self.block.name,
            time_ms=stamp.time_ms,
            domain=known.domain,
            labels=labels,
            devices=devices,
            interval_s=elapsed_ns(before, moment) / 1e9 if before else None,
            partial=partial,
            anew=anew or None,
            params=params,
            rates=rates,
            derived=derive(plan.derivation, params, rates, moment.time_ms),
        )

    def _recognize(self, guest: wire.Guest, raw: tuple[str, ...]) -> tuple[_Known, tuple[str, ...]]:
        """Find or make what is known of *guest*, its plan up to date; name the devices plugged anew."""
        known = self._known.get(guest.uuid)
        if known is not None and known.settled == self._tick:
            return known, ()
        incarnation = _incarnation(guest)
        entry = self._inventory.last_known(guest.uuid, incarnation)
        anew: tuple[str, ...] = ()
        values = guest.values
        if known is None or known.domain.id != incarnation:
            domain = Domain(guest.uuid, guest.name, incarnation)
            fresh = _Known(domain, Plan(raw, values, entry, self.block.fields))
            if known is not None:
                fresh.baseline = known.baseline  # of another incarnation: gives no rates, and says so by itself
            known = self._known[guest.uuid] = fresh
        elif not known.plan.fits(raw, values, entry):
            old = known.plan
            known.plan = Plan(raw, values, entry, self.block.fields)
            anew = _plugged_anew(old, known.plan)
        if known.domain.name != guest.name:
            known.domain = Domain(guest.uuid, guest.name, incarnation)
        unreal = known.plan.unreal(values)
        if unreal:
            known, more = self._without(guest, raw, unreal)
            anew = tuple(sorted({*anew, *more}))
        known.no_number = frozenset(look_up(parse_name(name)[0]).group for name in unreal)
        return known, anew

    def _without(self, guest: wire.Guest, raw: tuple[str, ...], unreal: list[str]) -> tuple[_Known, tuple[str, ...]]:
        """Recognize *guest* as if libvirt had left out what is no number."""
        self._log.debug("no_number", uuid=guest.uuid, params=unreal)
        kept = [i for i, name in enumerate(raw) if name not in unreal]
        guest.values[:] = [guest.values[i] for i in kept]
        return self._recognize(guest, tuple(raw[i] for i in kept))

    @staticmethod
    def _partial(known: _Known, moment: Moment) -> Partial | None:
        plan = known.plan
        missing = missing_groups(known.whole, plan.keys, plan.devices) if known.whole is not plan.keys else frozenset()
        missing |= known.no_number
        if plan.withheld:
            missing |= {"interface"}
        if not missing:
            known.whole, known.whole_moment = plan.keys, moment
            return None
        age = elapsed_ns(known.whole_moment, moment) / 1e9 if known.whole_moment else None
        return Partial(tuple(sorted(missing)), age)

    def _details(self, known: _Known, boot_ns: int) -> tuple[dict[str, str] | None, dict[str, dict[str, str]] | None]:
        """Return labels and devices if they are to travel with this record."""
        entry = known.plan.entry
        now = (entry.labels if entry else {}, known.plan.devices)
        due = boot_ns - known.details_ns >= self._details_every_ns
        if not due and known.sent is not None and (known.sent[1] is now[1] or known.sent == now):
            return None, None
        known.sent, known.details_ns = now, boot_ns
        return now

    def _forget(self, boot_ns: int) -> None:
        """Forget guests that have been away for long; with far too many guests, the first seen."""
        since = boot_ns - FORGET_AFTER_NS
        gone = [uuid for uuid, known in self._known.items() if known.baseline and known.baseline.moment.boot_ns < since]
        for uuid in gone:
            del self._known[uuid]
        while len(self._known) > GUESTS_MAX:
            del self._known[next(iter(self._known))]


def _incarnation(guest: wire.Guest) -> int | None:
    return guest.id if guest.id >= 0 else None


def _plugged_anew(old: Plan, new: Plan) -> tuple[str, ...]:
    """Name the devices that both plans have but that are not the same thing: another source, another tap."""
    identifying = ("path", "tap")
    changed = (
        device
        for device, details in new.devices.items()
        if device in old.devices and any(details.get(key) != old.devices[device].get(key) for key in identifying)
    )
    return tuple(sorted(changed))


def deadline_in(seconds: float) -> float:
    """Return the moment *seconds* from now on the clock that deadlines are on."""
    return time.monotonic() + seconds
