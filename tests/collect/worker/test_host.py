"""The host's sample: what a driver can tell, and what it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import libvirt
import pytest

from domstat.catalog import FIELDS
from domstat.collect.worker.host import STEADY_S, Host
from standins import Connection, Daemon, Refused

LOCAL, REMOTE = "qemu:///system", "qemu+ssh://kvm7/system"
NO_SUPPORT = Refused(libvirt.VIR_ERR_NO_SUPPORT)


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def connection() -> Connection:
    return Daemon().connect()[0]


def test_a_sample_has_cpu_time_memory_and_versions_by_the_catalogues_names(connection: Connection) -> None:
    sample = Host(connection, REMOTE).sample()
    assert sample == {
        "host.cpu.kernel": 10,
        "host.cpu.user": 20,
        "host.cpu.idle": 30,
        "host.cpu.iowait": 0,
        "host.memory.total": 1000,
        "host.memory.free": 300,
        "host.memory.buffers": 10,
        "host.memory.cached": 90,
        "host.cpus": 16,
        "host.version.libvirt": "9.0.0",
        "host.version.hypervisor": "QEMU 7.2.22",
    }
    assert sample.keys() <= FIELDS.keys()


def test_a_remote_host_has_available_memory_only_if_its_libvirt_tells(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "host.memory.available" not in Host(connection, REMOTE).sample()
    told: Any = lambda _cell, _flags: {"total": 1000, "available": 400}  # noqa: E731
    monkeypatch.setattr(connection, "getMemoryStats", told)
    assert Host(connection, REMOTE).sample()["host.memory.available"] == 400


def test_this_machines_own_figures_are_those_that_libvirt_gives_of_it(connection: Connection) -> None:
    own = Host(connection, LOCAL).sample()
    real = libvirt.openReadOnly("test:///default")
    try:
        told = real.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
    finally:
        real.close()
    assert set(told) == {"kernel", "user", "idle", "iowait"}
    assert isinstance(own["host.memory.available"], int)
    assert 0 < own["host.memory.available"] < own["host.memory.total"]  # type: ignore[operator]
    for mode in told:
        assert isinstance(own[f"host.cpu.{mode}"], int)
    ran_s = sum(own[f"host.cpu.{mode}"] for mode in told) / 1e9 / (os.cpu_count() or 1)  # type: ignore[misc]
    assert ran_s == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), rel=0.2)


def test_where_the_kernels_files_are_hidden_libvirt_is_asked(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_args: object, **_kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", hidden)
    sample = Host(connection, LOCAL).sample()
    assert (sample["host.cpu.kernel"], sample["host.memory.total"]) == (10, 1000)


def test_what_a_driver_does_not_know_is_absent_and_asked_for_once(connection: Connection, monotonic: Clock) -> None:
    host = Host(connection, REMOTE)
    trouble = connection.daemon.trouble
    trouble |= dict.fromkeys(("getCPUStats", "getMemoryStats", "getInfo"), NO_SUPPORT)
    assert set(host.sample()) == {"host.version.libvirt", "host.version.hypervisor"}
    trouble.clear()
    monotonic.now += STEADY_S
    assert set(host.sample()) == {"host.version.libvirt", "host.version.hypervisor"}


def test_a_driver_without_a_hypervisor_of_its_own_has_a_version_all_the_same(connection: Connection) -> None:
    connection.daemon.trouble["getVersion"] = NO_SUPPORT
    sample = Host(connection, REMOTE).sample()
    assert sample["host.version.libvirt"] == "9.0.0"
    assert "host.version.hypervisor" not in sample


def test_what_fails_for_another_reason_is_asked_for_again(connection: Connection) -> None:
    host = Host(connection, REMOTE)
    connection.daemon.trouble["getCPUStats"] = Refused(libvirt.VIR_ERR_SYSTEM_ERROR)
    assert "host.cpu.kernel" not in host.sample()
    connection.daemon.trouble.clear()
    assert host.sample()["host.cpu.kernel"] == 10


def test_what_hardly_ever_changes_is_asked_for_now_and_then(connection: Connection, monotonic: Clock) -> None:
    host = Host(connection, REMOTE)
    host.sample()
    connection.daemon.trouble |= dict.fromkeys(("getInfo", "getLibVersion"), Refused())
    assert host.sample()["host.cpus"] == 16
    monotonic.now += STEADY_S
    assert "host.cpus" not in host.sample()


def test_the_sample_of_a_real_driver_has_what_it_knows() -> None:
    connection = libvirt.openReadOnly("test:///default")
    try:
        sample = Host(connection, "test:///default").sample()
    finally:
        connection.close()
    assert sample.keys() <= FIELDS.keys()
    assert sample["host.cpu.user"]
    assert sample["host.version.hypervisor"] == "TEST 0.0.2"
    assert "host.memory.total" not in sample
