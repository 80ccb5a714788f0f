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
from typing import Any

import msgspec

from domstat.collect import wire

WORKER_COMMAND = (sys.executable, "-P", "-m", "domstat.collect.worker")

STDERR_LINE_MAX = 2_000
"""Characters of one line of a worker's stderr that are logged."""

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
        with there:
            self._popen = subprocess.Popen(
                [*command, str(there.fileno())],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C at the terminal is for the agent to handle
            )
        self.channel = here
        self.pid = self._popen.pid
        self.shapes: dict[int, tuple[str, ...]] = {}
        here.sendall(wire.frame(wire.Open(uri)))
        threading.Thread(target=self._log_stderr, args=(log,), name=f"stderr-{self.pid}", daemon=True).start()

    def _log_stderr(self, log: Any) -> None:
        """Pass on what libvirt and its helpers (ssh …) print, so that it neither clutters nor blocks anything."""
        assert self._popen.stderr is not None  # noqa: S101 - it is a pipe, see above
        with self._popen.stderr as stderr:
            while line := stderr.readline(STDERR_LINE_MAX):
                log.debug("worker_said", pid=self.pid, text=line.decode(errors="replace").rstrip())

    def kill(self) -> None:
        """End the process for good, and everything it started (ssh)."""
        if self._popen.poll() is None:  # once it is reaped, its number may be somebody else's
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
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
        reply, process = self._converse(ask, deadline_at)
        assert isinstance(reply, wire.Answer)  # noqa: S101 - the worker's protocol
        process.shapes.update(reply.shapes)
        for note in reply.notes:
            self._log.warning("driver_note", note=note)
        return reply, process.shapes

    def describe(self, uuids: tuple[str, ...], deadline_at: float) -> list[wire.Description]:
        """Read the XML of guests; at least a moment is given even if *deadline_at* is near. Raises CollectError."""
        reply, _ = self._converse(wire.Describe(uuids), max(deadline_at, time.monotonic() + LAST_SECOND_S))
        assert isinstance(reply, wire.Descriptions)  # noqa: S101 - the worker's protocol
        return reply.items

    def close(self) -> None:
        """Stop: kill the worker, whatever it is doing; whoever waits for it gets a ClosedError."""
        self._closed = True
        process = self._process
        if process:
            process.kill()

    def _converse(self, question: wire.Question, deadline_at: float) -> tuple[wire.Reply, _Process]:
        if not self._turn.acquire(timeout=max(0.0, deadline_at - time.monotonic())):
            raise OverdueError(f"{self.name} was still busy with another collect block")
        try:
            process = self._process or self._start()
            try:
                reply = self._exchange(process, question, deadline_at)
            except CollectError:
                self._replace(process)
                raise
        finally:
            self._turn.release()
        if isinstance(reply, wire.Failure):
            kind = UnreachableError if reply.unreachable else RefusedError
            raise kind(reply.message)
        return reply, process

    def _start(self) -> _Process:
        if self._closed:
            raise ClosedError("the agent is stopping")
        process = self._process = _Process(self._command, self._uri, self._log)
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
            self._start()

    def _exchange(self, process: _Process, question: wire.Question, deadline_at: float) -> wire.Reply:
        try:
            process.channel.settimeout(max(0.001, deadline_at - time.monotonic()))
            process.channel.sendall(wire.frame(question))
            reply = self._read(process.channel, deadline_at)
        except TimeoutError:
            raise OverdueError(f"{self.name} did not answer before the deadline") from None
        except (OSError, EOFError, msgspec.DecodeError) as error:
            if self._closed:
                raise ClosedError("the agent is stopping") from None
            raise WorkerDiedError(f"the worker process for {self.name} ended: {error}") from error
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
