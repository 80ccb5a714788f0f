"""``domstat check``: whether the configuration is right, what would run, and whether the hosts can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from domstat.catalog import FIELDS
from domstat.cli.common import EXIT_TROUBLE, ConfigOption, fail, load_config
from domstat.config import CollectSettings, Config, HostConfig
from domstat.settings import Duration, veiled
from domstat.text import printable
from domstat.uri import redacted


def check(
    config: ConfigOption = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Connect to every host too, and say what is there. Changes nothing.")
    ] = False,
) -> None:
    """Check the configuration without touching the world, and say what would run.

    With --connect the exit code is 1 if a host cannot be reached, or does not know a stats group it is to be asked for.
    """
    loaded = load_config(config)
    for line in describe(loaded):
        typer.echo(line)
    well = True
    if connect:
        from domstat import telemetry
        from domstat.cli.reach import reach_hosts

        telemetry.configure("error")  # what goes wrong is said in the report
        for report in reach_hosts(loaded.hosts):
            well &= report.well
            typer.echo("\n".join(report.lines))
    if not well:
        fail(EXIT_TROUBLE, "not everything that is configured can be had: see above")
    typer.echo("ok")


def describe(config: Config) -> Iterator[str]:
    """Say in lines what *config* means."""
    yield f"configuration  {config.path or 'none: defaults'}"
    yield f"state          {config.state_dir}"
    for host in config.hosts:
        yield from _describe_host(host)
    for sink in config.sinks:
        settings = ", ".join(f"{name} = {value}" for name, value in _shown(sink.settings))
        yield f"sink           {printable(sink.name)}  {sink.common.type}: {settings or 'no settings'}"
    if not config.sinks:
        yield "sink           none: nothing that is collected would be kept"


def _describe_host(host: HostConfig) -> Iterator[str]:
    settings = host.settings
    yield f"host           {printable(host.name)}  {printable(redacted(settings.uri))}, read-only"
    yield from (f"  collect      {_block(host, block)}" for block in host.blocks)
    for what, globs in (("guests", settings.domains), ("fields", settings.fields)):
        if globs.include != ("*",) or globs.exclude:
            names = ", ".join([*globs.include, *(f"not {name}" for name in globs.exclude)])
            yield f"  {what:<12} {printable(names)}"
    for pattern in settings.fields.include:
        if not any(fnmatchcase(name, pattern) for name in FIELDS):
            yield f"  note         no field that libvirt documents matches {printable(pattern)}"
    yield from (f"  label        {label} = {printable(xpath)}" for label, xpath in settings.labels.items())
    yield f"  survey       {_survey(host)}"
    for word in settings.allow:
        yield f"  allowed      {word}"


def _block(host: HostConfig, block: CollectSettings) -> str:
    groups = ", ".join(block.groups)
    deadline = Duration(host.deadline_s(block))
    probed = f"; probed: {', '.join(block.probe)}" if block.probe else ""
    extras = [text for text, on in (("backing layers", block.backing), ("internals", block.internals)) if on]
    more = f", with {' and '.join(extras)}" if extras else ""
    return f"{printable(block.name)}: every {block.interval}, deadline {deadline}: {groups}{more}{probed}"


def _survey(host: HostConfig) -> str:
    survey = host.settings.survey
    if not survey.enabled:
        return "none: neither storage pools nor guests that are off"
    what = f"every {survey.interval}: storage pools, guests that are off"
    return f"{what}; refreshes pools, by a connection that may write" if survey.refresh else what


def _shown(settings: object) -> Iterator[tuple[str, str]]:
    for name in getattr(settings, "__struct_fields__", ()):
        value = getattr(settings, name)
        if value is not None:
            yield name, printable(redacted(str(veiled(value, name))))
