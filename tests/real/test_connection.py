"""A real libvirtd, reached as itself and under a split daemon's name; and what it says of its groups."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from domstat.catalog import GROUPS
from domstat.collect.wire import Examined
from domstat.collect.worker.abilities import examine
from domstat.collect.worker.connection import KEEPALIVE_COUNT, KEEPALIVE_INTERVAL_S
from domstat_lab.libvirtd import PrivateLibvirtd

from .conftest import PATIENCE_S

BUSY_S = 5.0
"""So much later a busy machine may notice."""

REACHED = """
import subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
subprocess.run(["mkdir", "/run/libvirt"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], "/run/libvirt"], check=True)
import libvirt
from domstat.collect.worker.connection import daemon_pid, open_connection
libvirt.registerErrorHandler(lambda *_: None, None)
try:
    connection, note = open_connection("qemu:///system", False)
    print(daemon_pid(), connection.numOfDomains() > 0, note.partition(", since: ")[2], sep="|")
except libvirt.libvirtError as error:
    print(error)
"""

HUNG = """
import sys, threading, time
import libvirt
from domstat.collect.worker.connection import keep_alive, open_connection
libvirt.registerErrorHandler(lambda *_: None, None)
libvirt.virEventRegisterDefaultImpl()

def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()

threading.Thread(target=run_events, daemon=True).start()
connection, _ = open_connection(sys.argv[1], False)
kept_alive = time.monotonic()
keep_alive(connection)
print("connected", flush=True)
sys.stdin.readline()
asked = time.monotonic()
try:
    connection.getAllDomainStats(1, 0)
except libvirt.libvirtError as error:
    print(time.monotonic() - kept_alive, time.monotonic() - asked, error, sep="|", flush=True)
"""


@pytest.fixture
def folder(lab: PrivateLibvirtd) -> Iterator[Path]:
    """An empty folder beside the lab's sockets, to stand for /run/libvirt."""
    folder = lab.folder / "elsewhere"
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def reached(folder: Path) -> str:
    """Connect to qemu:///system where *folder* is /run/libvirt; say whose daemon it was, or the error."""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", REACHED, str(folder)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def leave_behind(path: Path) -> None:
    """Make a socket whose daemon is gone."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def test_libvirtd_is_reached_where_it_is_alone(lab: PrivateLibvirtd, folder: Path) -> None:
    os.link(lab.socket_ro, folder / "libvirt-sock-ro")
    assert reached(folder) == f"{lab.pid}|True|"


@pytest.mark.parametrize("left_behind", [False, True])
def test_a_split_daemon_is_reached_where_there_is_no_libvirtd(
    lab: PrivateLibvirtd, folder: Path, left_behind: bool
) -> None:
    os.link(lab.socket_ro, folder / "virtqemud-sock-ro")
    if left_behind:
        leave_behind(folder / "libvirt-sock-ro")
    assert reached(folder) == f"{lab.pid}|True|"


def test_libvirtd_is_reached_past_what_a_split_daemon_left_behind(lab: PrivateLibvirtd, folder: Path) -> None:
    os.link(lab.socket_ro, folder / "libvirt-sock-ro")
    leave_behind(folder / "virtqemud-sock-ro")
    first_word = "Failed to connect socket to '/var/run/libvirt/virtqemud-sock-ro': Connection refused"
    assert reached(folder) == f"{lab.pid}|True|{first_word}"


def test_where_nobody_is_libvirts_own_words_are_said(folder: Path, lab: PrivateLibvirtd) -> None:
    assert "libvirt-sock-ro': No such file" in reached(folder)


def look(lab: PrivateLibvirtd) -> Examined:
    connection = libvirt.openReadOnly(lab.uri_ro)
    try:
        return examine(connection, lab.uri_ro)
    finally:
        connection.close()


def test_qemus_driver_knows_its_groups_and_tells_while_every_guest_hangs(lab: PrivateLibvirtd) -> None:
    pids = lab.qemu_pids().values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        found = look(lab)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert found.groups == dict.fromkeys(GROUPS, True)
    assert (found.driver, found.uri) == ("QEMU", lab.uri_ro)
    assert found.guests >= len(pids) > 0
    assert found.socket == f"/run/libvirt/libvirt-sock-ro (libvirtd, pid {lab.pid})"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in (found.hypervisor, found.libvirt))


def test_a_daemon_that_hangs_is_noticed_by_its_missing_signs_of_life(lab: PrivateLibvirtd) -> None:
    command = [sys.executable, "-c", HUNG, lab.uri_ro]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "connected\n"
        lab.sigstop()
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            since_kept_alive, since_asked, error = process.stdout.readline().split("|")
        finally:
            lab.sigcont()
    assert float(since_kept_alive) >= KEEPALIVE_INTERVAL_S * (KEEPALIVE_COUNT + 1) - 0.5
    assert float(since_asked) <= KEEPALIVE_INTERVAL_S * (KEEPALIVE_COUNT + 2) + BUSY_S
    assert "keepalive timeout" in error
