"""Hosts in the configuration: what may be set of each, what its plan comes to, and what can be wrong with it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from domstat.catalog import GROUPS
from domstat.settings import Duration, Problem, show
from domstat.uri import dangers_of, host_of, is_uri, redacted

DEADLINE_SHARE = 0.4
"""Of the interval: late enough for nearly every answer, and there is time left to search for who is stuck."""

DEADLINE_MAX_S = 4.0
"""A guest that hangs holds up all others until the deadline: no longer than this, however seldom the host is asked."""

DEADLINE_MIN_S = 0.5
"""Below this a guest whose monitor is merely busy would be taken for stuck."""

INTERVAL_MIN_S = 0.02
"""A call takes some milliseconds a guest; what is asked more often than this is a slip of the finger."""

SURVEY_INTERVAL_MIN_S = 1.0
"""A survey starts a process, and asks for every pool and every guest that is off by itself."""

SLOW_INTERVAL_S = 60.0
"""The slow half of the plan "light"."""

Group = Literal[
    "state", "cpu-total", "balloon", "vcpu", "interface", "block", "perf", "iothread", "memory", "dirtyrate", "vm"
]
_CORE: tuple[Group, ...] = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")
_OFTEN_SILENT: tuple[Group, ...] = ("perf", "iothread", "memory", "dirtyrate")
"""What most guests have nothing to say about. Iothread and dirtyrate cost a round trip to each guest all the same."""

_ALL: tuple[Group, ...] = (*_CORE, *_OFTEN_SILENT, "vm")

RESERVED_BLOCKS = ("events", "survey", "delivery", "capacity")
"""Streams of domstat's own, which stand beside the blocks' in every sink."""


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
    probe: Annotated[
        tuple[Group, ...],
        Meta(
            description="Further groups, which are asked for when guests are new and once an hour, and every tick "
            "only while they have something to say."
        ),
    ] = ()
    backing: Annotated[bool, Meta(description="Ask for every layer of disks' backing chains too.")] = False
    internals: Annotated[
        bool,
        Meta(description="Keep the hypervisor's own vcpu.* and vm.* statistics, which multiply the volume on KVM."),
    ] = False


class SurveySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What of a host is looked at beside the ticks."""

    enabled: Annotated[bool, Meta(description="Whether to look at them.")] = True
    interval: Annotated[Duration, Meta(description="How often to look.")] = Duration(300)
    refresh: Annotated[
        bool,
        Meta(
            description="Have libvirt refresh the pools first, so that figures of pools which are not mounted here "
            "(LVM, RBD, a remote host's) are new. This alone needs a connection that may write, and opens one."
        ),
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
            description="How long to wait for an answer before looking which guests are stuck. Who is merely slow is "
            "waited for all the same. Default: 0.4 of the interval, but at least 500ms and at most 4s.",
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
            description='What is asked how often: "default" the six core groups every tick, and perf, iothread, memory '
            'and dirtyrate while they have something to say; "light" the core groups, of which disks and memory once a '
            'minute; "full" every group every tick, and the hypervisor\'s internals. [[hosts.collect]] replaces it.'
        ),
    ] = "default"
    allow: Annotated[
        tuple[Literal["tcp", "no_verify"], ...],
        Meta(
            description='Dangers of the URI, which is refused unless they stand here by name: "tcp" is neither '
            'encrypted nor authenticated, and with "no_verify" no certificate is verified.'
        ),
    ] = ()
    labels: Annotated[
        dict[str, str],
        Meta(
            description="Labels of guests beside those that are known anyway (title, OpenStack, oVirt, KubeVirt): each "
            "is the text that its XPath finds in the guest's XML, of an element or, with /@name at the end, of an "
            "attribute. Prefixes are nova, ovirt, kubevirt, libosinfo and others; or write {URI}name.",
            examples=[{"owner": "metadata/nova:instance/nova:owner/nova:user", "machine": "os/type/@machine"}],
        ),
    ] = {}
    survey: Annotated[
        SurveySettings,
        Meta(description="Storage pools, and guests that are off: looked at now and then, by a process of their own."),
    ] = SurveySettings()
    collect: Annotated[tuple[CollectSettings, ...], Meta(description="Collect blocks, instead of a plan.")] = ()


class HostConfig(Struct, frozen=True):
    """One configured host with everything defaulted: its blocks all have intervals."""

    name: str
    settings: HostSettings
    blocks: tuple[CollectSettings, ...]

    def deadline_s(self, block: CollectSettings) -> float:
        """How long a tick of *block* may take before it is looked at who is stuck, in seconds."""
        share = DEADLINE_SHARE * (block.interval or 0)
        return self.settings.deadline or min(max(share, DEADLINE_MIN_S), DEADLINE_MAX_S)


def host_name(uri: str) -> str:
    """Name a host by its URI: the URI's host, or this machine's name where it has none."""
    return host_of(uri) or socket.gethostname()


