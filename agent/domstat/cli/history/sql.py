"""``domstat history sql``: one query over the store's views."""

from __future__ import annotations

from typing import Annotated

import typer

from domstat.cli.common import ConfigOption, SinceOption, UntilOption
from domstat.cli.history.asking import FormatOption, SinkOption, chosen_format, opened, show
from domstat.cli.history.selection import span


def sql(
    query: Annotated[str, typer.Argument(help="One SQL query over the views samples and rates.")],
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
) -> None:
    """Ask the history one SQL query. Views of samples, rates and roll-ups show what is between --since and --until."""
    shown = span(since, until)
    with opened(config, sink) as history:
        show(history.sql(query, shown), chosen_format(format))
