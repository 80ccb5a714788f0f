"""The worker: one process per host that holds the libvirt connection and makes the calls.

It is a process of its own because a libvirt call can hang for ever and cannot be cancelled: the agent waits until its
deadline, kills the worker and starts another. It imports as little as it can, since one stands beside every agent for
years. The connection is read-only; nothing here changes a guest or a host.

Started by :mod:`domstat.collect.hypervisor` as ``python -m domstat.collect.worker FD``, FD being its end of a socket
pair; see :mod:`domstat.collect.wire` for what is said over it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import Any

import libvirt

from domstat.catalog import is_internal
from domstat.collect import wire
from domstat.garbage import spare_collections
from domstat.model import Stamp, Value

KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 2
"""A hung libvirtd is noticed after interval x (count + 1) = 15 s even between ticks; a call's deadline comes first."""

CHANGES_MAX = 10_000
"""Events kept between two answers; more are as good as "everything changed"."""

SHAPES_MAX = 10_000
"""Sets of parameter names remembered; past that all are sent again. A host has a few per kind of guest."""

_UNREACHABLE_CODES = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_INTERNAL_ERROR,  # "client socket is closed"
    libvirt.VIR_ERR_SYSTEM_ERROR,  # "Failed to connect socket", "Broken pipe"
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_AUTH_FAILED,
}


