"""Guests' labels between their travels: they come when they change and once an hour, and are wanted with every record.

Records need not come in order (what is fresh may overtake what waited), and one that comes again must come out as it
did before, or a store would have it twice, under two sets of tags. So a label is looked up by the record's own time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from domstat.model import Record

GUESTS_MAX = 65_536
"""Guests whose labels are remembered; beyond it everything is forgotten once, and known again within the hour."""

CHANGES_MAX = 16
"""Changes of one guest's labels that are remembered: what waits in a journal is seldom older than one or two."""

Pairs = tuple[tuple[str, str], ...]


class Labels:
    """Remembers those of *names* for every guest."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._known: dict[tuple[str, str], tuple[list[int], list[Pairs]]] = {}
        """By host and uuid: since when (Unix time in ms, ascending), and what was said then."""

    def of(self, record: Record) -> Pairs:
        """Return the labels of the guest that *record* is about, as of the record's time; they may travel with it."""
        if record.domain is None:
            return ()
        guest = (record.host, record.domain.uuid)
        if record.labels is not None:
            said = record.labels
            self._remember(guest, record.time_ms, tuple((name, said[name]) for name in self._names if name in said))
        times, pairs = self._known.get(guest, ((), ()))
        # One that is older than anything known has, most likely, what was said first.
        return pairs[max(0, bisect_right(times, record.time_ms) - 1)] if times else ()

    def _remember(self, guest: tuple[str, str], time_ms: int, pairs: Pairs) -> None:
        if len(self._known) >= GUESTS_MAX and guest not in self._known:
            self._known.clear()
        times, changes = self._known.setdefault(guest, ([], []))
        at = bisect_right(times, time_ms)
        if not at or changes[at - 1] != pairs:
            times.insert(at, time_ms)
            changes.insert(at, pairs)
            if len(times) > CHANGES_MAX:
                del times[0], changes[0]
