"""Manual pages, out of what the program says of itself: ``python packaging/manpages.py FOLDER`` writes them there.

domstat(1) has every command with its options; domstat.toml(5) every setting, as ``domstat config`` prints them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from domstat import __version__
from domstat.cli import app
from domstat.reference import render

COMMANDS_PAGE, SETTINGS_PAGE = "domstat.1", "domstat.toml.5"


def roff(text: str) -> str:
    """Write text so that roff shows it as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.splitlines())


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Give every command that does something, with what is typed for it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        if not command.hidden:
            yield path, command
        return
    for name, one in sorted(inner.items()):
        yield from commands(one, f"{path} {name}")


def _options(command: Any) -> Iterator[str]:
    for param in command.params:
        if param.hidden:
            continue
        if param.param_type_name == "argument":
            name = (param.metavar or param.name or "").upper()
            yield f".TP\n.I {roff(name)}\n{roff(param.help or '')}"
        elif param.name != "help":
            metavar = "" if param.is_flag else f" {param.metavar or (param.name or '').upper()}"
            yield f".TP\n.B {roff(', '.join(param.opts) + metavar)}\n{roff(param.help or '')}"


def commands_page() -> str:
    """Return domstat(1)."""
    parts = [
        f'.TH DOMSTAT 1 "" "domstat {__version__}" "User Commands"',
        ".SH NAME\ndomstat \\- statistics of libvirt domains",
        ".SH SYNOPSIS\n.B domstat\n.I COMMAND\n[options]",
        f".SH DESCRIPTION\n{roff(app.info.help or '')}",
        ".SH COMMANDS",
    ]
    for path, command in commands(get_command(app), "domstat"):
        parts += [f".SS {roff(path)}", roff((command.help or "").strip()), *_options(command)]
    parts += [
        ".SH FILES\n.TP\n.I /etc/domstat/domstat.toml\nThe configuration, see\n.BR domstat.toml (5).",
        ".TP\n.I /var/lib/domstat\nThe state directory: journal, history, dead letters.",
        ".SH EXIT STATUS\n0 all is well; 1 there is trouble, which is said; 2 what was asked is wrong.",
        ".SH SEE ALSO\n.BR domstat.toml (5),\n.BR virsh (1)",
    ]
    return "\n".join(parts) + "\n"


def settings_page() -> str:
    """Return domstat.toml(5)."""
    parts = [
        f'.TH DOMSTAT.TOML 5 "" "domstat {__version__}" "File Formats"',
        ".SH NAME\ndomstat.toml \\- configuration of domstat",
        ".SH DESCRIPTION\nTOML. Every setting with its default and its reason, as\n.B domstat config\nprints it:",
        ".nf",
        roff(render()),
        ".fi",
        ".SH SEE ALSO\n.BR domstat (1)",
    ]
    return "\n".join(parts) + "\n"


def main(folder: Path) -> None:
    """Write both pages."""
    (folder / COMMANDS_PAGE).write_text(commands_page())
    (folder / SETTINGS_PAGE).write_text(settings_page())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
