"""All checks, in the order in which they are shown: each by its name, which docs/doctor.md describes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct

from domstat.config import ConfigError
from domstat.doctor import access, configuration, guests, hosts, room, service, sinks, timing, versions
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.scene import Scene
from domstat.settings import holds_secret
from domstat.uri import redacted

Judge: TypeAlias = Callable[[Scene], Iterator[Finding]]


class Check(Struct, frozen=True):
    """One thing that is looked at."""

    name: str
    judge: Judge


class Checked(Struct, frozen=True):
    """What a check found; nothing where it does not apply."""

    check: str
    findings: tuple[Finding, ...]


CONFIGURATION = "configuration"


def _sinks(scene: Scene) -> Iterator[Finding]:
    names, report = [sink.name for sink in scene.config.sinks], scene.agent.report
    if report is None:
        return sinks.sinks(names, None, scene.targets, {})
    return sinks.sinks(names, report.sinks, scene.targets, report.journal.strangers)


def _outages(scene: Scene) -> Iterator[Finding]:
    accounts = scene.agent.report.sinks if scene.agent.report is not None else ()
    return room.outages(
        scene.config.journal, scene.past.outages, accounts, scene.past.why or "the history knows of none"
    )


def _clock(scene: Scene) -> Iterator[Finding]:
    streams = scene.agent.report.streams if scene.agent.report is not None else ()
    steps = max([scene.past.clock_steps, *(stream.clock_steps for stream in streams)])
    return timing.clock(scene.clock, steps)


def _secrets(scene: Scene) -> Iterator[Finding]:
    uris = [host.settings.uri for host in scene.config.hosts]
    revealing = any(redacted(uri) != uri for uri in uris) or any(
        holds_secret(one.settings) for one in scene.config.sinks
    )
    return access.secrets(scene.files, scene.uid, revealing=revealing)


CHECKS = (
    Check(CONFIGURATION, lambda scene: configuration.right(scene.config)),
    Check("agent", lambda scene: service.agent(scene.agent)),
    Check("libvirt", lambda scene: hosts.reached(scene.hosts)),
    Check("read-only", lambda scene: hosts.refreshed(scene.hosts, scene.config.hosts)),
    Check("groups", lambda scene: hosts.groups(scene.hosts, scene.config.hosts)),
    Check("balloon", lambda scene: guests.balloons(scene.hosts, scene.config.hosts)),
    Check("schedstats", lambda scene: guests.schedstats(scene.schedstats, scene.hosts, scene.config.hosts)),
    Check("interval", lambda scene: timing.intervals(scene.hosts, scene.config.hosts, scene.past.calls_s)),
    Check("clock", _clock),
    Check("disk", lambda scene: room.disks(scene.disks)),
    Check("journal", _outages),
    Check("sinks", _sinks),
    Check("files", lambda scene: access.files(scene.files, scene.uid)),
    Check("secrets", _secrets),
    Check("versions", lambda scene: versions.versions(scene.versions, scene.hosts, scene.agent.report)),
    Check("wal-reset", lambda scene: versions.wal_reset(scene.versions.sqlite, scene.writers)),
    Check("watchdog", lambda scene: service.watchdog(scene.agent, scene.unit)),
)


def judge(scene: Scene) -> Iterator[Checked]:
    """Judge all that was seen."""
    for check in CHECKS:
        yield Checked(check.name, tuple(check.judge(scene)))


def refuse(error: ConfigError) -> Iterator[Checked]:
    """Judge a configuration that is wrong: nothing else can be looked at before it is right."""
    yield Checked(CONFIGURATION, tuple(configuration.wrong(error)))


def worst(checked: Iterable[Checked]) -> Verdict:
    """Return the worst there is: trouble, a warning, what cannot be told, or that all is well."""
    found = {finding.verdict for check in checked for finding in check.findings}
    return next((each for each in (Verdict.TROUBLE, Verdict.WARNING, Verdict.UNKNOWN) if each in found), Verdict.OK)
