"""Are the hosts reached, by whom, and do their drivers know what they are asked for? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domstat.config import HostConfig
from domstat.doctor.finding import Finding, ok, trouble, unknown, warning
from domstat.doctor.scene import HostSeen

GROUPS_LINE = '[[hosts.collect]] with groups = [{known}] under the host "{host}"'
"""What to write where a driver does not know what is asked for."""


def reached(hosts: Iterable[HostSeen]) -> Iterator[Finding]:
    """Say of every host by which socket it is reached, and that nothing can be changed there."""
    for host in hosts:
        if host.failure is not None:
            yield trouble(host.name, *host.failure)
        elif host.examined is not None:
            found = host.examined
            driver = " ".join(filter(None, (found.driver, found.hypervisor)))
            yield ok(host.name, f"{found.socket}; read-only; {driver}, libvirt {found.libvirt}, {found.guests} running")


def refreshed(hosts: Iterable[HostSeen], configured: Iterable[HostConfig]) -> Iterator[Finding]:
    """Say where a connection may write, which only refreshing pools needs."""
    seen = {host.name: host for host in hosts}
    for host in configured:
        survey, found = host.settings.survey, seen.get(host.name)
        if found is None or found.examined is None:
            continue
        if not (survey.enabled and survey.refresh):
            yield ok(host.name, "every connection is read-only")
        elif found.not_writable is not None:
            message, advice = found.not_writable
            yield trouble(
                host.name, f"pools cannot be refreshed: {message}", f"{advice}; or refresh = false in [hosts.survey]"
            )
        else:
            yield ok(host.name, "read-only, but for the refreshing of pools, as configured")


def groups(hosts: Iterable[HostSeen], configured: Iterable[HostConfig]) -> Iterator[Finding]:
    """Say whether the drivers know the stats groups that every tick asks for, and those that are tried."""
    seen = {host.name: host for host in hosts}
    for host in configured:
        found = seen.get(host.name)
        if found is None or found.examined is None:
            continue
        known = found.examined.groups
        if not known:
            yield unknown(host.name, "the driver says which groups it knows only while a guest runs, or never")
            continue
        lacking = _unknown(known, (group for block in host.blocks for group in block.groups))
        silent = _unknown(known, (group for block in host.blocks for group in block.probe))
        those = ", ".join(f'"{group}"' for group, is_known in known.items() if is_known)
        fix = GROUPS_LINE.format(known=those, host=host.name)
        if lacking:
            yield trouble(host.name, f"the driver does not know {', '.join(lacking)}", fix)
        elif silent and host.settings.collect:  # a plan tries what many drivers do not have
            yield warning(host.name, f"nothing will come of {', '.join(silent)}, which the driver does not know", fix)
        else:
            yield ok(host.name, "all that is asked for is known")


def _unknown(known: dict[str, bool], wanted: Iterable[str]) -> list[str]:
    asked = set(wanted)
    return [group for group, is_known in known.items() if group in asked and not is_known]
