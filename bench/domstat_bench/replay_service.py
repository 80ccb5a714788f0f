"""The agent over a fake connection: ``python -m domstat_bench.replay_service CONFIG SETTINGS``.

It is what ``domstat run`` does, with another command for the worker (:mod:`domstat_bench.replay_worker`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from domstat import telemetry
from domstat.cli.common import load_config, on_stop_signals
from domstat.line import Line
from domstat.service import Service
from domstat_bench import replay_worker


def main() -> None:
    """Run until told to stop."""
    settings = msgspec.json.decode(sys.argv[2], type=replay_worker.Settings)
    loaded = load_config(Path(sys.argv[1]))
    telemetry.configure(loaded.agent.log_level)
    finish = _profile(Path(settings.profile), settings.warm_up_ticks) if settings.profile else None
    service = Service(loaded, telemetry.get_logger(), worker_command=replay_worker.command(settings))
    on_stop_signals(service.stop)
    service.run()
    if finish:
        finish()


def _profile(file: Path, warm_up_ticks: int) -> Any:
    """Time the agent's functions from the first tick after the warm-up on; return what writes the result."""
    from domstat_bench.stages import AGENT, Stages, install

    stages = Stages()
    install(stages, AGENT)
    tick = Line.run
    begun = 0

    def counted(self: Line, due_ms: int) -> None:
        nonlocal begun
        begun += 1
        if begun == warm_up_ticks + 1:
            stages.reset()
        tick(self, due_ms)

    Line.run = counted  # type: ignore[method-assign]
    return lambda: stages.save(file.with_suffix(".agent"), begun - warm_up_ticks)


if __name__ == "__main__":
    main()
