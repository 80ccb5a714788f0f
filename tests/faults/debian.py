"""A bare Debian 12 in a folder, and the package that is built from the tree, once for all tests that want them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
MIRROR = "http://deb.debian.org/debian"
TOOLS = ("debootstrap", "dpkg-deb", "dpkg-shlibdeps", "unshare")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
INSTALL = ("apt-get", "-qq", "-y", "--no-install-recommends", "install")
PATIENCE_S = 900
"""The longest that building, fetching or installing may take on a slow machine."""


class Root:
    """A Debian in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, user: str | None = None, fails: bool = False) -> str:
        """Run a command in it, with its own /proc; return what it said."""
        asked = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.folder / 'proc'}", "chroot"]
        asked += [f"--userspec={user}"] if user else []
        return told([*asked, str(self.folder), *command], fails=fails, environment=ENVIRONMENT)

    def install(self, package: Path) -> None:
        self.run(*INSTALL, f"/{self.carry(package)}")

    def carry(self, file: Path) -> Path:
        """Copy a file into it; return where it is, from its root."""
        shutil.copy(file, self.folder / "var" / "tmp" / file.name)
        return Path("var/tmp", file.name)

    def path(self, inside: str) -> Path:
        return self.folder / inside.lstrip("/")


def told(command: Sequence[str], *, fails: bool = False, environment: Mapping[str, str] | None = None) -> str:
    """Run *command*, which succeeds, or *fails*; return what it said."""
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode != 0) is fails, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def remove(folder: Path) -> None:
    """Remove a root, and nothing that should still be mounted in it."""
    told(["rm", "-rf", "--one-file-system", str(folder)])


@pytest.fixture(scope="session")
def debian_work() -> Iterator[Path]:
    """Where roots and packages are, readable for the users within."""
    if os.geteuid() != 0:
        pytest.skip("a root folder is made by root")
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not here: {', '.join(lacking)}")
    with tempfile.TemporaryDirectory(prefix="domstat-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def package(debian_work: Path) -> Path:
    build = TREE / "packaging" / "deb" / "build.sh"
    told([str(build), str(TREE / ".venv" / "bin" / "python"), str(debian_work)])
    (made,) = debian_work.glob("domstat_*.deb")
    return made


@pytest.fixture(scope="session")
def newer(debian_work: Path, package: Path) -> Path:
    """The same, called a newer one."""
    unpacked, made = debian_work / "newer", debian_work / "newer.deb"
    subprocess.run(["dpkg-deb", "-R", package, unpacked], check=True)
    control = unpacked / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1:"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, made], check=True)
    shutil.rmtree(unpacked)
    return made


@pytest.fixture(scope="session")
def bare(debian_work: Path) -> Iterator[Path]:
    """A Debian to make copies of; nothing is started in it."""
    folder = debian_work / "bare"
    told(["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(folder), MIRROR])
    policy = folder / "usr" / "sbin" / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    Root(folder).run("apt-get", "-qq", "update")
    yield folder
    remove(folder)


@pytest.fixture(scope="module")
def root(bare: Path, debian_work: Path) -> Iterator[Root]:
    """A Debian of a module's own."""
    folder = debian_work / "root"
    told(["cp", "-a", "--reflink=auto", str(bare), str(folder)])
    yield Root(folder)
    remove(folder)
