"""The service under a real systemd of Debian 12, as pid 1 of a machine in a folder, with real guests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat_lab.libvirtd import PrivateLibvirtd
from real.conftest import BURNER, WRITER

from .booted import Booted, skip_where_it_cannot_be
from .debian import INSTALL, Root
from .oracle import say

pytestmark = pytest.mark.faults

UNIT = "domstat.service"
CONFIG = "/etc/domstat/domstat.toml"
DROP_IN = "/etc/systemd/system/domstat.service.d/test.conf"
HISTORY = """
[[sinks]]
type = "sqlite"
path = "/var/lib/domstat-history/history.db"
group = "domstat-readers"
"""
SETTINGS = f"""
[agent]
state_dir = "/var/lib/domstat"
interval = "500ms"
status_group = "domstat-readers"
[[hosts]]
uri = "qemu:///system"
{HISTORY}
"""
PACKAGED = INSTALL[:-1]
"""apt-get without what it is to do."""


@pytest.fixture(scope="module")
def fetched(root: Root, package: Path) -> Path:
    """The package, with all that it needs fetched but not installed, in a root with systemd; return where, in it."""
    skip_where_it_cannot_be()
    root.run(*INSTALL, "systemd", "systemd-sysv")
    inside = root.carry(package)
    root.run(*INSTALL, "--download-only", f"/{inside}")
    root.path("/usr/sbin/policy-rc.d").unlink()
    return inside


@pytest.fixture(scope="module")
def booted(root: Root, fetched: Path, lab: PrivateLibvirtd) -> Iterator[Booted]:
    with Booted(root, {"/run/libvirt": lab.folder / "run"}) as running:
        running.run("systemctl", "mask", "--now", "apt-daily.timer", "apt-daily-upgrade.timer")
        yield running


@pytest.fixture(scope="module")
def machine(booted: Booted, fetched: Path) -> Booted:
    """With the package installed, by its systemd's own apt, without a network."""
    booted.run(*INSTALL, f"/{fetched}")
    return booted


@pytest.fixture
def service(machine: Booted) -> Iterator[Booted]:
    """The service, started anew, twice a second, and put right afterwards."""
    start(machine, SETTINGS)
    yield machine
    machine.write(CONFIG, SETTINGS)
    machine.run("rm", "-f", DROP_IN)


