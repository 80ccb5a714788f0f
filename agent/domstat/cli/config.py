"""``domstat config``: the commented reference."""

from __future__ import annotations

import typer


def config() -> None:
    """Print every setting with its default and its reason, as a configuration file."""
    from domstat.reference import render

    typer.echo(render(), nl=False)
