"""Guests that hang: their QEMU is stopped, so that nothing that asks its monitor gets an answer."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from domstat_lab import processes
from domstat_lab.errors import LabError
from domstat_lab.libvirtd import PrivateLibvirtd

STOP_TIMEOUT_S = 30.0  # seconds until a process has seen SIGSTOP: milliseconds, unless its processor is very busy


@contextmanager
def hung(lab: PrivateLibvirtd, names: Iterable[str]) -> Iterator[None]:
    """Make guests hang for as long as the context lasts."""
    stopped = list(names)
    try:
        sigstop(lab, stopped)
        yield
    finally:
        sigcont(lab, stopped)


def sigstop(lab: PrivateLibvirtd, names: Iterable[str]) -> None:
    """Make guests hang, all within a millisecond; return when all their threads stand."""
    running = lab.qemu_pids()
    wanted = set(names)
    if lacking := wanted - running.keys():
        raise LabError(f"no QEMU process of {', '.join(sorted(lacking))}: are these guests running?")
    for name in wanted:
        os.kill(running[name], signal.SIGSTOP)
    processes.wait_until(
        lambda: all(processes.is_stopped(running[name]) for name in wanted),
        timeout_s=STOP_TIMEOUT_S,
        otherwise="not all of the guests stand",
    )


def sigcont(lab: PrivateLibvirtd, names: Iterable[str]) -> None:
    """Let hanging guests go on; one that is gone meanwhile is as good."""
    running = lab.qemu_pids()
    for name in names:
        if name in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running[name], signal.SIGCONT)
