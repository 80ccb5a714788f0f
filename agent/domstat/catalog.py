"""Every documented typed parameter of libvirt's bulk statistics: kind, type, unit, scale, since when.

Names are the *field* names of :mod:`domstat.model`: libvirt's parameter name without its indices. The source is
libvirt's ``virConnectGetAllDomainStats`` documentation (libvirt-domain.h) and, where that is silent or wrong, the
drivers themselves. A parameter nobody has heard of passes through: ``.sum`` counts, anything else is a gauge.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from functools import lru_cache

from msgspec import Struct


class FieldKind(StrEnum):
    """How a field's value behaves over time."""

    COUNTER = "counter"  # only grows, until its guest or device begins anew
    GAUGE = "gauge"
    STATE = "state"  # one of libvirt's enumerations
    TEXT = "text"


class ValueType(StrEnum):
    """What libvirt says a value is; what libvirt-python returns no longer tells."""

    I64 = "i64"
    U64 = "u64"
    F64 = "f64"
    BOOL = "bool"
    TEXT = "text"


class Unit(Enum):
    """libvirt's units, each with its base unit and the factor to it."""

    NONE = ("", 1.0)
    NANOSECONDS = ("seconds", 1e-9)
    SECONDS = ("seconds", 1.0)
    BYTES = ("bytes", 1.0)
    KIB = ("bytes", 1024.0)
    MIB_PER_SECOND = ("bytes_per_second", 1048576.0)
    BYTES_PER_SECOND = ("bytes_per_second", 1.0)
    REQUESTS = ("requests", 1.0)
    PACKETS = ("packets", 1.0)
    FAULTS = ("faults", 1.0)
    PAGES = ("pages", 1.0)
    EVENTS = ("events", 1.0)
    ERRORS = ("errors", 1.0)
    JOULES = ("joules", 1.0)
    FARADS = ("farads", 1.0)

    @property
    def base(self) -> str:
        """The base unit's name, plural, as Prometheus spells units; empty for plain numbers."""
        return self.value[0]

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be in the base unit."""
        return self.value[1]


_RATE_FACTORS = {unit: 1.0 if unit is Unit.NANOSECONDS else unit.scale * 1e9 for unit in Unit}


class Field(Struct, frozen=True):
    """One row of the catalogue. *since* is the libvirt version, empty where unknown; *known* is False for strangers."""

    name: str
    group: str
    kind: FieldKind
    type: ValueType
    unit: Unit
    since: str = ""
    help: str = ""
    known: bool = True

    @property
    def rate_factor(self) -> float:
        """What a difference per nanosecond is multiplied by to become a rate per second in the base unit.

        Exact for time counters: nanoseconds per nanosecond are seconds per second.
        """
        return _RATE_FACTORS[self.unit]


GROUPS: dict[str, int] = {
    "state": 1 << 0,
    "cpu-total": 1 << 1,
    "balloon": 1 << 2,
    "vcpu": 1 << 3,
    "interface": 1 << 4,
    "block": 1 << 5,
    "perf": 1 << 6,
    "iothread": 1 << 7,
    "memory": 1 << 8,
    "dirtyrate": 1 << 9,
    "vm": 1 << 10,
}
"""The stats groups by virsh's names, with their bits (virDomainStatsTypes)."""

_PREFIXES = {"cpu": "cpu-total", "net": "interface"}
"""Where the first word of a parameter is not its group's name."""

_C, _G, _S, _T = FieldKind.COUNTER, FieldKind.GAUGE, FieldKind.STATE, FieldKind.TEXT
_I64, _U64, _F64, _BOOL, _TEXT = ValueType.I64, ValueType.U64, ValueType.F64, ValueType.BOOL, ValueType.TEXT
_U = Unit

