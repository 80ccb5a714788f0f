"""Two configurations, the one that runs and a new one: what differs, and what of that has to wait for a start. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from domstat.config import Config
from domstat.settings import Problem, show


class Difference(Struct, frozen=True):
    """By name, what came, went, and is otherwise than it was."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Changes(Struct, frozen=True):
    """What a new configuration changes. *others* are the tables and settings that changed as a whole."""

    hosts: Difference
    sinks: Difference
    others: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Say it, a line for each; none if nothing changed."""
        named = (
            f'{kind} "{name}" {what}'
            for kind, found in (("host", self.hosts), ("sink", self.sinks))
            for what in ("added", "removed", "changed")
            for name in getattr(found, what)
        )
        return (*named, *(f"{key} changed" for key in self.others))


def between(old: Config, new: Config) -> Changes:
    """Compare two configurations."""
    return Changes(
        _difference({host.name: host for host in old.hosts}, {host.name: host for host in new.hosts}),
        _difference({sink.name: sink for sink in old.sinks}, {sink.name: sink for sink in new.sinks}),
        tuple(_others(old, new)),
    )


def _difference(old: Mapping[str, object], new: Mapping[str, object]) -> Difference:
    return Difference(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and new[name] != old[name]),
    )


def _others(old: Config, new: Config) -> Iterator[str]:
    if old.agent.log_level != new.agent.log_level:
        yield "agent.log_level"
    for table in ("journal", "capacity", "report"):
        if getattr(old, table) != getattr(new, table):
            yield table


def obstacles(old: Config, new: Config) -> Iterator[Problem]:
    """Say what keeps a running agent from going on with *new*."""
    fixed = (
        ("agent.state_dir", old.state_dir, new.state_dir),
        ("agent.status_socket", old.status_socket, new.status_socket),
        ("agent.status_group", old.agent.status_group, new.agent.status_group),
    )
    for key, before, now in fixed:
        if before != now and not (key == "agent.status_socket" and old.state_dir != new.state_dir):
            text = f"found {_shown(now)}, which cannot take the place of {_shown(before)} while the agent runs"
            yield Problem(key, f"{text}: start it anew")
    yield from lacks(new)


def lacks(config: Config) -> Iterator[Problem]:
    """Say what a configuration that is right in itself lacks for an agent to run."""
    if not config.sinks:
        yield Problem("sinks", "found an empty list; nothing that is collected would be kept")


def _shown(value: object) -> str:
    return "nothing" if value is None else show(str(value))
