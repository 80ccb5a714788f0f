"""``domstat top``: hosts and guests on a live screen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, fail, leave, load_config
from domstat.text import is_terminal, printable

if TYPE_CHECKING:
    from domstat.config import Config
    from domstat.hosts import HostConfig
    from domstat.settings import Duration
    from domstat.top.feed import Feed

INTERVAL_MIN_S = 0.2
"""Nobody reads figures that change oftener, and a host should not be asked in vain."""


def top(
    uri: Annotated[
        list[str] | None,
        typer.Option(help="Watch this host straight, by libvirt's connection URI; can be given several times."),
    ] = None,
    interval: Annotated[
        str, typer.Option(help="How often libvirt is asked, or the history looked into for what is new.")
    ] = "2s",
    config: ConfigOption = None,
    sink: Annotated[
        str | None, typer.Option(help="Which sink's history is shown; needed where there are several.")
    ] = None,
) -> None:
    """Show hosts and guests on a live screen: who uses CPU, memory, disks, network, and what is stuck.

    Where an agent is configured the figures are those it stores; with --uri, or without an agent, they come straight
    from libvirt. On the screen ? explains the keys.
    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        fail(EXIT_USAGE, "top needs a terminal; domstat once prints the same figures anywhere")
    if uri and (config or sink):
        fail(EXIT_USAGE, "--uri asks libvirt, --config and --sink a history: give one or the other")
    every = _every(interval)
    try:
        from domstat.top.draw import watch
    except ImportError:
        fail(EXIT_TROUBLE, "top needs textual: pip install 'domstat[top]'")
    feed, source, hosts = _from_libvirt(_hosts_of(uri), every) if uri else _configured(config, sink, every)
    leave(watch(feed, source, datetime.now(UTC).astimezone().tzinfo or UTC, hosts))


def _every(interval: str) -> Duration:
    from domstat.settings import Duration

    try:
        seconds = Duration.parse(interval)
    except ValueError as error:
        fail(EXIT_USAGE, f'--interval: found "{printable(interval)}", expected {error}')
    if seconds < INTERVAL_MIN_S:
        fail(EXIT_USAGE, f'--interval: found "{interval}", expected "{Duration(INTERVAL_MIN_S)}" or more')
    return seconds


def _configured(path: Path | None, sink: str | None, every: Duration) -> tuple[Feed, str, Sequence[str]]:
    """Choose the agent's history, or else its hosts; without a configuration that is the local hypervisor."""
    from domstat.config import find_file
    from domstat.history import HasHistory

    loaded = load_config(path)
    has_history = find_file(path) is not None and any(isinstance(each.sink, HasHistory) for each in loaded.sinks)
    if sink is not None or has_history:
        return _from_history(loaded, sink, every)
    return _from_libvirt(loaded.hosts, every)


def _from_history(loaded: Config, sink: str | None, every: Duration) -> tuple[Feed, str, Sequence[str]]:
    from domstat.cli.history.asking import chosen_sink
    from domstat.top.stored import StoredFeed

    chosen = chosen_sink(loaded.sinks, sink)
    opener: Any = chosen.sink
    feed = StoredFeed(lambda: opener.history(chosen.settings, loaded.state_dir), every)
    return feed, f"agent's {printable(chosen.name)}", [host.name for host in loaded.hosts]


def _from_libvirt(hosts: Sequence[HostConfig], every: Duration) -> tuple[Feed, str, Sequence[str]]:
    from domstat.collect.wire import Globs
    from domstat.top.live import LiveFeed, Target

    targets = [
        Target(host.name, host.settings.uri, Globs(host.settings.domains.include, host.settings.domains.exclude))
        for host in hosts
    ]
    return LiveFeed(targets, every), f"libvirt every {every}", [host.name for host in hosts]


def _hosts_of(uris: Sequence[str]) -> Sequence[HostConfig]:
    """Make hosts of URIs by the rules of a configuration, or exit saying what is wrong with one."""
    import msgspec

    from domstat.config import ConfigError, parse

    try:
        # A JSON string is a TOML string.
        listed = ", ".join(f"{{ uri = {msgspec.json.encode(uri).decode()} }}" for uri in uris)
        return parse(f"hosts = [{listed}]\nsinks = []").hosts
    except UnicodeEncodeError:  # a byte that is no UTF-8 comes as a lone surrogate
        fail(EXIT_USAGE, '--uri: found what is no text, expected a URI such as "qemu:///system"')
    except ConfigError as error:
        fail(EXIT_USAGE, *(f"--uri: {problem.text}" for problem in error.problems))
