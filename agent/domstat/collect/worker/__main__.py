"""The worker: one process per host that holds the libvirt connection and makes the calls.

It is a process of its own because a libvirt call can hang for ever and cannot be cancelled: the agent looks, by a
second question, what it hangs in, kills the worker if need be and starts another. It imports as little as it can,
since one stands beside every agent for years. The connection is read-only; nothing here changes a guest or a host.

Started by :mod:`domstat.collect.process` as ``python -m domstat.collect.worker FD``, FD being its end of a socket
pair; see :mod:`domstat.collect.wire` for what is said over it. The main thread makes one call after the other, and runs
libvirt's event loop in between; a second reads XML, a third hears the questions and looks: it answers whatever the
others hang in.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import libvirt

from domstat.collect import wire
from domstat.collect.worker import connection as connecting
from domstat.collect.worker import roster
from domstat.collect.worker.calls import BulkCalls
from domstat.collect.worker.host import Host
from domstat.collect.worker.listening import Listener
from domstat.garbage import spare_collections

_UNREACHABLE_CODES = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_INTERNAL_ERROR,  # "client socket is closed"
    libvirt.VIR_ERR_SYSTEM_ERROR,  # "Failed to connect socket", "Broken pipe"
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_AUTH_FAILED,
}

RECONNECT_S = 0.5
"""A daemon that is restarted, as for an upgrade, is back after this long."""

OCCUPIED = libvirt.VIR_DOMAIN_CONTROL_OCCUPIED


class Worker:
    """Answers questions about one hypervisor; see :meth:`replies` for which thread asks what."""

    def __init__(
        self, opened: wire.Open, open_connection: Callable[[str, bool], tuple[Any, str]], tell: Callable[..., None]
    ) -> None:
        self._uri = opened.uri
        self._writable = opened.writable
        self._open_connection = open_connection
        self._connecting = threading.Lock()
        self._connection: Any = None
        self._host: Host | None = None
        self._listener = Listener(tell)
        self._calls = BulkCalls(self._listener.drain, self._connect_aside)
        self._calling = False
        self._aside: dict[str, Any] = {}
        """Connections for what must not wait for the call that is being made, by what they are for."""
        self._meter: Any = None

    def replies(self, question: wire.Question) -> Iterator[wire.Reply]:
        """Answer one question; libvirt's refusals are answers too."""
        try:
            match question:
                case wire.Ask():
                    yield from self._ask(question)
                case wire.Describe():
                    yield self._describe(question)
                case wire.Look():
                    yield self._look()
                case wire.Survey():
                    from domstat.collect.worker.surveying import survey

                    yield survey(self._connect(), question, connecting.is_local(self._uri))
                case wire.Examine():
                    from domstat.collect.worker.abilities import examine

                    yield examine(self._connect(), self._uri)
        except libvirt.libvirtError as error:
            yield self._failure(error)

    def _connect(self) -> Any:
        with self._connecting:
            if self._connection is None or not self._connection.isAlive():
                self._drop()
                connection, note = self._open_connection(self._uri, self._writable)
                connecting.keep_alive(connection)  # may fail, and before any callback keeps the connection open
                if note:
                    self._calls.note(note)
                self._listener.register(connection)
                with suppress(libvirt.libvirtError):  # an in-process driver has nothing that could close
                    connection.registerCloseCallback(self._on_closed, None)
                self._host = Host(connection, self._uri)
                self._connection = connection
            return self._connection

    def _on_closed(self, _connection: Any, _reason: int, _opaque: Any) -> None:
        """Try once to be there when the daemon is back, so that few events are missed until the next tick."""
        threading.Thread(target=self._reconnect, name="reconnect", daemon=True).start()

    def _reconnect(self) -> None:
        time.sleep(RECONNECT_S)
        with suppress(libvirt.libvirtError):  # the next question will say so
            self._connect()

    def _drop(self) -> None:
        if self._connection is not None:
            self._listener.release(self._connection)
            for let_go in (self._connection.unregisterCloseCallback, self._connection.close):
                with suppress(libvirt.libvirtError):  # already gone, which is what was wanted
                    let_go()
            self._connection = None

    def _connect_aside(self) -> Any:
        """Make one more connection: while a call hangs, the replies to others on its connection are noticed late."""
        connection, _ = self._open_connection(self._uri, False)  # noqa: FBT003 - one of Open's fields
        connecting.keep_alive(connection)
        return connection

    def _beside_the_call(self, purpose: str) -> Any:
        """Return the connection that serves *purpose* beside the one that calls are made on."""
        connection = self._aside.get(purpose)
        if connection is None or not connection.isAlive():
            connection = self._aside[purpose] = self._connect_aside()
        return connection

    def _ask(self, ask: wire.Ask) -> Iterator[wire.Answer]:
        self._calling = True
        try:
            yield from self._call(self._connect(), ask)
        finally:
            self._calling = False

    def _call(self, connection: Any, ask: wire.Ask) -> Iterator[wire.Answer]:
        occupied = _occupied(map(connection.lookupByUUIDString, ask.watch))
        sample = self._host.sample() if ask.host and self._host is not None else None
        if ask.cost:
            self._begin_to_measure(connection)
        for first, answer in enumerate(self._calls.answers(connection, ask)):
            if not first:
                answer = _with(answer, occupied=occupied, host=sample)  # noqa: PLW2901 - the same, completed
            if ask.cost and not answer.more:
                answer = _with(answer, cost=self._meter.end())  # noqa: PLW2901
            yield answer

    def _begin_to_measure(self, connection: Any) -> None:
        from domstat.collect.worker.cost import Meter

        if self._meter is None:
            self._meter = Meter(connecting.daemon_pid)
        self._meter.begin([domain.UUIDString() for domain in roster.active(connection, wire.ALL)])

    def _describe(self, question: wire.Describe) -> wire.Descriptions:
        connection = self._beside_the_call("xml") if self._calling else self._connect()
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

    def _look(self) -> wire.Looked:
        """Look at what the guests are occupied with; never connects, and asks nothing that a guest could hold up."""
        if self._connection is None:
            return wire.Looked([], connected=False)
        try:
            connection = self._beside_the_call("look")
            return wire.Looked(_occupied(roster.active(connection, wire.ALL)), connected=True)
        except libvirt.libvirtError as error:
            unable = error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT
            return wire.Looked([], connected=True, can_tell=not unable)

    def _failure(self, error: libvirt.libvirtError) -> wire.Failure:
        code = error.get_error_code()
        with self._connecting:
            alive = self._connection is not None and bool(self._connection.isAlive())
            if not alive:
                self._drop()
            too_much = alive and roster.is_ceiling(self._connection, error)
        unreachable = not alive or (code in _UNREACHABLE_CODES and not too_much)
        return wire.Failure(str(error), code if code is not None else 0, unreachable)


