"""``domstat sinks new``: a distribution with a sink that works, to be made one's own."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

import domstat
from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail
from domstat.sink import find_sinks
from domstat.text import printable

NAME_MAX = 40
"""Characters of a name: it is part of a distribution's, a package's and a class's."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_EXPECTED = f'small letters, digits and single "_" between them, a letter first, at most {NAME_MAX} characters'

_FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    "src/$package/__init__.py": "init.py.txt",
    "src/$package/sink.py": "sink.py.txt",
    "src/$package/py.typed": "py.typed.txt",
    "tests/test_sink.py": "test_sink.py.txt",
}
"""What is made, and of which template. They are texts, so that nothing takes them for code of domstat's own."""


def new(
    name: Annotated[str, typer.Argument(help="What the sink is to be called in the configuration.")],
    directory: Annotated[
        Path | None, typer.Option("--directory", "-d", help="The folder to make. Default: NAME, here.")
    ] = None,
) -> None:
    """Make a distribution with a sink that works as it is: entry point, settings, tests. Then make it yours."""
    _check_name(name)
    folder = directory or Path(name)
    try:
        folder.mkdir(parents=True)
        for path, text in written(name).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError:
        fail(EXIT_USAGE, f"{printable(str(folder))} is there already; remove it, or name another with --directory")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        fail(EXIT_TROUBLE, f"{printable(str(folder))} cannot be made: {reason}")
    shown = printable(str(folder))
    typer.echo(f"made {shown}: a sink of the type {name}, which keeps records in an SQLite file until you change it")
    typer.echo(f"next: pip install --editable '{shown}[test]' && pytest {shown}; {shown}/README.md says more")


def written(name: str) -> dict[str, str]:
    """Write the files of a distribution for the sink *name*, by their paths within its folder."""
    from importlib.resources import files

    words = {
        "type": name,
        "package": f"domstat_{name}",
        "distribution": f"domstat-{name.replace('_', '-')}",
        "class": "".join(word.capitalize() for word in name.split("_")),
        "version": domstat.__version__,
    }
    templates = files("domstat.cli.sinks") / "template"
    return {
        Template(path).substitute(words): Template((templates / text).read_text(encoding="utf-8")).substitute(words)
        for path, text in _FILES.items()
    }


def _check_name(name: str) -> None:
    """Exit unless a sink can be called *name*: that it could, and that nobody has the name."""
    shown = printable(name, 60)
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX:
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:NAME_MAX].rstrip("_")
        hint = f'; how about "{better}"?' if _NAME.fullmatch(better) else ""
        fail(EXIT_USAGE, f'NAME: found "{shown}", expected {_EXPECTED}{hint}')
    if name in find_sinks():
        fail(EXIT_USAGE, f'there is a sink "{name}" already (see domstat sinks show {name}); choose another name')
    if find_spec(f"domstat_{name}") is not None:
        fail(EXIT_USAGE, f'there is a package domstat_{name} already; choose another name than "{name}"')
