"""The configuration file: every setting with its type, default and reason, decoded and checked as a whole.

``domstat config`` prints the reference made from this module (:mod:`domstat.reference`), and ``config/domstat.toml``
is that text.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from domstat.catalog import GROUPS
from domstat.settings import Duration, Problem, SettingsError, decode, show
from domstat.sink import BrokenSinkError, ClaimsFiles, Sink, UnknownSinkError, load_sink

SYSTEM_FILE = Path("/etc/domstat/domstat.toml")
SYSTEM_STATE_DIR = Path("/var/lib/domstat")

DEADLINE_SHARE = 0.4
"""Of the interval: late enough for a slow answer, early enough for a second question before the next tick."""

DEADLINE_MIN_S = 2.0
"""A worker's start, its connection and a first answer fit in this; below it a healthy host would be killed for ever."""

INTERVAL_MIN_S = 0.02
"""A call takes some milliseconds a guest; what is asked more often than this is a slip of the finger."""

DEADLINE_LEAST_S = 0.5
"""Below this no worker ever answers: it is killed while it starts."""

SLOW_INTERVAL_S = 60.0
"""The slow half of the plan "light"."""

Group = Literal[
    "state", "cpu-total", "balloon", "vcpu", "interface", "block", "perf", "iothread", "memory", "dirtyrate", "vm"
]
_CORE: tuple[Group, ...] = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")
_ALL: tuple[Group, ...] = (*_CORE, "perf", "iothread", "memory", "dirtyrate", "vm")


class AgentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The agent itself."""

    state_dir: Annotated[
        str | None,
        Meta(
            description="Where the history is kept; relative paths in this file are below it. Default: "
            "/var/lib/domstat, without root $XDG_STATE_HOME/domstat.",
            examples=["/var/lib/domstat"],
        ),
    ] = None
    interval: Annotated[
        Duration,
        Meta(description="How often every host is asked. Ticks fall on multiples of it, so that hosts line up."),
    ] = Duration(10)
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description='From which level on events are logged, on stderr. "info" has one event a tick.'),
    ] = "info"


class GlobSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Names chosen by shell patterns."""

    include: Annotated[tuple[str, ...], Meta(description="What to take.")] = ("*",)
    exclude: Annotated[tuple[str, ...], Meta(description="What of it to leave out.")] = ()


class CollectSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One collect block: some stats groups at one interval."""

    groups: Annotated[
        tuple[Group, ...],
        Meta(
            description="Stats groups by virsh's names; a group belongs to one block of its host.",
            examples=[_CORE],
        ),
    ]
    name: Annotated[str, Meta(description="Names the block in every record.", min_length=1)] = "default"
    interval: Annotated[
        Duration | None, Meta(description="How often. Default: the agent's interval.", examples=["10s"])
    ] = None
    backing: Annotated[bool, Meta(description="Ask for every layer of disks' backing chains too.")] = False
    internals: Annotated[
        bool,
        Meta(description="Keep the hypervisor's own vcpu.* and vm.* statistics, which multiply the volume on KVM."),
    ] = False


class HostSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One hypervisor."""

    uri: Annotated[str, Meta(description="libvirt's connection URI; it is opened read-only.")] = "qemu:///system"
    name: Annotated[
        str | None,
        Meta(
            description="Names the host in every record. Default: the URI's host, or this machine's name.",
            examples=["kvm1"],
        ),
    ] = None
    deadline: Annotated[
        Duration | None,
        Meta(
            description="How long to wait for an answer before the worker is killed and started anew. "
            "Default: 0.4 of the interval, at least 2s.",
            examples=["4s"],
        ),
    ] = None
    domains: Annotated[
        GlobSettings, Meta(description="Which guests, by name. Choosing costs one more, cheap, call a tick.")
    ] = GlobSettings()
    fields: Annotated[GlobSettings, Meta(description='Which fields, by name without device, such as "block.*".')] = (
        GlobSettings()
    )
    plan: Annotated[
        Literal["default", "light", "full"],
        Meta(
            description='What is asked how often: "default" the six core groups every tick, "light" disks and memory '
            'once a minute only, "full" every group and the hypervisor\'s internals. [[hosts.collect]] replaces it.'
        ),
    ] = "default"
    collect: Annotated[tuple[CollectSettings, ...], Meta(description="Collect blocks, instead of a plan.")] = ()


class SinkCommon(Struct, frozen=True):
    """What every sink's table has, beside the sink's own settings."""

    type: Annotated[str, Meta(description="Which sink: the name of its entry point.")]
    name: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="Names this sink. Default: its type.")
    ] = None


