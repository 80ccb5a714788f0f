"""Stand-ins for libvirt as the worker sees it: a daemon whose guests hang, fall silent, refuse and vanish as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import libvirt

from domstat.model import Value

ACTIVE = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
GETS_STUCK = 120.0
"""How long a stuck guest holds up who asks it, in seconds: longer than any test."""


class Refused(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's, by its number and the part of libvirt that it is from."""

    def __init__(self, code: int = libvirt.VIR_ERR_OPERATION_FAILED, part: int = libvirt.VIR_FROM_QEMU) -> None:
        Exception.__init__(self, f"error {code}")
        self.err = (code, part, "", 2, "", "", "", -1, -1)


def too_many() -> Refused:
    """Make the error that libvirt's client gives for an answer that is too large."""
    return Refused(libvirt.VIR_ERR_RPC, libvirt.VIR_FROM_RPC)


class Guest:
    """A guest of the daemon."""

    def __init__(self, name: str = "web-1", kinds: int = 0, **params: Value) -> None:
        self.name = name
        self.uuid = f"uuid-of-{name}"
        self.id = 3
        self.kinds = kinds
        """libvirt's filters that it meets, beside being active."""
        self.params: dict[str, Value] = {"state.state": 1} | {key.replace("_", "."): params[key] for key in params}
        self.xml = f"<domain><name>{name}</name></domain>"
        self.control = (libvirt.VIR_DOMAIN_CONTROL_OK, 0, 0)
        self.freed = threading.Event()
        """Set while it answers."""
        self.freed.set()
        self.refusal: Refused | None = None
        """What comes of asking it alone."""
        self.gone = False

    def hang(self, ms: int = 5000) -> None:
        """Have whoever asks it wait, and libvirt say for how long it has been occupied."""
        self.freed.clear()
        self.control = (libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 0, ms)

    def go_on(self) -> None:
        """Have it answer again, those first who have waited."""
        self.control = (libvirt.VIR_DOMAIN_CONTROL_OK, 0, 0)
        self.freed.set()


class Daemon:
    """Its guests, what it refuses, and every call that was made to it."""

    def __init__(self, *guests: Guest | str) -> None:
        self.guests = [Guest(guest) if isinstance(guest, str) else guest for guest in guests]
        self.unknown_flags = 0
        self.ceiling = 10**9
        """Guests of which one answer can hold the statistics."""
        self.list_ceiling = 10**9
        """Guests that can be listed at a time."""
        self.trouble: dict[str, Refused] = {}
        """What is refused, by the name of libvirt's call."""
        self.free_stats = 1
        """Stats groups for which no guest is asked itself."""
        self.before: Callable[[], None] = lambda: None
        """Called before the statistics of a call are taken."""
        self.calls: list[tuple[str, tuple[str, ...], int, int]] = []
        """Calls for statistics: which, of whom, the groups and the flags."""
        self.callers: list[Connection] = []
        self.connections: list[Connection] = []

    def connect(self, uri: str = "fake:///system", writable: bool = False) -> tuple[Connection, str]:
        """Stand in for the worker's open_connection."""
        self._check("open")
        self.connections.append(Connection(self, uri, writable))
        return self.connections[-1], ""

    def there(self) -> list[Guest]:
        """Return the guests that are not gone."""
        return [guest for guest in self.guests if not guest.gone]

    def by(self, uuid: str) -> Guest:
        """Find a guest. Raises the error that libvirt gives for one that is gone."""
        for guest in self.there():
            if guest.uuid == uuid:
                return guest
        raise Refused(libvirt.VIR_ERR_NO_DOMAIN)

    def _check(self, call: str) -> None:
        if call in self.trouble:
            raise self.trouble[call]


class Domain:
    """A guest as libvirt hands it out."""

    def __init__(self, connection: Connection, guest: Guest) -> None:
        self._connection = connection
        self.guest = guest

    def connect(self) -> Connection:
        return self._connection

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's names, here and below
        return self.guest.uuid

    def name(self) -> str:
        return self.guest.name

    def ID(self) -> int:  # noqa: N802
        return self.guest.id

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        self._connection.check("XMLDesc")
        return self.guest.xml

    def controlInfo(self) -> list[int]:  # noqa: N802
        self._connection.check("controlInfo")
        if self.guest.gone:
            raise Refused(libvirt.VIR_ERR_NO_DOMAIN)
        return list(self.guest.control)


