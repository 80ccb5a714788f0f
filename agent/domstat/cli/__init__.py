"""The command line: one module per command."""

from __future__ import annotations

import sys

import typer

from domstat.cli import check, config, history, once, run
from domstat.cli.common import EXIT_TROUBLE, leave

app = typer.Typer(
    name="domstat",
    help="Statistics of libvirt domains: one bulk call per host and tick, true rates, any sink, a local history.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("once")(once.once)
app.command("check")(check.check)
app.command("config")(config.config)
app.add_typer(history.app, name="history")


def main() -> None:
    """Run the command line; what the system refuses is a line, not a traceback."""
    try:
        app()
    except BrokenPipeError:
        leave(0)  # whoever read our output has seen enough
    except OSError as error:
        print(f"domstat: {error.strerror or error}", file=sys.stderr)  # noqa: T201 - what went wrong, to the person
        leave(EXIT_TROUBLE)
