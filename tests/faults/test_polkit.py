"""The rule for sites that restrict libvirt's read-only socket, under a real polkitd and Debian's own libvirtd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .booted import Booted, skip_where_it_cannot_be
from .debian import INSTALL, Root

pytestmark = pytest.mark.faults

HOST = ("libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients", "polkitd")
CONFIG = """
[agent]
state_dir = "/var/lib/domstat"
interval = "500ms"
[[hosts]]
uri = "qemu:///system"
survey = { interval = "2s" }
[[sinks]]
type = "sqlite"
"""
RESTRICTED = 'auth_unix_ro = "polkit"\nauth_unix_rw = "polkit"\n'
EVERY_CALL = f'{RESTRICTED}access_drivers = ["polkit"]\n'
SITES_RULE = """
polkit.addRule(function (action, subject) {
    if (action.id.indexOf("org.libvirt.") == 0 && subject.user != "root") {
        return polkit.Result.NO;
    }
});
"""
RULE = "/etc/polkit-1/rules.d/60-domstat.rules"
POOL = ("virsh", "--connect", "qemu:///system", "pool-create-as", "heap", "dir", "--target", "/var/cache")


@pytest.fixture(scope="module")
def site(root: Root, package: Path) -> Iterator[Booted]:
    """A host whose own rule keeps everybody but root from libvirt, and domstat on it."""
    skip_where_it_cannot_be()
    root.run(*INSTALL, "systemd", "systemd-sysv", "dbus", "libpam-systemd", *HOST)
    root.install(package)
    root.path("/usr/sbin/policy-rc.d").unlink()
    root.path("/etc/libvirt/libvirtd.conf").write_text(RESTRICTED)
    root.path("/etc/polkit-1/rules.d/80-site.rules").write_text(SITES_RULE)
    root.path("/etc/domstat/domstat.toml").write_text(CONFIG)
    with Booted(root) as running:
        running.run("useradd", "--create-home", "stranger")
        yield running


@pytest.fixture
def ruled(site: Booted) -> Iterator[Booted]:
    """With the rule that the package brings, where the administrator has put it."""
    site.run("install", "-m", "0644", "/usr/share/doc/domstat/examples/60-domstat.rules", RULE)
    site.wait_for(lambda: "0 running" in asks(site, "domstat"), "new rules")
    yield site
    site.run("rm", RULE)


def asks(host: Booted, user: str, *command: str, read_only: bool = True) -> str:
    """Return what *user* is told by libvirt; without a command, how many guests run."""
    how = ["virsh", *(["--readonly"] if read_only else []), "--connect", "qemu:///system"]
    words = " ".join([*how, *(command or ("list", "--name", "&&", "echo", "0", "running"))])
    return host.run("runuser", "--user", user, "--", "sh", "-c", f"{words} || true")


def ticked(host: Booted) -> list[int]:
    """Return how many ticks each stream of the agent has had; none of them while it is not healthy."""
    status = json.loads(host.run("sh", "-c", "domstat status || true"))
    return [stream["ticks"] if status["healthy"] else 0 for stream in status["streams"]]


def test_whoever_no_rule_lets_in_is_refused_and_the_agent_says_so(site: Booted) -> None:
    for user in ("stranger", "domstat"):
        assert "access denied by policy" in asks(site, user)
    site.run("systemctl", "restart", "domstat")
    site.wait_for(lambda: "host_lost" in "".join(site.logged("domstat")), "word about it")
    assert "access denied by policy" in "".join(site.logged("domstat", "-p", "err"))


def test_the_rule_lets_the_agent_look_and_nobody_else(ruled: Booted) -> None:
    assert "access denied by policy" in asks(ruled, "stranger")
    ruled.run("systemctl", "restart", "domstat")
    ruled.wait_for(lambda: all(ticks > 0 for ticks in ticked(ruled)), "ticks of all streams")


def test_it_does_not_let_the_agent_write(ruled: Booted) -> None:
    assert "access denied by policy" in asks(ruled, "domstat", read_only=False)
    assert "access denied by policy" in asks(ruled, "stranger", read_only=False)


def test_it_is_enough_where_every_call_is_asked_for(ruled: Booted) -> None:
    ruled.write("/etc/libvirt/libvirtd.conf", EVERY_CALL)
    ruled.run("systemctl", "restart", "libvirtd")
    ruled.run(*POOL)
    for asked in ("nodecpustats", "nodememstats", "domstats", "pool-info heap", "vol-info --pool heap libvirt"):
        assert "denied" not in asks(ruled, "domstat", asked), asked
    assert "heap" in asks(ruled, "domstat", "pool-list")
    assert "denied" in asks(ruled, "domstat", "net-list"), "for which the agent has no use"
    ruled.run("systemctl", "restart", "domstat")
    ruled.wait_for(lambda: all(ticks > 0 for ticks in ticked(ruled)), "ticks of all streams")
    assert "denied" not in "".join(ruled.logged("domstat", "--boot", "--lines=20"))
