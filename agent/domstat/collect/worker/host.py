"""A sample of the host itself: what its guests share. A remote host is asked through libvirt, this one by ``/proc``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import libvirt

from domstat.collect.worker.connection import is_local
from domstat.model import Value

STEADY_S = 600.0
"""How long the number of CPUs and the versions are kept: libvirtd walks through sysfs for every CPU to count them."""


_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

_MEMORY: dict[str, str] = {
    "MemTotal:": "host.memory.total",
    "MemFree:": "host.memory.free",
    "MemAvailable:": "host.memory.available",
    "Buffers:": "host.memory.buffers",
    "Cached:": "host.memory.cached",
}
"""The first lines of ``/proc/meminfo``, in this order since Linux 3.14."""


class Host:
    """Samples one connection's host; what its driver does not know is not asked again."""

    def __init__(self, connection: Any, uri: str) -> None:
        self._connection = connection
        self._local = is_local(uri)
        self._unknown: set[str] = set()
        self._steady: dict[str, Value] = {}
        self._steady_until = 0.0

    def sample(self) -> dict[str, Value]:
        """Return the host's parameters by their names in the catalogue; what cannot be told is absent."""
        sample: dict[str, Value] = {}
        sample.update(self._ask("cpu", self._cpu))
        sample.update(self._ask("memory", self._memory))
        if time.monotonic() >= self._steady_until:
            self._steady = self._ask("cpus", self._cpus) | self._ask("versions", self._versions)
            self._steady_until = time.monotonic() + STEADY_S
        return sample | self._steady

    def _ask(self, what: str, call: Callable[[], dict[str, Value]]) -> dict[str, Value]:
        if what in self._unknown:
            return {}
        try:
            return call()
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                self._unknown.add(what)
            return {}

    def _cpu(self) -> dict[str, Value]:
        if self._local and (own := _own_cpu()):
            return own
        modes = self._connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
        return {f"host.cpu.{mode}": ns for mode, ns in modes.items() if mode != "utilization"}

    def _memory(self) -> dict[str, Value]:
        if self._local and (own := _own_memory()):
            return own
        kinds = self._connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
        return {f"host.memory.{kind}": kib for kind, kib in kinds.items()}

    def _cpus(self) -> dict[str, Value]:
        return {"host.cpus": self._connection.getInfo()[2]}

    def _versions(self) -> dict[str, Value]:
        versions: dict[str, Value] = {"host.version.libvirt": dotted(self._connection.getLibVersion())}
        with suppress(libvirt.libvirtError):  # a driver without a hypervisor of its own
            versions["host.version.hypervisor"] = (
                f"{self._connection.getType()} {dotted(self._connection.getVersion())}"
            )
        return versions


def _own_cpu() -> dict[str, Value]:
    """Read this machine's CPU times as libvirtd does (virHostCPUGetStatsLinux), without four messages to it.

    Empty where ``/proc`` does not tell.
    """
    with suppress(OSError, ValueError), open("/proc/stat", encoding="ascii") as file:  # noqa: PTH123 - lean
        user, nice, system, idle, iowait, irq, softirq = (
            int(ticks) * _TICK_NS for ticks in file.readline().split()[1:8]
        )
        return {
            "host.cpu.kernel": system + irq + softirq,
            "host.cpu.user": user + nice,
            "host.cpu.idle": idle,
            "host.cpu.iowait": iowait,
        }
    return {}


def _own_memory() -> dict[str, Value]:
    """Read this machine's memory as libvirtd does, and the kernel's own estimate of what is available, in KiB.

    Empty where ``/proc`` does not tell.
    """
    with suppress(OSError, ValueError), open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - lean
        lines = [file.readline().split() for _ in range(len(_MEMORY))]
        return {_MEMORY[name]: int(kib) for name, kib, *_ in lines}
    return {}


def dotted(version: int) -> str:
    """Write libvirt's way of putting a version into a number: 7002022 is 7.2.22."""
    return f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"
