"""What Grafana's dashboards show: a panel is a line of a table, with a query for each kind of store."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Drawn: TypeAlias = Literal["timeseries", "stat", "table", "bargauge"]

HOST_P, GUEST_P = 'host=~"$host"', 'host=~"$host",domain=~"$domain"'
HOST_I, GUEST_I = "host =~ /^$host$/", "host =~ /^$host$/ AND domain =~ /^$domain$/"
"""How the variables choose, in labels and in tags."""


class Panel(NamedTuple):
    """One panel: *prometheus* is a PromQL query, *influxdb* (field or expression, measurement, tags to group by)."""

    title: str
    unit: str
    prometheus: str
    legend: str
    influxdb: tuple[str, str, str]
    drawn: Drawn = "timeseries"
    width: int = 12


class Dashboard(NamedTuple):
    """One dashboard, and which of the variables host and domain it has."""

    uid: str
    title: str
    variables: tuple[str, ...]
    panels: tuple[Panel, ...]


def _rate(metric: str, labels: str) -> str:
    return f"rate(domstat_{metric}{{{labels}}}[$__rate_interval])"


def _mean(field: str) -> str:
    return f'mean("{field}")'


FLEET = Dashboard(
    "domstat-fleet",
    "domstat / Fleet",
    (),
    (
        Panel(
            "Hosts", "short", "count(domstat_host_cpus)", "hosts", ('last("cpus")', "domstat_host", "host"), "stat", 6
        ),
        Panel(
            "Guests that run",
            "short",
            "sum(domstat_guest_state == bool 1)",
            "guests",
            ('last("guests")', "domstat_agent", "host"),
            "stat",
            6,
        ),
        Panel(
            "vCPUs given out",
            "short",
            "sum(domstat_vcpu_current)",
            "vCPUs",
            ('last("vcpu.current")', "domstat_vcpu", "uuid"),
            "stat",
            6,
        ),
        Panel(
            "Memory of guests on the hosts",
            "bytes",
            "sum(domstat_balloon_rss_bytes)",
            "memory",
            ('last("balloon.rss") * 1024', "domstat_balloon", "uuid"),
            "stat",
            6,
        ),
        Panel(
            "CPU of hosts",
            "percentunit",
            "domstat_host_cpu_utilization_ratio",
            "{{host}}",
            (_mean("cpu.utilization"), "domstat_host", "host"),
        ),
        Panel(
            "Memory of hosts",
            "percentunit",
            "domstat_host_memory_used_bytes / domstat_host_memory_total_bytes",
            "{{host}}",
            ('mean("memory.used") / mean("memory.total") / 1024', "domstat_host", "host"),
        ),
        Panel(
            "Guests that keep most CPUs busy",
            "short",
            "topk(10, rate(domstat_cpu_time_seconds_total[$__rate_interval]))",
            "{{domain}} on {{host}}",
            (_mean("cpu.cores"), "domstat_cpu", "domain"),
            "bargauge",
        ),
        Panel(
            "Guests whose vCPUs wait most",
            "percentunit",
            "topk(10, max by (host, domain) (rate(domstat_vcpu_delay_seconds_total[$__rate_interval])))",
            "{{domain}} on {{host}}",
            ('max("vcpu.steal")', "domstat_vcpu", "domain"),
            "bargauge",
        ),
        Panel(
            "Storage pools",
            "percentunit",
            "domstat_pool_allocation_bytes / domstat_pool_capacity_bytes",
            "{{pool}} on {{host}}",
            ('last("allocation") / last("capacity")', "domstat_pool", '"host", "pool"'),
        ),
        Panel(
            "Events",
            "short",
            "sum by (type) (increase(domstat_events_total[$__rate_interval]))",
            "{{type}}",
            ('sum("count")', "domstat_event", "type"),
        ),
    ),
)

HOST = Dashboard(
    "domstat-host",
    "domstat / Host",
    ("host",),
    (
        Panel(
            "CPU",
            "percentunit",
            f"domstat_host_cpu_utilization_ratio{{{HOST_P}}}",
            "{{host}}",
            (_mean("cpu.utilization"), "domstat_host", "host"),
        ),
        Panel(
            "Memory used",
            "bytes",
            f"domstat_host_memory_used_bytes{{{HOST_P}}}",
            "{{host}}",
            (_mean("memory.used"), "domstat_host", "host"),
        ),
        Panel(
            "CPUs that guests keep busy",
            "short",
            _rate("cpu_time_seconds_total", HOST_P),
            "{{domain}}",
            (_mean("cpu.cores"), "domstat_cpu", "domain"),
        ),
        Panel(
            "Memory of guests",
            "bytes",
            f"domstat_balloon_rss_bytes{{{HOST_P}}}",
            "{{domain}}",
            ('mean("balloon.rss") * 1024', "domstat_balloon", "domain"),
        ),
        Panel(
            "Disks: bytes per second",
            "Bps",
            f"sum by (domain) ({_rate('block_rd_bytes_total', HOST_P)} + {_rate('block_wr_bytes_total', HOST_P)})",
            "{{domain}}",
            ('mean("block.rd.bytes.rate") + mean("block.wr.bytes.rate")', "domstat_block", '"domain", "device"'),
        ),
        Panel(
            "Network: bytes per second",
            "Bps",
            f"sum by (domain) ({_rate('net_rx_bytes_total', HOST_P)} + {_rate('net_tx_bytes_total', HOST_P)})",
            "{{domain}}",
            ('mean("net.rx.bytes.rate") + mean("net.tx.bytes.rate")', "domstat_net", '"domain", "device"'),
        ),
        Panel(
            "vCPUs that wait for a CPU",
            "percentunit",
            f"max by (domain) ({_rate('vcpu_delay_seconds_total', HOST_P)})",
            "{{domain}}",
            ('max("vcpu.steal")', "domstat_vcpu", "domain"),
        ),
        Panel(
            "Disks: mean time of a write",
            "s",
            f"max by (domain) (domstat_block_wr_latency_seconds{{{HOST_P}}})",
            "{{domain}}",
            ('max("block.wr.latency")', "domstat_block", "domain"),
        ),
    ),
)

GUEST = Dashboard(
    "domstat-guest",
    "domstat / Guest",
    ("host", "domain"),
    (
        Panel(
            "CPU used of its vCPUs",
            "percentunit",
            f"domstat_cpu_utilization_ratio{{{GUEST_P}}}",
            "{{domain}}",
            (_mean("cpu.utilization"), "domstat_cpu", "domain"),
        ),
        Panel(
            "vCPUs",
            "percentunit",
            _rate("vcpu_time_seconds_total", GUEST_P),
            "{{domain}} {{device}}",
            (_mean("vcpu.time.rate"), "domstat_vcpu", '"domain", "device"'),
        ),
        Panel(
            "vCPUs that wait for a CPU",
            "percentunit",
            _rate("vcpu_delay_seconds_total", GUEST_P),
            "{{domain}} {{device}}",
            (_mean("vcpu.steal"), "domstat_vcpu", '"domain", "device"'),
        ),
        Panel(
            "Memory used, as its driver says",
            "bytes",
            f"domstat_memory_used_bytes{{{GUEST_P}}}",
            "{{domain}}",
            (_mean("memory.used"), "domstat_memory", "domain"),
        ),
        Panel(
            "Memory on the host",
            "bytes",
            f"domstat_balloon_rss_bytes{{{GUEST_P}}}",
            "{{domain}}",
            ('mean("balloon.rss") * 1024', "domstat_balloon", "domain"),
        ),
        Panel(
            "Swapped and faulted in",
            "short",
            _rate("balloon_major_faults_total", GUEST_P),
            "{{domain}}",
            (_mean("balloon.major_fault.rate"), "domstat_balloon", "domain"),
        ),
        *(
            Panel(
                f"Disks: {what}",
                unit,
                _rate(metric, GUEST_P),
                "{{domain}} {{device}}",
                (_mean(field), "domstat_block", '"domain", "device"'),
            )
            for what, unit, metric, field in (
                ("bytes read", "Bps", "block_rd_bytes_total", "block.rd.bytes.rate"),
                ("bytes written", "Bps", "block_wr_bytes_total", "block.wr.bytes.rate"),
                ("reads", "iops", "block_rd_requests_total", "block.rd.reqs.rate"),
                ("writes", "iops", "block_wr_requests_total", "block.wr.reqs.rate"),
            )
        ),
        *(
            Panel(
                f"Disks: mean time of a {what}",
                "s",
                f"domstat_block_{which}_latency_seconds{{{GUEST_P}}}",
                "{{domain}} {{device}}",
                (_mean(f"block.{which}.latency"), "domstat_block", '"domain", "device"'),
            )
            for what, which in (("read", "rd"), ("write", "wr"))
        ),
        *(
            Panel(
                f"Network: {what}",
                unit,
                _rate(metric, GUEST_P),
                "{{domain}} {{device}}",
                (_mean(field), "domstat_net", '"domain", "device"'),
            )
            for what, unit, metric, field in (
                ("bytes received", "Bps", "net_rx_bytes_total", "net.rx.bytes.rate"),
                ("bytes sent", "Bps", "net_tx_bytes_total", "net.tx.bytes.rate"),
                ("packets received and dropped", "pps", "net_rx_dropped_packets_total", "net.rx.drop.rate"),
                ("errors", "pps", "net_tx_errors_total", "net.tx.errs.rate"),
            )
        ),
    ),
)

_RESOURCES = (("CPU", "cpu"), ("memory", "memory"), ("storage", "storage"))

CAPACITY = Dashboard(
    "domstat-capacity",
    "domstat / Capacity",
    ("host",),
    (
        *(
            Panel(
                f"Time remaining: {what}",
                "s",
                f"domstat_capacity_{which}_runway_conservative_seconds{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.runway.conservative")', "domstat_agent", "host"),
                "stat",
                8,
            )
            for what, which in _RESOURCES
        ),
        *(
            Panel(
                f"Full within 30 days: {what}",
                "percentunit",
                f"domstat_capacity_{which}_risk_days30{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.risk.days30")', "domstat_agent", "host"),
                "bargauge",
                8,
            )
            for what, which in _RESOURCES
        ),
        *(
            Panel(
                f"Capacity remaining: {what}",
                unit,
                f"domstat_capacity_{which}_remaining{suffix}{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.remaining")', "domstat_agent", "host"),
                "timeseries",
                8,
            )
            for (what, which), unit, suffix in zip(
                _RESOURCES, ("short", "bytes", "bytes"), ("", "_bytes", "_bytes"), strict=True
            )
        ),
        *(
            Panel(
                f"Peak of usable: {what}",
                "percentunit",
                f"domstat_capacity_{which}_peak{suffix}{{{HOST_P}}}"
                f" / domstat_capacity_{which}_usable{suffix}{{{HOST_P}}}",
                "{{host}}",
                (f'last("capacity.{which}.peak") / last("capacity.{which}.usable")', "domstat_agent", "host"),
                "timeseries",
                8,
            )
            for (what, which), suffix in zip(_RESOURCES, ("", "_bytes", "_bytes"), strict=True)
        ),
    ),
)

AGENT = Dashboard(
    "domstat-agent",
    "domstat / Agent",
    (),
    (
        Panel(
            "Age of the newest tick",
            "s",
            "time() - domstat_stream_last_tick_timestamp_seconds",
            "{{host}} {{collect}}",
            ('count("calls")', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "Time of a call",
            "s",
            "domstat_agent_call_time_seconds",
            "{{host}} {{collect}}",
            ('mean("call.time") / 1000000000', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "Guests that hang",
            "short",
            "domstat_agent_quarantined",
            "{{host}} {{collect}}",
            ('max("quarantined")', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "Ticks skipped and failed",
            "short",
            "increase(domstat_agent_skipped_total[$__rate_interval])"
            " + increase(domstat_agent_failed_total[$__rate_interval])",
            "{{host}} {{collect}}",
            ('max("skipped") + max("failed")', "domstat_agent", '"host", "collect"'),
        ),
        Panel(
            "How far sinks lag",
            "s",
            "domstat_agent_sink_lag_time_seconds",
            "{{device}}",
            ('max("sink.lag.time") / 1000000000', "domstat_agent", "device"),
        ),
        Panel(
            "Records that wait for sinks",
            "short",
            "domstat_agent_sink_pending",
            "{{device}}",
            ('max("sink.pending")', "domstat_agent", "device"),
        ),
        Panel(
            "Records rejected",
            "short",
            "increase(domstat_agent_sink_rejected_total[$__rate_interval])",
            "{{device}}",
            ('max("sink.rejected")', "domstat_agent", "device"),
        ),
        Panel(
            "The journal",
            "bytes",
            "domstat_agent_journal_bytes",
            "{{host}}",
            ('max("journal.bytes")', "domstat_agent", "host"),
        ),
    ),
)

DASHBOARDS = (FLEET, HOST, GUEST, CAPACITY, AGENT)