class _File(Struct, frozen=True):
    """The file's top level."""

    agent: AgentSettings = AgentSettings()
    hosts: tuple[HostSettings, ...] = (HostSettings(),)
    sinks: list[Any] = field(default_factory=lambda: [{"type": "sqlite", "name": "history"}])


class SinkConfig(Struct, frozen=True):
    """One configured sink: its class is loaded and its settings are decoded."""

    name: str
    common: SinkCommon
    sink: type[Sink]
    settings: Struct


class HostConfig(Struct, frozen=True):
    """One configured host with everything defaulted: its blocks all have intervals."""

    name: str
    settings: HostSettings
    blocks: tuple[CollectSettings, ...]

    def deadline_s(self, block: CollectSettings) -> float:
        """How long a tick of *block* may take, in seconds."""
        share = DEADLINE_SHARE * (block.interval or 0)
        return self.settings.deadline or max(DEADLINE_MIN_S, share)


class Config(Struct, frozen=True):
    """A whole configuration that has been found right. *path* is None when there is no file."""

    path: Path | None
    agent: AgentSettings
    state_dir: Path
    hosts: tuple[HostConfig, ...]
    sinks: tuple[SinkConfig, ...]


class ConfigError(Exception):
    """A configuration is wrong; ``lines`` says what, one line a problem, each naming file and key."""

    def __init__(self, path: Path | None, problems: list[Problem]) -> None:
        self.lines = [f"{path or 'configuration'}: {problem}" for problem in problems]
        super().__init__("\n".join(self.lines))


def find_file(given: Path | None) -> Path | None:
    """Return the configuration file to read: the one *given*, else the system's, the user's, or none."""
    if given is not None:
        return given
    try:
        user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "domstat" / "domstat.toml"
    except RuntimeError:  # a user without a home, as in a container
        user = SYSTEM_FILE
    return next((path for path in (SYSTEM_FILE, user) if path.is_file()), None)


