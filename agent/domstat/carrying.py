"""The couriers of the sinks that are configured, and how they become those that are configured anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domstat.config import SinkConfig
from domstat.deliver.courier import BACKOFF_MAX_S, Courier, Outlet, State
from domstat.deliver.spool import Spool

BACKOFF_MAX_S_MIN = 1.0
"""Retries are at most a tick apart, so that a sink that has come back gets new ticks within two; but not below this."""

LEAVE_S = 5.0
"""How long a sink that goes may take for the write that it is at. One that takes longer is left to itself: what it had
in hand comes again, to the sink that takes its place."""


class Carrying:
    """All couriers."""

    def __init__(
        self,
        sinks: Sequence[SinkConfig],
        shortest_s: float,
        spool: Spool,
        state_dir: Path,
        log: Any,
        on_ended: Callable[[], None],
    ) -> None:
        """*shortest_s* is the shortest interval that anything is collected at; *on_ended*: none is left that takes."""
        self._spool = spool
        self._state_dir = state_dir
        self._log = log
        self._on_ended = on_ended
        self._configured = {sink.name: sink for sink in sinks}
        self.couriers = [self._make(_outlet(sink, shortest_s)) for sink in sinks]
        """Changed while it is read: who goes through it takes a copy."""
        self._left: list[Courier] = []
        """Those that were left to themselves as they hung, and may hold a file that others are to write."""

    def start(self) -> None:
        """Have all of them carry."""
        for courier in self.couriers:
            courier.start()

    def change(self, sinks: Sequence[SinkConfig], shortest_s: float) -> None:
        """Carry to these sinks from now on; those that did not change, and still take something, are not touched.

        The old ones go first: a file that both would write belongs to one at a time.
        """
        here = {courier.name: courier for courier in self.couriers}
        stay = {sink.name: here[sink.name] for sink in sinks if sink.name in here and not self._is_touched(sink, here)}
        self._left = [courier for courier in self._left if not courier.leave(0.0)]
        self._have_leave([courier for name, courier in here.items() if name not in stay])
        new = {sink.name: self._make(_outlet(sink, shortest_s)) for sink in sinks if sink.name not in stay}
        self._configured = {sink.name: sink for sink in sinks}
        self.couriers[:] = [(stay | new)[sink.name] for sink in sinks]
        for sink in sinks:
            if sink.name in stay:
                stay[sink.name].adjust(_outlet(sink, shortest_s))
        for courier in new.values():
            courier.start()
        self._note_ended()

    def _is_touched(self, sink: SinkConfig, here: dict[str, Courier]) -> bool:
        """Whether a sink is another than it was, or one that no retry could help, and that may be mended now."""
        was = self._configured[sink.name]
        is_another = was.sink is not sink.sink or was.settings != sink.settings
        return is_another or here[sink.name].state is State.STOPPED

    def _have_leave(self, couriers: Sequence[Courier]) -> None:
        until = time.monotonic() + LEAVE_S
        for courier in couriers:
            courier.begin_leaving()
        for courier in couriers:
            if not courier.leave(max(0.0, until - time.monotonic())):
                hint = "it is left to itself; what it had in hand counts as not stored"
                self._log.warning("sink_hangs_at_leaving", sink=courier.name, hint=hint)
                self._left.append(courier)

    def _make(self, outlet: Outlet) -> Courier:
        return Courier(outlet, self._spool, self._state_dir, self._log, self._note_ended, self._is_any_left)

    def _is_any_left(self) -> bool:
        """Whether one that was left to itself still lives; couriers ask, each in its thread."""
        return any(not courier.leave(0.0) for courier in tuple(self._left))

    def _note_ended(self) -> None:
        """Say so when the last sink has ended: nothing is left to work for."""
        if all(courier.ended is not None for courier in tuple(self.couriers)):
            self._on_ended()


def _outlet(sink: SinkConfig, shortest_s: float) -> Outlet:
    common = sink.common
    return Outlet(
        sink.name,
        lambda: sink.sink(sink.settings),
        oldest=common.start == "oldest",
        batches=common.batch,
        linger_s=float(common.linger or 0),
        backoff_max_s=min(BACKOFF_MAX_S, max(BACKOFF_MAX_S_MIN, shortest_s)),
    )
