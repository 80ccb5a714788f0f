"""Labels and devices from domain XML: read at a guest's first sight and after events, kept on the agent's side.

A series must have one name from its first record on, and a NIC is named by its MAC, which only the XML has. So a
guest's XML is read before its first record is made, and again before the next one when libvirt reports a change of
its devices or its definition; never on the way of an ordinary tick.

Events come on a thread of their own, while streams look things up on theirs: see :class:`Inventory`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType

from domstat.collect.definition import Entry, parse
from domstat.collect.labels import NO_RULES, LabelRules
from domstat.collect.wire import Change, Description

GUESTS_MAX = 50_000
"""Guests remembered, three times what one answer of libvirt can hold; beyond that the oldest is forgotten."""

STOPPED_MAX = 1000
"""Guests remembered after they stopped, since their last record may be under way: where guests live for minutes, all
that ever were would pile up."""

PLUGS_MAX = 1000
"""Plugged devices remembered of one guest, more than it can have; beyond that the one plugged first is forgotten."""

DEFINED, UNDEFINED, STARTED, SUSPENDED, RESUMED, STOPPED, SHUTDOWN, PMSUSPENDED, CRASHED = range(9)
"""libvirt's numbers of lifecycle events (virDomainEventType), whose module this process does not load."""

# A guest that is undefined while it runs only loses its file; after the others nothing new of it is to come, or it
# goes on as it was. Defining and starting may change anything, as may an event that is not among these.
_LEAVE_THE_XML = frozenset({UNDEFINED, SUSPENDED, RESUMED, STOPPED, SHUTDOWN, PMSUSPENDED, CRASHED})
_BACK_TO_A_SNAPSHOT = frozenset({(SUSPENDED, 5), (RESUMED, 2)})
"""Event and detail: the guest goes on from a snapshot, with the definition that it had then."""

_NO_PLUGS: Mapping[str, int] = MappingProxyType({})


