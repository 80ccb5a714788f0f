"""A process that dies while its sink writes, as agents do when the power fails or somebody kills them."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, overload

from domstat.model import Batch
from domstat.testing.rig import fail

HANGS_AFTER_S = 60
"""A process that has not died by then hangs."""

DIED = 9
FAILED = 1
"""How it ended: as it should, or with an error of the sink's."""

WORDS_MAX = 1000
"""Bytes that it says of such an error: a pipe has room for them, whoever reads or not."""


class Deadly(Sequence[Batch]):
    """Batches of which whoever looks at those from *safe* on dies on the spot."""

    def __init__(self, batches: Sequence[Batch], safe: int) -> None:
        self._batches = batches
        self._safe = safe

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, at: int) -> Batch: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...
    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if self._safe <= place < len(self):
            die()
        return self._batches[place]

    def __iter__(self) -> Iterator[Batch]:
        for place in range(len(self)):
            yield self[place]


def die() -> NoReturn:
    """End the process at once: nothing is closed, nothing is flushed."""
    os._exit(DIED)


def in_a_process_that_dies(action: Callable[[], object]) -> None:
    """Do *action* in a copy of this process, which dies with it at the latest, and wait for that.

    Fails if *action* raises, or if the process hangs.
    """
    heard, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads do not live on in it, which is as it should
        pid = os.fork()
    if pid == 0:
        _do_and_die(action, tell)
    os.close(tell)
    try:
        _, status = os.waitpid(pid, 0)
        os.set_blocking(heard, False)
        said = os.read(heard, WORDS_MAX) if os.WIFEXITED(status) and os.WEXITSTATUS(status) == FAILED else b""
    finally:
        os.close(heard)
    if os.WIFSIGNALED(status):
        fail(f"a process with the sink was ended by signal {os.WTERMSIG(status)} (14 after {HANGS_AFTER_S} s: it hung)")
    if os.WEXITSTATUS(status) != DIED:
        fail(f"in a process of its own that wrote some batches the sink raised {said.decode(errors='replace')}")


def _do_and_die(action: Callable[[], object], tell: int) -> NoReturn:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(HANGS_AFTER_S)
    try:
        action()
    except BaseException as error:  # noqa: BLE001 - nothing may leave this process but its end
        os.write(tell, repr(error).encode(errors="replace")[:WORDS_MAX])
        os._exit(FAILED)
    die()
