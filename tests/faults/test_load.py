"""A guest's load is known, for it counts itself what it writes: the stored rates, added up, come to the same.

Meanwhile it boots again, and another of its disks is taken out and put in. The kernel counts its CPU time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from domstat_lab import guests, hotplug, image, life
from domstat_lab.domain_xml import serial_file
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.processes import wait_until
from domstat_lab.serial import COUNT, read_console
from domstat_lab.spec import DiskSpec, GuestSpec
from real.conftest import Agent
from shown import Show

from .oracle import Told, seed
from .stored import integral, stored_otherwise
from .truth import now_ms

# Without a NIC: libvirt 9.0 resumes no guest whose tap has an address.
LOADED = GuestSpec("loaded", workloads=("writer",), nics=0)
OTHER = DiskSpec(3)
TARGET = "vdb"

INTERVAL_S = 0.5
SHORT_ROUNDS, SHORT_SPAN_S = 1, 1.0
LONG_ROUNDS, LONG_SPAN_S = 12, 4.0
"""How often all of it happens, and how long the guest writes in between, at the least. The long form takes some five
minutes."""

ERROR_MAX = 0.02
PIECE_TIMEOUT_S = 90.0
"""What the guest may take for one piece of its work: 0.3 s, and a few more while it boots."""

SETTINGS = 'deadline = "4s"'


class Count(Struct, frozen=True):
    """What was done until a time at which nothing was: by the guest's own count, and by the kernel's."""

    at_ms: float
    written_bytes: int
    cpu_s: float


class Load:
    """The guest, and what happens to it."""

    def __init__(self, lab: PrivateLibvirtd, with_seed: int) -> None:
        self.seed = with_seed
        self._lab = lab
        self._random = random.Random(with_seed)
        self._console = serial_file(guests.guest_folder(lab, LOADED.name))
        self._boots = 1

    def start(self) -> None:
        """Start the guest, with another disk."""
        guests.start(self._lab, [LOADED], image.ensure())

    def wait_booted(self) -> None:
        """Return when it has booted as often as it was told to, and works."""
        wait_until(
            lambda: guests.boots(self._lab, LOADED.name) >= self._boots,
            timeout_s=guests.BOOT_TIMEOUT_S,
            otherwise="the guest does not boot",
        )
        self._await_a_pause()

    def hold(self, agent: Agent) -> Count:
        """Pause the guest between two pieces of its work, and count; ticks go on until the agent has seen that."""
        self._await_a_pause()
        life.suspend(self._lab, LOADED.name)
        ticks = len(agent.events("tick"))
        agent.wait_for(lambda: len(agent.events("tick")) >= ticks + 2, "ticks of a guest that is paused")
        return Count(now_ms(), guests.written_in_all_boots(self._lab, LOADED.name).bytes, self._cpu_s())

    def go_on(self) -> None:
        """Let the guest work again."""
        life.resume(self._lab, LOADED.name)

    def reboot(self) -> None:
        """Have the guest boot again, between two pieces of its work: none is lost."""
        self._await_a_pause()
        life.reset(self._lab, LOADED.name)
        self._boots += 1
        self.wait_booted()

    def plug(self) -> None:
        """Give the guest another disk."""
        hotplug.attach_disk(self._lab, LOADED.name, OTHER, TARGET)

    def unplug(self) -> None:
        """Take the other disk from the guest."""
        hotplug.detach_disk(self._lab, LOADED.name, TARGET)

    def work(self, span_s: float) -> None:
        """Leave the guest to its work for a while."""
        time.sleep(span_s + self._random.uniform(0, 2 * INTERVAL_S))

    def _await_a_pause(self) -> None:
        """Return when the guest has just said that a piece is done: it then sleeps for a moment."""
        before = self._pieces()
        wait_until(
            lambda: self._pieces() > before,
            timeout_s=PIECE_TIMEOUT_S,
            otherwise=f"the guest writes nothing, see {self._console}",
        )

    def _pieces(self) -> int:
        return len(COUNT.findall(read_console(self._console)))

    def _cpu_s(self) -> float:
        stat = Path(f"/proc/{self._lab.qemu_pid(LOADED.name)}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def load(lab: PrivateLibvirtd) -> Iterator[Load]:
    made = Load(lab, seed())
    made.start()
    yield made
    guests.destroy(lab, [LOADED.name])


def bear(run_agent: Callable[..., Agent], folder: Path, load: Load, rounds: int, span_s: float) -> dict[str, Any]:
    """Have an agent watch the guest while things happen to it; return the figures."""
    agent = run_agent(extra=SETTINGS, interval=f"{INTERVAL_S * 1000:.0f}ms")
    agent.wait_ticks(2)
    load.wait_booted()
    load.plug()
    first = load.hold(agent)
    load.go_on()
    for _ in range(rounds):
        load.work(span_s)
        load.unplug()
        load.work(span_s)
        load.plug()
        load.reboot()
        load.work(span_s)
    last = load.hold(agent)
    agent.stop()
    told = Told(folder)
    between = (first.at_ms, last.at_ms)
    records = [
        record
        for tick in told.ticks()
        for record in tick.records
        if record.domain is not None and record.domain.name == LOADED.name
    ]
    rated_bytes = integral(folder, records, "block.wr.bytes[vda]", *between)
    rated_cpu_s = integral(folder, records, "cpu.time", *between)
    written, used_s = last.written_bytes - first.written_bytes, last.cpu_s - first.cpu_s
    return {
        "test": "load",
        "seed": load.seed,
        "rounds": rounds,
        "seconds": round((last.at_ms - first.at_ms) / 1000, 1),
        "bytes_written": written,
        "bytes_rated": round(rated_bytes),
        "bytes_error": round(abs(rated_bytes / written - 1), 5),
        "cpu_s_used": round(used_s, 2),
        "cpu_s_rated": round(rated_cpu_s, 2),
        "cpu_error": round(abs(rated_cpu_s / used_s - 1), 5),
        "of_the_other_disk": integral(folder, records, f"block.wr.bytes[{TARGET}]", *between),
        "rebooted": sum(record.event is not None and record.event.type == "rebooted" for record in told.events()),
        "gaps": sorted({gap.reason for gap in told.gaps()}),
        "stored_otherwise": stored_otherwise(folder, list(told.records())),
        "errors": [event["event"] for event in agent.events() if event["level"] in {"error", "critical"}],
    }


def assert_held(figures: dict[str, Any]) -> None:
    assert figures["bytes_written"] > 1_000_000, figures
    assert figures["bytes_error"] <= ERROR_MAX, figures
    assert figures["cpu_s_used"] > 1, figures
    assert figures["cpu_error"] <= ERROR_MAX, figures
    assert figures["of_the_other_disk"] == 0, figures
    assert figures["rebooted"] >= figures["rounds"], figures
    assert set(figures["gaps"]) <= {"overload"}, figures
    assert (figures["stored_otherwise"], figures["errors"]) == (0, []), figures


def test_stored_rates_add_up_to_what_a_guest_has_written(
    run_agent: Callable[..., Agent], tmp_path: Path, load: Load, show: Show
) -> None:
    figures = bear(run_agent, tmp_path, load, SHORT_ROUNDS, SHORT_SPAN_S)
    show(figures)
    assert_held(figures)


@pytest.mark.faults
def test_stored_rates_add_up_to_what_a_guest_has_written_in_many_boots(
    run_agent: Callable[..., Agent], tmp_path: Path, load: Load, show: Show
) -> None:
    figures = bear(run_agent, tmp_path, load, LONG_ROUNDS, LONG_SPAN_S)
    show(figures)
    assert_held(figures)