class Connection:
    """One connection to the daemon; *alive* may be changed."""

    def __init__(self, daemon: Daemon, uri: str, writable: bool) -> None:
        self.daemon = daemon
        self.uri = uri
        self.writable = writable
        self.alive = True
        self.closed = False
        self.kept_alive = False
        self.on_close: Callable[..., None] | None = None
        self.registered: dict[int, Callable[..., None]] = {}
        """Callbacks by the number of their event, which stands for the callback's own too."""

    def check(self, call: str) -> None:
        """Raise what the daemon has for that call."""
        if not self.alive:
            raise Refused(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC)
        if call in self.daemon.trouble:
            raise self.daemon.trouble[call]

    def isAlive(self) -> int:  # noqa: N802
        return int(self.alive)

    def close(self) -> int:
        self.closed = True
        if not self.alive:
            raise Refused(libvirt.VIR_ERR_INVALID_CONN)
        self.alive = False
        return 0

    def setKeepAlive(self, _interval: int, _count: int) -> int:  # noqa: N802
        self.check("setKeepAlive")
        self.kept_alive = True
        return 0

    def registerCloseCallback(self, callback: Callable[..., None], _opaque: Any) -> int:  # noqa: N802
        self.check("registerCloseCallback")
        self.on_close = callback
        return 0

    def unregisterCloseCallback(self) -> int:  # noqa: N802
        self.on_close = None
        self.check("unregisterCloseCallback")
        return 0

    def domainEventRegisterAny(  # noqa: N802
        self, _domain: None, event: int, callback: Callable[..., None], _opaque: Any
    ) -> int:
        self.check("domainEventRegisterAny")
        self.registered[event] = callback
        return event

    def domainEventDeregisterAny(self, callback: int) -> int:  # noqa: N802
        del self.registered[callback]
        self.check("domainEventDeregisterAny")
        return 0

    def getCPUStats(self, _cpu: int, _flags: int) -> dict[str, int]:  # noqa: N802
        self.check("getCPUStats")
        return {"kernel": 10, "user": 20, "idle": 30, "iowait": 0, "utilization": 4}

    def getMemoryStats(self, _cell: int, _flags: int) -> dict[str, int]:  # noqa: N802
        self.check("getMemoryStats")
        return {"total": 1000, "free": 300, "buffers": 10, "cached": 90}

    def getInfo(self) -> list[Any]:  # noqa: N802
        self.check("getInfo")
        return ["x86_64", 1000, 16, 2400, 1, 1, 8, 2]

    def getLibVersion(self) -> int:  # noqa: N802
        self.check("getLibVersion")
        return 9_000_000

    def getVersion(self) -> int:  # noqa: N802
        self.check("getVersion")
        return 7_002_022

    def getType(self) -> str:  # noqa: N802
        return "QEMU"

    def lookupByUUIDString(self, uuid: str) -> Domain:  # noqa: N802
        self.check("lookupByUUIDString")
        return Domain(self, self.daemon.by(uuid))

    def listAllDomains(self, flags: int) -> list[Domain]:  # noqa: N802
        self.check("listAllDomains")
        assert flags & ACTIVE
        kinds = flags & ~ACTIVE
        found = [guest for guest in self.daemon.there() if guest.kinds & kinds == kinds]
        if len(found) > self.daemon.list_ceiling:
            raise too_many()
        return [Domain(self, guest) for guest in found]

    def getAllDomainStats(self, stats: int, flags: int) -> list[tuple[Domain, dict[str, Value]]]:  # noqa: N802
        return self._stats("all", self.daemon.there(), stats, flags)

    def domainListGetStats(  # noqa: N802
        self, domains: list[Domain], stats: int, flags: int
    ) -> list[tuple[Domain, dict[str, Value]]]:
        if not domains:
            raise Refused(libvirt.VIR_ERR_INVALID_ARG)
        return self._stats("list", [domain.guest for domain in domains], stats, flags)

    def _stats(
        self, call: str, guests: Iterable[Guest], stats: int, flags: int
    ) -> list[tuple[Domain, dict[str, Value]]]:
        asked = [guest for guest in guests if not guest.gone]
        self.daemon.calls.append((call, tuple(guest.name for guest in asked), stats, flags))
        self.daemon.callers.append(self)
        self.check("stats")
        self.daemon.before()
        if flags & self.daemon.unknown_flags:
            raise Refused(libvirt.VIR_ERR_INVALID_ARG)
        for guest in asked:
            if stats & ~self.daemon.free_stats:
                guest.freed.wait(GETS_STUCK)
            if guest.refusal is not None and len(asked) == 1:
                raise guest.refusal
        if len(asked) > self.daemon.ceiling:
            raise too_many()
        return [(Domain(self, guest), dict(guest.params)) for guest in asked]
