"""The agent's side of a worker process: ask, wait no longer than the deadline, kill, start another.

A killed worker costs nothing but its start: what is known of guests lives on this side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, TypeVar

import msgspec

from domstat.collect import wire

ReplyT = TypeVar("ReplyT", wire.Answer, wire.Descriptions)

WORKER_COMMAND = (sys.executable, "-P", "-m", "domstat.collect.worker")

STDERR_LINE_MAX = 2_000
"""Characters of one line of a worker's stderr that are logged."""

KILLED_WAIT_S = 1.0
"""How long a killed worker may take to go; one in an uninterruptible sleep goes when it can, and is not waited for."""

LAST_SECOND_S = 0.05
"""What is left to a second question when the first took nearly the whole deadline: enough to fail properly."""


class CollectError(Exception):
    """A tick could not be collected; *reason* is a constant word for counters and gaps."""

    reason = "failed"


class OverdueError(CollectError):
    """No answer before the deadline; the worker was killed."""

    reason = "deadline"


class UnreachableError(CollectError):
    """The hypervisor cannot be reached."""

    reason = "unreachable"


class RefusedError(CollectError):
    """libvirt answered with an error that is not about the connection."""

    reason = "refused"


class WorkerDiedError(CollectError):
    """The worker process ended by itself."""

    reason = "worker-died"


class ClosedError(CollectError):
    """The agent is stopping."""

    reason = "stopping"


class _Process:
    """One worker process and this side's end of the socket pair."""

    def __init__(self, command: tuple[str, ...], uri: str, log: Any) -> None:
        here, there = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.enter_context(here)
            with there:
                self._popen = subprocess.Popen(
                    [*command, str(there.fileno())],
                    pass_fds=(there.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # a Ctrl-C at the terminal is for the agent to handle
                )
            undo.pop_all()
        self.channel = here
        self.pid = self._popen.pid
        self.shapes: dict[int, tuple[str, ...]] = {}
        with contextlib.suppress(OSError):  # it died at once: the first question will tell
            here.sendall(wire.frame(wire.Open(uri)))
        threading.Thread(target=self._log_stderr, args=(log,), name=f"stderr-{self.pid}", daemon=True).start()

    def _log_stderr(self, log: Any) -> None:
        """Pass on what libvirt and its helpers (ssh …) print, so that it neither clutters nor blocks anything."""
        assert self._popen.stderr is not None  # noqa: S101 - it is a pipe, see above
        with self._popen.stderr as stderr:
            while line := stderr.readline(STDERR_LINE_MAX):
                log.debug("worker_said", pid=self.pid, text=line.decode(errors="replace").rstrip())

    def learn(self, answer: wire.Answer) -> dict[int, tuple[str, ...]]:
        """Take an answer's new shapes; return all that it uses."""
        shapes = self.shapes | answer.shapes if answer.shapes else self.shapes
        self.shapes = answer.shapes if answer.forgotten else shapes
        return shapes

    def kill(self) -> None:
        """End the process for good, and everything it started (ssh)."""
        if self._popen.poll() is None:  # once it is reaped, its number may be somebody else's
            with contextlib.suppress(ProcessLookupError):  # another thread was quicker
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(KILLED_WAIT_S)
        # shutdown, not close: another thread may be reading, and must see the end rather than a reused descriptor.
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)


