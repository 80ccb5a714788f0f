"""What happens to guests, as records: libvirt's events by the names that people use. Pure.

They are a stream of their own, ``events``, of which every event is a batch with the time at which it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from domstat.collect.definition import Entry
from domstat.collect.naming import name_nic
from domstat.collect.times import Times
from domstat.collect.wire import Change, Globs, Happened
from domstat.model import Batch, Domain, Event, Kind, Record, Stamp

STREAM = "events"
"""The collect block's name that events come under."""

# virDomainEventType and its details, libvirt-domain.h; the position of a detail is its number.
_LIFECYCLE: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("defined", ("added", "updated", "renamed", "from-snapshot")),
    1: ("undefined", ("removed", "renamed")),
    2: ("started", ("booted", "migrated", "restored", "from-snapshot", "wakeup")),
    3: (
        "paused",
        (
            "paused", "migrated", "ioerror", "watchdog", "restored", "from-snapshot", "api-error", "postcopy",
            "postcopy-failed",
        ),
    ),
    4: ("resumed", ("unpaused", "migrated", "from-snapshot", "postcopy", "postcopy-failed")),
    5: ("stopped", ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from-snapshot")),
    6: ("shutdown", ("finished", "guest", "host")),
    7: ("pmsuspended", ("memory", "disk")),
    8: ("crashed", ("panicked", "crashloaded")),
}  # fmt: skip

# What people call by another name than libvirt does: a guest that moved was neither started nor stopped.
_RENAMED = {
    ("started", "migrated"): ("migrated", "in"),
    ("stopped", "migrated"): ("migrated", "out"),
    ("stopped", "crashed"): ("crashed", None),
    ("defined", "renamed"): ("renamed", None),
}

_DIRECT = {"reboot": "rebooted", "device-added": "device-added", "device-removed": "device-removed"}
"""Events of their own, by the worker's names for them."""


def event_of(change: Change, device: str | None = None) -> Event | None:
    """Translate one of libvirt's events; None for what is no event in a guest's life. *device* stands for its alias."""
    if change.event in _DIRECT:
        return Event(_DIRECT[change.event], None, device or change.device or None)
    if change.event != "lifecycle":
        return None
    number, detail = change.detail
    type_, reasons = _LIFECYCLE.get(number, (f"event-{number}", ()))
    reason = reasons[detail] if 0 <= detail < len(reasons) else f"detail-{detail}"
    return Event(*_RENAMED.get((type_, reason), (type_, reason)))


class Events:
    """Makes batches of one host's events."""

    def __init__(self, host: str, find: Callable[[str, int | None], Entry | None], domains: Globs) -> None:
        """*find* returns what is known of the guest with a uuid and domain id."""
        self._host = host
        self._find = find
        self._domains = domains
        self._times = Times()

    def batches(self, happened: Happened) -> Iterator[Batch]:
        """Make a batch of each of these that is an event of a guest that was chosen."""
        for change in happened.changes:
            event = event_of(change, self._device(change))
            if event is not None and self._domains.choose(change.name):
                guest = Domain(change.uuid, change.name, change.id if change.id >= 0 else None)
                yield self.batch(guest, event, Stamp(change.time_ms, change.boot_ns, happened.boot_id, 0))

    def _device(self, change: Change) -> str | None:
        """Name a device as its series are; one that is not known yet goes by libvirt's alias."""
        entry = self._find(change.uuid, change.id if change.id >= 0 else None)
        if entry is None or not change.device:
            return None
        named = [(target, details) for target, details in entry.disks.items()]
        named += [(name_nic(nic, entry), nic.details) for nic in entry.taps.values()]
        return next((name for name, details in named if details.get("alias") == change.device), None)

    def batch(self, guest: Domain, event: Event, when: Stamp) -> Batch:
        """Make the batch of one event."""
        stamp = Stamp(self._times.next(when.time_ms), when.boot_ns, when.boot_id, 0)
        record = Record(
            kind=Kind.EVENT,
            host=self._host,
            collect=STREAM,
            time_ms=stamp.time_ms,
            domain=guest,
            event=event,
        )
        return Batch(host=self._host, collect=STREAM, stamp=stamp, records=(record,))
