"""The catalogue of fields, held against libvirt's documentation."""

from __future__ import annotations

import pytest

from domstat import catalog
from domstat.catalog import (
    DERIVED,
    FIELDS,
    GROUPS,
    IDENTITY_FIELDS,
    STRANGERS_MAX,
    Field,
    FieldKind,
    Unit,
    ValueType,
    comes_from_the_guest,
    is_internal,
    look_up,
    needs_the_monitor,
)


def words(text: str) -> list[str]:
    return text.split()


# What libvirt documents, by kind; ".N." marks where an index stands.
COUNTERS = words("""
cpu.time cpu.user cpu.system cpu.haltpoll.success.time cpu.haltpoll.fail.time cpu.energy.monitor.N.pkg.N.core_energy
cpu.energy.monitor.N.pkg.N.activity balloon.swap_in balloon.swap_out balloon.major_fault balloon.minor_fault
balloon.hugetlb_pgalloc balloon.hugetlb_pgfail vcpu.N.time vcpu.N.wait vcpu.N.delay net.N.rx.bytes net.N.rx.pkts
net.N.rx.errs net.N.rx.drop net.N.tx.bytes net.N.tx.pkts net.N.tx.errs net.N.tx.drop block.N.rd.reqs block.N.rd.bytes
block.N.rd.times block.N.wr.reqs block.N.wr.bytes block.N.wr.times block.N.fl.reqs block.N.fl.times block.N.errors
block.N.latency_histogram.read.bin.N.value block.N.latency_histogram.write.bin.N.value
block.N.latency_histogram.zone_append.bin.N.value block.N.latency_histogram.flush.bin.N.value perf.cache_misses
perf.cache_references perf.instructions perf.cpu_cycles perf.branch_instructions perf.branch_misses perf.bus_cycles
perf.stalled_cycles_frontend perf.stalled_cycles_backend perf.ref_cpu_cycles perf.cpu_clock perf.task_clock
perf.page_faults perf.page_faults_min perf.page_faults_maj perf.context_switches perf.cpu_migrations
perf.alignment_faults perf.emulation_faults memory.bandwidth.monitor.N.node.N.bytes.local
memory.bandwidth.monitor.N.node.N.bytes.total
""")
GAUGES = words("""
cpu.cache.monitor.count cpu.cache.monitor.N.bank.count cpu.cache.monitor.N.bank.N.id cpu.cache.monitor.N.bank.N.bytes
cpu.energy.monitor.count cpu.energy.monitor.N.pkg.count cpu.energy.monitor.N.pkg.N.id balloon.current balloon.maximum
balloon.unused balloon.available balloon.usable balloon.rss balloon.last-update balloon.disk_caches vcpu.current
vcpu.maximum vcpu.N.halted net.count block.count block.N.allocation block.N.capacity block.N.physical
block.N.threshold block.N.limits.request_alignment block.N.limits.discard_max block.N.limits.discard_alignment
block.N.limits.write_zeroes_max block.N.limits.write_zeroes_alignment block.N.limits.transfer_optimal
block.N.limits.transfer_max block.N.limits.transfer_hw_max block.N.limits.memory_alignment_minimal
block.N.limits.memory_alignment_optimal block.N.limits.iov_max block.N.limits.iov_hw_max block.N.timed_group.count
block.N.timed_group.N.interval block.N.timed_group.N.interval_length block.N.timed_group.N.rd_latency_min
block.N.timed_group.N.rd_latency_max block.N.timed_group.N.rd_latency_avg block.N.timed_group.N.wr_latency_min
block.N.timed_group.N.wr_latency_max block.N.timed_group.N.wr_latency_avg
block.N.timed_group.N.zone_append_latency_min block.N.timed_group.N.zone_append_latency_max
block.N.timed_group.N.zone_append_latency_avg block.N.timed_group.N.flush_latency_min
block.N.timed_group.N.flush_latency_max block.N.timed_group.N.flush_latency_avg
block.N.timed_group.N.rd_queue_depth_avg block.N.timed_group.N.wr_queue_depth_avg
block.N.timed_group.N.zone_append_queue_depth_avg block.N.latency_histogram.read.bin.count
block.N.latency_histogram.write.bin.count block.N.latency_histogram.zone_append.bin.count
block.N.latency_histogram.flush.bin.count block.N.latency_histogram.read.bin.N.start
block.N.latency_histogram.write.bin.N.start block.N.latency_histogram.zone_append.bin.N.start
block.N.latency_histogram.flush.bin.N.start perf.cmt perf.mbmt perf.mbml iothread.count iothread.N.poll-max-ns
iothread.N.poll-grow iothread.N.poll-shrink memory.bandwidth.monitor.count memory.bandwidth.monitor.N.node.count
memory.bandwidth.monitor.N.node.N.id dirtyrate.calc_start_time dirtyrate.calc_period dirtyrate.megabytes_per_second
dirtyrate.vcpu.N.megabytes_per_second
""")
STATES = words("""
state.state state.reason vcpu.N.state dirtyrate.calc_status
""")
TEXTS = words("""
cpu.cache.monitor.N.name cpu.cache.monitor.N.vcpus cpu.energy.monitor.N.name cpu.energy.monitor.N.vcpus
memory.bandwidth.monitor.N.name memory.bandwidth.monitor.N.vcpus net.N.name block.N.name block.N.path
block.N.backingIndex dirtyrate.calc_mode
""")