def _with(answer: wire.Answer, **changes: Any) -> wire.Answer:
    from msgspec.structs import replace

    return replace(answer, **changes)


def _occupied(domains: Iterator[Any] | list[Any]) -> list[wire.Occupied]:
    """Find out which guests somebody's monitor command is in. Raises libvirtError if the driver cannot tell."""
    found: list[wire.Occupied] = []
    guests = iter(domains)
    while True:
        try:
            domain = next(guests)
            state, _, ms = domain.controlInfo()
        except StopIteration:
            return found
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                raise
            continue  # the guest went away, which is one way of not being occupied
        if state == OCCUPIED:
            found.append(wire.Occupied(domain.UUIDString(), domain.name(), int(ms)))


class Calls:
    """Questions for the main thread, which runs libvirt's event loop until there is one.

    Without the loop neither keepalive nor events work. In a thread of its own it would be woken a dozen times by every
    call that another thread makes (libvirt 9.0), which costs more than what is done with the answer.
    """

    def __init__(self) -> None:
        self._questions: SimpleQueue[tuple[wire.Question, int] | None] = SimpleQueue()
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        libvirt.virEventAddHandle(self._bell, libvirt.VIR_EVENT_HANDLE_READABLE, self._hear_the_bell, None)

    def put(self, question: tuple[wire.Question, int] | None) -> None:
        """Have a question answered when its turn comes; None ends the waiting."""
        self._questions.put(question)
        os.write(self._ring, b"!")

    def get(self) -> tuple[wire.Question, int] | None:
        """Run the event loop until there is a question."""
        while self._questions.empty():
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError:
                time.sleep(0.1)  # poll was interrupted; do not spin if it is for good
        return self._questions.get()

    def _hear_the_bell(self, _watch: int, fd: int, _events: int, _opaque: Any) -> None:
        os.read(fd, 512)


