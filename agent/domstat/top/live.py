"""Records straight from libvirt: a worker process and a thread for each host, and no agent.

The figures are those of the agent's own ticks: the same call, the same rates, the same search for who is stuck.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from domstat.collect import wire
from domstat.collect.block import Block
from domstat.collect.errors import CollectError
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.stream import Stream
from domstat.hosts import DEADLINE_MAX_S, DEADLINE_MIN_S, DEADLINE_SHARE
from domstat.model import Batch
from domstat.top.feed import Arrived, Failed, Tell
from domstat.top.guest import Key
from domstat.uri import redacted

GROUPS = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")
"""The groups that the screen shows something of."""

FIRST_DEADLINE_S = 15.0
"""For the first answer of a host: it may be far, and must be connected to."""


class Target(Struct, frozen=True):
    """A host to be watched."""

    name: str
    uri: str
    domains: wire.Globs = wire.ALL


class Collects(Protocol):
    """Collects from one host."""

    def collect(self, deadline_s: float) -> Iterator[Batch]:
        """Collect one tick. Raises CollectError."""

    def close(self) -> None:
        """Let the host go; a tick that runs raises CollectError."""


class _Reached:
    def __init__(self, target: Target) -> None:
        inventory = Inventory()
        self._hypervisor = Hypervisor(
            target.name,
            target.uri,
            _Quiet(),
            on_happened=lambda happened: inventory.note(happened.changes, missed=happened.missed),
        )
        block = Block("default", GROUPS, target.domains, host=True)
        self._stream = Stream(self._hypervisor, inventory, block, _Quiet())

    def collect(self, deadline_s: float) -> Iterator[Batch]:
        return self._stream.collect(deadline_s)

    def close(self) -> None:
        self._hypervisor.close()


class LiveFeed:
    """Watches hosts, each at its own pace: one that hangs holds up no other."""

    def __init__(
        self, targets: Sequence[Target], interval_s: float, reach: Callable[[Target], Collects] = _Reached
    ) -> None:
        self._targets = targets
        self._interval_s = interval_s
        self._reach = reach
        self._stopped = threading.Event()
        self._reached: list[Collects] = []

    def start(self, tell: Tell) -> None:
        """Start a thread for each host."""
        for target in self._targets:
            reached = self._reach(target)
            self._reached.append(reached)
            threading.Thread(target=self._watch, args=(target, reached, tell), name=target.name, daemon=True).start()

    def ask(self, key: Key, until_ms: int) -> None:
        """Tell nothing: libvirt knows no past."""

    def stop(self) -> None:
        """Stop; workers are killed."""
        self._stopped.set()
        for reached in self._reached:
            reached.close()

    def _watch(self, target: Target, reached: Collects, tell: Tell) -> None:
        deadline_s = FIRST_DEADLINE_S
        due_s = time.monotonic()
        while not self._stopped.is_set():
            try:
                tell(Arrived(tuple(reached.collect(deadline_s))))
                deadline_s = min(max(DEADLINE_SHARE * self._interval_s, DEADLINE_MIN_S), DEADLINE_MAX_S)
            except CollectError as error:
                if not self._stopped.is_set():
                    tell(Failed(target.name, redacted(" ".join(str(error).split()))))
            # What is overdue is left out: a host that takes longer than the interval is asked as often as it answers.
            due_s = max(due_s + self._interval_s, time.monotonic())
            self._stopped.wait(due_s - time.monotonic())


class _Quiet:
    """A logger that says nothing: the screen has no place for a log, and what matters is told."""

    def bind(self, **_facts: Any) -> _Quiet:
        return self

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args, **_facts: None
