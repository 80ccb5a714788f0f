"""The Debian package, built from the tree, in a bare Debian 12 of its own: installed, upgraded, removed, purged."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .debian import Root
from .oracle import say

pytestmark = pytest.mark.faults

TICKS_S = 8.0
"""How long an agent collects: some ticks of half a second."""

CONFIG = """
[agent]
state_dir = "/var/lib/domstat"
interval = "500ms"
status_group = "domstat-readers"
[[hosts]]
uri = "test:///default"
[[sinks]]
type = "sqlite"
path = "/var/lib/domstat-history/history.db"
group = "domstat-readers"
"""


def collect(root: Root) -> int:
    """Have the service's user run the agent for a while; return how many ticks the history has then."""
    command = f"timeout --signal=TERM {TICKS_S} domstat run; test $? = 124 -o $? = 0"
    root.run("sh", "-c", command, user="domstat:domstat")
    said = root.run("domstat", "history", "sql", "--format", "csv", "SELECT count(DISTINCT time_ms) FROM samples")
    return int(said.split()[-1])


def test_it_installs_runs_upgrades_and_goes(root: Root, package: Path, newer: Path) -> None:
    began = time.monotonic()
    root.install(package)
    assert "/usr/bin/domstat" in root.run("dpkg", "-L", "domstat")
    assert root.path("/var/lib/domstat").stat().st_mode & 0o777 == 0o700
    assert root.path("/var/lib/domstat-history").stat().st_mode & 0o777 == 0o750
    assert root.run("id", "-Gn", "domstat").split() == ["domstat", "domstat-readers"]
    assert "qemu:///system" in root.run("domstat", "check")
    assert root.run("dpkg-query", "-f", "${Conffiles}", "-W", "domstat").split()[0] == "/etc/domstat/domstat.toml"

    root.path("/etc/domstat/domstat.toml").write_text(CONFIG)
    ticks = collect(root)
    assert ticks > 2

    root.run("useradd", "--groups", "domstat-readers", "reader")
    root.run("useradd", "stranger")
    root.run("domstat", "history", "list", user="reader")
    root.run("domstat", "history", "list", user="stranger", fails=True)
    root.run("ls", "/var/lib/domstat", user="reader", fails=True)

    root.install(newer)
    assert root.path("/etc/domstat/domstat.toml").read_text() == CONFIG
    assert collect(root) > ticks

    root.run("apt-get", "-qq", "-y", "remove", "domstat")
    assert not root.path("/usr/lib/domstat").exists()
    assert root.path("/var/lib/domstat-history/history.db").exists()
    assert root.path("/etc/domstat/domstat.toml").exists()

    root.run("apt-get", "-qq", "-y", "purge", "domstat")
    for gone in ("/etc/domstat", "/var/lib/domstat", "/var/lib/domstat-history", "/usr/lib/domstat"):
        assert not root.path(gone).exists(), gone
    lasted_s = round(time.monotonic() - began)
    say({"test": "package", "ticks": ticks, "bytes": package.stat().st_size, "seconds": lasted_s})
