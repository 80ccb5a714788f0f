"""A folder's Debian, booted: its own systemd as pid 1 of namespaces, which leaves this machine's alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import pytest

from domstat_lab import processes

from . import booting
from .debian import ENVIRONMENT, Root, told

NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
TOOLS = ("unshare", "nsenter", "setpriv", "pivot_root")
COMES_S = 90.0
"""How long anything is waited for that is to come at once: no test fails because its machine is busy."""

END_S = 120.0
"""systemd itself gives a service that does not end 90 seconds."""


def skip_where_it_cannot_be() -> None:
    """Skip where this machine has not what a systemd wants that is not its own."""
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not here: {', '.join(lacking)}")
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--net", "--fork", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"no namespaces of its own for a systemd: {tried.stderr.strip()}")
    group = own_cgroup()
    if group is None:
        pytest.skip("no cgroup2 is mounted here, which a systemd wants")
    try:
        Path(tempfile.mkdtemp(prefix="domstat-", dir=group)).rmdir()
    except OSError as error:
        pytest.skip(f"no cgroup of its own for a systemd: {error}")


def own_cgroup() -> Path | None:
    """Return the folder of this process's cgroup of version 2."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    hierarchy = next((place for _, place, kind, *_ in mounts if kind == "cgroup2"), None)
    groups = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for number, _, path in groups if number == "0"), None)
    return None if hierarchy is None or own is None else Path(hierarchy, own.lstrip("/"))


class Booted:
    """A root that runs.

    *shown* are folders of this machine by the place where they are seen in it. Its network is its own and leads
    nowhere, unless it *fetches*: then it is this machine's.
    """

    def __init__(self, root: Root, shown: Mapping[str, Path] = MappingProxyType({}), *, fetches: bool = False) -> None:
        self._root = root
        self._namespaces = NAMESPACES if fetches else (*NAMESPACES, "--net")
        self._network = booting.OURS if fetches else booting.OWN
        self._shown = [f"{folder}:{place}" for place, folder in shown.items()]
        self._unshare: subprocess.Popen[bytes] | None = None
        self._group = Path()
        self._init = 0
        """systemd's pid, as seen from here; 0 while it does not run."""

    def __enter__(self) -> Self:
        try:
            self.boot()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def boot(self) -> None:
        """Start it; return when its services are up."""
        group = own_cgroup()
        assert group is not None
        self._group = Path(tempfile.mkdtemp(prefix="domstat-", dir=group))
        # sh enters the cgroup, so that the new namespace of cgroups has it for its root. All ends with this process.
        enter = f'echo $$ >"{self._group}/cgroup.procs" && exec "$@"'
        become = [sys.executable, "-I", booting.__file__, str(self._root.folder), self._network, *self._shown]
        command = ["unshare", *self._namespaces, "--fork", "--kill-child", "--propagation", "private", *become]
        self._unshare = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", "-c", enter, "sh", *command], stdin=subprocess.DEVNULL
        )
        self.wait_for(self._is_up, "systemd that is up")

    def power_off(self) -> None:
        """Have it end by itself, as a machine does that is shut down."""
        self.run("systemctl", "poweroff")
        self._wait_gone()

    def end(self) -> None:
        """End it at once, if it runs."""
        if self._unshare is not None:
            self._unshare.kill()
            self._wait_gone()

    def _wait_gone(self) -> None:
        assert self._unshare is not None
        self._unshare.wait(END_S)
        self._unshare, self._init = None, 0
        processes.wait_until(self._is_empty, timeout_s=END_S, otherwise=f"{self._group} still has processes")
        for folder, *_ in os.walk(self._group, topdown=False):
            Path(folder).rmdir()

    def _is_empty(self) -> bool:
        return "populated 0" in (self._group / "cgroup.events").read_text()

    def _is_up(self) -> bool:
        assert self._unshare is not None
        assert self._unshare.poll() is None, "its first process ended"
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self._init = int(children[0])
        asked = [*self._inside(), "systemctl", "is-system-running"]
        said = subprocess.run(asked, env=ENVIRONMENT, capture_output=True, text=True, check=False).stdout
        return said.strip() in {"running", "degraded"}

    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self._init}", "--all", "--root", "--wd"]

    def run(self, *command: str, user: str | None = None, fails: bool = False) -> str:
        """Run a command in it; return what it said."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return told([*self._inside(), *become, *command], fails=fails, environment=ENVIRONMENT)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in it, whose output is read from here."""
        full = [*self._inside(), *command]
        return subprocess.Popen(full, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self._root.path(inside)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        processes.wait_until(condition, timeout_s=COMES_S, otherwise=f"no {what}")

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def logged(self, unit: str, *options: str) -> list[str]:
        """Return the messages that the journal has of a unit."""
        return self.run("journalctl", "-q", "--no-pager", "-o", "cat", "-u", unit, *options).splitlines()
