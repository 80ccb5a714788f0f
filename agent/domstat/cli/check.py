"""``domstat check``: whether the configuration is right, and what would run."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import typer

from domstat.catalog import FIELDS
from domstat.cli.common import ConfigOption, load_config
from domstat.config import CollectSettings, Config, HostConfig
from domstat.settings import Duration
from domstat.text import printable


def check(config: ConfigOption = None) -> None:
    """Check the configuration without touching the world, and say what would run."""
    for line in describe(load_config(config)):
        typer.echo(line)


def describe(config: Config) -> Iterator[str]:
    """Say in lines what *config* means."""
    yield f"configuration  {config.path or 'none: defaults'}"
    yield f"state          {config.state_dir}"
    for host in config.hosts:
        yield f"host           {printable(host.name)}  {printable(host.settings.uri)}, read-only"
        yield from (f"  collect      {_block(host, block)}" for block in host.blocks)
        for what, globs in (("guests", host.settings.domains), ("fields", host.settings.fields)):
            if globs.include != ("*",) or globs.exclude:
                yield f"  {what:<12} {', '.join(globs.include)}" + "".join(f", not {name}" for name in globs.exclude)
        for pattern in host.settings.fields.include:
            if not any(fnmatchcase(name, pattern) for name in FIELDS):
                yield f"  note         no field that libvirt documents matches {printable(pattern)}"
    for sink in config.sinks:
        settings = ", ".join(f"{name} = {value}" for name, value in _shown(sink.settings))
        yield f"sink           {printable(sink.name)}  {sink.common.type}: {settings or 'no settings'}"
    if not config.sinks:
        yield "sink           none: nothing that is collected would be kept"
    yield "ok"


def _block(host: HostConfig, block: CollectSettings) -> str:
    groups = ", ".join(block.groups)
    deadline = Duration(host.deadline_s(block))
    extras = [text for text, on in (("backing layers", block.backing), ("internals", block.internals)) if on]
    more = f", with {' and '.join(extras)}" if extras else ""
    return f"{printable(block.name)}: every {block.interval}, deadline {deadline}: {groups}{more}"


def _shown(settings: object) -> Iterator[tuple[str, str]]:
    for name in getattr(settings, "__struct_fields__", ()):
        value = getattr(settings, name)
        if value is not None:
            yield name, printable(str(value))
