"""A made-up fleet of two hosts, for questions about hosts: one that grows, one that does not."""

from __future__ import annotations

import numpy as np

from capacity.made import GIB, GIB_KIB, Made
from capacity.made import Figures as Laid
from domstat.capacity.gather import Figures, Selection
from domstat.capacity.settings import Capacity

DAYS = 100
HOURS = 24 * DAYS
T = np.arange(HOURS)
WAVES = 0.1 * np.sin(T / 24 * 2 * np.pi)


def two_hosts() -> Made:
    """Make kvm1, whose CPU and pool grow, and kvm2, of which nothing does, with three guests that run and one off."""
    made = Made(count=HOURS)
    grows = 0.3 + 0.2 * T / HOURS
    memory = {"host.memory.total": 64 * GIB_KIB, "host.memory.used": float(40 * GIB)}
    made.host("kvm1", {"host.cpus": 16, "host.cpu.utilization": grows + WAVES, **memory})
    made.host("kvm2", {"host.cpus": 8, "host.cpu.utilization": 0.25 + WAVES, **memory})
    made.pool(
        "images", {"pool.capacity": 1000.0 * GIB, "pool.allocation": (300 + 200 * T / HOURS) * GIB, "pool.age": 0.0}
    )
    made.guest("web-1", guest(2 + 10 * WAVES, 4, 3, 20), host="kvm1")
    made.guest("web-2", guest(1 + 5 * WAVES, 2, 2, 10), host="kvm2")
    made.guest("db-1", guest(1 + 0 * WAVES, 8, 8, 100), host="kvm1")
    made.off("old", {"vcpu.maximum": 2, "balloon.maximum": GIB_KIB, "volume.capacity[vda]": 50.0 * GIB,
                     "volume.allocation[vda]": 30.0 * GIB})  # fmt: skip
    return made


def guest(cores: Laid, vcpus: float, memory_gib: float, disk_gib: float) -> dict[str, Laid]:
    """Make the figures of a guest: half of its disk is written, all of its memory is resident."""
    return {
        "cpu.cores": cores,
        "vcpu.current": vcpus,
        "vcpu.maximum": vcpus,
        "balloon.current": memory_gib * GIB_KIB,
        "balloon.maximum": memory_gib * GIB_KIB,
        "balloon.rss": memory_gib * GIB_KIB,
        "block.capacity[vda]": disk_gib * GIB,
        "block.allocation[vda]": disk_gib / 2 * GIB,
    }


def asked(made: Made, settings: Capacity | None = None, selection: Selection | None = None) -> Figures:
    """Ask at the end of the history."""
    return Figures(made, made.until_ms, settings, selection)
