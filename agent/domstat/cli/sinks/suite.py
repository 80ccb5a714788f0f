"""``domstat sinks test``: whether an installed sink keeps its promises, by domstat's own suite."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail
from domstat.cli.sinks.installed import LINE_MAX, loaded_sink
from domstat.settings import SettingsError, decode
from domstat.text import printable


class Chosen:
    """What the suite is to be run against; see :mod:`domstat.cli.sinks.contract`."""

    sink: type[Any] = object
    settings: Mapping[str, Any] = {}


CHOSEN = Chosen()
"""Set by the command and read by the suite, which pytest makes itself."""


def run_suite(
    name: Annotated[str, typer.Argument(help="The sink's type, as in the configuration.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--settings", "-s", help="A setting as KEY=VALUE, VALUE as in the configuration; may come several times."
        ),
    ] = None,
) -> None:
    """Run domstat's suite against an installed sink: each promise of a sink is a test.

    It writes made-up guests: give it settings of a store that is there for tests, and new. Relative paths lead into a
    folder of their own for every test. Cases end where they would look into the store, and count as skipped: a sink's
    own tests can say how it is read, see domstat.testing.
    """
    sink = loaded_sink(name)
    table = _table(settings or [])
    try:
        decode(table, sink.Settings)
    except SettingsError as error:
        fail(EXIT_USAGE, *(printable(f"--settings: {problem}", LINE_MAX) for problem in error.problems))
    try:
        import pytest
    except ImportError:
        fail(EXIT_TROUBLE, "pytest is not installed, which the suite needs: pip install 'domstat[testing]'")
    CHOSEN.sink, CHOSEN.settings = sink, table
    # Nothing of the folder that the command happens to run in has a say: no settings, no conftest, no cache.
    alone = ["-c", os.devnull, "--rootdir", os.curdir, "--noconftest", "-p", "no:cacheprovider"]
    code = pytest.main(["--pyargs", "domstat.cli.sinks.contract", *alone, "-q", "-rs", "--tb=short"])
    raise typer.Exit(EXIT_TROUBLE if code else 0)


def _table(given: list[str]) -> dict[str, Any]:
    """Read settings as they would stand in a table; what is no TOML is a text, so that nobody has to quote twice."""
    table: dict[str, Any] = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not (key and sign):
            fail(EXIT_USAGE, f'--settings: found "{printable(each)}", expected KEY=VALUE, as path=/tmp/x.db')
        try:
            table[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            table[key.strip()] = value
    return table
