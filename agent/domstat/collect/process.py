"""One worker process as the agent sees it: started, asked, heard, killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from domstat.collect import wire
from domstat.collect.errors import ClosedError, WorkerDiedError

WORKER_COMMAND = (sys.executable, "-I" if sys.flags.isolated else "-P", "-m", "domstat.collect.worker")
"""Never from the current directory; and where the agent itself does not heed PYTHONPATH, as the package's, not from
that either."""

_SECRET_VARIABLE = re.compile(r"SECRET|PASSW|PASSPHRASE|TOKEN|CREDENTIAL|PGPASS|(^|_)(API)?KEY(_|$)", re.IGNORECASE)
"""Names of variables that are a sink's business, if anybody's: a worker reads what strangers wrote."""

STDERR_LINE_MAX = 2_000
"""Characters of one line of a worker's stderr that are logged."""

SEND_TIMEOUT = struct.pack("ll", 5, 0)
"""A worker that has not read a question after 5 s reads none any more: as a timeval, the kernel's form."""

LAST_WORDS_S = 0.2
"""How long what a worker that has ended printed is waited for; its ssh may keep the pipe open for longer."""

KILLED_WAIT_S = 1.0
"""How long a killed worker may take to go; one in an uninterruptible sleep goes when it can, and is not waited for."""


class Mailbox:
    """Where the replies to one question arrive."""

    def __init__(self, process: WorkerProcess, number: int) -> None:
        self._process = process
        self.number = number
        self.raw: SimpleQueue[bytearray | None] = SimpleQueue()
        """Replies as they came; None when the process has ended."""

    def get(self, timeout_s: float) -> wire.Reply | None:
        """Return the next reply, None if there is none in time. Raises WorkerDiedError, ClosedError."""
        try:
            raw = self.raw.get(timeout=max(0.0, timeout_s))
        except Empty:
            return None
        if raw is None:
            self.raw.put(None)  # the end stays the end
            raise self._process.why_ended()
        try:
            reply: wire.Reply = wire.reply_decoder.decode(raw)
        except (ValueError, msgspec.MsgspecError) as error:
            raise WorkerDiedError(f"the worker process {self._process.pid} speaks nonsense: {error}") from error
        return reply

    def get_until(self, deadline_at: float) -> wire.Reply | None:
        """Like :meth:`get`, until a moment of the monotonic clock."""
        return self.get(deadline_at - time.monotonic())

    def close(self) -> None:
        """Say that nobody waits any more."""
        self._process.forget(self.number)