class Inventory:
    """What is known of one host's guests, by uuid.

    :meth:`get`, :meth:`last_known`, :meth:`plugged` and :attr:`version` take no lock, since every tick asks them of
    every guest; everything that changes anything does. Whoever compares versions reads :attr:`version` *before* it
    looks things up: what happens in between then shows at its next look.
    """

    def __init__(self, rules: LabelRules = NO_RULES) -> None:
        self.version = 0
        """Grows with every change of what is known, so that nobody need look who has looked already."""
        self._rules = rules
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._asked: dict[str, int] = {}
        """The version at which what is known of each guest was asked for; the guest read longest ago comes first."""
        self._stale: dict[str, int] = {}
        """Guests that something has happened to, at which version: read again before anything of theirs is named.

        Also of guests not known yet: what happens while their XML is on its way is not in it.
        """
        self._old: dict[str, int] = {}
        """Guests that something may have happened to unseen, by which version: read again in passing."""
        self._stopped: dict[str, None] = {}
        """Guests that have stopped, the one that stopped longest ago first."""
        self._plugged: dict[str, dict[str, int]] = {}
        """By guest and alias the boot-time clock at which a device was plugged; replaced, never changed in place."""

    def get(self, uuid: str, incarnation: int | None) -> Entry | None:
        """Return what is known of this incarnation, None if its XML must be read first.

        The same object for as long as reading the XML again brings nothing new.
        """
        if uuid in self._stale:  # asked first: a guest is fresh again only after its new entry is there
            return None
        return self.last_known(uuid, incarnation)

    def last_known(self, uuid: str, incarnation: int | None) -> Entry | None:
        """Return what is known of this incarnation even if it may be out of date."""
        entry = self._entries.get(uuid)
        return entry if entry is not None and entry.id == incarnation else None

    def plugged(self, uuid: str) -> Mapping[str, int]:
        """Return when devices were last plugged while the guest ran: boot-time nanoseconds by the device's alias."""
        return self._plugged.get(uuid, _NO_PLUGS)

    def note(self, changes: Iterable[Change], *, missed: bool) -> None:
        """Take libvirt's events: what they touch is read again before it is used again.

        *missed* says that events may have been lost, as with every new connection. New devices show in the answers
        themselves, so what is known stays in use meanwhile: a respawn does not cost the XML of every guest at once.
        """
        with self._lock:
            if missed:
                self._old.update(dict.fromkeys(self._entries, self.version + 1))
                self.version += 1
            for change in changes:
                self._note(change)

    def _note(self, change: Change) -> None:
        uuid, lifecycle = change.uuid, _lifecycle(change)
        if lifecycle == STOPPED or (lifecycle == UNDEFINED and uuid not in self._entries):
            self._note_end(uuid)
        elif lifecycle == STARTED:
            self._stopped.pop(uuid, None)
        elif change.event in {"device-added", "device-removed"} and change.device:
            self._note_plug(change)
        if _may_change_the_xml(change) and (uuid in self._entries or len(self._stale) < GUESTS_MAX):
            self._stale[uuid] = self.version + 1
            self.version += 1  # last, so that whoever sees the new version finds the guest stale

    def _note_end(self, uuid: str) -> None:
        for marks in (self._stale, self._old, self._plugged, self._stopped):
            marks.pop(uuid, None)
        if uuid in self._entries:
            self._stopped[uuid] = None
        while len(self._stopped) > STOPPED_MAX:
            self._forget(next(iter(self._stopped)))

    def _note_plug(self, change: Change) -> None:
        plugs = {alias: at for alias, at in self.plugged(change.uuid).items() if alias != change.device}
        if change.event == "device-added":
            plugs[change.device] = change.boot_ns
        if len(plugs) > PLUGS_MAX:
            del plugs[next(iter(plugs))]
        self._plugged[change.uuid] = plugs
        if not plugs:
            del self._plugged[change.uuid]
        if len(self._plugged) > GUESTS_MAX:
            del self._plugged[next(iter(self._plugged))]

    def oldest(self, most: int) -> list[str]:
        """Name at most so many guests that are to be read again in passing."""
        with self._lock:
            return list(islice(self._old, most))

    def learn(self, description: Description, incarnation: int | None, *, asked: int | None = None) -> str | None:
        """Take a guest's XML; return what was wrong with it, if anything.

        *asked* is the version that this inventory had before the XML was asked for: what has happened since is not
        in it, so the guest stays marked. Without it nothing is taken to have happened.

        A guest whose XML libvirt refuses or that cannot be trusted keeps what is known of this incarnation, or gets
        an empty entry, so that it is not asked for again every tick; a guest that is gone is forgotten.
        """
        uuid = description.uuid
        entry, trouble = None, description.error
        if description.xml is not None:
            try:
                entry = parse(description.xml, None, self._rules)  # not under the lock: it can take milliseconds
            except ValueError as error:
                trouble = str(error)
        with self._lock:
            asked = self.version if asked is None else asked
            if entry is None and trouble is None:
                self._forget(uuid)
            elif asked >= self._asked.get(uuid, 0):  # another stream may have read it since
                known = self._entries.get(uuid)
                has_ended = entry is not None and entry.id is None and incarnation is not None
                if has_ended or (entry is None and known is not None and known.id == incarnation):
                    entry = known  # XML of a guest that is off has no taps: its last record keeps its names
                elif entry is None:
                    entry = Entry(incarnation, {}, {}, {})
                self._keep(uuid, entry, asked)
        return trouble

    def _keep(self, uuid: str, entry: Entry | None, asked: int) -> None:
        changed = entry is not None and entry != self._entries.get(uuid)
        if entry is not None:
            self._asked.pop(uuid, None)  # so that re-reading also makes it the youngest
            self._asked[uuid] = asked
            if changed:
                self._entries[uuid] = entry  # before it is taken for fresh
        for marks in (self._stale, self._old):
            if marks.get(uuid, asked + 1) <= asked:
                del marks[uuid]
        while len(self._asked) > GUESTS_MAX:
            self._forget(next(iter(self._asked)))
        self.version += changed

    def _forget(self, uuid: str) -> None:
        self._entries.pop(uuid, None)
        for marks in (self._asked, self._stale, self._old, self._stopped, self._plugged):
            marks.pop(uuid, None)
        self.version += 1


def _lifecycle(change: Change) -> int | None:
    return change.detail[0] if change.event == "lifecycle" and change.detail else None


def _may_change_the_xml(change: Change) -> bool:
    if change.event == "lifecycle":
        return _lifecycle(change) not in _LEAVE_THE_XML or change.detail in _BACK_TO_A_SNAPSHOT
    return change.event != "reboot" and not change.event.startswith("agent-")
