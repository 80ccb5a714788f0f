"""Records out of the history that a running agent writes: only read, in short steps, so that its writer never waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeAlias

from msgspec.structs import replace

from domstat.history import EVER_MS, HasBatches, History, HistoryError, Select, Series, Span
from domstat.model import Batch, Figures, Stamp, key_of
from domstat.top.feed import Arrived, Failed, Past, Tell
from domstat.top.fleet import is_shown
from domstat.top.guest import Key
from domstat.top.measures import GAUGES, RATES, Said, measured
from domstat.top.ring import BIN_MS, BINS, Values

FIRST_BACK_MS = 90_000
"""How far before a host's newest tick is begun: a stream of its disks may have one a minute."""

OVERLAP_MS = 5_000
"""How far back is read with every new tick: of several hosts the one that answers late is stored late."""

Opens: TypeAlias = Callable[[], AbstractContextManager[History]]
"""Opens the history; raises HistoryError."""


class StoredFeed:
    """Reads what has been stored since it looked last. One thread opens the history, reads it and closes it."""

    def __init__(self, opens: Opens, interval_s: float) -> None:
        self._opens = opens
        self._interval_s = interval_s
        self._asked: queue.SimpleQueue[tuple[Key, int] | None] = queue.SimpleQueue()
        """Guests whose hour is wanted, as fast as a person presses enter; None ends the thread."""

    def start(self, tell: Tell) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, args=(tell,), name="history", daemon=True).start()

    def ask(self, key: Key, until_ms: int) -> None:
        """Have a guest's last hour read."""
        self._asked.put((key, until_ms))

    def stop(self) -> None:
        """Have the thread end."""
        self._asked.put(None)

    def _run(self, tell: Tell) -> None:
        while True:
            try:
                with self._opens() as history:
                    self._follow(history, tell)
            except HistoryError as error:
                tell(Failed(None, str(error)))
                if self._wait(None, tell):
                    continue
            return

    def _follow(self, history: History, tell: Tell) -> None:
        """Read until the end is asked for. Raises HistoryError."""
        if not isinstance(history, HasBatches):
            raise HistoryError("this sink's history does not give its ticks back; watch libvirt with --uri")
        newest = Newest(history)
        while True:
            batches = newest.read()
            if batches:
                tell(Arrived(batches))
            if not self._wait(history, tell):
                return

    def _wait(self, history: History | None, tell: Tell) -> bool:
        """Wait for the next look, and meanwhile read the hours that are asked for; return whether to go on."""
        until_s = time.monotonic() + self._interval_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                asked = self._asked.get(timeout=left_s)
            except queue.Empty:
                break
            if asked is None:
                return False
            if history is not None:
                key, until_ms = asked
                tell(Past(key, past_of(history, key, until_ms)))
        return True


class Newest:
    """What of a history is newer than what has been read of it."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._newest_ms: int | None = None
        self._seen: set[tuple[str, str, Stamp]] = set()
        """What has been read that can come once more."""
        self._streams: dict[tuple[str, str], tuple[int, int]] = {}
        """When each stream's newest tick was, and how long after the one before; 0 where there was none."""

    def read(self) -> tuple[Batch, ...]:
        """Return the batches that are new, each stream's in order. Raises HistoryError."""
        history = self._history
        if not isinstance(history, HasBatches):
            return ()
        if self._newest_ms is None:
            since_ms = max((host.last_ms for host in self._history.hosts()), default=0) - FIRST_BACK_MS
        elif not history.count(self._newest_ms + 1, EVER_MS):
            return ()
        else:
            since_ms = self._newest_ms - OVERLAP_MS if self._is_one_late(self._newest_ms) else self._newest_ms + 1
        # What cannot be read is a matter for `domstat history verify`; here the next tick comes soon.
        found = history.batches(since_ms, EVER_MS, lambda _damage: None)
        new = [batch for batch in found if (*batch.stream, batch.stamp) not in self._seen]
        for batch in new:
            self._remember(batch)
        if self._newest_ms is not None:
            since_ms = self._newest_ms - OVERLAP_MS
            self._seen = {which for which in self._seen if which[2].time_ms >= since_ms}
        return tuple(new)

    def _is_one_late(self, newest_ms: int) -> bool:
        """Whether some stream's next tick may be from before the newest of all, and not stored yet."""
        return any(last_ms + usual_ms / 2 <= newest_ms for last_ms, usual_ms in self._streams.values())

    def _remember(self, batch: Batch) -> None:
        time_ms = batch.stamp.time_ms
        self._newest_ms = max(self._newest_ms or 0, time_ms)
        self._seen.add((*batch.stream, batch.stamp))
        if batch.stream in self._streams or any(map(is_shown, batch.records)):
            last_ms, _ = self._streams.get(batch.stream, (time_ms, 0))
            self._streams[batch.stream] = (time_ms, time_ms - last_ms)


def past_of(history: History, key: Key, until_ms: int) -> tuple[tuple[int, Values], ...]:
    """Read a guest's last hour, in the ring's bins. Raises HistoryError."""
    host, uuid = key
    span = Span((until_ms // BIN_MS - BINS + 1) * BIN_MS, until_ms + 1)
    wanted = Select(span=span, guests=(uuid,), step_ms=BIN_MS)
    rates = _by_time(_of(history, replace(wanted, fields=RATES, rate=True), host))
    gauges = _by_time(_of(history, replace(wanted, fields=GAUGES), host))
    return tuple(
        (time_ms, measured(Said((_figures(rates.get(time_ms, {}), gauges.get(time_ms, {})),))))
        for time_ms in sorted(rates.keys() | gauges.keys())
    )


def _of(history: History, select: Select, host: str) -> Iterable[Series]:
    """Read series of one host: its name may have signs in it that a pattern gives a meaning."""
    return (series for series in history.read(select, lambda _damage: None) if series.subject.host == host)


def _by_time(found: Iterable[Series]) -> dict[int, dict[str, float]]:
    """Return values in base units by the beginning of their step, and by key."""
    by_time: dict[int, dict[str, float]] = {}
    for series in found:
        key = key_of(series.field, series.device)
        for time_ms, value in zip(series.time_ms.tolist(), series.values.tolist(), strict=True):
            by_time.setdefault(time_ms, {})[key] = value * series.measure.scale
    return by_time


def _figures(rates: dict[str, float], gauges: dict[str, float]) -> Figures:
    return Figures(dict(gauges), rates, gauges)
