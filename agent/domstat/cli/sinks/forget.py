"""``domstat sinks forget``: nothing is kept any more for a sink that does not come back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, fail, load_config
from domstat.text import printable


def forget(
    name: Annotated[str, typer.Argument(help="The sink's name.")],
    config: ConfigOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also if the sink is configured: it begins anew then, as its start says.")
    ] = False,
) -> None:
    """Forget how far a sink has come, so that the journal keeps nothing for it any more. The agent must not run."""
    from domstat.deliver.journal import FILE
    from domstat.state import HeldError, StateError, StateLock

    loaded = load_config(config)
    if not loaded.state_dir.is_dir():
        fail(EXIT_TROUBLE, f"{loaded.state_dir}: there is no journal yet")
    is_configured = name in {sink.name for sink in loaded.sinks}
    lock = StateLock(loaded.state_dir)
    try:
        lock.take(root_may=True)
    except HeldError as error:
        fail(EXIT_TROUBLE, f"an agent is running (process {printable(error.holder)}); stop it first")
    except StateError as error:
        fail(EXIT_TROUBLE, str(error))
    try:
        _forget(loaded.state_dir / FILE, name, is_configured=is_configured, yes=yes)
    finally:
        lock.let_go()


def _forget(journal: Path, name: str, *, is_configured: bool, yes: bool) -> None:
    from domstat.deliver.outside import UnusableError, forget, kept_for_sinks

    shown = printable(name)
    try:
        kept = kept_for_sinks(journal)
        if name not in kept:
            there = ", ".join(map(printable, kept)) or "none"
            fail(EXIT_USAGE, f'the journal knows no sink "{shown}" (there are: {there})')
        if is_configured and not yes:
            loses = f"it would never get the {kept[name]} records that are kept for it"
            fail(EXIT_USAGE, f'the sink "{shown}" is configured, and {loses}; say --yes if that is meant')
        forget(journal, name)
    except UnusableError as error:
        fail(EXIT_TROUBLE, str(error))
    typer.echo(f'forgot the sink "{shown}"; {kept[name]} records were kept for it')
