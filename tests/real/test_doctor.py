"""The doctor on real guests: all green where all is well, and each guest that is not so by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from domstat.cli.reach import explained
from domstat.config import load
from domstat.doctor.checks import CHECKS, judge
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.look import around, disks, look
from domstat.doctor.scene import ClockSeen
from domstat_lab import guests
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import tiny

from .conftest import BURNER, WRITER, Agent

UNASKED = tiny("unasked", balloon_period_s=None)


@pytest.fixture(autouse=True)
def healthy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a kernel that counts, a clock that is kept, and room: those of the machine that tests run on are its own."""
    monkeypatch.setattr(around, "see_clock", lambda: ClockSeen(True, 0.004))
    monkeypatch.setattr(around, "schedstats", lambda: "1")
    monkeypatch.setattr(disks, "_free", lambda _folder: 1 << 40)


@pytest.fixture
def unasked(lab: PrivateLibvirtd) -> Iterator[str]:
    """A guest whose balloon nobody asks anything."""
    guests.start(lab, [UNASKED])
    yield UNASKED.name
    guests.destroy(lab, [UNASKED.name])


def diagnose(folder: Path) -> dict[str, list[Finding]]:
    scene = look(load(folder / "domstat.toml"), explained)
    return {checked.check: list(checked.findings) for checked in judge(scene)}


def chosen(*names: str) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"domains = {{ include = [{quoted}] }}\n"


def test_a_host_with_guests_that_report_and_an_agent_that_runs_is_all_green(
    run_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    agent = run_agent(chosen(WRITER.name, BURNER.name), interval="2s", sinks='[[sinks]]\ntype = "sqlite"\n')
    agent.wait_ticks(3)
    found = diagnose(tmp_path)
    agent.stop()
    assert {check: each for check, each in found.items() if {one.verdict for one in each} != {Verdict.OK}} == {}
    assert len(found) == len(CHECKS)
    assert found["balloon"][0].found == "2 guests report their memory"
    assert "libvirt-sock-ro (libvirtd, pid " in found["libvirt"][0].found


def test_a_guest_without_a_period_is_named_among_those_that_have_one(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, tmp_path: Path, unasked: str
) -> None:
    agent = run_agent(chosen(WRITER.name, unasked), interval="2s", sinks='[[sinks]]\ntype = "sqlite"\n')
    agent.wait_ticks(1)
    (found,) = diagnose(tmp_path)["balloon"]
    connection = lab.connect()
    connection.lookupByName(unasked).setMemoryStatsPeriod(10, libvirt.VIR_DOMAIN_AFFECT_LIVE)  # what the fix does
    connection.close()
    (mended,) = diagnose(tmp_path)["balloon"]
    agent.stop()
    assert "asked for every period and silent" in mended.found, "it has no driver, which is another matter"
    assert found.verdict is Verdict.WARNING
    assert found.found.endswith(f": {unasked}")
    assert found.fix == f"virsh -c '{lab.uri_ro}' dommemstat {unasked} --period 10 --live --config"