# One line a field, or a family of fields ({a,b} stands for each): names, kind, type, unit, since, help.
_TABLE: tuple[tuple[str, FieldKind, ValueType, Unit, str, str], ...] = (
    ("state.state", _S, _I64, _U.NONE, "1.2.8", "State of the guest, virDomainState"),
    ("state.reason", _S, _I64, _U.NONE, "1.2.8", "Reason for the state, an enumeration per state"),
    ("cpu.time", _C, _U64, _U.NANOSECONDS, "1.2.9", "CPU time of the guest, all threads of its process"),
    ("cpu.{user,system}", _C, _U64, _U.NANOSECONDS, "1.2.9", "CPU time of the guest in this mode, on the host"),
    ("cpu.haltpoll.{success,fail}.time", _C, _U64, _U.NANOSECONDS, "7.7.0", "Time polled before a vCPU halted"),
    ("cpu.cache.monitor{,.bank}.count", _G, _U64, _U.NONE, "4.10.0", "Cache monitors, and their banks"),
    ("cpu.cache.monitor.{name,vcpus}", _T, _TEXT, _U.NONE, "4.10.0", "Cache monitor"),
    ("cpu.cache.monitor.bank.id", _G, _U64, _U.NONE, "4.10.0", "Id of the cache bank"),
    ("cpu.cache.monitor.bank.bytes", _G, _U64, _U.BYTES, "4.10.0", "Cache occupied (32 bits wide by design)"),
    ("cpu.energy.monitor{,.pkg}.count", _G, _U64, _U.NONE, "12.4.0", "Energy monitors, and their packages"),
    ("cpu.energy.monitor.{name,vcpus}", _T, _TEXT, _U.NONE, "12.4.0", "Energy monitor"),
    ("cpu.energy.monitor.pkg.id", _G, _U64, _U.NONE, "12.4.0", "Id of the package"),
    ("cpu.energy.monitor.pkg.core_energy", _C, _F64, _U.JOULES, "12.4.0", "Energy used by the cores"),
    ("cpu.energy.monitor.pkg.activity", _C, _F64, _U.FARADS, "12.4.0", "Activity of the cores"),
    ("balloon.{current,maximum}", _G, _U64, _U.KIB, "1.2.9", "Memory configured for the guest, not its use"),
    ("balloon.{swap_in,swap_out}", _C, _U64, _U.KIB, "1.2.9", "Memory swapped by the guest"),
    ("balloon.{major,minor}_fault", _C, _U64, _U.FAULTS, "1.2.9", "Page faults in the guest"),
    ("balloon.unused", _G, _U64, _U.KIB, "1.2.9", "Memory the guest does not use at all (MemFree)"),
    ("balloon.available", _G, _U64, _U.KIB, "1.2.9", "Memory the guest sees (MemTotal)"),
    ("balloon.usable", _G, _U64, _U.KIB, "2.1.0", "Memory the guest could use without swapping (MemAvailable)"),
    ("balloon.rss", _G, _U64, _U.KIB, "1.2.9", "Memory of the guest's process resident on the host"),
    ("balloon.last-update", _G, _U64, _U.SECONDS, "2.1.0", "When the guest's driver last spoke, Unix time; 0 is never"),
    ("balloon.disk_caches", _G, _U64, _U.KIB, "4.6.0", "Memory of the guest that can be reclaimed from caches"),
    ("balloon.hugetlb_pg{alloc,fail}", _C, _U64, _U.PAGES, "5.4.0", "Huge page allocations in the guest"),
    ("vcpu.{current,maximum}", _G, _U64, _U.NONE, "1.2.9", "Number of virtual CPUs"),
    ("vcpu.state", _S, _I64, _U.NONE, "1.2.9", "State of the virtual CPU: 0 offline, 1 running, 2 blocked"),
    ("vcpu.time", _C, _U64, _U.NANOSECONDS, "1.2.9", "CPU time of the virtual CPU"),
    ("vcpu.wait", _C, _U64, _U.NANOSECONDS, "1.2.9", "Time the virtual CPU waited; needs kernel schedstats"),
    ("vcpu.delay", _C, _U64, _U.NANOSECONDS, "7.2.0", "Time the virtual CPU was ready but not run: steal"),
    ("vcpu.halted", _G, _BOOL, _U.NONE, "1.2.9", "Whether the virtual CPU is halted"),
    ("net.count", _G, _U64, _U.NONE, "1.2.9", "Network interfaces defined"),
    ("net.name", _T, _TEXT, _U.NONE, "1.2.9", "Name of the interface on the host"),
    ("net.{rx,tx}.bytes", _C, _U64, _U.BYTES, "1.2.9", "Bytes, as the guest sees the direction"),
    ("net.{rx,tx}.pkts", _C, _U64, _U.PACKETS, "1.2.9", "Packets, as the guest sees the direction"),
    ("net.{rx,tx}.errs", _C, _U64, _U.ERRORS, "1.2.9", "Errors, as the guest sees the direction"),
    ("net.{rx,tx}.drop", _C, _U64, _U.PACKETS, "1.2.9", "Packets dropped, as the guest sees the direction"),
    ("block.count", _G, _U64, _U.NONE, "1.2.9", "Block devices in the answer"),
    ("block.name", _T, _TEXT, _U.NONE, "1.2.9", "Target name of the disk"),
    ("block.backingIndex", _T, _U64, _U.NONE, "1.2.12", "Index of the layer in the backing chain"),
    ("block.path", _T, _TEXT, _U.NONE, "1.2.9", "Source file or device"),
    ("block.{rd,wr,fl}.reqs", _C, _U64, _U.REQUESTS, "1.2.9", "Requests completed"),
    ("block.{rd,wr}.bytes", _C, _U64, _U.BYTES, "1.2.9", "Bytes transferred"),
    ("block.{rd,wr,fl}.times", _C, _U64, _U.NANOSECONDS, "1.2.9", "Time spent in requests"),
    ("block.errors", _C, _U64, _U.ERRORS, "1.2.9", "Requests the Xen back end could not take"),
    ("block.allocation", _G, _U64, _U.BYTES, "1.2.9", "Highest offset written"),
    ("block.{capacity,physical}", _G, _U64, _U.BYTES, "1.2.9", "Size the guest sees, and of the container"),
    ("block.threshold", _G, _U64, _U.BYTES, "3.2.0", "Offset at which a write-threshold event is due"),
    ("block.limits.{request,discard,write_zeroes}_alignment", _G, _U64, _U.BYTES, "11.10.0", "Limit of the back end"),
    ("block.limits.{discard,write_zeroes,transfer,transfer_hw}_max", _G, _U64, _U.BYTES, "11.10.0", "Its limit"),
    ("block.limits.transfer_optimal", _G, _U64, _U.BYTES, "11.10.0", "Best size of a transfer"),
    ("block.limits.memory_alignment_{minimal,optimal}", _G, _U64, _U.BYTES, "11.10.0", "Alignment of buffers"),
    ("block.limits.iov{,_hw}_max", _G, _U64, _U.NONE, "11.10.0", "Elements in one request of the block back end"),
    ("block.timed_group.count", _G, _U64, _U.NONE, "11.10.0", "Windows of timed statistics"),
    ("block.timed_group.interval{,_length}", _G, _U64, _U.SECONDS, "11.10.0", "Length of the window"),
    (
        "block.timed_group.{rd,wr,zone_append,flush}_latency_{min,max,avg}",
        _G,
        _U64,
        _U.NANOSECONDS,
        "11.10.0",
        "Latency in the window",
    ),
    ("block.timed_group.{rd,wr,zone_append}_queue_depth_avg", _G, _F64, _U.REQUESTS, "11.10.0", "Queue in the window"),
    ("block.latency_histogram.{read,write,zone_append,flush}.bin.count", _G, _U64, _U.NONE, "12.1.0", "Bins"),
    ("block.latency_histogram.{read,write,zone_append,flush}.bin.start", _G, _U64, _U.NANOSECONDS, "12.1.0", "Start"),
    ("block.latency_histogram.{read,write,zone_append,flush}.bin.value", _C, _U64, _U.EVENTS, "12.1.0", "Bin count"),
    ("perf.cmt", _G, _U64, _U.BYTES, "1.3.3", "Cache used"),
    ("perf.{mbmt,mbml}", _G, _U64, _U.BYTES_PER_SECOND, "1.3.5", "Memory bandwidth; gone on kernels since 4.14"),
    ("perf.cache_{misses,references}", _C, _U64, _U.EVENTS, "2.3.0", "Performance event"),
    ("perf.{instructions,cpu_cycles}", _C, _U64, _U.EVENTS, "2.3.0", "Performance event"),
    ("perf.branch_{instructions,misses}", _C, _U64, _U.EVENTS, "3.0.0", "Performance event"),
    ("perf.stalled_cycles_{frontend,backend}", _C, _U64, _U.EVENTS, "3.0.0", "Performance event"),
    ("perf.{bus,ref_cpu}_cycles", _C, _U64, _U.EVENTS, "3.0.0", "Performance event"),
    ("perf.{context_switches,cpu_migrations}", _C, _U64, _U.EVENTS, "3.2.0", "Performance event"),
    ("perf.{alignment,emulation}_faults", _C, _U64, _U.EVENTS, "3.2.0", "Performance event"),
    ("perf.{cpu,task}_clock", _C, _U64, _U.NANOSECONDS, "3.2.0", "Clock of the performance events"),
    ("perf.page_faults{,_min,_maj}", _C, _U64, _U.FAULTS, "3.2.0", "Page faults of the guest's process"),
    ("iothread.count", _G, _U64, _U.NONE, "4.10.0", "I/O threads"),
    ("iothread.poll-max-ns", _G, _U64, _U.NANOSECONDS, "4.10.0", "Longest time the I/O thread polls"),
    ("iothread.poll-{grow,shrink}", _G, _U64, _U.NONE, "4.10.0", "Factor of the I/O thread's polling time"),
    ("memory.bandwidth.monitor{,.node}.count", _G, _U64, _U.NONE, "6.0.0", "Bandwidth monitors, and their nodes"),
    ("memory.bandwidth.monitor.{name,vcpus}", _T, _TEXT, _U.NONE, "6.0.0", "Memory bandwidth monitor"),
    ("memory.bandwidth.monitor.node.id", _G, _U64, _U.NONE, "6.0.0", "Id of the node"),
    ("memory.bandwidth.monitor.node.bytes.{local,total}", _C, _U64, _U.BYTES, "6.0.0", "Bytes through the controller"),
    ("dirtyrate.calc_status", _S, _I64, _U.NONE, "7.2.0", "0 unstarted, 1 measuring, 2 measured"),
    ("dirtyrate.calc_start_time", _G, _I64, _U.SECONDS, "7.2.0", "Start of the measurement"),
    ("dirtyrate.calc_period", _G, _I64, _U.SECONDS, "7.2.0", "Length of the measurement"),
    ("dirtyrate.calc_mode", _T, _TEXT, _U.NONE, "8.1.0", "How it was measured"),
    ("dirtyrate.megabytes_per_second", _G, _I64, _U.MIB_PER_SECOND, "7.2.0", "Memory dirtied, when measured"),
    ("dirtyrate.vcpu.megabytes_per_second", _G, _U64, _U.MIB_PER_SECOND, "8.1.0", "Memory dirtied by a vCPU"),
    # What libvirt gives by other calls: of the host, its pools, and the volumes of guests that are off.
    ("host.cpu.{user,kernel,idle,iowait,intr}", _C, _U64, _U.NANOSECONDS, "0.9.3", "Time of all CPUs in this mode"),
    ("host.cpus", _G, _U64, _U.NONE, "0.0.3", "CPUs of the host that are online"),
    ("host.memory.{total,free,buffers,cached}", _G, _U64, _U.KIB, "0.9.3", "Memory of the host"),
    ("host.memory.available", _G, _U64, _U.KIB, "12.3.0", "Memory the host could give without swapping"),
    ("host.version.{hypervisor,libvirt}", _T, _TEXT, _U.NONE, "0.0.3", "Version of the hypervisor, of libvirt"),
    ("pool.state", _S, _I64, _U.NONE, "0.4.1", "State of the storage pool, virStoragePoolState"),
    ("pool.{capacity,allocation,available}", _G, _U64, _U.BYTES, "0.4.1", "Size of the pool, and what of it is used"),
    ("volume.{capacity,allocation}", _G, _U64, _U.BYTES, "0.4.1", "Size of a disk, and what it takes of its pool"),
    # What domstat says of itself, by stream.
    ("agent.call.time", _G, _U64, _U.NANOSECONDS, "", "How long the tick's calls took"),
    ("agent.lateness", _G, _I64, _U.NANOSECONDS, "", "How long after it was due the tick's call was made"),
    ("agent.calls", _G, _U64, _U.NONE, "", "Bulk calls that the tick took"),
    ("agent.{guests,partial,quarantined}", _G, _U64, _U.NONE, "", "Guests seen, of them partial, of them stuck"),
    ("agent.{skipped,failed,workers_killed,reconnects,clock_steps}", _C, _U64, _U.EVENTS, "", "Since the start"),
    ("agent.journal.bytes", _G, _U64, _U.BYTES, "", "Size of the journal"),
    ("agent.journal.commit.time", _G, _U64, _U.NANOSECONDS, "", "How long the journal's newest commit took"),
    ("agent.journal.{failed,lost}", _C, _U64, _U.EVENTS, "", "Commits that failed, records the journal never had"),
    ("agent.sink.{received,written,rejected,parts_rejected}", _C, _U64, _U.EVENTS, "", "Records since the start"),
    ("agent.sink.retries", _C, _U64, _U.EVENTS, "", "Writes that failed since the start"),
    (
        "agent.sink.dropped.{size,age,memory,damaged,ended}",
        _C,
        _U64,
        _U.EVENTS,
        "",
        "Records that never reach the sink",
    ),
    ("agent.sink.{pending,lag}", _G, _U64, _U.NONE, "", "Records, and batches, that the sink does not have yet"),
    ("agent.sink.lag.time", _G, _U64, _U.NANOSECONDS, "", "How old the oldest is that the sink does not have"),
    ("agent.sink.backlog", _G, _U64, _U.BYTES, "", "What the journal keeps for the sink"),
    ("agent.sink.write.time", _G, _U64, _U.NANOSECONDS, "", "How long the sink's newest write took"),
    ("agent.sink.good", _G, _U64, _U.NONE, "", "1 while the sink takes what it is given, else 0"),
    # What the history says of a host, on a schedule.
    ("capacity.cpu.{total,usable,allocated,demand,peak,remaining}", _G, _F64, _U.NONE, "", "Threads, vCPUs given out"),
    ("capacity.{memory,storage}.{total,usable,allocated,demand,peak,remaining}", _G, _F64, _U.BYTES, "", "The same"),
    ("capacity.{cpu,memory,storage}.coverage", _G, _F64, _U.NONE, "", "Share of the time that was seen"),
    (
        "capacity.{cpu,memory,storage,pool}.runway.{expected,conservative}",
        _G,
        _F64,
        _U.SECONDS,
        "",
        "Time until it is full, by the projection's middle and by its upper bound",
    ),
    (
        "capacity.{cpu,memory,storage,pool}.risk.{days30,days90,days180}",
        _G,
        _F64,
        _U.NONE,
        "",
        "Probability that it is full by then",
    ),
    ("agent.cost.{libvirtd,qemu,worker}", _G, _U64, _U.NANOSECONDS, "", "CPU time that a tick's call caused there"),
)

