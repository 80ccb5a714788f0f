"""What happened to guests while nobody listened: before the connection was made anew, two ticks are compared. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from domstat.collect.wire import Change
from domstat.model import Batch, Domain, Event, Kind

UNSEEN = "unseen"
"""The reason of an event that was not heard but must have been: when exactly, and why, nobody knows."""

_STARTED, _STOPPED = 2, 5


class Unseen:
    """Knows which guests ran at the last tick that had all of them."""

    def __init__(self) -> None:
        self._running: dict[str, Domain] | None = None
        self._seen: dict[str, Domain] = {}
        self._missed = False

    def miss(self) -> None:
        """Take note that events may have been lost."""
        self._missed = True

    def hear(self, changes: Iterable[Change]) -> None:
        """Take events that were heard: what they say is not found out once more."""
        for change in changes:
            if self._running is not None and change.event == "lifecycle":
                if change.detail[0] == _STARTED:
                    self._running[change.uuid] = Domain(change.uuid, change.name, change.id)
                elif change.detail[0] == _STOPPED:
                    self._running.pop(change.uuid, None)

    def see(self, batch: Batch) -> list[tuple[Domain, Event]]:
        """Take one batch of the host's ticks; return what must have happened unheard, once a tick is complete."""
        if batch.records and batch.records[0].kind is Kind.GAP:  # a tick broke off: what it had seen is no whole
            self._seen = {}
            return []
        self._seen |= {
            record.domain.uuid: record.domain
            for record in batch.records
            if record.kind is Kind.GUEST and record.domain is not None
        }
        if not batch.records or batch.records[-1].kind is not Kind.AGENT:
            return []
        seen, self._seen = self._seen, {}
        before, self._running = self._running, seen
        missed, self._missed = self._missed, False
        return list(_between(before, seen)) if missed and before is not None else []


def _between(before: dict[str, Domain], now: dict[str, Domain]) -> Iterable[tuple[Domain, Event]]:
    for uuid, domain in before.items():
        if uuid not in now or now[uuid].id != domain.id:
            yield domain, Event("stopped", UNSEEN)
    for uuid, domain in now.items():
        if uuid not in before or before[uuid].id != domain.id:
            yield domain, Event("started", UNSEEN)
