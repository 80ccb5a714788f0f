"""``domstat history snapshot``: a copy of the history, made while it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption, fail, say
from domstat.cli.history.asking import SinkOption, opened
from domstat.history import HasSnapshots
from domstat.text import printable, size


def snapshot(
    file: Annotated[Path, typer.Argument(help="The new file; one that is there is left alone.")],
    config: ConfigOption = None,
    sink: SinkOption = None,
) -> None:
    """Copy the history as it is at this moment into a new file, also while the agent writes it.

    Only you can read the file; give it to whom you like. Any domstat reads it, as does any SQLite.
    """
    with opened(config, sink) as history:
        if not isinstance(history, HasSnapshots):
            fail(EXIT_TROUBLE, "this history cannot be copied while it is written")
        copied = history.snapshot(file)
    say(f"{printable(str(file))}: {size(copied)}")
