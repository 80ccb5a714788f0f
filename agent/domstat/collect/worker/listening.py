"""libvirt's events: told to the agent as they happen, each with the time at which it came."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import libvirt

from domstat import clock
from domstat.collect import wire

DRAIN_TURNS_MAX = 100
"""Turns of the event loop that an answer waits for the events before it; as a rule it is one."""


_NEVER, _AT_ONCE = -1, 0
"""When a timer of libvirt's is due, in milliseconds from now."""


class Listener:
    """Registers for events, and tells what comes. libvirt calls back on the event loop's thread."""

    def __init__(self, tell: Callable[[wire.Happened], None]) -> None:
        self._tell = tell
        self._registered: list[int] = []
        """By what number libvirt knows each of our callbacks."""
        self._timer: int | None = None
        """One for good: libvirt-python never lets go of what a timer calls (1 KB each, 3 GB a year at 10 s)."""
        self._through = False

    def register(self, connection: Any) -> None:
        """Have *connection* report what changes guests, their devices and definitions; drivers may lack any of it."""
        self._tell(wire.Happened([], missed=True))
        self._registered = []
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on("reboot")),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._on("device-added")),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._on("device-removed")),
            (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on("metadata")),
        ):
            # A driver may lack an event: what it would tell is read at the slow refresh instead.
            with suppress(libvirt.libvirtError):
                self._registered.append(connection.domainEventRegisterAny(None, event, callback, None))

    def release(self, connection: Any) -> None:
        """Let go of *connection*, which is of no use any more: each callback would keep it, and a descriptor, open."""
        for number in self._registered:
            with suppress(libvirt.libvirtError):  # the daemon cannot be told; this side has let go all the same
                connection.domainEventDeregisterAny(number)
        self._registered = []

    def drain(self) -> None:
        """Return when every event that has arrived by now is told. To be called where the event loop is run.

        libvirt hands events on by a timer of its event loop that is due at once; one of ours, due later, is served in
        the same turn of the loop or after it. So the agent knows of a re-plugged disk before it sees its counters.
        """
        if not self._registered:
            return
        self._through = False
        with suppress(libvirt.libvirtError):
            if self._timer is None:
                self._timer = libvirt.virEventAddTimeout(_NEVER, self._on_through, None)
            libvirt.virEventUpdateTimeout(self._timer, _AT_ONCE)
            for _ in range(DRAIN_TURNS_MAX):
                libvirt.virEventRunDefaultImpl()
                if self._through:
                    break

    def _on_through(self, timer: int, _opaque: Any) -> None:
        self._through = True
        libvirt.virEventUpdateTimeout(timer, _NEVER)  # or the loop would never sleep again

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        self._add("lifecycle", domain, (event, detail))

    def _on(self, name: str) -> Callable[..., None]:
        def callback(_connection: Any, domain: Any, *rest: Any) -> None:
            device = next((str(item) for item in rest if isinstance(item, str)), "")
            self._add(name, domain, (), device)

        return callback

    def _add(self, event: str, domain: Any, detail: tuple[int, ...], device: str = "") -> None:
        now = clock.now()
        guest = (domain.UUIDString(), domain.name(), domain.ID())
        change = wire.Change(event, *guest, detail, device, now.time_ms, now.boot_ns)
        self._tell(wire.Happened([change], boot_id=now.boot_id))
