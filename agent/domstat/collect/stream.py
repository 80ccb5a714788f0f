"""One stream: one host and one collect block. Asks for a tick, and makes a batch of the answer.

What lives between ticks is here: per guest its plan of names, the baseline of its rates, and what it was like when it
was last whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from domstat import clock
from domstat.catalog import look_up
from domstat.collect import wire
from domstat.collect.block import Block, Probing, guarded
from domstat.collect.definition import Entry
from domstat.collect.errors import ClosedError, CollectError
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.known import Known, Past
from domstat.collect.naming import (
    Plan,
    awaits_name,
    has_stranger,
    missing_groups,
    parse_name,
    plugged_anew,
    silent_groups,
)
from domstat.collect.sample import Sample, Sampled
from domstat.collect.subject import Subject
from domstat.collect.tally import Tally, Tick
from domstat.collect.times import Times
from domstat.derive import derive
from domstat.model import Batch, Domain, Figures, Kind, Moment, Partial, Record, Stamp, moment_within
from domstat.rates import Baseline, Breaks, advance, elapsed_ns

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

REFRESH_EVERY_NS = 3600 * 1_000_000_000
"""How often the XML of all guests is read again in passing, whatever events there were."""

COST_EVERY_NS = 300 * 1_000_000_000
"""How often the CPU time is measured that a call causes elsewhere: it takes two small files a guest."""

CHUNK_MIN = 16
"""Guests asked for at once on a host that is large or slow, at the least: below that the calls themselves weigh."""


class Stream:
    """Collects the ticks of one stream, one at a time."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        inventory: Inventory,
        block: Block,
        log: Any,
        *,
        tally: Tally | None = None,
        details_every_ns: int = DETAILS_EVERY_NS,
    ) -> None:
        self.host = hypervisor.name
        self.block = block
        self.tally = tally or Tally()
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._log = log
        self._details_every_ns = details_every_ns
        self._known: dict[str, Known] = {}
        self._past: dict[str, Past] = {}
        self._before: Stream | None = None
        self._times = Times()
        self._answers = 0
        self._unread: frozenset[str] = frozenset()
        """Guests whose XML was to be read for this answer, and was not."""
        self._probing = Probing(block.probe)
        self._host = Subject(Kind.HOST, self.host, block.name)
        self._agent = Subject(Kind.AGENT, self.host, block.name)
        self._chunk = 0
        self._refresh_due_ns = clock.boot_ns() + REFRESH_EVERY_NS
        self.tick: Tick | None = None
        """The newest tick, for whoever wants to say how it went."""
        self._cost_due_ns: int | None = None

    def remember(self, past: dict[str, Past], host: Baseline | None = None) -> None:
        """Go on, at the first sight of each guest, from what the agent before knew of it; and of the host."""
        self._past = past
        if host is not None:
            self._host.remember(host)

    def succeed(self, before: Stream) -> None:
        """Go on, with the first tick, from what *before* knows by then, whose place this stream takes."""
        self._before = before

    def hand_over(self) -> tuple[dict[str, Past], Baseline | None]:
        """Return what there is to :meth:`remember` of this stream, which has no ticks any more."""
        self._take_over()
        known = {
            uuid: Past(known.domain, known.baseline, known.plan.devices)
            for uuid, known in self._known.items()
            if known.baseline is not None
        }
        return self._past | known, self._host.baseline

    def _take_over(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            self.remember(*before.hand_over())

    def collect(self, deadline_s: float, due_ms: int | None = None) -> Iterator[Batch]:
        """Collect one tick: a batch as a rule, several where the host is asked in parts. Raises CollectError.

        After *deadline_s* without an answer the host is looked at (see :mod:`.hypervisor`). *due_ms* is when the tick
        was due by the wall clock, None if nobody knows.
        """
        self._take_over()
        now_ns = clock.boot_ns()
        if now_ns >= self._refresh_due_ns:
            self._past.clear()  # who has not come back by now has gone
        if self.block.host and now_ns >= self._refresh_due_ns:
            self._refresh_due_ns = now_ns + REFRESH_EVERY_NS
            self._inventory.note((), missed=True)  # block jobs and vCPUs change without an event
        probed = self._probing.groups(now_ns)
        self.tick = tick = Tick(due_ms, self.block.groups + probed)
        ask = replace(self.block.ask(probed), chunk=self._chunk, cost=self._measures_cost(now_ns))
        for answer, shapes in self._hypervisor.ask(ask, deadline_s):
            self._probing.hear(answer, shapes)
            self._answers += 1
            self._unread = frozenset()
            if answer.spared and not self._guarded(tick):
                answer = replace(answer, spared=False)  # noqa: PLW2901 - nothing that was asked for was left out
            if not answer.spared:
                others = [guest for guest in answer.guests if not self._settle(guest, shapes[guest.shape])]
                deadline_at = deadline_in(deadline_s / 2)
                self._describe([guest for guest in others if self._must_describe(guest, shapes)], deadline_at)
            yield self.assemble(answer, shapes, tick)
        self._choose_chunk(tick, deadline_s)

    def _measures_cost(self, now_ns: int) -> bool:
        """Whether this tick's cost is measured: not the first's, which is no ordinary one."""
        if self._cost_due_ns is None:
            self._cost_due_ns = now_ns
            return False
        if now_ns < self._cost_due_ns:
            return False
        self._cost_due_ns = now_ns + COST_EVERY_NS
        return True

    def _choose_chunk(self, tick: Tick, deadline_s: float) -> None:
        """Ask a host in parts if one call takes longer than the deadline, so that this means something again."""
        if tick.call_ns > deadline_s * 1e9 and tick.guests > CHUNK_MIN:
            chunk = max(CHUNK_MIN, int(tick.guests * deadline_s * 1e9 / 2 / tick.call_ns))
            if not self._chunk:
                self._log.info("asked_in_parts", guests=tick.guests, call_s=round(tick.call_ns / 1e9, 1), part=chunk)
            self._chunk = chunk
        elif self._chunk and tick.call_ns < deadline_s * 1e9 / 2:
            self._chunk = 0

    def _settle(self, guest: wire.Guest, raw: tuple[str, ...]) -> bool:
        """Find out at the least cost whether nothing but values has changed: nearly every guest's case."""
        known = self._known.get(guest.uuid)
        if known is None or known.domain.id != guest.id or known.domain.name != guest.name:
            return False
        plan, version = known.plan, self._inventory.version
        if known.checked != version:
            if plan.entry is None or self._inventory.get(guest.uuid, guest.id) is not plan.entry:
                return False
            known.checked = version
        if not plan.fits(raw, guest.values, plan.entry) or plan.unreal(guest.values):
            return False
        plugged = self._inventory.plugged(guest.uuid)
        if plugged and max(plugged.values()) >= known.asked_ns:  # its devices are looked at one by one
            return False
        known.settled, known.no_number = self._answers, frozenset()
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
                self._unread = frozenset(uuids[start:])
                self._log.debug("guest_xml_later", guests=len(uuids) - start)
                return
            asked = self._inventory.version
            try:
                descriptions = self._hypervisor.describe(tuple(uuids[start : start + DESCRIBE_GUESTS_MAX]), deadline_at)
            except ClosedError:
                raise
            except CollectError as error:
                self._unread = frozenset(uuids[start:])
                self._log.warning("guest_xml_late", guests=len(uuids) - start, reason=error.reason, error=str(error))
                return
            for description in descriptions:
                trouble = self._inventory.learn(description, ids.get(description.uuid), asked=asked)
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
        return known.plan.entry in (entry, None) and has_stranger(raw, guest.values, entry)

    def _entry(self, guest: wire.Guest, raw: tuple[str, ...], *, unread: bool) -> Entry | None:
        """Return what is known of *guest*; None if it has a NIC that has no name yet, as while its XML is *unread*."""
        entry, known = self._inventory.last_known(guest.uuid, _incarnation(guest)), self._known.get(guest.uuid)
        before = known.plan if known is not None and known.domain.id == guest.id else None
        return None if entry and awaits_name(raw, guest.values, entry, before, unread=unread) else entry

    def _guarded(self, tick: Tick) -> tuple[str, ...]:
        """Name the groups that a stuck guest leaves out of *tick*, but for those that never have anything to say."""
        silent = frozenset(self.block.probe).difference(self._probing.talkative)
        return tuple(group for group in guarded(tick.groups) if group not in silent)

    def assemble(self, answer: wire.Answer, shapes: dict[int, tuple[str, ...]], tick: Tick) -> Batch:
        """Make a batch of an answer: name, take rates, derive."""
        taken = answer.stamp
        stamp = Stamp(self._times.next(taken.time_ms), taken.boot_ns, taken.boot_id, taken.call_ns)
        count = len(answer.guests)
        make = self._spared if answer.spared else self._record
        records = [
            make(guest, shapes[guest.shape], stamp, moment_within(stamp, position, count), tick)
            for position, guest in enumerate(answer.guests)
        ]
        if len(self._known) > count:
            self._forget(stamp.boot_ns)
        tick.count(answer, records)
        if answer.host:
            records.insert(0, self._host.record(answer.host, stamp, moment_within(stamp, 0, count or 1)))
        if not answer.more:
            moment = moment_within(stamp, count, count or 1)
            tally, hypervisor = self.tally, self._hypervisor
            tally.workers_killed, tally.reconnects = hypervisor.workers_killed, hypervisor.reconnects
            tally.quarantined = len(hypervisor.quarantine)
            records.append(self._agent.record(tick.figures(tally), stamp, moment))
        return Batch(host=self.host, collect=self.block.name, stamp=stamp, records=tuple(records))

    def _record(self, guest: wire.Guest, raw: tuple[str, ...], stamp: Stamp, moment: Moment, tick: Tick) -> Record:
        known, anew = self._recognize(guest, raw)
        partial = self._partial(known, moment, tick)
        sample = Sample(known.plan, guest.values, moment, known.domain.id)
        before = known.sample
        if before is not None and before.plan is known.plan and not partial and not anew:
            known.sample, known.asked_ns = sample, stamp.boot_ns
            return self._finish(known, stamp, sample, Sampled(sample, before), before.moment)
        figures, since = self._work_out(known, sample, partial, anew)
        known.asked_ns = stamp.boot_ns
        return self._finish(known, stamp, sample, figures, since, partial, anew)

    def _spared(self, guest: wire.Guest, raw: tuple[str, ...], stamp: Stamp, moment: Moment, tick: Tick) -> Record:
        """Make the record of a guest that was asked only for what needs no monitor; what is known of it stays known."""
        incarnation = _incarnation(guest)
        plan = Plan(raw, guest.values, self._entry(guest, raw, unread=True), self.block.fields)
        known = self._known.get(guest.uuid)
        if known is None or known.domain.id != incarnation:
            known = self._known[guest.uuid] = Known(Domain(guest.uuid, guest.name, incarnation), plan)
            known.inherit(self._past.pop(guest.uuid, None))
            self._probing.see_a_new_guest()
        known.spared_ns = stamp.boot_ns
        age = elapsed_ns(known.whole_moment, moment) / 1e9 if known.whole_moment else None
        missing = (*self._guarded(tick), "interface") if plan.withheld else self._guarded(tick)
        partial = Partial(tuple(sorted(missing)), age)
        sample = Sample(plan, guest.values, moment, incarnation)
        figures, since = self._work_out(known, sample, partial, ())
        return self._finish(known, stamp, sample, figures, since, partial)

    @staticmethod
    def _work_out(
        known: Known, sample: Sample, partial: Partial | None, anew: tuple[str, ...]
    ) -> tuple[Figures, Moment | None]:
        """Make figures where something has changed; return them with the moment of the sample before, if any."""
        before = known.baseline
        breaks = Breaks(frozenset(partial.missing if partial else ()), frozenset(anew))
        plan, moment = sample.plan, sample.moment
        params = plan.params(sample.values)
        rates, after = advance(before, plan.shape, params, moment, sample.incarnation, breaks)
        # What has a gap or a past is carried on as it is; what has not is all in the sample.
        known.sample, known.older = (None, after) if after.older or plan is not known.plan else (sample, None)
        since = before.moment if before and before.incarnation == sample.incarnation else None
        return Figures(params, rates, derive(plan.derivation, params, rates, moment.time_ms)), since

    def _finish(
        self,
        known: Known,
        stamp: Stamp,
        sample: Sample,
        figures: Figures,
        since: Moment | None,
        partial: Partial | None = None,
        anew: tuple[str, ...] = (),
    ) -> Record:
        labels, devices = self._details(known, sample.moment.boot_ns) if sample.plan is known.plan else (None, None)
        return Record(
            kind=Kind.GUEST,
            host=self.host,
            collect=self.block.name,
            time_ms=stamp.time_ms,
            domain=known.domain,
            labels=labels,
            devices=devices,
            interval_s=elapsed_ns(since, sample.moment) / 1e9 if since else None,
            partial=partial,
            anew=anew or None,
            figures=figures,
        )

    def _recognize(self, guest: wire.Guest, raw: tuple[str, ...]) -> tuple[Known, tuple[str, ...]]:
        """Find or make what is known of *guest*, its plan up to date; name the devices plugged anew."""
        known = self._known.get(guest.uuid)
        if known is not None and known.settled == self._answers:
            return known, ()
        incarnation = _incarnation(guest)
        entry = self._entry(guest, raw, unread=guest.uuid in self._unread)
        anew: tuple[str, ...] = ()
        values = guest.values
        if known is None or known.domain.id != incarnation:
            domain = Domain(guest.uuid, guest.name, incarnation)
            fresh = Known(domain, Plan(raw, values, entry, self.block.fields))
            if known is None:
                anew = fresh.inherit(self._past.pop(guest.uuid, None))
            else:
                # Of another incarnation: gives no rates, and says so by itself.
                fresh.sample, fresh.older = known.sample, known.older
            known = self._known[guest.uuid] = fresh
            self._probing.see_a_new_guest()
        elif not known.plan.fits(raw, values, entry):
            old = known.plan
            known.plan, known.checked = Plan(raw, values, entry, self.block.fields), -1
            anew = plugged_anew(old.devices, known.plan.devices)
        anew = self._replugged(known, anew)
        if known.domain.name != guest.name:
            known.domain = Domain(guest.uuid, guest.name, incarnation)
        unreal = known.plan.unreal(values)
        if unreal:
            known, more = self._without(guest, raw, unreal)
            anew = tuple(sorted({*anew, *more}))
        known.no_number = frozenset(look_up(parse_name(name)[0]).group for name in unreal)
        return known, anew

    def _replugged(self, known: Known, anew: tuple[str, ...]) -> tuple[str, ...]:
        """Add the devices that were plugged since the call of the record before began: these are not what they were."""
        plugged = self._inventory.plugged(known.domain.uuid)
        if not plugged or known.baseline is None:
            return anew
        since = (
            device
            for device, details in known.plan.devices.items()
            if plugged.get(details.get("alias", ""), -1) >= known.asked_ns
        )
        return tuple(sorted({*anew, *since}))

    def _without(self, guest: wire.Guest, raw: tuple[str, ...], unreal: list[str]) -> tuple[Known, tuple[str, ...]]:
        """Recognize *guest* as if libvirt had left out what is no number."""
        self._log.debug("no_number", uuid=guest.uuid, params=unreal)
        kept = [i for i, name in enumerate(raw) if name not in unreal]
        guest.values[:] = [guest.values[i] for i in kept]
        return self._recognize(guest, tuple(raw[i] for i in kept))

    @staticmethod
    def _partial(known: Known, moment: Moment, tick: Tick) -> Partial | None:
        plan = known.plan
        missing = known.no_number
        if known.whole_moment is None:
            missing |= silent_groups(plan)
        elif known.whole is not plan.keys:
            # What was not asked for this time is not missing.
            missing |= missing_groups(known.whole, plan.keys, plan.devices) & frozenset(tick.groups)
        if plan.withheld:
            missing |= {"interface"}
        if not missing:
            known.whole, known.whole_moment = plan.keys, moment
            return None
        age = elapsed_ns(known.whole_moment, moment) / 1e9 if known.whole_moment else None
        return Partial(tuple(sorted(missing)), age)

    def _details(self, known: Known, boot_ns: int) -> tuple[dict[str, str] | None, dict[str, dict[str, str]] | None]:
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
        gone = [uuid for uuid, known in self._known.items() if max(known.asked_ns, known.spared_ns) < since]
        for uuid in gone:
            del self._known[uuid]
        while len(self._known) > GUESTS_MAX:
            del self._known[next(iter(self._known))]


def _incarnation(guest: wire.Guest) -> int | None:
    return guest.id if guest.id >= 0 else None


def deadline_in(seconds: float) -> float:
    """Return the moment *seconds* from now on the clock that deadlines are on."""
    return time.monotonic() + seconds
