"""One host's events, heard and inferred, from two threads into one stream."""

from __future__ import annotations

import threading
from collections.abc import Callable

from domstat.collect.events import Events
from domstat.collect.inventory import Inventory
from domstat.collect.unseen import Unseen
from domstat.collect.wire import Globs, Happened
from domstat.model import Batch


class Chronicle:
    """Takes what the worker hears and what the ticks show; has *offer* take every event as a batch."""

    def __init__(self, host: str, inventory: Inventory, domains: Globs, offer: Callable[[Batch], None]) -> None:
        self._inventory = inventory
        self._events = Events(host, inventory.last_known, domains)
        self._unseen = Unseen()
        self._offer = offer
        self._lock = threading.Lock()

    def hear(self, happened: Happened) -> None:
        """Take libvirt's events, on the thread that hears the worker."""
        with self._lock:
            batches = list(self._events.batches(happened))  # named by what was known before
            if happened.missed:
                self._unseen.miss()
            self._unseen.hear(happened.changes)
        self._inventory.note(happened.changes, missed=happened.missed)
        for batch in batches:
            self._offer(batch)

    def see(self, batch: Batch) -> None:
        """Take a batch of the stream that has the host's guests in every tick."""
        with self._lock:
            batches = [self._events.batch(domain, event, batch.stamp) for domain, event in self._unseen.see(batch)]
        for found in batches:
            self._offer(found)
