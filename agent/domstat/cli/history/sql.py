"""``domstat history sql``: one query over the store's views."""

from __future__ import annotations

from typing import Annotated

import typer

from domstat.cli.common import ConfigOption
from domstat.cli.history.asking import FormatOption, SinkOption, chosen_format, opened, show


def sql(
    query: Annotated[str, typer.Argument(help="One SQL query over the views samples and rates.")],
    config: ConfigOption = None,
    sink: SinkOption = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
) -> None:
    """Ask the history one SQL query."""
    with opened(config, sink) as history:
        show(history.sql(query), chosen_format(format))