# What other calls give, and what domstat says of itself.
OTHER_GROUPS = {"host", "pool", "volume", "agent", "capacity"}
OTHER_COUNTERS = words("""
host.cpu.user host.cpu.kernel host.cpu.idle host.cpu.iowait host.cpu.intr agent.skipped agent.failed
agent.workers_killed agent.reconnects agent.clock_steps agent.journal.failed agent.journal.lost
agent.sink.received agent.sink.written agent.sink.rejected agent.sink.parts_rejected agent.sink.retries
agent.sink.dropped.size agent.sink.dropped.age agent.sink.dropped.memory agent.sink.dropped.damaged
agent.sink.dropped.ended
""")
OTHER_GAUGES = words("""
host.cpus host.memory.total host.memory.free host.memory.buffers host.memory.cached host.memory.available
pool.capacity pool.allocation pool.available volume.capacity volume.allocation agent.call.time agent.lateness
agent.calls agent.guests agent.partial agent.quarantined agent.cost.libvirtd agent.cost.qemu agent.cost.worker
agent.journal.bytes agent.journal.commit.time agent.sink.pending agent.sink.lag agent.sink.lag.time agent.sink.backlog
agent.sink.write.time agent.sink.good
capacity.cpu.total capacity.cpu.usable capacity.cpu.allocated capacity.cpu.demand capacity.cpu.peak
capacity.cpu.remaining capacity.cpu.coverage capacity.cpu.runway.expected capacity.cpu.runway.conservative
capacity.cpu.risk.days30 capacity.cpu.risk.days90 capacity.cpu.risk.days180
capacity.memory.total capacity.memory.usable capacity.memory.allocated capacity.memory.demand capacity.memory.peak
capacity.memory.remaining capacity.memory.coverage capacity.memory.runway.expected
capacity.memory.runway.conservative capacity.memory.risk.days30 capacity.memory.risk.days90 capacity.memory.risk.days180
capacity.storage.total capacity.storage.usable capacity.storage.allocated capacity.storage.demand
capacity.storage.peak capacity.storage.remaining capacity.storage.coverage capacity.storage.runway.expected
capacity.storage.runway.conservative capacity.storage.risk.days30 capacity.storage.risk.days90
capacity.storage.risk.days180
capacity.pool.runway.expected capacity.pool.runway.conservative capacity.pool.risk.days30 capacity.pool.risk.days90
capacity.pool.risk.days180
""")
OTHER_STATES = words("""
pool.state
""")
OTHER_TEXTS = words("""
host.version.hypervisor host.version.libvirt
""")