IDENTITY_FIELDS = frozenset({"net.name", "block.name", "block.backingIndex", "block.path"})
"""Fields that say which device a row of the answer is, not how it does: they become a record's ``devices``."""

_MONITOR_GROUPS = frozenset({"cpu-total", "balloon", "vcpu", "block", "iothread", "dirtyrate", "vm"})
_WITHOUT_MONITOR = IDENTITY_FIELDS | {
    "cpu.time", "cpu.user", "cpu.system", "balloon.current", "balloon.maximum", "vcpu.current", "vcpu.maximum",
    "vcpu.state", "vcpu.time", "vcpu.wait", "vcpu.delay", "block.count",
}  # fmt: skip

DERIVED: dict[str, tuple[str, str]] = {
    "cpu.cores": ("cores", "Host CPUs the guest keeps busy"),
    "cpu.utilization": ("ratio", "CPU time used of what its virtual CPUs could; QEMU's own threads count too"),
    "vcpu.steal": ("ratio", "Share of the time the virtual CPU was ready but not run"),
    "block.rd.latency": ("seconds", "Mean time of a read"),
    "block.wr.latency": ("seconds", "Mean time of a write"),
    "block.fl.latency": ("seconds", "Mean time of a flush"),
    "memory.used": ("bytes", "Memory the guest uses, as its balloon driver says"),
    "memory.age": ("seconds", "Time since the balloon driver spoke"),
    "host.cpu.utilization": ("ratio", "Share of the time that the host's CPUs were busy"),
    "host.memory.used": ("bytes", "Memory of the host that is not available"),
    "pool.age": ("seconds", "How old the pool's figures may be; absent while nobody can tell"),
}
"""Derived values: unit and meaning; :mod:`domstat.derive` computes them."""


