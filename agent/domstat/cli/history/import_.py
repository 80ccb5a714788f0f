"""``domstat history import``: what was collected long ago, into the history."""

from __future__ import annotations

from typing import Annotated

import typer

from domstat.cli.common import (
    EXIT_TROUBLE,
    EXIT_USAGE,
    ConfigOption,
    SinceOption,
    UntilOption,
    fail,
    leave,
    load_config,
)
from domstat.cli.delivering import Manner, Work, file_opener, wanted_span
from domstat.cli.history.asking import SinkOption, chosen_sink
from domstat.garbage import spare_collections
from domstat.history import HasImport
from domstat.jsonlines import SampleReader

BATCHES_MAX = 1_000
"""Ticks in one write: of few guests, that is; of many there are no more than so many records."""


def import_(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="JSON lines, or dead letters; - for standard input.")
    ],
    since: SinceOption = None,
    until: UntilOption = None,
    host: Annotated[list[str] | None, typer.Option(help="Only this host's; may be repeated.")] = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
) -> None:
    """Put JSON lines into the history; no agent may be writing it.

    What is there already stays as it is: an import that was interrupted is begun anew, and repeats nothing. The exit
    code is 1 if anything was left out.
    """
    from domstat import telemetry

    loaded = load_config(config)
    chosen = chosen_sink(loaded.sinks, sink)
    if not isinstance(chosen.sink, HasImport):
        fail(EXIT_TROUBLE, f'the history of the sink "{chosen.name}" takes no imports; domstat replay may do')
    if files.count("-") > 1:
        fail(EXIT_USAGE, "standard input can be read only once")
    decode = SampleReader().decode
    sources = [(file, file_opener(file, decode)) for file in files]
    span = wanted_span(since, until, host)
    telemetry.configure("warning")
    spare_collections()
    manner = Manner("imported", BATCHES_MAX, in_bulk=True)
    leave(Work(chosen, loaded.state_dir, span, manner).run(sources))