def load(given: Path | None) -> Config:
    """Read, decode and check the configuration, touching nothing but the file. Raises ConfigError."""
    path = find_file(given)
    return parse(_read(path) if path else "", path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(path, [Problem("", f"cannot be read: {reason}")]) from error


def parse(text: str, path: Path | None = None) -> Config:
    """Decode and check a configuration's text. Raises ConfigError."""
    try:
        file = decode(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(path, [Problem("", f"is not TOML: {error}")]) from error
    except SettingsError as error:
        raise ConfigError(path, error.problems) from error
    problems: list[Problem] = []
    state_dir = _state_dir(file.agent.state_dir, problems)
    if file.agent.interval < INTERVAL_MIN_S:
        problems.append(Problem("agent.interval", _too_often(file.agent.interval)))
    hosts = tuple(_resolve_host(host, file.agent) for host in file.hosts)
    problems += _check_hosts(hosts)
    sinks = list(_resolve_sinks(file.sinks, problems))
    problems += _check_sinks(sinks, state_dir)
    if problems:
        raise ConfigError(path, problems)
    return Config(path, file.agent, state_dir, hosts, tuple(sinks))


def _too_often(interval: Duration) -> str:
    return f'found "{interval}", expected "{Duration(INTERVAL_MIN_S)}" or more'


def _state_dir(given: str | None, problems: list[Problem]) -> Path:
    try:
        return Path(given).expanduser() if given else _default_state_dir()
    except RuntimeError as error:  # ~nobody-of-that-name, or no home at all
        problems.append(Problem("agent.state_dir", f"found {show(given or '')}, which leads nowhere: {error}"))
        return SYSTEM_STATE_DIR


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return SYSTEM_STATE_DIR
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "domstat"


def host_name(uri: str) -> str:
    """Name a host by its URI: the URI's host, or this machine's name where it has none."""
    try:
        return urlsplit(uri).hostname or socket.gethostname()
    except ValueError:  # a bracket too few in an IPv6 address; _check_hosts says so
        return socket.gethostname()


def _resolve_host(host: HostSettings, agent: AgentSettings) -> HostConfig:
    blocks = host.collect or _plan(host.plan, agent.interval)
    timed = tuple(
        CollectSettings(block.groups, block.name, block.interval or agent.interval, block.backing, block.internals)
        for block in blocks
    )
    return HostConfig(host.name or host_name(host.uri), host, timed)


def _plan(name: str, interval: Duration) -> tuple[CollectSettings, ...]:
    if name == "full":
        return (CollectSettings(_ALL, internals=True),)
    if name == "light":
        slow = Duration(max(SLOW_INTERVAL_S, interval))
        fast: tuple[Group, ...] = ("state", "cpu-total", "vcpu", "interface")
        return (CollectSettings(fast), CollectSettings(("balloon", "block"), "slow", slow))
    return (CollectSettings(_CORE),)


def _check_hosts(hosts: tuple[HostConfig, ...]) -> Iterator[Problem]:
    if not hosts:
        yield Problem("hosts", "found an empty list; leave it out to watch the local hypervisor")
    names: set[str] = set()
    for i, host in enumerate(hosts):
        key = f"hosts[{i}]"
        if not _is_uri(host.settings.uri):
            yield Problem(f"{key}.uri", f'found {show(host.settings.uri)}, expected a URI such as "qemu:///system"')
        if host.name in names:
            yield Problem(f"{key}.name", f"found {show(host.name)}, which another host has; give each its own name")
        names.add(host.name)
        if host.settings.name == "":
            yield Problem(f"{key}.name", 'found "", expected a name')
        deadline = host.settings.deadline
        if deadline is not None and deadline < DEADLINE_LEAST_S:
            least = Duration(DEADLINE_LEAST_S)
            yield Problem(
                f"{key}.deadline", f'found "{deadline}", expected "{least}" or more: a worker must start in it'
            )
        for name in ("domains", "fields"):
            if not getattr(host.settings, name).include:
                yield Problem(f"{key}.{name}.include", 'found an empty list, expected patterns such as "*"')
        yield from _check_blocks(host, key)


def _is_uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme) and text.isprintable()
    except ValueError:
        return False


def _check_blocks(host: HostConfig, key: str) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    names: set[str] = set()
    for j, block in enumerate(host.blocks):
        where = f"{key}.collect[{j}]"
        if block.name in names:
            yield Problem(f"{where}.name", f"found {show(block.name)}, which another block of this host has")
        names.add(block.name)
        if "/" in block.name:
            yield Problem(f"{where}.name", f'found {show(block.name)}, expected a name without "/"')
        if host.settings.collect and block.interval and block.interval < INTERVAL_MIN_S:
            yield Problem(f"{where}.interval", _too_often(block.interval))
        if not block.groups:
            yield Problem(f"{where}.groups", f"found an empty list, expected some of {', '.join(GROUPS)}")
        for group in block.groups:
            if group in owners:
                owner = owners[group]
                yield Problem(f"{where}.groups", f'found "{group}", which the block "{owner}" of this host asks for')
            owners[group] = block.name


def _resolve_sinks(raw: list[Any], problems: list[Problem]) -> Iterator[SinkConfig]:
    common_keys = SinkCommon.__struct_fields__
    for i, table in enumerate(raw):
        key = f"sinks[{i}]"
        try:
            if not isinstance(table, dict):
                raise SettingsError([Problem(key, f"found {show(table)}, expected a table")])
            common = decode({name: table[name] for name in table if name in common_keys}, SinkCommon, key)
            sink = load_sink(common.type)
            own = {name: value for name, value in table.items() if name not in common_keys}
            settings = decode(own, sink.Settings, key, common_keys)
            problems += _try_sink(sink, settings, key)
            yield SinkConfig(common.name or common.type, common, sink, settings)
        except SettingsError as error:
            problems += error.problems
        except (UnknownSinkError, BrokenSinkError) as error:
            problems.append(Problem(f"{key}.type", str(error)))


def _try_sink(sink: type[Sink], settings: Struct, key: str) -> Iterator[Problem]:
    """Make the sink, which by its contract touches nothing yet, and see whether it refuses its settings."""
    try:
        sink(settings)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's constructor raises
        yield Problem(key, f"the sink refuses its settings: {error!r}")


def _check_sinks(sinks: list[SinkConfig], state_dir: Path) -> Iterator[Problem]:
    names: set[str] = set()
    owners: dict[Path, str] = {}
    for i, sink in enumerate(sinks):
        if sink.name in names:
            yield Problem(f"sinks[{i}].name", f"found {show(sink.name)}, which another sink has; give each its own")
        names.add(sink.name)
        claims = getattr(sink.sink, "claims", None) if isinstance(sink.sink, ClaimsFiles) else None
        try:
            paths: tuple[Path, ...] = tuple(claims(sink.settings, state_dir)) if claims else ()
        except Exception as error:  # noqa: BLE001 - whatever a stranger's method raises
            yield Problem(f"sinks[{i}]", f"the sink cannot say which files it writes: {error!r}")
            continue
        for path in paths:
            try:
                owner = owners.setdefault(path.resolve(), sink.name)
            except (OSError, ValueError, RuntimeError) as error:
                yield Problem(f"sinks[{i}].path", f"found {show(str(path))}, which is no path: {error}")
                continue
            if owner != sink.name:
                yield Problem(f"sinks[{i}].path", f'found {show(str(path))}, which the sink "{owner}" writes')