def _exit_with_the_agent(channel: socket.socket) -> None:
    """End the process when the agent's end closes, even while a thread hangs in a call."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


class Channel:
    """The socket to the agent: read by one thread, written by any."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._stream = channel.makefile("rb")
        self._writing = threading.Lock()

    def read(self) -> tuple[bytes, int]:
        """Return the next message, and its number. Raises EOFError or ConnectionResetError when the agent is gone."""
        head = self._stream.read(wire.HEADER.size)
        if len(head) < wire.HEADER.size:
            raise EOFError
        length, number = wire.HEADER.unpack(head)
        return self._stream.read(length), number

    def say(self, message: wire.Reply, number: int = wire.UNASKED) -> None:
        """Send one message; an agent that is gone or going hears nothing more."""
        framed = wire.frame(message, number)
        with self._writing, suppress(BrokenPipeError, ConnectionResetError):
            self._channel.sendall(framed)


class Lane:
    """A thread that answers questions one after the other, started with the first."""

    def __init__(self, name: str, answer: Callable[[wire.Question, int], None]) -> None:
        self._name = name
        self._answer = answer
        self._questions: SimpleQueue[tuple[wire.Question, int]] | None = None

    def put(self, question: wire.Question, number: int) -> None:
        """Have a question answered when its turn comes; the agent asks few at a time, so none is refused."""
        if self._questions is None:
            self._questions = SimpleQueue()
            threading.Thread(target=self._run, args=(self._questions,), name=self._name, daemon=True).start()
        self._questions.put((question, number))

    def _run(self, questions: SimpleQueue[tuple[wire.Question, int]]) -> None:
        while True:
            self._answer(*questions.get())


def serve(channel: Channel, open_connection: Callable[[str, bool], tuple[Any, str]]) -> None:
    """Answer the agent's questions until it goes away. Calls are made by the thread this is called in."""
    worker = Worker(wire.open_decoder.decode(channel.read()[0]), open_connection, channel.say)
    calls = Calls()

    def answer(question: wire.Question, number: int) -> None:
        for reply in worker.replies(question):
            channel.say(reply, number)

    def hear() -> None:
        descriptions = Lane("descriptions", answer)
        with suppress(EOFError, ConnectionResetError):  # the agent is gone; so are we
            while True:
                message, number = channel.read()
                question = wire.question_decoder.decode(message)
                match question:
                    case wire.Look():
                        answer(question, number)
                    case wire.Describe():
                        descriptions.put(question, number)
                    case _:
                        calls.put((question, number))
        calls.put(None)

    threading.Thread(target=hear, name="hear", daemon=True).start()
    while (asked := calls.get()) is not None:
        answer(*asked)


def _end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Say what is wrong, and end: a thread that died would be waited for in vain."""
    sys.__excepthook__(kind, error or kind(), trace)
    os._exit(70)


def main(open_connection: Callable[[str, bool], tuple[Any, str]] = connecting.open_connection) -> None:
    """Run as a worker; the one argument is the file descriptor to talk over."""
    spare_collections()
    sys.excepthook = _end
    threading.excepthook = lambda args: _end(args.exc_type, args.exc_value, args.exc_traceback)
    # libvirt prints every error to stderr unless told otherwise; errors travel as replies.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    channel = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_exit_with_the_agent, args=(channel,), name="agent-watch", daemon=True).start()
    with suppress(EOFError, ConnectionResetError):  # the agent was gone before it said anything
        serve(Channel(channel), open_connection)
    os._exit(0)  # no exit handlers: libvirt's could hang on a hung daemon


if __name__ == "__main__":
    main()