class Shapes:
    """Numbers the sets of parameter names that answers have, so that each is sent once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bool, tuple[str, ...]], tuple[int, Callable[[dict[str, Value]], Any] | None]] = {}
        self._next = 0
        self._new: dict[int, tuple[str, ...]] = {}
        self._forgotten = False

    def take(self) -> tuple[dict[int, tuple[str, ...]], bool]:
        """Return the shapes to be sent, and whether all sent before are of no use any more."""
        new, self._new = self._new, {}
        forgotten, self._forgotten = self._forgotten, False
        return new, forgotten

    def number(self, params: dict[str, Value], *, internals: bool) -> tuple[int, list[Value]]:
        """Return the shape of *params*, and the values that belong to it."""
        keys = tuple(params)
        known = self._known.get((internals, keys))
        if known is None:
            known = self._learn(keys, internals=internals)
        shape, pick = known
        return shape, list(params.values()) if pick is None else list(pick(params))

    def _learn(self, keys: tuple[str, ...], *, internals: bool) -> tuple[int, Callable[[dict[str, Value]], Any] | None]:
        if len(self._known) >= SHAPES_MAX:
            self._known.clear()
            self._forgotten = True
        kept = keys if internals else tuple(key for key in keys if not is_internal(key))
        pick: Callable[[dict[str, Value]], Any] | None = None
        if len(kept) < len(keys):
            pick = itemgetter(*kept) if len(kept) > 1 else lambda params: [params[key] for key in kept]
        self._next += 1
        self._new[self._next] = kept
        self._known[internals, keys] = (self._next, pick)
        return self._known[internals, keys]


class Changes:
    """Gathers libvirt's events, which arrive on the event loop's thread, until the next answer takes them along."""

    def __init__(self) -> None:
        self._queue: deque[wire.Change] = deque(maxlen=CHANGES_MAX)
        self._missed = True

    def miss(self) -> None:
        """Note that events may have been lost: the connection is new."""
        self._missed = True

    def take(self) -> tuple[list[wire.Change], bool]:
        """Return what came since the last time, and whether something may be missing."""
        missed, self._missed = self._missed or len(self._queue) == CHANGES_MAX, False
        taken = [self._queue.popleft() for _ in range(len(self._queue))]
        return taken, missed

    def register(self, connection: Any) -> None:
        """Have *connection* report what changes names, devices and definitions; drivers may lack any of them."""
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._on("device-added")),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._on("device-removed")),
            (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on("metadata")),
        ):
            try:
                connection.domainEventRegisterAny(None, event, callback, None)
            except libvirt.libvirtError:
                continue  # a driver without this event: what it would tell is read at the slow refresh instead

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        self._add("lifecycle", domain, (event, detail))

    def _on(self, name: str) -> Callable[..., None]:
        def callback(_connection: Any, domain: Any, *rest: Any) -> None:
            device = next((str(item) for item in rest if isinstance(item, str)), "")
            self._add(name, domain, (), device)

        return callback

    def _add(self, event: str, domain: Any, detail: tuple[int, ...], device: str = "") -> None:
        self._queue.append(wire.Change(event, domain.UUIDString(), domain.name(), detail, device))


class Worker:
    """Answers questions about one hypervisor, one at a time."""

    def __init__(self, uri: str, open_connection: Callable[[str], Any]) -> None:
        self._uri = uri
        self._open_connection = open_connection
        self._connection: Any = None
        self._changes = Changes()
        self._shapes = Shapes()
        self._notes: list[str] = []
        self._unknown_flags = 0
        self._boot_id = _read_boot_id()

    def reply(self, question: wire.Question) -> wire.Reply:
        """Answer one question; libvirt's refusals are answers too."""
        try:
            return self._ask(question) if isinstance(question, wire.Ask) else self._describe(question)
        except libvirt.libvirtError as error:
            return self._failure(error)

    def _connect(self) -> Any:
        if self._connection is None or not self._connection.isAlive():
            self._drop()
            self._connection = self._open_connection(self._uri)
            self._changes.miss()
            self._changes.register(self._connection)
            with suppress(libvirt.libvirtError):  # an in-process driver (test, embed) has nothing to keep alive
                self._connection.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(libvirt.libvirtError):  # already gone, which is what was wanted
                self._connection.close()
            self._connection = None

    def _ask(self, ask: wire.Ask) -> wire.Answer:
        connection = self._connect()
        started = time.monotonic_ns()
        stamp = (time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        records = self._call(connection, ask)
        call_ns = time.monotonic_ns() - started
        guests = []
        for domain, params in records:
            shape, values = self._shapes.number(params, internals=ask.internals)
            guests.append(wire.Guest(domain.UUIDString(), domain.name(), domain.ID(), shape, values))
        changes, missed = self._changes.take()
        shapes, forgotten = self._shapes.take()
        notes, self._notes = self._notes, []
        return wire.Answer(Stamp(*stamp, self._boot_id, call_ns), guests, shapes, changes, missed, notes, forgotten)

    def _call(self, connection: Any, ask: wire.Ask) -> list[tuple[Any, dict[str, Value]]]:
        flags = ask.flags & ~self._unknown_flags
        try:
            return self._bulk_call(connection, ask, flags)
        except libvirt.libvirtError as error:
            nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
            if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG or not flags & nowait:
                raise
            # A driver older than the flag (libvirt 4.5) or one that never waits: ask once more without it.
            records = self._bulk_call(connection, ask, flags & ~nowait)
            self._unknown_flags |= nowait
            self._notes.append("this driver does not know the flag NOWAIT; asking without it")
            return records

    def _bulk_call(self, connection: Any, ask: wire.Ask, flags: int) -> list[tuple[Any, dict[str, Value]]]:
        """Make *the* call: all guests in one, or the chosen ones in one."""
        if ask.domains.everything:
            return connection.getAllDomainStats(ask.stats, flags)  # type: ignore[no-any-return]
        active = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        chosen = [domain for domain in active if _chooses(ask.domains, domain.name())]
        if not chosen:  # libvirt refuses an empty list, and no guest is a fine answer
            return []
        # The list call knows none of the list filters: vanished guests are left out by libvirt itself.
        nowait = flags & libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        backing = flags & libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING
        return connection.domainListGetStats(chosen, ask.stats, nowait | backing)  # type: ignore[no-any-return]

    def _describe(self, question: wire.Describe) -> wire.Descriptions:
        connection = self._connect()
        items = []
        for uuid in question.uuids:
            try:
                items.append(wire.Description(uuid, connection.lookupByUUIDString(uuid).XMLDesc(0), None))
            except libvirt.libvirtError as error:
                gone = error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN
                if not gone and not connection.isAlive():
                    raise
                items.append(wire.Description(uuid, None, None if gone else str(error)))
        return wire.Descriptions(items)

    def _failure(self, error: libvirt.libvirtError) -> wire.Failure:
        code = error.get_error_code()
        alive = self._connection is not None and bool(self._connection.isAlive())
        unreachable = not alive or code in _UNREACHABLE_CODES
        if not alive:
            self._drop()
        return wire.Failure(str(error), code if code is not None else 0, unreachable)


def _chooses(globs: wire.Globs, name: str) -> bool:
    included = any(fnmatchcase(name, pattern) for pattern in globs.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in globs.exclude)


def _read_boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs memory
        return file.read().strip()


def _run_events() -> None:
    """Run libvirt's event loop for ever: without it keepalive and events do not work."""
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            time.sleep(0.1)  # poll was interrupted; do not spin if it is for good


def _exit_with_the_agent(channel: socket.socket) -> None:
    """End the process when the agent's end closes, even while the main thread hangs in a call."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def serve(channel: socket.socket, open_connection: Callable[[str], Any]) -> None:
    """Answer the agent's questions until it goes away."""
    stream = channel.makefile("rb")

    def read_message() -> bytes:
        head = stream.read(wire.LENGTH.size)
        if len(head) < wire.LENGTH.size:
            raise EOFError
        return stream.read(wire.LENGTH.unpack(head)[0])

    worker = Worker(wire.open_decoder.decode(read_message()).uri, open_connection)
    while True:
        reply = worker.reply(wire.question_decoder.decode(read_message()))
        channel.sendall(wire.frame(reply))


def main(open_connection: Callable[[str], Any] = libvirt.openReadOnly) -> None:
    """Run as a worker; the one argument is the file descriptor to talk over."""
    spare_collections()
    # libvirt prints every error to stderr unless told otherwise; errors travel as replies.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    channel = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_run_events, name="events", daemon=True).start()
    threading.Thread(target=_exit_with_the_agent, args=(channel,), name="agent-watch", daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the agent is gone or going; so are we
        serve(channel, open_connection)
    os._exit(0)  # no exit handlers: libvirt's could hang on a hung daemon


if __name__ == "__main__":
    main()