@pytest.mark.parametrize(
    ("kind", "documented", "others"),
    [
        (FieldKind.COUNTER, COUNTERS, OTHER_COUNTERS),
        (FieldKind.GAUGE, GAUGES, OTHER_GAUGES),
        (FieldKind.STATE, STATES, OTHER_STATES),
        (FieldKind.TEXT, TEXTS, OTHER_TEXTS),
    ],
)
def test_exactly_the_documented_parameters_and_those_of_other_calls_are_of_this_kind(
    kind: FieldKind, documented: list[str], others: list[str]
) -> None:
    of_this_kind = {name for name, field in FIELDS.items() if field.kind is kind}
    of_others = {name for name in of_this_kind if FIELDS[name].group in OTHER_GROUPS}
    assert of_this_kind - of_others == {name.replace(".N", "") for name in documented}
    assert of_others == set(others)


@pytest.mark.parametrize(
    ("name", "base", "scale"),
    [
        ("cpu.time", "seconds", 1e-9),
        ("vcpu.wait", "seconds", 1e-9),
        ("vcpu.delay", "seconds", 1e-9),
        ("block.rd.times", "seconds", 1e-9),
        ("balloon.rss", "bytes", 1024),
        ("balloon.swap_in", "bytes", 1024),
        ("balloon.last-update", "seconds", 1),
        ("block.capacity", "bytes", 1),
        ("dirtyrate.megabytes_per_second", "bytes_per_second", 1 << 20),
        ("cpu.energy.monitor.pkg.core_energy", "joules", 1),
        ("net.rx.pkts", "packets", 1),
        ("block.wr.reqs", "requests", 1),
        ("vcpu.current", "", 1),
        ("host.cpu.idle", "seconds", 1e-9),
        ("host.memory.total", "bytes", 1024),
        ("pool.capacity", "bytes", 1),
        ("agent.call.time", "seconds", 1e-9),
        ("agent.lateness", "seconds", 1e-9),
    ],
)
def test_units_lead_to_their_base_unit(name: str, base: str, scale: float) -> None:
    assert (look_up(name).unit.base, look_up(name).unit.scale) == (base, scale)


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS.keys())
def test_every_row_makes_sense(field: Field) -> None:
    assert field.known
    assert field.group in {*GROUPS, *OTHER_GROUPS}
    assert field.help
    assert bool(field.since) == (field.group not in {"agent", "capacity"})
    assert "{" not in field.name
    assert "}" not in field.name
    if field.kind is FieldKind.COUNTER:
        assert field.type in {ValueType.U64, ValueType.F64}
        assert field.unit is not Unit.NONE
    if field.kind is FieldKind.TEXT:
        assert field.unit is Unit.NONE


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("balloon.usable", "2.1.0"),
        ("perf.cpu_cycles", "2.3.0"),
        ("perf.branch_misses", "3.0.0"),
        ("perf.ref_cpu_cycles", "3.0.0"),
        ("perf.context_switches", "3.2.0"),
        ("block.limits.iov_max", "11.10.0"),
        ("block.latency_histogram.read.bin.value", "12.1.0"),
        ("cpu.energy.monitor.pkg.activity", "12.4.0"),
        ("host.memory.available", "12.3.0"),
    ],
)
def test_a_row_says_since_which_libvirt(name: str, since: str) -> None:
    assert look_up(name).since == since


def test_groups_carry_libvirts_bits_in_virshs_names() -> None:
    names = [
        "state",
        "cpu-total",
        "balloon",
        "vcpu",
        "interface",
        "block",
        "perf",
        "iothread",
        "memory",
        "dirtyrate",
        "vm",
    ]
    assert {name: 1 << bit for bit, name in enumerate(names)} == GROUPS