class WorkerProcess:
    """A running worker and this side's end of the socket pair; a thread of its own reads what it says."""

    def __init__(
        self, command: tuple[str, ...], opened: wire.Open, log: Any, on_happened: Callable[[wire.Happened], None]
    ) -> None:
        """Start a worker. Raises OSError: no memory, no more processes, no descriptors."""
        self._log = log
        self._on_happened = on_happened
        here, there = socket.socketpair()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_TIMEOUT)
        with contextlib.ExitStack() as undo:
            undo.enter_context(here)
            with there:
                self._popen = subprocess.Popen(
                    [*command, str(there.fileno())],
                    pass_fds=(there.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment_of_worker(os.environ),
                    start_new_session=True,  # a Ctrl-C at the terminal is for the agent to handle
                )
            undo.pop_all()
        self._channel = here
        self.pid = self._popen.pid
        self.shapes: dict[int, tuple[str, ...]] = {}
        self._mail: dict[int, Mailbox] = {}
        self._last_number = wire.UNASKED
        self._lock = threading.Lock()
        self._end: str | None = None
        """Why nothing will be heard any more, None while the worker talks."""
        self._closing = False
        with contextlib.suppress(OSError):  # it died at once: the first question will tell
            here.sendall(wire.frame(opened))
        self._last_line = ""
        """What it printed last: of a traceback, what is wrong."""
        self._listening = threading.Thread(target=self._log_stderr, name=f"stderr-{self.pid}", daemon=True)
        self._listening.start()
        threading.Thread(target=self._read, name=f"worker-{self.pid}", daemon=True).start()

    @property
    def has_ended(self) -> bool:
        """Whether the worker can answer no more."""
        return self._end is not None

    def ask(self, question: wire.Question) -> Mailbox:
        """Send a question; its replies come into the mailbox returned, which the caller closes."""
        with self._lock:
            self._last_number += 1
            mailbox = self._mail[self._last_number] = Mailbox(self, self._last_number)
            if self._end is not None:
                mailbox.raw.put(None)
                return mailbox
            # It is ending, and the reader is about to say so; or it reads no more, and the answer will be overdue.
            with contextlib.suppress(OSError):
                self._channel.sendall(wire.frame(question, mailbox.number))
        return mailbox

    def forget(self, number: int) -> None:
        """Drop a mailbox; what still comes for it is thrown away."""
        with self._lock:
            self._mail.pop(number, None)

    def why_ended(self) -> WorkerDiedError | ClosedError:
        """Make the error for whoever still waits."""
        if self._closing:
            return ClosedError("the agent is stopping")
        return WorkerDiedError(f"the worker process {self.pid} ended: {self._end}")

    def learn(self, answer: wire.Answer) -> dict[int, tuple[str, ...]]:
        """Take an answer's new shapes; return all that it uses."""
        shapes = self.shapes | answer.shapes if answer.shapes else self.shapes
        self.shapes = answer.shapes if answer.forgotten else shapes
        return shapes

    def kill(self, *, closing: bool = False) -> None:
        """End the process for good, and everything it started (ssh); *closing* says that the agent is stopping."""
        self._closing = self._closing or closing
        if self._popen.poll() is None:  # once it is reaped, its number may be somebody else's
            with contextlib.suppress(ProcessLookupError):  # another thread was quicker
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(KILLED_WAIT_S)
        # shutdown, not close: the reader must see the end rather than a reused descriptor, and closes it then.
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        """Hand out what the worker says, until it ends."""
        end = "what it said could not be taken"
        try:
            while True:
                self._hand_out(*self._read_message())
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            end = str(error) or type(error).__name__
        finally:  # whatever happened, whoever waits must not wait for ever
            self._listening.join(LAST_WORDS_S)
            with self._lock:
                self._end = f"{end}; it said last: {self._last_line}" if self._last_line else end
                for mailbox in self._mail.values():
                    mailbox.raw.put(None)
            self._channel.close()

    def _hand_out(self, raw: bytearray, number: int) -> None:
        if number == wire.UNASKED:
            happened = wire.reply_decoder.decode(raw)
            if isinstance(happened, wire.Happened):
                self._on_happened(happened)
            return
        with self._lock:
            mailbox = self._mail.get(number)
        if mailbox is not None:
            mailbox.raw.put(raw)

    def _read_message(self) -> tuple[bytearray, int]:
        length, number = wire.HEADER.unpack(_read_exactly(self._channel, wire.HEADER.size))
        if length > wire.MESSAGE_BYTES_MAX:
            raise EOFError(f"a reply of {length} bytes is more than any hypervisor has to say")
        return _read_exactly(self._channel, length), number

    def _log_stderr(self) -> None:
        """Pass on what libvirt and its helpers (ssh …) print, so that it neither clutters nor blocks anything."""
        assert self._popen.stderr is not None  # noqa: S101 - it is a pipe, see above
        with self._popen.stderr as stderr:
            while line := stderr.readline(STDERR_LINE_MAX):
                text = line.decode(errors="replace").rstrip()
                self._last_line = text or self._last_line
                self._log.debug("worker_said", pid=self.pid, text=text)


def environment_of_worker(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker is started with: all that ssh, Kerberos and libvirt look for, and no secret."""
    return {name: value for name, value in environ.items() if not _SECRET_VARIABLE.search(name)}


def _read_exactly(channel: socket.socket, count: int) -> bytearray:
    """Read *count* bytes. Raises EOFError when the other end is gone."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        read = channel.recv_into(view)
        if read == 0:
            raise EOFError("it closed its end")
        view = view[read:]
    return buffer