def resolve(host: HostSettings, interval: Duration) -> HostConfig:
    """Fill in what *host* leaves to its plan and to the agent's *interval*."""
    blocks = host.collect or _plan(host.plan, interval)
    timed = tuple(replace(block, interval=block.interval or interval) for block in blocks)
    return HostConfig(host.name or host_name(host.uri), host, timed)


def _plan(name: str, interval: Duration) -> tuple[CollectSettings, ...]:
    if name == "full":
        return (CollectSettings(_ALL, internals=True),)
    if name == "light":
        slow = Duration(max(SLOW_INTERVAL_S, interval))
        fast: tuple[Group, ...] = ("state", "cpu-total", "vcpu", "interface")
        return (CollectSettings(fast), CollectSettings(("balloon", "block"), "slow", slow))
    return (CollectSettings(_CORE, probe=_OFTEN_SILENT),)


def check_interval(interval: Duration, key: str) -> Iterator[Problem]:
    """Say if *interval* is too short to be meant."""
    if interval < INTERVAL_MIN_S:
        yield Problem(key, f'found "{interval}", expected "{Duration(INTERVAL_MIN_S)}" or more')


def check_hosts(hosts: tuple[HostConfig, ...]) -> Iterator[Problem]:
    """Say what is wrong with *hosts*, each by itself and beside the others."""
    if not hosts:
        yield Problem("hosts", "found an empty list; leave it out to watch the local hypervisor")
    names: set[str] = set()
    for i, host in enumerate(hosts):
        key = f"hosts[{i}]"
        yield from _check_uri(host.settings, f"{key}.uri")
        if host.name in names:
            yield Problem(f"{key}.name", f"found {show(host.name)}, which another host has; give each its own name")
        names.add(host.name)
        yield from _check_host(host.settings, key)
        yield from _check_blocks(host, key)


def _check_uri(host: HostSettings, key: str) -> Iterator[Problem]:
    found = f"found {show(redacted(host.uri))}"
    if not is_uri(host.uri):
        yield Problem(key, f'{found}, expected a URI such as "qemu:///system"')
    for word, danger in dangers_of(host.uri):
        if word not in host.allow:
            yield Problem(key, f'{found}, {danger}, or set allow = ["{word}"]')


def _check_host(host: HostSettings, key: str) -> Iterator[Problem]:
    if host.name == "":
        yield Problem(f"{key}.name", 'found "", expected a name')
    if host.deadline is not None and host.deadline < DEADLINE_MIN_S:
        reason = f'expected "{Duration(DEADLINE_MIN_S)}" or more: a busy guest would be taken for a stuck one'
        yield Problem(f"{key}.deadline", f'found "{host.deadline}", {reason}')
    for name in ("domains", "fields"):
        if not getattr(host, name).include:
            yield Problem(f"{key}.{name}.include", 'found an empty list, expected patterns such as "*"')
    if host.survey.interval < SURVEY_INTERVAL_MIN_S:
        least = Duration(SURVEY_INTERVAL_MIN_S)
        yield Problem(f"{key}.survey.interval", f'found "{host.survey.interval}", expected "{least}" or more')
    yield from _check_labels(host.labels, f"{key}.labels")


def _check_labels(labels: dict[str, str], key: str) -> Iterator[Problem]:
    if not labels:
        return
    from domstat.collect.labels import LabelRules  # here, since hardly anybody has rules of their own

    wrong = {label: reason for label, xpath in labels.items() if (reason := LabelRules.check(label, xpath))}
    for label, reason in wrong.items():
        yield Problem(key, f"found {show(label)}: {reason}")
    if not wrong:
        try:
            LabelRules(labels)
        except ValueError as error:  # too many
            yield Problem(key, str(error))


def _check_blocks(host: HostConfig, key: str) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    names: set[str] = set()
    for j, block in enumerate(host.blocks):
        where = f"{key}.collect[{j}]"
        yield from _check_block_name(block.name, names, f"{where}.name")
        names.add(block.name)
        if host.settings.collect and block.interval:  # a plan's are the agent's, which are checked there
            yield from check_interval(block.interval, f"{where}.interval")
        if not block.groups:
            yield Problem(f"{where}.groups", f"found an empty list, expected some of {', '.join(GROUPS)}")
        for name in ("groups", "probe"):
            for group in getattr(block, name):
                if group in owners:
                    owner = owners[group]
                    text = f'found "{group}", which the block "{owner}" of this host asks for'
                    yield Problem(f"{where}.{name}", text)
                owners[group] = block.name


def _check_block_name(name: str, others: set[str], key: str) -> Iterator[Problem]:
    if name in others:
        yield Problem(key, f"found {show(name)}, which another block of this host has")
    if "/" in name:
        yield Problem(key, f'found {show(name)}, expected a name without "/"')
    if name in RESERVED_BLOCKS:
        yield Problem(key, f"found {show(name)}, which names a stream of domstat's own; choose another name")
