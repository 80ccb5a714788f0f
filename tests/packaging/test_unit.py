"""The service's unit: as closed as it is said to be, and sound in systemd's own eyes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from unit_file import UNIT, allowed_calls, settings_of

EXPOSURE_MAX = 1.5
"""Of 10, as systemd-analyze counts: Debian's prometheus has 4.0, most agents 9 and more."""

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@analyze
def test_the_unit_exposes_as_little_as_is_said() -> None:
    threshold = f"--threshold={round(EXPOSURE_MAX * 10)}"
    command = ["systemd-analyze", "security", "--offline=true", threshold, str(UNIT)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-300:]


@analyze
def test_systemd_finds_no_fault_with_it(tmp_path: Path) -> None:
    # What is not installed here is no fault of the unit's.
    program = tmp_path / "domstat"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "domstat.service"
    text = UNIT.read_text().replace("/usr/bin/domstat", str(program)).replace("Documentation=man:domstat(1)\n", "")
    unit.write_text(text)
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


@analyze
def test_what_is_shared_may_be_given_to_its_group_and_nothing_privileged_else() -> None:
    allowed = allowed_calls(settings_of()["SystemCallFilter"])
    assert {"chown", "fchownat", "openat", "execve", "socket", "clone"} <= allowed
    assert not {"mount", "setuid", "setpriority", "ptrace", "bpf", "reboot", "kexec_load", "chroot"} & allowed


def test_it_needs_no_daemon_of_libvirts_and_no_group() -> None:
    found = settings_of()
    assert {"libvirtd.service", "virtqemud.service"} <= set(found["After"][0].split())
    assert not {"Requires", "BindsTo", "Wants", "SupplementaryGroups"} & found.keys()
    assert (found["User"], found["CapabilityBoundingSet"]) == (["domstat"], [""])


def test_it_has_nothing_that_debian_12_does_not_know() -> None:
    found = settings_of()
    assert found["Type"] == ["notify"], "notify-reload came with systemd 253"
    assert "ImportCredential" not in found, "which came with 254"


def test_it_is_never_given_up_but_for_its_configuration() -> None:
    found = settings_of()
    assert (found["Restart"], found["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert found["RestartPreventExitStatus"] == ["2"], "which is that of a configuration that is wrong"


def test_it_needs_no_program_that_a_bare_debian_lacks() -> None:
    """Such as kill, which comes with procps; the reload's was that once."""
    commands = [command for name, values in settings_of().items() if name.startswith("Exec") for command in values]
    assert {command.split()[0] for command in commands} == {"/usr/bin/domstat"}


def test_its_state_is_its_own() -> None:
    found = settings_of()
    assert (found["StateDirectory"], found["StateDirectoryMode"], found["UMask"]) == (["domstat"], ["0700"], ["0077"])


def test_a_sites_rule_lets_the_agent_look_and_nothing_more() -> None:
    rules = (UNIT.parent.parent / "polkit" / "60-domstat.rules").read_text()
    granted = [line for line in rules.splitlines() if "==" in line or '"org.libvirt.api' in line]
    assert any('"org.libvirt.unix.monitor"' in line for line in granted)
    assert not [line for line in granted if "unix.manage" in line or ".write" in line or ".start" in line]
