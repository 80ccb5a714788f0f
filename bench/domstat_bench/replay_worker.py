"""The worker of domstat with a fake connection: ``python -m domstat_bench.replay_worker SETTINGS FD``.

SETTINGS is the JSON of :class:`Settings`; everything but the connection is the worker as it is shipped.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from domstat.collect.worker import __main__ as worker
from domstat_bench.measure import pss_kib
from domstat_bench.replay import FakeConnection, Recording


class Settings(Struct, frozen=True):
    """Which recording is multiplied to how many guests, and where the meter and the profile are written.

    *memory* is where it is to say how much memory the fake's guests take, in KiB (PSS).
    """

    recording: str
    guests: int
    meter: str
    profile: str | None = None
    warm_up_ticks: int = 0
    memory: str | None = None


def command(settings: Settings) -> tuple[str, ...]:
    """Return the command that starts such a worker."""
    return (sys.executable, "-P", "-m", __name__, msgspec.json.encode(settings).decode())


def main() -> None:
    """Be a worker; the file descriptor to talk over is the last argument, as it is for the real one."""
    settings = msgspec.json.decode(sys.argv.pop(1), type=Settings)
    before = pss_kib(os.getpid())
    connection = FakeConnection(Recording.load(Path(settings.recording)), settings.guests, Path(settings.meter))
    gc.collect()
    if settings.memory is not None:
        Path(settings.memory).write_text(str(pss_kib(os.getpid()) - before))
    gc.freeze()  # the fake's guests are no part of a worker's memory: its garbage collector shall not walk them
    if settings.profile is not None:
        _profile(Path(settings.profile), settings.warm_up_ticks)
    worker.main(lambda _uri, _writable: (connection, ""))


def _profile(file: Path, warm_up_ticks: int) -> None:
    """Time the worker's functions; it is killed in the end, so what was measured is written after every answer."""
    from domstat_bench.stages import WORKER, Stages, install

    stages = Stages()
    install(stages, WORKER)
    ask = worker.Worker._ask  # noqa: SLF001
    asked = 0

    def counted(self: Any, question: Any) -> Any:
        """Stand in for the generator; what it does while it is gone through falls between two of its calls."""
        nonlocal asked
        asked += 1
        if asked == warm_up_ticks + 1:
            stages.reset()
        elif asked > warm_up_ticks + 1:
            stages.save(file, asked - 1 - warm_up_ticks)
        return ask(self, question)

    worker.Worker._ask = counted  # type: ignore[method-assign, assignment]  # noqa: SLF001


if __name__ == "__main__":
    main()