def _spread(pattern: str) -> list[str]:
    """Write out ``a{b,c}d`` as ``abd`` and ``acd``."""
    before, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    choices, _, after = rest.partition("}")
    return [before + choice + tail for choice in choices.split(",") for tail in _spread(after)]


def _group_of(name: str) -> str:
    first = name.partition(".")[0]
    return _PREFIXES.get(first, first)


FIELDS: dict[str, Field] = {
    name: Field(name, _group_of(name), kind, type_, unit, since, text)
    for pattern, kind, type_, unit, since, text in _TABLE
    for name in _spread(pattern)
}
"""The catalogue, by field name."""


STRANGERS_MAX = 4096
"""Unknown field names remembered: several times what any hypervisor has, so that hostile names cannot fill memory."""


def is_internal(name: str) -> bool:
    """Whether *name* (with or without indices) is one of the hypervisor's own statistics, ``vcpu.*.sum``, ``vm.*``.

    libvirt passes these through from QEMU's query-stats and promises nothing about them; on KVM they multiply the
    volume of an answer.
    """
    return name.startswith("vm.") or (name.startswith("vcpu.") and name.endswith((".sum", ".cur", ".max")))


def needs_the_monitor(group: str) -> bool:
    """Whether libvirt asks the guest's own process (QEMU's monitor) for something of *group*."""
    return group in _MONITOR_GROUPS


def comes_from_the_guest(field: Field) -> bool:
    """Whether libvirt must ask the guest's own process (QEMU's monitor) for *field*, which a stuck guest leaves out.

    One such field in an answer shows that the guest answered for this group.
    """
    if field.group not in _MONITOR_GROUPS or field.name in _WITHOUT_MONITOR:
        return False
    return not field.name.startswith(("cpu.cache.", "cpu.energy."))  # resctrl, read on the host


def look_up(name: str) -> Field:
    """Return the catalogue's row for *name*, or a row made for a stranger.

    Strangers (and the hypervisor's own ``vcpu.*`` and ``vm.*``, which no list can name) count if they end in
    ``.sum`` and are gauges otherwise; their type is decided by their values (see the sqlite sink).
    """
    return FIELDS.get(name) or _stranger(name)


@lru_cache(maxsize=STRANGERS_MAX)
def _stranger(name: str) -> Field:
    kind = FieldKind.COUNTER if name.endswith(".sum") else FieldKind.GAUGE
    return Field(name, _group_of(name), kind, ValueType.I64, Unit.NONE, known=False)
