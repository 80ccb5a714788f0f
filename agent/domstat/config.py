"""The configuration file: every setting with its type, default and reason, decoded and checked as a whole.

Hosts have a module of their own, :mod:`domstat.hosts`.

``domstat config`` prints the reference made from this module (:mod:`domstat.reference`), and ``config/domstat.toml``
is that text.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from domstat.capacity.settings import Capacity
from domstat.hosts import (
    CollectSettings,
    GlobSettings,
    Group,
    HostConfig,
    HostSettings,
    SurveySettings,
    check_hosts,
    check_interval,
    host_name,
    resolve,
)
from domstat.settings import Duration, Problem, SettingsError, Size, decode, show
from domstat.sink import BrokenSinkError, ClaimsFiles, Sink, UnknownSinkError, load_sink

__all__ = [
    "AgentSettings", "Capacity", "CollectSettings", "Config", "ConfigError", "GlobSettings", "Group", "HostConfig",
    "HostSettings", "JournalSettings", "ReportSettings", "SinkCommon", "SinkConfig", "SurveySettings", "find_file",
    "host_name", "load", "parse",
]  # fmt: skip

SYSTEM_FILE = Path("/etc/domstat/domstat.toml")
SYSTEM_STATE_DIR = Path("/var/lib/domstat")

RUNTIME_DIR = Path("/run/domstat")
STATUS_SOCKET = "status.sock"

JOURNAL_BYTES_MIN = 1 << 20
"""Below this not even some ticks of an ordinary host fit."""


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
    status_group: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="Group whose members may ask `domstat status` too. Default: the agent's own user alone.",
            examples=["adm"],
        ),
    ] = None
    status_socket: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="Where the agent answers them. Default: status.sock in the state directory; with a "
            "status_group, which may not go there, /run/domstat/status.sock, whose folder root can make, or systemd by "
            "RuntimeDirectory=domstat.",
            examples=["/run/domstat/status.sock"],
        ),
    ] = None


class JournalSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What was collected and not every sink has yet, in a file of the state directory."""

    max_bytes: Annotated[
        Size,
        Meta(
            description="How large it may become while a sink is away: then the oldest goes, for that sink alone, "
            "counted and logged. 200 guests every 10 s take about 300 MiB a day."
        ),
    ] = Size(1 << 30)
    max_age: Annotated[Duration, Meta(description="How long anything waits for a sink, in the same way.")] = Duration(
        7 * 86_400
    )
    keep: Annotated[
        Duration,
        Meta(
            description="How long what every sink has is kept all the same: for rates after a restart, new sinks "
            'with start = "oldest", and replays.'
        ),
    ] = Duration(3600)


class ReportSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is answered on a schedule: how full each host is, and when; as `agent` records that all sinks get."""

    schedule: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="When, in cron's five fields and the machine's time zone. Default: never.",
            examples=["0 6 * * *"],
        ),
    ] = None
    sink: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="Which sink's history is asked. Default: the one there is.", examples=["history"]),
    ] = None
    directory: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="Where the report is put as a page each time; relative to the state directory. Needs "
            "domstat[report]. Default: nowhere.",
            examples=["reports"],
        ),
    ] = None
    keep: Annotated[int, Meta(ge=1, le=10_000, description="So many pages are kept, the newest.")] = 30


class SinkCommon(Struct, frozen=True):
    """What every sink's table has, beside the sink's own settings."""

    type: Annotated[str, Meta(description="Which sink: the name of its entry point.")]
    name: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="Names this sink, and how far it has come in the journal. Default: its type."),
    ] = None
    start: Annotated[
        Literal["now", "oldest"],
        Meta(description='Where a new sink begins: "now", or with the "oldest" that the journal still has.'),
    ] = "now"
    batch: Annotated[
        Annotated[int, Meta(ge=1, le=1000)],
        Meta(description="How many ticks are handed over in one write at most, when several wait."),
    ] = 16
    linger: Annotated[
        Duration | None,
        Meta(description="How long a write is put off while fewer wait. Default: not at all.", examples=["30s"]),
    ] = None


class _File(Struct, frozen=True):
    """The file's top level."""

    agent: AgentSettings = AgentSettings()
    journal: JournalSettings = JournalSettings()
    hosts: tuple[HostSettings, ...] = (HostSettings(),)
    sinks: list[Any] = field(default_factory=lambda: [{"type": "sqlite", "name": "history"}])
    capacity: Capacity = Capacity()
    report: ReportSettings = ReportSettings()


class SinkConfig(Struct, frozen=True):
    """One configured sink: its class is loaded and its settings are decoded."""

    name: str
    common: SinkCommon
    sink: type[Sink]
    settings: Struct


class Config(Struct, frozen=True):
    """A whole configuration that has been found right. *path* is None when there is no file."""

    path: Path | None
    agent: AgentSettings
    journal: JournalSettings
    state_dir: Path
    hosts: tuple[HostConfig, ...]
    sinks: tuple[SinkConfig, ...]
    capacity: Capacity = Capacity()
    report: ReportSettings = ReportSettings()

    @property
    def status_socket(self) -> Path:
        """Where the agent answers who asks for its status."""
        given = self.agent.status_socket
        if given:
            return self.state_dir / given
        return (RUNTIME_DIR if self.agent.status_group else self.state_dir) / STATUS_SOCKET


class ConfigError(Exception):
    """A configuration is wrong; ``lines`` says what, one line for each of ``problems``, naming file and key."""

    def __init__(self, path: Path | None, problems: list[Problem]) -> None:
        self.problems = problems
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
    problems += check_interval(file.agent.interval, "agent.interval")
    hosts = tuple(resolve(host, file.agent.interval) for host in file.hosts)
    problems += check_hosts(hosts)
    problems += _check_journal(file.journal)
    problems += _check_report(file.report)
    sinks = list(_resolve_sinks(file.sinks, problems))
    problems += _check_sinks(sinks, state_dir)
    if problems:
        raise ConfigError(path, problems)
    return Config(path, file.agent, file.journal, state_dir, hosts, tuple(sinks), file.capacity, file.report)


def _check_journal(journal: JournalSettings) -> Iterator[Problem]:
    if journal.max_bytes < JOURNAL_BYTES_MIN:
        least = Size(JOURNAL_BYTES_MIN)
        yield Problem("journal.max_bytes", f'found "{journal.max_bytes}", expected "{least}" or more')
    if journal.keep > journal.max_age:
        yield Problem("journal.keep", f'found "{journal.keep}", expected no more than max_age, "{journal.max_age}"')


def _check_report(report: ReportSettings) -> Iterator[Problem]:
    if report.schedule is None:
        return
    from domstat.crontab import crontab  # only who has a schedule loads what reads it

    try:
        crontab(report.schedule)
    except ValueError as error:
        expected = f'cron\'s five fields, as "0 6 * * *" ({error})'
        yield Problem("report.schedule", f"found {show(report.schedule)}, expected {expected}")


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
        with redirect_stdout(sys.stderr):  # what it prints must not come between what is piped
            sink(settings)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's constructor raises
        why = str(error) if isinstance(error, ValueError) and str(error) else repr(error)
        yield Problem(key, f"the sink refuses its settings: {why}")


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
