"""``domstat reload``: has the running agent read its configuration again, and says what became of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, fail, load_config
from domstat.text import printable

if TYPE_CHECKING:
    from domstat.status import Report

ASK_S = 5.0
"""How long the agent may take to say how it is."""

RELOAD_S = 60.0
"""How long a reload may take: sinks that go get five seconds for their last write, new hosts two to be connected to."""

LOOK_S = 0.3
"""How often it is asked whether it is done: the agent does not say anything new more often."""

SHOWN_MAX = 500
"""Characters of a line."""


def reload(
    config: ConfigOption = None,
    socket: Annotated[
        Path | None, typer.Option(help="The agent's socket. Default: the one that the configuration has.")
    ] = None,
) -> None:
    """Have the running agent read its configuration again; hosts and sinks that did not change are not touched.

    The file is checked first, as by domstat check. The exit code is 2 if it is wrong, 1 if the agent refuses it or does
    not answer; it goes on as it was then.
    """
    loaded = load_config(config)
    path = socket or loaded.status_socket
    before = _ask(path)
    _check_path(before.reloads.path, loaded.path)
    _send_hangup(before.pid)
    until = time.monotonic() + RELOAD_S
    while (after := _ask(path)).reloads.ended <= before.reloads.begun:
        if after.pid != before.pid:
            fail(EXIT_TROUBLE, f"the agent (process {before.pid}) has ended, and process {after.pid} is another one")
        if time.monotonic() >= until:
            fail(EXIT_TROUBLE, f"the agent (process {before.pid}) is still at it after {RELOAD_S:g} s: see its log")
        time.sleep(LOOK_S)
    if after.reloads.refused:
        hint = "the agent goes on as it was"
        fail(EXIT_TROUBLE, *(printable(line, SHOWN_MAX) for line in after.reloads.refused), hint)
    for line in after.reloads.changed or ("nothing has changed",):
        typer.echo(printable(line, SHOWN_MAX))


def _ask(path: Path) -> Report:
    from domstat.status import StatusError, ask, read

    try:
        return read(ask(path, ASK_S))
    except StatusError as error:
        fail(EXIT_TROUBLE, printable(str(error), SHOWN_MAX))


def _check_path(read: str | None, checked: Path | None) -> None:
    """Make sure that what was checked is what the agent reads."""
    if read is not None and (checked is None or Path(read).resolve() != checked.resolve()):
        other = "without a file" if checked is None else f"not {checked}"
        fail(EXIT_USAGE, f"the agent reads {printable(read, SHOWN_MAX)}, {other}: name that one with --config")


def _send_hangup(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        fail(
            EXIT_TROUBLE, f"the agent (process {pid}) is another user's: be that user or root, or use systemctl reload"
        )
    except ProcessLookupError:
        fail(EXIT_TROUBLE, f"the agent (process {pid}) is not seen from here: is it in a container?")
