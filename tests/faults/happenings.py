"""What is to be heard of guests beside what was: an event for each thing that was done, once, in its order, in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from domstat.model import Record

LATE_MS_MAX = 5000.0
"""The time an event is stamped with is no further than this from when it was done, on a busy machine too."""


class Expected(Struct, frozen=True, kw_only=True):
    """An event to be heard: of which guest, by its name at that time, and by which names its device may go.

    One that is not a must comes along with others: a guest that is started is also resumed. It was done between
    *since_ms* and *until_ms* by the wall clock.
    """

    uuid: str
    name: str
    type: str
    reasons: tuple[str | None, ...] = (None,)
    devices: tuple[str | None, ...] = (None,)
    must: bool = True
    since_ms: float = 0.0
    until_ms: float = 0.0

    def fits(self, record: Record) -> bool:
        """Whether *record* is of such an event."""
        event, domain = record.event, record.domain
        assert event is not None
        assert domain is not None
        same = (event.type, domain.name, domain.uuid) == (self.type, self.name, self.uuid)
        return same and event.reason in self.reasons and event.device in self.devices

    def late_ms(self, record: Record) -> float:
        """How long before it was done or after it the event is said to have been; 0 while it was done."""
        return max(0.0, self.since_ms - record.time_ms, record.time_ms - self.until_ms)


def wrong(expected: Iterable[Expected], events: Sequence[Record]) -> list[str]:
    """Compare what was to be heard with the records of *events*, guest by guest; say what is wrong.

    Guests of which nothing is expected are not looked at.
    """
    by_guest: dict[str, list[Expected]] = {}
    for each in expected:
        by_guest.setdefault(each.uuid, []).append(each)
    found = []
    for uuid, own in by_guest.items():
        found += _wrong(own, [record for record in events if record.domain is not None and record.domain.uuid == uuid])
    return found


def _wrong(expected: list[Expected], events: list[Record]) -> list[str]:
    found, position = [], 0
    for record in events:
        after = _after(expected, position, record)
        if after is None:
            found.append(f"not expected here: {record.domain} {record.event} at {record.time_ms}")
            continue
        position = after
        if (late_ms := expected[after - 1].late_ms(record)) > LATE_MS_MAX:
            found.append(f"{late_ms:.0f} ms from when it was done: {record.domain} {record.event}")
    return [*found, *(f"not heard: {each}" for each in expected[position:] if each.must)]


def _after(expected: list[Expected], position: int, record: Record) -> int | None:
    """Return the position after the one that *record* is of, None if it is not its turn."""
    for index in range(position, len(expected)):
        if expected[index].fits(record):
            return index + 1
        if expected[index].must:
            return None
    return None