class Hypervisor:
    """One host: a worker process that is asked one question at a time, by whichever thread comes first."""

    def __init__(self, name: str, uri: str, log: Any, command: tuple[str, ...] = WORKER_COMMAND) -> None:
        self.name = name
        self._uri = uri
        self._log = log.bind(host=name)
        self._command = command
        self._turn = threading.Lock()
        self._process: _Process | None = None
        self._closed = False
        self.workers_killed = 0

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        process = self._process
        return process.pid if process else None

    def ask(self, ask: wire.Ask, deadline_at: float) -> tuple[wire.Answer, dict[int, tuple[str, ...]]]:
        """Make one bulk call; return the answer and the parameter names behind its shape numbers.

        *deadline_at* is on the monotonic clock and covers everything, starting a worker and connecting included.
        Raises CollectError.
        """
        reply, shapes = self._converse(ask, wire.Answer, deadline_at)
        for note in reply.notes:
            self._log.warning("driver_note", note=note)
        return reply, shapes

    def describe(self, uuids: tuple[str, ...], deadline_at: float) -> list[wire.Description]:
        """Read the XML of guests; at least a moment is given even if *deadline_at* is near. Raises CollectError."""
        at_least = time.monotonic() + LAST_SECOND_S
        reply, _ = self._converse(wire.Describe(uuids), wire.Descriptions, max(deadline_at, at_least))
        return reply.items

    def close(self) -> None:
        """Stop: kill the worker, whatever it is doing; whoever waits for it gets a ClosedError."""
        self._closed = True
        process = self._process
        if process:
            process.kill()
        # Whoever was asking sees the end of the killed worker, and lets go of it; otherwise that falls to us.
        if self._turn.acquire(timeout=KILLED_WAIT_S):
            try:
                if self._process:
                    self._process.channel.close()
                self._process = None
            finally:
                self._turn.release()

    def _converse(
        self, question: wire.Question, expected: type[ReplyT], deadline_at: float
    ) -> tuple[ReplyT, dict[int, tuple[str, ...]]]:
        """Ask, and return the reply with the shapes that it uses."""
        if not self._turn.acquire(timeout=max(0.0, deadline_at - time.monotonic())):
            raise OverdueError(f"{self.name} was still busy with another collect block")
        try:
            process = self._process or self._start()
            try:
                reply = self._exchange(process, question, expected, deadline_at)
            except CollectError:
                self._replace(process)
                raise
            shapes = process.learn(reply) if isinstance(reply, wire.Answer) else {}
        finally:
            self._turn.release()
        if isinstance(reply, wire.Failure):
            kind = UnreachableError if reply.unreachable else RefusedError
            raise kind(reply.message)
        return reply, shapes

    def _start(self) -> _Process:
        if self._closed:
            raise ClosedError("the agent is stopping")
        try:
            process = self._process = _Process(self._command, self._uri, self._log)
        except OSError as error:  # no memory, no more processes, no descriptors: the next tick tries again
            raise WorkerDiedError(f"no worker process for {self.name} can be started: {error}") from error
        if self._closed:  # close() came between the two lines above and found nothing to kill
            process.kill()
        return process

    def _replace(self, process: _Process) -> None:
        """Kill a worker that did not answer and start the next at once, so that it is ready for the next tick."""
        process.kill()
        process.channel.close()
        self._process = None
        if not self._closed:
            self.workers_killed += 1
            with contextlib.suppress(CollectError):  # the next tick will say so
                self._start()

    def _exchange(
        self, process: _Process, question: wire.Question, expected: type[ReplyT], deadline_at: float
    ) -> ReplyT | wire.Failure:
        try:
            process.channel.settimeout(max(0.001, deadline_at - time.monotonic()))
            process.channel.sendall(wire.frame(question))
            reply = self._read(process.channel, deadline_at)
        except TimeoutError:
            raise OverdueError(f"{self.name} did not answer before the deadline") from None
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            if self._closed:
                raise ClosedError("the agent is stopping") from None
            raise WorkerDiedError(f"the worker process for {self.name} ended: {error}") from error
        if not isinstance(reply, (expected, wire.Failure)):
            raise WorkerDiedError(f"the worker process for {self.name} answered something else")
        return reply

    @staticmethod
    def _read(channel: socket.socket, deadline_at: float) -> wire.Reply:
        length = wire.LENGTH.unpack(_read_exactly(channel, wire.LENGTH.size, deadline_at))[0]
        if length > wire.MESSAGE_BYTES_MAX:
            raise EOFError(f"a reply of {length} bytes is more than any hypervisor has to say")
        reply: wire.Reply = wire.reply_decoder.decode(_read_exactly(channel, length, deadline_at))
        return reply


def _read_exactly(channel: socket.socket, count: int, deadline_at: float) -> bytearray:
    """Read *count* bytes. Raises TimeoutError at the deadline, EOFError when the other end is gone."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        channel.settimeout(max(0.001, deadline_at - time.monotonic()))
        read = channel.recv_into(view)
        if read == 0:
            raise EOFError("it closed its end")
        view = view[read:]
    return buffer