def start(machine: Booted, settings: str, drop_in: str = "") -> None:
    machine.write(CONFIG, settings)
    if drop_in:
        machine.write(DROP_IN, f"[Service]\n{drop_in}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)


def status(machine: Booted) -> Any:
    """Return what the agent says of itself, be it well or not."""
    return json.loads(machine.run("sh", "-c", "domstat status --socket /run/domstat/status.sock || true"))


def guests(machine: Booted) -> set[str]:
    """Return the guests that the history knows."""
    listed = machine.run("domstat", "history", "list").splitlines()
    return {json.loads(line)["domain"] for line in listed}


def ticks(machine: Booted) -> int:
    said = machine.run("domstat", "history", "sql", "--format", "csv", "SELECT count(DISTINCT time_ms) FROM samples")
    return int(said.split()[-1])


def test_a_package_that_is_installed_is_a_service_that_collects(machine: Booted) -> None:
    assert machine.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert (machine.shows(UNIT, "ActiveState"), machine.shows(UNIT, "SubState")) == ("active", "running")
    machine.wait_for(lambda: {WRITER.name, BURNER.name} <= guests(machine), "guests in the history")
    machine.wait_for(lambda: status(machine)["healthy"], "healthy agent")
    assert machine.shows(UNIT, "NRestarts") == "0"
    assert machine.logged(UNIT, "-p", "warning") == []


def test_it_is_closed_in_as_the_unit_says(service: Booted) -> None:
    pid = service.shows(UNIT, "MainPID")
    lines = service.run("cat", f"/proc/{pid}/status").splitlines()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    own = service.run("id", "-u", "domstat").strip()
    assert found["Uid"] == [own] * 4
    assert (found["CapBnd"], found["NoNewPrivs"], found["Seccomp"]) == (["0" * 16], ["1"], ["2"])
    inside = ("nsenter", f"--target={pid}", "--mount", "touch")
    for closed in ("/etc/was-here", "/usr/was-here", "/var/lib/was-here", "/boot/was-here"):
        assert "Read-only" in service.run(*inside, closed, fails=True)
    for free in ("/var/lib/domstat/was-here", "/var/lib/domstat-history/was-here", "/tmp/was-here"):
        service.run(*inside, free)
    service.run("test", "-e", "/tmp/was-here", fails=True)  # its /tmp is its own
    service.run("rm", "/var/lib/domstat/was-here", "/var/lib/domstat-history/was-here")
    modes = service.run("stat", "-c", "%a %U %G", "/var/lib/domstat", "/var/lib/domstat-history", "/run/domstat")
    assert modes.splitlines() == ["700 domstat domstat", "750 domstat domstat-readers", "711 domstat domstat"]


def test_readers_may_look_and_strangers_may_not(service: Booted) -> None:
    service.run("useradd", "--groups", "domstat-readers", "reader")
    service.run("useradd", "stranger")
    for asked in (("status",), ("history", "list")):
        service.run("domstat", *asked, user="reader")
        service.run("domstat", *asked, user="stranger", fails=True)
    assert "systemctl reload" in service.run("domstat", "reload", user="reader", fails=True)


def test_a_reload_takes_over_what_is_right_and_refuses_what_is_wrong(service: Booted) -> None:
    pid = service.shows(UNIT, "MainPID")
    service.write(CONFIG, SETTINGS.replace("500ms", "1s"))
    service.run("systemctl", "reload", UNIT)
    assert status(service)["streams"][0]["interval_s"] == 1.0
    service.write(CONFIG, SETTINGS + "nonsense = 1\n")
    service.run("systemctl", "reload", UNIT, fails=True)
    assert "sinks[0].nonsense: unknown key" in "".join(service.logged(UNIT, "-p", "err", "--lines=3"))
    assert status(service)["streams"][0]["interval_s"] == 1.0
    service.write(CONFIG, SETTINGS.replace("/lib/domstat", "/lib/elsewhere"))
    service.run("systemctl", "reload", UNIT, fails=True)
    assert "state_dir" in "".join(service.logged(UNIT, "--lines=5")), "which the agent itself refuses"
    assert (service.shows(UNIT, "MainPID"), service.shows(UNIT, "SubState")) == (pid, "running")


SERVER = """
import http.server
class Asked(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.headers["authorization"], flush=True)
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8086), Asked).handle_request()
"""


def test_a_secret_that_only_root_may_read_reaches_the_sinks_server(service: Booted) -> None:
    service.write("/etc/domstat/influx.token", "not-for-the-agent\n", mode=0o600)
    influx = 'type = "influxdb"\nurl = "http://127.0.0.1:8086"\norg = "ours"\nbucket = "b"\n'
    with service.start("/usr/bin/python3", "-c", SERVER) as server:
        start(
            service,
            f'{SETTINGS}\n[[sinks]]\n{influx}token_credential = "influx-token"\n',
            "LoadCredential=influx-token:/etc/domstat/influx.token",
        )
        said, _ = server.communicate(timeout=90)
    assert said.split() == ["Token", "not-for-the-agent"]
    service.run("test", "-r", "/etc/domstat/influx.token", user="domstat", fails=True)
    service.run("rm", "/etc/domstat/influx.token")


def test_a_configuration_that_is_wrong_is_said_and_not_tried_again(service: Booted) -> None:
    service.run("systemctl", "stop", UNIT)
    service.write(CONFIG, SETTINGS.replace("interval", "intervall"))
    service.run("systemctl", "start", UNIT, fails=True)
    assert (service.shows(UNIT, "ActiveState"), service.shows(UNIT, "NRestarts")) == ("failed", "0")
    assert "did you mean" in "".join(service.logged(UNIT, "-p", "err", "--lines=3"))


def test_an_agent_that_hangs_is_ended_and_started_anew(service: Booted) -> None:
    start(service, SETTINGS, "WatchdogSec=10s\nRestartSec=1s")
    pid, before = service.shows(UNIT, "MainPID"), ticks(service)
    service.run("sh", "-c", f"kill -STOP {pid}")
    service.wait_for(lambda: service.shows(UNIT, "NRestarts") == "1", "restart")
    service.wait_for(lambda: service.shows(UNIT, "SubState") == "running", "agent that is ready")
    assert service.shows(UNIT, "MainPID") != pid
    assert any("Watchdog timeout" in line for line in service.logged(UNIT, "--lines=20"))
    service.wait_for(lambda: ticks(service) > before + 2, "ticks in the history")


def test_it_ends_as_it_is_asked_to(service: Booted) -> None:
    began = time.monotonic()
    service.run("systemctl", "stop", UNIT)
    took_s = round(time.monotonic() - began, 2)
    assert (service.shows(UNIT, "Result"), service.shows(UNIT, "ExecMainStatus")) == ("success", "0")
    assert "agent_stopped" in "".join(service.logged(UNIT, "--lines=5"))
    say({"test": "systemd", "stop_s": took_s})


def test_after_a_boot_it_is_there_again_with_what_it_had(service: Booted) -> None:
    before = ticks(service)
    service.power_off()
    service.boot()
    service.wait_for(lambda: service.shows(UNIT, "SubState") == "running", "service that boots")
    service.wait_for(lambda: ticks(service) > before, "ticks in the history")
    service.run("domstat", "history", "verify")


def test_the_users_and_folders_that_systemd_makes_are_the_packages(machine: Booted) -> None:
    """Of an installation from the wheel; and of a package whose folder somebody has removed."""
    asked = ("stat", "-c", "%n %a %U %G", "/var/lib/domstat-history")
    made = machine.run(*asked)
    machine.run("systemctl", "stop", UNIT)
    machine.run("rm", "-r", "/var/lib/domstat-history")
    for account in ("userdel domstat", "groupdel domstat-readers"):
        machine.run(*account.split())
    machine.run("systemd-sysusers", "domstat.conf")
    machine.run("systemd-tmpfiles", "--create", "domstat.conf")
    assert machine.run(*asked) == made
    assert set(machine.run("id", "-Gn", "domstat").split()) == {"domstat", "domstat-readers"}
    machine.run("systemctl", "start", UNIT)
    assert machine.shows(UNIT, "SubState") == "running", "its state directory is its own again"


def test_it_is_upgraded_removed_and_purged_while_it_runs(service: Booted, root: Root, newer: Path) -> None:
    pid, before = service.shows(UNIT, "MainPID"), ticks(service)
    service.run(*INSTALL, f"/{root.carry(newer)}")
    assert (service.shows(UNIT, "SubState"), service.shows(UNIT, "Result")) == ("running", "success")
    assert service.shows(UNIT, "MainPID") != pid
    service.wait_for(lambda: ticks(service) > before + 2, "ticks in the history")
    service.run(*PACKAGED, "remove", "domstat")
    assert (service.shows(UNIT, "ActiveState"), service.shows(UNIT, "Result")) == ("inactive", "success")
    service.run(*PACKAGED, "purge", "domstat")
    left = service.run("find", "/etc", "/usr", "/lib", "/var/lib", "-path", "*domstat*", "-not", "-path", "*/dpkg/*")
    assert left == ""
