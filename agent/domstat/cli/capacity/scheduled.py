"""What the agent asks on a schedule, in a process of its own: the hosts' values on stdout, the page into a file.

So the agent itself never loads what answering takes, and an answer that goes wrong costs it nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from domstat.cli.capacity.asking import Asked
from domstat.cli.capacity.report import report
from domstat.cli.common import ConfigOption, load_config
from domstat.cli.history.asking import Damages, SinkOption, opened


def scheduled(
    html: Annotated[Path | None, typer.Option(help="Write the report into this file too.")] = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
) -> None:
    """Answer for the agent: one JSON object, by host the values of its record."""
    from domstat.capacity import runway, summary, telling
    from domstat.capacity.gather import Figures, Selection

    settings, damages = load_config(config).capacity, Damages()
    with opened(config, sink) as history:
        figures = Figures(history, time.time_ns() // 1_000_000, settings, Selection(), damages.note)
        told = telling.tell(summary.summary(figures), runway.runway(figures)) if figures.fleet.hosts else {}
        if html is not None and figures.fleet.hosts:
            report(Asked(figures), html=html)
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
