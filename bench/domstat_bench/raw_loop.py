"""The yardstick: libvirt's bulk call in a bare Python loop, in a process of its own.

``python -m domstat_bench.raw_loop URI`` makes one call per line on standard input, for the same groups and with the
same flags as domstat's plan "default", and answers with a line of JSON. Its CPU time is taken around the call and the
release of what it returned, so neither the reading of lines nor the start of the process is in it. No event loop, no
rates, no sink: nobody can collect these statistics from Python for less.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

GROUPS_ASKED = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")
"""What domstat asks for when nothing else is configured."""


class Call(Struct, frozen=True):
    """One call: its CPU time in this process, how long it took, and what it brought."""

    cpu_ns: int
    wall_ns: int
    guests: int
    params: int


class RawLoop:
    """The loop, run from outside."""

    def __init__(self, uri: str) -> None:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-P", "-m", __name__, uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def call(self) -> Call:
        """Have one call made."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Call(**json.loads(self._process.stdout.readline()))


def _serve(uri: str) -> None:
    import libvirt

    from domstat.catalog import GROUPS
    from domstat.collect.block import ACTIVE, NOWAIT

    stats = sum(GROUPS[group] for group in GROUPS_ASKED)
    connection = libvirt.openReadOnly(uri)
    gc.collect()
    for _ in sys.stdin:
        print(json.dumps(_call(connection, stats, ACTIVE | NOWAIT)), flush=True)


def _call(connection: Any, stats: int, flags: int) -> dict[str, int]:
    began, cpu_began = time.monotonic_ns(), time.process_time_ns()
    answer = connection.getAllDomainStats(stats, flags)
    looked, cpu_looked = time.monotonic_ns(), time.process_time_ns()
    guests, params = len(answer), sum(len(values) for _, values in answer)
    cpu_counted = time.process_time_ns()
    del answer
    cpu_ns = time.process_time_ns() - cpu_counted + cpu_looked - cpu_began
    return {"cpu_ns": cpu_ns, "wall_ns": looked - began, "guests": guests, "params": params}


if __name__ == "__main__":
    _serve(sys.argv[1])
