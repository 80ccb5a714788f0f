"""What a running agent is told: from any thread, and from signal handlers."""

from __future__ import annotations

import contextlib
import os
from enum import Enum
from queue import Empty, SimpleQueue

WAKING_BYTES = 512
"""As many bytes are read off the pipe at once: each says no more than "look", so one reading does for many."""


class Order(Enum):
    """What a running agent can be told."""

    RELOAD = "reload"
    STOP = "stop"


class Orders:
    """A queue of orders whose reader sleeps in a pipe, since a queue alone loses signals.

    Python's handlers run in the main thread between two of its instructions. A signal that comes after the last of
    them and before the thread sleeps in a lock would wake nobody, and its handler would run at the next one: an agent
    told to stop would go on. So the reader sleeps in ``os.read``, and :attr:`wakeup_fd` is for
    ``signal.set_wakeup_fd``, into which the interpreter writes at once, whatever its threads are at.
    """

    def __init__(self) -> None:
        self._given: SimpleQueue[Order] = SimpleQueue()  # the one queue that a handler may use while it interrupts it
        self._woken_fd, self.wakeup_fd = os.pipe()
        os.set_blocking(self.wakeup_fd, False)  # a full pipe wakes as well as a fuller one

    def __del__(self) -> None:  # not before: a number that is closed may be another file by the next order
        os.close(self._woken_fd)
        os.close(self.wakeup_fd)

    def put(self, order: Order) -> None:
        """Give *order*; returns at once."""
        self._given.put(order)
        with contextlib.suppress(BlockingIOError):
            os.write(self.wakeup_fd, b"\0")

    def get(self) -> Order:
        """Wait for the next order, in the order they were given."""
        while True:
            try:
                return self._given.get_nowait()
            except Empty:
                os.read(self._woken_fd, WAKING_BYTES)
