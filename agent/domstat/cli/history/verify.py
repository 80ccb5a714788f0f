"""``domstat history verify``: whether all that is stored can be read."""

from __future__ import annotations

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption, fail
from domstat.cli.history.asking import Damages, SinkOption, opened
from domstat.history import HasVerification


def verify(config: ConfigOption = None, sink: SinkOption = None) -> None:
    """Unpack everything that is stored and check every sum and count; also while the agent writes.

    What is damaged is named, and the exit status is 1 then. Everything else can be read all the same.
    """
    damages = Damages()
    with opened(config, sink) as history:
        if not isinstance(history, HasVerification):
            fail(EXIT_TROUBLE, "this history has nothing to verify it by")
        found = history.verify(damages.note)
    typer.echo(f"{found.ticks} ticks, {found.samples} samples, {found.rows} rows: read and right")
    if damages.count:
        raise typer.Exit(EXIT_TROUBLE)
