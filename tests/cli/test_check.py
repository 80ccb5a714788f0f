"""``domstat check``: what a configuration means, and what is found when its hosts are connected to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cli.test_cli import domstat
from domstat.catalog import GROUPS
from domstat.cli import reach as reaching
from domstat.cli.check import describe
from domstat.cli.reach import Examine, Report, reach, reach_hosts
from domstat.collect.errors import CollectError, OverdueError, UnreachableError
from domstat.collect.wire import Examined
from domstat.config import HostConfig, parse
from strangers import lay

FOUND = Examined(
    driver="QEMU",
    uri="qemu:///system",
    socket="/run/libvirt/virtqemud-sock-ro (virtqemud, pid 812)",
    hypervisor="7.2.22",
    libvirt="9.0.0",
    guests=12,
    groups=dict.fromkeys(GROUPS, True),
)
NO_SOCKET = "Failed to connect socket to '/var/run/libvirt/libvirt-sock-ro': No such file or directory"


def host(text: str = "") -> HostConfig:
    (only,) = parse(f'[[hosts]]\nname = "kvm1"\n{text}\n').hosts
    return only


def finding(**changes: Any) -> Examine:
    return lambda _host, _writable: replace(FOUND, **changes)


def failing(error: CollectError) -> Examine:
    def examine(_host: HostConfig, _writable: bool) -> Examined:
        raise error

    return examine


def without(*groups: str) -> dict[str, bool]:
    return {group: group not in groups for group in GROUPS}


def said(report: Report) -> str:
    return "\n".join(report.lines)


# --- what would run


def lines_of(text: str) -> list[str]:
    return list(describe(parse(f'[[hosts]]\nname = "kvm1"\n{text}\n')))


def test_a_connection_that_may_write_is_said_to_be_one() -> None:
    refreshing = lines_of("[hosts.survey]\nrefresh = true\ninterval = '1h'")
    line = (
        "  survey       every 1h: storage pools, guests that are off; refreshes pools, by a connection that may write"
    )
    assert line in refreshing
    assert "may write" not in "".join(lines_of(""))


def test_a_survey_that_is_off_is_said_to_be() -> None:
    off = "\n".join(lines_of("[hosts.survey]\nenabled = false\nrefresh = true"))
    assert "  survey       none" in off
    assert "may write" not in off


def test_what_is_probed_labelled_and_allowed_is_said() -> None:
    text = lines_of("uri = 'qemu+tcp://me:s3cret@kvm7/system'\nallow = ['tcp']\n[hosts.labels]\nowner = 'title'")
    assert any("block; probed: perf, iothread, memory, dirtyrate" in line for line in text)
    assert {"  label        owner = title", "  allowed      tcp"} <= set(text)


def test_no_password_is_shown() -> None:
    assert "qemu+ssh://me:***@kvm7/system" in "\n".join(lines_of("uri = 'qemu+ssh://me:s3cret@kvm7/system'"))


def test_no_secret_of_a_sink_is_shown(tmp_path: Path) -> None:
    code = "class Careless(Sink):\n    class Settings(Struct):\n        password: str = ''\n        url: str = ''\n"
    env = lay(tmp_path / "site", {"careless": "Careless"}, code)
    path = tmp_path / "domstat.toml"
    secrets = 'password = "s3cret"\nurl = "http://me:s3cret@kvm7/"\n'
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[[sinks]]\ntype = "careless"\n{secrets}')
    done = domstat("check", "--config", str(path), env=env)
    assert done.returncode == 0
    assert "careless: password = ***, url = http://me:***@kvm7/" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


# --- what is there


def test_a_host_that_has_all_is_well_and_says_who_serves_it() -> None:
    report = reach(host(), finding())
    assert report.well
    assert report.lines == (
        "reached        kvm1  /run/libvirt/virtqemud-sock-ro (virtqemud, pid 812)",
        "  driver       QEMU 7.2.22, libvirt 9.0.0, qemu:///system",
        "  guests       12 running",
        "  groups       all that every tick asks for are known",
    )


def test_a_group_that_every_tick_asks_for_and_the_driver_lacks_is_trouble() -> None:
    report = reach(host(), finding(groups=without("vcpu", "block", "vm")))
    assert not report.well
    assert "  unknown      vcpu, block: the driver has state, cpu-total, balloon, interface, perf" in said(report)


def test_a_group_that_is_only_probed_and_lacking_is_a_note() -> None:
    report = reach(host(), finding(groups=without("dirtyrate")))
    assert report.well
    assert "  note         nothing will come of dirtyrate" in said(report)


def test_a_group_that_is_lacking_and_not_wanted_is_not_spoken_of() -> None:
    report = reach(host("[[hosts.collect]]\ngroups = ['state']"), finding(groups=without("vcpu", "block")))
    assert report.well
    assert "block" not in said(report)


def test_a_driver_that_does_not_tell_its_groups_is_no_trouble() -> None:
    report = reach(host(), finding(groups={}))
    assert report.well
    assert "only while a guest runs, or never" in said(report)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (UnreachableError(NO_SOCKET), "see that libvirt runs there: systemctl status libvirtd virtqemud"),
        (UnreachableError("connect: Connection refused"), "see that libvirt runs there"),
        (UnreachableError("Failed to connect socket: Permission denied"), "may not use that socket"),
        (UnreachableError("ssh: me@kvm1: Permission denied (publickey)."), "it needs a key without a passphrase"),
        (UnreachableError("authentication unavailable: no polkit agent"), "polkit rule"),
        (UnreachableError("Cannot recv data: Host key verification failed."), "the host's key must be known"),
        (UnreachableError("Failed to find user record for uid '998'"), "the host has no user of this number"),
        (UnreachableError("no connection driver available for foo:///"), "see that the URI's first word is right"),
        (OverdueError("kvm1 did not answer before the deadline"), "see whether it answers to virsh"),
        (CollectError("something new"), "see that the URI is right"),
    ],
)
def test_a_host_that_cannot_be_reached_is_one_line_that_says_what_to_do(error: CollectError, advice: str) -> None:
    report = reach(host(), failing(error))
    assert not report.well
    (line,) = report.lines
    assert line.startswith(f"unreachable    kvm1  {error}; ")
    assert advice in line


def test_an_error_shows_neither_passwords_nor_escapes() -> None:
    error = UnreachableError("no driver for x://me:s3cret@kvm7/\n\x1b[31mred")
    line = said(reach(host(), failing(error)))
    assert "s3cret" not in line
    assert line.isprintable()


def test_a_host_whose_pools_are_refreshed_is_tried_for_writing_too() -> None:
    asked = []

    def examine(_host: HostConfig, writable: bool) -> Examined:
        asked.append(writable)
        if writable:
            raise UnreachableError("Failed to connect socket to 'libvirt-sock': Permission denied")
        return FOUND

    report = reach(host("[hosts.survey]\nrefresh = true"), examine)
    assert asked == [False, True]
    assert not report.well
    assert "  no refresh   Failed to connect" in report.lines[-1]
    assert "or take refresh away" in report.lines[-1]
    for survey in ("", "[hosts.survey]\nrefresh = true\nenabled = false"):
        asked.clear()
        assert reach(host(survey), examine).well
        assert asked == [False]


def test_hosts_are_reported_in_their_order_however_long_each_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"h{i}" for i in range(20)]
    hosts = parse("\n".join(f'[[hosts]]\nname = "{name}"' for name in names)).hosts

    def examine(host: HostConfig, _writable: bool) -> Examined:
        if host.name in {"h0", "h7"}:
            raise UnreachableError("gone")
        return FOUND

    monkeypatch.setattr(reaching, "examine_by_worker", examine)
    reports = list(reach_hosts(hosts))
    assert [report.lines[0].split()[1] for report in reports] == names
    assert [name for name, report in zip(names, reports, strict=True) if not report.well] == ["h0", "h7"]


# --- for real, with drivers that are inside libvirt


@pytest.fixture
def check(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    def run(text: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "domstat.toml"
        path.write_text(f"[agent]\nstate_dir = '{tmp_path}'\n{text}")
        command = [sys.executable, "-m", "domstat.cli", "check", "--connect", "--config", str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    return run


STATE_ALONE = "[[hosts.collect]]\ngroups = ['state']\n"
TEST_DRIVER = f"[[hosts]]\nuri = 'test:///default'\nname = 'here'\n{STATE_ALONE}"


def test_libvirts_test_driver_is_reached_and_has_the_state_alone(
    check: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = check(TEST_DRIVER)
    assert (done.returncode, done.stderr) == (0, "")
    assert "reached        here  inside the worker: this driver has no daemon" in done.stdout
    assert "  driver       TEST" in done.stdout
    assert "  guests       1 running" in done.stdout
    assert done.stdout.splitlines()[-1] == "ok"


def test_a_group_that_the_test_driver_lacks_is_an_exit_code(
    check: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = check("[[hosts]]\nuri = 'test:///default'\n")
    assert done.returncode == 1
    assert "  unknown      cpu-total, balloon, vcpu, interface, block: the driver has state" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line == "domstat: not everything that is configured can be had: see above"


def test_one_host_that_is_not_there_leaves_the_others_to_be_reached(
    check: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = check(f"[[hosts]]\nuri = 'qemu+unix:///system?socket=/nonexistent'\nname = 'gone'\n{TEST_DRIVER}")
    assert done.returncode == 1
    assert "unreachable    gone  Failed to connect socket to '/nonexistent': No such file or directory; " in done.stdout
    assert "reached        here" in done.stdout
    assert done.stdout.splitlines()[-1] != "ok"
