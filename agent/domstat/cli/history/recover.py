"""``domstat history recover``: what a damaged file still holds, in a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption, fail, load_config, say
from domstat.cli.history.asking import Damages, SinkOption, chosen_sink
from domstat.history import HasRecovery, HistoryError, Recovered
from domstat.text import printable

_MESSAGE_MAX = 500


def recover(
    file: Annotated[Path, typer.Argument(help="The damaged file; it is only read. Its WAL is taken too.")],
    target: Annotated[Path, typer.Argument(help="The new file; one that is there is left alone.")],
    config: ConfigOption = None,
    sink: SinkOption = None,
) -> None:
    """Save what a damaged file of the history still holds into a new one, which an agent can go on with.

    Says how many rows of each table there are, what is lost, and from when to when. The exit code is 1 if anything is.
    """
    chosen = chosen_sink(load_config(config).sinks, sink)
    if not isinstance(chosen.sink, HasRecovery):
        fail(EXIT_TROUBLE, f'the history of the sink "{chosen.name}" cannot be recovered')
    taker: Any = chosen.sink
    lost = Damages()
    try:
        found: Recovered = taker.recover(file, target, lambda what: lost.note(f"lost: {what}"))
    except HistoryError as error:
        fail(EXIT_TROUBLE, printable(str(error), _MESSAGE_MAX))
    _show(found)
    say(f"{printable(str(target))} is what could be saved; to go on with it, put it in the place of the damaged file")
    if lost.count or found.unsound:
        raise typer.Exit(EXIT_TROUBLE)


def _show(found: Recovered) -> None:
    for saved in found.tables:
        dropped = f", {saved.dropped} dropped that belong to nothing any more" if saved.dropped else ""
        typer.echo(f"{saved.table}: {saved.rows} rows{dropped}")
    counted = found.verified
    typer.echo(f"{counted.ticks} ticks, {counted.samples} samples, {counted.rows} rows: read and right")
    if found.unsound:
        typer.echo(f"{len(found.unsound)} chunks or rows are missing or damaged; domstat history verify names them")
