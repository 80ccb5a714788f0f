"""What the made-up guests are: eight kinds, from busy database to powered off, and the 52 integers that each has.

A guest has 2 vCPUs, 1 disk and 1 NIC, and the parameters of libvirt's bulk statistics that are integers, in libvirt's
own order. Figures are those of an ordinary hour; rhythms, growth, spikes and noise come on top (:mod:`.workload`).
"""

from __future__ import annotations

from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.model import split_key

NIC, DISK = "nic", "vda"
"""Devices as they stand in FIELDS; the NIC's own name is its MAC."""

FIELDS = (
    "state.state", "state.reason",
    "cpu.time", "cpu.user", "cpu.system", "cpu.haltpoll.success.time", "cpu.haltpoll.fail.time",
    "balloon.current", "balloon.maximum", "balloon.swap_in", "balloon.swap_out", "balloon.major_fault",
    "balloon.minor_fault", "balloon.unused", "balloon.available", "balloon.usable", "balloon.last-update",
    "balloon.disk_caches", "balloon.hugetlb_pgalloc", "balloon.hugetlb_pgfail", "balloon.rss",
    "vcpu.current", "vcpu.maximum",
    "vcpu.state[0]", "vcpu.time[0]", "vcpu.wait[0]", "vcpu.delay[0]",
    "vcpu.state[1]", "vcpu.time[1]", "vcpu.wait[1]", "vcpu.delay[1]",
    "net.count",
    "net.rx.bytes[nic]", "net.rx.pkts[nic]", "net.rx.errs[nic]", "net.rx.drop[nic]",
    "net.tx.bytes[nic]", "net.tx.pkts[nic]", "net.tx.errs[nic]", "net.tx.drop[nic]",
    "block.count",
    "block.rd.reqs[vda]", "block.rd.bytes[vda]", "block.rd.times[vda]",
    "block.wr.reqs[vda]", "block.wr.bytes[vda]", "block.wr.times[vda]",
    "block.fl.reqs[vda]", "block.fl.times[vda]",
    "block.allocation[vda]", "block.capacity[vda]", "block.physical[vda]",
)  # fmt: skip
"""A guest's parameters."""

AT = {field: i for i, field in enumerate(FIELDS)}
"""Each field's place among them."""

COUNTERS = tuple(field for field in FIELDS if look_up(split_key(field)[0]).kind is FieldKind.COUNTER)
"""Those that begin anew with the guest."""


class Kind(Struct, frozen=True, kw_only=True):
    """What a guest of one kind does in an ordinary second of an ordinary hour."""

    cores: float = 0.0
    """vCPUs kept busy, of 2."""
    system: float = 0.12
    """The part of that spent in the host's kernel."""
    swing: float = 0.0
    """How far the day moves it: it goes by ``exp(swing)`` from the mean, either way."""
    weekend: float = 1.0
    """What is left of it on Saturdays and Sundays."""
    steady: float = 0.08
    """How far one tick differs from the next, relatively."""
    drift: float = 0.25
    """How far an hour differs from another, relatively."""
    spikes: float = 0.0
    """A day, each several times the ordinary load."""
    jobs: bool = False
    """Whether it works at night and every few hours, and hardly at all in between."""
    rx: float = 0.0
    """Packets received; *rx_size* bytes each. So for *tx*."""
    rx_size: float = 100.0
    tx: float = 0.0
    tx_size: float = 100.0
    rd: float = 0.0
    """Reads; *rd_pages* of 4 KiB and *rd_ms* each. So for *wr*."""
    rd_pages: float = 4.0
    rd_ms: float = 0.5
    wr: float = 0.0
    wr_pages: float = 3.0
    wr_ms: float = 0.9
    flushes: float = 0.2
    """Flushes for each write."""
    clusters: float = 0.0
    """Clusters of 64 KiB that its image grows by, if it is one that grows."""
    churn: float = 0.0
    """Pages of memory that come and go in a tick."""
    faults: float = 0.0
    """Minor page faults."""
    wakeups: float = 0.0
    """How often a vCPU that has nothing to do is woken, beside packets and requests."""


KINDS = {
    "database": Kind(
        cores=0.8, system=0.16, swing=0.45, weekend=0.7, spikes=4, drift=0.3,
        rx=600, rx_size=210, tx=650, tx_size=480, rd=70, rd_pages=3.5, rd_ms=0.35, wr=110, wr_pages=3, wr_ms=0.8,
        flushes=0.3, clusters=0.03, churn=220, faults=900, wakeups=250,
    ),
    "web": Kind(
        cores=0.22, swing=0.8, weekend=0.6, spikes=8, drift=0.3,
        rx=110, rx_size=190, tx=120, tx_size=780, rd=0.02, rd_pages=5, wr=1.2, wr_pages=2.6,
        flushes=0.1, clusters=0.005, churn=45, faults=500, wakeups=120,
    ),
    "application": Kind(
        cores=0.4, swing=0.6, weekend=0.5, spikes=5,
        rx=70, rx_size=330, tx=65, tx_size=410, rd=0.03, rd_pages=6, wr=0.9, wr_pages=3,
        flushes=0.1, clusters=0.004, churn=90, faults=350, wakeups=200,
    ),
    "cache": Kind(
        cores=0.3, system=0.3, swing=0.5, weekend=0.65, spikes=3, steady=0.06,
        rx=1800, rx_size=140, tx=1750, tx_size=360, wr=0.1, wr_pages=2,
        clusters=0.001, churn=30, faults=60, wakeups=400,
    ),
    "batch": Kind(
        cores=1.5, swing=0.0, drift=0.2, jobs=True, steady=0.05,
        rx=90, rx_size=700, tx=60, tx_size=120, rd=120, rd_pages=24, rd_ms=0.9, wr=60, wr_pages=20, wr_ms=1.6,
        flushes=0.05, clusters=0.01, churn=500, faults=700, wakeups=40,
    ),
    "idle": Kind(
        cores=0.012, drift=0.1, spikes=2, rx=2.2, rx_size=82, tx=0.15, tx_size=95,
        rd=0.001, wr=0.06, wr_pages=1.6, flushes=0.4, clusters=0.0002, churn=1.5, faults=6, wakeups=35,
    ),
    "silent": Kind(cores=0.006, drift=0.05, churn=0.4, faults=1, wakeups=25),
    "off": Kind(),
}  # fmt: skip
"""By name. ``silent`` has neither traffic nor disk requests; ``off`` is given with values that stand still."""

_TWENTY = (
    "web", "database", "application", "batch", "web", "idle", "cache", "application",
    "web", "silent", "database", "batch", "off", "web", "cache", "idle",
    "database", "web", "application", "batch",
)  # fmt: skip
"""How twenty guests are divided: a quarter web servers, 15 % each of databases, applications and batch, 10 % caches
and idle ones, 5 % without traffic and off. Few guests are a fair sample of many."""


def kind_names(guests: int) -> list[str]:
    """Name the kind of each of *guests*."""
    return [_TWENTY[i % len(_TWENTY)] for i in range(guests)]
