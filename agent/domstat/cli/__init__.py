"""The command line: one module per command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from copy import copy
from typing import Annotated, NoReturn

import typer

from domstat.cli import capacity, check, config, doctor, history, once, reload, replay, run, sinks, status, top
from domstat.cli.common import EXIT_TROUBLE, leave, say

app = typer.Typer(
    name="domstat",
    help="Statistics of libvirt domains: one bulk call per host and tick, true rates, any sink, a local history.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from domstat import __version__

        typer.echo(f"domstat {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None: ...


app.command("run")(run.run)
app.command("once")(once.once)
app.command("check")(check.check)
app.command("config")(config.config)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("top")(top.top)
app.command("reload")(reload.reload)
app.command("replay")(replay.replay)
app.add_typer(history.app, name="history")
app.add_typer(capacity.app, name="capacity")
app.add_typer(sinks.app, name="sinks")


def narrowed(group: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """Return a group of commands with none but the one that *arguments* name; as it is where they name none.

    Typer makes every command before it runs one, which takes 20 ms.
    """
    name = next(iter(arguments), "")
    commands = [one for one in group.registered_commands if one.name == name]
    groups = [copy(one) for one in group.registered_groups if one.name == name]
    if not (commands or groups):
        return group
    for one in groups:
        if one.typer_instance is not None:
            one.typer_instance = narrowed(one.typer_instance, arguments[1:])
    found = copy(group)
    found.registered_commands, found.registered_groups = commands, groups
    return found


def main() -> NoReturn:
    """Run the command line; what the system refuses is a line, not a traceback."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start a thread for each CPU, to multiply no matrix
    code = 0
    try:
        narrowed(app, sys.argv[1:])()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        pass  # whoever read our output has seen enough
    except OSError as error:
        say(error.strerror or str(error))
        code = EXIT_TROUBLE
    leave(code)
