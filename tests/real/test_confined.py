"""The agent under the unit's restrictions, with real guests: own user, no rights, few system calls, read-only root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domstat_bench.measure import children
from domstat_lab.libvirtd import PrivateLibvirtd
from unit_file import UNIT

from . import confined
from .conftest import BURNER, PATIENCE_S, WRITER

UID = 65534
"""Nobody's, who has a group of that number."""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("systemd-analyze", "setpriv", "unshare"))), reason="systemd-analyze is not here"
)

Confined = Callable[[Sequence[str]], "subprocess.Popen[str]"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, UID, UID)
    return folder


@pytest.fixture
def run_confined(lab: PrivateLibvirtd, state: Path, tmp_path: Path) -> Iterator[Confined]:
    started: list[subprocess.Popen[str]] = []

    def run(command: Sequence[str]) -> subprocess.Popen[str]:
        outer = ["unshare", "--mount", "--ipc", "--propagation", "private", sys.executable, "-B", confined.__file__]
        full = [*outer, str(UNIT), str(UID), str(lab.socket_ro), str(state), "--", *command]
        with (tmp_path / "out").open("w") as out, (tmp_path / "log").open("w") as log:
            started.append(subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=out, stderr=log, text=True))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


FORBIDDEN = """
import ctypes, errno, json, mmap, os, socket
def told(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "allowed"
libc = ctypes.CDLL(None, use_errno=True)
def made(*call):
    if libc.syscall(*call) == -1:
        raise OSError(ctypes.get_errno(), "refused")
print(json.dumps({
    "write to /etc": told(lambda: open("/etc/domstat-was-here", "w")),
    "write beside the state": told(lambda: open("/mnt/domstat-was-here", "w")),
    "write to the state": told(lambda: open("/mnt/state/was-here", "w")),
    "netlink": told(lambda: socket.socket(socket.AF_NETLINK)),
    "unix": told(lambda: socket.socket(socket.AF_UNIX)),
    "write and execute": told(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "set-uid": told(lambda: os.chmod("/mnt/state/was-here", 0o4700)),
    "to its own group": told(lambda: os.chown("/mnt/state/was-here", -1, os.getgid())),
    "unshare": told(lambda: made(272, 0x10000000)),
    "nice": told(lambda: os.setpriority(os.PRIO_PROCESS, 0, 5)),
}))
"""


def test_what_the_unit_forbids_is_forbidden_here(run_confined: Confined, tmp_path: Path) -> None:
    process = run_confined([sys.executable, "-c", FORBIDDEN])
    assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "out").read_text()) == {
        "write to /etc": "EROFS",
        "write beside the state": "EROFS",
        "write to the state": "allowed",
        "netlink": "EAFNOSUPPORT",
        "unix": "allowed",
        "write and execute": "EPERM",
        "set-uid": "EPERM",
        "to its own group": "allowed",
        "unshare": "EPERM",
        "nice": "EPERM",
    }


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_agent_does_all_its_work_under_them(run_confined: Confined, state: Path, tmp_path: Path) -> None:
    (state / "domstat.toml").write_text(
        f'[agent]\nstate_dir = "{confined.STATE}"\ninterval = "500ms"\nstatus_group = "nogroup"\n'
        f'status_socket = "{confined.STATE}/status.sock"\n'
        f'[[hosts]]\nname = "lab"\nuri = "qemu+unix:///system?socket={confined.SOCKET}"\n'
        'survey = { interval = "2s" }\n'
        '[[sinks]]\ntype = "sqlite"\ngroup = "nogroup"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n'
    )
    (state / "domstat.toml").chmod(0o644)
    out, log = tmp_path / "out", tmp_path / "log"
    agent = run_confined([sys.executable, "-m", "domstat.cli", "run", "--config", f"{confined.STATE}/domstat.toml"])

    def records() -> list[dict[str, Any]]:
        return [json.loads(line) for line in out.read_text().split("\n")[:-1]]

    def guests() -> list[dict[str, Any]]:
        return [one for one in records() if one["kind"] == "guest" and one["collect"] == "default"]

    def wait_for(condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert agent.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.1)

    wait_for(lambda: len(guests()) >= 12)
    wait_for(lambda: '"survey"' in log.read_text())
    wait_for(lambda: len(children(agent.pid)) == 1)  # a survey has a worker of its own, which ends with it
    (worker,) = children(agent.pid)
    for pid in (agent.pid, worker):
        found = status_of(pid)
        assert found["Uid"].split() == [str(UID)] * 4
        assert (found["Gid"].split(), found["Groups"]) == ([str(UID)] * 4, ""), "in no group of libvirt's"
        assert (found["CapEff"], found["CapBnd"], found["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
        assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "2")
    agent.send_signal(signal.SIGHUP)
    wait_for(lambda: "configuration_read" in log.read_text())
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(PATIENCE_S) == 0

    names = {one["domain"]["name"] for one in guests()}
    assert {WRITER.name, BURNER.name} <= names
    assert any("cpu.time" in key for one in guests() for key in one["params"])
    assert any(one.get("rates") or one.get("interval_s") for one in guests())
    costs = [one["params"] for one in records() if one["kind"] == "agent" and "agent.cost.worker" in one["params"]]
    assert any("agent.cost.libvirtd" in params for params in costs), "what the unit says is there"
    for file in ("history.db", "journal.db"):
        assert (state / file).stat().st_size > 0
    troubles = [event for event in map(json.loads, log.read_text().splitlines()) if event["level"] == "error"]
    assert troubles == []