def test_a_parameter_nobody_has_heard_of_counts_if_it_is_a_sum() -> None:
    assert look_up("vcpu.exits.sum").kind is FieldKind.COUNTER
    assert look_up("vcpu.exits.max").kind is FieldKind.GAUGE
    assert look_up("vm.pages_4k.cur").kind is FieldKind.GAUGE
    assert look_up("net.brandnew").kind is FieldKind.GAUGE


def test_a_stranger_is_said_to_be_one_and_belongs_to_its_group() -> None:
    assert not look_up("net.brandnew").known
    assert look_up("net.brandnew").group == "interface"
    assert look_up("cpu.brandnew").group == "cpu-total"
    assert look_up("brandnew.thing").group == "brandnew"


def test_hostile_names_do_not_fill_the_memory() -> None:
    for number in range(STRANGERS_MAX + 100):
        look_up(f"hostile.x{number}")
    assert catalog._stranger.cache_info().currsize <= STRANGERS_MAX


@pytest.mark.parametrize("name", ["vm.exits.sum", "vm.x", "vcpu.0.exits.sum", "vcpu.guest_mode.cur", "vcpu.1.x.max"])
def test_the_hypervisors_own_statistics_are_told_apart(name: str) -> None:
    assert is_internal(name)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_nothing_that_libvirt_documents_is_an_internal(name: str) -> None:
    assert not is_internal(name)


# What a stuck guest's record was found to have still, and what it lacked.
WITHOUT_THE_GUEST = words("""
state.state state.reason cpu.time cpu.user cpu.system vcpu.current vcpu.maximum vcpu.state vcpu.time vcpu.wait
vcpu.delay balloon.current balloon.maximum net.count net.rx.bytes net.tx.drop block.count perf.cpu_cycles
cpu.cache.monitor.bank.bytes cpu.energy.monitor.pkg.core_energy memory.bandwidth.monitor.node.bytes.total
""")
FROM_THE_GUEST = words("""
block.rd.bytes block.capacity block.allocation block.physical block.threshold balloon.rss balloon.last-update
balloon.usable cpu.haltpoll.success.time vcpu.halted dirtyrate.calc_status iothread.count vcpu.exits.sum vm.x.cur
""")


def test_it_is_known_what_a_stuck_guest_leaves_out() -> None:
    assert [name for name in WITHOUT_THE_GUEST if comes_from_the_guest(look_up(name))] == []
    assert [name for name in FROM_THE_GUEST if not comes_from_the_guest(look_up(name))] == []
    assert [name for name in IDENTITY_FIELDS if comes_from_the_guest(look_up(name))] == []


def test_a_group_needs_the_monitor_if_any_of_it_comes_from_the_guest() -> None:
    asked = {group for group in GROUPS if needs_the_monitor(group)}
    assert {field.group for field in FIELDS.values() if comes_from_the_guest(field)} <= asked
    assert set(GROUPS) - asked == {"state", "interface", "perf", "memory"}
    assert not any(map(needs_the_monitor, OTHER_GROUPS))


def test_nothing_of_the_host_the_pools_or_the_agent_comes_from_a_guest() -> None:
    assert not any(comes_from_the_guest(field) for field in FIELDS.values() if field.group in OTHER_GROUPS)


@pytest.mark.parametrize("name", sorted(DERIVED))
def test_a_derived_value_has_a_unit_a_meaning_and_no_parameters_name(name: str) -> None:
    unit, meaning = DERIVED[name]
    assert unit
    assert meaning
    assert name not in FIELDS


def test_a_time_counters_rate_is_exact_seconds_per_second() -> None:
    assert look_up("cpu.time").rate_factor == 1.0
    assert look_up("block.wr.bytes").rate_factor == 1e9
    assert look_up("balloon.swap_in").rate_factor == 1024e9
