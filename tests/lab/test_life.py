"""Guests that are restarted, reset, paused, saved, renamed and migrated, as libvirt's statistics show it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from domstat_lab import connection, guests, hang, image, life, migration
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.processes import wait_until
from domstat_lab.serial import PIECE
from domstat_lab.spec import GuestSpec, tiny

from .conftest import VERSATILE, Stats

RUNNING, PAUSED, SHUTOFF = 1, 3, 5
BOOTED, MIGRATED, RESTORED, UNPAUSED = 1, 2, 3, 5
PATIENCE_S = 120.0
"""How long anything is waited for: no test fails because its machine is busy."""

Ask = Callable[[PrivateLibvirtd, str], Stats]


def state(of: Stats) -> tuple[int, int]:
    return of["state.state"], of["state.reason"]


def test_a_guest_made_anew_has_its_uuid_and_another_id(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    before = stats(lab, versatile)
    life.recreate(lab, VERSATILE)
    after = stats(lab, versatile)
    assert after["uuid"] == before["uuid"]
    assert after["id"] > before["id"]


def test_a_reset_guest_stays_in_its_qemu(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    def reads() -> int:
        return int(stats(lab, versatile)["block.0.rd.reqs"])

    wait_until(lambda: reads() > 0, timeout_s=PATIENCE_S, otherwise="the firmware reads no boot sector")
    before, pid = stats(lab, versatile), lab.qemu_pid(versatile)
    life.reset(lab, versatile)
    assert (stats(lab, versatile)["id"], lab.qemu_pid(versatile)) == (before["id"], pid)
    wait_until(
        lambda: reads() > before["block.0.rd.reqs"], timeout_s=PATIENCE_S, otherwise="the guest did not boot again"
    )


def test_a_paused_guest_goes_on_when_it_is_resumed(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    life.suspend(lab, versatile)
    assert state(stats(lab, versatile))[0] == PAUSED
    life.resume(lab, versatile)
    assert state(stats(lab, versatile)) == (RUNNING, UNPAUSED)


def test_a_saved_guest_comes_back_in_a_new_qemu(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    before = stats(lab, versatile)
    life.save(lab, versatile)
    assert versatile not in lab.qemu_pids()
    life.restore(lab, versatile)
    after = stats(lab, versatile)
    assert state(after) == (RUNNING, RESTORED)
    assert after["uuid"] == before["uuid"]
    assert after["id"] > before["id"]


def test_a_defined_guest_is_started_ended_renamed_and_forgotten(lab: PrivateLibvirtd, stats: Ask) -> None:
    spec = tiny("defined")
    guests.define(lab, spec)
    assert state(stats(lab, "defined"))[0] == SHUTOFF
    life.create(lab, "defined")
    assert state(stats(lab, "defined")) == (RUNNING, BOOTED)
    guests.destroy(lab, ["defined"])
    life.rename(lab, "defined", "renamed")
    assert stats(lab, "renamed")["uuid"] == spec.identity
    life.undefine(lab, "renamed")
    libvirt = connection.open_connection(lab.uri_ro, readonly=True)
    assert [guest.name() for guest in libvirt.listAllDomains() if guest.name() in {"defined", "renamed"}] == []
    libvirt.close()


def test_a_guest_migrates_live_there_and_back(
    pair: tuple[PrivateLibvirtd, PrivateLibvirtd], versatile: str, stats: Ask
) -> None:
    here, there = pair
    before = stats(here, versatile)
    migration.migrate(here, there, versatile)
    moved = stats(there, versatile)
    assert versatile not in here.qemu_pids()
    assert state(moved) == (RUNNING, MIGRATED)
    assert moved["uuid"] == before["uuid"]
    migration.migrate(there, here, versatile)
    assert stats(here, versatile)["id"] > before["id"]
    assert there.qemu_pids() == {}


def test_a_hung_guest_answers_again_when_it_goes_on(lab: PrivateLibvirtd, versatile: str, stats: Ask) -> None:
    pid = lab.qemu_pid(versatile)
    with hang.hung(lab, [versatile]):
        assert process_state(pid) == "T"
    assert "block.0.rd.reqs" in stats(lab, versatile)


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def test_a_guest_that_reboots_counts_what_it_writes_in_all_its_boots(
    lab: PrivateLibvirtd, stats: Ask, start: Callable[..., GuestSpec]
) -> None:
    name = start(GuestSpec("rebooting", workloads=("writer",), reboot_s=2), image.ensure()).name
    wait_until(lambda: guests.boots(lab, name) >= 2, timeout_s=PATIENCE_S, otherwise="the guest does not reboot")

    def has_written_in_two_boots() -> bool:
        this_boot, all_boots = guests.written_bytes(lab, name).bytes, guests.written_in_all_boots(lab, name).bytes
        return this_boot > 0 and all_boots >= this_boot + PIECE

    wait_until(has_written_in_two_boots, timeout_s=PATIENCE_S, otherwise="it does not write in two boots")
    life.suspend(lab, name)
    time.sleep(0.2)  # what QEMU has in hand comes to its end
    said, after = guests.written_in_all_boots(lab, name).bytes, stats(lab, name)
    assert state(after)[0] == PAUSED
    assert said > guests.written_bytes(lab, name).bytes
    assert said <= after["block.0.wr.bytes"] <= said + guests.boots(lab, name) * PIECE
