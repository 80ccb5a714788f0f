"""The Debian package, built from the tree, in a bare Debian 12 of its own: installed, upgraded, removed, purged."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .oracle import say

pytestmark = pytest.mark.faults

TREE = Path(__file__).parents[2]
MIRROR = "http://deb.debian.org/debian"
TOOLS = ("debootstrap", "dpkg-deb", "dpkg-shlibdeps", "unshare")
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


class Root:
    """A Debian in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, user: str | None = None, fails: bool = False) -> str:
        """Run a command in it, with its own /proc; return what it said."""
        asked = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.folder / 'proc'}", "chroot"]
        asked += [f"--userspec={user}"] if user else []
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            [*asked, str(self.folder), *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def install(self, package: Path) -> None:
        shutil.copy(package, self.folder / "tmp" / package.name)
        self.run("apt-get", "-qq", "-y", "--no-install-recommends", "install", f"/tmp/{package.name}")

    def path(self, inside: str) -> Path:
        return self.folder / inside.lstrip("/")

    def collect(self) -> int:
        """Have the service's user run the agent for a while; return how many ticks the history has then."""
        command = f"timeout --signal=TERM {TICKS_S} domstat run; test $? = 124 -o $? = 0"
        self.run("sh", "-c", command, user="domstat:domstat")
        said = self.run("domstat", "history", "sql", "--format", "csv", "SELECT count(DISTINCT time_ms) FROM samples")
        return int(said.split()[-1])


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a root folder is made by root")
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not here: {', '.join(lacking)}")
    with tempfile.TemporaryDirectory(prefix="domstat-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def package(work: Path) -> Path:
    subprocess.run(
        [TREE / "packaging" / "deb" / "build.sh", TREE / ".venv" / "bin" / "python", work],
        check=True,
        timeout=900,
        capture_output=True,
    )
    (made,) = work.glob("domstat_*.deb")
    return made


@pytest.fixture(scope="module")
def newer(work: Path, package: Path) -> Path:
    """The same, called a newer one."""
    unpacked, made = work / "newer", work / "newer.deb"
    subprocess.run(["dpkg-deb", "-R", package, unpacked], check=True)
    control = unpacked / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1:"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, made], check=True)
    shutil.rmtree(unpacked)
    return made


@pytest.fixture
def root(work: Path) -> Iterator[Root]:
    folder = work / "root"
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", folder, MIRROR],
        check=True,
        timeout=900,
        capture_output=True,
    )
    (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    made = Root(folder)
    made.run("apt-get", "-qq", "update")
    yield made
    shutil.rmtree(folder)


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
    ticks = root.collect()
    assert ticks > 2

    root.run("useradd", "--groups", "domstat-readers", "reader")
    root.run("useradd", "stranger")
    root.run("domstat", "history", "list", user="reader")
    root.run("domstat", "history", "list", user="stranger", fails=True)
    root.run("ls", "/var/lib/domstat", user="reader", fails=True)

    root.install(newer)
    assert root.path("/etc/domstat/domstat.toml").read_text() == CONFIG
    assert root.collect() > ticks

    root.run("apt-get", "-qq", "-y", "remove", "domstat")
    assert not root.path("/usr/lib/domstat").exists()
    assert root.path("/var/lib/domstat-history/history.db").exists()
    assert root.path("/etc/domstat/domstat.toml").exists()

    root.run("apt-get", "-qq", "-y", "purge", "domstat")
    for gone in ("/etc/domstat", "/var/lib/domstat", "/var/lib/domstat-history", "/usr/lib/domstat"):
        assert not root.path(gone).exists(), gone
    lasted_s = round(time.monotonic() - began)
    say({"test": "package", "ticks": ticks, "bytes": package.stat().st_size, "seconds": lasted_s})
